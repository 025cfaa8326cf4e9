//! All tasks in one loop, over a network that loses datagrams and sends short: each serves as if it were alone.

use super::endpoint::host::{self, Host, PEER, QUERY};
use super::{AT, At, MOMENT, Serving, limits, numbered_calls, read, rpc_server, with_loop};
use crate::drive::Task;
use crate::drive::endpoint::{Choice, Mdns};
use crate::drive::service::Served;
use crate::engine::sftp::testing::{Memory, Packet, UID, replies, stream};
use crate::engine::sftp::{Level, Permits, REQUEST_BYTES, Session, Sessions, Sftp};
use crate::engine::testing::Bench as Programs;
use crate::engine::testing::calls::{Call, stable};
use crate::engine::testing::replies::records;
use crate::engine::testing::tree::Tree;
use crate::event::testing::Sink;
use crate::net::sim::Sim;
use crate::time::Duration;
use crate::wire::sftp::kind;
use cases::random::for_seeds;
use core::net::SocketAddr;

fn sftp_at() -> SocketAddr {
    SocketAddr::new(AT.ip(), 2222)
}

#[test]
fn tasks_share_one_loop_on_lossy_network() {
    for_seeds(30, |seed| {
        let sim = Sim::new(seed);
        sim.set_interfaces(&host::interfaces(1));
        sim.send_in_parts();
        sim.lose_one_in(4);
        let mut tree = Tree::writable();
        let mut server = rpc_server(10);
        let mut responder = Host::new();
        let mut mdns = Mdns::new(&mut responder, Choice::default());
        let memory = Memory::leaked();
        let mut sftp = Sftp::new(
            Permits::ALL,
            Level::Quiet,
            UID,
            || (0, 0),
            None,
            memory.texts,
        );
        let mut sessions = [Session::new(memory.handles, memory.paths, memory.hashes)];
        let mut sftp_server = Serving {
            service: Sessions::new(&mut sftp, &mut sessions),
            served: Served::new(&limits(1, REQUEST_BYTES)),
            server: At(sftp_at(), None),
        };
        let sink = Sink::default();
        let tasks: &mut [&mut dyn Task] = &mut [&mut server, &mut mdns, &mut sftp_server];
        with_loop(&sim, &mut tree, tasks, &sink, |all| {
            assert_eq!(all.start(), Ok(()));
            let mut run = |time| {
                sim.allow(time);
                all.turns();
            };
            run(host::SETTLED);
            let (rpc_peer, sftp_peer) = (sim.connect(AT), sim.connect(sftp_at()));
            let calls = numbered_calls();
            let requests = super::stream(&calls);
            let packets = [
                Packet::init(),
                Packet::new(kind::STAT, 1).string(b"."),
                Packet::new(kind::REALPATH, 2).string(b"."),
            ];
            let packets = stream(&packets);
            let (mut answered, mut replied, mut resolved) = (Vec::new(), Vec::new(), false);
            let (requests, packets) = (requests.chunks(100), packets.chunks(7));
            let pieces = requests.len().max(packets.len());
            let (mut requests, mut packets) = (requests, packets);
            // A querier asks again until it is answered (RFC 6762 section 5.2).
            for round in 0..pieces.max(100) {
                if let Some(piece) = requests.next() {
                    sim.send(rpc_peer, piece);
                }
                if let Some(piece) = packets.next() {
                    sim.send(sftp_peer, piece);
                }
                if round % 10 == 0 {
                    sim.arrive(2, PEER.parse().unwrap(), QUERY);
                }
                run(MOMENT);
                answered.extend(sim.read_sent(rpc_peer));
                replied.extend(sim.read_sent(sftp_peer));
                resolved |= host::is_answered(&sim);
            }
            run(Duration::from_secs(2));
            answered.extend(sim.read_sent(rpc_peer));
            replied.extend(sim.read_sent(sftp_peer));
            assert_eq!(records(&answered).unwrap().len(), calls.len());
            let kinds: Vec<u8> = replies(&replied).iter().map(|reply| reply.kind).collect();
            assert_eq!(kinds, [kind::VERSION, kind::ATTRS, kind::NAME]);
            assert!(resolved, "no query of ten was answered");
            assert!(!sim.is_closed(rpc_peer) && !sim.is_closed(sftp_peer));
        });
    });
}

/// Two services over the same files. The jobs of both end together, and each service continues the requests that wait for its own.
#[test]
fn service_learns_of_its_jobs_end() {
    let cold_read = read(0, 4);
    let stable_write = Call::write(
        &Programs::default().handle("big"),
        0,
        stable::FILE_SYNC,
        b"data",
    );
    for calls in [
        [&cold_read, &cold_read],
        [&cold_read, &stable_write],
        [&stable_write, &cold_read],
    ] {
        let sim = Sim::new(1);
        let mut tree = Tree::writable();
        let (host, watched) = (tree.host.clone(), tree.host.clone());
        sim.set_file_to_watch(move || watched.in_flight.get() && !watched.holds_jobs.get());
        host.holds_jobs.set(true);
        host.has_descriptors.set(true);
        host.is_cold.set(true);
        let mut servers = [rpc_server(10), rpc_server(10)];
        servers[1].server = At(sftp_at(), None);
        let [one, other] = &mut servers;
        let tasks: &mut [&mut dyn Task] = &mut [one, other];
        with_loop(&sim, &mut tree, tasks, &Sink::default(), |all| {
            assert_eq!(all.start(), Ok(()));
            let peers = [AT, sftp_at()].map(|at| sim.connect(at));
            for (peer, call) in peers.iter().zip(calls) {
                sim.send(*peer, &call.record());
            }
            let mut run = || {
                sim.allow(MOMENT);
                all.turns();
                peers.map(|peer| records(&sim.read_sent(peer)).unwrap().len())
            };
            assert_eq!(run(), [0, 0], "both wait");
            host.holds_jobs.set(false);
            assert_eq!(run(), [1, 1]);
        });
    }
}
