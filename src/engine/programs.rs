//! The RPC programs: NFS, MOUNT and the portmapper. RFC 5531.
//!
//! Replies to the calls in one input are written to one output. Calls that are not idempotent go through the duplicate request
//! cache.

use super::connections::{Connection, Connections};
use super::mount::{self, Mounts};
use super::nfs::{self, Nfs, Outcome, Phase, Promise};
use super::portmap::{self, Mappings};
use super::rpc::{RecordCursor, Request, patch_mark};
use super::turns::Turns;
use super::{Cx, Order, Progress, State};
use crate::config::{HAS_NAMES, REPLY_HEAD_BYTES};
use crate::log;
use crate::mem::Ends as _;
use crate::text::text;
use crate::vfs::{FsResult, Tree};
use crate::wire::nfs3::{HANDLE_BYTES_MAX, Procedure, VERIFIER_BYTES};
use crate::wire::rpc::{Call, MARK_BYTES, NotACall, Reject, emit_reply};
use crate::wire::xdr::padding;
use crate::wire::{Reader, Writer};
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
    /// verifiers of exclusive CREATEs. `is_kept`: other servers use that memory too, either now (synchronised by `turns`) or after
    /// a restart. `connections` are those of all servers that use the memory.
    pub fn new(
        verifier: [u8; VERIFIER_BYTES],
        memory: &'static mut [u8],
        is_kept: bool,
        turns: Option<&'static dyn Turns>,
        connections: Connections,
    ) -> Self {
        Self {
            nfs: Nfs::new(verifier, memory, is_kept, turns, connections),
            mappings: Mappings::new(),
            mounts: Mounts::default(),
            syncs_each: false,
        }
    }

    /// A copy of `memory`, as left by a server that was killed after it carried out a call and before it stored the reply.
    #[cfg(test)]
    pub(super) fn left_begun(&self, was_there: bool) -> &'static mut [u8] {
        let left = self.nfs.drc.left_begun(was_there);
        [&[0; crate::config::CREATED_BYTES], &*left].concat().leak()
    }

    /// The open connections.
    #[cfg(test)]
    pub(super) const fn connections(&mut self) -> &mut Connections {
        &mut self.nfs.drc.connections
    }

    /// Returns the strongest kind of change that the replies written since the last call report as durable, and resets it. The
    /// driver syncs and [settles](Self::settle) these replies before it sends them.
    pub const fn take_promise(&mut self) -> Promise {
        core::mem::replace(&mut self.nfs.promise, Promise::Nothing)
    }

    /// Makes the replies to a peer final after the sync that they waited for, whose result is `synced`. If the sync failed, they
    /// become errors, and the write verifier changes, so that all clients send unstable data again (RFC 1813 section 3.3.7).
    /// Returns the length of the replies (bytes).
    pub fn settle(&mut self, cx: &mut Cx<'_>, replies: &mut [u8], synced: FsResult<()>) -> usize {
        let mut len = replies.len();
        self.syncs_each = synced.is_err();
        if let Err(error) = synced {
            let turns = self.nfs.turns();
            if let Some(turns) = turns {
                turns.acquire();
            }
            self.break_promises();
            let status = nfs::error_status(cx, error);
            let drc = &mut self.nfs.drc;
            len = nfs::fail(replies, status, &mut |procedure, old, new| {
                drc.replace(&cx.peer, procedure, old, new);
            });
            if let Some(turns) = turns {
                turns.release();
            }
        }
        nfs::settle(replies.head_mut(len));
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

/// The state of one connection.
#[derive(Debug)]
#[repr(C)]
pub struct Session {
    phase: Phase,
    programs: ProgramSet,
    connection: Connection,
    /// The unread rest of the current record.
    record: RecordCursor,
}

impl Session {
    /// Returns true if a file is pinned for a WRITE whose data has not all arrived.
    pub const fn holds_file(&self) -> bool {
        matches!(&self.phase, Phase::Writing(writing) if writing.holds_file())
    }
}

const SHRUNK: State = State::Closed(text!("a file was truncated during a read"));

impl Programs {
    /// Answers one call, or rejects it.
    ///
    /// # Errors
    /// The message is not a call and is not answered.
    #[inline(never)]
    fn call(
        &mut self,
        (programs, connection): (ProgramSet, Connection),
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Outcome, NotACall> {
        let start = request.reply.position();
        let mut outcome = match request.call.parse(&mut request.args) {
            Ok(()) => {
                let call = &request.call;
                log::debug!(
                    "call {=u32}.{=u32}.{=u32}",
                    call.program,
                    call.version,
                    call.procedure
                );
                if programs.nfs && !nfs::is_idempotent(call) {
                    self.change(connection, cx, request)
                } else {
                    emit_reply(request.reply, request.call.xid, Ok(()));
                    self.dispatch(programs, cx, request)
                }
            }
            Err(NotACall::Refused(why)) => Err(why),
            Err(not_a_call) => return Err(not_a_call),
        };
        if outcome.is_ok() && request.reply.written().is_none() {
            // Only a datagram's reply can overflow: a stream's output has space for every reply.
            outcome = Err(Reject::System);
        }
        Ok(outcome.unwrap_or_else(|why| {
            request.reply.truncate(start);
            emit_reply(request.reply, request.call.xid, Err(why));
            Outcome::Reply(None)
        }))
    }

    /// Answers a call that changes names or attributes. A retransmission is answered from the duplicate request cache.
    fn change(
        &mut self,
        connection: Connection,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Outcome, Reject> {
        let start = request.reply.position();
        let mut args = request.args.clone();
        self.nfs.promise = self.nfs.promise.max(Promise::Names);
        self.nfs.acquire_turn(cx, request);
        let outcome = if self.find_reply(connection, cx, request) {
            Ok(Outcome::Reply(Procedure::new(request.call.procedure)))
        } else {
            emit_reply(request.reply, request.call.xid, Ok(()));
            let outcome = self.nfs.answer(cx, request);
            if let Ok(Outcome::Reply(_)) = outcome {
                self.nfs.drc.insert(request.reply.since(start));
            }
            outcome
        };
        if let Some(turns) = self.nfs.turns() {
            turns.release();
            if core::mem::take(&mut self.nfs.drc.is_of_other) {
                // The other server, which carried out the call, may not have synced the change.
                cx.vfs.stage_export(args.opaque(HANDLE_BYTES_MAX));
            }
        }
        outcome
    }

    /// Writes the cached reply to an earlier transmission of the call. Returns true if there was one.
    fn find_reply(
        &mut self,
        connection: Connection,
        cx: &Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> bool {
        let drc = &mut self.nfs.drc;
        let args = request.args.rest();
        drc.key
            .set((&cx.peer, connection), cx.now, &request.call, args);
        let reply = drc.lookup();
        if let Some(reply) = reply {
            request.reply.put(reply);
        }
        reply.is_some()
    }

    fn dispatch(
        &mut self,
        programs: ProgramSet,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Outcome, Reject> {
        match request.call.program {
            crate::wire::nfs3::PROGRAM if programs.nfs => return self.nfs.answer(cx, request),
            crate::wire::mount::PROGRAM if programs.mount => {
                let is_answered = mount::answer(&mut self.mounts, cx, request)?;
                if (cfg!(bare) || HAS_NAMES) && !is_answered {
                    return Ok(Outcome::Order(Order::Wait));
                }
            }
            crate::wire::portmap::PROGRAM if programs.portmap => {
                if !portmap::answer(&mut self.mappings, cx, request)? {
                    return Ok(Outcome::Silence);
                }
            }
            _ => return Err(Reject::Program),
        }
        Ok(Outcome::Reply(None))
    }

    /// Does one step: skips the rest of a record, continues a WRITE, or answers the next call.
    ///
    /// # Errors
    /// The state that stops the session here.
    #[inline(never)]
    fn step(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<(), State> {
        let record = &mut session.record;
        match &session.phase {
            Phase::Writing(writing) if writing.holds_file() => {}
            Phase::Idle if record.left > 0 => {
                record.check()?;
                if record.take(input, u32::MAX).is_empty() {
                    return Err(State::NeedInput);
                }
                return Ok(());
            }
            Phase::Idle if !record.last => return record.next_fragment(input),
            Phase::Idle => {}
            _ => return Err(State::NeedOutput),
        }
        let is_alone = self.syncs_each && self.nfs.promise != Promise::Nothing;
        if is_alone || reply.space().len() < REPLY_HEAD_BYTES {
            return Err(State::NeedOutput);
        }
        if let Phase::Writing(writing) = &mut session.phase {
            self.nfs.store(writing, record, cx, input, reply)?;
            session.phase = Phase::Idle;
            return Ok(());
        }
        let mut next = RecordCursor::START;
        let mut joined = heapless::Vec::new();
        let mut ahead = Reader::new(input.rest());
        let packet = next.join(&mut ahead, &mut joined)?;
        let left = ahead.rest().len();
        let mark = reply.position();
        reply.u32(0);
        let mut request = Request {
            reply,
            args: Reader::new(packet),
            call: Call::default(),
            follows: next.last.then_some(next.left),
            reached: None,
        };
        let called = self.call((session.programs, session.connection), cx, &mut request);
        let Request {
            args: mut data,
            reply,
            ..
        } = request;
        let span = input.rest().len() - left;
        let mut done = Ok(());
        match called {
            Ok(Outcome::Reply(promised)) => {
                patch_mark(reply, mark, 0);
                if let Some(procedure) = promised {
                    nfs::mark_promise(reply, mark, procedure);
                }
            }
            Ok(Outcome::Blocked) => {
                reply.truncate(mark);
                return Err(State::NeedOutput);
            }
            Ok(Outcome::Order(order)) => {
                if let Order::Send { len, .. } = order {
                    let pad = padding(len as usize) as u8;
                    patch_mark(reply, mark, len + u32::from(pad));
                    session.phase = Phase::Sending(pad);
                } else {
                    // The call is parsed again once the bytes are in memory.
                    reply.truncate(mark);
                    return Err(State::Order(order));
                }
                done = Err(State::Order(order));
            }
            Ok(Outcome::Write | Outcome::Silence) | Err(NotACall::Reply) => reply.truncate(mark),
            Err(_) => {
                reply.truncate(mark);
                return Err(State::Closed(text!("not an RPC call")));
            }
        }
        session.record = next;
        if let Some(writing) = self.nfs.begun.take() {
            session.phase = Phase::Writing(writing);
        }
        let Phase::Writing(writing) = &mut session.phase else {
            input.take(span);
            return done;
        };
        // The WRITE's data in the packet was not read. Count it as unread in the record again.
        let record = &mut session.record;
        let data_len = data.rest().len();
        record.left += data_len as u32;
        if span == packet.len() + MARK_BYTES {
            input.take(span - data_len);
        } else {
            // The packet is a copy, joined from several fragments, and `input` is now after them. Write the data from the copy.
            input.take(span);
            writing.write_here(record, cx, &mut data);
            record.left -= data.rest().len() as u32;
        }
        Ok(())
    }
}

impl Programs {
    /// Answers the calls in the input until `step` needs the driver.
    #[inline(never)]
    fn answer_calls(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        reply: &mut Writer<'_>,
    ) -> Progress {
        let mut stream = Reader::new(input);
        loop {
            if let Err(state) = self.step(session, cx, &mut stream, reply) {
                return Progress {
                    consumed: input.len() - stream.rest().len(),
                    produced: reply.position(),
                    state,
                };
            }
        }
    }

    /// Answers the calls in `input`, as far as the replies fit into `output`.
    pub fn advance(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        self.answer_calls(session, cx, input, &mut Writer::new(output))
    }

    /// Continues after the driver carried out the last order, with the given `result`: finishes the reply, or returns another order.
    /// `order` is passed back, so that its file is released.
    pub fn done(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress {
        let mut reply = Writer::new(output);
        match (order, &mut session.phase) {
            (Order::Send { file, .. }, Phase::Sending(pad)) => {
                cx.vfs.unpin(file);
                if result.is_err() {
                    // The reply's head, with the count, is already sent, so the error can be reported only by closing the
                    // connection.
                    self.nfs.read_failed(cx.now);
                    return Progress {
                        state: SHRUNK,
                        ..Progress::CLOSED
                    };
                }
                reply.pad(4 - usize::from(*pad));
                session.phase = Phase::Idle;
            }
            (Order::Store { file, offset, len }, Phase::Writing(writing)) => {
                writing.resume(&mut session.record, (file, offset, len), result);
            }
            (Order::Read { file, .. }, _) => {
                self.nfs.is_in_memory = true;
                cx.vfs.unpin(file);
            }
            (Order::Wait, _) => {}
            (order, _) => {
                order.abandon(cx.vfs);
                return Progress::CLOSED;
            }
        }
        self.answer_calls(session, cx, &[], &mut reply)
    }

    /// Called when an order does not finish at once, before other connections are served.
    pub fn interrupted(&mut self) {
        self.nfs.forget_wcc_attr();
    }

    /// The session of a new connection, the caller's number `slot`, to a socket that serves `programs`.
    pub fn open(&self, slot: usize, programs: ProgramSet) -> Session {
        Session {
            phase: Phase::Idle,
            programs,
            connection: self.nfs.drc.connections.open(slot),
            record: RecordCursor::END,
        }
    }

    /// Releases the files of a session whose connection is about to be closed.
    pub fn abandon(&mut self, session: &mut Session, vfs: &mut Tree) {
        self.nfs.drc.connections.close(session.connection);
        if let Phase::Writing(writing) = core::mem::replace(&mut session.phase, Phase::Idle) {
            writing.abandon(vfs);
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
        };
        // A message that is not a call is not answered. NFS itself is not served over UDP, so the only order is to wait for a disk:
        // the client repeats the call.
        let origin = (programs, Connection::NONE);
        let Ok(Outcome::Reply(_)) = self.call(origin, cx, &mut request) else {
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
