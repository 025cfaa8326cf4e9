//! No version 4.1 of NFS: nothing of it is served, and no COMPOUND waits.

use super::Cx;
use super::nfs::Phase;
use super::rpc::connections::Connections;
use super::rpc::lock::ServerLock;
use super::rpc::{Answer, RecordCursor, Request, Unanswered};
use super::service::{Moved, Next};
use crate::time::Instant;
use crate::vfs::{FileId, Tree};
use crate::wire::Reader;
use crate::wire::nfs3;
use crate::wire::rpc::Reject;
use core::sync::atomic::AtomicU32;

/// No state.
#[derive(Default)]
pub struct Nfs4(());

/// Terms of a server that may change between calls.
pub(super) struct Terms {
    pub(super) read_bytes_max: u32,
    pub(super) verifier: u64,
}

/// No COMPOUND.
#[derive(Debug)]
pub enum Waiting {}

impl Waiting {
    pub(super) const fn len(&self) -> usize {
        match *self {}
    }

    pub(super) const fn is_amid(&self) -> bool {
        match *self {}
    }
}

impl Nfs4 {
    /// Offers nothing.
    pub const fn new(
        _words: &'static [AtomicU32],
        _instance: [u32; 2],
        _connections: Connections,
        _lock: Option<&'static dyn ServerLock>,
        _waiting_count: usize,
        _is_kept: bool,
    ) -> Self {
        Self(())
    }

    /// Keeps nothing.
    pub const fn keep_records(
        &mut self,
        _: FileId,
        _content: &[u8],
        _server: u64,
        _: Instant,
    ) -> u32 {
        0
    }

    pub(super) const fn counts(&self) -> &'static [AtomicU32] {
        &[]
    }

    /// Does nothing.
    pub const fn end_version_3(&mut self) {}

    pub(super) const fn versions(&self) -> [u8; 2] {
        [nfs3::VERSION as u8; 2]
    }

    pub(super) fn answer(
        &mut self,
        _cx: &mut Cx<'_>,
        _request: &mut Request<'_, '_>,
        _waiting: &mut Option<Waiting>,
        _terms: &Terms,
        _sending: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        Err(Reject::Procedure.into())
    }

    pub(super) const fn fail(&self, results: &mut [u8], _promised: u32, _status: u32) -> usize {
        results.len()
    }

    pub(super) const fn store(
        &mut self,
        waiting: &Waiting,
        _record: &mut RecordCursor,
        _cx: &mut Cx<'_>,
        _input: &mut Reader<'_>,
    ) -> Result<(), Next> {
        match *waiting {}
    }

    pub(super) fn moved(
        &mut self,
        waiting: &Waiting,
        _record: &mut RecordCursor,
        _done: Moved,
        _vfs: &mut Tree,
    ) {
        match *waiting {}
    }

    pub(super) const fn abandon(&mut self, waiting: &Waiting, _vfs: &mut Tree) {
        match *waiting {}
    }
}
