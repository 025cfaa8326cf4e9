//! The file that a machine asks for: names as firmware writes them, in the exports or beside the last file of the machine.
//!
//! Firmware writes `\` for `/`, asks in another case, or appends an odd byte. Shim asks for its next files without their directory.
//! A name with `..` is refused; a directory, FIFO or device is not found, and never opened. Other cases are found by listing
//! directories, which takes up to a quarter of the time.

use super::menu;
use crate::engine::Cx;
use crate::mem::{self, Ends as _};
use crate::time::{Duration, Instant};
use crate::vfs::walk::{below, find_for, last, next_name, without_slash, without_slashes};
use crate::vfs::{Access, Attr, Detail, FsError, FsResult, Node, ObjectType, Peer, Pin};
use crate::wire::label::is_like;
use core::ops::ControlFlow;

/// Longest name (bytes).
pub(super) const NAME_BYTES_MAX: usize = 512;
/// The path of a file, as HTTP clients write it.
pub(super) type Path = heapless::Vec<u8, { 2 * NAME_BYTES_MAX }>;

/// An open file.
#[derive(Debug)]
pub(super) enum Found {
    File(Pin, Attr),
    /// The menu.
    Menu,
}

/// Number of names that are listed in a millisecond on average; they take a quarter of it.
const NAMES_PER_MS: u32 = 256;
/// Time by which listings may exceed that: twelve directories of 10,000 names at once.
const LISTINGS_AHEAD: Duration = Duration::from_ms(500);

/// The listings of directories.
#[derive(Default)]
pub(super) struct Listings {
    /// Time at which the listed names are paid for.
    paid_at: Instant,
    /// Number of names listed for the present request.
    count: u32,
}

/// Finds and opens the file `name` for the peer. `beside` is the path of the last file of the machine. Returns its path in `path`.
///
/// # Errors
/// `NoEntry`; `Access`: the name has `..`, or the file may not be read; those that stop a call, such as `AwaitsTurn`: directories
/// were listed too often.
pub(super) fn open(
    cx: &mut Cx<'_>,
    listings: &mut Listings,
    name: &[u8],
    beside: &[u8],
    path: &mut Path,
) -> FsResult<Found> {
    let opened = open_any(cx, listings, name, beside, path);
    if listings.count > 0 {
        let cost = Duration::from_ms(listings.count / NAMES_PER_MS);
        listings.paid_at = listings.paid_at.max(cx.now).after(cost);
        listings.count = 0;
    }
    opened
}

fn open_any(
    cx: &mut Cx<'_>,
    listings: &mut Listings,
    name: &[u8],
    beside: &[u8],
    path: &mut Path,
) -> FsResult<Found> {
    let too_long = |_| FsError::NoEntry;
    let mut clean = heapless::Vec::<u8, NAME_BYTES_MAX>::from_slice(name).map_err(too_long)?;
    for byte in clean.iter_mut().filter(|byte| **byte == b'\\') {
        *byte = b'/';
    }
    if mem::parts(&clean, b'/').any(|part| part == b"..") {
        return Err(FsError::Access);
    }
    let whole = clean.len();
    // Some ROMs send a byte after the name: netboot.xyz#1198.
    let is_odd = clean.last().is_some_and(|byte| !byte.is_ascii_graphic());
    let dir = beside.head(beside.len() - last(beside).len());
    for cut in 0..=usize::from(is_odd) {
        clean.truncate(whole - cut);
        for dir in [b"", dir].iter().take(1 + usize::from(!dir.is_empty())) {
            path.clear();
            let added = path.extend_from_slice(dir);
            added
                .and_then(|()| path.extend_from_slice(&clean))
                .map_err(|_| FsError::NoEntry)?;
            match open_path(cx, listings, path) {
                Err(FsError::NoEntry) => {}
                opened => return opened,
            }
        }
    }
    let base = clean.iter().rposition(|byte| *byte == b'/');
    match menu::NAMES.contains(&clean.tail(base.map_or(0, |at| at + 1))) {
        true => Ok(Found::Menu),
        false => Err(FsError::NoEntry),
    }
}

/// Opens a file by its path in any export.
fn open_path(cx: &mut Cx<'_>, listings: &mut Listings, path: &mut Path) -> FsResult<Found> {
    let (node, attr) = find(cx, listings, path)?;
    let pin = cx.vfs.pin(node, Some(Access::Read));
    match pin {
        // As if it were not there.
        Err(FsError::IsDirectory | FsError::Invalid) => Err(FsError::NoEntry),
        pin => Ok(Found::File(pin?, attr)),
    }
}

/// Finds a regular file: the path begins with that of an export, or is one below an export. Completes the path.
fn find(cx: &mut Cx<'_>, listings: &mut Listings, path: &mut Path) -> FsResult<(Node, Attr)> {
    let mut result = Err(FsError::NoEntry);
    for number in 0..cx.vfs.exports().len() {
        let rest_len = below(cx.vfs.path(number).to_bytes(), path).map(<[u8]>::len);
        for len in rest_len.into_iter().chain([path.len()]) {
            let start = path.len() - len;
            let found = find_in(cx, listings, number, path.tail_mut(start));
            match found {
                // Not for this client, a loop of links, or absent.
                Err(
                    FsError::NoEntry
                    | FsError::NotDirectory
                    | FsError::TooManyFollowed
                    | FsError::NameTooLong
                    | FsError::Stale,
                ) => {}
                Err(error) if error.stops() => return Err(error),
                Err(error) => result = Err(error),
                Ok(found) => {
                    if start == 0 {
                        complete(cx, number, path)?;
                    }
                    return Ok(found);
                }
            }
        }
    }
    result
}

/// Puts the path of an export before a path below it.
fn complete(cx: &Cx<'_>, number: usize, path: &mut Path) -> FsResult<()> {
    let mut whole = Path::new();
    let top = without_slash(cx.vfs.path(number).to_bytes());
    for part in [top, b"/", without_slashes(path)] {
        whole
            .extend_from_slice(part)
            .map_err(|_| FsError::NoEntry)?;
    }
    *path = whole;
    Ok(())
}

/// Finds a regular file below an export, in any case if there is none in this case. The names in `path` become those of the files.
fn find_in(
    cx: &mut Cx<'_>,
    listings: &mut Listings,
    export: usize,
    path: &mut [u8],
) -> FsResult<(Node, Attr)> {
    match find_regular(cx, export, path) {
        Err(FsError::NoEntry) => {
            correct_case(cx, listings, export, path)?;
            find_regular(cx, export, path)
        }
        found => found,
    }
}

/// Finds a regular file below an export.
pub(super) fn find_regular(cx: &mut Cx<'_>, export: usize, path: &[u8]) -> FsResult<(Node, Attr)> {
    let peer = cx.peer;
    let node = find_for(cx.vfs, export, &peer, path)?;
    let attr = cx.vfs.attr(node)?;
    match attr.kind {
        ObjectType::Regular => Ok((node, attr)),
        _ => Err(FsError::NoEntry),
    }
}

/// Replaces each name of a path that does not exist by one that differs in case only.
fn correct_case(
    cx: &mut Cx<'_>,
    listings: &mut Listings,
    export: usize,
    path: &mut [u8],
) -> FsResult<()> {
    let peer = Peer { ..cx.peer };
    let mut start = 0;
    loop {
        let mut rest = path.tail(start);
        let before = rest.len();
        let Some(name) = next_name(&mut rest) else {
            return Ok(());
        };
        let len = name.len();
        // After the name there is a "/", unless it is the last one.
        let is_last = rest.is_empty() && path.last() != Some(&b'/');
        let end = start + before - rest.len() - usize::from(!is_last);
        if find_for(cx.vfs, export, &peer, path.head(end)) == Err(FsError::NoEntry) {
            let dir = find_for(cx.vfs, export, &peer, path.head(end - len))?;
            let name = path.get_mut(end - len..end).unwrap_or_default();
            if listings.paid_at.since(cx.now) > LISTINGS_AHEAD {
                return Err(FsError::AwaitsTurn);
            }
            let mut is_found = false;
            cx.vfs.readdir(dir, 0, Detail::Names, &mut |entry| {
                listings.count += 1;
                is_found = is_like(entry.name, name);
                if is_found {
                    mem::copy_into(name, entry.name);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            if !is_found {
                return Err(FsError::NoEntry);
            }
        }
        start = end;
    }
}
