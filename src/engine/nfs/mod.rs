//! NFS version 3: the procedures. RFC 1813 section 3.3.
//!
//! Every procedure but NULL begins with a handle, and nearly every reply carries that object's attributes: both are handled here.
//! Neither attributes nor names are cached between requests.

use super::Cx;
use super::rpc::connections::{Connection, Connections};
use super::rpc::drc::{DuplicateRequestCache, Key, Lookup, NewCall};
use super::rpc::lock::ServerLock;
use super::rpc::regions::Regions;
use super::rpc::{Answer, Reply, Request, Unanswered};
use crate::config::{
    HAS_SERVE, READ_BYTES_MAX, READ_INLINE_BYTES, READ_INLINE_TIME, REPLY_HEAD_BYTES,
};
use crate::event;
use crate::stats::{Family, Figure, Outcome};
use crate::text::Text;
use crate::time::Instant;
use crate::vfs::{Attr, Caller, Detail, FsError, FsResult, Name, Node, ObjectType, Peer};
use crate::wire::nfs3::{HANDLE_BYTES_MAX, Procedure, Status, VERIFIER_BYTES};
use crate::wire::rpc::{Call, Reject};
use crate::wire::{Malformed, Reader};
use core::sync::atomic::Ordering;

mod about;
mod attributes;
mod change;
mod directory;
mod groups;
mod phase;
mod promises;
mod read;
mod status;
mod write;

use super::service::Promise;
pub(super) use about::{LINK_COUNT_MAX, rights};
pub(super) use attributes::{kind_number, kind_of};
use attributes::{post_op, pre_op, wcc_attr};
use change::WccData;
pub(super) use phase::Phase;
pub(super) use promises::{FAILURE_BYTES_MAX, emit_failure};
pub(super) use write::{Stability, Writing};

/// The reason why a procedure failed.
enum ProcedureError {
    /// An error of the file system, which becomes a status.
    Files(FsError),
    /// An error of the protocol.
    Status(Status),
    /// The call is not answered.
    Unanswered(Unanswered),
}

impl From<FsError> for ProcedureError {
    fn from(error: FsError) -> Self {
        Self::Files(error)
    }
}

impl From<crate::vfs::Stop> for ProcedureError {
    fn from(stop: crate::vfs::Stop) -> Self {
        match stop {
            crate::vfs::Stop::Failed(error) => Self::Files(error),
            crate::vfs::Stop::Again(until) => Self::Unanswered(Unanswered::Again(until)),
        }
    }
}

impl From<Malformed> for ProcedureError {
    fn from(why: Malformed) -> Self {
        Self::Unanswered(why.into())
    }
}

/// An object and its attributes.
#[derive(Debug)]
struct Object {
    node: Node,
    attr: Attr,
}

/// The state of NFS that all connections share.
pub(super) struct Nfs {
    /// The write verifier, incremented whenever unstable data may be lost. If other servers run, it keeps its first value, and
    /// clients get its sum with [`ServerLock::loss_count`].
    verifier: u64,
    /// The lock shared with other servers of the same files, if there are any.
    lock: Option<&'static dyn ServerLock>,
    create_verifiers: change::CreateVerifiers,
    /// The connection that was served last, and when.
    served: (Connection, Instant),
    /// Number of times that `served` changed. While it stays the same, no other client has changed a file.
    change_count: u32,
    /// Until this time, READs are limited to [`READ_INLINE_BYTES`], because sendfile failed for a longer one.
    reads_inline_until: Instant,
    /// The replies to calls that are not idempotent.
    pub(super) drc: DuplicateRequestCache,
}

/// Returns true if a procedure changes attributes or names. Its results are kept in the duplicate request cache.
const fn changes(procedure: Procedure) -> bool {
    matches!(
        procedure,
        Procedure::SetAttr
            | Procedure::Create
            | Procedure::MkDir
            | Procedure::SymLink
            | Procedure::MkNod
            | Procedure::Remove
            | Procedure::RmDir
            | Procedure::Rename
            | Procedure::Link
    )
}

/// Returns true for WRITE and COMMIT, which are answered when their data is stored.
const fn writes(procedure: Procedure) -> bool {
    matches!(procedure, Procedure::Write | Procedure::Commit)
}

impl Nfs {
    pub(super) fn new(
        verifier: [u8; VERIFIER_BYTES],
        memory: &'static mut [u8],
        is_kept: bool,
        lock: Option<&'static dyn ServerLock>,
        connections: Connections,
    ) -> Self {
        let Regions { created, replies } = Regions::open(memory, lock.filter(|_| HAS_SERVE));
        Self {
            drc: DuplicateRequestCache::new(replies, is_kept, connections),
            verifier: u64::from_be_bytes(verifier),
            lock,
            create_verifiers: change::CreateVerifiers::new(created),
            served: (Connection::NONE, Instant::NEVER),
            change_count: 0,
            reads_inline_until: Instant::from_ms(0),
        }
    }

    /// Called before the calls of a connection are answered.
    pub(super) fn serve(&mut self, connection: Connection, now: Instant) {
        if core::mem::replace(&mut self.served, (connection, now)) != (connection, now) {
            self.change_count = self.change_count.wrapping_add(1);
        }
    }

    /// Called when sendfile could not send the bytes that a READ's head had announced. For [`READ_INLINE_TIME`], READs are short:
    /// their data is read before the head is written, so that a client that tries again gets the error, and sees which bytes are
    /// affected.
    pub(super) fn read_failed(&mut self, now: Instant) {
        self.reads_inline_until = now.after(READ_INLINE_TIME);
    }

    /// Largest READ (bytes) now.
    pub(super) fn read_bytes_max(&self, now: Instant) -> u32 {
        match now < self.reads_inline_until {
            true => READ_INLINE_BYTES,
            false => READ_BYTES_MAX,
        }
    }

    /// The lock and counter shared with the other servers of the same files. `None` if this is the only server.
    pub(super) fn lock(&self) -> Option<&'static dyn ServerLock> {
        self.lock.filter(|_| HAS_SERVE)
    }

    /// Acquires the lock for a call that changes names or attributes. Before that, looks the name up, so that the kernel reads it
    /// from the disk now and other servers do not wait for a slow disk.
    fn acquire_lock(&self, cx: &mut Cx<'_>, request: &Request<'_, '_>) {
        let Some(lock) = self.lock() else { return };
        let mut args = request.args.clone();
        let handle = args.opaque(HANDLE_BYTES_MAX);
        let mut caller = Caller::default();
        set_caller(&mut caller, &request.call);
        if let Ok(node) = cx.vfs.open(handle, &caller, &cx.peer)
            && let Ok(name) = Name::new(args.opaque(directory::NAME_BYTES_MAX))
        {
            cx.vfs.has_name(node, name);
        }
        lock.acquire();
    }

    /// Changes the write verifier, because unstable data may be lost: clients send that data again (RFC 1813 section 3.3.7).
    pub(super) fn break_promises(&mut self) {
        match self.lock() {
            Some(lock) => _ = lock.loss_count().fetch_add(1, Ordering::Relaxed),
            None => self.verifier = self.verifier.wrapping_add(1),
        }
    }

    /// Replaces the cached results `old` of a call by `new`.
    pub(super) fn replace_reply(&mut self, peer: &Peer, call: [u32; 2], old: &[u8], new: &[u8]) {
        self.with_tables(|nfs| nfs.drc.replace(peer, call, old, new));
    }

    /// Removes the replies that `connection` got last from the duplicate request cache.
    pub(super) fn forget_replies(&mut self, connection: Connection) {
        self.with_tables(|nfs| nfs.drc.forget(connection));
    }

    /// Calls `access`, which must not wait, with the lock of the tables that the servers share.
    fn with_tables<T>(&mut self, access: impl FnOnce(&mut Self) -> T) -> T {
        self.acquire_tables();
        let result = access(self);
        self.release_tables();
        result
    }

    #[inline(never)] // Six callers.
    fn acquire_tables(&self) {
        if let Some(lock) = self.lock() {
            lock.acquire_tables();
        }
    }

    #[inline(never)] // Six callers.
    fn release_tables(&self) {
        if let Some(lock) = self.lock() {
            lock.release_tables();
        }
    }

    /// The current write verifier.
    pub(super) fn verifier(&self) -> u64 {
        let loss_count = self
            .lock()
            .map(|lock| lock.loss_count().load(Ordering::Relaxed));
        self.verifier.wrapping_add(loss_count.unwrap_or(0).into())
    }

    /// Answers one call, not NULL. The reply's header is written. A call that goes on leaves its phase in `begun`.
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        begun: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        let procedure = Procedure::new(request.call.procedure).ok_or(Reject::Procedure)?;
        if !changes(procedure) {
            return self.carry_out(procedure, None, cx, request, begun);
        }
        self.acquire_lock(cx, request);
        let answer = self.change_once(procedure, cx, request, begun);
        if let Some(lock) = self.lock() {
            lock.release();
        }
        answer
    }

    /// Carries out a call that changes names or attributes. If it is a retransmission, writes the results of the earlier one, unless
    /// the export's rules refuse the peer by now: the results may contain a handle.
    fn change_once(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        begun: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        let handle = request.args.clone().opaque(HANDLE_BYTES_MAX);
        if cx.vfs.check_peer(handle, &cx.peer).is_err() {
            return self.carry_out(procedure, None, cx, request, begun);
        }
        let from = (&cx.peer, request.connection);
        let key = Key::new(from, cx.now, &request.call, request.args.rest());
        let start = request.reply.position();
        let known = self.with_tables(|nfs| match nfs.drc.lookup(key) {
            Lookup::New(call) => Ok(call),
            Lookup::Reply {
                results,
                is_of_other,
            } => {
                request.reply.put(results);
                Err(is_of_other)
            }
        });
        let call = match known {
            Ok(call) => call,
            Err(is_of_other) => {
                cx.stats.add(Family::Rpc, Figure::Duplicates, 1);
                if is_of_other {
                    cx.vfs.stage_export(handle);
                }
                return Ok(changed(Reader::new(request.reply.since(start)).u32()));
            }
        };
        let answer = self.carry_out(procedure, Some(&call), cx, request, begun)?;
        self.with_tables(|nfs| nfs.drc.insert(&call, request.reply.since(start)));
        Ok(answer)
    }

    /// Carries out a call and writes its results. `call` is its place in the duplicate request cache.
    fn carry_out(
        &mut self,
        procedure: Procedure,
        call: Option<&NewCall>,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        begun: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        let handle = request.args.opaque(HANDLE_BYTES_MAX);
        request.args.check()?;
        let start = request.reply.position();
        let mut wcc_data = WccData::new(procedure, handle, call);
        set_caller(&mut wcc_data.caller, &request.call);
        let object = open(cx, handle, &wcc_data.caller);
        let object = object.as_ref().map_err(|error| *error);
        let status = match object {
            Err(error) => Err(error.into()),
            Ok(object) if changes(procedure) => self.change(cx, request, object, &mut wcc_data),
            Ok(object) => match self.look_up(procedure, cx, request, object, begun) {
                Ok(reply) => {
                    return Ok(Answer {
                        reply,
                        ..Answer::DONE
                    });
                }
                Err(fault) => Err(fault),
            },
        };
        let object = object.ok();
        let status = match status {
            Ok(()) => Status::Ok,
            Err(ProcedureError::Unanswered(stop)) => return Err(stop),
            Err(ProcedureError::Status(status)) => status,
            Err(ProcedureError::Files(error)) => {
                // A look-up of host names may take long. The client repeats a call that got JUKEBOX, after five seconds.
                if error != FsError::AwaitsNames
                    && let Some(until) = error.until()
                {
                    return Err(Unanswered::Again(until));
                }
                if let (FsError::Access, Some(object)) = (error, object) {
                    groups::report_refusal(cx, &request.call, &object.attr);
                }
                error_status(cx, error)
            }
        };
        let reply = &mut *request.reply;
        reply.truncate(start);
        reply.u32(status as u32);
        if changes(procedure) {
            wcc_data.emit(cx, object, reply);
            return Ok(changed(status as u32));
        }
        let attr = object.map(|object| &object.attr);
        if writes(procedure) {
            pre_op(reply, attr.map(wcc_attr));
        }
        if procedure != Procedure::GetAttr {
            post_op(reply, attr);
        }
        Ok(Answer::of(Outcome::Failed))
    }

    /// Carries out a procedure that changes neither attributes nor names, and writes its successful results.
    fn look_up(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        object: &Object,
        begun: &mut Option<Phase>,
    ) -> Result<Reply, ProcedureError> {
        if writes(procedure) {
            let writing = self.write(procedure, cx, request, object)?;
            *begun = Some(Phase::Writing(writing));
            return Ok(Reply::Later);
        }
        let reply = &mut *request.reply;
        reply.u32(Status::Ok as u32);
        match procedure {
            Procedure::GetAttr => attributes::emit(reply, &object.attr),
            Procedure::Lookup => directory::lookup(cx, request, object)?,
            _ => {
                post_op(reply, Some(&object.attr));
                match procedure {
                    Procedure::ReadDir => directory::list(cx, request, object, Detail::Names)?,
                    Procedure::ReadDirPlus => {
                        directory::list(cx, request, object, Detail::Objects)?;
                    }
                    Procedure::Read => {
                        let max = self.read_bytes_max(cx.now);
                        return read::read(cx, request, object, max, begun);
                    }
                    Procedure::Access => about::access(cx, request, object)?,
                    Procedure::ReadLink => read::read_link(cx, request, object)?,
                    Procedure::FsInfo => about::fs_info(reply),
                    _ => about::statfs(procedure, cx, request, object)?,
                }
            }
        }
        Ok(Reply::Whole)
    }
}

/// The answer to a call that changes names or attributes. Its reply waits for a sync even if it reports an error.
const fn changed(status: u32) -> Answer {
    Answer {
        promise: Promise::Names,
        ..Answer::of(Outcome::of_error(status != Status::Ok as u32))
    }
}

/// Maps an error to its status. Reports errors that need an administrator.
pub(super) fn error_status(cx: &mut Cx<'_>, error: FsError) -> Status {
    let event = match error {
        FsError::Io | FsError::Cut => {
            cx.report_failure(error);
            return error.into();
        }
        FsError::NoSpace => event::DISK_FULL,
        FsError::OtherFileSystem => event::OTHER_FILE_SYSTEM,
        _ => return error.into(),
    };
    cx.report(event, b"", Text::NOTHING);
    error.into()
}

/// Resolves a handle to its object.
fn open(cx: &mut Cx<'_>, handle: &[u8], caller: &Caller) -> FsResult<Object> {
    let node = cx.vfs.open(handle, caller, &cx.peer)?;
    let attr = cx.vfs.attr(node)?;
    Ok(Object { node, attr })
}

/// Sets the caller from AUTH_SYS. Without it, the caller has no UID.
pub(super) fn set_caller(caller: &mut Caller, call: &Call<'_>) {
    (caller.uid, caller.gid) = (Caller::NOBODY, Caller::NOBODY);
    if let Some(credential) = &call.credential {
        (caller.uid, caller.gid) = (credential.uid, credential.gid);
        for group in credential.groups() {
            let _ = caller.groups.push(group);
        }
    }
}

/// Fails unless the object is a regular file.
fn check_regular(object: &Object) -> FsResult<()> {
    match object.attr.kind {
        ObjectType::Regular => Ok(()),
        ObjectType::Directory => Err(FsError::IsDirectory),
        _ => Err(FsError::Invalid),
    }
}

const _: () = assert!(crate::config::LINK_BYTES_MAX + 256 < REPLY_HEAD_BYTES);
