//! A simulated network: sockets are bounded queues, time passes only in `wait`, and random choices are derived from a seed.
//!
//! The loop uses the sockets, and the test plays the peers: it connects, sends, reads or stops reading, and closes connections.
//! `wait` ends the loop when nothing can happen before the instant that the test has set.

use super::{
    Binding, Connections, Datagrams, FileId, FileRange, Interest, Interface, Net, NetError,
    NetResult, Own, Ready, Received, Signals, Socket, Streams, Token,
};
use crate::engine::testing::tree::PIPE;
use crate::time::{Duration, Instant};
use cases::random::Random;
use core::cell::{RefCell, RefMut};
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::rc::Rc;

mod links;

/// Simulated duration of a turn (ms), so that time passes even if a task spins.
const TURN_MS: u64 = 1;
/// Turns without an action of the test, after which the loop is considered to spin.
const TURN_COUNT_MAX: usize = 100_000;
/// Index of the interface at which broadcasts arrive.
pub const CARD: u32 = 7;
/// Send buffer of a socket, in bytes.
pub const SEND_BYTES: usize = 64 << 10;

/// The test's handle of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(usize);

/// Type of a socket.
enum SocketKind {
    /// A listener; its backlog has indices in `Medium::wires`.
    Listener(VecDeque<usize>),
    /// A connection; its index in `Medium::wires`.
    Connection(usize),
    /// A datagram socket; the datagrams it has received, with their senders.
    Datagrams(VecDeque<(Vec<u8>, SocketAddr)>),
    /// A multicast DNS socket of an interface.
    Group(links::Group),
    /// A socket for changes of the interfaces; true if any has changed since the last receive.
    Changes(bool),
}

struct OpenSocket {
    kind: SocketKind,
    at: SocketAddr,
    token: Token,
    interest: Interest,
}

/// Both directions of a connection.
struct Wire {
    from: SocketAddr,
    to_server: VecDeque<u8>,
    to_peer: VecDeque<u8>,
    /// Capacity of `to_peer`, in bytes.
    capacity: usize,
    /// Data that the peer has read.
    read: Vec<u8>,
    reads: bool,
    hung_up: bool,
    /// True once the peer has ended its sending direction.
    peer_ended: bool,
    /// True once the server has ended its sending direction.
    server_ended: bool,
    /// True once the server has closed the connection.
    closed: bool,
}

/// Faults of the host that a test injects.
#[derive(Default)]
pub struct Faults {
    /// Error of every send of a datagram.
    pub send: Option<NetError>,
    /// Error of every receive of a datagram; all sockets count as ready.
    pub recv: Option<NetError>,
    /// Error of joining a group.
    pub join: Option<NetError>,
    /// Error of binding an own address.
    pub claim: Option<NetError>,
    /// True if another program has port 5353 open.
    pub is_port_taken: bool,
    /// True if the host does not report changes of interfaces.
    pub no_changes: bool,
    /// True if a group's socket also receives datagrams of other interfaces, so that their destination is unknown.
    pub hears_others: bool,
    /// True if SIGHUP is pending.
    pub reload: bool,
}

struct Medium {
    random: Random,
    faults: Faults,
    /// One in this many datagrams to and from groups is lost at random; 0: none.
    lose_one_in: usize,
    /// True if sends accept a random part of the bytes. Receives always return a random part.
    parts: bool,
    now: Instant,
    /// Time at which the test continues.
    until: Instant,
    turns: usize,
    sockets: Vec<Option<OpenSocket>>,
    wires: Vec<Wire>,
    /// Datagrams sent, with their destinations.
    sent: Vec<(Vec<u8>, SocketAddr)>,
    /// The own ends of these.
    sources: Vec<Own>,
    interfaces: Vec<Interface>,
    /// Datagrams sent to groups: interface index, bytes, destination.
    multicast: Vec<(u32, Vec<u8>, SocketAddr)>,
    /// Open sockets, at most.
    descriptors: usize,
    /// Content of every file that is sent.
    file: Option<Vec<u8>>,
    /// Pipe for received bytes, if the network supports one.
    pipe: Option<Rc<RefCell<VecDeque<u8>>>>,
    /// Callback that returns true while the watched file is readable.
    file_to_watch: Option<Rc<dyn Fn() -> bool>>,
    /// Token of the task that watches the file of `file_to_watch`.
    file_token: Option<Token>,
    /// Callback that is called before each send.
    witness: Option<Rc<dyn Fn()>>,
    accept_calls: usize,
    recv_calls: usize,
    /// Time until which the loop would sleep if nothing arrived.
    sleep: Option<Instant>,
}

/// The simulated network. Clones share it.
#[derive(Clone)]
pub struct Sim(Rc<RefCell<Medium>>);

impl Sim {
    /// Creates a network whose random choices are derived from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Medium {
            random: Random::new(seed),
            faults: Faults::default(),
            parts: false,
            lose_one_in: 0,
            now: Instant::default(),
            until: Instant::default(),
            turns: 0,
            sockets: Vec::new(),
            wires: Vec::new(),
            sent: Vec::new(),
            sources: Vec::new(),
            interfaces: Vec::new(),
            multicast: Vec::new(),
            descriptors: usize::MAX,
            file: None,
            pipe: None,
            file_to_watch: None,
            file_token: None,
            witness: None,
            accept_calls: 0,
            recv_calls: 0,
            sleep: None,
        })))
    }

    fn medium(&self) -> RefMut<'_, Medium> {
        self.0.borrow_mut()
    }

    /// The faults of the host.
    pub fn faults(&self) -> RefMut<'_, Faults> {
        RefMut::map(self.medium(), |medium| &mut medium.faults)
    }

    /// Makes sends accept a random part of the bytes.
    pub fn send_in_parts(&self) {
        self.medium().parts = true;
    }

    /// Loses one in `count` datagrams to and from groups, at random.
    pub fn lose_one_in(&self, count: usize) {
        self.medium().lose_one_in = count;
    }

    /// Connects to the listener at `at`, from a new address.
    pub fn connect(&self, at: SocketAddr) -> Peer {
        let [high, low] = (self.medium().wires.len() as u16).to_be_bytes();
        self.connect_from(IpAddr::from([10, 0, high, low]), at)
    }

    /// Connects to the listener at `at`, from the address `from`.
    pub fn connect_from(&self, from: IpAddr, at: SocketAddr) -> Peer {
        let mut medium = self.medium();
        let peer = medium.wires.len();
        medium.wires.push(Wire {
            from: SocketAddr::new(from, 700),
            to_server: VecDeque::new(),
            to_peer: VecDeque::new(),
            capacity: SEND_BYTES,
            read: Vec::new(),
            reads: true,
            hung_up: false,
            peer_ended: false,
            server_ended: false,
            closed: false,
        });
        let listener = medium.sockets.iter_mut().flatten().find_map(|open| {
            let is_there = open.at == at;
            match &mut open.kind {
                SocketKind::Listener(backlog) if is_there => Some(backlog),
                _ => None,
            }
        });
        listener.expect("somebody listens").push_back(peer);
        Peer(peer)
    }

    /// Sends bytes from the peer.
    pub fn send(&self, peer: Peer, bytes: &[u8]) {
        self.medium().wires[peer.0].to_server.extend(bytes);
    }

    /// Makes the peer read, or stop reading. Initially it reads.
    pub fn set_reading(&self, peer: Peer, reads: bool) {
        self.medium().wires[peer.0].reads = reads;
    }

    /// Sets the capacity of the send buffer to the peer, in bytes.
    pub fn set_capacity(&self, peer: Peer, capacity: usize) {
        self.medium().wires[peer.0].capacity = capacity;
    }

    /// Closes the connection from the peer's side.
    pub fn hang_up(&self, peer: Peer) {
        self.medium().wires[peer.0].hung_up = true;
    }

    /// Ends the sending direction of the peer.
    pub fn end_sending(&self, peer: Peer) {
        self.medium().wires[peer.0].peer_ended = true;
    }

    /// Returns true if the server ended its sending direction, or closed the connection, and the peer has read everything before.
    pub fn has_ended(&self, peer: Peer) -> bool {
        let wire = &self.medium().wires[peer.0];
        (wire.server_ended || wire.closed) && wire.to_peer.is_empty()
    }

    /// Returns the bytes that the peer has read since the last call.
    pub fn read_sent(&self, peer: Peer) -> Vec<u8> {
        core::mem::take(&mut self.medium().wires[peer.0].read)
    }

    /// Number of bytes that the peer has sent and the server has not received.
    pub fn unreceived(&self, peer: Peer) -> usize {
        self.medium().wires[peer.0].to_server.len()
    }

    /// Returns true if the server closed the connection.
    pub fn is_closed(&self, peer: Peer) -> bool {
        self.medium().wires[peer.0].closed
    }

    /// Sends a datagram to the socket bound to `at`: by broadcast at the interface [`CARD`] if the peer has no address.
    pub fn send_datagram(&self, at: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        for open in self.medium().sockets.iter_mut().flatten() {
            if let (true, SocketKind::Datagrams(inbox)) = (open.at == at, &mut open.kind) {
                inbox.push_back((bytes.to_vec(), from));
            }
        }
    }

    /// Returns the own ends of the datagrams that the loop has sent since the last call.
    pub fn read_sources(&self) -> Vec<Own> {
        core::mem::take(&mut self.medium().sources)
    }

    /// Returns the datagrams that the loop has sent since the last call, with their destinations.
    pub fn read_sent_datagrams(&self) -> Vec<(Vec<u8>, SocketAddr)> {
        core::mem::take(&mut self.medium().sent)
    }

    /// Limits the number of open sockets.
    pub fn set_descriptors(&self, count: usize) {
        self.medium().descriptors = count;
    }

    /// Enables [`Connections::send_file`]; `bytes` is the content of every file.
    pub fn set_file(&self, bytes: Vec<u8>) {
        self.medium().file = Some(bytes);
    }

    /// Enables [`Connections::recv_pipe`] with this pipe, from which the files read.
    pub fn set_pipe(&self, pipe: Rc<RefCell<VecDeque<u8>>>) {
        self.medium().pipe = Some(pipe);
    }

    /// Enables [`Datagrams::watch_file`]; the file is ready while `is_readable` returns true.
    pub fn set_file_to_watch(&self, is_readable: impl Fn() -> bool + 'static) {
        self.medium().file_to_watch = Some(Rc::new(is_readable));
    }

    /// Sets a callback that is called before each send.
    pub fn set_witness(&self, witness: impl Fn() + 'static) {
        self.medium().witness = Some(Rc::new(witness));
    }

    /// Number of open sockets.
    pub fn open_count(&self) -> usize {
        self.medium().sockets.iter().flatten().count()
    }

    /// Number of calls of [`Streams::accept`].
    pub fn accept_calls(&self) -> usize {
        self.medium().accept_calls
    }

    /// Number of calls of [`Datagrams::recv_from`].
    pub fn recv_calls(&self) -> usize {
        self.medium().recv_calls
    }

    /// Number of calls of [`Datagrams::wait`] since the last call of [`Self::allow`].
    pub fn turns(&self) -> usize {
        self.medium().turns
    }

    /// Time until which the loop would sleep if nothing arrived.
    pub fn sleep(&self) -> Option<Instant> {
        self.medium().sleep
    }

    /// The simulated time.
    pub fn now(&self) -> Instant {
        self.medium().now
    }

    /// Lets the loop run for `time`, from now.
    pub fn allow(&self, time: Duration) {
        let mut medium = self.medium();
        medium.until = medium.now.after(time);
        medium.turns = 0;
    }
}

impl Medium {
    fn get(&mut self, socket: Socket) -> NetResult<&mut OpenSocket> {
        let open = self.sockets.get_mut(socket.0);
        open.and_then(Option::as_mut).ok_or(NetError::Gone)
    }

    fn wire(&mut self, socket: Socket) -> NetResult<&mut Wire> {
        match self.get(socket)?.kind {
            SocketKind::Connection(peer) => Ok(&mut self.wires[peer]),
            _ => Err(NetError::Unsupported),
        }
    }

    fn open(
        &mut self,
        kind: SocketKind,
        at: SocketAddr,
        token: Token,
        interest: Interest,
    ) -> NetResult<Socket> {
        if self.sockets.iter().flatten().count() >= self.descriptors {
            return Err(NetError::Full);
        }
        let free = self.sockets.iter().position(Option::is_none);
        let number = free.unwrap_or(self.sockets.len());
        if number == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[number] = Some(OpenSocket {
            kind,
            at,
            token,
            interest,
        });
        Ok(Socket(number))
    }

    /// Appends the bytes that fit to a connection's send buffer, or with `parts` a random part of them. Returns the number.
    fn buffer_bytes(&mut self, socket: Socket, bytes: &[u8]) -> NetResult<usize> {
        let chance = if self.parts {
            self.random.number() as usize
        } else {
            0
        };
        if let Some(look) = &self.witness {
            look();
        }
        let wire = self.wire(socket)?;
        assert!(!wire.server_ended, "a send after the end");
        if wire.hung_up {
            return Err(NetError::Gone);
        }
        let space = wire.capacity.saturating_sub(wire.to_peer.len());
        let most = space.min(bytes.len());
        if most == 0 && !bytes.is_empty() {
            return Err(NetError::WouldBlock);
        }
        let len = part(chance, most);
        wire.to_peer.extend(&bytes[..len]);
        Ok(len)
    }

    /// Delivers sent bytes to the peers that read.
    fn deliver(&mut self) {
        for wire in self.wires.iter_mut().filter(|wire| wire.reads) {
            wire.read.extend_from_slice(wire.to_peer.make_contiguous());
            wire.to_peer.clear();
        }
    }

    fn is_ready(&self, open: &OpenSocket) -> bool {
        match (open.interest, &open.kind) {
            // EPOLLHUP is reported whatever a socket is watched for.
            (Interest::None, SocketKind::Connection(peer)) => self.wires[*peer].hung_up,
            (Interest::None, _) => false,
            (Interest::Input, _) if self.faults.recv.is_some() => true,
            (Interest::Input, SocketKind::Listener(backlog)) => !backlog.is_empty(),
            (Interest::Input, SocketKind::Datagrams(inbox)) => !inbox.is_empty(),
            (Interest::Input, SocketKind::Group(group)) => !group.inbox.is_empty(),
            (Interest::Input, SocketKind::Changes(any)) => *any,
            (Interest::Input, SocketKind::Connection(peer)) => {
                let wire = &self.wires[*peer];
                wire.hung_up || wire.peer_ended || !wire.to_server.is_empty()
            }
            (Interest::Output | Interest::Reply, SocketKind::Connection(peer)) => {
                let wire = &self.wires[*peer];
                wire.hung_up || wire.to_peer.len() < wire.capacity
            }
            (Interest::Output | Interest::Reply, _) => true,
        }
    }
}

impl Net for Sim {}

impl Datagrams for Sim {
    fn bind(&mut self, binding: &Binding<'_>, token: Token) -> NetResult<Socket> {
        let kind = SocketKind::Datagrams(VecDeque::new());
        let mut at = binding.at;
        if at.port() == 0 {
            let taken = self.medium().sockets.len();
            at.set_port(40_000 + taken as u16);
        }
        self.medium().open(kind, at, token, Interest::Input)
    }

    fn socket_count_max(&self) -> usize {
        self.medium().descriptors
    }

    fn local(&self, socket: Socket) -> NetResult<SocketAddr> {
        self.medium().get(socket).map(|open| open.at)
    }

    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<Received> {
        let mut medium = self.medium();
        medium.recv_calls += 1;
        medium.faults.recv.map_or(Ok(()), Err)?;
        let at = medium.get(socket)?.at;
        if let SocketKind::Changes(any) = &mut medium.get(socket)?.kind {
            return match core::mem::take(any) {
                true => Ok(Received {
                    len: 0,
                    from: at,
                    to: Own::default(),
                    is_broadcast: false,
                }),
                false => Err(NetError::WouldBlock),
            };
        }
        let (SocketKind::Datagrams(inbox) | SocketKind::Group(links::Group { inbox, .. })) =
            &mut medium.get(socket)?.kind
        else {
            return Err(NetError::Unsupported);
        };
        let (bytes, from) = inbox.pop_front().ok_or(NetError::WouldBlock)?;
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        let mut to = Own::of((!medium.faults.hears_others).then_some(at.ip()));
        let is_broadcast = from.ip().is_unspecified();
        if is_broadcast {
            to.interface = CARD;
        }
        Ok(Received {
            len,
            from,
            to,
            is_broadcast,
        })
    }

    fn send_to(
        &mut self,
        socket: Socket,
        from: Own,
        to: SocketAddr,
        bytes: &[u8],
    ) -> NetResult<()> {
        let mut medium = self.medium();
        medium.faults.send.map_or(Ok(()), Err)?;
        if !medium.send_to_group(socket, to, bytes) {
            medium.sent.push((bytes.to_vec(), to));
            medium.sources.push(from);
        }
        Ok(())
    }

    fn close(&mut self, socket: Socket) {
        let mut medium = self.medium();
        let open = medium.sockets.get_mut(socket.0);
        if let Some(SocketKind::Connection(peer)) =
            open.and_then(Option::take).map(|open| open.kind)
        {
            medium.wires[peer].closed = true;
        }
    }

    fn watch_file(&mut self, _: FileId, token: Token) -> NetResult<Socket> {
        let mut medium = self.medium();
        let can_be_watched = medium.file_to_watch.as_ref().map(|_| ());
        can_be_watched.ok_or(NetError::Unsupported)?;
        medium.file_token = Some(token);
        Ok(Socket(usize::MAX))
    }

    fn wait(&mut self, now: Instant, until: Instant, ready: &mut Ready) -> Instant {
        let mut medium = self.medium();
        ready.tokens.clear();
        ready.signals = Signals::default();
        medium.turns += 1;
        assert!(medium.turns < TURN_COUNT_MAX, "the loop spins");
        let now = medium.now.max(now).since(Instant::default()).as_ms();
        let now = Instant::from_ms(now + TURN_MS);
        medium.now = now;
        medium.deliver();
        // Starts at a random socket, so that no task relies on the order.
        let count = medium.sockets.len();
        let first = medium.random.below(count);
        for at in (first..count).chain(0..first) {
            let open = medium.sockets[at].as_ref();
            if let Some(open) = open.filter(|open| medium.is_ready(open)) {
                let _ = ready.tokens.push(open.token);
            }
        }
        if let (Some(token), Some(is_readable)) = (medium.file_token, &medium.file_to_watch)
            && is_readable()
        {
            let _ = ready.tokens.push(token);
        }
        ready.signals.reload = core::mem::take(&mut medium.faults.reload);
        if ready.tokens.is_empty() && !ready.signals.reload {
            let until = (until < Instant::NEVER).then_some(until);
            medium.sleep = until;
            let end = medium.until;
            match until.filter(|until| *until < end) {
                Some(until) => medium.now = until.max(now),
                None => {
                    medium.now = end.max(now);
                    ready.signals.stop = true;
                }
            }
        }
        medium.now
    }
}

impl Connections for Sim {
    fn peek(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        let mut medium = self.medium();
        let wire = medium.wire(socket)?;
        let len = wire.to_server.len().min(buffer.len());
        buffer[..len].copy_from_slice(&wire.to_server.make_contiguous()[..len]);
        // An empty buffer receives 0 bytes, as with the kernel.
        let has_ended = wire.hung_up || wire.peer_ended;
        match len == 0 && !buffer.is_empty() && !has_ended {
            true => Err(NetError::WouldBlock),
            false => Ok(len),
        }
    }

    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        let chance = self.medium().random.number() as usize;
        let most = match self.peek(socket, buffer)? {
            0 => return Ok(0),
            most => most,
        };
        let len = part(chance, most);
        self.medium().wire(socket)?.to_server.drain(..len);
        Ok(len)
    }

    fn end_sending(&mut self, socket: Socket) {
        self.medium().wire(socket).unwrap().server_ended = true;
    }

    fn has_delivered(&mut self, socket: Socket) -> bool {
        let mut medium = self.medium();
        let wire = medium.wire(socket).unwrap();
        wire.to_peer.is_empty() && !wire.hung_up
    }

    fn send(&mut self, socket: Socket, bytes: &[u8], _more: bool) -> NetResult<usize> {
        self.medium().buffer_bytes(socket, bytes)
    }

    fn send_file(&mut self, socket: Socket, range: FileRange) -> NetResult<usize> {
        let mut medium = self.medium();
        let file = medium.file.clone().ok_or(NetError::Unsupported)?;
        let rest = file.get(range.offset as usize..).unwrap_or_default();
        medium.buffer_bytes(socket, &rest[..rest.len().min(range.len as usize)])
    }

    fn recv_pipe(&mut self, socket: Socket, len: u32) -> NetResult<(usize, FileId)> {
        let pipe = self.medium().pipe.clone().ok_or(NetError::Unsupported)?;
        let mut bytes = vec![0; len as usize];
        let count = self.recv(socket, &mut bytes)?;
        assert!(
            pipe.borrow().is_empty(),
            "what was in the pipe is in the way"
        );
        pipe.borrow_mut().extend(&bytes[..count]);
        Ok((count, FileId(PIPE)))
    }
}

impl Streams for Sim {
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        let kind = SocketKind::Listener(VecDeque::new());
        self.medium().open(kind, at, token, Interest::Input)
    }

    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)> {
        let mut medium = self.medium();
        medium.accept_calls += 1;
        let SocketKind::Listener(backlog) = &medium.get(listener)?.kind else {
            return Err(NetError::Unsupported);
        };
        let peer = *backlog.front().ok_or(NetError::WouldBlock)?;
        let from = medium.wires[peer].from;
        let socket = medium.open(SocketKind::Connection(peer), from, Token(0), Interest::None)?;
        if let SocketKind::Listener(backlog) = &mut medium.get(listener)?.kind {
            backlog.pop_front();
        }
        Ok((socket, from))
    }

    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()> {
        let mut medium = self.medium();
        let open = medium.get(socket)?;
        (open.token, open.interest) = (token, interest);
        Ok(())
    }
}

/// Chooses how many of `most` bytes are moved: often all, often few, at least one.
fn part(chance: usize, most: usize) -> usize {
    match chance % 4 {
        0 | 1 => most,
        2 => most.min(1 + (chance >> 8) % 40),
        _ => 1.max((chance >> 8) % most.max(1)).min(most),
    }
}
