//! A protocol with long work in hand, as a session has that hashes or copies a file.

use super::{AT, Lent};
use crate::config::{REQUEST_INLINE_BYTES, REQUEST_TIMEOUT, RX_BYTES, TX_BYTES};
use crate::drive::streams::{Call, Limits, Protocol, Streams};
use crate::drive::{Loop, Task};
use crate::engine::testing::tree::Tree;
use crate::engine::{Order, Progress, State};
use crate::event::kept::Sink;
use crate::event::{Events, Fatal};
use crate::net::Signals;
use crate::net::sim::Sim;
use crate::time::{Duration, Instant};
use crate::vfs::{Content, FsResult};

/// Each byte is a request; the first asks for work that ends at a time.
struct Working {
    tree: Tree,
    until: Instant,
}

impl Protocol for Working {
    fn files(&mut self) -> &mut (dyn Content + 'static) {
        &mut self.tree
    }

    fn open(&mut self, _: usize, _: u32) {}

    fn advance(&mut self, _: usize, call: Call<'_>, input: &[u8], output: &mut [u8]) -> Progress {
        let working = call.now < self.until;
        let answered = if working { 0 } else { input.len() };
        output[..answered].copy_from_slice(&input[..answered]);
        Progress {
            consumed: answered,
            produced: answered,
            state: if working {
                State::Busy
            } else {
                State::NeedInput
            },
        }
    }

    fn done(&mut self, _: usize, _: Call<'_>, _: Order, _: FsResult<()>, _: &mut [u8]) -> Progress {
        Progress::CLOSED
    }

    fn abandon(&mut self, _: usize) {}
}

struct Worker {
    working: Working,
    streams: Streams,
}

impl Task for Worker {
    fn start(&mut self, world: &mut Lent<'_>) -> Result<(), Fatal> {
        assert_eq!(self.streams.listen(world, AT, 0), Ok(AT));
        Ok(())
    }

    fn ready(&mut self, world: &mut Lent<'_>, local: u32) {
        self.streams.ready(world, &mut self.working, local);
    }

    fn turn(&mut self, world: &mut Lent<'_>, _: Signals) {
        self.streams.turn(world, &mut self.working);
    }

    fn poll_at(&self) -> Instant {
        self.streams.poll_at()
    }

    fn stop(&mut self, _: &mut Lent<'_>) {
        self.streams.stop(&mut self.working);
    }
}

#[test]
fn requests_that_wait_for_long_work_are_not_timed_out() {
    let sim = Sim::new(0);
    let limits = Limits {
        connection_count: 1,
        request_count: 1,
        reply_count: 1,
    };
    let mut worker = Worker {
        working: Working {
            tree: Tree::writable(),
            until: sim.now().after(REQUEST_TIMEOUT).after(REQUEST_TIMEOUT),
        },
        streams: Streams::new(limits, 1000),
    };
    let (mut rx, mut tx) = (vec![0; RX_BYTES], vec![0; TX_BYTES]);
    let mut net = sim.clone();
    let mut events = Events::new(Box::new(Sink::default()));
    let tasks: &mut [&mut dyn Task] = &mut [&mut worker];
    let mut all = Loop::new(&mut net, tasks, &mut events, &mut rx, &mut tx, sim.now());
    assert_eq!(all.start(), Ok(()));
    let peer = sim.connect(AT);
    // More than a connection keeps for itself: what waits holds a block that others may need.
    let requests = [b'r'; REQUEST_INLINE_BYTES + 1];
    sim.send(peer, &requests);
    for _ in 0..3 {
        sim.allow(REQUEST_TIMEOUT);
        all.turns();
    }
    assert!(!sim.is_closed(peer));
    assert_eq!(sim.take(peer), requests);
    sim.hang_up(peer);
    sim.allow(Duration::SECOND);
    all.turns();
}
