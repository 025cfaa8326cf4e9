//! The versions of NFS that the server offers: `--nfs-versions`.

use super::failed;
use crate::config::{CLIENTS_FILE, COMPOUND_COUNT, COMPOUND_COUNT_MIN, COMPOUND_HELD_BYTES};
use crate::config::{KEY_DIRECTORY, NFS4_CLIENT_COUNT, NFS4_CLIENT_COUNT_MIN};
use crate::drive::World;
use crate::drive::service::Limits;
use crate::engine::nfs4::word_count;
use crate::engine::programs::Programs;
use crate::event::Line;
use crate::mem::{parts, scaled, words};
use crate::os::files::{Directory, StateFile};
use crate::sys::{self, Errno};
use crate::text::{Text, text};
use crate::vfs::recent::{self, Recent};
use crate::vfs::{FileId, Tree};
use core::ffi::CStr;
use core::sync::atomic::AtomicU32;

/// The row of `--help`.
pub(super) const HELP: Text = text!(include_str!("versions.txt"));

/// Number of words that servers of the same files share for version 4.1.
pub(in super::super) const WORD_COUNT: usize = recent::WORD_COUNT + word_count(NFS4_CLIENT_COUNT);

/// The versions.
#[derive(Clone, Copy)]
pub(super) struct Versions {
    has_3: bool,
    has_4: bool,
}

/// The memory of NFSv4.1.
pub(super) struct Words {
    /// The words that outlive this server, and that others use, too.
    shared: Option<&'static [AtomicU32]>,
    /// Random words.
    instance: [u32; 2],
}

impl Words {
    pub(super) fn new(shared: Option<&'static [AtomicU32]>, entropy: &[u8; 16]) -> Self {
        let [.., a, b, c, d, e, f, g, h] = *entropy;
        Self {
            shared,
            instance: [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes),
        }
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            has_3: true,
            has_4: true,
        }
    }
}

impl Versions {
    /// Parses a list, as 3,4.1. `None`: it is none, or has another version.
    pub(super) fn set(&mut self, list: &[u8]) -> Option<()> {
        (self.has_3, self.has_4) = (false, false);
        for version in parts(list, b',') {
            match version {
                b"3" => self.has_3 = true,
                b"4.1" => self.has_4 = true,
                _ => return None,
            }
        }
        Some(())
    }

    /// Returns true if version 3 is offered, which needs MOUNT and the portmapper.
    pub(super) const fn has_3(self) -> bool {
        self.has_3
    }

    /// Returns true if version 4.1 is offered.
    pub(super) const fn has_4(self) -> bool {
        self.has_4
    }

    /// The words of "listening on" if version 3 is not offered.
    pub(super) fn alone(self) -> Option<Text> {
        (!self.has_3).then_some(text!(" for NFS 4.1"))
    }

    /// Offers the versions.
    pub(super) fn offer(self, programs: &mut Programs, tree: &mut Tree, memory: Words) {
        if !self.has_4 {
            return;
        }
        let client_count = scaled(NFS4_CLIENT_COUNT_MIN, NFS4_CLIENT_COUNT);
        let local = || words(recent::WORD_COUNT + word_count(client_count));
        let memory_words = memory.shared.unwrap_or_else(local);
        let (changes, tables) = memory_words.split_at(recent::WORD_COUNT);
        tree.recent = Recent(changes);
        programs.offer_version_4(
            tables,
            memory.instance,
            scaled(COMPOUND_COUNT_MIN, COMPOUND_COUNT),
            self.has_3,
        );
    }

    /// Opens the file of records, and reads it. Without it clients reclaim nothing after a start, and none waits for others.
    /// `processes`: true if there are several of NFS, and if this is the first one.
    pub(super) fn keep_records(
        self,
        port: u16,
        state_dir: Option<&'static CStr>,
        programs: &mut Programs,
        [is_shared, is_first]: [bool; 2],
        world: &mut World<'_>,
    ) {
        // By another port clients do not find the server again.
        if !self.has_4 || port == 0 || sys::is_bare() {
            return;
        }
        let path = state_dir.unwrap_or(KEY_DIRECTORY);
        let mut name = Line::default();
        name.raw(CLIENTS_FILE).number(port.into());
        let opened = Directory::open(path).and_then(|dir| StateFile::open(&dir, name.bytes()));
        let opened = opened.and_then(|file| {
            // Servers of one port and two addresses would overwrite each other's records. Processes of one server do not.
            if !is_shared {
                file.lock()?;
            }
            let content = file.read(world.tx)?;
            Ok((file, content))
        });
        let (file, content) = match opened {
            Ok(opened) => opened,
            Err(errno) => {
                let what = text!("clients of NFS 4.1 lose their opens at a restart");
                if is_first && (state_dir.is_some() || errno == Errno::BUSY) {
                    failed(what, path.to_bytes(), errno);
                } else if is_first {
                    let why = text!("it cannot be opened; --state-dir names another");
                    let what =
                        text!("clients of NFS 4.1 lose their opens at a restart: no directory");
                    world.events.report(what, path.to_bytes(), why);
                }
                return;
            }
        };
        let (number, server) = (FileId(file.number()), world.tree.identity());
        let count = programs.keep_records(number, content, server, world.now);
        // The descriptor stays open as long as the process.
        core::mem::forget(file);
        if count > 0 {
            let mut line = Line::default();
            line.number(count);
            let what = text!(
                "waiting 30 to 60 s, or less, for clients of NFS 4.1 to reclaim their opens:"
            );
            world.events.report(what, line.bytes(), Text::NOTHING);
        }
    }

    /// Adds space for the replies of COMPOUNDs that wait.
    pub(super) fn limit(self, limits: &mut Limits) {
        if self.has_4 {
            limits.held_bytes = COMPOUND_HELD_BYTES;
            limits.held_count = scaled(COMPOUND_COUNT_MIN, COMPOUND_COUNT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_versions_are_3_and_4_1() {
        for (list, expect) in [
            (&b"3"[..], Some((true, false))),
            (b"4.1", Some((false, true))),
            (b"3,4.1", Some((true, true))),
            (b"4.1,3", Some((true, true))),
            (b"", None),
            (b"4", None),
            (b"3,", None),
            (b"4.2", None),
        ] {
            let mut versions = Versions::default();
            let set = versions.set(list);
            assert_eq!(set.map(|()| (versions.has_3, versions.has_4)), expect);
        }
    }
}
