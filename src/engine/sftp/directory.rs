//! OPENDIR and READDIR.

use super::attributes::told;
use super::handles::Mode;
use super::longname::{HEAD_BYTES_MAX, longname};
use super::{Answer, Fault, Outcome, Request, Sftp};
use crate::config::NAMES_BYTES_MAX;
use crate::vfs::{Detail, FsError, Opening};
use crate::wire::sftp::{Status, kind};
use core::ops::ControlFlow;

/// Bytes of the largest entry: name, line, attributes.
const ENTRY_BYTES_MAX: usize = 4 + 255 + HEAD_BYTES_MAX + 255 + 32;

pub(super) fn open(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    request.args.check()?;
    let slot = request.session.handles.free()?;
    let how = Opening {
        read: true,
        directory: true,
        ..Opening::default()
    };
    let pin = request.cx.vfs.open_at(path, &how)?;
    let mode = Mode {
        read: true,
        directory: true,
        ..Mode::default()
    };
    request.opened(slot, pin, mode)
}

/// As many entries as a page has room for. Where the host does not tell the attributes of "." and "..", they are the
/// directory's own; others that have none are gone.
pub(super) fn read(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let handle = request.args.handle();
    request.args.check()?;
    let (reply, vfs) = (&mut *request.reply, &mut *request.cx.vfs);
    let slot = request.session.handles.find(handle, true)?;
    if reply.room().len() < NAMES_BYTES_MAX {
        return Err(Fault::NoRoom);
    }
    sftp.accounts.load(vfs);
    let accounts = &sftp.accounts;
    let now = vfs.clock().secs;
    let (pin, _, cookie) = request.session.handles.get(slot)?;
    let start = reply.begin(kind::NAME, request.id);
    let head = reply.position();
    let full = start.saturating_add(NAMES_BYTES_MAX.saturating_sub(ENTRY_BYTES_MAX));
    let mut count: u32 = 0;
    reply.u32(0);
    let own = vfs.attr(pin.node());
    let listed = own.and_then(|own| {
        vfs.readdir(pin.node(), *cookie, Detail::Objects, &mut |entry| {
            *cookie = entry.cookie;
            let attr = match (entry.object, entry.name) {
                (Some((attr, _)), _) => attr,
                (None, b"." | b"..") => &own,
                (None, _) => return ControlFlow::Continue(()),
            };
            reply.string(entry.name);
            longname(reply, entry.name, attr, accounts, now);
            told(attr).emit(reply);
            count = count.wrapping_add(1);
            if reply.position() < full {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    });
    match listed {
        // What was listed before a failure is true: the client will meet the failure at the next page.
        _ if count > 0 => {}
        // It was removed meanwhile.
        Ok(_) | Err(FsError::NoEntry | FsError::Stale) => return Err(Status::Eof.into()),
        Err(error) => return Err(error.into()),
    }
    reply.patch(head, count);
    reply.end(start, 0);
    Ok(Answer::Written)
}
