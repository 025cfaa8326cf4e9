//! The TFTP server: read only. RFC 1350, 1123 section 4.2, 2347, 2348, 2349, 7440.
//!
//! A transfer is known by its socket and the client's address and port, so sockets can be shared when all ports are in use. A block
//! is sent again only after a timeout, never for a repeated ACK. A client that has sent no ACK yet is answered by its requests and a
//! few repetitions only, and makes room for others.

use super::files::{self, Found, Listings, Path};
use super::machines::{Key, Step};
use super::transfer::{Content, Scene, Transfer};
use super::{POOL_SOCKET, TFTP_SOCKET};
use crate::config::{
    TFTP_CLIENT_COUNT_MAX, TFTP_COUNT_MAX, TFTP_COUNT_MIN, TFTP_PORT_COUNT, TFTP_REPEAT,
};
use crate::engine::Cx;
use crate::engine::service::{Local, Transmit};
use crate::mem::{FNV_START, Slots, fnv1a, scaled};
use crate::stats::{Family, Figure};
use crate::time::Instant;
use crate::vfs::{Ended, FsError, Peer, Stop, share};
use crate::wire::tftp::{self, Packet, Request, error};
use core::net::SocketAddr;

/// The server.
pub(super) struct Tftp {
    transfers: Slots<Transfer>,
    /// Number of sockets of the pool.
    port_count: u16,
    /// The socket of the pool that is used next if no transfer has it.
    next_port: u16,
    listings: Listings,
    /// The transfer that is examined next.
    at: usize,
    /// Earliest time at which one of the transfers examined since `at` was 0 has work.
    least: Instant,
    next_at: Instant,
}

impl Tftp {
    pub(super) fn new() -> Self {
        Self {
            transfers: Slots::new(scaled(TFTP_COUNT_MIN, TFTP_COUNT_MAX)),
            port_count: 0,
            next_port: 0,
            listings: Listings::default(),
            at: 0,
            least: Instant::NEVER,
            next_at: Instant::NEVER,
        }
    }

    /// Sets the number of open sockets of the pool.
    pub(super) fn set_port_count(&mut self, count: u16) {
        self.port_count = count.min(TFTP_PORT_COUNT);
    }

    pub(super) const fn poll_at(&self) -> Instant {
        self.next_at
    }

    /// Returns true if a transfer reads the menu.
    pub(super) fn reads_menu(&self) -> bool {
        self.transfers.iter().any(Transfer::reads_menu)
    }

    /// Answers a packet.
    pub(super) fn handle(
        &mut self,
        scene: &mut Scene<'_, '_>,
        at: Local,
        from: SocketAddr,
        input: &[u8],
        out: &mut [u8],
    ) -> Option<Transmit> {
        let refuse = |code, message: &[u8], out: &mut [u8]| {
            let len = tftp::write_error(out, code, message);
            let (from, to) = (at, from);
            Some(Transmit { from, to, len })
        };
        let packet = tftp::parse(input).ok()?;
        if let Packet::Read(request) = packet
            && at.socket == TFTP_SOCKET
        {
            return match self.begin(scene, (at, from), &request, input, out) {
                Err(FsError::NoEntry) => refuse(error::NOT_FOUND, b"no such file", out),
                Err(FsError::Access | FsError::Permission) => {
                    refuse(error::ACCESS, b"access denied", out)
                }
                // The client asks again.
                Err(error) if error.stops() || error == FsError::TryLater => None,
                Err(_) => refuse(error::OTHER, b"the file cannot be read", out),
                Ok(transmit) => transmit,
            };
        }
        let mut all = self.transfers.iter();
        let found = all.position(|one| one.from.socket == at.socket && one.peer == from);
        match (found, packet) {
            // An error is never answered, or two servers would answer each other without end.
            (None, Packet::Error) => None,
            (Some(found), Packet::Error) => {
                self.end(scene.cx, found);
                None
            }
            (Some(found), Packet::Ack(block)) => self.acknowledge(scene, found, block, out),
            (None, Packet::Ack(_)) => refuse(error::UNKNOWN_ID, b"unknown transfer", out),
            (_, Packet::Refused) => refuse(error::ACCESS, b"files can only be read", out),
            _ => refuse(error::ILLEGAL, b"illegal operation", out),
        }
    }

    /// Begins a transfer. `None`: the request is ignored.
    fn begin(
        &mut self,
        scene: &mut Scene<'_, '_>,
        (at, from): (Local, SocketAddr),
        request: &Request<'_>,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<Option<Transmit>, FsError> {
        let (now, digest) = (scene.cx.now, fnv1a(FNV_START, input));
        let mut all = self.transfers.iter();
        if let Some(found) = all.position(|one| one.peer == from)
            && let Some(known) = self.transfers.get_mut(found)
        {
            if known.digest == digest && now.since(known.began_at) < TFTP_REPEAT {
                // The client may have lost the first packet; it ignores a second one.
                let is_open = !known.is_acked;
                return Ok(is_open.then(|| self.send(scene, found, out)).flatten());
            }
            self.end(scene.cx, found);
        }
        if !self.make_room(scene.cx, from) {
            return Ok(None);
        }
        let key = Key::Address(scene.cx.peer.address);
        let machine = scene.machines.get(key);
        let beside = machine.as_ref().map_or(&b""[..], |machine| machine.file());
        let mut path = Path::new();
        let mut open = |server: &mut Self, cx: &mut Cx<'_>| {
            files::open(cx, &mut server.listings, request.name, beside, &mut path)
        };
        let opened = match open(self, scene.cx) {
            Err(FsError::TryLater) if self.evict(scene.cx, None) => open(self, scene.cx),
            opened => opened,
        };
        let found = match opened {
            Err(error) if error.stops() || error == FsError::TryLater => return Err(error),
            Err(error) => {
                let mut note = |step| scene.machines.note(scene.cx, key, step, request.name);
                match error {
                    FsError::NoEntry => note(Step::Missing),
                    FsError::Access | FsError::Permission => note(Step::Refused),
                    _ => scene.cx.report_failure(error),
                }
                return Err(error);
            }
            Ok(found) => found,
        };
        let content = match found {
            Found::File(pin, attr) => Content::File(pin, attr.size),
            Found::Menu => {
                if !self.reads_menu() {
                    scene.menu.refresh(scene.cx, Some(scene.machines))?;
                }
                Content::Menu
            }
        };
        let own = Local {
            socket: self.choose_port(),
            ..at
        };
        let (ends, bytes) = ((own, from), out.len());
        let mut transfer = Transfer::new(ends, content, scene.menu, request, bytes, now);
        transfer.digest = digest;
        transfer.path = heapless::Vec::from_slice(&path).unwrap_or_default();
        let number = self.transfers.push(transfer);
        (scene.cx.stats).add(Family::Boot, Figure::Accepted, 1);
        Ok(number.and_then(|number| self.send(scene, number, out)))
    }

    /// Chooses a socket of the pool without a transfer, else the next one. Without a pool, the socket that requests reach.
    fn choose_port(&mut self) -> u16 {
        let mut socket = TFTP_SOCKET;
        for _ in 0..=self.port_count {
            if self.next_port >= self.port_count {
                self.next_port = 0;
            }
            if self.port_count > 0 {
                socket = POOL_SOCKET + self.next_port;
                self.next_port += 1;
            }
            if self.transfers.iter().all(|one| one.from.socket != socket) {
                break;
            }
        }
        socket
    }

    /// Ends transfers until the client may begin another one. Returns false if none can be ended.
    fn make_room(&mut self, cx: &mut Cx<'_>, from: SocketAddr) -> bool {
        let client = share(Peer::new(from).address);
        let of_client = |one: &&Transfer| share(Peer::new(one.peer).address) == client;
        let own_count = self.transfers.iter().filter(of_client).count();
        let is_full = self.transfers.is_full();
        match own_count < TFTP_CLIENT_COUNT_MAX {
            true => !is_full || self.evict(cx, None),
            false => self.evict(cx, Some(client)),
        }
    }

    /// Ends the oldest transfer, of any client or of one, whose client has sent no ACK. Returns false if there is none.
    #[inline(never)]
    fn evict(&mut self, cx: &mut Cx<'_>, client: Option<u64>) -> bool {
        let mut oldest = None;
        for (at, one) in self.transfers.iter().enumerate() {
            let may = client.is_none_or(|client| share(Peer::new(one.peer).address) == client);
            if may && !one.is_acked && oldest.is_none_or(|(since, _)| one.began_at < since) {
                oldest = Some((one.began_at, at));
            }
        }
        if let Some((_, at)) = oldest {
            self.end(cx, at);
        }
        oldest.is_some()
    }

    /// Ends a transfer.
    fn end(&mut self, cx: &mut Cx<'_>, number: usize) {
        let Some(last) = self.transfers.pop() else {
            return;
        };
        let ended = match self.transfers.get_mut(number) {
            Some(place) => core::mem::replace(place, last),
            None => last,
        };
        if let Content::File(pin, _) = ended.content {
            cx.vfs.unpin(pin);
        }
    }

    /// Takes an ACK, and sends the next block.
    fn acknowledge(
        &mut self,
        scene: &mut Scene<'_, '_>,
        number: usize,
        block: u16,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let transfer = self.transfers.get_mut(number)?;
        if !transfer.acknowledge(block, scene.cx.now) {
            return None;
        }
        if transfer.is_done() {
            let key = Key::Address(Peer::new(transfer.peer).address);
            let path = transfer.path.clone();
            self.end(scene.cx, number);
            scene.machines.note(scene.cx, key, Step::Got, &path);
            return None;
        }
        self.send(scene, number, out)
    }

    /// Sends the next packet of a transfer. Ends the transfer if the file cannot be read.
    fn send(
        &mut self,
        scene: &mut Scene<'_, '_>,
        number: usize,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let now = scene.cx.now;
        let transfer = self.transfers.get_mut(number)?;
        let (from, to) = (transfer.from, transfer.peer);
        let sent = transfer.write_next(scene, out);
        let at = transfer.due_at.max(now);
        self.next_at = self.next_at.min(at);
        self.least = self.least.min(at);
        match sent {
            Ok(len) => {
                let stats = &mut *scene.cx.stats;
                stats.add(Family::Boot, Figure::Sent, len as u64);
                Some(Transmit { from, to, len })
            }
            Err(Stop::Again(_)) => None,
            Err(Stop::Failed(error)) => {
                if matches!(error, FsError::Io | FsError::Cut) {
                    scene.cx.peer = Peer::new(to);
                    scene.cx.report_failure(error);
                }
                self.end(scene.cx, number);
                let len = tftp::write_error(out, error::OTHER, b"the file cannot be read");
                Some(Transmit { from, to, len })
            }
        }
    }

    /// The next packet that is due.
    pub(super) fn due(&mut self, scene: &mut Scene<'_, '_>, out: &mut [u8]) -> Option<Transmit> {
        let now = scene.cx.now;
        while self.next_at <= now {
            while let Some(transfer) = self.transfers.get(self.at) {
                if transfer.due_at > now {
                    self.least = self.least.min(transfer.due_at);
                    self.at += 1;
                    continue;
                }
                if transfer.is_lost(now) {
                    self.end(scene.cx, self.at);
                    continue;
                }
                let number = self.at;
                self.at += 1;
                if let Some(sent) = self.send(scene, number, out) {
                    return Some(sent);
                }
            }
            self.at = 0;
            self.next_at = core::mem::replace(&mut self.least, Instant::NEVER);
        }
        None
    }

    /// The transfers that wait for this job go on.
    pub(super) fn ended(&mut self, ended: Ended, now: Instant) {
        for transfer in self.transfers.iter_mut() {
            if transfer.waits_for == Some(ended.id) {
                transfer.waits_for = None;
                transfer.due_at = now;
                self.next_at = self.next_at.min(now);
            }
        }
    }
}
