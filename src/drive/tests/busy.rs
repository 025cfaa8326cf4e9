//! A protocol that is busy with long work, as an SFTP session that hashes or copies a file.

use super::{AT, Served, with_loop};
use crate::config::{REPLY_BYTES, REQUEST_INLINE_BYTES, REQUEST_TIMEOUT};
use crate::drive::streams::{Limits, Protocol, Streams};
use crate::engine::testing::tree::Tree;
use crate::engine::{Cx, Order, Progress, State};
use crate::event::{Events, testing::Sink};
use crate::net::sim::Sim;
use crate::time::{Duration, Instant};
use crate::vfs::{self, FsResult};

/// A protocol whose requests are single bytes. It is busy with long work until the time `until`, then answers all requests.
struct Working {
    until: Instant,
}

impl Protocol for Working {
    fn open(&mut self, _: usize, _: u32) {}

    fn advance(&mut self, _: usize, cx: &mut Cx<'_>, input: &[u8], output: &mut [u8]) -> Progress {
        let working = cx.now < self.until;
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

    fn done(
        &mut self,
        _: usize,
        _: &mut Cx<'_>,
        _: Order,
        _: FsResult<()>,
        _: &mut [u8],
    ) -> Progress {
        Progress::CLOSED
    }

    fn abandon(&mut self, _: usize, _: &mut vfs::Tree, _: &mut Events) {}
}

#[test]
fn requests_behind_long_work_do_not_time_out() {
    let sim = Sim::new(0);
    let limits = Limits {
        connection_count: 1,
        request_count: 1,
        reply_count: 1,
        reply_bytes: REPLY_BYTES,
    };
    let mut worker = Served {
        protocol: Working {
            until: sim.now().after(REQUEST_TIMEOUT).after(REQUEST_TIMEOUT),
        },
        streams: Streams::new(limits, 1000),
        at: AT,
    };
    let (mut tree, sink) = (Tree::writable(), Sink::default());
    with_loop(&sim, &mut tree, &mut [&mut worker], &sink, |all| {
        assert_eq!(all.start(), Ok(()));
        let peer = sim.connect(AT);
        // Input that is too long to be kept inline waits in a block.
        let requests = [b'r'; REQUEST_INLINE_BYTES + 1];
        sim.send(peer, &requests);
        for _ in 0..3 {
            sim.allow(REQUEST_TIMEOUT);
            all.turns();
        }
        assert!(!sim.is_closed(peer));
        assert_eq!(sim.read_sent(peer), requests);
        sim.hang_up(peer);
        sim.allow(Duration::SECOND);
        all.turns();
    });
}
