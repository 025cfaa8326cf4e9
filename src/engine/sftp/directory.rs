//! READDIR.

use super::Exchange;
use super::attributes::put;
use super::longname::{HEAD_BYTES_MAX, longname};
use super::status::{Fault, Outcome};
use crate::config::NAMES_BYTES_MAX;
use crate::vfs::{Detail, FsError};
use core::ops::ControlFlow;

/// Size of the largest entry (bytes): name, longname, attributes.
const ENTRY_BYTES_MAX: usize = 4 + 255 + HEAD_BYTES_MAX + 255 + 32;

impl Exchange<'_> {
    /// Writes as many entries as fit into a page. If the host does not report attributes of "." and "..", the directory's own are
    /// used. Other entries without attributes have been removed meanwhile and are skipped; inside an ISO image such an entry is
    /// damaged, and is listed by name alone, as over NFS.
    pub(super) fn list(&mut self) -> Outcome {
        let (reply, vfs) = (&mut self.reply, &mut *self.vfs);
        if reply.space().len() < NAMES_BYTES_MAX {
            return Err(Fault::NeedOutput);
        }
        self.sftp.accounts.load(vfs);
        let accounts = &self.sftp.accounts;
        let (now, _) = (self.sftp.clock)();
        let node = self.request.node;
        let open = self.session.handles.at(self.request.slot);
        let cookie = &mut open.ok_or(Fault::FAILURE)?.cookie;
        let head = reply.position();
        let full = head + NAMES_BYTES_MAX.saturating_sub(ENTRY_BYTES_MAX);
        let mut count: u32 = 0;
        reply.u32(0);
        let own = vfs.attr(node);
        let listed = match &own {
            Ok(own) => vfs.readdir(node, *cookie, Detail::Objects, &mut |entry| {
                *cookie = entry.cookie;
                let attr = match (entry.object, entry.name) {
                    (Some((attr, _)), _) => Some(attr),
                    (None, b"." | b"..") => Some(own),
                    (None, _) if node.is_inside() => None,
                    (None, _) => return ControlFlow::Continue(()),
                };
                reply.string(entry.name);
                if let Some(attr) = attr {
                    longname(reply, entry.name, attr, Some(accounts), now);
                    put(reply, attr);
                } else {
                    reply.string(entry.name);
                    reply.u32(0);
                }
                count += 1;
                if reply.position() < full {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            }),
            Err(error) => Err(*error),
        };
        match listed {
            // After an error, return the entries listed before it: the client gets the error with the next page.
            _ if count > 0 => reply.patch(head, count),
            // `NoEntry`: the directory was removed meanwhile.
            Ok(_) | Err(FsError::NoEntry) => return Err(Fault::Eof),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
