//! A COMPOUND while it is carried out: its context, which is kept while it waits, and what an operation uses in a turn.

use super::Terms;
use super::slots::Held;
use super::tables::{Session, Slot, Tables};
use crate::config::{COMPOUND_HELD_BYTES, COMPOUND_REPLY_BYTES};
use crate::engine::Cx;
use crate::engine::nfs::{Phase, Writing, set_caller};
use crate::engine::rpc::connections::{Connection, Connections};
use crate::engine::rpc::lock::ServerLock;
use crate::engine::service::Promise;
use crate::mem::{Slots, fx_words as hash};
use crate::vfs::{
    Attr, Caller, FileId, FsError, Handle, Node, ObjectType, Patience, Pin, Stop, Until,
};
use crate::wire::nfs4::{StateId, Status};
use crate::wire::rpc::{Call, MARK_BYTES};
use crate::wire::{Malformed, Reader, Writer};

/// The reason why an operation has no result.
pub(super) enum Fault {
    /// The operation failed.
    Status(Status),
    /// The file system failed.
    Files(FsError),
    /// This event must come first.
    Again(Until),
    /// The data of a WRITE must be stored first.
    Data,
    /// A lock of another owner, which is in the result, conflicts.
    Denied,
}

/// The result of an operation.
pub(super) type Done = Result<(), Fault>;

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<FsError> for Fault {
    fn from(error: FsError) -> Self {
        match error {
            // A look-up of host names may take long: the client repeats the call.
            FsError::AwaitsNames => Self::Status(Status::DELAY),
            error => error.until().map_or(Self::Files(error), Self::Again),
        }
    }
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(error) => Self::Files(error),
            Stop::Again(until) => Self::Again(until),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Status(Status::BADXDR)
    }
}

/// The current or the saved object.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) handle: Handle,
    /// The node in this turn, found with the rights of the caller. `None`: the handle is to be opened.
    pub(super) node: Option<Node>,
    /// The current state ID.
    pub(super) state: StateId,
}

/// The answer to a retransmitted request.
#[derive(Clone, Copy)]
pub(super) enum Kept {
    /// The reply in this slot.
    Reply(Slot),
    /// The failure of the second operation.
    Failed(u32, Status),
    /// An error, unless the request has one operation: the reply was not kept.
    Nothing,
}

/// The context of a COMPOUND.
pub(super) struct Compound {
    pub(super) current: Option<Place>,
    pub(super) saved: Option<Place>,
    /// The session of its SEQUENCE.
    pub(super) session: Option<Session>,
    /// The slot that it holds.
    pub(super) held: Option<Held>,
    pub(super) kept: Option<Kept>,
    /// The file of a READ whose data a job reads.
    pub(super) fetched: Option<Pin>,
    /// The WRITE whose data is being stored.
    pub(super) storing: Option<Writing>,
    /// The user and groups of the call.
    pub(super) caller: Caller,
    /// The group of addresses of the peer, while data of a WRITE is being stored.
    pub(super) group: u32,
    /// True if the stream was read up to the next operation: the call is not passed from its start again.
    pub(super) is_amid: bool,
    /// The record that a job writes: its place in the file.
    pub(super) saving: Option<u32>,
    /// Number of operations, and of those that were carried out.
    pub(super) count: u32,
    pub(super) done: u32,
    /// Longest reply (bytes), with the RPC header.
    pub(super) reply_bytes_max: u32,
    /// Offset of the next operation in the arguments that are passed next.
    pub(super) read: usize,
    /// Length of the results that are written (bytes).
    pub(super) written: usize,
    /// The kind of change that the reply reports as durable.
    pub(super) promise: Promise,
    /// The first operation that does: its index, times 2^18, and the offset of its result after the record mark (words).
    pub(super) promised: u32,
}

impl Compound {
    /// The context of a new call.
    pub(super) fn of(call: &Call<'_>) -> Self {
        let mut compound = Self {
            current: None,
            saved: None,
            session: None,
            held: None,
            kept: None,
            fetched: None,
            storing: None,
            caller: Caller::ANONYMOUS,
            group: 0,
            is_amid: false,
            saving: None,
            count: 0,
            done: 0,
            reply_bytes_max: u32::MAX,
            read: 0,
            written: 0,
            promise: Promise::Nothing,
            promised: 0,
        };
        set_caller(&mut compound.caller, call);
        compound
    }
}

/// A call of COMPOUND while it is carried out.
pub(super) struct Turn<'t, 'a, 'c, 'o> {
    pub(super) tables: Tables,
    pub(super) connections: Connections,
    /// The lock of the tables, if other servers use them too.
    pub(super) lock: Option<&'static dyn ServerLock>,
    /// The file of records, if there is one.
    pub(super) records: Option<FileId>,
    pub(super) cx: &'t mut Cx<'c>,
    pub(super) call: &'t Call<'a>,
    pub(super) args: &'t mut Reader<'a>,
    pub(super) reply: &'t mut Writer<'o>,
    pub(super) compound: &'t mut Compound,
    pub(super) connection: Connection,
    /// Length of the arguments that are passed (bytes).
    pub(super) all_bytes: u32,
    /// Length of the arguments that have not arrived yet (bytes); `None` if further fragments follow.
    pub(super) follows: Option<u32>,
    pub(super) patience: Patience,
    pub(super) terms: &'t Terms,
    /// The READ at the end of the COMPOUND, if its data follows the rest of the reply.
    pub(super) sending: &'t mut Option<Phase>,
    /// Position in the reply of the RPC header.
    pub(super) start: usize,
    /// Position in the reply of the result of the current operation.
    pub(super) at: usize,
    /// True if another server may carry out what this one has begun.
    pub(super) is_kept: bool,
    /// The COMPOUNDs that wait, or space for them.
    pub(super) waiting: &'t Slots<Option<Compound>>,
}

/// Length of the RPC header of a reply (bytes).
pub(super) const HEADER_BYTES: usize = 24;
/// Longest part of a reply (bytes), with its RPC header, that is held while the COMPOUND waits. After a longer one, an operation
/// that would wait is DELAY.
const HELD_BYTES_MAX: usize = COMPOUND_HELD_BYTES - MARK_BYTES;

impl Turn<'_, '_, '_, '_> {
    /// Returns true if the COMPOUND may wait at the current operation: there is space for its context and for its results.
    pub(super) fn may_wait(&self) -> bool {
        let has_place = !self.waiting.is_full() || self.waiting.iter().any(Option::is_none);
        has_place && self.at <= self.start + HELD_BYTES_MAX
    }

    /// Returns true if the COMPOUND may wait for data from its peer. No group of addresses has more of these than places are free.
    pub(super) fn may_store(&mut self) -> bool {
        self.compound.group = self.group();
        let own = self.compound.group;
        let stores = |waiting: &&Compound| waiting.storing.is_some() && waiting.group == own;
        let count = self.waiting.iter().flatten().filter(stores).count();
        let free = self.waiting.count() - self.waiting.iter().flatten().count();
        count < free && self.may_wait()
    }

    /// Fails unless the output has space for `len` bytes, or for as many as the reply may still have.
    pub(super) fn need_space(&mut self, len: usize) -> Done {
        let used = self.reply.position() - self.start;
        let most = COMPOUND_REPLY_BYTES.saturating_sub(used);
        match self.reply.space().len() < len.min(most) {
            true => Err(Fault::Again(Until::Output)),
            false => Ok(()),
        }
    }

    /// Checks that the reply, with `more` bytes, is not longer than the session allows.
    pub(super) fn check_length(&self, more: usize) -> Status {
        let sent = self.sending.as_ref().map_or(0, Phase::len);
        let len = self.reply.position() - self.start + sent.next_multiple_of(4) as usize + more;
        if self.reply.written().is_some() && len <= self.compound.reply_bytes_max as usize {
            return Status::OK;
        }
        match &self.compound.held {
            Some(held) if held.keeps() => Status::REP_TOO_BIG_TO_CACHE,
            _ => Status::REP_TOO_BIG,
        }
    }

    /// The current object.
    pub(super) fn object(&mut self) -> Result<Node, Fault> {
        let current = self.compound.current.as_mut();
        let current = current.ok_or(Status::NOFILEHANDLE)?;
        if let Some(node) = current.node {
            return Ok(node);
        }
        let (handle, caller) = (current.handle, &self.compound.caller);
        let node = self.cx.vfs.open(handle.bytes(), caller, &self.cx.peer)?;
        current.node = Some(node);
        Ok(node)
    }

    /// The current object and its attributes.
    pub(super) fn object_with_attr(&mut self) -> Result<(Node, Attr), Fault> {
        let node = self.object()?;
        Ok((node, self.cx.vfs.attr(node)?))
    }

    /// The current object and its attributes. Fails unless it is a regular file.
    pub(super) fn regular(&mut self) -> Result<(Node, Attr), Fault> {
        let (node, attr) = self.object_with_attr()?;
        check_regular(attr.kind)?;
        Ok((node, attr))
    }

    /// Length of the request (bytes), as far as it is known.
    pub(super) fn request_bytes(&self) -> u32 {
        self.all_bytes.saturating_add(self.follows.unwrap_or(0))
    }

    /// A hash of the rest of the request, and of its user.
    pub(super) fn hash(&self) -> u32 {
        let uid = self.call.credential.map_or(0, |credential| credential.uid);
        let start = uid ^ self.compound.count.rotate_left(16);
        hash(start, self.args.rest()) | 1
    }
}

/// Checks that an object of this kind has contents.
pub(super) const fn check_regular(kind: ObjectType) -> Result<(), Status> {
    match kind {
        ObjectType::Regular => Ok(()),
        ObjectType::Directory => Err(Status::ISDIR),
        ObjectType::SymbolicLink => Err(Status::SYMLINK),
        _ => Err(Status::WRONG_TYPE),
    }
}
