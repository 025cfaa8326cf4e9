//! Everything that can be asked, in one table: what each request brings along, how it is answered, what may be refused.

use super::status::Outcome;
use super::{Level, Turn};
use crate::mem::{nth, place_in};
use crate::text::{Text, text, texts};
use crate::wire::sftp::{kind, open};

texts! {
    /// What lines look like. `$` is a string; `#` is a number, `%` one in octal, `&` the same in four digits or more; `)` are
    /// flags of OPEN; `'` is a time; `(` is a number that is left out.
    #[expect(dead_code, reason = "what is set is found by its place")]
    pub(super) enum Format {
        Bare => "$",
        Path => "$ \"$\"",
        Name => "$ name \"$\"",
        Two => "$ old \"$\" new \"$\"",
        Open => "$ \"$\" flags ) mode 0%",
        MakeDirectory => "$ name \"$\") mode 0%",
        Size => "$ \"$\" size #",
        Mode => "$ \"$\" mode (&",
        Time => "$ \"$\" modtime (('",
        Owner => "$ \"$\" owner (((# group #",
    }
}

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
/// It is logged from level VERBOSE on; without this, from INFO on.
const VERBOSE: u16 = 1 << 8;
/// It is logged at level DEBUG alone.
const DEBUG: u16 = 1 << 9;
/// It is not logged here.
const NEVER: u16 = VERBOSE | DEBUG;
/// The extension's name has the suffix.
const OPENSSH: u16 = 1 << 10;
/// The extension's version is 2, not 1.
const SECOND: u16 = 1 << 11;
/// To OpenSSH, a handle that it does not know is no such file here, elsewhere a failure.
pub(super) const MISSING: u16 = 1 << 12;
/// Above all these: how it is logged.
const FORMAT_SHIFT: u32 = 13;
/// By its path.
const BY_PATH: u16 = (Format::Path as u16) << FORMAT_SHIFT;
/// By its path, which is called a name.
const BY_NAME: u16 = (Format::Name as u16) << FORMAT_SHIFT;
/// By two paths.
const BY_TWO: u16 = (Format::Two as u16) << FORMAT_SHIFT;
/// By its path, flags and mode.
const OPENS: u16 = (Format::Open as u16) << FORMAT_SHIFT;
/// By its path and mode.
const MAKES: u16 = (Format::MakeDirectory as u16) << FORMAT_SHIFT;
/// By what its attributes set.
const SET: u16 = (Format::Size as u16) << FORMAT_SHIFT;

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
    Open = OPEN "open", open => HANDLE, PATH | UINT32 | ATTRIBUTES | OPENS;
    Close = CLOSE "close", close => STATUS, FILE | DIRECTORY | MISSING;
    Read = READ "read", read => DATA, FILE | OFFSET | UINT32 | DEBUG | BY_PATH;
    Write = WRITE "write", write => STATUS, WRITES | FILE | OFFSET | UINT32 | DEBUG | BY_PATH;
    LinkStat = LSTAT "lstat", stat => ATTRS, PATH | VERBOSE | BY_NAME;
    OpenStat = FSTAT "fstat", stat => ATTRS, FILE | DEBUG | BY_PATH;
    SetStat = SETSTAT "setstat", set => STATUS, WRITES | PATH | ATTRIBUTES | SET;
    OpenSetStat = FSETSTAT "fsetstat", set => STATUS, WRITES | FILE | ATTRIBUTES | SET;
    OpenDirectory = OPENDIR "opendir", open => HANDLE, PATH | BY_PATH;
    ReadDirectory = READDIR "readdir", list => NAME, DIRECTORY | DEBUG | BY_PATH;
    Remove = REMOVE "remove", change_names => STATUS, WRITES | PATH | BY_NAME;
    MakeDirectory = MKDIR "mkdir", change_names => STATUS, WRITES | PATH | ATTRIBUTES | MAKES;
    RemoveDirectory = RMDIR "rmdir", change_names => STATUS, WRITES | PATH | BY_NAME;
    RealPath = REALPATH "realpath", real_path => NAME, PATH | VERBOSE | BY_PATH;
    Stat = STAT "stat", stat => ATTRS, PATH | VERBOSE | BY_NAME;
    Rename = RENAME "rename", change_names => STATUS, WRITES | PATH | OTHER | BY_TWO;
    ReadLink = READLINK "readlink", read_link => NAME, PATH | VERBOSE | BY_PATH;
    SymbolicLink = SYMLINK "symlink", change_names => STATUS, WRITES | PATH | OTHER | BY_TWO;
    PosixRename = EXTENDED "posix-rename", change_names => STATUS, OPENSSH | WRITES | PATH | OTHER | BY_TWO;
    Space = EXTENDED "statvfs", statfs => EXTENDED_REPLY, OPENSSH | SECOND | PATH | BY_PATH;
    OpenSpace = EXTENDED "fstatvfs", statfs => EXTENDED_REPLY, OPENSSH | SECOND | FILE | DEBUG | BY_PATH;
    HardLink = EXTENDED "hardlink", change_names => STATUS, OPENSSH | WRITES | PATH | OTHER | BY_TWO;
    Sync = EXTENDED "fsync", sync => STATUS, OPENSSH | WRITES | FILE | MISSING | VERBOSE | BY_PATH;
    LinkSetStat = EXTENDED "lsetstat", set => STATUS, OPENSSH | WRITES | PATH | ATTRIBUTES | SET;
    Limits = EXTENDED "limits", limits => EXTENDED_REPLY, OPENSSH | DEBUG;
    ExpandPath = EXTENDED "expand-path", expand => NAME, OPENSSH | PATH | NEVER;
    Copy = EXTENDED "copy-data", copy => STATUS, WRITES | FILE | OFFSET | DEBUG | BY_PATH;
    Home = EXTENDED "home-directory", home => NAME, PATH | NEVER;
    Accounts = EXTENDED "users-groups-by-id", names => EXTENDED_REPLY, OPENSSH | VERBOSE;
    Check = EXTENDED "check-file", check => STATUS, VERBOSE;
    SpaceAvailable = EXTENDED "space-available", statfs => EXTENDED_REPLY, PATH | VERBOSE | BY_PATH;
    Vendor = EXTENDED "vendor-id", vendor => STATUS, VERBOSE;
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

/// All extensions.
pub(super) fn extensions() -> &'static [Entry] {
    ENTRIES.get(PACKET_COUNT..).unwrap_or_default()
}

/// What is logged of a request that would change something.
pub(super) const READ_ONLY: Text = text!("Refusing $ request in read-only mode");

impl Entry {
    /// How it is logged.
    pub(super) fn format(&self) -> Text {
        Format::Bare
            .text()
            .plus((self.traits >> FORMAT_SHIFT) as u8)
    }

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
    pub(super) const fn is_logged(&self, level: Level) -> bool {
        const { assert!(DEBUG / VERBOSE == Level::Debug as u16 - Level::Info as u16) };
        level as u16 >= Level::Info as u16 + self.traits / VERBOSE % 4
    }
}

/// What may be asked: by default everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permits {
    /// A bit for each that is in a list of those that may not.
    denied: u32,
    /// A bit for each that is in no list of those that may, if there is one.
    unlisted: u32,
    read_only: bool,
}

impl Permits {
    /// Everything.
    pub const ALL: Self = Self {
        denied: 0,
        unlisted: 0,
        read_only: false,
    };

    /// Denies what would change anything.
    pub const fn read_only(&mut self) {
        self.read_only = true;
    }

    /// Denies what is in a list of names with commas between them. `None`: one of the names is unknown.
    pub fn deny(&mut self, list: &[u8]) -> Option<()> {
        self.denied |= listed(list)?;
        Some(())
    }

    /// Denies what is not in such a list. What was denied stays so.
    pub fn allow_only(&mut self, list: &[u8]) -> Option<()> {
        self.unlisted |= !listed(list)?;
        Some(())
    }

    /// Whether it may be asked to open a file so.
    pub(super) const fn opening(self, flags: u32) -> bool {
        const CHANGES: u32 = open::WRITE | open::APPEND | open::CREATE | open::TRUNCATE;
        !self.read_only || flags & CHANGES == 0
    }

    /// How it is logged that this may not be asked. `None`: it may.
    pub(super) fn refusal(self, entry: &Entry) -> Option<Text> {
        let is_in = |bits: u32| bits & bit(entry.ask as usize) > 0;
        if self.read_only && entry.has(WRITES) {
            Some(READ_ONLY)
        } else if is_in(self.denied) {
            Some(text!("Refusing denylisted $ request"))
        } else {
            is_in(self.unlisted).then_some(text!("Refusing non-allowlisted $ request"))
        }
    }
}

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
