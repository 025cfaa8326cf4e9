//! `--manage-gids`: reads the groups of users from /etc/passwd and /etc/group at the start and at SIGHUP, as rpc.mountd does at each
//! use.

use crate::console::{DONE, FAILED, complain};
use crate::event::Fatal;

use super::REASONS;
use super::Wanted;
use super::file_user::FileUser;
use crate::config::{ACCOUNTS_FILE_BYTES_MAX, GROUP_MEMBER_COUNT_MAX, GROUP_USER_COUNT_MAX};
use crate::console::reasons;
use crate::mem::{self, Ends as _, Slots};
use crate::os::files::Directory;
use crate::text::text;
use crate::vfs::Tree;
use crate::vfs::host::Host;
use crate::vfs::host::groups::{GroupTable, membership, sort};
use crate::wire::accounts::{User, groups, users};

const PASSWD: &[u8] = b"/etc/passwd";
const GROUP: &[u8] = b"/etc/group";

// The messages name these limits.
const _: () = assert!(ACCOUNTS_FILE_BYTES_MAX == 256 << 10);
const _: () = assert!(GROUP_USER_COUNT_MAX == 4096 && GROUP_MEMBER_COUNT_MAX == 16_384);

/// The table, and the memory to build the next one.
pub(super) struct Groups {
    table: &'static GroupTable,
    /// The memberships being read, and after that the former ones.
    entries: Slots<u64>,
    /// Hash of a name in the high 32 bits, offset of its line in the low ones; sorted.
    names: Slots<u64>,
    passwd: &'static mut [u8],
    group: &'static mut [u8],
}

/// Makes the server report refused users who may have more groups than they send.
pub(super) fn watch_refusals(wanted: &Wanted, file_user: FileUser, tree: &mut Tree) {
    let may_help = file_user == FileUser::Caller && !wanted.manages_groups;
    tree.refused_users = may_help.then(heapless::Vec::new);
}

impl Groups {
    /// Reads the files if the flag is given, and makes `host` use the table.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(super) fn start(
        wanted: &Wanted,
        file_user: FileUser,
        host: &mut Host,
    ) -> Result<Option<&'static mut Self>, Fatal> {
        if !wanted.manages_groups {
            return Ok(None);
        }
        if file_user != FileUser::Caller {
            let why = text!("files are accessed as one user; start as root, without -s");
            complain(DONE, text!("without effect"), b"--manage-gids", why);
            return Ok(None);
        }
        let table = mem::leak(GroupTable::default());
        table.replace(Slots::new(GROUP_MEMBER_COUNT_MAX));
        let table = &*table;
        let groups = mem::leak(Self {
            table,
            entries: Slots::new(GROUP_MEMBER_COUNT_MAX),
            names: Slots::new(GROUP_USER_COUNT_MAX),
            passwd: mem::bytes(ACCOUNTS_FILE_BYTES_MAX + 1),
            group: mem::bytes(ACCOUNTS_FILE_BYTES_MAX + 1),
        });
        groups.load()?;
        host.manage_groups(table, GROUP_MEMBER_COUNT_MAX);
        Ok(Some(groups))
    }

    /// Reads the files. On an error, the table is unchanged.
    ///
    /// # Errors
    /// Exit status 1: a file cannot be read, or has too many users or groups; that is reported.
    pub(super) fn load(&mut self) -> Result<(), Fatal> {
        let passwd = read(PASSWD, self.passwd)?;
        let group = read(GROUP, self.group)?;
        let (entries, names) = (&mut self.entries, &mut self.names);
        if build(passwd, group, entries, names).is_none() {
            let why = text!("only 4,096 users and 16,384 memberships are possible");
            return Err(complain(FAILED, text!("too many groups in"), GROUP, why));
        }
        self.entries = self.table.replace(core::mem::take(entries));
        Ok(())
    }
}

/// Reads a file that is not longer than [`ACCOUNTS_FILE_BYTES_MAX`].
fn read<'b>(path: &[u8], buffer: &'b mut [u8]) -> Result<&'b [u8], Fatal> {
    match Directory::current().read(path, buffer) {
        Ok(text) if text.len() <= ACCOUNTS_FILE_BYTES_MAX => Ok(text),
        Ok(_) => {
            let why = text!("longer than 256 KiB");
            Err(complain(FAILED, text!("cannot read"), path, why))
        }
        Err(errno) => {
            let what = text!("cannot read");
            Err(reasons::failed(what, path, errno, &REASONS))
        }
    }
}

/// Writes the sorted memberships of all users to `entries`: the primary group, and those of group(5). Of several users with one UID,
/// the first counts, as in getpwuid(3). `None`: there are too many.
fn build(
    passwd: &[u8],
    group: &[u8],
    entries: &mut Slots<u64>,
    names: &mut Slots<u64>,
) -> Option<()> {
    entries.clear();
    names.clear();
    for (at, user) in users(passwd) {
        let is_known = entries
            .iter()
            .any(|entry| (*entry >> 32) as u32 == user.uid);
        if !is_known {
            names.push(membership(hash(user.name), at as u32))?;
            entries.push(membership(user.uid, user.gid))?;
        }
    }
    sort(names);
    for (gid, members) in groups(group) {
        for member in members {
            let first = membership(hash(member), 0);
            let from = names.partition_point(|name| *name < first);
            let same = names.iter().skip(from);
            let same = same.take_while(|name| **name >> 32 == first >> 32);
            let mut same = same.filter_map(|name| User::parse(passwd.tail(*name as u32 as usize)));
            if let Some(user) = same.find(|user| user.name == member) {
                entries.push(membership(user.uid, gid))?;
            }
        }
    }
    sort(entries);
    Some(())
}

/// FNV-1a.
fn hash(name: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    name.iter().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_those_of_both_files() {
        let passwd = b"root:x:0:0\nalice:x:1000:100\nalias:x:1000:7\nbob:x:1001:100";
        let group = b"a:x:20:alice,bob\nb:x:21:alias,nobody\nc:x:22:alice, bob\n";
        let (mut entries, mut names) = (Slots::new(7), Slots::new(3));
        let built = build(passwd, group, &mut entries, &mut names);
        let read: Vec<_> = entries
            .iter()
            .map(|entry| (entry >> 32, *entry as u32))
            .collect();
        let expect = [
            (0, 0),
            (1000, 20),
            (1000, 22),
            (1000, 100),
            (1001, 20),
            (1001, 22),
            (1001, 100),
        ];
        assert_eq!((built, &read[..]), (Some(()), &expect[..]));
        let (mut few, mut names) = (Slots::new(6), Slots::new(3));
        assert_eq!(build(passwd, group, &mut few, &mut names), None);
    }
}
