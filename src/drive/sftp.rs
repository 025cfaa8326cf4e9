//! SFTP over a loop's connections, one session each.

use super::streams::{Limits, Protocol, Streams};
use crate::config::{PACKET_WHOLE_BYTES_MAX, SFTP_CONNECTION_COUNT_MAX, TX_BYTES, TX_BYTES_MIN};
use crate::engine::sftp::{Session, Sftp};
use crate::engine::{Cx, Order, Progress};
use crate::event::Events;
use crate::mem::scaled;
use crate::vfs::{FsResult, Tree};

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

    /// Creates the connections of this protocol.
    pub fn streams() -> Streams {
        let limits = Limits {
            connection_count: SFTP_CONNECTION_COUNT_MAX,
            request_count: SFTP_CONNECTION_COUNT_MAX,
            reply_count: SFTP_CONNECTION_COUNT_MAX,
            reply_bytes: scaled(TX_BYTES_MIN, TX_BYTES),
        };
        Streams::new(limits, REQUEST_BYTES)
    }
}

impl Protocol for Sessions<'_> {
    fn open(&mut self, connection: usize, _listener: u32) {
        if let Some(session) = self.sessions.get_mut(connection) {
            session.renew();
        }
    }

    fn advance(
        &mut self,
        connection: usize,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        let Some(session) = self.sessions.get_mut(connection) else {
            return Progress::CLOSED;
        };
        cx.vfs.act_as_process(&cx.peer);
        self.sftp.advance(session, cx, input, output)
    }

    fn done(
        &mut self,
        connection: usize,
        cx: &mut Cx<'_>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress {
        let Some(session) = self.sessions.get_mut(connection) else {
            order.abandon(cx.vfs);
            return Progress::CLOSED;
        };
        cx.vfs.act_as_process(&cx.peer);
        self.sftp.done(session, cx, order, result, output)
    }

    fn abandon(&mut self, connection: usize, tree: &mut Tree, events: &mut Events) {
        if let Some(session) = self.sessions.get_mut(connection) {
            self.sftp.abandon(session, tree, events);
        }
    }
}
