//! NFS version 3: the procedures. RFC 1813 section 3.3.
//!
//! Every procedure but NULL begins with a handle, and nearly every reply carries that object's attributes: both are handled here.
//! Neither attributes nor names are cached between requests.

use super::connections::Connections;
use super::drc::DuplicateRequestCache;
use super::rpc::Request;
use super::turns::Turns;
use super::{Cx, Order};
use crate::config::{
    CREATED_BYTES, HAS_SERVE, READ_BYTES_MAX, READ_INLINE_BYTES, READ_INLINE_TIME, REPLY_HEAD_BYTES,
};
use crate::event;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::{Attr, Caller, Detail, FsError, FsResult, Name, Node, ObjectType};
use crate::wire::Malformed;
use crate::wire::nfs3::{HANDLE_BYTES_MAX, Procedure, Status, VERIFIER_BYTES, VERSION};
use crate::wire::rpc::{Call, Reject};
use core::sync::atomic::Ordering;

mod about;
mod attributes;
mod change;
mod directory;
mod groups;
mod promises;
mod read;
mod status;
mod write;

pub use super::service::Promise;
use attributes::{post_op, pre_op};
pub(super) use promises::{fail, mark_promise, settle};
pub(super) use write::Writing;

/// The reason why a procedure failed.
enum Fault {
    /// An error of the file system, which becomes a status.
    Files(FsError),
    /// The guard of a SETATTR does not match the object's ctime.
    NotSynchronous,
    /// MKNOD cannot create an object of this kind.
    BadType,
    /// Not even one entry fits into the client's count.
    TooSmall,
    /// The arguments did not parse.
    Malformed,
    /// The results need an empty output buffer. Nothing was done yet.
    NeedOutput,
}

impl From<FsError> for Fault {
    fn from(error: FsError) -> Self {
        Self::Files(error)
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The result of a call whose arguments parsed.
pub(super) enum Outcome {
    /// The reply is written. If it contains a procedure, the reply must not be sent before a sync of what that procedure changed.
    Reply(Option<Procedure>),
    /// The reply needs an empty output buffer. Nothing was done yet.
    Blocked,
    /// A READ. With [`Order::Send`] the reply's head is written and the driver sends the data; with [`Order::Read`] the call is
    /// answered once its bytes are in memory. Any call: with [`Order::Wait`] it is answered once a disk has read something.
    Order(Order),
    /// A WRITE or COMMIT, now in [`Nfs::begun`]. It is answered when its data is stored.
    Write,
    /// The call must not be answered: a CALLIT of the portmapper that failed.
    Silence,
}

/// The state of a connection between two calls of the engine.
#[derive(Debug)]
pub(super) enum Phase {
    /// No call is in progress.
    Idle,
    /// The driver sends a READ's data; then this number of padding bytes is due.
    Sending(u8),
    /// A WRITE or COMMIT that is not yet answered.
    Writing(Writing),
}

/// An object and its attributes.
#[derive(Debug)]
#[repr(C)]
struct Object {
    node: Node,
    attr: Attr,
}

/// The state of NFS that all connections share.
pub(super) struct Nfs {
    /// The write verifier, incremented whenever unstable data may be lost. If other servers run, it keeps its first value, and
    /// clients get its sum with [`Turns::loss_count`].
    verifier: u64,
    /// The lock shared with other servers of the same files, if there are any.
    turns: Option<&'static dyn Turns>,
    create_verifiers: change::CreateVerifiers,
    /// The file's attributes before the WRITE in progress; `None` once another client may have changed the file.
    wcc_attr: Option<write::WccAttr>,
    /// Until this time, READs are limited to [`READ_INLINE_BYTES`], because sendfile failed for a longer one.
    reads_inline_until: Instant,
    /// The WRITE or COMMIT of the call in hand.
    pub(super) begun: Option<Writing>,
    /// True if a job has just read the bytes of the next READ into memory.
    pub(super) is_in_memory: bool,
    /// The strongest kind of change that the replies written since the last `take_promise` report as durable.
    pub(super) promise: Promise,
    /// True once a client asked for version 4.
    has_reported_version: bool,
    /// The replies to calls that are not idempotent.
    pub(super) drc: DuplicateRequestCache,
}

/// Returns true if a call may be carried out twice. Replies to other calls are kept in the duplicate request cache.
pub(super) fn is_idempotent(call: &Call<'_>) -> bool {
    call.program != crate::wire::nfs3::PROGRAM
        || call.version != VERSION
        || !Procedure::new(call.procedure).is_some_and(changes)
}

/// Returns true if a procedure changes attributes or names.
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
        turns: Option<&'static dyn Turns>,
        connections: Connections,
    ) -> Self {
        let (created, replies) = memory.split_at_mut(CREATED_BYTES.min(memory.len()));
        Self {
            drc: DuplicateRequestCache::new(replies, is_kept, connections),
            verifier: u64::from_be_bytes(verifier),
            turns,
            create_verifiers: change::CreateVerifiers::new(created),
            wcc_attr: None,
            reads_inline_until: Instant::from_ms(0),
            begun: None,
            is_in_memory: false,
            has_reported_version: false,
            promise: Promise::Nothing,
        }
    }

    /// Called when sendfile could not send the bytes that a READ's head had announced. For [`READ_INLINE_TIME`], READs are short:
    /// their data is read before the head is written, so that a client that tries again gets the error, and sees which bytes are
    /// affected.
    pub(super) fn read_failed(&mut self, now: Instant) {
        self.reads_inline_until = now.after(READ_INLINE_TIME);
    }

    /// The lock and counter shared with the other servers of the same files. `None` if this is the only server.
    pub(super) fn turns(&self) -> Option<&'static dyn Turns> {
        self.turns.filter(|_| HAS_SERVE)
    }

    /// Acquires the lock for a call that changes names or attributes. Before that, looks the name up, so that the kernel reads it
    /// from the disk now and other servers do not wait for a slow disk.
    pub(super) fn acquire_turn(&self, cx: &mut Cx<'_>, request: &Request<'_, '_>) {
        let Some(turns) = self.turns() else { return };
        let mut args = request.args.clone();
        let handle = args.opaque(HANDLE_BYTES_MAX);
        let mut wcc_data = change::WccData::new(Procedure::Null);
        if let Some(credential) = &request.call.credential {
            wcc_data.set_caller(credential);
        }
        if let Ok(node) = cx.vfs.open(handle, &wcc_data.caller, &cx.peer)
            && let Ok(name) = Name::new(args.opaque(directory::NAME_BYTES_MAX))
        {
            cx.vfs.has_name(node, name);
        }
        turns.acquire();
    }

    /// Changes the write verifier, because unstable data may be lost: clients send that data again (RFC 1813 section 3.3.7).
    pub(super) fn break_promises(&mut self) {
        match self.turns() {
            Some(turns) => _ = turns.loss_count().fetch_add(1, Ordering::Relaxed),
            None => self.verifier = self.verifier.wrapping_add(1),
        }
    }

    /// The current write verifier.
    fn verifier(&self) -> u64 {
        let loss_count = self
            .turns()
            .map(|turns| turns.loss_count().load(Ordering::Relaxed));
        self.verifier.wrapping_add(loss_count.unwrap_or(0).into())
    }

    /// Reports the first client that asks for version 4: clients that are set to it do not mount.
    fn report_version(&mut self, cx: &mut Cx<'_>, version: u32) {
        if version == 4 && !core::mem::replace(&mut self.has_reported_version, true) {
            let advice = text!("mount with vers=3 (macOS: never vers=4)");
            cx.report(
                text!("asks for NFS version 4, which is not served"),
                b"",
                advice,
            );
        }
    }

    /// Answers one call.
    #[inline(never)]
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Outcome, Reject> {
        if request.call.version != VERSION {
            self.report_version(cx, request.call.version);
            return Err(Reject::Version(VERSION as u8, VERSION as u8));
        }
        let procedure = Procedure::new(request.call.procedure).ok_or(Reject::Procedure)?;
        if procedure == Procedure::Null {
            return Ok(Outcome::Reply(None));
        }
        let handle = request.args.opaque(HANDLE_BYTES_MAX);
        request.args.check()?;
        let start = request.reply.position();
        let mut wcc_data = change::WccData::new(procedure);
        if let Some(credential) = &request.call.credential {
            wcc_data.set_caller(credential);
        }
        let object = open(cx, handle, &wcc_data.caller);
        let outcome = match &object {
            Err(error) => Err(Fault::Files(*error)),
            Ok(object) if changes(procedure) => {
                let changed = self.change(cx, request, object, &mut wcc_data);
                changed.map(|()| Outcome::Reply(None))
            }
            Ok(object) => self.carry_out(procedure, cx, request, object),
        };
        let status = match outcome {
            Ok(outcome) if !changes(procedure) => return Ok(outcome),
            Ok(_) => Status::Ok,
            Err(Fault::NeedOutput) => return Ok(Outcome::Blocked),
            Err(Fault::Files(error)) if error.waits() => return Ok(Outcome::Order(Order::Wait)),
            Err(Fault::Malformed) => return Err(Reject::Arguments),
            Err(Fault::Files(error)) => {
                if let (FsError::Access, Ok(object)) = (error, &object) {
                    groups::report_refusal(cx, &request.call, &object.attr);
                }
                error_status(cx, error)
            }
            Err(Fault::NotSynchronous) => Status::NotSynchronous,
            Err(Fault::BadType) => Status::BadType,
            Err(Fault::TooSmall) => Status::TooSmall,
        };
        let reply = &mut *request.reply;
        reply.truncate(start);
        reply.u32(status as u32);
        let object = object.as_ref().ok();
        if changes(procedure) {
            wcc_data.emit(cx, object, reply);
        } else if procedure != Procedure::GetAttr {
            let attr = object.map(|object| &object.attr);
            if writes(procedure) {
                pre_op(reply, attr);
            }
            post_op(reply, attr);
        }
        Ok(Outcome::Reply(changes(procedure).then_some(procedure)))
    }

    /// Carries out a procedure that changes neither attributes nor names.
    #[inline(never)]
    fn carry_out(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        object: &Object,
    ) -> Result<Outcome, Fault> {
        if writes(procedure) {
            return self.write(procedure, cx, request, object);
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
                        let max = match cx.now < self.reads_inline_until {
                            true => READ_INLINE_BYTES,
                            false => READ_BYTES_MAX,
                        };
                        let is_in_memory = core::mem::take(&mut self.is_in_memory);
                        return read::read(cx, request, object, max, is_in_memory);
                    }
                    Procedure::Access => about::access(cx, request, object)?,
                    Procedure::ReadLink => read::read_link(cx, request, object)?,
                    Procedure::FsInfo => about::fs_info(reply),
                    _ => about::statfs(procedure, cx, request, object)?,
                }
            }
        }
        Ok(Outcome::Reply(None))
    }
}

/// Maps an error to its status. Reports errors that need an administrator.
#[inline(never)]
pub(super) fn error_status(cx: &mut Cx<'_>, error: FsError) -> Status {
    let event = match error {
        FsError::Io => event::DISK_FAILED,
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

/// Fails unless the object is a regular file.
fn check_regular(object: &Object) -> FsResult<()> {
    match object.attr.kind {
        ObjectType::Regular => Ok(()),
        ObjectType::Directory => Err(FsError::IsDirectory),
        _ => Err(FsError::Invalid),
    }
}

const _: () = assert!(crate::config::LINK_BYTES_MAX + 256 < REPLY_HEAD_BYTES);
