//! Switches the process's UID and GIDs: to the caller's for system calls by which the kernel checks permissions, else to the
//! server's own.
//!
//! Only a server that was started by root can switch. The export's rules squash callers as in exports(5).

use super::super::tree::rules::ROOT;
use super::super::{Caller, FsError, FsResult, Rules};
use super::groups::{GroupTable, Managed};
use crate::sys::linux::{fsuid, group_id};
use crate::sys::{Errno, user_id};
use core::cell::Cell;

/// The caller of the current request, and the state of this process's credentials.
#[derive(Debug)]
#[repr(C)] // Largest field last: the others have short offsets.
pub(super) struct Acting {
    /// True if this process can switch users.
    switches: bool,
    /// Number that [`fsuid::set_groups`] returned for the caller's groups. `None`: the caller's groups are not set.
    groups: Cell<Option<u32>>,
    /// The groups that replace those of the credential (`--manage-gids`).
    managed: Option<Managed>,
    caller: Caller,
}

impl Acting {
    /// Never switches: all calls are made as the server's user.
    pub(super) const fn alone() -> Self {
        Self {
            switches: false,
            caller: Caller {
                uid: ROOT,
                gid: ROOT,
                groups: heapless::Vec::new(),
            },
            groups: Cell::new(None),
            managed: None,
        }
    }

    /// Switches to callers from now on, if this process can.
    pub(super) fn enable(&mut self) {
        self.switches = user_id() == 0 && fsuid::can_switch();
    }

    /// Replaces the groups of credentials from now on.
    pub(super) fn manage_groups(&mut self, table: &'static GroupTable, count: usize) {
        self.managed = Some(Managed::new(table, count));
    }

    /// The caller's supplementary groups.
    fn groups(&self) -> &[u32] {
        match &self.managed {
            Some(managed) => &managed.groups,
            None => &self.caller.groups,
        }
    }

    /// Returns true if a supplementary group of the caller has this GID.
    #[expect(
        clippy::manual_contains,
        reason = "`contains` is unrolled, and takes 94 bytes"
    )]
    fn is_in_group(&self, gid: u32) -> bool {
        self.groups().iter().any(|group| *group == gid)
    }

    /// Makes the process one of this UID and GID for good, because it cannot switch users.
    ///
    /// # Errors
    /// As [`fsuid::become_user`].
    pub(super) fn become_anonymous(&mut self, (user, group): (u32, u32)) -> Result<(), Errno> {
        self.switches = false;
        fsuid::become_user(user, group)
    }

    /// Returns true if calls are made with the callers' credentials.
    pub(super) const fn switches(&self) -> bool {
        self.switches
    }

    /// Returns true if calls are made with the credentials of a caller that is not root. The server must then check access before
    /// it opens a file with its own rights.
    pub(super) const fn is_other(&self) -> bool {
        self.switches && self.caller.uid != ROOT
    }

    /// Sets the caller, squashed by the export's rules; `None`: the server itself.
    pub(super) fn ask_for(&mut self, caller: Option<(&Caller, &Rules)>) {
        if !self.switches {
            return;
        }
        let is_changed = match caller {
            Some((caller, rules)) => match &mut self.managed {
                Some(managed) => managed.squash(caller, rules, &mut self.caller),
                None => rules.squash(caller, &mut self.caller),
            },
            None if self.managed.is_some() => {
                self.caller = Caller::default();
                self.managed.as_mut().is_some_and(|managed| {
                    managed.clear();
                    true
                })
            }
            None => {
                let was = core::mem::take(&mut self.caller);
                was.gid != self.caller.gid || was.groups != self.caller.groups
            }
        };
        if is_changed {
            self.groups.set(None);
        }
    }

    /// The caller's UID.
    pub(super) const fn uid(&self) -> u32 {
        self.caller.uid
    }

    /// UID that the kernel checks permissions by: the caller's, or the server's own if this process cannot switch.
    pub(super) fn file_user(&self) -> u32 {
        if self.switches {
            self.caller.uid
        } else {
            user_id()
        }
    }

    /// Switches to the caller's UID and GIDs.
    pub(super) fn caller(&self) -> FsResult<()> {
        if self.switches && !self.groups.get().is_some_and(fsuid::has_groups) {
            let groups = fsuid::set_groups(self.caller.gid, self.groups());
            self.groups.set(groups);
            if groups.is_none() {
                return Err(FsError::Access);
            }
        }
        self.user(self.caller.uid)
    }

    /// Switches to the server's own UID.
    pub(super) fn server(&self) {
        // A process started by root can always switch back.
        let _ = self.user(ROOT);
    }

    /// Switches to the UID `user` and leaves the groups as they are.
    pub(super) fn user(&self, user: u32) -> FsResult<()> {
        if self.switches && !fsuid::set_user(user) {
            return Err(FsError::Access);
        }
        Ok(())
    }

    /// Checks the caller's permission by mode bits: for kernels without faccessat2(2), and for objects inside images. If the
    /// process cannot switch users, its own supplementary groups are ignored, because they are not known.
    ///
    /// # Errors
    /// `Access`: permission denied.
    pub(super) fn mode_lets(&self, mode: u32, owner: (u32, u32), bits: u32) -> FsResult<()> {
        let (uid, gid) = if self.switches {
            (self.caller.uid, self.caller.gid)
        } else {
            (user_id(), group_id())
        };
        let shift = if uid == owner.0 {
            6
        } else if gid == owner.1 || self.is_in_group(owner.1) {
            3
        } else {
            0
        };
        // Root may execute only files with at least one execute bit.
        let lets = if uid == ROOT {
            6 | (mode | mode >> 3 | mode >> 6) & 1
        } else {
            mode >> shift
        };
        if lets & bits == bits {
            return Ok(());
        }
        Err(FsError::Access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_bits_apply_to_caller_and_its_groups() {
        let mut acting = Acting::alone();
        acting.switches = true;
        let groups = [30, 31].into_iter().collect();
        acting.caller = Caller {
            uid: 10,
            gid: 20,
            groups,
        };
        // Mode 0421: the owner may only read, its group only write, others only execute.
        for (owner, bits) in [
            ((10, 99), 4),
            ((10, 20), 4),
            ((10, 30), 4),
            ((99, 20), 2),
            ((99, 30), 2),
            ((99, 31), 2),
            ((99, 99), 1),
        ] {
            let lets = |bits| acting.mode_lets(0o421, owner, bits).is_ok();
            assert_eq!(
                [1, 2, 4].map(lets),
                [1, 2, 4].map(|bit| bit == bits),
                "{owner:?}"
            );
        }
    }

    #[test]
    fn root_may_execute_only_executable_files() {
        let mut acting = Acting::alone();
        acting.switches = true;
        assert!(acting.mode_lets(0, (10, 20), 6).is_ok());
        assert!(acting.mode_lets(0o666, (10, 20), 1).is_err());
        for mode in [0o100, 0o010, 0o001] {
            assert!(acting.mode_lets(mode, (10, 20), 7).is_ok(), "{mode:o}");
        }
    }
}
