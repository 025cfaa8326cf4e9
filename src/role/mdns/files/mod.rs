//! Announces the services of a directory's files: avahi's `*.service` and systemd's `*.dnssd`.
//!
//! A malformed file is reported with the line number and left out as a whole; the other files are announced.

use super::super::Fatal;
use super::super::reasons::why;
use super::announced::Announced;
use super::report;
use super::source::{self, Memory, REASONS};
use super::specifiers;
use super::vms::mixed;
use crate::config::ANNOUNCED_NAME_COUNT;
use crate::drive::platform::host::files::Directory;
use crate::drive::platform::host::watch::Watch;
use crate::engine::mdns::Responder;
use crate::event::{self, Line, Sink};
use crate::text::{text, texts};
use crate::time::Instant;
use crate::vfs::FsResult;
use crate::wire::announce::{self, Draft, FileError, Flaw, Service};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// Limit of directory entries read. The number of services is limited by the responder's memory.
const ENTRY_COUNT_MAX: usize = 20_000;

texts! {
    /// Returns the message for a flaw in a service's description.
    pub(in super::super) fn advice(Flaw) {
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

/// The services of the directory of `--services`, if any.
pub(super) struct Files {
    pub(super) path: Option<&'static CStr>,
    announced: Announced,
}

impl Files {
    /// Makes an empty list without a directory.
    pub(super) fn new() -> Self {
        Self {
            path: None,
            announced: Announced::new(ANNOUNCED_NAME_COUNT),
        }
    }

    /// Reads the directory, at the start or again: announces new services and removes those that are gone. Reports to `sink`.
    pub(super) fn read(
        &mut self,
        now: Instant,
        memory: &mut Memory,
        watch: &mut Watch,
        sink: &mut dyn Sink,
        responder: &mut Responder,
    ) -> Result<(), Fatal> {
        let Some(path) = self.path else {
            return Ok(());
        };
        let announced = &mut self.announced;
        announced.start_scan();
        let done = read(path, memory, watch, sink, &mut |service, file| {
            let host = service.host.unwrap_or_default();
            let id = mixed(service.kind, mixed(service.name, 0));
            let mut stamp = u64::from(service.families) << 48 | u64::from(service.port) << 32;
            stamp |= u64::from(service.priority) << 16 | u64::from(service.weight);
            stamp = mixed(service.subtypes, mixed(service.txt, mixed(host, stamp)));
            if !announced.mark_present(now, (id, stamp), responder) {
                let _ = announced.announce(now, (id, stamp), service, file, responder);
            }
        });
        let what = text!("cannot read the directory");
        done.map_err(|error| report(sink, what, path.to_bytes(), error))?;
        announced.finish_scan(now, responder);
        Ok(())
    }
}

/// Calls `each` with every service of the files in `path`, and the path of its file. Reports malformed files to `sink`.
///
/// # Errors
/// Those of [`Directory::open`] and [`Directory::list`].
pub(super) fn read(
    path: &CStr,
    memory: &mut Memory,
    watch: &mut Watch,
    sink: &mut dyn Sink,
    each: &mut dyn FnMut(&Service<'_>, &[u8]),
) -> FsResult<()> {
    watch.add(path.to_bytes());
    let dir = Directory::open(path)?;
    let mut buffer = [0; announce::ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    draft.specifier = specifiers::write;
    let mut entries_left = ENTRY_COUNT_MAX;
    let is_all = dir.list(&mut |name| {
        let name = name.to_bytes();
        let is_unit = name.ends_with(b".dnssd");
        if entries_left == 0 {
            return ControlFlow::Break(());
        }
        entries_left -= 1;
        if !is_unit && !name.ends_with(b".service") {
            return ControlFlow::Continue(());
        }
        let mut about = Line::default();
        about.raw(path.to_bytes()).byte(b'/').raw(name);
        let why = match source::read(&dir, name, memory) {
            Err(error) => why(error.number(), &REASONS),
            Ok(file) => {
                let parse = if is_unit {
                    announce::parse_unit
                } else {
                    announce::parse_avahi
                };
                // Parses twice: services are passed on only after the whole file was found to be valid.
                let Err(FileError { line, flaw }) = parse(file, &mut draft, &mut |_| {}) else {
                    let _ = parse(file, &mut draft, &mut |service| {
                        each(service, about.bytes());
                    });
                    return ControlFlow::Continue(());
                };
                about.byte(b':').number(line);
                advice(flaw)
            }
        };
        event::report(sink, text!("left out"), about.bytes(), why);
        ControlFlow::Continue(())
    })?;
    if !is_all {
        let why = text!("the directory has more than 20000 files");
        event::report(sink, text!("left out some of"), path.to_bytes(), why);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
