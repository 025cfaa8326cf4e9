//! Transfers over a cable that loses, delays, repeats and damages frames; and many simultaneous connections.

use super::addresses::{ROUTER, Server, advertisement};
use super::segments::{LISTENER, PORT, segment};
use super::{Bench, Ip, cable::PerMille};
use crate::net::smol::packet::{self, Content, Mac};
use crate::net::{
    Binding, Connections as _, Datagrams as _, Interest, NetError, Socket, Streams as _, Token,
};
use crate::time::{Duration, Instant};
use smoltcp::wire::TcpControl;

const CONNECTION: Token = Token::new(0, 2);
const OTHER: Token = Token::new(0, 3);
const BYTES: usize = 1 << 20;

fn sample() -> Vec<u8> {
    (0..BYTES).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Duration of a transfer, and its longest stall.
#[derive(Debug)]
struct Time {
    total: Duration,
    stall: Duration,
}

/// Disturbance during a transfer.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    /// The link refuses 300 of 1,000 frames at the first attempt, and a second socket sends too.
    BusyLink,
    /// The link carries 100 Mbit/s and drops frames beyond a queue of 32.
    ShortQueue,
    /// A router on the way has a smaller MTU.
    Router {
        mtu: u16,
    },
    /// The host gains and loses IPv6 addresses: about ten of each in a second.
    NewAddresses,
}

/// Transfers a mebibyte from the stack to its peer, or with `to_stack` the other way. The stack has just started.
fn transfer(seed: u64, faults: PerMille, beside: Beside, to_stack: bool) -> Time {
    let refused = match beside {
        Beside::BusyLink => 300,
        _ => 0,
    };
    let mut prefix_count = 0;
    let mut bench = Bench::with_address(seed, 0);
    bench.stack.listen(([0; 4], PORT).into(), LISTENER).unwrap();
    // A second socket keeps the link busy.
    let other = bench
        .stack
        .bind(&Binding::of((super::ADDRESS, PORT).into()), OTHER)
        .unwrap();
    let handle = bench.peer.connect(PORT);
    let (data, mut sent, mut got) = (sample(), 0, Vec::<u8>::new());
    let (mut accepted, mut began, mut last) = (None::<Socket>, Instant::NEVER, Instant::NEVER);
    let mut stall = Duration::default();
    let end = bench.now.after(Duration::from_secs(600));
    while got.len() < BYTES {
        assert!(
            bench.now < end,
            "{seed} {faults}: {} of {BYTES} arrived",
            got.len()
        );
        let since_start = bench.now.since(Instant::from_ms(1000)).as_ms();
        if matches!(beside, Beside::NewAddresses) && since_start > prefix_count * 100 {
            prefix_count += 1;
            bench
                .end
                .put(&advertisement(ROUTER, prefix_count as u16, 2));
        }
        let ready = bench.turn();
        let before = got.len();
        if ready.contains(&LISTENER)
            && let Ok((socket, _)) = bench.stack.accept(world_listener())
        {
            let interest = if to_stack {
                Interest::Input
            } else {
                Interest::Output
            };
            bench.stack.watch(socket, CONNECTION, interest).unwrap();
            accepted = Some(socket);
            bench.end.set_faults(faults);
            bench.end.set_refused(refused);
            match beside {
                Beside::ShortQueue => bench.end.set_queue(32),
                Beside::Router { mtu } => bench.end.set_router_mtu(mtu),
                _ => {}
            }
            (began, last) = (bench.now, bench.now);
        }
        if refused > 0 {
            let to = (super::PEER_ADDRESS, PORT).into();
            let _ = bench
                .stack
                .send_to(other, crate::net::Own::default(), to, b"datagram");
        }
        let mut buffer = vec![0; 64 << 10];
        if let Some(socket) = accepted {
            if to_stack {
                while let Ok(len) = bench.stack.recv(socket, &mut buffer) {
                    assert!(len > 0);
                    got.extend(&buffer[..len]);
                }
                let peer = bench.peer.socket(handle);
                sent += peer.send_slice(&data[sent..]).unwrap();
            } else {
                while sent < BYTES {
                    match bench.stack.send(socket, &data[sent..], false) {
                        Ok(len) => sent += len,
                        Err(NetError::WouldBlock) => break,
                        Err(error) => {
                            panic!("{beside:?} {seed}: {error:?} at {since_start} ms, {sent} sent")
                        }
                    }
                }
                let peer = bench.peer.socket(handle);
                let len = peer.recv_slice(&mut buffer).unwrap();
                got.extend(&buffer[..len]);
            }
        }
        if got.len() > before {
            stall = stall.max(bench.now.since(last));
            last = bench.now;
        }
        bench.sleep(end);
    }
    assert!(got == data, "{seed} {faults}: not what was sent");
    Time {
        total: bench.now.since(began),
        stall,
    }
}

/// The listener: it is the first socket that `Bench` opens.
const fn world_listener() -> Socket {
    Socket(0)
}

#[test]
fn faults_lose_no_bytes() {
    for to_stack in [false, true] {
        let clean = transfer(1, 0, Beside::Nothing, to_stack).total.as_ms();
        for (faults, times_max, stall_max) in [(10, 10, 200), (50, 30, 5000)] {
            let mut times: Vec<Time> = (1..=25)
                .map(|seed| transfer(seed, faults, Beside::Nothing, to_stack))
                .collect();
            times.sort_by_key(|time| time.total);
            let median = times[12].total.as_ms();
            let stall = times.iter().map(|time| time.stall.as_ms()).max().unwrap();
            println!(
                "to stack {to_stack}, {faults}: {median} of {clean} ms, longest stall {stall}"
            );
            // Transfers to the stack have no limit, because their duration depends on the retransmission timer of the peer.
            if !to_stack {
                assert!(median < times_max * clean && stall <= stall_max);
            }
        }
    }
}

/// A mebibyte takes 90 ms at 100 Mbit/s.
#[test]
fn short_queue_delays_no_transfer() {
    for seed in 1..=20 {
        let time = transfer(seed, 0, Beside::ShortQueue, false);
        let is_short = time.total < Duration::from_ms(500) && time.stall < Duration::from_ms(150);
        assert!(is_short, "{seed}: {time:?}");
    }
}

#[test]
fn router_with_a_smaller_mtu_delays_no_transfer() {
    for mtu in [1499, 1400, 1280, 600, 576] {
        for faults in [0, 10] {
            let time = transfer(1, faults, Beside::Router { mtu }, false);
            let is_short = time.stall < Duration::from_ms(400);
            assert!(is_short, "{mtu} {faults}: {time:?}");
        }
    }
}

/// smoltcp 0.14 has no timer for a fast retransmission that its device or its neighbor cache refuses, nor for some closed windows.
#[test]
fn busy_link_and_new_addresses_stall_no_connection() {
    for beside in [Beside::Nothing, Beside::BusyLink, Beside::NewAddresses] {
        for seed in 1..=40 {
            let time = transfer(seed, 50, beside, false);
            let is_short = time.stall < Duration::from_secs(10);
            assert!(is_short, "{beside:?} {seed}: {time:?}");
        }
    }
}

/// Returns the longest stall of a connection that reads while the stack starts: it gets a lease, probes it, and gets two IPv6 addresses.
fn stall_at_boot(seed: u64) -> Duration {
    let mut bench = Bench::new(seed, 0, Ip::Dhcp);
    let mut server = Server::new(super::ADDRESS.into(), 3600);
    bench.stack.listen(([0; 4], PORT).into(), LISTENER).unwrap();
    let handle = bench.peer.connect(PORT);
    let (mut accepted, mut received_at, mut stall) = (None, Instant::NEVER, Duration::default());
    let (mut address_count, mut change_count, mut is_routed) = (0, 0, false);
    let start = bench.now;
    while bench.now < start.after(Duration::from_secs(5)) {
        if !is_routed && bench.now > start.after(Duration::SECOND) {
            is_routed = true;
            bench.end.put(&advertisement(ROUTER, 1, 3600));
        }
        fn content(frame: &[u8]) -> Option<Content<'_>> {
            packet::content(frame, Mac(super::PEER_MAC))
        }
        let is_dhcp = |frame: &[u8]| matches!(content(frame), Some(Content::Datagram { to, .. }) if to.port() == 67);
        while let Some(frame) = bench.end.take_if(is_dhcp) {
            let reply = server.answer(&frame, &content(&frame).unwrap(), bench.now);
            bench.end.put(&reply.unwrap());
        }
        if let Some(socket) = accepted {
            // If the connection stalls, the buffer becomes full.
            let _ = bench.stack.send(socket, &[7; 100], false);
        }
        if bench.turn().contains(&LISTENER) {
            let (socket, _) = bench.stack.accept(world_listener()).unwrap();
            (accepted, received_at) = (Some(socket), bench.now);
            address_count = bench.stack.addresses.usable().count();
        }
        let count = bench.stack.addresses.usable().count();
        change_count += u32::from(accepted.is_some() && count != address_count);
        address_count = count;
        let peer = bench.peer.socket(handle);
        if peer.can_recv() && peer.recv_slice(&mut [0; 4096]) != Ok(0) {
            received_at = bench.now;
        }
        if accepted.is_some() {
            stall = stall.max(bench.now.since(received_at));
        }
        // Data is sent in each millisecond, so in each moment in which an address comes.
        bench.sleep(bench.now.after(Duration::from_ms(1)));
    }
    assert!(
        accepted.is_some() && change_count >= 2,
        "{seed}: {change_count}"
    );
    stall
}

#[test]
fn boots_stall_no_connection() {
    for seed in 1..=20 {
        let stall = stall_at_boot(seed);
        assert!(stall <= Duration::from_ms(20), "{seed}: {stall:?}");
    }
}

#[test]
fn thousand_simultaneous_connections_are_all_answered() {
    let mut bench = Bench::with_address(3, 0);
    bench.stack.listen(([0; 4], PORT).into(), LISTENER).unwrap();
    // Opens a first connection, by which the stack learns the peer's MAC address.
    let first = bench.peer.connect(PORT);
    while !bench.peer.socket(first).may_send() {
        bench.turn();
        bench.sleep(Instant::NEVER);
    }
    for port in 0..1000 {
        let syn = segment(20_000 + port, TcpControl::Syn, 7, None, &[]);
        bench.end.put(&syn);
    }
    let mut answered = std::collections::BTreeSet::new();
    for segment in bench.segments(1000) {
        assert!(segment.is_syn && !segment.is_rst);
        answered.insert(segment.port);
    }
    assert_eq!(answered.len(), 1000);
}

#[test]
fn idle_connection_is_first_probed_after_a_minute() {
    let mut bench = Bench::with_address(4, 0);
    bench.stack.listen(([0; 4], PORT).into(), LISTENER).unwrap();
    let handle = bench.peer.connect(PORT);
    while !bench.peer.socket(handle).may_send() {
        bench.turn();
        bench.sleep(Instant::NEVER);
    }
    let connected = bench.now;
    let mut probed = None;
    while probed.is_none() {
        bench.peer.is_on = false;
        bench.turn();
        bench.peer.is_on = true;
        while let Some(frame) = bench.end.take() {
            let is_tcp = frame[12..14] == [8, 0] && frame[23] == 6;
            // A keepalive probe is a segment with one octet and without TCP options.
            if is_tcp && frame.len() == 14 + 20 + 20 + 1 {
                probed = Some(bench.now.since(connected).as_ms());
            }
        }
        bench.sleep(Instant::NEVER);
    }
    assert!(
        probed.is_some_and(|ms| (59_000..=61_000).contains(&ms)),
        "{probed:?}"
    );
}
