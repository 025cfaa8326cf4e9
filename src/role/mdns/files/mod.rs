//! Services that files describe: avahi's `*.service` and systemd's `*.dnssd` in one directory.
//!
//! A file that is wrong is told, with its line, and left out as a whole; the others are not the worse for it.

use super::super::reasons::why;
use super::super::{Console, Fatal};
use super::announced::Announced;
use super::failed;
use super::source::{self, Memory, REASONS};
use super::specifiers;
use super::vms::PRIME;
use crate::config::ANNOUNCED_NAME_COUNT;
use crate::drive::platform::host::files::Directory;
use crate::engine::mdns::Responder;
use crate::event::{self, Line, Sink};
use crate::text::{text, texts};
use crate::time::Instant;
use crate::vfs::FsResult;
use crate::wire::announce::{self, Draft, Flaw, Service, Wrong};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// Entries of the directory that are looked at. Of services there are as many as the responder has memory for.
const ENTRY_COUNT_MAX: usize = 20_000;

texts! {
    /// What to do about a flaw.
    pub(in super::super) fn advice(Flaw) {
        Name => "a name has 1 to 63 bytes of UTF-8 and no control characters",
        Kind => "a type is _x._tcp or _x._udp; x has letters, digits and hyphens",
        Subtype => "a subtype has 1 to 63 bytes and no dots; behind it there may be ._sub. and the type",
        Host => "a host's name has parts of 1 to 63 bytes, with dots between them",
        Domain => "there is no other domain than local",
        Number => "a number is 0 to 65535",
        String => "a TXT string has at most 255 bytes",
        Key => "a TXT string begins with a key in ASCII",
        Strings => "all TXT strings together have at most 1300 bytes",
        Digits => "what is there is not base64, or not hexadecimal",
        Long => "what is there is too long",
        Unknown => "there is no such element, attribute, value or key",
        Form => "it breaks off, or is not of the form of such a file",
        Entity => "there is no such entity; write lt, gt, amp, quot, apos or a number",
        Declarations => "a document type cannot have declarations of its own",
        Specifier => "behind % there can be %, or a letter that systemd.dnssd(5) has, if this host knows what it stands for",
        Escape => "a backslash cannot have this behind it",
    }
}

/// The services of a directory, if one is to be read.
pub(super) struct Files {
    pub(super) path: Option<&'static CStr>,
    announced: Announced,
}

impl Files {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            path: None,
            announced: Announced::new(ANNOUNCED_NAME_COUNT),
        }
    }

    /// Reads them, perhaps again: announces what is new, and takes leave of what is gone.
    pub(super) fn read(
        &mut self,
        now: Instant,
        memory: &mut Memory,
        responder: &mut Responder,
    ) -> Result<(), Fatal> {
        let Some(path) = self.path else {
            return Ok(());
        };
        let announced = &mut self.announced;
        announced.begin();
        read(path, memory, &mut Console, &mut |service, file| {
            let host = service.host.unwrap_or_default();
            let id = mixed(service.kind, mixed(service.name, 0));
            let mut stamp = u64::from(service.families) << 48 | u64::from(service.port) << 32;
            stamp |= u64::from(service.priority) << 16 | u64::from(service.weight);
            stamp = mixed(service.subtypes, mixed(service.txt, mixed(host, stamp)));
            if !announced.has(now, (id, stamp), responder) {
                announced.announce(now, (id, stamp), service, file, responder);
            }
        })
        .map_err(|errno| failed(text!("cannot read the directory"), path.to_bytes(), errno))?;
        announced.end(now, responder);
        Ok(())
    }
}

/// A number that differs when any of the bytes does, or how many there are.
fn mixed(bytes: &[u8], number: u64) -> u64 {
    let mix = |number: u64, byte: &u8| (number ^ u64::from(*byte)).wrapping_mul(PRIME);
    bytes.iter().fold(number ^ bytes.len() as u64, mix)
}

/// Hands out the services that the files in `path` describe, each with its file's path, and tells what is wrong with those that
/// are left out. The error is that of the directory.
pub(super) fn read(
    path: &CStr,
    memory: &mut Memory,
    sink: &mut dyn Sink,
    each: &mut dyn FnMut(&Service<'_>, &[u8]),
) -> FsResult<()> {
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
                // What is wrong at its end concerns all of it.
                let Err(Wrong { line, flaw }) = parse(file, &mut draft, &mut |_| {}) else {
                    let _ = parse(file, &mut draft, &mut |service| {
                        each(service, about.bytes());
                    });
                    return ControlFlow::Continue(());
                };
                about.byte(b':').number(line);
                advice(flaw)
            }
        };
        event::tell(sink, text!("left out"), about.bytes(), why);
        ControlFlow::Continue(())
    })?;
    if !is_all {
        let why = text!("there is more in it than 20000 files");
        event::tell(sink, text!("left out some of"), path.to_bytes(), why);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
