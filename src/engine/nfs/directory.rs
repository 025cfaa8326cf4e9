//! LOOKUP, READDIR, READDIRPLUS.

use super::super::Cx;
use super::super::rpc::Answer;
use super::{attributes, fail_with, object, to_wire};
use crate::config::DIRECTORY_BYTES_MAX;
use crate::vfs::{Detail, DirEntry, FsError, FsResult, Name, Node};
use crate::wire::nfs3::{ATTRIBUTES_BYTES, Attributes, Status, VERIFIER_BYTES, emit_post_op};
use crate::wire::rpc::Reject;
use crate::wire::xdr::padding;
use crate::wire::{Reader, Writer};
use core::ops::ControlFlow;

/// Bytes that a name on the wire may have before it is taken for garbage; the file system's own limit is lower.
const NAME_BYTES_MAX: u32 = 1024;

pub(super) fn lookup(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    let dir = object(cx, args)?;
    let name = Name::new(args.opaque(NAME_BYTES_MAX)?);
    let found = dir.and_then(|dir| {
        let node = cx.vfs.lookup(dir, name?)?;
        Ok((cx.vfs.handle(node)?, attributes(cx.vfs, node)?))
    });
    match found {
        Ok((handle, attributes)) => {
            reply.u32(Status::Ok as u32);
            reply.opaque(handle.bytes());
            emit_post_op(reply, Some(&attributes));
            let of_dir = dir.ok().and_then(|dir| super::attributes(cx.vfs, dir).ok());
            emit_post_op(reply, of_dir.as_ref());
        }
        Err(error) => fail_with(cx, reply, error, dir.ok()),
    }
    Ok(())
}

/// READDIR and READDIRPLUS: as many entries as fit the caller's count, at least one, or `TooSmall`.
pub(super) fn list(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
    detail: Detail,
) -> Result<Answer, Reject> {
    let dir = object(cx, args)?;
    let cookie = args.u64()?;
    // The host's cookies hold as long as the directory does: there is nothing to verify.
    args.take(VERIFIER_BYTES)?;
    let names_max = args.u32()?.min(DIRECTORY_BYTES_MAX) as usize;
    let bytes_max = match detail {
        Detail::Names => names_max,
        Detail::Objects => args.u32()?.min(DIRECTORY_BYTES_MAX) as usize,
    };
    // A failure needs a little more than the smallest of counts.
    if reply.room().len()
        < bytes_max
            .saturating_add(ATTRIBUTES_BYTES)
            .saturating_add(64)
    {
        return Ok(Answer::NoRoom);
    }
    let start = reply.position();
    let of_dir = dir.and_then(|dir| attributes(cx.vfs, dir));
    emit_start(reply, of_dir.as_ref().ok());
    let mut page = Page {
        bytes_max: bytes_max.saturating_add(start),
        names_left: names_max,
        full: false,
        empty: true,
    };
    let listed = dir.and_then(|dir: Node| {
        cx.vfs.readdir(dir, cookie, detail, &mut |entry| {
            page.take(reply, entry, detail)
        })
    });
    match page.outcome(listed) {
        Ok(end) => reply.words(&[0, end.into()]),
        Err(error) => {
            reply.truncate(start);
            match error {
                Failure::TooSmall => {
                    reply.u32(Status::TooSmall as u32);
                    emit_post_op(reply, of_dir.as_ref().ok());
                }
                Failure::Host(error) => fail_with(cx, reply, error, dir.ok()),
            }
        }
    }
    Ok(Answer::Done)
}

fn emit_start(reply: &mut Writer<'_>, of_dir: Option<&Attributes>) {
    reply.u32(Status::Ok as u32);
    emit_post_op(reply, of_dir);
    reply.put(&[0; VERIFIER_BYTES]);
}

enum Failure {
    TooSmall,
    Host(FsError),
}

/// The limits of one page, and what came of it.
struct Page {
    /// Where the reply must end, the list's end included.
    bytes_max: usize,
    /// Bytes left for names, cookies and inode numbers.
    names_left: usize,
    full: bool,
    empty: bool,
}

impl Page {
    /// Bytes after the last entry: no further entry, whether that was all.
    const END_BYTES: usize = 8;

    /// Writes one entry, if it fits.
    fn take(
        &mut self,
        reply: &mut Writer<'_>,
        entry: &DirEntry<'_>,
        detail: Detail,
    ) -> ControlFlow<()> {
        let name_len = entry.name.len();
        // A flag, inode number, length and bytes of the name, cookie.
        let plain = name_len
            .saturating_add(padding(name_len))
            .saturating_add(4 + 8 + 4 + 8);
        let more = match (detail, &entry.object) {
            (Detail::Names, _) => 0,
            (Detail::Objects, None) => 4 + 4,
            (Detail::Objects, Some((_, handle))) => {
                let len = handle.bytes().len();
                len.saturating_add(padding(len))
                    .saturating_add(4 + ATTRIBUTES_BYTES + 4 + 4)
            }
        };
        let end = reply
            .position()
            .saturating_add(plain)
            .saturating_add(more)
            .saturating_add(Self::END_BYTES);
        let names_left = self.names_left.checked_sub(plain);
        // The names' limit is a hint, and one entry always goes beyond a hint.
        if end > self.bytes_max || (names_left.is_none() && !self.empty) {
            self.full = true;
            return ControlFlow::Break(());
        }
        self.names_left = names_left.unwrap_or(0);
        self.empty = false;
        reply.u32(1);
        reply.u64(entry.inode);
        reply.opaque(entry.name);
        reply.u64(entry.cookie);
        if detail == Detail::Objects {
            match &entry.object {
                Some((attr, handle)) => {
                    emit_post_op(reply, Some(&to_wire(attr)));
                    reply.u32(1);
                    reply.opaque(handle.bytes());
                }
                None => reply.words(&[0, 0]),
            }
        }
        ControlFlow::Continue(())
    }

    fn outcome(&self, listed: FsResult<bool>) -> Result<bool, Failure> {
        match listed {
            Ok(false) if self.empty => Err(Failure::TooSmall),
            Ok(end) => Ok(end && !self.full),
            // What was listed before the failure is true: the client will meet the failure at the next page.
            Err(_) if !self.empty => Ok(false),
            Err(error) => Err(Failure::Host(error)),
        }
    }
}
