//! The users that a law acts as: UIDs and GIDs without entries in /etc/passwd.

use anyhow::{Context as _, Result};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// A user and its groups.
pub struct Person {
    /// Name in the output.
    pub name: &'static str,
    /// UID.
    pub id: u32,
    /// GIDs; the first one is the primary group.
    pub groups: &'static [u32],
}

/// A group that is no user's primary group.
pub const CLUB: u32 = 2001;

pub const ROOT: Person = person("root", 0, &[0]);
/// Owner of most files.
pub const OWNER: Person = person("owner", 1001, &[1001, CLUB]);
/// Member of the owner's primary group.
pub const MEMBER: Person = person("member", 1002, &[1002, 1001]);
/// Shares no group with the owner.
pub const OTHER: Person = person("other", 1003, &[1003]);

/// All users.
pub const ALL: [&Person; 4] = [&ROOT, &OWNER, &MEMBER, &OTHER];

const fn person(name: &'static str, id: u32, groups: &'static [u32]) -> Person {
    Person { name, id, groups }
}

impl Person {
    /// Switches the process to this user until the guard is dropped, then back to root. The saved IDs stay 0.
    pub fn act(&self) -> Result<Acting> {
        become_root()?;
        let root = Uid::from_raw(0);
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let first = groups.first().copied().context("a person has a group")?;
        let change = || {
            setgroups(&groups)?;
            setresgid(first, first, Gid::from_raw(0))?;
            setresuid(Uid::from_raw(self.id), Uid::from_raw(self.id), root)
        };
        change().with_context(|| format!("cannot act as {}", self.name))?;
        Ok(Acting(()))
    }

    /// Runs `work` as this user.
    pub fn run_as<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let _acting = self.act()?;
        Ok(work())
    }
}

/// Guard of `Person::act`: dropping it switches back to root.
pub struct Acting(());

impl Drop for Acting {
    fn drop(&mut self) {
        become_root().expect("the saved ids are root's");
    }
}

fn become_root() -> nix::Result<()> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresuid(user, user, user)?;
    setresgid(group, group, group)?;
    setgroups(&[group])
}
