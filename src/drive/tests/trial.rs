//! A service that is no shipped protocol: it answers broadcasts of hosts without an address, repeats datagrams until they are
//! acknowledged, sends files that a worker reads, and speaks on a connection unasked. In the simulated network and in the kernel's.

use super::{AT, At, MOMENT, PORTMAP_AT, Serving, limits, with_loop};
use crate::drive::service::{Limits, Served};
use crate::drive::{Loop, Task};
use crate::engine::Cx;
use crate::engine::service::{
    Cast, ConnectionId, Due, Io, Local, Moved, Next, Progress, Service, Transfer, Transmit, Way,
};
use crate::engine::testing::tree::{Tree, big};
use crate::event::Events;
use crate::event::testing::Sink;
use crate::net::kernel::Kernel;
use crate::net::sim::{CARD, Sim};
use crate::net::{Binding, Datagrams as _, Own, Ready, Token};
use crate::stats::Meter;
use crate::sys;
use crate::time::{Duration, Instant};
use crate::vfs::{Access, Name};
use core::net::{Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{TcpStream, UdpSocket};

/// Longest datagram of TFTP (bytes).
const LONG: usize = 65_464;
/// Interval of a peer's repetitions.
const PAUSE: Duration = Duration::from_ms(500);
/// Time after which a connection without a request is spoken to.
const SILENCE: Duration = Duration::from_ms(300);

#[derive(Default)]
struct Trial {
    /// The peers that have not acknowledged, by the time of the next repetition.
    peers: BTreeMap<(Instant, SocketAddr), Local>,
    silent: Option<(Instant, ConnectionId)>,
}

impl Service for Trial {
    fn open(&mut self, id: ConnectionId, _: Local) {
        self.silent = Some((Instant::default(), id));
    }

    /// `get`: sends the file `big`. After silence: speaks.
    fn advance(&mut self, id: ConnectionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        let before = self.silent.replace((cx.now.after(SILENCE), id));
        if io.input == b"get" {
            let root = cx.vfs.root(0).unwrap();
            let node = cx.vfs.lookup(root, Name::new(b"big").unwrap()).unwrap();
            let file = cx.vfs.pin(node, Some(Access::Read)).unwrap();
            let way = Way::ToPeer;
            let (offset, len) = (0, big().len() as u64);
            let transfer = Transfer {
                offset,
                len,
                file,
                way,
            };
            return Progress::of(3, 0, Next::Move(transfer));
        }
        let is_silent = before.is_some_and(|(at, _)| at <= cx.now);
        io.output[..5].copy_from_slice(b"hello");
        Progress::of(0, if is_silent { 5 } else { 0 }, Next::Input)
    }

    fn moved(&mut self, _: ConnectionId, cx: &mut Cx<'_>, done: Moved, _: Io<'_>) -> Progress {
        done.transfer.abandon(cx.vfs);
        Progress::of(0, 0, Next::Input)
    }

    /// Answers a broadcast; repeats a reply to other peers until they send `ack`.
    fn datagram(
        &mut self,
        cx: &mut Cx<'_>,
        at: Local,
        from: SocketAddr,
        input: &[u8],
        output: &mut [u8],
    ) -> Option<Transmit> {
        assert_eq!(output.len(), LONG);
        if at.cast == Cast::Unicast {
            self.peers.retain(|(_, peer), _| *peer != from);
            if input != b"ack" {
                self.peers.insert((cx.now, from), at);
            }
            return None;
        }
        output[..5].copy_from_slice(b"offer");
        let mut to = from;
        if from.ip().is_unspecified() {
            to.set_ip(Ipv4Addr::BROADCAST.into());
        }
        let (from, len) = (at, 5);
        Some(Transmit { from, to, len })
    }

    fn due(&mut self, cx: &mut Cx<'_>, output: &mut [u8]) -> Due {
        if let Some((_, id)) = self.silent.filter(|(at, _)| *at <= cx.now) {
            return Due::Serve(id);
        }
        let Some(((at, to), from)) = self.peers.pop_first() else {
            return Due::Nothing;
        };
        let next = if at > cx.now { at } else { cx.now.after(PAUSE) };
        self.peers.insert((next, to), from);
        if at > cx.now {
            return Due::Nothing;
        }
        output.fill(7);
        let len = output.len();
        Due::Send(Transmit { from, to, len })
    }

    fn close(&mut self, _: ConnectionId, _: &mut Cx<'_>, _: &[u8]) {
        self.silent = None;
    }

    fn poll_at(&self) -> Instant {
        let repeat = self.peers.first_key_value();
        let repeat = repeat.map_or(Instant::NEVER, |((at, _), _)| *at);
        self.silent.map_or(repeat, |(at, _)| at.min(repeat))
    }
}

fn server(at: SocketAddr, datagrams_at: SocketAddr) -> Serving<Trial> {
    let limits = Limits {
        datagram_bytes: LONG,
        ..limits(2, 1000)
    };
    Serving {
        service: Trial::default(),
        served: Served::new(&limits),
        server: At(at, Some(datagrams_at)),
    }
}

fn peer(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    (Ipv4Addr::new(10, 9, high, low), 1069).into()
}

#[test]
fn broadcast_and_thousand_peers_are_answered() {
    let (sim, mut tree) = (Sim::new(1), Tree::writable());
    let mut server = server(AT, PORTMAP_AT);
    let tasks: &mut [&mut dyn Task] = &mut [&mut server];
    with_loop(&sim, &mut tree, tasks, &Sink::default(), |all| {
        assert_eq!(all.start(), Ok(()));
        let nobody = (Ipv4Addr::UNSPECIFIED, 68).into();
        sim.send_datagram(PORTMAP_AT, nobody, b"discover");
        sim.allow(MOMENT);
        all.turns();
        let everybody = (Ipv4Addr::BROADCAST, 68).into();
        assert_eq!(sim.read_sent_datagrams(), [(b"offer".to_vec(), everybody)]);
        let own = Own {
            address: Some(AT.ip()),
            interface: CARD,
        };
        assert_eq!(sim.read_sources(), [own]);
        for number in 0..1000 {
            sim.send_datagram(PORTMAP_AT, peer(number), b"request");
        }
        // The first reply, and two repetitions.
        sim.allow(Duration::from_ms(1400));
        all.turns();
        let sent = sim.read_sent_datagrams();
        assert_eq!(sent.len(), 3 * 1000);
        assert!(sent.iter().all(|(bytes, _)| bytes.len() == LONG));
        for number in 0..1000 {
            sim.send_datagram(PORTMAP_AT, peer(number), b"ack");
        }
        sim.allow(MOMENT);
        all.turns();
        sim.read_sent_datagrams();
        sim.allow(Duration::from_secs(60));
        all.turns();
        assert_eq!(sim.read_sent_datagrams(), []);
    });
}

#[test]
fn file_is_read_by_a_job_and_silence_is_broken() {
    let (sim, mut tree) = (Sim::new(1), Tree::writable());
    let host = tree.host.clone();
    let watched = host.clone();
    sim.set_file_to_watch(move || watched.in_flight.get() && !watched.holds_jobs.get());
    let mut server = server(AT, PORTMAP_AT);
    let tasks: &mut [&mut dyn Task] = &mut [&mut server];
    with_loop(&sim, &mut tree, tasks, &Sink::default(), |all| {
        assert_eq!(all.start(), Ok(()));
        host.holds_jobs.set(true);
        host.is_cold.set(true);
        host.has_descriptors.set(true);
        let peer = sim.connect(AT);
        sim.send(peer, b"get");
        sim.allow(MOMENT);
        all.turns();
        assert!(host.in_flight.get());
        assert_eq!(sim.read_sent(peer), b"", "a worker reads the file");
        host.holds_jobs.set(false);
        host.is_cold.set(false);
        sim.allow(MOMENT);
        all.turns();
        let sent = sim.read_sent(peer);
        assert!(sent == big(), "{} bytes", sent.len());
        sim.allow(SILENCE);
        all.turns();
        assert_eq!(sim.read_sent(peer), b"hello");
    });
    assert_eq!(tree.ram().pinned, 0);
}

/// In the kernel's network: a broadcast on the loopback interface, long datagrams that are fragmented, and a connection.
#[test]
fn kernel_has_the_sockets_that_the_service_needs() {
    let any_port = |ip: Ipv4Addr| SocketAddr::from((ip, 0));
    let client = UdpSocket::bind(any_port(Ipv4Addr::LOCALHOST)).unwrap();
    client.set_broadcast(true).unwrap();
    client.set_nonblocking(true).unwrap();
    let port = client.local_addr().unwrap().port() ^ 1;
    let [listen, at] = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].map(|ip| (ip, port).into());
    let (mut server, mut tree) = (server(listen, at), Tree::writable());
    let mut net = Kernel::empty();
    net.probe_epoll(None);
    let mut events = Events::new(Box::new(Sink::default()));
    let (mut rx, mut tx) = (vec![0; 1 << 17], vec![0; 1 << 17]);
    let (mut stats, now) = (Meter::default(), sys::now());
    let tasks: &mut [&mut dyn Task] = &mut [&mut server];
    let buffers: [&mut [u8]; 2] = [&mut rx, &mut tx];
    let mut all = Loop::new(
        &mut net,
        &mut tree,
        tasks,
        &mut events,
        buffers,
        &mut stats,
        now,
    );
    assert_eq!(all.start(), Ok(()));
    let peer = TcpStream::connect(listen).unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut receive = |call: &dyn Fn(&mut [u8]) -> std::io::Result<usize>| {
        let mut buffer = vec![0; 1 << 17];
        loop {
            match call(&mut buffer) {
                Ok(len) => return buffer[..len].to_vec(),
                Err(_) => all.turn(&mut Ready::default()),
            }
        }
    };
    for (to, question, reply) in [
        (
            Ipv4Addr::new(127, 255, 255, 255),
            "discover",
            b"offer".to_vec(),
        ),
        (Ipv4Addr::LOCALHOST, "request", vec![7; LONG]),
        (Ipv4Addr::LOCALHOST, "request", vec![7; LONG]),
    ] {
        client.send_to(question.as_bytes(), (to, port)).unwrap();
        assert!(receive(&|buffer| client.recv(buffer)) == reply, "{to}");
    }
    client.send_to(b"ack", (Ipv4Addr::LOCALHOST, port)).unwrap();
    assert_eq!(receive(&|buffer| (&peer).read(buffer)), b"hello");
}

/// A socket without reports of destinations sends from the address that the caller names.
#[test]
fn socket_of_a_pool_sends_from_any_own_address() {
    let [local, other] = [1, 2].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let client = UdpSocket::bind((local, 0)).unwrap();
    let mut net = Kernel::empty();
    let binding = Binding {
        destinations: false,
        ..Binding::of((Ipv4Addr::UNSPECIFIED, 0).into())
    };
    let socket = net.bind(&binding, Token::new(0, 0)).unwrap();
    let at = SocketAddr::from((other, net.local(socket).unwrap().port()));
    let (own, buffer) = (Own::of(Some(other.into())), &mut [0; 8]);
    let to = client.local_addr().unwrap();
    net.send_to(socket, own, to, b"block").unwrap();
    assert_eq!(client.recv_from(buffer).unwrap(), (5, at));
    client.send_to(b"ack", at).unwrap();
    let received = net.recv_from(socket, buffer).unwrap();
    assert_eq!((received.len, received.to), (3, Own::default()));
}
