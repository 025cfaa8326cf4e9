//! The RPC programs over a loop's connections and datagrams, on several sockets.

use super::datagrams;
use super::streams::{self, Limits, Protocol, Streams};
use crate::config::{
    CONNECTION_COUNT_MAX, REPLY_BLOCK_COUNT, REPLY_BYTES, REQUEST_BLOCK_COUNT, REQUEST_BYTES,
};
use crate::engine::nfs::Promise;
use crate::engine::programs::{ProgramSet, Programs, Session};
use crate::engine::{Cx, Order, Progress};
use crate::event::Events;
use crate::mem::{Slots, scaled};
use crate::vfs::{FsResult, Tree};
use core::net::IpAddr;

/// The programs and their sessions.
#[repr(C)] // The longest field is last, so that short instructions reach the others.
pub struct Rpc {
    /// Indexed by connection number.
    sessions: Slots<Session>,
    /// Programs served at each socket; the index is the socket's token.
    services: [ProgramSet; streams::CONNECTION_TOKEN as usize],
    /// The programs.
    pub programs: Programs,
}

impl Rpc {
    /// Creates the sessions of at most `connection_count` connections. No socket serves a program before [`Self::set_service`].
    pub fn new(programs: Programs, connection_count: usize) -> Self {
        Self {
            programs,
            sessions: Slots::new(connection_count.min(CONNECTION_COUNT_MAX)),
            services: [ProgramSet::default(); _],
        }
    }

    /// Creates the connections of this protocol.
    pub fn streams(connection_count: usize) -> Streams {
        let limits = Limits {
            connection_count,
            request_count: scaled(1, REQUEST_BLOCK_COUNT),
            reply_count: scaled(1, REPLY_BLOCK_COUNT),
            reply_bytes: REPLY_BYTES,
        };
        Streams::new(limits, REQUEST_BYTES)
    }

    /// Serves `service` at the socket with the token `local`.
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

impl Protocol for Rpc {
    fn take_promise(&mut self) -> Promise {
        self.programs.take_promise()
    }

    fn settle(&mut self, cx: &mut Cx<'_>, replies: &mut [u8], synced: FsResult<()>) -> usize {
        self.programs.settle(cx, replies, synced)
    }

    fn open(&mut self, connection: usize, listener: u32) {
        let session = self.programs.open(connection, self.service(listener));
        match self.sessions.get_mut(connection) {
            Some(place) => *place = session,
            // A connection has a number that was used before, or else the next number.
            None => _ = self.sessions.push(session),
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
        self.programs.advance(session, cx, input, output)
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
        self.programs.done(session, cx, order, result, output)
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

    fn abandon(&mut self, connection: usize, tree: &mut Tree, _: &mut Events) {
        if let Some(session) = self.sessions.get_mut(connection) {
            self.programs.abandon(session, tree);
        }
    }
}

impl datagrams::Protocol for Rpc {
    fn answer(
        &mut self,
        local: u32,
        cx: &mut Cx<'_>,
        reached: Option<IpAddr>,
        datagram: &[u8],
        output: &mut [u8],
    ) -> Option<usize> {
        let service = self.service(local);
        self.programs.answer(service, cx, reached, datagram, output)
    }
}
