//! `ls` and `cat`: a look inside an image of a disk, from a host that has no tools. ECMA-119, Rock Ridge, Joliet.
//!
//! The image's path ends at the first component that is a file; what follows it is looked for inside. There are no flags.

use super::reasons::{self, Reason, reason, table};
use super::{DONE, SEE_HELP, Status, USAGE, complain, inform, unwritten};
use crate::config::{IMAGE_WINDOW_BYTES, READ_INLINE_BYTES};
use crate::engine::sftp::accounts::Accounts;
use crate::engine::sftp::longname::longname;
use crate::event::Line;
use crate::sys::start::Args;
use crate::sys::stdio::Stdio;
use crate::sys::{self, Errno, heap};
use crate::text::{Text, text};
use crate::vfs::iso::{Block as _, Disk, Entry, Image, Listing, number};
use crate::vfs::{FsError, FsResult, Kind};
use crate::wire::Writer;

/// What `stowaway --help` says of them.
pub(super) const SUMMARY: Text = text!("  ls, cat\t\tlists and reads files inside an ISO image\n");
const HELP: Text = text!(include_str!("help.txt"));
/// Bytes that are read at once, or put together before they are written.
const ROOM_BYTES: usize = READ_INLINE_BYTES as usize;
/// Nothing was to be done: less than any status.
const NOTHING: Status = -1;
/// Bytes of a name that are escaped at once.
const PIECE_BYTES: usize = 64;

/// Lists what the arguments name, or writes it out if `whole`.
pub(super) fn run(args: Args, whole: bool) -> Result<(), Status> {
    let room = heap::bytes(ROOM_BYTES);
    let window = heap::bytes(IMAGE_WINDOW_BYTES);
    let mut worst = NOTHING;
    for word in args {
        let word = word.to_bytes();
        inform(word, &[HELP])?;
        if word.starts_with(b"-") {
            return Err(complain(USAGE, text!("there is no option"), word, SEE_HELP));
        }
        let status = look(word, whole, room, window);
        worst = worst.max(status.unwrap_or_else(|error| failed(word, error)));
    }
    match worst {
        DONE => Ok(()),
        NOTHING => {
            let what = text!("name what is inside an ISO image");
            Err(complain(USAGE, what, b"", text!("such as debian.iso/pool")))
        }
        status => Err(status),
    }
}

/// Looks at one of them; the status is that of what is inside, of which all has been said.
#[inline(never)]
fn look(word: &[u8], whole: bool, room: &mut [u8], window: &mut [u8]) -> FsResult<Status> {
    let (mut entry, mut inner) = (Entry::new(), Entry::new());
    let mut end = word.len();
    let place = room.get_mut(..end);
    place.ok_or(FsError::NameTooLong)?.copy_from_slice(word);
    let disk = loop {
        let path = room.get_mut(..=end).unwrap_or_default();
        if let [.., place] = path {
            *place = 0;
        }
        let opened = Disk::open(sys::c_str(path));
        let slash = path.iter().rposition(|byte| *byte == b'/');
        match (opened, slash) {
            // What it is told to lie in is a file.
            (Err(FsError::NotDirectory), Some(slash)) => end = slash,
            (opened, _) => break opened?,
        }
    };
    let mut image = Image::new(disk, window);
    image.open(&mut entry)?;
    let inside = word.get(end..).unwrap_or_default();
    image.resolve(inside, whole, &mut entry)?;
    let (id, mut offset) = (entry.id, 0);
    if whole {
        loop {
            let run = image.run(id, offset, &mut entry)?;
            let bytes = room.get_mut(..run.len.min(ROOM_BYTES as u64) as usize);
            let bytes = bytes.unwrap_or_default();
            if bytes.is_empty() {
                return Ok(DONE);
            }
            image.block().read(run.at, bytes)?;
            print(bytes)?;
            offset += bytes.len() as u64;
        }
    }
    if entry.kind() != Kind::Directory {
        show(&entry, &entry, room)?;
        return Ok(DONE);
    }
    let mut listing = Listing::default();
    image.list(id, 0, &mut listing, &mut entry)?;
    let mut status = DONE;
    while image.next(&mut listing, &mut entry)? {
        // What is damaged does not hide what is not.
        match image.entry(entry.id, &mut inner) {
            _ if entry.is_dots() => {}
            Ok(()) => show(&inner, &entry, room)?,
            Err(error) => status = failed(entry.name(), error),
        }
    }
    Ok(status)
}

/// Prints the line of an entry, of which all is known but its name.
fn show(entry: &Entry, named: &Entry, room: &mut [u8]) -> FsResult<()> {
    let mut out = Writer::new(room);
    // Whoever the host's users are, the image's are others.
    let nobody = Accounts::new([&mut [], &mut []]);
    let attr = entry.attr();
    longname(&mut out, b"", &attr, &nobody, sys::wall_clock().0);
    escape(named.name(), &mut out);
    if attr.kind == Kind::SymbolicLink {
        out.put(b" -> ");
        escape(named.target(), &mut out);
    }
    out.put(b"\n");
    // The columns have their length before them.
    print(out.since(4))
}

fn escape(name: &[u8], out: &mut Writer<'_>) {
    for piece in name.chunks(PIECE_BYTES) {
        out.put(Line::default().escaped(piece).bytes());
    }
}

fn print(bytes: &[u8]) -> FsResult<()> {
    if Stdio::print(bytes) {
        Ok(())
    } else {
        Err(UNWRITTEN)
    }
}

/// Standard output cannot be written. No image is full.
const UNWRITTEN: FsError = FsError::NoSpace;

/// Says what failed, with what, and why.
fn failed(about: &[u8], error: FsError) -> Status {
    if error == UNWRITTEN {
        return unwritten();
    }
    reasons::failed_with(text!("cannot read"), about, number(error), &REASONS)
}

const DAMAGED: Text = text!("the image is damaged or incomplete; compare its checksum");

/// Why something failed here and what to do about it.
static REASONS: [Reason; 17] = table([
    reason(
        Errno::INVAL,
        text!("it is no ISO 9660 image, or no regular file"),
    ),
    reason(
        Errno::NOSYS,
        text!("its files are in UDF; unpack it with another program"),
    ),
    reason(Errno::IO, DAMAGED),
    reason(Errno::STALE, DAMAGED),
]);
