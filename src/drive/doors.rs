//! The sockets that clients come to: what listens, what takes datagrams, and who is admitted when there is no room.

use super::connection::Connection;
use super::{Driver, Trouble, address, token};
use crate::config::{ACCEPT_PAUSE, DATAGRAM_BYTES, IDLE_PATIENCE, SILENT_PATIENCE};
use crate::engine::programs::{ProgramSet, Session};
use crate::engine::{Cx, Datagrams as _};
use crate::event;
use crate::log;
use crate::mem::Ends as _;
use crate::net::{Interest, NetError, NetResult, Socket, Token};
use crate::text::Text;
use crate::time::{Duration, Instant};
use core::net::SocketAddr;

/// Sockets that are not connections. Their tokens come first.
pub(super) const DOOR_COUNT_MAX: usize = 8;
/// Connections or datagrams taken from one socket in one turn.
const DOOR_TURN: usize = 64;
/// For how long a person is not told again that clients wait.
const FULL_SILENCE: Duration = Duration::from_secs(60);

/// A socket that clients come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) socket: Socket,
    service: ProgramSet,
    /// Whether they connect to it, or send datagrams.
    pub(super) connects: bool,
}

impl Driver<'_> {
    /// Listens for connections to `service`; where that is.
    pub fn listen(&mut self, at: SocketAddr, service: ProgramSet) -> NetResult<SocketAddr> {
        let socket = self.net.listen(at, self.doors.len() as Token);
        self.open(socket, service, true)
    }

    /// Takes datagrams for `service`; where that is.
    pub fn bind(&mut self, at: SocketAddr, service: ProgramSet) -> NetResult<SocketAddr> {
        let socket = self.net.bind(at, self.doors.len() as Token);
        self.open(socket, service, false)
    }

    fn open(
        &mut self,
        socket: NetResult<Socket>,
        service: ProgramSet,
        connects: bool,
    ) -> NetResult<SocketAddr> {
        let socket = socket?;
        let door = Door {
            socket,
            service,
            connects,
        };
        self.doors.push(door).map_err(|_| NetError::Full)?;
        self.net.local(socket)
    }

    /// Closes the doors that were opened last, so that `count` remain.
    pub fn close_doors(&mut self, count: usize) {
        while self.doors.len() > count {
            if let Some(door) = self.doors.pop() {
                self.net.close(door.socket);
            }
        }
    }

    /// How many doors are open.
    pub fn door_count(&self) -> usize {
        self.doors.len()
    }

    pub(super) fn watch_doors(&mut self, interest: Interest) {
        for (token, door) in self.doors.iter().enumerate() {
            if door.connects {
                let _ = self.net.watch(door.socket, token as Token, interest);
            }
        }
    }

    pub(super) fn accept(&mut self, door: Door) {
        for turn in 0..DOOR_TURN {
            // A place first: a connection that was accepted must be kept.
            let accepted = if self.free.is_empty() && self.connections.is_full() {
                Err(NetError::Full)
            } else {
                self.net.accept(door.socket)
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer, door.service),
                // A door that is ready has one who waits, perhaps no more: a place is made for one.
                Err(NetError::Full) if turn == 0 && self.make_place() => {}
                Err(NetError::Gone) => {} // It hung up while it waited.
                Err(_) => return,
            }
        }
    }

    fn admit(&mut self, socket: Socket, peer: SocketAddr, service: ProgramSet) {
        let free = self.free.pop().map(usize::from);
        let Some(at) = free.or_else(|| self.connections.push(None)) else {
            return self.net.close(socket);
        };
        log::debug!("connection {=usize} accepted", at);
        let session = Session::new(service);
        let connection = Connection::new(socket, address(peer), session, self.now);
        if let Some(place) = self.connections.get_mut(at) {
            *place = Some(connection);
        }
        if self.net.watch(socket, token(at), Interest::Input).is_err() {
            self.close(at, Trouble::Gone);
        }
    }

    /// Closes who was silent for too long, the never answered before the others; else accepts nobody for a while.
    fn make_place(&mut self) -> bool {
        let silent = self
            .most_overdue(&|other| (!other.answered).then_some(SILENT_PATIENCE))
            .or_else(|| self.most_overdue(&|_| Some(IDLE_PATIENCE)));
        if let Some(at) = silent {
            self.close(at, Trouble::Gone);
            return true;
        }
        if self.tell_full_at <= self.now {
            self.tell_full_at = self.now.after(FULL_SILENCE);
            self.events.tell(event::FULL, b"", Text::NOTHING);
        }
        self.accept_at = self.now.after(ACCEPT_PAUSE);
        self.watch_doors(Interest::None);
        false
    }

    pub(super) fn accept_again(&mut self) {
        self.accept_at = Instant::NEVER;
        self.watch_doors(Interest::Input);
    }

    pub(super) fn datagrams(&mut self, door: Door) {
        for _ in 0..DOOR_TURN {
            let Ok((len, from)) = self.net.recv_from(door.socket, &mut self.rx) else {
                return;
            };
            let mut cx = Cx {
                now: self.now,
                peer: address(from),
                vfs: self.vfs,
                events: &mut self.events,
            };
            let packet = self.rx.head(len);
            let room = self.tx.head_mut(DATAGRAM_BYTES);
            let answer = self.programs.answer(door.service, &mut cx, packet, room);
            if let Some(reply) = answer.and_then(|len| self.tx.get(..len)) {
                let _ = self.net.send_to(door.socket, from, reply);
            }
        }
    }
}
