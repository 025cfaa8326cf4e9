//! SFTP as the loop serves it: a session for each connection.

use super::streams::{Call, Limits, Protocol, Streams};
use crate::config::{PACKET_WHOLE_BYTES_MAX, SFTP_CONNECTION_COUNT_MAX};
use crate::engine::sftp::{Session, Sftp};
use crate::engine::{Order, Progress, Stream as _};
use crate::vfs::{Content, Files, FsResult};

/// Bytes of the longest packet that must lie in the buffer as a whole, with its length.
pub const REQUEST_BYTES: usize = PACKET_WHOLE_BYTES_MAX as usize + 4;

/// A server, its sessions, and the files it serves.
pub struct Sessions<'a> {
    sftp: &'a mut Sftp,
    files: &'a mut Files,
    /// By the number of the connection. All have begun.
    sessions: &'a mut [Session],
}

impl<'a> Sessions<'a> {
    /// A server for as many connections as there are `sessions`, of which each has begun.
    pub const fn new(
        sftp: &'a mut Sftp,
        files: &'a mut Files,
        sessions: &'a mut [Session],
    ) -> Self {
        Self {
            sftp,
            files,
            sessions,
        }
    }

    /// What serves their connections.
    pub fn streams() -> Streams {
        let limits = Limits {
            connection_count: SFTP_CONNECTION_COUNT_MAX,
            request_count: SFTP_CONNECTION_COUNT_MAX,
            reply_count: SFTP_CONNECTION_COUNT_MAX,
        };
        Streams::new(limits, REQUEST_BYTES)
    }
}

impl Protocol for Sessions<'_> {
    fn files(&mut self) -> &mut (dyn Content + 'static) {
        self.files.begin();
        self.files
    }

    fn open(&mut self, connection: usize, _listener: u32) {
        if let Some(session) = self.sessions.get_mut(connection) {
            session.renew();
        }
    }

    fn advance(
        &mut self,
        connection: usize,
        call: Call<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        let Some(session) = self.sessions.get_mut(connection) else {
            return Progress::CLOSED;
        };
        self.files.begin();
        let mut cx = call.with(&mut *self.files);
        self.sftp.advance(session, &mut cx, input, output)
    }

    fn done(
        &mut self,
        connection: usize,
        call: Call<'_>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress {
        let Some(session) = self.sessions.get_mut(connection) else {
            order.abandon(self.files);
            return Progress::CLOSED;
        };
        self.files.begin();
        let mut cx = call.with(&mut *self.files);
        self.sftp.done(session, &mut cx, order, result, output)
    }

    fn abandon(&mut self, connection: usize) {
        if let Some(session) = self.sessions.get_mut(connection) {
            self.sftp.abandon(session, self.files);
        }
    }
}
