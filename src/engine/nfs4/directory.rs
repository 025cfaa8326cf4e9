//! READDIR. RFC 8881 section 18.23.

use super::attributes::{ERROR, FILE_ID, Facts, MOUNTED_ON_FILE_ID, check_readable, emit};
use super::turn::{Done, Turn};
use crate::config::DIRECTORY_BYTES_MAX;
use crate::vfs::recent::Recent;
use crate::vfs::{Detail, DirEntry, FsStat, ObjectType};
use crate::wire::Writer;
use crate::wire::nfs4::{Bitmap, Status};
use core::ops::ControlFlow;

/// Length of the verifier of cookies (bytes).
const VERIFIER_BYTES: usize = 8;
/// Length of the end of a list (bytes): no entry follows, eof.
const END_BYTES: usize = 8;
/// Attributes that a listing has without the objects.
const OF_NAMES: Bitmap = Bitmap::new(&[ERROR, FILE_ID, MOUNTED_ON_FILE_ID]);

/// One page of a listing.
struct Page {
    asked: Bitmap,
    recent: Recent,
    stat: FsStat,
    /// Position of the reply at which the page must end.
    end: usize,
    /// Bytes left for names and cookies (dircount); a hint: the first entry may exceed it.
    names_left: u32,
    is_empty: bool,
}

impl Page {
    /// Writes one entry, or stops the listing if it does not fit.
    fn add_entry(&mut self, reply: &mut Writer<'_>, entry: &DirEntry<'_>) -> ControlFlow<()> {
        if matches!(entry.name, b"." | b"..") {
            return ControlFlow::Continue(());
        }
        let at = reply.position();
        reply.u32(1);
        reply.u64(entry.cookie);
        reply.opaque(entry.name);
        let names_left = self.names_left.checked_sub((reply.position() - at) as u32);
        self.emit_attributes(reply, entry);
        let fits = reply.written().is_some() && reply.position() + END_BYTES <= self.end;
        if !fits || names_left.is_none() && !self.is_empty {
            reply.truncate(at);
            return ControlFlow::Break(());
        }
        self.names_left = names_left.unwrap_or(0);
        self.is_empty = false;
        ControlFlow::Continue(())
    }

    fn emit_attributes(&self, reply: &mut Writer<'_>, entry: &DirEntry<'_>) {
        if let Some((attr, Some(handle))) = entry.object {
            let facts = Facts {
                attr,
                handle,
                mounted_on: entry.inode,
                recent: self.recent.sum(handle),
                stat: self.stat,
            };
            return emit(self.asked, &facts, reply);
        }
        // The attributes that the entry itself has. The object was removed meanwhile, or is outside the export, unless no more are asked for.
        let mut given = self.asked.and(OF_NAMES);
        let is_whole = given == self.asked;
        if !is_whole {
            given = given.and(Bitmap::new(&[ERROR, MOUNTED_ON_FILE_ID]));
        }
        given.emit(reply);
        let mark = reply.position();
        reply.u32(0);
        if given.has(ERROR) {
            let error = if is_whole { Status::OK } else { Status::ACCESS };
            reply.u32(error.0.into());
        }
        for number in [FILE_ID, MOUNTED_ON_FILE_ID] {
            if given.has(number) {
                reply.u64(entry.inode);
            }
        }
        let len = reply.position().saturating_sub(mark + 4);
        reply.patch(mark, len as u32);
    }
}

/// READDIR.
pub(super) fn read_directory(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let cookie = turn.args.u64();
    // The host's cookies stay valid while the directory exists, so the cookie verifier is ignored.
    turn.args.take(VERIFIER_BYTES);
    let (names_left, bytes_max) = (turn.args.u32(), turn.args.u32());
    let asked = Bitmap::parse(turn.args);
    turn.args.check()?;
    check_readable(asked)?;
    if matches!(cookie, 1 | 2) {
        return Err(Status::BAD_COOKIE.into());
    }
    let (dir, attr) = turn.object_with_attr()?;
    if attr.kind != ObjectType::Directory {
        return Err(Status::NOTDIR.into());
    }
    let bytes_max = bytes_max.min(DIRECTORY_BYTES_MAX) as usize;
    turn.need_space(bytes_max)?;
    let start = turn.reply.position();
    let most = (turn.start + turn.compound.reply_bytes_max as usize).min(start + bytes_max);
    let mut page = Page {
        asked,
        recent: turn.cx.vfs.recent,
        stat: turn.space(dir, asked)?,
        end: most,
        names_left: if names_left == 0 {
            u32::MAX
        } else {
            names_left
        },
        is_empty: true,
    };
    let detail = match asked.without(OF_NAMES).is_empty() {
        true => Detail::Names,
        false => Detail::Objects,
    };
    let reply = &mut *turn.reply;
    reply.u64(0); // The cookie verifier, always 0.
    let listed = turn
        .cx
        .vfs
        .readdir_in_all(dir, cookie, detail, &mut |entry| {
            page.add_entry(reply, entry)
        });
    // After an error, return the entries listed before it: the client gets the error with the next page.
    let is_end = match listed {
        Err(error) if page.is_empty => return Err(error.into()),
        Ok(is_end) => is_end,
        Err(_) => false,
    };
    // RFC 8881 section 18.23.3: if no entry fits, "the error NFS4ERR_TOOSMALL MUST be returned".
    if page.is_empty && !is_end || start + VERIFIER_BYTES + END_BYTES > most {
        return Err(Status::TOOSMALL.into());
    }
    reply.words(&[0, is_end.into()]);
    Ok(())
}
