//! The RPC programs: NFS, MOUNT and the portmapper. RFC 5531.
//!
//! Replies to the calls in one input are written to one output. Calls that are not idempotent go through the duplicate request
//! cache.

use super::Cx;
use super::mount::{self, Mounts};
use super::nfs::{self, Answer, Nfs, Promise, Writing};
use super::portmap::{self as mappings, Mappings};
use super::rpc::connections::{Connection, Connections};
use super::rpc::lock::ServerLock;
use super::rpc::{RecordCursor, Request, Unanswered, patch_mark};
use super::service::{Io, Moved, Next, Progress, Transfer, Way};
use crate::config::REPLY_HEAD_BYTES;
use crate::event::{Level, Line};
use crate::log;
use crate::mem::Ends as _;
use crate::stats::{Operation, Outcome};
use crate::text::text;
#[cfg(test)]
use crate::vfs::Peer;
use crate::vfs::{FsResult, Patience, Pin, Tree};
use crate::wire::nfs3::{self, Procedure, VERIFIER_BYTES};
use crate::wire::portmap;
use crate::wire::rpc::{Call, MARK_BYTES, Reject, emit_reply};
use crate::wire::xdr::padding;
use crate::wire::{self, Reader, Writer};
use core::net::{IpAddr, Ipv6Addr};

/// The programs that one socket serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(align(4))] // Copied as one word.
pub struct ProgramSet {
    /// NFS.
    pub nfs: bool,
    /// MOUNT.
    pub mount: bool,
    /// The portmapper.
    pub portmap: bool,
}

/// The programs and their shared state.
#[repr(C)] // Most-used fields first, where short instructions reach them.
pub struct Programs {
    nfs: Nfs,
    /// The portmapper's table.
    pub mappings: Mappings,
    mounts: Mounts,
    /// True after a failed sync, until one succeeds. Meanwhile the engine stops after each reply that must wait for a sync, so that
    /// no two replies share a sync and each request gets its own result.
    syncs_each: bool,
}

impl Programs {
    /// Creates the programs. `verifier` is the write verifier and differs for every start. `memory` of
    /// [`SHARED_BYTES`](crate::config::SHARED_BYTES) is zeros or an earlier server's; it holds the duplicate request cache and the
    /// verifiers of exclusive CREATEs. `is_kept`: other servers use that memory too, either now (synchronised by `lock`) or after
    /// a restart. `connections` are those of all servers that use the memory.
    pub fn new(
        verifier: [u8; VERIFIER_BYTES],
        memory: &'static mut [u8],
        is_kept: bool,
        lock: Option<&'static dyn ServerLock>,
        connections: Connections,
    ) -> Self {
        Self {
            nfs: Nfs::new(verifier, memory, is_kept, lock, connections),
            mappings: Mappings::new(),
            mounts: Mounts::default(),
            syncs_each: false,
        }
    }

    /// A copy of `memory`, as left by a server that was killed after it carried out the call and before it stored the reply.
    #[cfg(test)]
    pub(super) fn left_begun(
        &self,
        peer: &Peer,
        call: &[u8],
        was_there: bool,
    ) -> &'static mut [u8] {
        let left = self.nfs.drc.left_begun(peer, call, was_there);
        [&[0; crate::config::CREATED_BYTES], &*left].concat().leak()
    }

    /// The open connections.
    #[cfg(test)]
    pub(super) const fn connections(&mut self) -> &mut Connections {
        &mut self.nfs.drc.connections
    }

    /// Makes the replies to a peer final after the sync that they waited for, whose result is `synced`. If the sync failed, they
    /// become errors, and the write verifier changes, so that all clients send unstable data again (RFC 1813 section 3.3.7).
    /// Returns the length of the replies (bytes).
    pub fn settle(&mut self, cx: &mut Cx<'_>, replies: &mut [u8], synced: FsResult<()>) -> usize {
        let mut len = replies.len();
        self.syncs_each = synced.is_err();
        if let Err(error) = synced {
            let lock = self.nfs.lock();
            if let Some(lock) = lock {
                lock.acquire();
            }
            self.break_promises();
            let status = nfs::error_status(cx, error);
            let drc = &mut self.nfs.drc;
            len = nfs::fail(replies, status, &mut |call, old, new| {
                drc.replace(&cx.peer, call, old, new);
                let [_, procedure] = call;
                cx.stats.called(nfs_operation(procedure), Outcome::Failed);
            });
            if let Some(lock) = lock {
                lock.release();
            }
        }
        nfs::settle(replies.head_mut(len), &mut |procedure, status| {
            let outcome = Outcome::of_error(status != 0);
            cx.stats.called(nfs_operation(procedure), outcome);
        });
        len
    }

    /// Sets the address at which the server listens, from which `stowaway check` of this host calls.
    pub const fn set_listener(&mut self, address: Ipv6Addr) {
        self.mounts.listener = address;
    }

    /// Removes an export that has ended from the mount list.
    pub fn end_export(&mut self, number: usize) {
        self.mounts.end(number);
    }

    /// Changes the write verifier, because unstable data may be lost.
    pub fn break_promises(&mut self) {
        self.nfs.break_promises();
    }
}

/// The state of a connection between two calls of the engine.
#[derive(Debug)]
enum Phase {
    /// No call is in progress.
    Idle,
    /// The driver sends a READ's data; then this number of padding bytes is due.
    Sending(u8),
    /// A job reads the data of a READ from this file. The call is passed again, and may then wait for the disk.
    Fetching(Pin),
    /// A WRITE or COMMIT that is not yet answered.
    Writing(Writing),
}

/// The state of one connection.
#[derive(Debug)]
#[repr(C)] // −40 bytes.
pub struct Session {
    phase: Phase,
    programs: ProgramSet,
    connection: Connection,
    /// The unread rest of the current record.
    record: RecordCursor,
    /// True if a reply to this connection may be in the duplicate request cache.
    has_changed: bool,
}

impl Session {
    /// Returns true if a call of this connection was to change names or attributes.
    pub const fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The patience of the next call. Releases the file of a READ whose data a job has read.
    fn patience(&mut self, vfs: &mut Tree) -> Patience {
        match core::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Fetching(file) => {
                vfs.unpin(file);
                Patience::Forever
            }
            _ => Patience::Now,
        }
    }

    /// Handles a call that is not answered now.
    ///
    /// # Errors
    /// The need for which the call is passed again, or the end of the connection.
    fn stop(&mut self, stop: Unanswered) -> Result<(), Next> {
        Err(match stop {
            Unanswered::Silence | Unanswered::Reject(_) => return Ok(()),
            Unanswered::Malformed => Next::Close(text!("not an RPC call")),
            Unanswered::Again(until) => until.into(),
            Unanswered::Fetch(id, file) => {
                self.phase = Phase::Fetching(file);
                Next::Until(id)
            }
        })
    }
}

const SHRUNK: Next = Next::Close(text!("a file was truncated during a read"));

impl Programs {
    /// Answers one call, or rejects it.
    ///
    /// # Errors
    /// The reason why the call is not answered; never [`Unanswered::Reject`].
    fn call(
        &mut self,
        programs: ProgramSet,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Answer, Unanswered> {
        let start = request.reply.position();
        let mut answer = match request.call.parse(&mut request.args) {
            Ok(()) => self.dispatch(programs, cx, request),
            Err(why) => Err(why.into()),
        };
        if answer.is_ok() && request.reply.written().is_none() {
            // Only a datagram's reply can overflow: a stream's output has space for every reply.
            answer = Err(Unanswered::Reject(Reject::System));
        }
        if answer.is_err() {
            request.reply.truncate(start);
        }
        if let Err(Unanswered::Reject(why)) = answer {
            report_refused(cx, &request.call, why);
            emit_reply(request.reply, request.call.xid, Err(why));
            answer = Ok(Answer::Reply(None));
        }
        // A reply with a promise is counted once that is kept.
        if let Ok(Answer::Reply(None)) = answer {
            let call = &request.call;
            let operation = Operation::rpc(call.program, call.procedure);
            let outcome = outcome(call, request.reply.since(start));
            cx.stats.called(operation, outcome);
        }
        answer
    }

    fn dispatch(
        &mut self,
        programs: ProgramSet,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Answer, Unanswered> {
        let call = &request.call;
        log::debug!(
            "call {=u32}.{=u32}.{=u32}",
            call.program,
            call.version,
            call.procedure
        );
        emit_reply(request.reply, call.xid, Ok(()));
        match call.program {
            nfs3::PROGRAM if programs.nfs => return self.nfs.answer(cx, request),
            crate::wire::mount::PROGRAM if programs.mount => {
                mount::answer(&mut self.mounts, cx, request)?;
            }
            portmap::PROGRAM if programs.portmap => {
                mappings::answer(&mut self.mappings, cx, request)?;
            }
            _ => return Err(Reject::Program.into()),
        }
        Ok(Answer::Reply(None))
    }

    /// Does one step: skips the rest of a record, continues a WRITE, or answers the next call. `promise` is that of the replies
    /// before. Returns what the step's reply reports as durable.
    ///
    /// # Errors
    /// The need for which the session stops here.
    #[inline(never)] // −251 bytes: one caller, whose frame stays small.
    fn step(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
        promise: Promise,
    ) -> Result<Promise, Next> {
        if matches!(session.phase, Phase::Idle) && !session.record.is_read() {
            session.record.skip(input)?;
            return Ok(Promise::Nothing);
        }
        let is_alone = self.syncs_each && promise != Promise::Nothing;
        if is_alone || reply.space().len() < REPLY_HEAD_BYTES {
            return Err(Next::Output);
        }
        match &mut session.phase {
            Phase::Idle | Phase::Fetching(_) => self.start_call(session, cx, input, reply),
            Phase::Writing(writing) if writing.holds_file() => {
                let record = &mut session.record;
                let promise = self.nfs.store(writing, record, cx, input, reply)?;
                session.phase = Phase::Idle;
                Ok(promise)
            }
            // Not called while a transfer is carried out.
            _ => Err(Next::Output),
        }
    }

    /// Answers the next call, or begins to.
    ///
    /// # Errors
    /// As [`Programs::step`].
    fn start_call(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<Promise, Next> {
        let mut record = RecordCursor::START;
        let mut joined = heapless::Vec::new();
        let mut ahead = Reader::new(input.rest());
        let packet = record.join(&mut ahead, &mut joined)?;
        let patience = session.patience(cx.vfs);
        let mark = reply.position();
        reply.u32(0);
        let mut request = Request {
            reply,
            args: Reader::new(packet),
            call: Call::default(),
            follows: record.last.then_some(record.left),
            reached: None,
            connection: session.connection,
            patience,
        };
        let answer = self.call(session.programs, cx, &mut request);
        let Request { args, reply, .. } = request;
        if !matches!(answer, Ok(Answer::Reply(_) | Answer::Send { .. })) {
            reply.truncate(mark);
        }
        let mut used = input.rest().len() - ahead.rest().len();
        let mut done = Ok(Promise::Nothing);
        match answer {
            Ok(Answer::Reply(promised)) => {
                patch_mark(reply, mark, 0);
                if let Some(procedure) = promised {
                    session.has_changed = true;
                    nfs::mark_promise(reply, mark, procedure);
                    done = Ok(Promise::Names);
                }
            }
            Ok(Answer::Send { file, offset, len }) => {
                let pad = padding(len as usize) as u8;
                patch_mark(reply, mark, len + u32::from(pad));
                session.phase = Phase::Sending(pad);
                done = Err(Next::Move(Transfer {
                    file,
                    offset,
                    len: len.into(),
                    way: Way::ToPeer,
                }));
            }
            Ok(Answer::Write(mut writing)) => {
                // The data in the packet was not read.
                let data = args.rest();
                if used == packet.len() + MARK_BYTES {
                    record.put_back(data.len());
                    used -= data.len();
                } else {
                    // The packet is a copy, joined from several fragments.
                    writing.write_joined(cx, data);
                }
                session.phase = Phase::Writing(writing);
            }
            Err(stop) => session.stop(stop)?,
        }
        input.take(used);
        session.record = record;
        done
    }

    /// Answers the calls in the input until `step` needs the driver.
    fn answer_calls(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        reply: &mut Writer<'_>,
    ) -> Progress {
        self.nfs.serve(session.connection, cx.now);
        let mut stream = Reader::new(input);
        let mut promise = Promise::Nothing;
        loop {
            match self.step(session, cx, &mut stream, reply, promise) {
                Ok(more) => promise = promise.max(more),
                Err(next) => {
                    let used = input.len() - stream.rest().len();
                    return Progress {
                        promise,
                        ..Progress::of(used, reply.position(), next)
                    };
                }
            }
        }
    }

    /// Answers the calls in the input, as far as the replies fit into the output.
    pub fn advance(&mut self, session: &mut Session, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        self.answer_calls(session, cx, io.input, &mut Writer::new(io.output))
    }

    /// Continues after a transfer: finishes the reply, or returns another transfer.
    pub fn moved(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        done: Moved,
        io: Io<'_>,
    ) -> Progress {
        let mut reply = Writer::new(io.output);
        match &mut session.phase {
            Phase::Sending(pad) => {
                done.transfer.abandon(cx.vfs);
                let outcome = Outcome::of_error(done.result.is_err());
                cx.stats
                    .called(nfs_operation(Procedure::Read as u32), outcome);
                if done.result.is_err() {
                    // The reply's head, with the count, is already sent, so the error can be reported only by closing the
                    // connection.
                    self.nfs.read_failed(cx.now);
                    return Progress::of(0, 0, SHRUNK);
                }
                reply.pad(4 - usize::from(*pad));
                session.phase = Phase::Idle;
            }
            Phase::Writing(writing) => writing.resume(&mut session.record, done),
            Phase::Idle | Phase::Fetching(_) => {
                done.transfer.abandon(cx.vfs);
                return Progress::CLOSED;
            }
        }
        self.answer_calls(session, cx, io.input, &mut reply)
    }

    /// The session of a new connection, the caller's number `slot`, to a socket that serves `programs`.
    pub fn open(&self, slot: usize, programs: ProgramSet) -> Session {
        Session {
            phase: Phase::Idle,
            programs,
            connection: self.nfs.drc.connections.open(slot),
            record: RecordCursor::END,
            has_changed: false,
        }
    }

    /// Removes the replies to a session from the duplicate request cache: its client has received them all.
    pub fn forget_replies(&mut self, session: &Session) {
        let lock = self.nfs.lock();
        if let Some(lock) = lock {
            lock.acquire();
        }
        self.nfs.drc.forget(session.connection);
        if let Some(lock) = lock {
            lock.release();
        }
    }

    /// Releases the files of a session whose connection is about to be closed.
    pub fn abandon(&mut self, session: &mut Session, vfs: &mut Tree) {
        self.nfs.drc.connections.close(session.connection);
        match core::mem::replace(&mut session.phase, Phase::Idle) {
            Phase::Writing(writing) => writing.abandon(vfs),
            Phase::Fetching(file) => vfs.unpin(file),
            Phase::Idle | Phase::Sending(_) => {}
        }
    }

    /// Answers a datagram to a socket where `programs` are served; `reached` is the address of this host at which it arrived, if
    /// known. Returns the length of the reply, or `None` if no reply must be sent.
    pub fn answer(
        &mut self,
        programs: ProgramSet,
        cx: &mut Cx<'_>,
        reached: Option<IpAddr>,
        packet: &[u8],
        output: &mut [u8],
    ) -> Option<usize> {
        let mut reply = Writer::new(output);
        let mut request = Request {
            reply: &mut reply,
            args: Reader::new(packet),
            call: Call::default(),
            follows: Some(0),
            reached,
            connection: Connection::NONE,
            patience: Patience::Forever,
        };
        // A message that is not a call is not answered. NFS itself is not served over UDP, so a call that stops waits for a disk:
        // the client repeats it.
        let Ok(Answer::Reply(_)) = self.call(programs, cx, &mut request) else {
            return None;
        };
        let xid = request.call.xid;
        // The source address may be forged: a longer reply to another network could be used to flood the owner of the address.
        if !is_near(cx.peer.address) && reply.written()? > packet.len() {
            reply.truncate(0);
            emit_reply(&mut reply, xid, Err(Reject::System));
            return reply.written().filter(|len| *len <= packet.len());
        }
        reply.written()
    }
}

/// The operation of a procedure of NFS, for the figures.
const fn nfs_operation(procedure: u32) -> Option<Operation> {
    Operation::rpc(nfs3::PROGRAM, procedure)
}

/// The outcome of a call: an error is in the header of the reply, or it is the status, which most procedures of NFS, and MNT, have.
fn outcome(call: &Call<'_>, reply: &[u8]) -> Outcome {
    let has_status = match call.program {
        nfs3::PROGRAM => call.procedure != Procedure::Null as u32,
        wire::mount::PROGRAM => call.procedure == wire::mount::procedure::MNT,
        _ => false,
    };
    const OK: [u8; 4] = [0; 4];
    Outcome::of_error(match reply.as_chunks().0 {
        // The xid, REPLY, MSG_ACCEPTED; the verifier, which is empty; SUCCESS; the status.
        [_, _, OK, _, _, OK, results @ ..] => has_status && results.first() != Some(&OK),
        _ => true,
    })
}

/// Reports a call of a program, a version or an authentication that is not served.
fn report_refused(cx: &mut Cx<'_>, call: &Call<'_>, why: Reject) {
    /// NFS_ACL. Linux asks for it at each mount.
    const ACL_PROGRAM: u32 = 100_227;
    let mut about = Line::default();
    let (event, advice) = match (why, call.program) {
        (Reject::Version(..), nfs3::PROGRAM) if call.version == 4 => (
            text!("asks for NFS version 4, which is not served").warn(),
            text!("mount with vers=3 (macOS: never vers=4)"),
        ),
        (Reject::Version(..) | Reject::Program, program) => {
            about.number(program).text(" version ").number(call.version);
            // Clients of the portmapper try newer versions first.
            let is_usual = matches!(program, ACL_PROGRAM | portmap::PROGRAM);
            let level = if is_usual { Level::Debug } else { Level::Warn };
            let event = text!("asks for RPC program").at(level);
            (event, text!("not served"))
        }
        (Reject::UnknownFlavor, _) => (
            text!("cannot be authenticated").warn(),
            text!("its RPC authentication is neither sys nor none; mount with sec=sys"),
        ),
        _ => return,
    };
    cx.report(event, about.bytes(), advice);
}

/// Returns true for the addresses of loopback, of links and of private networks (RFC 1918, RFC 4193). An IPv4 address is mapped into
/// IPv6.
fn is_near(peer: Ipv6Addr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(peer) => {
            peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local()
        }
    }
}
