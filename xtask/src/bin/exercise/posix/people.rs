//! Whom a law acts as: users that are numbers, because no file system needs more of them.

use anyhow::{Context as _, Result};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// A user with its groups, the first of which new files belong to.
pub struct Person {
    /// As in the lines.
    pub name: &'static str,
    /// The user's number.
    pub id: u32,
    /// The groups' numbers.
    pub groups: &'static [u32],
}

/// A group that is nobody's first.
pub const CLUB: u32 = 2001;

pub const ROOT: Person = person("root", 0, &[0]);
/// To whom most files belong.
pub const OWNER: Person = person("owner", 1001, &[1001, CLUB]);
/// Belongs to the owner's first group.
pub const MEMBER: Person = person("member", 1002, &[1002, 1001]);
/// Has nothing in common with the owner.
pub const OTHER: Person = person("other", 1003, &[1003]);

/// Everybody.
pub const ALL: [&Person; 4] = [&ROOT, &OWNER, &MEMBER, &OTHER];

const fn person(name: &'static str, id: u32, groups: &'static [u32]) -> Person {
    Person { name, id, groups }
}

impl Person {
    /// The process acts as this person until the guard goes; then as root. The saved ids stay root's.
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

    /// Acts as this person for as long as `work` takes, then as root.
    pub fn does<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let _acting = self.act()?;
        Ok(work())
    }
}

/// Somebody acts. Dropping it makes root act again.
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
