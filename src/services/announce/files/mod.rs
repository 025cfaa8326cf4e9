//! Announces the services of the files in some directories: avahi's `*.service` and systemd's `*.dnssd`.
//!
//! A malformed file is reported with the line number and left out as a whole; the other files are announced.

mod reader;

use super::announced::Announced;
use super::report;
use super::specifiers;
use crate::config::ANNOUNCED_NAME_COUNT;
use crate::engine::mdns::Responder;
use crate::event::Fatal;
use crate::event::{self, Line, Sink};
use crate::os::files::Directory;
use crate::os::source::Memory;
use crate::os::source::stamped;
use crate::os::watch::Watch;
use crate::sys::Errno;
use crate::text::{text, texts};
use crate::time::Instant;
use crate::wire::announce::{self, Draft, Flaw, Service};
use core::ffi::CStr;
use core::ops::ControlFlow;
use reader::Reader;

/// Limit of directories: 8 options `--services`, and three more of [`UNIT_PATH`].
const PATH_COUNT_MAX: usize = 8 + 3;
/// Limit of directory entries read. The number of services is limited by the responder's memory.
const ENTRY_COUNT_MAX: usize = 20_000;

texts! {
    /// Returns the message for a flaw in a service's description.
    pub fn advice(Flaw) {
        Name => "a name has 1 to 63 bytes of UTF-8 and no control characters",
        Kind => "a type is _x._tcp or _x._udp; x has letters, digits, hyphens and underscores",
        Subtype => "a subtype has 1 to 63 bytes and no dots; ._sub. and the type may follow",
        Host => "a host name has labels of 1 to 63 bytes, separated by dots",
        Domain => "only the domain local is supported",
        Number => "a number is 0 to 65535",
        String => "a TXT string has at most 255 bytes",
        Key => "a TXT string begins with a key in ASCII",
        Strings => "all TXT strings together have at most 1300 bytes",
        Digits => "invalid base64 or hexadecimal digits",
        Long => "the value is too long",
        Unknown => "unknown element, attribute, value or key",
        Form => "syntax error, or the file is truncated",
        Entity => "unknown entity; use lt, gt, amp, quot, apos or a number",
        Declarations => "a document type with declarations is not supported",
        Specifier => "% must be followed by % or by a specifier of systemd.dnssd(5) that this host has",
        Escape => "invalid character after a backslash",
    }
}

/// The services of the directories of `--services`.
pub struct Files {
    /// The files and directories that are read.
    pub paths: Paths,
    announced: Announced,
}

impl Files {
    /// Makes an empty list without directories.
    pub fn allocate() -> Self {
        Self {
            paths: Paths::new(),
            announced: Announced::new(ANNOUNCED_NAME_COUNT),
        }
    }

    /// Reads the directories, at the start or again: announces new services and removes those that are gone. Reports to `sink`.
    pub fn read(
        &mut self,
        now: Instant,
        memory: &mut Memory,
        watch: &mut Watch,
        sink: &mut dyn Sink,
        responder: &mut Responder,
    ) -> Result<(), Fatal> {
        let announced = &mut self.announced;
        announced.start_scan();
        let done = read(&self.paths, memory, watch, sink, &mut |service, file| {
            let host = service.host.unwrap_or_default();
            let id = stamped(service.kind, stamped(service.name, 0));
            let mut stamp = u64::from(service.families) << 48 | u64::from(service.port) << 32;
            stamp |= u64::from(service.priority) << 16 | u64::from(service.weight);
            stamp = stamped(service.interface, stamp);
            stamp = stamped(service.subtypes, stamped(service.txt, stamped(host, stamp)));
            if !announced.mark_present(now, (id, stamp), responder) {
                let _ = announced.announce(now, (id, stamp), service, file, responder);
            }
        });
        let what = text!("cannot read the directory");
        done.map_err(|(path, error)| report(sink, what, path.to_bytes(), error))?;
        announced.finish_scan(now, responder);
        Ok(())
    }
}

/// Directories of systemd's units, the first of which replace those of the same name in later ones. systemd.dnssd(5).
static UNIT_PATH: [&CStr; 4] = [
    c"/etc/systemd/dnssd",
    c"/run/systemd/dnssd",
    c"/usr/local/lib/systemd/dnssd",
    c"/usr/lib/systemd/dnssd",
];

/// Open directories, with their paths.
type Dirs<'p> = heapless::Vec<(&'p CStr, Directory), PATH_COUNT_MAX>;

/// The directories of the options `--services`.
pub type Paths = heapless::Vec<&'static CStr, PATH_COUNT_MAX>;

/// Appends a directory; after the first of `UNIT_PATH`, the others, too. `None`: there are too many.
pub fn push(paths: &mut Paths, path: &'static CStr) -> Option<()> {
    let [first, others @ ..] = &UNIT_PATH;
    paths.push(path).ok()?;
    if path == *first {
        paths.extend_from_slice(others).ok()?;
    }
    Some(())
}

/// Calls `each` with every service of the files in `paths`, and the path of its file. Reports malformed files to `sink`. A file
/// replaces files of the same name in later directories. An empty file, or a link to /dev/null, has no services.
///
/// # Errors
/// The directory, and the error of [`Directory::open`] or [`Directory::list`]. A directory of systemd may be missing.
pub fn read<'p>(
    paths: &[&'p CStr],
    memory: &mut Memory,
    watch: &mut Watch,
    sink: &mut dyn Sink,
    each: &mut dyn FnMut(&Service<'_>, &[u8]),
) -> Result<(), (&'p CStr, Errno)> {
    let mut dirs = Dirs::new();
    for path in paths {
        watch.add(path.to_bytes());
        match Directory::open(path) {
            Ok(dir) => _ = dirs.push((*path, dir)),
            Err(Errno::NOENT) if path.to_bytes().ends_with(b"/systemd/dnssd") => {}
            Err(error) => return Err((*path, error)),
        }
    }
    let mut buffer = [0; announce::ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    draft.specifier = specifiers::write;
    let mut entries_left = ENTRY_COUNT_MAX;
    let mut files = Reader {
        dirs: &dirs,
        memory,
        watch,
        sink,
        draft: &mut draft,
    };
    for (place, (path, dir)) in dirs.iter().enumerate() {
        let earlier = dirs.split_at(place).0;
        let is_all = dir.list(&mut |name| {
            let bytes = name.to_bytes();
            let is_unit = bytes.ends_with(b".dnssd");
            if entries_left == 0 {
                return ControlFlow::Break(());
            }
            entries_left -= 1;
            let is_replaced = || earlier.iter().any(|(_, dir)| dir.info(name).is_ok());
            if (is_unit || bytes.ends_with(b".service")) && !is_replaced() {
                let mut about = Line::default();
                about.raw(path.to_bytes()).byte(b'/').raw(bytes);
                let done = match is_unit {
                    false => files.read_group(dir, bytes, &mut about, each),
                    true => files.read_unit(dir, bytes, &mut about, each),
                };
                if let Err(why) = done {
                    event::report(files.sink, text!("left out").warn(), about.bytes(), why);
                }
            }
            ControlFlow::Continue(())
        });
        if !is_all.map_err(|error| (*path, error))? {
            let why = text!("the directory has more than 20000 files");
            event::report(
                files.sink,
                text!("left out some of").warn(),
                path.to_bytes(),
                why,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
