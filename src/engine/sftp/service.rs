//! SFTP as a service: one session for each connection.

use super::{Session, Sftp};
use crate::config::PACKET_WHOLE_BYTES_MAX;
use crate::engine::Cx;
use crate::engine::service::{ConnectionId, Io, Local, Moved, Progress, Service};

/// Longest packet (bytes), with its length field, that must be in the receive buffer as a whole.
pub const REQUEST_BYTES: usize = PACKET_WHOLE_BYTES_MAX as usize + 4;

/// A server and its sessions.
pub struct Sessions<'a> {
    sftp: &'a mut Sftp,
    /// Indexed by connection number. All are initialized.
    sessions: &'a mut [Session],
}

impl<'a> Sessions<'a> {
    /// A server for `sessions.len()` connections. All sessions must be initialized.
    pub const fn new(sftp: &'a mut Sftp, sessions: &'a mut [Session]) -> Self {
        Self { sftp, sessions }
    }
}

impl Service for Sessions<'_> {
    fn open(&mut self, id: ConnectionId, _at: Local) {
        if let Some(session) = self.sessions.get_mut(id.index()) {
            session.renew();
        }
    }

    fn advance(&mut self, id: ConnectionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return Progress::CLOSED;
        };
        cx.vfs.act_as_process(&cx.peer);
        self.sftp.advance(session, cx, io.input, io.output)
    }

    fn moved(&mut self, id: ConnectionId, cx: &mut Cx<'_>, done: Moved, io: Io<'_>) -> Progress {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            done.transfer.abandon(cx.vfs);
            return Progress::CLOSED;
        };
        self.sftp.moved(session, cx, done, io.output)
    }

    fn close(&mut self, id: ConnectionId, cx: &mut Cx<'_>, _held: &[u8]) {
        if let Some(session) = self.sessions.get_mut(id.index()) {
            self.sftp.abandon(session, cx.vfs, cx.events);
        }
    }
}
