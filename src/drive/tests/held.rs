//! A service whose requests have several operations: one that stops goes on where it stopped, also after its peer is gone.

use super::{AT, At, MOMENT, PORTMAP_AT, Serving, limits, with_loop};
use crate::drive::Task;
use crate::drive::service::{Limits, Served};
use crate::engine::Cx;
use crate::engine::service::{ConnectionId, Due, Io, Local, Next, Progress, Service, Transmit};
use crate::engine::testing::tree::Tree;
use crate::event::testing::Sink;
use crate::net::sim::Sim;
use crate::time::{Duration, Instant};
use crate::vfs::JobId;
use core::net::SocketAddr;
use std::collections::BTreeMap;

/// A request is a line; each letter of it is an operation, whose reply is the capital letter. `j` waits for a job before it is
/// done, `o` for an empty output, `t` for the next turn. The reply is sent once the line is whole.
#[derive(Default)]
struct Letters {
    /// The operations that were done, in order.
    done: Vec<u8>,
    /// The connections whose operation has stopped: the operation is done when it is passed again.
    stopped: BTreeMap<u16, u8>,
    /// The jobs that have not ended.
    jobs: Vec<JobId>,
    /// The unfinished replies of closed connections.
    lost: Vec<Vec<u8>>,
}

impl Service for Letters {
    fn advance(&mut self, id: ConnectionId, _: &mut Cx<'_>, io: Io<'_>) -> Progress {
        let Io {
            input,
            output,
            held,
        } = io;
        let mut progress = Progress::of(0, 0, Next::Input);
        let mut end = held;
        while let Some(letter) = input.get(progress.used) {
            let next = match letter {
                b'j' => Next::Until(JobId::of(1000 + u32::from(id.0))),
                b'o' => Next::Output,
                b't' => Next::Soon,
                _ => Next::Input,
            };
            if next != Next::Input && self.stopped.remove(&id.0).is_none() {
                self.stopped.insert(id.0, *letter);
                if let Next::Until(job) = next {
                    self.jobs.push(job);
                }
                progress.next = next;
                break;
            }
            self.done.push(*letter);
            output[end] = letter.to_ascii_uppercase();
            end += 1;
            progress.used += 1;
            if *letter == b'\n' {
                progress.produced = end;
            } else {
                progress.next = Next::Rest;
            }
        }
        if progress.produced == end && progress.next == Next::Rest {
            progress.next = Next::Input;
        }
        progress.held = end - progress.produced;
        progress
    }

    fn close(&mut self, id: ConnectionId, _: &mut Cx<'_>, held: &[u8]) {
        self.stopped.remove(&id.0);
        self.lost.push(held.to_vec());
    }
}

/// A server for 20 connections with two blocks for unfinished replies.
fn server() -> Serving<Letters> {
    let limits = Limits {
        held_bytes: 64,
        held_count: 2,
        ..limits(20, 1000)
    };
    Serving {
        service: Letters::default(),
        served: Served::new(&limits),
        server: At(AT, None),
    }
}

/// Runs the loop until nothing happens any more, after all pending jobs have ended.
fn run(sim: &Sim, tree: &mut Tree, server: &mut Serving<Letters>) {
    let sink = Sink::default();
    for job in core::mem::take(&mut server.service.jobs) {
        tree.end_job(job);
    }
    with_loop(sim, tree, &mut [server], &sink, |all| {
        sim.allow(MOMENT);
        all.turns();
    });
}

fn start(sim: &Sim, tree: &mut Tree, server: &mut Serving<Letters>) {
    with_loop(sim, tree, &mut [server], &Sink::default(), |all| {
        assert_eq!(all.start(), Ok(()));
    });
}

#[test]
fn stopped_request_goes_on_and_is_sent_whole() {
    // The request, in pieces, and the count of jobs that it waits for.
    for (pieces, job_count) in [
        (&[&b"ajb\n"[..]][..], 1),
        (&[b"aj", b"b\nc\n"], 1),
        (&[b"atb\n", b"aob\n"], 0),
        (&[b"x\najjb\nty\n"], 2),
        (&[b"jotj\nj\n"], 3),
    ] {
        let (sim, mut tree, mut server) = (Sim::new(1), Tree::writable(), server());
        start(&sim, &mut tree, &mut server);
        let peer = sim.connect(AT);
        let request = pieces.concat();
        for piece in pieces {
            sim.send(peer, piece);
            run(&sim, &mut tree, &mut server);
        }
        let mut ended = 0;
        while !server.service.jobs.is_empty() {
            ended += server.service.jobs.len();
            let sent = sim.read_sent(peer);
            assert!(
                sent.is_empty() || sent.ends_with(b"\n"),
                "a reply is sent whole"
            );
            sim.send(peer, b"");
            run(&sim, &mut tree, &mut server);
        }
        assert_eq!(server.service.done, request, "each operation is done once");
        assert!(ended <= job_count);
        sim.hang_up(peer);
        run(&sim, &mut tree, &mut server);
        assert_eq!(server.served.held.holders().count(), 0);
    }
}

/// Runs the loop while no job ends.
fn run_without_jobs(sim: &Sim, tree: &mut Tree, server: &mut Serving<Letters>) {
    let jobs = core::mem::take(&mut server.service.jobs);
    run(sim, tree, server);
    server.service.jobs.extend(jobs);
}

/// A call stops before each of its operations after the first one in turn, for each reason. Its peer goes before or after the job has ended,
/// and has not read an earlier reply.
#[test]
fn stopped_request_outlives_its_connection() {
    for (stop, letter) in (1..5).flat_map(|stop| b"jot".map(|letter| (stop, letter))) {
        for (sees_end, reads) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut call = *b"abcdej\n";
            call[stop] = letter;
            let (sim, mut tree, mut server) = (Sim::new(1), Tree::writable(), server());
            start(&sim, &mut tree, &mut server);
            let peer = sim.connect(AT);
            if !reads {
                sim.set_capacity(peer, 1);
                sim.set_reading(peer, false);
            }
            let request = [b"ab\n", &call[..]].concat();
            sim.send(peer, &request);
            run_without_jobs(&sim, &mut tree, &mut server);
            sim.hang_up(peer);
            if sees_end {
                run_without_jobs(&sim, &mut tree, &mut server);
            }
            for _ in 0..3 {
                run(&sim, &mut tree, &mut server);
            }
            assert_eq!(server.service.done, request, "each operation is done once");
            assert_eq!(server.service.lost, [b""], "the connection is closed");
            assert_eq!(server.served.held.holders().count(), 0);
            assert_eq!(server.served.replies.holders().count(), 0);
            assert_eq!(server.served.requests.holders().count(), 0);
            assert_eq!(sim.open_count(), 1);
        }
    }
}

/// A request of which a part has not arrived ends with its peer, or by its time limit. Others wait for its block meanwhile.
#[test]
fn incomplete_request_ends_with_its_peer() {
    for hangs_up in [true, false] {
        let (sim, mut tree, mut server) = (Sim::new(1), Tree::writable(), server());
        start(&sim, &mut tree, &mut server);
        let peers = [sim.connect(AT), sim.connect(AT), sim.connect(AT)];
        sim.send(peers[0], b"ab");
        sim.send(peers[1], b"ab");
        run(&sim, &mut tree, &mut server);
        sim.send(peers[2], b"c\n");
        run(&sim, &mut tree, &mut server);
        assert_eq!(server.service.done, b"abab");
        if hangs_up {
            sim.hang_up(peers[0]);
        }
        sim.send(peers[1], b"d");
        run(&sim, &mut tree, &mut server);
        if !hangs_up {
            let sink = Sink::default();
            with_loop(&sim, &mut tree, &mut [&mut server], &sink, |all| {
                sim.allow(Duration::from_secs(100));
                all.turns();
            });
        }
        let lost: &[&[u8]] = match hangs_up {
            true => &[b"AB"],
            false => &[b"AB", b"ABD"],
        };
        assert_eq!(server.service.lost, lost);
        assert_eq!(sim.read_sent(peers[2]), b"C\n");
    }
}

/// Requests that wait have no time limit, and are not closed for want of a block: others are not begun meanwhile.
#[test]
fn waiting_requests_outlast_blocks_and_time_limits() {
    let (sim, mut tree, mut server) = (Sim::new(1), Tree::writable(), server());
    start(&sim, &mut tree, &mut server);
    let peers: Vec<_> = (0..10).map(|_| sim.connect(AT)).collect();
    for peer in &peers {
        sim.send(*peer, b"ajb\n");
    }
    run(&sim, &mut tree, &mut server);
    assert_eq!(server.service.jobs.len(), 2, "as many as there are blocks");
    let jobs = core::mem::take(&mut server.service.jobs);
    with_loop(
        &sim,
        &mut tree,
        &mut [&mut server],
        &Sink::default(),
        |all| {
            sim.allow(Duration::from_secs(200));
            all.turns();
        },
    );
    server.service.jobs = jobs;
    for _ in 0..20 {
        run(&sim, &mut tree, &mut server);
    }
    for peer in peers {
        assert_eq!(sim.read_sent(peer), b"AJB\n");
        sim.hang_up(peer);
    }
    run(&sim, &mut tree, &mut server);
    assert_eq!(server.served.held.holders().count(), 0);
}

/// Sends a datagram to each of its peers, a few per second, without having heard from them.
struct Beacons {
    /// The peers by the time of their next datagram.
    due: BTreeMap<(Instant, u16), u32>,
    /// Number of peers that were looked at.
    looks: usize,
}

/// Interval of a peer's datagrams.
const INTERVAL_SECS: u32 = 100;

impl Service for Beacons {
    fn due(&mut self, cx: &mut Cx<'_>, output: &mut [u8]) -> Due {
        let Some(entry) = self.due.first_entry() else {
            return Due::Nothing;
        };
        self.looks += 1;
        let (at, port) = *entry.key();
        if at > cx.now {
            return Due::Nothing;
        }
        let count = entry.remove() + 1;
        self.due
            .insert((at.after(Duration::from_secs(INTERVAL_SECS)), port), count);
        output[..2].copy_from_slice(&port.to_be_bytes());
        Due::Send(Transmit {
            from: Local {
                interface: 2,
                ..Local::of(1)
            },
            to: SocketAddr::new(AT.ip(), port),
            len: 2,
        })
    }

    fn poll_at(&self) -> Instant {
        let first = self.due.first_key_value();
        first.map_or(Instant::NEVER, |((at, _), _)| *at)
    }
}

#[test]
fn datagrams_to_many_peers_cost_little() {
    const COUNT: u16 = 1000;
    let (sim, mut tree) = (Sim::new(1), Tree::writable());
    let start = sim.now();
    let due = (1..=COUNT).map(|port| {
        // Ten peers in each second.
        let second = u32::from(port) % INTERVAL_SECS;
        ((start.after(Duration::from_secs(second)), port), 0)
    });
    let mut server = Serving {
        service: Beacons {
            due: due.collect(),
            looks: 0,
        },
        served: Served::new(&limits(1, 1000)),
        server: At(AT, Some(PORTMAP_AT)),
    };
    with_loop(
        &sim,
        &mut tree,
        &mut [&mut server],
        &Sink::default(),
        |all| {
            assert_eq!(all.start(), Ok(()));
            sim.allow(Duration::from_ms(INTERVAL_SECS * 3000 - 500));
            all.turns();
        },
    );
    let sent = sim.read_sent_datagrams();
    assert_eq!(sent.len(), 3 * usize::from(COUNT));
    assert!(
        sent.iter()
            .all(|(bytes, to)| *bytes == to.port().to_be_bytes())
    );
    assert!(server.service.due.values().all(|count| *count == 3));
    // Once more in each turn: to see that nothing else is due.
    let turns = 3 * INTERVAL_SECS as usize;
    assert!(server.service.looks <= sent.len() + turns);
}

/// Says a letter on its connection each second, without having been asked, and ends after the third one.
#[derive(Default)]
struct Clock {
    session: Option<(ConnectionId, Instant)>,
    count: u8,
}

impl Service for Clock {
    fn open(&mut self, id: ConnectionId, _: Local) {
        self.session = Some((id, Instant::default()));
    }

    fn advance(&mut self, id: ConnectionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        assert!(io.input.is_empty());
        self.session = Some((id, cx.now.after(Duration::SECOND)));
        self.count += 1;
        io.output[0] = b'a' + self.count;
        let next = match self.count {
            3 => Next::Drain,
            _ => Next::Input,
        };
        Progress::of(0, 1, next)
    }

    fn due(&mut self, cx: &mut Cx<'_>, _: &mut [u8]) -> Due {
        match self.session {
            Some((id, at)) if at <= cx.now => Due::Serve(id),
            _ => Due::Nothing,
        }
    }

    fn close(&mut self, _: ConnectionId, _: &mut Cx<'_>, _: &[u8]) {
        self.session = None;
    }

    fn poll_at(&self) -> Instant {
        self.session.map_or(Instant::NEVER, |(_, at)| at)
    }
}

#[test]
fn service_speaks_unasked_on_a_connection() {
    let (sim, mut tree) = (Sim::new(1), Tree::writable());
    let mut server = Serving {
        service: Clock::default(),
        served: Served::new(&limits(2, 1000)),
        server: At(AT, None),
    };
    let tasks: &mut [&mut dyn Task] = &mut [&mut server];
    with_loop(&sim, &mut tree, tasks, &Sink::default(), |all| {
        assert_eq!(all.start(), Ok(()));
        let peer = sim.connect(AT);
        for letters in [&b"b"[..], b"c", b"d"] {
            sim.allow(Duration::SECOND);
            all.turns();
            assert_eq!(sim.read_sent(peer), letters);
        }
        assert!(sim.has_ended(peer));
    });
}
