//! Everything that can be asked, in one table: what each request brings along, how it is answered, what may be refused.

use super::status::Outcome;
use super::{Level, Turn};
use crate::mem::{nth, place_in};
use crate::wire::sftp::{kind, open};

/// The table of requests: what each brings along, the function that carries it out, and whether it writes stand here alone.
macro_rules! requests {
    ($($ask:ident = $kind:ident $name:literal, $handler:ident => $reply:ident, $traits:expr;)+) => {
        /// What can be asked.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Ask {
            $($ask),+
        }

        /// How much can be asked.
        const COUNT: usize = [$(Ask::$ask),+].len();

        /// In the order of the types, then in the order in which extensions are advertised.
        const TABLE: [(&str, Ask, u8, u8, u16); COUNT] =
            [$(($name, Ask::$ask, kind::$kind, kind::$reply, $traits)),+];

        impl Turn<'_> {
            /// Carries out the request.
            #[inline(always)]
            pub(super) fn dispatch(&mut self) -> Outcome {
                match self.request.ask {
                    $(Ask::$ask => self.$handler()),+
                }
            }
        }
    };
}

/// It changes something. OPEN may or may not, and looks itself.
const WRITES: u16 = 1 << 0;
/// Its arguments begin with a path.
pub(super) const PATH: u16 = 1 << 1;
/// A second path follows.
pub(super) const OTHER: u16 = 1 << 2;
/// Its arguments begin with the handle of a file.
pub(super) const FILE: u16 = 1 << 3;
/// Its arguments begin with the handle of a directory.
pub(super) const DIRECTORY: u16 = 1 << 4;
/// An offset follows.
pub(super) const OFFSET: u16 = 1 << 5;
/// A uint32 follows.
pub(super) const UINT32: u16 = 1 << 6;
/// Attributes follow.
pub(super) const ATTRIBUTES: u16 = 1 << 7;
/// It is logged from level INFO on.
const INFO: u16 = 1 << 8;
/// It is logged at level DEBUG alone.
const DEBUG: u16 = 1 << 9;
/// To OpenSSH, a handle that it does not know is no such file here, elsewhere a failure.
pub(super) const MISSING: u16 = 1 << 12;
/// The extension's name has the suffix.
const OPENSSH: u16 = 1 << 10;
/// The extension's version is 2, not 1.
const SECOND: u16 = 1 << 11;

/// Above all these: from which level on it is told of.
const LEVEL_SHIFT: u32 = 13;

/// The extension that checks an open file.
pub(super) const CHECK_HANDLE: &[u8] = b"check-file-handle";
/// The extension that checks a file by its path.
pub(super) const CHECK_NAME: &[u8] = b"check-file-name";
/// paramiko's name for the former.
pub(super) const CHECK: &[u8] = b"check-file";
/// What the names of OpenSSH's extensions end with.
const SUFFIX: &str = "@openssh.com";
/// Packets of a type of their own, whose numbers follow each other.
const PACKET_COUNT: usize = (kind::SYMLINK - kind::OPEN) as usize + 1;

requests! {
    // Type of the packet, OpenSSH's name for the request, how it is carried out, the type of the reply, what it is like.
    Open = OPEN "open", open => HANDLE, PATH | UINT32 | ATTRIBUTES | INFO;
    Close = CLOSE "close", close => STATUS, FILE | DIRECTORY | MISSING | DEBUG;
    Read = READ "read", read => DATA, FILE | OFFSET | UINT32 | DEBUG;
    Write = WRITE "write", write => STATUS, WRITES | FILE | OFFSET | UINT32 | DEBUG;
    LinkStat = LSTAT "lstat", stat => ATTRS, PATH;
    OpenStat = FSTAT "fstat", stat => ATTRS, FILE | DEBUG;
    SetStat = SETSTAT "setstat", set => STATUS, WRITES | PATH | ATTRIBUTES | INFO;
    OpenSetStat = FSETSTAT "fsetstat", set => STATUS, WRITES | FILE | ATTRIBUTES | INFO;
    OpenDirectory = OPENDIR "opendir", open => HANDLE, PATH | INFO;
    ReadDirectory = READDIR "readdir", list => NAME, DIRECTORY | DEBUG;
    Remove = REMOVE "remove", change_names => STATUS, WRITES | PATH | INFO;
    MakeDirectory = MKDIR "mkdir", change_names => STATUS, WRITES | PATH | ATTRIBUTES | INFO;
    RemoveDirectory = RMDIR "rmdir", change_names => STATUS, WRITES | PATH | INFO;
    RealPath = REALPATH "realpath", real_path => NAME, PATH;
    Stat = STAT "stat", stat => ATTRS, PATH;
    Rename = RENAME "rename", change_names => STATUS, WRITES | PATH | OTHER | INFO;
    ReadLink = READLINK "readlink", read_link => NAME, PATH;
    SymbolicLink = SYMLINK "symlink", change_names => STATUS, WRITES | PATH | OTHER | INFO;
    PosixRename = EXTENDED "posix-rename", change_names => STATUS, OPENSSH | WRITES | PATH | OTHER | INFO;
    Space = EXTENDED "statvfs", statfs => EXTENDED_REPLY, OPENSSH | SECOND | PATH;
    OpenSpace = EXTENDED "fstatvfs", statfs => EXTENDED_REPLY, OPENSSH | SECOND | FILE;
    HardLink = EXTENDED "hardlink", change_names => STATUS, OPENSSH | WRITES | PATH | OTHER | INFO;
    Sync = EXTENDED "fsync", sync => STATUS, OPENSSH | WRITES | FILE | MISSING;
    LinkSetStat = EXTENDED "lsetstat", set => STATUS, OPENSSH | WRITES | PATH | ATTRIBUTES | INFO;
    Limits = EXTENDED "limits", limits => EXTENDED_REPLY, OPENSSH;
    ExpandPath = EXTENDED "expand-path", expand => NAME, OPENSSH | PATH;
    Copy = EXTENDED "copy-data", copy => STATUS, WRITES | FILE | OFFSET | INFO;
    Home = EXTENDED "home-directory", home => NAME, PATH;
    Accounts = EXTENDED "users-groups-by-id", names => EXTENDED_REPLY, OPENSSH;
    Check = EXTENDED "check-file", check => STATUS, 0;
    SpaceAvailable = EXTENDED "space-available", statfs => EXTENDED_REPLY, PATH;
    Vendor = EXTENDED "vendor-id", vendor => STATUS, 0;
}

/// A line of the table without its name: of names there is one text.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) ask: Ask,
    /// The type of the reply.
    pub(super) reply: u8,
    pub(super) traits: u16,
}

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
static ENTRIES: [Entry; COUNT] = {
    let mut entries = [Entry {
        ask: Ask::Open,
        reply: 0,
        traits: 0,
    }; COUNT];
    let mut place = 0;
    while place < COUNT {
        let (_, ask, kind, reply, traits) = TABLE[place];
        let is_packet = place < PACKET_COUNT;
        assert!(
            is_packet && kind == kind::OPEN + ask as u8 || !is_packet && kind == kind::EXTENDED
        );
        let level = match traits & (INFO | DEBUG) {
            INFO => Level::Info,
            DEBUG => Level::Debug,
            _ => Level::Verbose,
        };
        let traits = traits | (level as u16) << LEVEL_SHIFT;
        entries[place] = Entry { ask, reply, traits };
        place += 1;
    }
    entries
};

/// The names, a space between each two.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
static NAMES: [u8; {
    let (mut len, mut place) = (COUNT - 1, 0);
    while place < COUNT {
        len += TABLE[place].0.len();
        place += 1;
    }
    len
}] = {
    let mut names = [b' '; _];
    let (mut len, mut place) = (0, 0);
    while place < COUNT {
        let name = TABLE[place].0.as_bytes();
        let mut at = 0;
        while at < name.len() {
            names[len] = name[at];
            at += 1;
            len += 1;
        }
        len += 1;
        place += 1;
    }
    names
};

/// The names of all that can be asked, as OpenSSH lists them.
pub fn requests() -> impl Iterator<Item = &'static [u8]> {
    (0..COUNT).map(name)
}

/// The name of what stands there in the table.
pub(super) fn name(place: usize) -> &'static [u8] {
    nth(&NAMES, b' ', place)
}

/// The extensions that may be asked for.
pub(super) fn extensions(permits: Permits) -> impl Iterator<Item = &'static Entry> {
    let all = ENTRIES.get(PACKET_COUNT..).unwrap_or_default().iter();
    all.filter(move |entry| permits.has(entry))
}

impl Entry {
    /// Whether it has one of these traits.
    pub(super) const fn has(&self, traits: u16) -> bool {
        self.traits & traits != 0
    }

    /// What the extension's name ends with.
    pub(super) const fn suffix(&self) -> &'static str {
        if self.has(OPENSSH) { SUFFIX } else { "" }
    }

    /// The extension's version.
    pub(super) const fn version(&self) -> &'static [u8] {
        if self.has(SECOND) { b"2" } else { b"1" }
    }

    /// Whether it is logged at this level.
    pub(super) const fn is_told(&self, level: Level) -> bool {
        level as u16 >= self.traits >> LEVEL_SHIFT
    }
}

/// What may be asked: by default everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permits {
    /// A bit for each that may not.
    denied: u32,
    read_only: bool,
}

impl Permits {
    /// Everything.
    pub const ALL: Self = Self {
        denied: 0,
        read_only: false,
    };

    /// Denies what would change anything.
    pub const fn read_only(&mut self) {
        self.read_only = true;
        self.denied |= ALL_WRITES;
    }

    /// Denies what is in a list of names with commas between them. `None`: one of the names is unknown.
    pub fn deny(&mut self, list: &[u8]) -> Option<()> {
        self.denied |= listed(list)?;
        Some(())
    }

    /// Denies what is not in such a list. What was denied stays so.
    pub fn allow_only(&mut self, list: &[u8]) -> Option<()> {
        self.denied |= !listed(list)?;
        Some(())
    }

    /// Whether it may be asked to open a file so.
    pub(super) const fn opening(self, flags: u32) -> bool {
        const CHANGES: u32 = open::WRITE | open::APPEND | open::CREATE | open::TRUNCATE;
        !self.read_only || flags & CHANGES == 0
    }

    /// Whether this may be asked.
    pub(super) const fn has(self, entry: &Entry) -> bool {
        self.denied & bit(entry.ask as usize) == 0
    }
}

/// The bits of what changes something.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const ALL_WRITES: u32 = {
    let (mut bits, mut place) = (0, 0);
    while place < COUNT {
        if ENTRIES[place].has(WRITES) {
            bits |= bit(place);
        }
        place += 1;
    }
    bits
};

const fn bit(place: usize) -> u32 {
    1_u32 << place
}

const _: () = assert!(COUNT <= u32::BITS as usize);

/// The bits of what is in a list.
fn listed(list: &[u8]) -> Option<u32> {
    let mut bits = 0;
    for name in list.split(|byte| *byte == b',') {
        bits |= bit(place_in(&NAMES, name)?);
    }
    Some(bits)
}

/// What a packet of this type asks; if it is for an extension, that of this name.
#[inline(never)]
pub(super) fn lookup(kind: u8, name: &[u8]) -> Option<&'static Entry> {
    let mut suffix = false;
    let extended = kind == kind::EXTENDED;
    let place = if extended {
        let mut plain = name;
        if let Some(before) = name.strip_suffix(SUFFIX.as_bytes()) {
            (plain, suffix) = (before, true);
        }
        // The draft has two names for it, by what follows; paramiko has this one.
        if name == CHECK_NAME || name == CHECK_HANDLE {
            plain = CHECK;
        }
        place_in(&NAMES, plain)?
    } else {
        kind.checked_sub(kind::OPEN)?.into()
    };
    let entry = ENTRIES.get(place)?;
    (entry.has(OPENSSH) == suffix && (place >= PACKET_COUNT) == extended).then_some(entry)
}
