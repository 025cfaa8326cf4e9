//! Tests of the NFS engines over the model tree: bytes in, bytes out, without sockets or sleeping.

mod above;
mod changing;
mod duplicates;
#[cfg(all_roles)]
mod kills;
mod laws;
mod listing;
mod making;
mod mutations;
mod portmapper;
mod procedures;
mod reading;
mod records;
mod writing;

use super::service::{Moved, Next};
use super::testing::driver::Engine as _;
use super::testing::replies::{Attributes, Before, Body};
use super::testing::{Bench, Talk, VERIFIER, calls, replies, tree};
use crate::vfs::{Access, Caller, FsError, Peer};
use crate::wire::nfs3::Procedure;
use crate::wire::rpc::Reject;
use calls::{Call, CallId};

impl Bench {
    /// The handle of a file that was then removed.
    fn stale_handle(&mut self) -> Vec<u8> {
        self.tree.ram().file("gone", b"");
        let handle = self.handle("gone");
        self.tree.ram().unlink("gone");
        handle
    }

    /// The memory that a server leaves that is killed after it carried out an answered call, before it stored the reply.
    fn left_begun(&self, call: &Call, was_there: bool) -> &'static mut [u8] {
        let peer = Peer {
            address: self.peer,
            port: self.port,
        };
        self.programs.left_begun(&peer, &call.0, was_there)
    }

    /// Sends a whole stream on a new connection.
    fn send(&mut self, input: &[u8]) -> Talk {
        self.send_pieces(input, || usize::MAX)
    }

    /// The whole reply to `call`. Fails if the connection does anything else.
    pub(super) fn reply(&mut self, call: &Call) -> Vec<u8> {
        let record = call.record();
        let talk = self.send(&record);
        assert_eq!((talk.closed, talk.consumed), (None, record.len()));
        let replies = replies::records(&talk.output).unwrap();
        assert_eq!(replies.len(), 1);
        replies[0].to_vec()
    }

    /// The results of `call`, parsed strictly.
    fn ask(&mut self, call: &Call) -> Result<Body, Reject> {
        let asked = CallId::of(&call.0).unwrap();
        replies::parse(&self.reply(call), asked).unwrap()
    }

    /// The attributes in a GETATTR reply.
    fn attributes(&mut self, handle: &[u8]) -> Attributes {
        let body = self.ask(&Call::of(Procedure::GetAttr, handle)).unwrap();
        body.attributes[0].unwrap()
    }

    /// Makes a call that changes these objects. Compares their attributes in its reply, before and after, with GETATTR.
    #[track_caller]
    fn ask_around(&mut self, call: &Call, handles: &[&[u8]]) -> Body {
        let was: Vec<_> = handles
            .iter()
            .map(|handle| Some(before(self.attributes(handle))))
            .collect();
        let body = self.ask(call).unwrap();
        let now: Vec<_> = handles
            .iter()
            .map(|handle| Some(self.attributes(handle)))
            .collect();
        assert_eq!(body.before, was);
        assert!(body.attributes.ends_with(&now), "{body:?}, but {now:?}");
        body
    }

    /// Compares the words after the reply's header.
    #[track_caller]
    fn check(&mut self, call: &Call, expect: &[&[u32]]) {
        let reply = self.reply(call);
        let asked = CallId::of(&call.0).unwrap();
        replies::parse(&reply, asked).unwrap().unwrap();
        let words: Vec<u32> = reply
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words[..6], [asked.xid, 1, 0, 0, 0, 0]);
        assert_eq!(words[6..], expect.concat());
    }
}

/// The attributes that GETATTR must return for an object of the model with this type, mode, size and inode number.
fn attributes(kind: u32, mode: u32, size: u64, inode: u32) -> Attributes {
    let [high, low] = [(size >> 32) as u32, size as u32];
    // A small file takes one chunk of the model's memory.
    let used = if kind == 1 { 4096 } else { low };
    let [secs, nanos] = [1_000_000_000, 123_456_789];
    [
        kind, mode, 1, 1000, 100, high, low, 0, used, 0, 0, 0, 7, 0, inode, secs, nanos, secs,
        nanos, secs, nanos,
    ]
}

/// The part of the attributes that a reply reports from before a change: size, mtime and ctime.
fn before(attributes: Attributes) -> Before {
    [5, 6, 17, 18, 19, 20].map(|at| attributes[at])
}

/// The whole contents of a small file.
fn content(bench: &mut Bench, path: &str) -> Vec<u8> {
    let handle = bench.handle(path);
    let node = bench.tree.open_as(&handle, &Caller::default()).unwrap();
    let pin = bench.tree.pin(node, Some(Access::Read)).unwrap();
    let mut out = vec![0; 2 << 20];
    let len = bench.tree.read(&pin, 0, &mut out).unwrap();
    bench.tree.unpin(pin);
    out.truncate(len as usize);
    out
}

/// Bytes as words, padded.
fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| {
        (0..4).fold(0, |word, at| {
            word << 8 | u32::from(*chunk.get(at).unwrap_or(&0))
        })
    };
    bytes.chunks(4).map(word).collect()
}

/// If the disk fails during a transfer, the connection must be closed, because the head of the reply already promised the data.
#[test]
fn failing_transfer_closes_the_connection() {
    let mut bench = Bench::default();
    let big = bench.handle("big");
    let mut session = bench.session();
    let mut served = bench.with(&mut session);
    let progress = served.advance(&Call::read(&big, 0, 100_000).record());
    let Next::Move(transfer) = progress.next else {
        panic!("no transfer");
    };
    let result = Err(FsError::Io);
    let progress = served.moved(Moved { transfer, result });
    assert!(matches!(progress.next, Next::Close(_)));
}
