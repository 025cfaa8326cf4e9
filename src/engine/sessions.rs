//! The RPC programs as a service: the sessions of all connections, and the programs that each socket serves.

use super::programs::{ProgramSet, Programs, Session};
use super::service::{
    Io, Local, Moved, Next, Progress, Service, SessionId, Transfer, Transmit, Way,
};
use super::{Cx, Order, Progress as Answered, State};
use crate::config::CONNECTION_COUNT_MAX;
use crate::mem::Slots;
use crate::vfs::{Ended, FsResult, Job, JobId, JobKind, Submitted};
use core::net::SocketAddr;

/// Largest number of sockets.
const SOCKET_COUNT_MAX: usize = 8;

/// The programs and their sessions.
#[repr(C)] // The longest field is last, so that short instructions reach the others.
pub struct Rpc {
    /// Indexed by connection number.
    sessions: Slots<(Session, Option<Order>)>,
    /// The connection whose call was answered last.
    last: Option<SessionId>,
    /// Programs served at each socket, by its number.
    services: [ProgramSet; SOCKET_COUNT_MAX],
    /// The programs.
    pub programs: Programs,
}

impl Rpc {
    /// Creates the sessions of at most `connection_count` connections. No socket serves a program before [`Self::set_service`].
    pub fn new(programs: Programs, connection_count: usize) -> Self {
        Self {
            programs,
            last: None,
            sessions: Slots::new(connection_count.min(CONNECTION_COUNT_MAX)),
            services: [ProgramSet::default(); _],
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

    /// Maps the state of the engine to the driver's next step.
    fn progress(&mut self, id: SessionId, cx: &mut Cx<'_>, answered: Answered) -> Progress {
        let Some((session, kept)) = self.sessions.get_mut(id.index()) else {
            return Progress::CLOSED;
        };
        let next = match answered.state {
            State::NeedInput if session.holds_file() => Next::Rest,
            State::NeedInput => Next::Input,
            State::NeedOutput => Next::Output,
            State::Busy => Next::Soon,
            State::Closed(why) => Next::Close(why),
            State::Order(Order::Wait) => Next::Until(JobId::OUTSIDE),
            State::Order(Order::Read { file, offset, len }) => {
                let extent = cx.vfs.extent(&file, offset, len);
                let next = match extent.map(|extent| cx.vfs.submit(Job::Read(extent))) {
                    Some(Submitted::Pending(id)) => Next::Until(id),
                    _ => Next::Output,
                };
                *kept = Some(Order::Read { file, offset, len });
                next
            }
            State::Order(Order::Send { file, offset, len }) => Next::Move(Transfer {
                file,
                offset,
                len: len.into(),
                way: Way::ToPeer,
            }),
            State::Order(Order::Store { file, offset, len }) => Next::Move(Transfer {
                file,
                offset,
                len: len.into(),
                way: Way::ToFile,
            }),
        };
        Progress {
            promise: self.programs.take_promise(),
            ..Progress::of(answered.consumed, answered.produced, next)
        }
    }

    fn begin(&mut self, id: SessionId) {
        if self.last != Some(id) {
            self.programs.interrupted();
            self.last = Some(id);
        }
    }
}

impl Service for Rpc {
    fn open(&mut self, id: SessionId, at: Local) {
        let session = (self.programs.open(id.index(), self.service(at)), None);
        match self.sessions.get_mut(id.index()) {
            Some(place) => *place = session,
            // Numbers are used again first, so this one is the next.
            None => _ = self.sessions.push(session),
        }
    }

    fn advance(&mut self, id: SessionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        self.begin(id);
        let Some((session, kept)) = self.sessions.get_mut(id.index()) else {
            return Progress::CLOSED;
        };
        if let Some(order) = kept.take() {
            let _ = self.programs.done(session, cx, order, Ok(()), io.output);
        }
        let answered = self.programs.advance(session, cx, io.input, io.output);
        self.progress(id, cx, answered)
    }

    fn moved(&mut self, id: SessionId, cx: &mut Cx<'_>, done: Moved, io: Io<'_>) -> Progress {
        let Moved { transfer, result } = done;
        self.begin(id);
        let Some((session, _)) = self.sessions.get_mut(id.index()) else {
            transfer.abandon(cx.vfs);
            return Progress::CLOSED;
        };
        let Transfer {
            file,
            offset,
            len,
            way,
        } = transfer;
        let len = len as u32;
        let order = match way {
            Way::ToPeer => Order::Send { file, offset, len },
            Way::ToFile => Order::Store { file, offset, len },
        };
        let answered = self.programs.done(session, cx, order, result, io.output);
        self.progress(id, cx, answered)
    }

    fn settle(
        &mut self,
        _id: SessionId,
        cx: &mut Cx<'_>,
        replies: &mut [u8],
        synced: FsResult<()>,
    ) -> usize {
        self.programs.settle(cx, replies, synced)
    }

    fn close(&mut self, id: SessionId, cx: &mut Cx<'_>, _held: &[u8]) {
        if let Some((session, kept)) = self.sessions.get_mut(id.index()) {
            if let Some(order) = kept.take() {
                order.abandon(cx.vfs);
            }
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

    fn ended(&mut self, ended: Ended) {
        if ended.kind == JobKind::Sync && ended.result.is_err() {
            self.programs.break_promises();
        }
    }
}
