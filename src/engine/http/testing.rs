//! A server for tests and fuzzers: bytes in, bytes out, over the model tree, without streams or sleeping.

use super::{Http, Root};
use crate::config::REQUEST_BYTES;
use crate::engine::Cx;
use crate::engine::service::{ConnectionId, Health, Io, Local, Moved, Progress, Service as _};
use crate::engine::testing::driver::{self, Engine, Talk};
use crate::engine::testing::tree::Tree;
use crate::event::{Events, Logged, Marks, Sink};
use crate::stats::Meter;
use crate::time::{Duration, Instant};
use crate::vfs::ram::Ram;
use crate::vfs::{self, FsError, Peer};
use std::sync::Mutex;

/// 29 November 2026, 00:00 UTC.
const NOW: i64 = 1_795_910_400;

/// Keeps the lines of the access log.
struct Lines(&'static Mutex<Vec<u8>>);

impl Logged for Lines {}

impl Sink for Lines {
    fn write_line(&mut self, line: &[u8], _: Marks) {
        self.0.lock().unwrap().extend_from_slice(line);
    }
}

/// A server with one connection.
pub struct Bench {
    /// The files.
    pub tree: Tree,
    http: Http,
    events: Events,
    stats: Meter,
    /// The output buffer.
    pub output: Vec<u8>,
    /// Number of further calls before the disk fails.
    pub calls_left: Option<u32>,
    /// The peer of all connections.
    pub peer: Peer,
    /// The lines of the access log.
    pub log: &'static Mutex<Vec<u8>>,
}

impl Bench {
    /// A server of these files.
    pub fn of(ram: Ram) -> Self {
        let log: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        let mut http = Http::new(
            4,
            Root::Exports,
            b"nas",
            Some(Box::leak(Box::new(Lines(log)))),
        );
        http.open(ConnectionId(0), LOCAL);
        Self {
            tree: Tree::of(ram),
            http,
            events: Events::new(Box::new(Lines(Box::leak(Box::default())))),
            stats: Meter::IDLE,
            output: vec![0; 72 << 10],
            calls_left: None,
            peer: Peer::NONE,
            log,
        }
    }

    /// Sends requests on a new connection.
    pub fn send(&mut self, input: &[u8], piece: usize) -> Talk {
        self.talk(input, || piece)
    }

    /// Sends requests in pieces on a new connection.
    pub fn talk(&mut self, input: &[u8], piece: impl FnMut() -> usize) -> Talk {
        self.http.open(ConnectionId(0), LOCAL);
        let talk = driver::talk(self, None, input, piece);
        let mut cx = context(self.peer, &mut self.tree, &mut self.events, &mut self.stats);
        self.http.close(ConnectionId(0), &mut cx, &[]);
        talk
    }

    /// Opens another connection.
    pub fn open(&mut self, number: u16) {
        self.http.open(ConnectionId(number), LOCAL);
    }
}

/// The context of a call for `peer`, a second after the start.
fn context<'c>(
    peer: Peer,
    vfs: &'c mut Tree,
    events: &'c mut Events,
    stats: &'c mut Meter,
) -> Cx<'c> {
    Cx {
        now: Instant::from_ms(1000),
        wall: Duration::from_secs(NOW as u32),
        health: Health::Fine,
        peer,
        vfs,
        events,
        stats,
    }
}

const LOCAL: Local = Local::of(0);

impl Engine for Bench {
    const INPUT_BYTES: usize = REQUEST_BYTES;

    fn advance(&mut self, input: &[u8]) -> Progress {
        if let Some(left) = &mut self.calls_left {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => self.tree.host.io_error.set(Some(FsError::Io)),
            }
        }
        let io = Io {
            input,
            output: &mut self.output,
            held: 0,
        };
        let mut cx = context(self.peer, &mut self.tree, &mut self.events, &mut self.stats);
        self.http.advance(ConnectionId(0), &mut cx, io)
    }

    fn moved(&mut self, done: Moved) -> Progress {
        let io = Io {
            input: &[],
            output: &mut self.output,
            held: 0,
        };
        let mut cx = context(self.peer, &mut self.tree, &mut self.events, &mut self.stats);
        self.http.moved(ConnectionId(0), &mut cx, done, io)
    }

    fn replies(&mut self, progress: &Progress) -> &[u8] {
        &self.output[..progress.produced]
    }

    fn tree(&mut self) -> &mut vfs::Tree {
        &mut self.tree
    }
}
