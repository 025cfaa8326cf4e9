//! Runs one script of a server and its clients on the kernel's stack and on ours. Both transcripts must be equal.

use super::Bench;
use crate::net::kernel::Kernel;
use crate::net::{Binding, Interest, Net, NetError, Ready, Socket, Token};
use crate::sys;
use crate::time::Duration;
use core::fmt::Debug;
use core::net::{Ipv4Addr, SocketAddr};
use smoltcp::iface::SocketHandle;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

/// A network stack with a server on it, and TCP clients of that server.
trait Stage {
    fn net(&mut self) -> &mut dyn Net;
    /// Waits for input or output of a connection from now on.
    fn watch(&mut self, socket: Socket, interest: Interest) {
        let watched = self.net().watch(socket, CONNECTION, interest);
        watched.unwrap();
    }
    /// The address of the server.
    fn address(&self) -> Ipv4Addr;
    /// Advances time by a millisecond; returns the tokens of ready sockets.
    fn step(&mut self) -> Vec<Token>;
    fn connect(&mut self, port: u16) -> usize;
    /// Sends all bytes.
    fn send(&mut self, client: usize, bytes: &[u8]);
    /// Returns the bytes received since the last call; `None` at the end or after a reset.
    fn recv(&mut self, client: usize) -> Option<Vec<u8>>;
    fn shut_down(&mut self, client: usize);
    fn reset(&mut self, client: usize);
}

struct Host {
    net: Kernel,
    clients: Vec<TcpStream>,
}

impl Stage for Host {
    fn net(&mut self) -> &mut dyn Net {
        &mut self.net
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }

    fn step(&mut self) -> Vec<Token> {
        use crate::net::Datagrams as _;
        let (mut ready, now) = (Ready::default(), sys::now());
        self.net
            .wait(now, now.after(Duration::from_ms(1)), &mut ready);
        ready.tokens.to_vec()
    }

    fn connect(&mut self, port: u16) -> usize {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        client.set_nonblocking(true).unwrap();
        self.clients.push(client);
        self.clients.len() - 1
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].write_all(bytes).unwrap();
    }

    fn recv(&mut self, client: usize) -> Option<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.clients[client].read(&mut buffer) {
                Ok(0) | Err(_) if !all.is_empty() => return Some(all),
                Ok(0) => return None,
                Ok(len) => all.extend(&buffer[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(all),
                Err(_) => return None,
            }
        }
    }

    fn shut_down(&mut self, client: usize) {
        self.clients[client].shutdown(Shutdown::Write).unwrap();
    }

    fn reset(&mut self, client: usize) {
        // Closing a socket with unread data sends RST.
        drop(self.clients.remove(client));
    }
}

struct Own {
    bench: Bench,
    clients: Vec<SocketHandle>,
}

impl Stage for Own {
    fn net(&mut self) -> &mut dyn Net {
        &mut self.bench.stack
    }

    fn address(&self) -> Ipv4Addr {
        super::ADDRESS.into()
    }

    fn step(&mut self) -> Vec<Token> {
        let ready = self.bench.turn().to_vec();
        let next = self.bench.now.after(Duration::from_ms(1));
        self.bench.sleep(next);
        ready
    }

    fn connect(&mut self, port: u16) -> usize {
        let client = self.bench.peer.connect(port);
        self.clients.push(client);
        while !self.bench.peer.socket(client).may_send() {
            self.step();
        }
        self.clients.len() - 1
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = self
                .bench
                .peer
                .socket(self.clients[client])
                .send_slice(rest)
                .unwrap();
            rest = &rest[len..];
            self.step();
        }
    }

    fn recv(&mut self, client: usize) -> Option<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self
                .bench
                .peer
                .socket(self.clients[client])
                .recv_slice(&mut buffer)
            {
                Ok(0) => return Some(all),
                Ok(len) => all.extend(&buffer[..len]),
                Err(_) if !all.is_empty() => return Some(all),
                Err(_) => return None,
            }
        }
    }

    fn shut_down(&mut self, client: usize) {
        self.bench.peer.socket(self.clients[client]).close();
    }

    fn reset(&mut self, client: usize) {
        self.bench.peer.socket(self.clients.remove(client)).abort();
    }
}

/// Tokens of the server's sockets.
const LISTENER: Token = Token::new(0, 1);
const OTHER: Token = Token::new(0, 2);
const CONNECTION: Token = Token::new(0, 3);

/// Waits up to five seconds until the socket with this token is ready.
fn until_ready(stage: &mut dyn Stage, token: Token) -> &'static str {
    for _ in 0..5000 {
        if stage.step().contains(&token) {
            return "ready";
        }
    }
    "never ready"
}

fn received(stage: &mut dyn Stage, socket: Socket) -> String {
    let mut buffer = [0; 64];
    match stage.net().recv(socket, &mut buffer) {
        Ok(len) => format!("{len} {:?}", String::from_utf8_lossy(&buffer[..len])),
        Err(error) => format!("{error:?}"),
    }
}

/// Returns the bytes that a client receives within five seconds, up to `len`.
fn gets(stage: &mut dyn Stage, client: usize, len: usize) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..5000 {
        stage.step();
        match stage.recv(client) {
            Some(bytes) => all.extend(bytes),
            None if all.is_empty() => return None,
            None => break,
        }
        if len > 0 && all.len() >= len {
            break;
        }
    }
    Some(all)
}

fn play(stage: &mut dyn Stage) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |what: &str, result: &dyn Debug| lines.push(format!("{what}: {result:?}"));
    let any = |port| SocketAddr::new(stage_address().into(), port);
    let listener = stage.net().listen(any(0), LISTENER).unwrap();
    let port = stage.net().local(listener).unwrap().port();
    say(
        "listen again",
        &stage.net().listen(any(port), OTHER).map(drop),
    );
    let foreign = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 7).into(), 0);
    say(
        "listen elsewhere",
        &stage.net().listen(foreign, OTHER).map(drop),
    );
    let other = stage.net().listen(any(0), OTHER).unwrap();
    let other_port = stage.net().local(other).unwrap().port();
    say("accept nothing", &stage.net().accept(listener).map(drop));

    let client = stage.connect(port);
    say("connected", &until_ready(stage, LISTENER));
    let (socket, _) = stage.net().accept(listener).unwrap();
    say("accept no more", &stage.net().accept(listener).map(drop));
    stage.watch(socket, Interest::Input);
    say("nothing came", &received(stage, socket));
    stage.send(client, b"hello");
    say("something came", &until_ready(stage, CONNECTION));
    say("recv", &received(stage, socket));
    stage.shut_down(client);
    say("half closed", &until_ready(stage, CONNECTION));
    say("recv", &received(stage, socket));
    say("send", &stage.net().send(socket, b"bye", false));
    stage.net().close(socket);
    say("client gets", &gets(stage, client, 3));
    say("then", &gets(stage, client, 0));
    say("closed", &received(stage, socket));

    // The server ends its sending direction: the client sees the end, and still sends.
    let client = stage.connect(port);
    until_ready(stage, LISTENER);
    let (socket, _) = stage.net().accept(listener).unwrap();
    stage.watch(socket, Interest::Input);
    stage.net().send(socket, b"last", false).unwrap();
    say("client gets", &gets(stage, client, 4));
    let is_delivered = (0..100).any(|_| {
        stage.step();
        stage.net().has_delivered(socket)
    });
    say("delivered", &is_delivered);
    stage.net().end_sending(socket);
    say("then", &gets(stage, client, 0));
    say("send", &stage.net().send(socket, b"no", false));
    for bytes in [b"more", b"rest"] {
        stage.send(client, bytes);
        say("something came", &until_ready(stage, CONNECTION));
        say("recv", &received(stage, socket));
    }
    stage.shut_down(client);
    say("half closed", &until_ready(stage, CONNECTION));
    say("recv", &received(stage, socket));
    stage.net().close(socket);

    // Opens a second listener; its client resets the connection.
    let client = stage.connect(other_port);
    say("connected", &until_ready(stage, OTHER));
    let (socket, _) = stage.net().accept(other).unwrap();
    stage.watch(socket, Interest::Input);
    stage.net().send(socket, b"unread", false).unwrap();
    for _ in 0..50 {
        stage.step();
    }
    stage.reset(client);
    say("reset", &until_ready(stage, CONNECTION));
    say("recv", &received(stage, socket));
    stage.net().close(socket);

    // A client that does not read fills all buffers; once it reads, every byte arrives.
    let client = stage.connect(port);
    until_ready(stage, LISTENER);
    let (socket, _) = stage.net().accept(listener).unwrap();
    let (block, mut sent) = (vec![b'x'; 64 << 10], 0);
    let mut quiet = 0;
    while quiet < 300 {
        match stage.net().send(socket, &block, false) {
            Ok(len) => (sent, quiet) = (sent + len, 0),
            Err(NetError::WouldBlock) => quiet += 1,
            Err(error) => panic!("{error:?}"),
        }
        stage.step();
    }
    stage.watch(socket, Interest::Output);
    say("full", &stage.step().contains(&CONNECTION));
    say("delivered", &stage.net().has_delivered(socket));
    let got = gets(stage, client, sent).map(|bytes| bytes.len() == sent);
    say("all came", &got);
    say("space", &until_ready(stage, CONNECTION));
    stage.net().close(socket);
    say("client gets", &gets(stage, client, 0));

    // A UDP port cannot be bound twice, and a datagram of 64 KiB is too long.
    let datagrams = stage.net().bind(&Binding::of(any(0)), OTHER).unwrap();
    let port = stage.net().local(datagrams).unwrap().port();
    say(
        "bind again",
        &stage.net().bind(&Binding::of(any(port)), OTHER).map(drop),
    );
    let to = SocketAddr::new(stage.address().into(), 9);
    let long = vec![0; 64 << 10];
    say(
        "64 KiB",
        &stage
            .net()
            .send_to(datagrams, crate::net::Own::default(), to, &long),
    );
    say(
        "nothing came",
        &stage.net().recv_from(datagrams, &mut [0; 9]),
    );
    stage.net().close(datagrams);
    say(
        "bind closed",
        &stage.net().bind(&Binding::of(any(port)), OTHER).map(drop),
    );
    lines
}

/// The unspecified address, to listen on all addresses of the stage.
const fn stage_address() -> Ipv4Addr {
    Ipv4Addr::UNSPECIFIED
}

#[test]
fn both_network_stacks_behave_alike() {
    let mut net = Kernel::empty();
    net.probe_epoll(None);
    let clients = Vec::new();
    let host = play(&mut Host { net, clients });
    let bench = Bench::with_address(11, 0);
    let clients = Vec::new();
    let own = play(&mut Own { bench, clients });
    assert_eq!(host, own);
    println!("{host:#?}");
}
