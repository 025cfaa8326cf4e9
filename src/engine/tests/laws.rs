//! The laws that the engines share with the built server: the table is in the crate `cases`.

use super::{Bench, tree::Tree};
use crate::vfs::ram::Ram;
use anyhow::Result;
use cases::calls::Auth;
use cases::laws::{self, Case, Peer, Server};

/// The engines as the server, and the state of the objects at the last `save`.
pub(super) struct InProcess {
    pub(super) bench: Bench,
    /// Number of a call's operations before one that must wait for a disk.
    stops_after: Option<u32>,
    saved: Option<Ram>,
}

impl InProcess {
    pub(super) fn new(bench: Bench) -> Self {
        Self {
            bench,
            stops_after: None,
            saved: None,
        }
    }
}

impl Server for InProcess {
    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        self.bench.tree.host.stops_after.set(self.stops_after);
        let reply = self.bench.reply(&super::Call(message.to_vec()));
        assert_eq!(self.bench.tree.ram().pinned, 0, "a pin was kept");
        Ok(reply)
    }

    /// Each call has a connection of its own.
    fn reconnect(&mut self) -> Result<()> {
        Ok(())
    }

    /// The model's clock advances with every change.
    fn tick(&mut self) {}

    fn save(&mut self) -> Result<()> {
        self.saved = Some(self.bench.tree.ram().clone());
        Ok(())
    }

    fn is_as_saved(&mut self) -> Result<bool> {
        let saved = self.saved.as_ref().expect("saved before");
        Ok(self.bench.tree.ram().is_like(saved))
    }

    fn check(&mut self) -> Result<()> {
        self.bench.tree.ram().check();
        Ok(())
    }
}

/// Runs each case on a tree of its own.
fn check(cases: impl IntoIterator<Item = Case>, tree: fn() -> Tree, stops_after: Option<u32>) {
    let mut failed = Vec::new();
    for (name, case) in cases {
        let mut bench = Bench {
            tree: tree(),
            ..Bench::with_reply_cache()
        };
        let root = bench.handle("");
        let mut server = InProcess {
            stops_after,
            ..InProcess::new(bench)
        };
        let mut peer = Peer::new(&mut server, root, 0);
        peer.auth = Auth::sys(b"box", 1000, 100, &[]);
        if let Err(error) = case(&mut peer) {
            failed.push(format!("{name}, stopped after {stops_after:?}: {error:#}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn laws_of_writable_exports_hold() {
    check(laws::writable(), Tree::writable, None);
}

#[test]
fn laws_of_read_only_exports_hold() {
    check(laws::read_only(), Tree::default, None);
}

/// Whichever operation of a call stops first, the call goes on with the same reply, and changes nothing twice.
#[test]
fn laws_hold_if_any_operation_stops_once() {
    for stops_after in [0, 1, 2, 5] {
        check(laws::writable(), Tree::writable, Some(stops_after));
        check(laws::read_only(), Tree::default, Some(stops_after));
    }
}
