//! Services that files describe: avahi's `*.service` and systemd's `*.dnssd` in one directory, by their names.
//!
//! A file that is wrong is told, with its line, and left out as a whole; the others are not the worse for it.

use super::super::reasons::why;
use super::source::{self, Memory, REASONS};
use crate::event::{self, Line, Sink};
use crate::sys::files::{self, File};
use crate::sys::{self, Errno};
use crate::text::{Ends as _, Text, text};
use crate::wire::announce::{self, Draft, Flaw, Service, Wrong};
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

/// Files that are read.
const FILE_COUNT_MAX: usize = 256;
/// Entries of the directory that are looked at for the next of them.
const ENTRY_COUNT_MAX: usize = 4096;

/// A name and the NULs behind it.
type Name = [u8; 256];

/// What to do about a flaw.
pub(in super::super) const fn advice(flaw: Flaw) -> Text {
    const ADVICE: Text = Text::row(&[
        "a name has 1 to 63 bytes of UTF-8 and no control characters",
        "a type is _x._tcp or _x._udp; x has letters, digits and hyphens",
        "a subtype has 1 to 63 bytes and no dots; behind it there may be ._sub. and the type",
        "a host's name has parts of 1 to 63 bytes, with dots between them",
        "there is no other domain than local",
        "a number is 0 to 65535",
        "a TXT string has at most 255 bytes",
        "a TXT string begins with a key in ASCII",
        "all TXT strings together have at most 1300 bytes",
        "what is there is not base64, or not hexadecimal",
        "what is there is too long",
        "there is no such element, attribute, value or key",
        "it breaks off, or is not of the form of such a file",
        "there is no such entity; write lt, gt, amp, quot, apos or a number",
        "a document type cannot have declarations of its own",
        "behind % there can be H and %",
        "a backslash cannot have this behind it",
    ]);
    ADVICE.plus(flaw as u8)
}

/// Hands out the services that the files in `path` describe, and tells what is wrong with those that are left out. The error is
/// that of the directory.
#[inline(never)]
pub(super) fn read(
    path: &CStr,
    memory: &mut Memory,
    sink: &mut dyn Sink,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Errno> {
    let dir = files::open(path, OFlags::DIRECTORY, 0)?;
    let mut room = [0; announce::ROOM_BYTES];
    let mut draft = Draft::new(&mut room);
    let mut last = [0; size_of::<Name>()];
    for _ in 0..FILE_COUNT_MAX {
        if !find_next(&dir, &mut last)? {
            break;
        }
        let name = sys::c_str(&last);
        let mut about = Line::default();
        about.raw(path.to_bytes()).byte(b'/').raw(name.to_bytes());
        let why = match source::read(dir.as_raw_fd(), name.to_bytes(), memory) {
            Err(errno) => why(errno.raw_os_error() as u8, &REASONS),
            Ok(file) => {
                let parse = if name.to_bytes().ends_with(UNIT) {
                    announce::parse_unit
                } else {
                    announce::parse_avahi
                };
                // What is wrong at its end concerns all of it.
                let Err(Wrong { line, flaw }) = parse(file, &mut draft, &mut |_| {}) else {
                    let _ = parse(file, &mut draft, each);
                    continue;
                };
                about.byte(b':').number(line);
                advice(flaw)
            }
        };
        event::tell(sink, text!("left out").bytes(), about.bytes(), why);
    }
    Ok(())
}

const UNIT: &[u8] = b".dnssd";

/// Finds the first file whose name comes after `last`, which it becomes. Only so many are looked at.
#[inline(never)]
fn find_next(dir: &File, last: &mut Name) -> Result<bool, Errno> {
    let mut next: Name = [0; size_of::<Name>()];
    let mut left = ENTRY_COUNT_MAX;
    files::list::<Errno>(dir.as_raw_fd(), 0, &mut |found| {
        let name = found.name.to_bytes();
        let is_ours = name.ends_with(b".service") || name.ends_with(UNIT);
        let best = sys::c_str(&next).to_bytes();
        if is_ours
            && name > sys::c_str(last).to_bytes()
            && (best.is_empty() || name < best)
            && name.len() < next.len()
        {
            next = [0; size_of::<Name>()];
            next.head_mut(name.len()).copy_from_slice(name);
        }
        left -= 1;
        if left == 0 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    *last = next;
    let [first, ..] = next;
    Ok(first != 0)
}

#[cfg(test)]
mod tests;
