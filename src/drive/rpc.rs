//! The RPC programs as the loop serves them: over connections and over datagrams, behind several sockets.

use super::datagrams;
use super::streams::{self, Call, Limits, Protocol, Streams};
use crate::config::{CONNECTION_COUNT_MAX, REPLY_BLOCK_COUNT, REQUEST_BLOCK_COUNT, REQUEST_BYTES};
use crate::engine::programs::{ProgramSet, Programs, Session};
use crate::engine::{Cx, Datagrams as _, Order, Progress, Stream as _};
use crate::mem::{Slots, scaled};
use crate::vfs::{Content, Exported, FsResult, Handles};

/// The programs, their sessions, and the files they serve.
#[repr(C)] // The longest last.
pub struct Rpc<'a> {
    files: &'a mut Exported,
    /// By the number of the connection.
    sessions: Slots<Session>,
    /// Which programs are reached through the socket with this token.
    services: [ProgramSet; streams::CONNECTION_TOKEN as usize],
    /// The programs.
    pub programs: Programs,
}

impl<'a> Rpc<'a> {
    /// Programs for at most `connection_count` connections, behind no sockets yet.
    pub fn new(programs: Programs, files: &'a mut Exported, connection_count: usize) -> Self {
        Self {
            programs,
            files,
            sessions: Slots::new(connection_count.min(CONNECTION_COUNT_MAX)),
            services: [ProgramSet::default(); _],
        }
    }

    /// What serves their connections.
    pub fn streams(connection_count: usize) -> Streams {
        let limits = Limits {
            connection_count,
            request_count: scaled(REQUEST_BLOCK_COUNT),
            reply_count: scaled(REPLY_BLOCK_COUNT),
        };
        Streams::new(limits, REQUEST_BYTES)
    }

    /// The socket with the token `local` leads to `service`.
    pub fn set_service(&mut self, local: u32, service: ProgramSet) {
        if let Some(place) = self.services.get_mut(local as usize) {
            *place = service;
        }
    }

    fn service(&self, local: u32) -> ProgramSet {
        self.services
            .get(local as usize)
            .copied()
            .unwrap_or_default()
    }
}

impl Protocol for Rpc<'_> {
    fn files(&mut self) -> &mut (dyn Content + 'static) {
        self.files
    }

    fn commit(&mut self) -> FsResult<()> {
        Handles::commit_metadata(self.files)
    }

    fn open(&mut self, connection: usize, listener: u32) {
        let session = Session::new(self.service(listener));
        match self.sessions.get_mut(connection) {
            Some(place) => *place = session,
            // Connections take the numbers that were used, then the next.
            None => _ = self.sessions.push(session),
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
        let mut cx = call.with(&mut *self.files);
        self.programs.advance(session, &mut cx, input, output)
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
        let mut cx = call.with(&mut *self.files);
        self.programs.done(session, &mut cx, order, result, output)
    }

    fn holds_file(&self, connection: usize) -> bool {
        let session = self.sessions.get(connection);
        session.is_some_and(Session::holds_file)
    }

    fn interrupted(&mut self) {
        self.programs.interrupted();
    }

    fn break_promises(&mut self) {
        self.programs.break_promises();
    }

    fn abandon(&mut self, connection: usize) {
        if let Some(session) = self.sessions.get_mut(connection) {
            self.programs.abandon(session, self.files);
        }
    }
}

impl datagrams::Protocol for Rpc<'_> {
    fn answer(
        &mut self,
        local: u32,
        call: Call<'_>,
        datagram: &[u8],
        output: &mut [u8],
    ) -> Option<usize> {
        let service = self.service(local);
        let mut cx: Cx<'_> = call.with(&mut *self.files);
        self.programs.answer(service, &mut cx, datagram, output)
    }
}
