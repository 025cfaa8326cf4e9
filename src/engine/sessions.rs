//! The RPC programs as a service: the sessions of all connections, and the programs that each socket serves.

use super::Cx;
use super::programs::{ProgramSet, Programs, Session};
use super::service::{ConnectionId, Io, Local, Moved, Progress, Service, Transmit};
use crate::config::CONNECTION_COUNT_MAX;
use crate::event;
use crate::mem::Slots;
use crate::text::Text;
use crate::vfs::{Ended, FsResult, JobKind};
use core::net::SocketAddr;

/// Largest number of sockets.
const SOCKET_COUNT_MAX: usize = 8;

/// The programs and their sessions.
#[repr(C)] // The longest field is last, so that short instructions reach the others.
pub struct Rpc {
    /// Indexed by connection number.
    sessions: Slots<Session>,
    /// Programs served at each socket, by its number.
    services: [ProgramSet; SOCKET_COUNT_MAX],
    /// True once a failed write to the directory of state was reported.
    has_lost_state: bool,
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
            has_lost_state: false,
        }
    }

    /// Serves `service` at a socket.
    pub fn set_service(&mut self, socket: u16, service: ProgramSet) {
        if let Some(place) = self.services.get_mut(usize::from(socket)) {
            *place = service;
        }
    }

    fn service(&self, at: Local) -> ProgramSet {
        let services = self.services.get(usize::from(at.socket));
        services.copied().unwrap_or_default()
    }
}

impl Service for Rpc {
    fn open(&mut self, id: ConnectionId, at: Local) {
        let session = self.programs.open(id.index(), self.service(at));
        match self.sessions.get_mut(id.index()) {
            Some(place) => *place = session,
            // Numbers are used again first, so this one is the next.
            None => _ = self.sessions.push(session),
        }
    }

    fn advance(&mut self, id: ConnectionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        match self.sessions.get_mut(id.index()) {
            Some(session) => self.programs.advance(session, cx, io),
            None => Progress::CLOSED,
        }
    }

    fn moved(&mut self, id: ConnectionId, cx: &mut Cx<'_>, done: Moved, io: Io<'_>) -> Progress {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            done.transfer.abandon(cx.vfs);
            return Progress::CLOSED;
        };
        self.programs.moved(session, cx, done, io)
    }

    fn settle(
        &mut self,
        _id: ConnectionId,
        cx: &mut Cx<'_>,
        replies: &mut [u8],
        synced: FsResult<()>,
    ) -> usize {
        self.programs.settle(cx, replies, synced)
    }

    fn ended_by_peer(&mut self, id: ConnectionId, has_all: &mut dyn FnMut() -> bool) {
        if let Some(session) = self.sessions.get(id.index())
            && session.has_changed()
            && has_all()
        {
            self.programs.forget_replies(session);
        }
    }

    fn close(&mut self, id: ConnectionId, cx: &mut Cx<'_>, _held: &[u8]) {
        if let Some(session) = self.sessions.get_mut(id.index()) {
            self.programs.abandon(session, cx.vfs);
        }
    }

    fn datagram(
        &mut self,
        cx: &mut Cx<'_>,
        at: Local,
        from: SocketAddr,
        input: &[u8],
        output: &mut [u8],
    ) -> Option<Transmit> {
        let service = self.service(at);
        let len = self
            .programs
            .answer(service, cx, at.address, input, output)?;
        // By the interface that the routes name.
        let own = Local { interface: 0, ..at };
        Some(Transmit {
            from: own,
            to: from,
            len,
        })
    }

    fn ended(&mut self, cx: &mut Cx<'_>, ended: Ended) {
        match (ended.kind, ended.result) {
            (JobKind::Sync, Err(_)) => self.programs.break_promises(),
            (JobKind::Save, Err(_)) if !self.has_lost_state => {
                self.has_lost_state = true;
                cx.events.report(event::NOT_KEPT, b"", Text::NOTHING);
            }
            _ => {}
        }
    }
}
