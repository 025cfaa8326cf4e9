//! A service that is busy with long work, as an SFTP session that hashes or copies a file.

use super::{AT, At, Serving, limits, with_loop};
use crate::config::{REQUEST_INLINE_BYTES, REQUEST_TIMEOUT};
use crate::drive::service::Served;
use crate::engine::Cx;
use crate::engine::service::{ConnectionId, Io, Next, Progress, Service};
use crate::engine::testing::tree::Tree;
use crate::event::testing::Sink;
use crate::net::sim::Sim;
use crate::time::{Duration, Instant};

/// A service whose requests are single bytes. It is busy with long work until the time `until`, then answers all requests.
struct Working {
    until: Instant,
}

impl Service for Working {
    fn advance(&mut self, _: ConnectionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        if cx.now < self.until {
            return Progress::of(0, 0, Next::Soon);
        }
        let len = io.input.len();
        io.output[..len].copy_from_slice(io.input);
        Progress::of(len, len, Next::Input)
    }
}

#[test]
fn requests_behind_long_work_do_not_time_out() {
    let sim = Sim::new(0);
    let mut worker = Serving {
        service: Working {
            until: sim.now().after(REQUEST_TIMEOUT).after(REQUEST_TIMEOUT),
        },
        served: Served::new(&limits(1, 1000)),
        server: At(AT, None),
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
