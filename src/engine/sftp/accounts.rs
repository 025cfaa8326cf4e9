//! Users' and groups' names: passwd(5) and group(5) of the tree that is served, read once.
//!
//! Under a jail these are the jail's own files. Nothing else is asked, no network and no library: who is not in them has a
//! number only.

use crate::vfs::{FsError, FsResult, Opening, Vfs};
use crate::wire::Writer;
use core::cell::Cell;

/// Bytes that are read of passwd, and of group; what is behind the last whole line of them is left out.
pub const TEXT_BYTES: usize = 64 << 10;
/// Bytes of a name; what is longer is none. In a line of a listing there is room for two.
pub const NAME_BYTES_MAX: usize = 255;

/// The names, once they are loaded.
pub struct Accounts {
    users: Table,
    groups: Table,
    loaded: bool,
}

impl Accounts {
    /// Knows nobody yet. The memory is for passwd and group, and is not touched before they are read.
    pub const fn new([users, groups]: [&'static mut [u8]; 2]) -> Self {
        Self {
            users: Table::new(users),
            groups: Table::new(groups),
            loaded: false,
        }
    }

    /// Reads the files, if they were not read before. In what cannot be read there are no names.
    pub fn load(&mut self, vfs: &mut dyn Vfs) {
        if !self.loaded {
            self.loaded = true;
            self.users.load(vfs, b"/etc/passwd");
            self.groups.load(vfs, b"/etc/group");
        }
    }

    /// The user's name.
    pub fn user(&self, uid: u32) -> Option<&[u8]> {
        self.users.name(uid)
    }

    /// The group's name.
    pub fn group(&self, gid: u32) -> Option<&[u8]> {
        self.groups.name(gid)
    }

    /// The home directory of the user of this name.
    pub fn home(&self, name: &[u8]) -> Option<&[u8]> {
        let mut lines = self.users.lines(0);
        home(lines.find(|line| field(line.1, 0) == name)?.1)
    }

    /// The home directory of the user of this number.
    pub fn home_of(&self, uid: u32) -> Option<&[u8]> {
        home(self.users.line(uid)?)
    }
}

#[cfg(test)]
impl Accounts {
    /// Those in these texts.
    pub fn known(passwd: &[u8], group: &[u8]) -> Self {
        let table = |text: &[u8]| Table {
            len: text.len(),
            ..Table::new(text.to_vec().leak())
        };
        Self {
            users: table(passwd),
            groups: table(group),
            loaded: true,
        }
    }
}

/// A number, and where its line begins if it has one.
type Asked = (u32, Option<u32>);

/// One of the two files: lines of fields between colons, of which the first is a name and the third its number.
struct Table {
    memory: &'static mut [u8],
    /// Bytes of the whole lines in it.
    len: usize,
    /// What was asked for lately, each number in the place that its lowest bits say: files have few owners.
    recent: [Cell<Option<Asked>>; Self::RECENT_COUNT],
}

impl Table {
    const RECENT_COUNT: usize = 64;

    const fn new(memory: &'static mut [u8]) -> Self {
        Self {
            memory,
            len: 0,
            recent: [const { Cell::new(None) }; Self::RECENT_COUNT],
        }
    }

    fn load(&mut self, vfs: &mut dyn Vfs, path: &[u8]) {
        let len = self.read(vfs, path).unwrap_or(0);
        let text = self.memory.get(..len).unwrap_or_default();
        // The last line of what fills the memory may go on behind it.
        let full = len == self.memory.len();
        let end = text.iter().rposition(|byte| full && *byte == b'\n');
        self.len = if full { end.unwrap_or(0) } else { len };
    }

    /// Reads the file into the memory, where its path is before.
    fn read(&mut self, vfs: &mut dyn Vfs, path: &[u8]) -> FsResult<usize> {
        let mut whole = Writer::new(self.memory);
        whole.put(vfs.exports().first().map_or(b"", |export| export.path));
        whole.put(path);
        let len = whole.written().ok_or(FsError::NameTooLong)?;
        let how = Opening {
            read: true,
            ..Opening::default()
        };
        let pin = vfs.open_at(self.memory.get(..len).unwrap_or_default(), &how)?;
        let read = vfs.read(&pin, 0, self.memory);
        vfs.unpin(pin);
        read
    }

    /// The lines from this place on.
    fn lines(&self, at: u32) -> Lines<'_> {
        let text = self.memory.get(..self.len).unwrap_or_default();
        Lines { text, at }
    }

    /// The first line that has this number.
    fn line(&self, number: u32) -> Option<&[u8]> {
        let place = self.recent.get(number as usize % Self::RECENT_COUNT)?;
        let at = match place.get() {
            Some((recent, at)) if recent == number => at,
            _ => {
                let found = self.lines(0).find(|line| has_number(line.1, number));
                let at = found.map(|line| line.0);
                place.set(Some((number, at)));
                at
            }
        };
        self.lines(at?).next().map(|line| line.1)
    }

    #[inline(never)]
    fn name(&self, number: u32) -> Option<&[u8]> {
        let name = field(self.line(number)?, 0);
        Some(name).filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()))
    }
}

/// The lines of a text, each with its place in it.
struct Lines<'a> {
    text: &'a [u8],
    at: u32,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (at, rest) = (self.at, self.text.get(self.at as usize..)?);
        let line = part(rest, b'\n');
        self.at = at.saturating_add(line.len() as u32).saturating_add(1);
        Some((at, line)).filter(|_| !rest.is_empty())
    }
}

/// What stands before the first `end` in `text`: all of it if there is none.
fn part(text: &[u8], end: u8) -> &[u8] {
    let len = text.iter().position(|byte| *byte == end);
    len.and_then(|len| text.get(..len)).unwrap_or(text)
}

/// The field of this place in a line, empty if there is none.
#[inline(never)]
fn field(line: &[u8], place: usize) -> &[u8] {
    let mut fields = line.split(|byte| *byte == b':');
    fields.nth(place).unwrap_or_default()
}

/// Whether this is no comment and the third field is this number in decimal.
fn has_number(line: &[u8], number: u32) -> bool {
    let digits = field(line, 2);
    let value = digits.iter().try_fold(0u32, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        let value = value.checked_mul(10)?.checked_add(digit.into())?;
        Some(value).filter(|_| digit < 10)
    });
    let comment = line.first() == Some(&b'#');
    !comment && !digits.is_empty() && value == Some(number)
}

/// The home directory in a line of passwd.
fn home(line: &[u8]) -> Option<&[u8]> {
    Some(field(line, 5)).filter(|home| !home.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::ram::Ram;
    use crate::vfs::{Change, Make, Name, Right};

    fn tree(top: &'static [u8], files: &[(&[u8], &[u8])]) -> Ram {
        let mut ram = Ram::new(top);
        ram.writable = true;
        let root = ram.root(0).unwrap();
        let etc = Name::new(b"etc").unwrap();
        let etc = ram.create(root, etc, Make::Directory, &Change::default());
        let etc = etc.unwrap();
        for (name, text) in files {
            let name = Name::new(name).unwrap();
            let node = ram.create(etc, name, Make::File, &Change::default());
            let pin = ram.pin(node.unwrap(), Some(Right::Write)).unwrap();
            ram.write(&pin, 0, text).unwrap();
            ram.unpin(pin);
        }
        ram
    }

    /// What is known after `files` were read into memories of `bytes`.
    fn loaded(top: &'static [u8], files: &[(&[u8], &[u8])], bytes: usize) -> Accounts {
        let memory = || &mut *vec![0xff; bytes].leak();
        let mut accounts = Accounts::new([memory(), memory()]);
        let mut ram = tree(top, files);
        accounts.load(&mut ram);
        assert_eq!(ram.pinned, 0);
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
    fn names_are_found_by_their_numbers() {
        for top in [&b"/"[..], b"/srv/data"] {
            let files = [(&b"passwd"[..], PASSWD), (b"group", b"users:x:100:ann\n")];
            let accounts = loaded(top, &files, 4096);
            // Twice: the second answer is remembered.
            for _ in 0..2 {
                for (uid, name) in [
                    (0, Some(&b"root"[..])),
                    (9, None),
                    (1000, Some(b"ann")),
                    // It shares its place among those asked for lately with the one before.
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
    fn what_is_beyond_the_memory_is_cut_at_a_line() {
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
    fn without_the_files_nobody_has_a_name() {
        let accounts = loaded(b"/", &[], 100);
        assert_eq!((accounts.user(0), accounts.group(0)), (None, None));
        assert_eq!((accounts.home(b"root"), accounts.home(b"")), (None, None));
    }

    #[test]
    fn a_name_that_is_too_long_is_none() {
        for len in [255, 256] {
            let line = [&vec![b'n'; len][..], b":x:5:"].concat();
            let accounts = loaded(b"/", &[(b"group", &line)], 4096);
            assert_eq!(accounts.group(5).is_some(), len == 255);
        }
    }

    #[test]
    fn the_files_are_read_once() {
        let mut accounts = loaded(b"/", &[(b"group", b"a:x:1:\n")], 100);
        accounts.load(&mut tree(b"/", &[(b"group", b"b:x:1:\n")]));
        assert_eq!(accounts.group(1), Some(&b"a"[..]));
    }
}
