//! The table of requests: how each is sent, its arguments, handler and reply, its line in the log, and whether it writes.

use super::status::Outcome;
use super::{Exchange, Level};
use crate::mem::{nth, parts};
use crate::text::texts;
use crate::wire::sftp::{kind, open};

/// A row of the table. Its name is in [`NAMES`].
pub(super) struct Entry {
    pub(super) operation: Operation,
    sent: Sent,
    /// The arguments that every handler finds parsed; the handler parses any others.
    pub(super) args: Args,
    /// Packet type of the reply.
    pub(super) reply: u8,
    effect: Effect,
    /// The lowest level at which the request is logged.
    pub(super) level: Level,
    pub(super) format: Format,
}

/// The packet of a request.
#[derive(Clone, Copy)]
enum Sent {
    /// A packet type of its own.
    Packet(u8),
    /// An extension whose name ends with "@openssh.com", and the digit of its version.
    Openssh(u8),
    /// An extension without that suffix, version 1.
    Plain,
}

/// An argument of a request, in the order in which arguments are sent.
#[derive(Clone, Copy)]
pub(super) enum Arg {
    /// A path; "" is the directory in which the session began.
    Path,
    /// The target of a symbolic link, which may be empty.
    Target,
    /// The second path.
    Other,
    /// The handle of a file.
    File,
    /// The handle of a directory.
    Directory,
    Offset,
    /// Flags of OPEN, or a length (bytes).
    Uint32,
    Attributes,
}

/// A set of arguments; with `File` and `Directory`, one handle of either.
#[derive(Clone, Copy)]
pub(super) struct Args(u8);

impl Args {
    #[expect(clippy::indexing_slicing, reason = "done by the compiler")]
    const fn of(list: &[Arg]) -> Self {
        let mut args = Self(0);
        let mut place = 0;
        while place < list.len() {
            args.0 |= 1 << list[place] as u8;
            place += 1;
        }
        args
    }

    pub(super) const fn has(self, arg: Arg) -> bool {
        self.0 & 1 << arg as u8 != 0
    }
}

/// The arguments of a request that refers to an open file.
pub(super) const FILE: Args = Args::of(&[Arg::File]);

/// The effect of a request on files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// No change of files. OPEN checks its own flags.
    Reads,
    Writes,
}

texts! {
    /// The line of a request in the log, and its text between the request's name and its path.
    pub(super) enum Format {
        /// Only the name.
        Bare => "",
        Path => " ",
        Name => " name ",
        /// Two paths.
        Two => " old ",
        /// The path, flags and mode.
        Open => " ",
        /// The path and mode.
        MakeDirectory => " name ",
        /// The path, and the bytes read and written.
        Close => "",
        /// A line for each attribute that is set.
        Set => "",
        /// No line: the handler logs the path of its reply.
        ByHandler => "",
    }
}

texts! {
    /// The reason why a request is refused, and the text before the request's name in the log.
    pub(super) enum Refusal {
        ReadOnly => "Refusing ",
        Denylisted => "Refusing denylisted ",
        NotAllowlisted => "Refusing non-allowlisted ",
    }
}

/// Defines `Operation`, `TABLE` and `NAMES` from one list of requests.
macro_rules! requests {
    ($($operation:ident: $name:literal, $sent:expr, [$($arg:ident),*], $handler:ident => $reply:ident, $effect:ident,
        $level:ident, $format:ident;)+) => {
        /// A request or extension.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Operation {
            $($operation),+
        }

        /// One entry per request, in the order of the packet types, then in the order in which extensions are advertised.
        static TABLE: [Entry; [$(Operation::$operation),+].len()] = [$(Entry {
            operation: Operation::$operation,
            sent: $sent,
            args: const { Args::of(&[$(Arg::$arg),*]) },
            reply: kind::$reply,
            effect: Effect::$effect,
            level: Level::$level,
            format: Format::$format,
        }),+];

        impl Exchange<'_> {
            /// Carries out a request, whose arguments are parsed.
            pub(super) fn carry_out(&mut self, operation: Operation) -> Outcome {
                match operation {
                    $(Operation::$operation => self.$handler(),)+
                }
            }
        }

        /// The names in the order of the table, a space after each.
        const NAMES: &str = concat!($($name, " "),+);
    };
}

use Sent::{Openssh, Packet, Plain};

requests! {
    // Operation: name, packet, arguments, handler => reply, effect, lowest level and format in the log.
    Open: "open", Packet(kind::OPEN), [Path, Uint32, Attributes], open => HANDLE, Reads, Info, Open;
    Close: "close", Packet(kind::CLOSE), [File, Directory], close => STATUS, Reads, Info, Close;
    Read: "read", Packet(kind::READ), [File, Offset, Uint32], read => DATA, Reads, Debug, Path;
    Write: "write", Packet(kind::WRITE), [File, Offset, Uint32], write => STATUS, Writes, Debug, Path;
    LinkStat: "lstat", Packet(kind::LSTAT), [Path], stat => ATTRS, Reads, Verbose, Name;
    OpenStat: "fstat", Packet(kind::FSTAT), [File], stat => ATTRS, Reads, Debug, Path;
    SetStat: "setstat", Packet(kind::SETSTAT), [Path, Attributes], set => STATUS, Writes, Info, Set;
    OpenSetStat: "fsetstat", Packet(kind::FSETSTAT), [File, Attributes], set => STATUS, Writes, Info, Set;
    OpenDirectory: "opendir", Packet(kind::OPENDIR), [Path], open => HANDLE, Reads, Info, Path;
    ReadDirectory: "readdir", Packet(kind::READDIR), [Directory], list => NAME, Reads, Debug, Path;
    Remove: "remove", Packet(kind::REMOVE), [Path], change_names => STATUS, Writes, Info, Name;
    MakeDirectory: "mkdir", Packet(kind::MKDIR), [Path, Attributes], change_names => STATUS, Writes, Info, MakeDirectory;
    RemoveDirectory: "rmdir", Packet(kind::RMDIR), [Path], change_names => STATUS, Writes, Info, Name;
    RealPath: "realpath", Packet(kind::REALPATH), [Path], real_path => NAME, Reads, Verbose, Path;
    Stat: "stat", Packet(kind::STAT), [Path], stat => ATTRS, Reads, Verbose, Name;
    Rename: "rename", Packet(kind::RENAME), [Path, Other], change_names => STATUS, Writes, Info, Two;
    ReadLink: "readlink", Packet(kind::READLINK), [Path], read_link => NAME, Reads, Verbose, Path;
    SymbolicLink: "symlink", Packet(kind::SYMLINK), [Target, Other], change_names => STATUS, Writes, Info, Two;
    PosixRename: "posix-rename", Openssh(b'1'), [Path, Other], change_names => STATUS, Writes, Info, Two;
    Space: "statvfs", Openssh(b'2'), [Path], statfs => EXTENDED_REPLY, Reads, Info, Path;
    OpenSpace: "fstatvfs", Openssh(b'2'), [File], statfs => EXTENDED_REPLY, Reads, Debug, Path;
    HardLink: "hardlink", Openssh(b'1'), [Path, Other], change_names => STATUS, Writes, Info, Two;
    Sync: "fsync", Openssh(b'1'), [File], sync => STATUS, Writes, Verbose, Path;
    LinkSetStat: "lsetstat", Openssh(b'1'), [Path, Attributes], set => STATUS, Writes, Info, Set;
    Limits: "limits", Openssh(b'1'), [], limits => EXTENDED_REPLY, Reads, Debug, Bare;
    ExpandPath: "expand-path", Openssh(b'1'), [Path], expand => NAME, Reads, Debug, ByHandler;
    Copy: "copy-data", Plain, [File, Offset], copy => STATUS, Writes, Debug, Path;
    Home: "home-directory", Plain, [Path], home => NAME, Reads, Debug, ByHandler;
    Accounts: "users-groups-by-id", Openssh(b'1'), [], names => EXTENDED_REPLY, Reads, Verbose, Bare;
    Check: "check-file", Plain, [], check => STATUS, Reads, Verbose, Bare;
    SpaceAvailable: "space-available", Plain, [Path], statfs => EXTENDED_REPLY, Reads, Verbose, Path;
    Vendor: "vendor-id", Plain, [], vendor => STATUS, Reads, Verbose, Bare;
}

/// The suffix of OpenSSH's extension names.
const SUFFIX: &str = "@openssh.com";
/// Name of the extension that checks an open file.
const CHECK_HANDLE: &[u8] = b"check-file-handle";
/// Name of the extension that checks a file by its path.
pub(super) const CHECK_NAME: &[u8] = b"check-file-name";
/// paramiko's name for [`CHECK_HANDLE`].
pub(super) const CHECK: &[u8] = b"check-file";

impl Entry {
    /// OpenSSH's name for the request; for an extension, its name on the wire without [`Entry::suffix`].
    pub(super) fn name(&self) -> &'static [u8] {
        nth(NAMES.as_bytes(), b' ', self.operation as usize)
    }

    /// The suffix of the extension's name.
    pub(super) const fn suffix(&self) -> &'static str {
        match self.sent {
            Openssh(_) => SUFFIX,
            _ => "",
        }
    }

    /// The digit of the extension's version. `None`: the request is no extension.
    pub(super) const fn version(&self) -> Option<u8> {
        match self.sent {
            Packet(_) => None,
            Openssh(digit) => Some(digit),
            Plain => Some(b'1'),
        }
    }
}

/// The names of the requests, as OpenSSH lists them.
pub fn requests() -> impl Iterator<Item = &'static [u8]> {
    TABLE.iter().map(Entry::name)
}

/// The extensions.
pub(super) fn extensions() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().filter(|entry| entry.version().is_some())
}

/// The request with this name.
fn by_name(name: &[u8]) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name() == name)
}

/// The request of a packet with this type; if the type is EXTENDED, the extension with this name.
pub(super) fn lookup(kind: u8, name: &[u8]) -> Option<&'static Entry> {
    if kind != kind::EXTENDED {
        return TABLE
            .iter()
            .find(|entry| matches!(entry.sent, Packet(own) if own == kind));
    }
    // check-file has two names in the draft, with different arguments, and a third one in paramiko, which is in the table.
    if name == CHECK_NAME || name == CHECK_HANDLE {
        return by_name(CHECK);
    }
    let plain = name.strip_suffix(SUFFIX.as_bytes());
    let entry = by_name(plain.unwrap_or(name))?;
    let is_sent_so = entry.suffix().is_empty() == plain.is_none();
    (is_sent_so && entry.version().is_some()).then_some(entry)
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

    /// The reason to refuse a request. `None`: it is permitted.
    pub(super) const fn refusal(self, entry: &Entry) -> Option<Refusal> {
        let bit = entry.operation.bit();
        if self.read_only && matches!(entry.effect, Effect::Writes) {
            Some(Refusal::ReadOnly)
        } else if self.denied & bit > 0 {
            Some(Refusal::Denylisted)
        } else if self.unlisted & bit > 0 {
            Some(Refusal::NotAllowlisted)
        } else {
            None
        }
    }
}

impl Operation {
    /// The bit of this operation in a mask.
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

const _: () = assert!(TABLE.len() <= u32::BITS as usize);

/// Bit mask of the requests in a comma-separated list.
fn listed(list: &[u8]) -> Option<u32> {
    let mut bits = 0;
    for name in parts(list, b',') {
        bits |= by_name(name)?.operation.bit();
    }
    Some(bits)
}
