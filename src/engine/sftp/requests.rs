//! Everything that can be asked, in one table: it says who answers, what is advertised, and what may be refused.

use super::{Fault, Level, Outcome, Request, Sftp};
use super::{about, attributes, directory, files, jobs, names, paths, status};
use crate::wire::Reader;
use crate::wire::sftp::{Status, kind, open};

type Handler = fn(&mut Sftp, &mut Request<'_, '_, '_>) -> Outcome;

/// What the names of OpenSSH's extensions end with.
const SUFFIX: &str = "@openssh.com";

/// Something that can be asked.
pub(super) struct Entry {
    /// As in OpenSSH's `-Q requests`, `-P` and `-p`.
    pub(super) name: &'static str,
    /// The packet's type.
    pub(super) kind: u8,
    traits: u8,
    handler: Handler,
}

/// It changes something. OPEN may or may not, and looks itself.
const WRITES: u8 = 1;
/// The extension's name has the suffix.
const OPENSSH: u8 = 2;
/// The extension's version is 2, not 1.
const SECOND: u8 = 4;
/// The extension has a structure for a version.
const VENDOR: u8 = 8;
/// It begins with one path …
const PATH: u8 = 16;
/// … or with two.
const PATHS: u8 = 32;
/// It is told of where little is told …
const INFO: u8 = 64;
/// … or where everything is told.
const DEBUG: u8 = 128;

impl Entry {
    pub(super) const fn suffix(&self) -> &'static str {
        if self.traits & OPENSSH == 0 {
            ""
        } else {
            SUFFIX
        }
    }

    /// An extension's version; empty if it has something else in its place.
    pub(super) const fn version(&self) -> &'static [u8] {
        match self.traits & (SECOND | VENDOR) {
            0 => b"1",
            SECOND => b"2",
            _ => b"",
        }
    }

    const fn level(&self) -> Level {
        match self.traits & (INFO | DEBUG) {
            INFO => Level::Info,
            DEBUG => Level::Debug,
            _ => Level::Verbose,
        }
    }
}

const fn packet(name: &'static str, kind: u8, traits: u8, handler: Handler) -> Entry {
    Entry {
        name,
        kind,
        traits,
        handler,
    }
}

const fn extension(name: &'static str, traits: u8, handler: Handler) -> Entry {
    packet(name, kind::EXTENDED, traits, handler)
}

/// All of it, in the order in which it is listed and advertised.
pub(super) static ENTRIES: [Entry; 32] = [
    packet("open", kind::OPEN, PATH | INFO, files::open),
    packet("close", kind::CLOSE, DEBUG, files::close),
    packet("read", kind::READ, DEBUG, files::read),
    packet("write", kind::WRITE, WRITES | DEBUG, files::write),
    packet("lstat", kind::LSTAT, PATH, attributes::stat),
    packet("fstat", kind::FSTAT, DEBUG, attributes::stat_open),
    packet(
        "setstat",
        kind::SETSTAT,
        WRITES | PATH | INFO,
        attributes::set,
    ),
    packet(
        "fsetstat",
        kind::FSETSTAT,
        WRITES | INFO,
        attributes::set_open,
    ),
    packet("opendir", kind::OPENDIR, PATH | INFO, directory::open),
    packet("readdir", kind::READDIR, DEBUG, directory::read),
    packet("remove", kind::REMOVE, WRITES | PATH | INFO, names::remove),
    packet(
        "mkdir",
        kind::MKDIR,
        WRITES | PATH | INFO,
        names::make_directory,
    ),
    packet("rmdir", kind::RMDIR, WRITES | PATH | INFO, names::remove),
    packet("realpath", kind::REALPATH, PATH, paths::real),
    packet("stat", kind::STAT, PATH, attributes::stat),
    packet("rename", kind::RENAME, WRITES | PATHS | INFO, names::rename),
    packet("readlink", kind::READLINK, PATH, paths::read_link),
    packet(
        "symlink",
        kind::SYMLINK,
        WRITES | PATHS | INFO,
        names::symbolic_link,
    ),
    extension(
        "posix-rename",
        OPENSSH | WRITES | PATHS | INFO,
        names::rename,
    ),
    extension("statvfs", OPENSSH | SECOND | PATH, about::space_of_path),
    extension("fstatvfs", OPENSSH | SECOND, about::space_of_open),
    extension(
        "hardlink",
        OPENSSH | WRITES | PATHS | INFO,
        names::hard_link,
    ),
    extension("fsync", OPENSSH | WRITES, files::sync),
    extension("lsetstat", OPENSSH | WRITES | PATH | INFO, attributes::set),
    extension("limits", OPENSSH, about::limits),
    extension("expand-path", OPENSSH | PATH, paths::expand),
    extension("copy-data", WRITES | INFO, jobs::copy),
    extension("home-directory", PATH, paths::home),
    extension("users-groups-by-id", OPENSSH, about::accounts),
    extension("check-file", 0, jobs::check),
    extension("space-available", PATH, about::space_available),
    extension("vendor-id", VENDOR, about::vendor_id),
];

/// The names of all that can be asked, as OpenSSH lists them.
pub fn requests() -> impl Iterator<Item = &'static [u8]> {
    ENTRIES.iter().map(|entry| entry.name.as_bytes())
}

/// What may be asked: by default everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permits {
    /// A bit for each that may not.
    denied: u32,
    read_only: bool,
}

impl Permits {
    /// Denies what would change anything.
    pub const fn read_only(&mut self) {
        self.read_only = true;
    }

    /// Denies what is in a list of names with commas between them. `None`: nobody knows one of the names.
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
    pub(super) const fn opening(&self, flags: u32) -> bool {
        const CHANGES: u32 = open::WRITE | open::APPEND | open::CREATE | open::TRUNCATE;
        !self.read_only || flags & CHANGES == 0
    }

    /// Whether what stands there in the table may be asked.
    pub(super) fn has(&self, place: usize) -> bool {
        let entry = ENTRIES.get(place);
        let writes = entry.is_some_and(|entry| entry.traits & WRITES != 0);
        let denied = self.denied.checked_shr(place as u32);
        denied.is_some_and(|bits| bits & 1 == 0) && !(writes && self.read_only)
    }
}

/// The bits of what is in a list.
fn listed(list: &[u8]) -> Option<u32> {
    let mut bits = 0;
    for name in list.split(|byte| *byte == b',') {
        let place = requests().position(|known| known == name)?;
        bits |= 1_u32.checked_shl(place as u32)?;
    }
    Some(bits)
}

const _: () = assert!(ENTRIES.len() <= u32::BITS as usize);

/// Where a request stands in the table.
#[inline(never)]
fn find(kind: u8, name: &[u8]) -> Option<usize> {
    // The draft has two names for it, by what follows; paramiko has this one.
    let check = [&b"check-file-name"[..], b"check-file-handle"].contains(&name);
    let name = if check { b"check-file" } else { name };
    let plain = name.strip_suffix(SUFFIX.as_bytes());
    ENTRIES.iter().position(|entry| {
        let name = match entry.suffix() {
            "" => Some(name),
            _ => plain,
        };
        entry.kind == kind && (kind != kind::EXTENDED || name == Some(entry.name.as_bytes()))
    })
}

impl Sftp {
    /// Carries a request out, and tells of it.
    pub(super) fn carry_out(&mut self, request: &mut Request<'_, '_, '_>) -> Outcome {
        if request.kind == kind::EXTENDED {
            request.name = request.args.string();
            request.args.check()?;
        }
        let place = find(request.kind, request.name).ok_or(Status::Unsupported)?;
        let entry = ENTRIES.get(place).ok_or(Status::Unsupported)?;
        let args = request.args.clone();
        let outcome = if self.permits.has(place) {
            (entry.handler)(self, request)
        } else {
            Err(Status::PermissionDenied.into())
        };
        if self.level >= entry.level() && !matches!(outcome, Err(Fault::NoRoom | Fault::Busy)) {
            tell(request, entry, args, outcome);
        }
        outcome
    }
}

/// Tells a person what was asked, and why it was not done.
#[cold]
#[inline(never)]
fn tell(request: &mut Request<'_, '_, '_>, entry: &Entry, mut args: Reader<'_>, outcome: Outcome) {
    let mut about = heapless::Vec::<u8, 480>::new();
    let count = match entry.traits & (PATH | PATHS) {
        PATH => 1,
        PATHS => 2,
        _ => 0,
    };
    for at in 0..count {
        let path = args.string();
        let blank: &[u8] = if at > 0 { b" " } else { b"" };
        // The line is cut there, too.
        let _ = about.extend_from_slice(blank);
        about.extend(
            path.iter()
                .copied()
                .take(about.capacity().saturating_sub(about.len())),
        );
    }
    let why = outcome.err().map_or("", status::told);
    request.cx.events.tell(entry.name, &about, why);
}
