//! LOOKUP, READDIR, READDIRPLUS.

use super::super::Cx;
use super::super::rpc::{Request, Unanswered};
use super::{Object, ProcedureError, post_op};
use crate::config::{DIRECTORY_BYTES_MAX, REPLY_HEAD_BYTES};
use crate::vfs::{Access, Detail, DirEntry, FsError, Name, ObjectType, Until};
use crate::wire::Writer;
use crate::wire::nfs3::{ATTRIBUTES_BYTES, Status, VERIFIER_BYTES};
use crate::wire::xdr::padding;
use core::ops::ControlFlow;

/// Longest name on the wire (bytes); a longer one is GARBAGE_ARGS. The file system's own limit is lower.
pub(super) const NAME_BYTES_MAX: u32 = 1024;

pub(super) fn lookup(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    dir: &Object,
) -> Result<(), ProcedureError> {
    let name = request.args.opaque(NAME_BYTES_MAX);
    request.args.check()?;
    let node = match Name::new(name) {
        // "." or "..". RFC 1813 section 3.2: servers should be prepared for them.
        Err(FsError::Exists) => {
            if dir.attr.kind != ObjectType::Directory {
                return Err(FsError::NotDirectory.into());
            }
            cx.vfs.access(dir.node, Access::Execute)?;
            match name {
                b"." => dir.node,
                _ => cx.vfs.parent(dir.node)?,
            }
        }
        name => cx.vfs.lookup(dir.node, name?)?,
    };
    let handle = cx.vfs.handle(node);
    let handle = handle.as_ref().map_err(|error| *error)?;
    let attr = cx.vfs.attr(node);
    let attr = attr.as_ref().map_err(|error| *error)?;
    request.reply.opaque(handle.padded());
    post_op(request.reply, Some(attr));
    post_op(request.reply, Some(&dir.attr));
    Ok(())
}

/// Answers READDIR and READDIRPLUS with as many entries as fit into the client's count. Fails with `TooSmall` if the first entry
/// does not fit.
pub(super) fn list(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    dir: &Object,
    detail: Detail,
) -> Result<(), ProcedureError> {
    let (args, reply) = (&mut request.args, &mut *request.reply);
    let cookie = args.u64();
    // The host's cookies stay valid while the directory exists, so the cookie verifier is ignored.
    args.take(VERIFIER_BYTES);
    let names_left = args.u32();
    let bytes_max = if detail == Detail::Names {
        names_left
    } else {
        args.u32()
    };
    args.check()?;
    let bytes_max = bytes_max.min(DIRECTORY_BYTES_MAX);
    if reply.space().len() < bytes_max as usize + REPLY_HEAD_BYTES / 2 {
        return Err(ProcedureError::Unanswered(Unanswered::Again(Until::Output)));
    }
    let mut page = Page {
        detail,
        bytes_left: bytes_max.saturating_sub(Page::FRAME_BYTES),
        names_left,
        empty: true,
    };
    reply.u64(0); // The cookie verifier, always 0.
    let listed = cx.vfs.readdir(dir.node, cookie, detail, &mut |entry| {
        page.add_entry(reply, entry)
    });
    // After an error, return the entries listed before it: the client gets the error with the next page.
    let end = match listed {
        Err(error) if page.empty => return Err(error.into()),
        Ok(end) => end,
        Err(_) => false,
    };
    if page.empty && !end || bytes_max < Page::FRAME_BYTES {
        return Err(ProcedureError::Status(Status::TooSmall));
    }
    reply.words(&[0, end.into()]);
    Ok(())
}

/// The remaining space of one page, and whether an entry was written.
struct Page {
    detail: Detail,
    /// Bytes left for entries.
    bytes_left: u32,
    /// Bytes left for names, cookies and inode numbers (dircount). It is a hint: the first entry may exceed it.
    names_left: u32,
    empty: bool,
}

impl Page {
    /// Length of a reply without entries (bytes): status, the directory's attributes, verifier; end of list, eof.
    const FRAME_BYTES: u32 = 4 + 4 + ATTRIBUTES_BYTES as u32 + 8 + 4 + 4;
    /// Length of an entry's attributes and handle, without the handle's own bytes.
    const OBJECT_BYTES: u32 = 4 + ATTRIBUTES_BYTES as u32 + 4 + 4;

    /// Writes one entry, or stops the listing if it does not fit.
    fn add_entry(&mut self, reply: &mut Writer<'_>, entry: &DirEntry<'_>) -> ControlFlow<()> {
        // Value-follows flag, inode number, length of the name, cookie.
        let plain = padded(entry.name) + (4 + 8 + 4 + 8);
        let more = match &entry.object {
            _ if self.detail == Detail::Names => 0,
            Some((_, Some(handle))) => handle.padded().len() as u32 + Self::OBJECT_BYTES,
            _ => 4 + 4,
        };
        let names_left = self.names_left.checked_sub(plain);
        let bytes_left = self.bytes_left.checked_sub(plain + more);
        let Some(bytes_left) = bytes_left.filter(|_| names_left.is_some() || self.empty) else {
            return ControlFlow::Break(());
        };
        self.bytes_left = bytes_left;
        self.names_left = names_left.unwrap_or(0);
        self.empty = false;
        reply.u32(1);
        reply.u64(entry.inode);
        reply.opaque(entry.name);
        reply.u64(entry.cookie);
        match &entry.object {
            _ if self.detail == Detail::Names => {}
            Some((attr, Some(handle))) => {
                post_op(reply, Some(attr));
                reply.u32(1);
                reply.opaque(handle.padded());
            }
            _ => reply.words(&[0, 0]),
        }
        ControlFlow::Continue(())
    }
}

/// Length of a name with its padding, without the length word (bytes).
const fn padded(bytes: &[u8]) -> u32 {
    (bytes.len() + padding(bytes.len())) as u32
}
