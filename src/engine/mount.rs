//! MOUNT versions 1 and 3: from a path to the handle of a directory. RFC 1813 section 5.
//!
//! The list of who mounted what is for people: it is bounded, it is kept in memory only, and nothing depends on it.

use super::Cx;
use super::rpc::Request;
use crate::config::MOUNT_COUNT_MAX;
use crate::event::{self, Line};
use crate::vfs::{Export, FsError, FsResult, Handle, Kind, Name};
use crate::wire::Writer;
use crate::wire::mount::{
    HANDLE_V1_BYTES, PATH_BYTES_MAX, Status, VERSION_1, VERSION_3, procedure,
};
use crate::wire::rpc::Reject;
use core::net::Ipv6Addr;

/// Who mounted which export.
#[derive(Debug, Default)]
pub struct Mounts {
    list: heapless::Vec<(Ipv6Addr, usize), MOUNT_COUNT_MAX>,
}

/// Answers one call. The lists are cut to the room of the reply.
#[inline(never)]
pub(super) fn answer(
    mounts: &mut Mounts,
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
) -> Result<(), Reject> {
    let version = request.call.version;
    if !matches!(version, VERSION_1 | VERSION_3) {
        return Err(Reject::Version(VERSION_1 as u8, VERSION_3 as u8));
    }
    let reply = &mut *request.reply;
    let procedure = request.call.procedure;
    match procedure {
        procedure::NULL => {}
        procedure::MNT | procedure::UMNT => {
            let path = request.args.opaque(PATH_BYTES_MAX);
            request.args.check()?;
            let found = find(cx.vfs.exports(), path);
            if procedure == procedure::MNT {
                mnt(mounts, version, cx, path, found, reply);
            } else if let Some((export, _)) = found {
                mounts.remove(cx.peer, Some(export));
            }
        }
        procedure::DUMP => mounts.emit(cx.vfs.exports(), reply),
        procedure::UMNTALL => mounts.remove(cx.peer, None),
        procedure::EXPORT => emit_exports(cx.vfs.exports(), reply),
        _ => return Err(Reject::Procedure),
    }
    Ok(())
}

fn mnt(
    mounts: &mut Mounts,
    version: u32,
    cx: &mut Cx<'_>,
    path: &[u8],
    found: Option<(usize, &[u8])>,
    reply: &mut Writer<'_>,
) {
    let mut handle = Handle::EMPTY;
    let (status, why) = match found {
        None => (Status::Access, "it is not exported"),
        Some((export, below)) => match walk(cx, export, below, &mut handle) {
            Err(error) => refusal(error),
            Ok(()) if version == VERSION_1 && handle.bytes().len() > HANDLE_V1_BYTES => (
                Status::ServerFault,
                "MOUNT version 1 has no room for its handle; use version 3",
            ),
            Ok(()) => {
                mounts.add(cx.peer, export);
                (Status::Ok, "")
            }
        },
    };
    let mut event = event::MAY_NOT_MOUNT;
    reply.u32(status as u32);
    if status == Status::Ok {
        event = event::MOUNTED;
        if version == VERSION_3 {
            reply.opaque(handle.bytes());
            reply.words(&[1, 1]); // One flavor: AUTH_SYS.
        } else {
            reply.put(handle.bytes());
            for _ in handle.bytes().len()..HANDLE_V1_BYTES {
                reply.put(&[0]);
            }
        }
    }
    cx.tell(event, path, why);
}

/// The directory `below` an export, name by name. Symbolic links are not followed.
fn walk(cx: &mut Cx<'_>, export: usize, mut below: &[u8], handle: &mut Handle) -> FsResult<()> {
    let mut node = cx.vfs.root(export)?;
    while let Some(name) = next_name(&mut below) {
        node = cx.vfs.lookup(node, Name::new(name)?)?;
    }
    if cx.vfs.attr(node)?.kind != Kind::Directory {
        return Err(FsError::NotDirectory);
    }
    *handle = cx.vfs.handle(node)?;
    Ok(())
}

const fn refusal(error: FsError) -> (Status, &'static str) {
    match error {
        FsError::NoEntry => (Status::NoEntry, "there is no such directory in the export"),
        FsError::NotDirectory | FsError::IsDirectory => {
            (Status::NotDirectory, "it is not a directory")
        }
        FsError::NameTooLong => (Status::NameTooLong, "a name in it is too long"),
        FsError::Invalid | FsError::BadHandle | FsError::BadCookie => {
            (Status::Invalid, "it is not a path")
        }
        FsError::OtherFileSystem => (
            Status::Access,
            "another file system is mounted there; export it by itself",
        ),
        FsError::Access | FsError::Permission | FsError::ReadOnly => {
            (Status::Access, "the server itself may not go there")
        }
        FsError::Io => (Status::Io, "the disk failed"),
        FsError::Stale
        | FsError::NotSupported
        | FsError::TryLater
        | FsError::Exists
        | FsError::CrossDevice
        | FsError::TooLarge
        | FsError::NoSpace
        | FsError::Quota
        | FsError::TooManyLinks
        | FsError::NotEmpty => (Status::ServerFault, "it cannot be opened now"),
    }
}

/// The export that `path` lies in, the innermost of several, and what of the path lies below its top.
fn find<'a>(exports: &[Export], path: &'a [u8]) -> Option<(usize, &'a [u8])> {
    let mut found: Option<(usize, &[u8])> = None;
    for (number, export) in exports.iter().enumerate() {
        if let Some(below) = below(export.path, path)
            && found.is_none_or(|(_, other)| below.len() < other.len())
        {
            found = Some((number, below));
        }
    }
    found
}

/// What of `path` lies below `top`, if it does. Both are absolute; empty names and "." mean nothing.
fn below<'a>(top: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = path;
    (rest.first() == Some(&b'/')).then_some(())?;
    let mut top = top;
    while let Some(wanted) = next_name(&mut top) {
        if next_name(&mut rest)? != wanted {
            return None;
        }
    }
    Some(rest)
}

/// Takes the first name off a path.
fn next_name<'a>(path: &mut &'a [u8]) -> Option<&'a [u8]> {
    while !path.is_empty() {
        let end = path
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(path.len());
        let (name, rest) = path.split_at_checked(end)?;
        *path = rest.get(1..).unwrap_or_default();
        if !matches!(name, b"" | b".") {
            return Some(name);
        }
    }
    None
}

impl Mounts {
    fn add(&mut self, peer: Ipv6Addr, export: usize) {
        self.remove(peer, Some(export));
        if let Err(mount) = self.list.push((peer, export))
            && let Some(oldest) = self.list.first_mut()
        {
            *oldest = mount;
        }
    }

    /// Forgets one of the peer's mounts, or all.
    fn remove(&mut self, peer: Ipv6Addr, export: Option<usize>) {
        for _ in 0..self.list.len() {
            let here = |mount: &&mut (Ipv6Addr, usize)| {
                mount.0 == peer && export.unwrap_or(mount.1) == mount.1
            };
            let Some(last) = self.list.last().copied() else {
                return;
            };
            let Some(gone) = self.list.iter_mut().find(here) else {
                return;
            };
            // The last takes its place, even if it is the last.
            *gone = last;
            self.list.pop();
        }
    }

    fn emit(&self, exports: &[Export], reply: &mut Writer<'_>) {
        emit_list(reply, self.list.iter(), |reply, (peer, export)| {
            let mut line = Line::default();
            reply.opaque(line.address(*peer).bytes());
            reply.opaque(exports.get(*export).map_or(b"", |export| export.path));
        });
    }
}

fn emit_exports(exports: &[Export], reply: &mut Writer<'_>) {
    emit_list(reply, exports.iter(), |reply, export| {
        reply.opaque(export.path);
        reply.u32(0); // No groups: everybody.
    });
}

/// Writes an XDR linked list, cut before the element that leaves no room for the end.
fn emit_list<T>(
    reply: &mut Writer<'_>,
    list: impl Iterator<Item = T>,
    emit: impl Fn(&mut Writer<'_>, T),
) {
    for element in list {
        let before = reply.position();
        reply.u32(1);
        emit(reply, element);
        if reply.written().is_none() || reply.room().len() < size_of::<u32>() {
            reply.truncate(before);
            break;
        }
    }
    reply.u32(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: Option<(usize, &[&str])>) {
        let exports = ["/srv", "/srv/iso//deep/", "/"].map(|path| Export {
            path: path.as_bytes(),
        });
        let found = find(&exports, path.as_bytes()).map(|(export, mut rest)| {
            let names = core::iter::from_fn(|| next_name(&mut rest));
            (
                export,
                names
                    .map(|name| core::str::from_utf8(name).unwrap())
                    .collect::<Vec<_>>(),
            )
        });
        assert_eq!(found, expect.map(|(export, rest)| (export, rest.to_vec())));
    }

    #[test]
    fn the_innermost_export_is_found_by_whole_names() {
        check("/srv", Some((0, &[])));
        check("/srv/", Some((0, &[])));
        check("//srv/./x/y", Some((0, &["x", "y"])));
        check("/srv/iso", Some((0, &["iso"])));
        check("/srv/iso/deep/z", Some((1, &["z"])));
        check("/srvx", Some((2, &["srvx"])));
        check("/srv/../etc", Some((0, &["..", "etc"])));
        check("/", Some((2, &[])));
        check("srv", None);
        check("", None);
    }

    #[test]
    fn the_list_of_mounts_is_bounded_and_forgets_by_peer() {
        let mut mounts = Mounts::default();
        let peer = |number| Ipv6Addr::from([0, 0, 0, 0, 0, 0, 0, number]);
        (0..=200).for_each(|number| mounts.add(peer(number), 0));
        mounts.add(peer(200), 0);
        assert_eq!(mounts.list.len(), MOUNT_COUNT_MAX);
        mounts.add(peer(200), 1);
        mounts.remove(peer(200), None);
        assert_eq!(mounts.list.len(), MOUNT_COUNT_MAX - 2);
    }
}
