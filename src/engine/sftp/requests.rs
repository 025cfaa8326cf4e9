//! The table of requests: arguments, handler, type of the reply, log format, and whether it writes.

use super::status::Outcome;
use super::{Level, Turn};
use crate::mem::{index_of, nth, parts};
use crate::text::{Text, text, texts};
use crate::wire::sftp::{kind, open};

texts! {
    /// Formats of log lines. `$` is a string; `#` is a decimal number, `%` an octal one, `&` an octal one of at least four digits;
    /// `)` stands for flags of OPEN; `'` is a time; `(` skips a number.
    #[expect(dead_code, reason = "what is set is found by its place")]
    pub(super) enum Format {
        Bare => "$",
        Path => "$ \"$\"",
        Name => "$ name \"$\"",
        Two => "$ old \"$\" new \"$\"",
        OpenHandle => "$ \"$\" flags ) mode 0%",
        MakeDirectory => "$ name \"$\") mode 0%",
        Size => "$ \"$\" size #",
        Mode => "$ \"$\" mode (&",
        Time => "$ \"$\" modtime (('",
        Owner => "$ \"$\" owner (((# group #",
    }
}

/// Defines `Ask`, `TABLE` and `dispatch` from one list of requests.
macro_rules! requests {
    ($($ask:ident = $kind:ident $name:literal, $handler:ident => $reply:ident, $traits:expr;)+) => {
        /// A request or extension.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Ask {
            $($ask),+
        }

        /// Number of requests and extensions.
        const COUNT: usize = [$(Ask::$ask),+].len();

        /// One entry per request: name, `Ask`, packet type, type of the reply, traits. In the order of the packet types, then in
        /// the order in which extensions are advertised.
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

/// The request always changes files. Not set for OPEN, which checks its flags itself.
const WRITES: u16 = 1 << 0;
/// The arguments begin with a path.
pub(super) const PATH: u16 = 1 << 1;
/// After the first path, the arguments have a second one.
pub(super) const OTHER: u16 = 1 << 2;
/// The arguments begin with the handle of a file.
pub(super) const FILE: u16 = 1 << 3;
/// The arguments begin with the handle of a directory.
pub(super) const DIRECTORY: u16 = 1 << 4;
/// An offset is among the arguments.
pub(super) const OFFSET: u16 = 1 << 5;
/// A uint32 is among the arguments.
pub(super) const UINT32: u16 = 1 << 6;
/// Attributes are among the arguments.
pub(super) const ATTRIBUTES: u16 = 1 << 7;
/// Logged from level VERBOSE on; without this flag, from INFO on.
const VERBOSE: u16 = 1 << 8;
/// Logged from level DEBUG on.
const DEBUG: u16 = 1 << 9;
/// The request is not logged before it is carried out; its handler logs the resulting path instead.
const NEVER: u16 = VERBOSE | DEBUG;
/// The extension's name ends with [`SUFFIX`].
const OPENSSH: u16 = 1 << 10;
/// The extension's version is 2, not 1.
const SECOND: u16 = 1 << 11;
/// An invalid handle is answered with NO_SUCH_FILE, as with OpenSSH; without this flag, with FAILURE.
pub(super) const MISSING: u16 = 1 << 12;
/// Position of the lowest bit of the log format in the traits.
const FORMAT_SHIFT: u32 = 13;
/// Logged with its path.
const BY_PATH: u16 = (Format::Path as u16) << FORMAT_SHIFT;
/// Logged with its path, labelled "name".
const BY_NAME: u16 = (Format::Name as u16) << FORMAT_SHIFT;
/// Logged with both paths.
const BY_TWO: u16 = (Format::Two as u16) << FORMAT_SHIFT;
/// Logged with its path, flags and mode.
const OPENS: u16 = (Format::OpenHandle as u16) << FORMAT_SHIFT;
/// Logged with its path and mode.
const MAKES: u16 = (Format::MakeDirectory as u16) << FORMAT_SHIFT;
/// Logged with a line for each attribute that it sets.
const SET: u16 = (Format::Size as u16) << FORMAT_SHIFT;

/// Name of the extension that checks an open file.
pub(super) const CHECK_HANDLE: &[u8] = b"check-file-handle";
/// Name of the extension that checks a file by its path.
pub(super) const CHECK_NAME: &[u8] = b"check-file-name";
/// paramiko's name for [`CHECK_HANDLE`].
pub(super) const CHECK: &[u8] = b"check-file";
/// The suffix of OpenSSH's extension names.
const SUFFIX: &str = "@openssh.com";
/// Number of requests with a packet type of their own; the types are consecutive.
const PACKET_COUNT: usize = (kind::SYMLINK - kind::OPEN) as usize + 1;

requests! {
    // Packet type, OpenSSH's name for the request, handler, type of the reply, traits.
    OpenHandle = OPEN "open", open => HANDLE, PATH | UINT32 | ATTRIBUTES | OPENS;
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

/// An entry of the table without its name. All names are in one text, [`NAMES`].
#[derive(Clone, Copy)]
pub(super) struct RequestInfo {
    pub(super) ask: Ask,
    /// The type of the reply.
    pub(super) reply: u8,
    pub(super) traits: u16,
}

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
static ENTRIES: [RequestInfo; COUNT] = {
    let mut entries = [RequestInfo {
        ask: Ask::OpenHandle,
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
        entries[place] = RequestInfo { ask, reply, traits };
        place += 1;
    }
    entries
};

/// The names, separated by spaces.
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

/// The names of the requests, as OpenSSH lists them.
pub fn requests() -> impl Iterator<Item = &'static [u8]> {
    (0..COUNT).map(name)
}

/// The name of the request at this index of the table.
pub(super) fn name(place: usize) -> &'static [u8] {
    nth(&NAMES, b' ', place)
}

/// The extensions.
pub(super) fn extensions() -> &'static [RequestInfo] {
    ENTRIES.get(PACKET_COUNT..).unwrap_or_default()
}

/// The log line of a request that is refused because it would write.
pub(super) const READ_ONLY: Text = text!("Refusing $ request in read-only mode");

impl RequestInfo {
    /// The log format.
    pub(super) fn format(&self) -> Text {
        Format::Bare
            .text()
            .plus((self.traits >> FORMAT_SHIFT) as u8)
    }

    /// Returns true if the request has one of these traits.
    pub(super) const fn has(&self, traits: u16) -> bool {
        self.traits & traits != 0
    }

    /// The suffix of the extension's name.
    pub(super) const fn suffix(&self) -> &'static str {
        if self.has(OPENSSH) { SUFFIX } else { "" }
    }

    /// The extension's version.
    pub(super) const fn version(&self) -> &'static [u8] {
        if self.has(SECOND) { b"2" } else { b"1" }
    }

    /// Returns true if the request is logged at this level.
    pub(super) const fn is_logged(&self, level: Level) -> bool {
        const { assert!(DEBUG / VERBOSE == Level::Debug as u16 - Level::Info as u16) };
        level as u16 >= Level::Info as u16 + self.traits / VERBOSE % 4
    }
}

/// The requests that are permitted; by default every one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permits {
    /// Bit mask of the requests on a denylist.
    denied: u32,
    /// Bit mask of the requests that are missing on an allowlist.
    unlisted: u32,
    read_only: bool,
}

impl Permits {
    /// Permits every request.
    pub const ALL: Self = Self {
        denied: 0,
        unlisted: 0,
        read_only: false,
    };

    /// Denies requests that write.
    pub const fn read_only(&mut self) {
        self.read_only = true;
    }

    /// Denies the requests in a comma-separated list. `None`: a name is unknown.
    pub fn deny(&mut self, list: &[u8]) -> Option<()> {
        self.denied |= listed(list)?;
        Some(())
    }

    /// Denies the requests that are not in a comma-separated list, and leaves denied ones denied. `None`: a name is unknown.
    pub fn allow_only(&mut self, list: &[u8]) -> Option<()> {
        self.unlisted |= !listed(list)?;
        Some(())
    }

    /// Returns true if OPEN with these flags is permitted.
    pub(super) const fn opening(self, flags: u32) -> bool {
        const CHANGES: u32 = open::WRITE | open::APPEND | open::CREATE | open::TRUNCATE;
        !self.read_only || flags & CHANGES == 0
    }

    /// The log line that reports the refusal of a request. `None`: it is permitted.
    pub(super) fn refusal(self, entry: &RequestInfo) -> Option<Text> {
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

/// Bit mask of the requests in a comma-separated list.
fn listed(list: &[u8]) -> Option<u32> {
    let mut bits = 0;
    for name in parts(list, b',') {
        bits |= bit(index_of(&NAMES, name)?);
    }
    Some(bits)
}

/// The request of a packet with this type; if the type is EXTENDED, the extension with this name.
pub(super) fn lookup(kind: u8, name: &[u8]) -> Option<&'static RequestInfo> {
    let mut suffix = false;
    let extended = kind == kind::EXTENDED;
    let place = if extended {
        let mut plain = name;
        if let Some(before) = name.strip_suffix(SUFFIX.as_bytes()) {
            (plain, suffix) = (before, true);
        }
        // check-file has two names in the draft, with different arguments, and a third one in paramiko. Only the third is in the
        // table.
        if name == CHECK_NAME || name == CHECK_HANDLE {
            plain = CHECK;
        }
        index_of(&NAMES, plain)?
    } else {
        kind.checked_sub(kind::OPEN)?.into()
    };
    let entry = ENTRIES.get(place)?;
    (entry.has(OPENSSH) == suffix && (place >= PACKET_COUNT) == extended).then_some(entry)
}
