//! User names, group names and local time: passwd(5), group(5) and tzfile(5) of the served tree, each read once.
//!
//! In a jail these are the jail's own files. There are no other sources, no network and no NSS: the listing shows the number of a
//! user or group that is not in the files.

use super::handles::TO_READ;
use crate::mem::{Ends as _, nth, parts};
use crate::vfs::Tree;
use crate::vfs::walk::{Text, add};
use crate::wire::{Writer, zone};
use core::cell::Cell;

/// Maximum length of a name (bytes); longer ones are ignored. Two names fit into a line of a listing.
pub const NAME_BYTES_MAX: usize = 255;

/// The names and the time zone, loaded at the first use.
#[repr(C)] // Largest field last: the others have short offsets.
pub struct Accounts {
    /// The value of TZ: a path, a name below /usr/share/zoneinfo, or a POSIX rule.
    tz: &'static [u8],
    zone: File,
    loaded: bool,
    users: Table,
    groups: Table,
}

impl Accounts {
    /// Creates accounts without names. Local time follows `tz`, or if that is `None` /etc/localtime. The three buffers are for
    /// passwd, group and the time zone file, and are not touched before the files are read.
    pub fn new(tz: Option<&'static [u8]>, [users, groups, zone]: [&'static mut [u8]; 3]) -> Self {
        Self {
            users: Table::new(users),
            groups: Table::new(groups),
            tz: tz.unwrap_or(b"/etc/localtime"),
            zone: File::new(zone),
            loaded: false,
        }
    }

    /// Reads the files at the first call. A file that cannot be read counts as empty.
    pub fn load(&mut self, vfs: &mut Tree) {
        if !self.loaded {
            self.loaded = true;
            self.users.file.load(vfs, b"/etc/passwd", b"");
            self.groups.file.load(vfs, b"/etc/group", b"");
            if let [b':', tz @ ..] = self.tz {
                self.tz = tz;
            }
            let dir: &[u8] = match self.tz {
                [b'/', ..] => b"",
                _ => b"/usr/share/zoneinfo/",
            };
            self.zone.load(vfs, dir, self.tz);
        }
    }

    /// Offset of local time from UTC (seconds, east is positive) at `secs` since 1970.
    pub fn offset_at(&self, secs: i64) -> i64 {
        zone::offset(self.zone.text, self.tz, secs)
    }

    /// The user's name.
    pub fn user(&self, uid: u32) -> Option<&'static [u8]> {
        self.users.name(uid)
    }

    /// The group's name.
    pub fn group(&self, gid: u32) -> Option<&'static [u8]> {
        self.groups.name(gid)
    }

    /// The home directory of the user with this name.
    pub fn home(&self, name: &[u8]) -> Option<&'static [u8]> {
        self.users.find(NAME, name, HOME)
    }

    /// The home directory of the user with this UID.
    pub fn home_of(&self, uid: u32) -> Option<&'static [u8]> {
        self.users.find_number(uid, HOME)
    }
}

/// Writes a space, then the number, right-aligned in at least `places` columns.
pub(super) fn number(out: &mut Writer<'_>, number: u64, places: usize) {
    let mut text = [b' '; 21];
    let (mut rest, mut len) = (number, 0_usize);
    for place in text.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        len += 1;
        if rest == 0 {
            break;
        }
    }
    let from = text.len() - len.max(places) - 1;
    out.put(text.tail(from));
}

#[cfg(test)]
impl Accounts {
    /// Accounts with the contents of these two files.
    pub fn known(passwd: &[u8], group: &[u8]) -> Self {
        let mut known = Self::new(None, [(); 3].map(|()| &mut [][..]));
        known.users.file.text = passwd.to_vec().leak();
        known.groups.file.text = group.to_vec().leak();
        Self {
            loaded: true,
            ..known
        }
    }
}

/// Indices of fields in a line of passwd(5).
const NAME: usize = 0;
const NUMBER: usize = 2;
const HOME: usize = 5;

/// A UID or GID, and its name if it has one.
type Known = (u32, Option<&'static [u8]>);

/// A file of the served tree, read into memory.
struct File {
    memory: &'static mut [u8],
    /// The contents that were read; empty if the file cannot be read.
    text: &'static [u8],
}

impl File {
    const fn new(memory: &'static mut [u8]) -> Self {
        Self { memory, text: &[] }
    }

    /// Reads the file in pieces, up to the last whole line that fits into the memory.
    fn load(&mut self, vfs: &mut Tree, dir: &[u8], name: &[u8]) {
        let memory = core::mem::take(&mut self.memory);
        let mut whole = Text::new();
        if add(&mut whole, vfs.root_path()).is_err()
            || add(&mut whole, dir).is_err()
            || add(&mut whole, name).is_err()
        {
            return;
        }
        let Ok(pin) = vfs.open_at(&whole, &TO_READ) else {
            return;
        };
        let mut len = 0;
        while let Ok(read @ 1..) = vfs.read(&pin, len as u64, memory.tail_mut(len)) {
            len += read as usize;
        }
        vfs.unpin(pin);
        let full = len == memory.len();
        let memory: &'static [u8] = memory;
        let mut text = memory.head(len);
        // If the memory is full, the last line may be incomplete.
        while let [before @ .., last] = text
            && full
            && *last != b'\n'
        {
            text = before;
        }
        self.text = text;
    }
}

/// passwd or group: lines of fields that are separated by colons.
struct Table {
    file: File,
    /// Cache of recent lookups, indexed by the lowest bits of the number. A directory of many files has few owners.
    recent: [Cell<Option<Known>>; Self::RECENT_COUNT],
}

impl Table {
    const RECENT_COUNT: usize = 64;

    const fn new(memory: &'static mut [u8]) -> Self {
        Self {
            file: File::new(memory),
            recent: const { [const { Cell::new(None) }; Self::RECENT_COUNT] },
        }
    }

    /// Finds the first line whose field at index `place` is `wanted`. Returns the field at index `wish` of that line.
    fn find(&self, place: usize, wanted: &[u8], wish: usize) -> Option<&'static [u8]> {
        let is_it = |line: &&[u8]| line.first() != Some(&b'#') && nth(line, b':', place) == wanted;
        let line = parts(self.file.text, b'\n').find(is_it)?;
        Some(nth(line, b':', wish)).filter(|found| !found.is_empty())
    }

    fn find_number(&self, number: u32, wish: usize) -> Option<&'static [u8]> {
        let mut buffer = [0; 11];
        let mut digits = Writer::new(&mut buffer);
        self::number(&mut digits, number.into(), 0);
        // `number` writes a space before the digits.
        self.find(NUMBER, digits.since(1), wish)
    }

    fn name(&self, number: u32) -> Option<&'static [u8]> {
        let place = self.recent.get(number as usize % Self::RECENT_COUNT)?;
        match place.get() {
            Some((recent, name)) if recent == number => name,
            _ => {
                let name = self.find_number(number, NAME);
                let name = name.filter(|name| name.len() <= NAME_BYTES_MAX);
                place.set(Some((number, name)));
                name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;
    use crate::vfs::ram::Ram;

    fn tree(top: &'static [u8], files: &[(&[u8], &[u8])]) -> testing::tree::Tree {
        let mut ram = Ram::model(top);
        ram.dir("etc");
        for (name, text) in files {
            let name = core::str::from_utf8(name).unwrap();
            ram.file(&format!("etc/{name}"), text);
        }
        testing::tree::Tree::of(ram)
    }

    /// Accounts after `files` were read into memories of `bytes`.
    fn loaded(top: &'static [u8], files: &[(&[u8], &[u8])], bytes: usize) -> Accounts {
        let memory = || &mut *vec![0xff; bytes].leak();
        let mut accounts = Accounts::new(None, [memory(), memory(), memory()]);
        let mut tree = tree(top, files);
        accounts.load(&mut tree);
        assert_eq!(tree.ram().pinned, 0);
        accounts
    }

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        # nobody:x:9:9\n\
        +::::::\n\
        empty:x::1::/e:\n\
        huge:x:4294967296:1::/h:\n\
        minus:x:-1:1::/m:\n\
        ann:x:1000:100:Ann,,,:/home/ann:/bin/sh\n\
        ann2:x:1000:100::/home/second:\n\
        :x:7:7::/noname:\n\
        last:x:4294967295:1::/last";

    #[test]
    fn uid_and_gid_resolve_to_their_names() {
        for top in [&b"/"[..], b"/srv/data"] {
            let files = [(&b"passwd"[..], PASSWD), (b"group", b"users:x:100:ann\n")];
            let accounts = loaded(top, &files, 4096);
            // The second time, the answers come from the cache.
            for _ in 0..2 {
                for (uid, name) in [
                    (0, Some(&b"root"[..])),
                    (9, None),
                    (1000, Some(b"ann")),
                    // Uses the same entry of the cache as UID 1000, which must not match.
                    (1000 + 64, None),
                    (7, None),
                    (1, None),
                    (u32::MAX, Some(b"last")),
                ] {
                    assert_eq!(accounts.user(uid), name, "{uid}");
                }
                assert_eq!(accounts.group(100), Some(&b"users"[..]));
                assert_eq!(accounts.group(0), None);
            }
            assert_eq!(accounts.home(b"ann"), Some(&b"/home/ann"[..]));
            assert_eq!(accounts.home(b"last"), Some(&b"/last"[..]));
            assert_eq!(accounts.home(b"nobody"), None);
            assert_eq!(accounts.home_of(0), Some(&b"/root"[..]));
            assert_eq!(accounts.home_of(2), None);
        }
    }

    #[test]
    fn file_larger_than_memory_is_cut_at_line() {
        let text = b"a:x:1:1::/:\nbb:x:2:1::/:\n";
        for (bytes, second) in [(30, true), (25, true), (24, false), (12, false)] {
            let accounts = loaded(b"/", &[(b"passwd", text)], bytes);
            assert_eq!(accounts.user(1), Some(&b"a"[..]), "{bytes}");
            assert_eq!(accounts.user(2).is_some(), second, "{bytes}");
        }
        for bytes in [0, 5, 11] {
            assert_eq!(loaded(b"/", &[(b"passwd", text)], bytes).user(1), None);
        }
    }

    #[test]
    fn missing_files_yield_no_names() {
        let accounts = loaded(b"/", &[], 100);
        assert_eq!((accounts.user(0), accounts.group(0)), (None, None));
        assert_eq!((accounts.home(b"root"), accounts.home(b"")), (None, None));
    }

    #[test]
    fn name_longer_than_255_bytes_is_ignored() {
        for len in [255, 256] {
            let line = [&vec![b'n'; len][..], b":x:5:"].concat();
            let accounts = loaded(b"/", &[(b"group", &line)], 4096);
            assert_eq!(accounts.group(5).is_some(), len == 255);
        }
    }

    #[test]
    fn second_load_keeps_the_first_contents() {
        let mut accounts = loaded(b"/", &[(b"group", b"a:x:1:\n")], 100);
        accounts.load(&mut tree(b"/", &[(b"group", b"b:x:1:\n")]));
        assert_eq!(accounts.group(1), Some(&b"a"[..]));
    }
}
