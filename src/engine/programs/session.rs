//! Sessions: the calls of one connection, in their order.

use super::promises::emit_note;
use super::{ProgramSet, Programs};
use crate::config::{HAS_NFS4, REPLY_HEAD_BYTES};
use crate::engine::Cx;
use crate::engine::nfs;
use crate::engine::nfs4;
use crate::engine::rpc::connections::Connection;
use crate::engine::rpc::{Answer, RecordCursor, Reply, Request, Unanswered, patch_mark};
use crate::engine::service::{Io, Moved, Next, Progress, Promise};
use crate::stats::{Operation, Outcome};
use crate::text::text;
use crate::vfs::{Patience, Tree};
use crate::wire::rpc::{Call, MARK_BYTES, emit_head};
use crate::wire::xdr::padding;
use crate::wire::{self, nfs3};
use crate::wire::{Reader, Writer};

/// The phase of a call that is not answered yet, kept between two calls of the engine.
#[derive(Debug)]
pub(super) enum Phase {
    /// A READ, WRITE or COMMIT of NFS 3, or a READ of NFS 4 whose data follows.
    Nfs3(nfs::Phase),
    /// A COMPOUND of NFS 4 that waits. The call is passed again.
    Nfs4(nfs4::Waiting),
}

/// The state of one connection.
#[derive(Debug)]
#[repr(C)] // −40 bytes.
pub struct Session {
    phase: Option<Phase>,
    /// The call of the phase.
    call: CallId,
    programs: ProgramSet,
    /// True if a reply to this connection may be in the duplicate request cache.
    has_changed: bool,
    connection: Connection,
    /// The unread rest of the current record.
    record: RecordCursor,
}

/// A call that is in progress.
#[derive(Clone, Copy, Debug, Default)]
struct CallId {
    xid: u32,
    program: u32,
    procedure: u32,
}

impl CallId {
    const fn of(call: &Call<'_>) -> Self {
        Self {
            xid: call.xid,
            program: match HAS_NFS4
                && call.program == nfs3::PROGRAM
                && call.version != nfs3::VERSION
            {
                true => Operation::NFS4,
                false => call.program,
            },
            procedure: call.procedure,
        }
    }

    /// The header of a COMPOUND that goes on. Its caller is kept with it.
    const fn compound(self) -> Call<'static> {
        Call {
            xid: self.xid,
            program: nfs3::PROGRAM,
            version: wire::nfs4::VERSION,
            procedure: self.procedure,
            credential: None,
        }
    }

    /// Counts the call.
    fn count(self, cx: &mut Cx<'_>, outcome: Outcome) {
        cx.stats
            .called(Operation::rpc(self.program, self.procedure), outcome);
    }

    /// Finishes the reply after the mark at `mark`. A reply with a promise is counted once that is kept.
    fn finish(self, cx: &mut Cx<'_>, reply: &mut Writer<'_>, mark: usize, answer: &Answer) {
        patch_mark(reply, mark, 0);
        match answer.promise {
            Promise::Nothing => self.count(cx, answer.outcome),
            _ => emit_note(reply, self.procedure, answer),
        }
    }
}

impl Session {
    /// Returns true if a call of this connection was to change names or attributes.
    pub const fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Returns true if a COMPOUND is in progress whose next operation is the next in the stream.
    const fn is_amid(&self) -> bool {
        matches!(&self.phase, Some(Phase::Nfs4(waiting)) if waiting.is_amid())
    }

    /// Returns true if a call is in progress that is not carried out again from its start.
    const fn goes_on(&self) -> bool {
        match &self.phase {
            Some(Phase::Nfs3(phase)) => !phase.repeats(),
            Some(Phase::Nfs4(_)) | None => false,
        }
    }

    /// The patience of the next call. Releases the file of a call whose data a job has read.
    fn patience(&mut self, vfs: &mut Tree) -> Patience {
        match self.phase.take() {
            Some(Phase::Nfs3(phase)) => {
                phase.release(vfs);
                Patience::Forever
            }
            phase => {
                self.phase = phase;
                Patience::Now
            }
        }
    }

    /// Length of the unfinished reply of the call in progress (bytes).
    const fn held(&self) -> usize {
        match &self.phase {
            Some(Phase::Nfs4(waiting)) => waiting.len(),
            _ => 0,
        }
    }
}

impl Programs {
    /// Does one step: skips the rest of a record, continues a call, or answers the next one. Returns what the step's reply reports
    /// as durable.
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
    ) -> Result<Promise, Next> {
        if session.phase.is_none() && !session.record.is_read() {
            session.record.skip(input, u32::MAX as usize)?;
            return Ok(Promise::Nothing);
        }
        match session.goes_on() {
            true => self.go_on(session, cx, input, reply),
            false => self.start_call(session, cx, input, reply),
        }
    }

    /// Continues the call in progress.
    ///
    /// # Errors
    /// As [`Programs::step`].
    fn go_on(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<Promise, Next> {
        let mark = reply.position();
        reply.put_ahead(MARK_BYTES);
        emit_head(reply, session.call.xid);
        let Some(Phase::Nfs3(phase)) = &mut session.phase else {
            return Err(Next::Output);
        };
        let record = &mut session.record;
        match self.nfs.go_on(phase, record, cx, input, reply) {
            Ok(answer) => {
                session.phase = None;
                session.call.finish(cx, reply, mark, &answer);
                Ok(answer.promise)
            }
            Err(next) => {
                reply.truncate(mark);
                Err(next)
            }
        }
    }

    /// Returns true if a COMPOUND is in progress whose next operation is the next in the stream. Stores the data of its WRITE before.
    ///
    /// # Errors
    /// The need for which the WRITE waits.
    fn amid(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
    ) -> Result<bool, Next> {
        let is_amid = session.is_amid();
        if let Some(Phase::Nfs4(waiting)) = &session.phase
            && is_amid
        {
            self.nfs4.store(waiting, &mut session.record, cx, input)?;
        }
        Ok(is_amid)
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
        let (start, header) = match self.amid(session, cx, input)? {
            true => (session.record, session.call.compound()),
            false => (RecordCursor::START, Call::default()),
        };
        let mut record = start;
        let mut joined = heapless::Vec::new();
        let mut ahead = Reader::new(input.rest());
        let packet = match record.join(&mut ahead, &mut joined) {
            Err(Next::Input) if session.is_amid() => return Err(Next::Rest),
            packet => packet?,
        };
        let patience = session.patience(cx.vfs);
        let mark = reply.position();
        reply.put_ahead(MARK_BYTES);
        let mut request = Request {
            reply,
            args: Reader::new(packet),
            call: header,
            follows: record.last.then_some(record.left),
            reached: None,
            connection: session.connection,
            patience,
        };
        let answer = self.call(session.programs, cx, &mut request, &mut session.phase);
        let Request {
            args, reply, call, ..
        } = request;
        let call = CallId::of(&call);
        let mut promise = Promise::Nothing;
        match answer {
            Ok(answer) => match answer.reply {
                Reply::Whole => {
                    call.finish(cx, reply, mark, &answer);
                    session.has_changed |= answer.promise == Promise::Names;
                    promise = answer.promise;
                }
                Reply::Head(len) => {
                    patch_mark(reply, mark, len + padding(len as usize) as u32);
                    session.call = call;
                }
                Reply::Later => {
                    reply.truncate(mark);
                    session.call = call;
                    // The stream goes on after the arguments that were read, perhaps amid a fragment.
                    (record, ahead) = (start, Reader::new(input.rest()));
                    record.skip_all(&mut ahead, packet.len() - args.rest().len())?;
                }
            },
            Err(why) => {
                reply.truncate(mark);
                match why {
                    Unanswered::Silence | Unanswered::Reject(_) => {}
                    Unanswered::Malformed => {
                        return Err(Next::Close(text!("not an RPC call")));
                    }
                    Unanswered::Again(until) => return Err(until.into()),
                }
            }
        }
        *input = ahead;
        session.record = record;
        Ok(promise)
    }

    /// Answers the calls in the input until a step needs the driver.
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
            let is_alone = self.syncs_each && promise != Promise::Nothing;
            let step = match () {
                () if is_alone || reply.space().len() < REPLY_HEAD_BYTES => Err(Next::Output),
                // Most inputs are one call: no step finds that out.
                () if stream.rest().is_empty() && session.phase.is_none() => Err(Next::Input),
                () => self.step(session, cx, &mut stream, reply),
            };
            match step {
                Ok(more) => promise = promise.max(more),
                Err(next) => {
                    let used = input.len() - stream.rest().len();
                    return Progress {
                        promise,
                        held: session.held(),
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
        let record = &mut session.record;
        match &mut session.phase {
            Some(Phase::Nfs3(phase)) => match self.nfs.moved(phase, record, cx, done, &mut reply) {
                Ok(Some(answer)) => {
                    session.phase = None;
                    session.call.count(cx, answer.outcome);
                }
                Ok(None) => {}
                Err(next) => {
                    session.call.count(cx, Outcome::Failed);
                    return Progress::of(0, 0, next);
                }
            },
            Some(Phase::Nfs4(waiting)) => self.nfs4.moved(waiting, record, done, cx.vfs),
            None => {
                done.transfer.abandon(cx.vfs);
                return Progress::CLOSED;
            }
        }
        self.answer_calls(session, cx, io.input, &mut reply)
    }

    /// The session of a new connection, the caller's number `slot`, to a socket that serves `programs`.
    pub fn open(&self, slot: usize, programs: ProgramSet) -> Session {
        Session {
            phase: None,
            call: CallId::default(),
            programs,
            has_changed: false,
            connection: self.nfs.drc.connections.open(slot),
            record: RecordCursor::END,
        }
    }

    /// Removes the replies to a session from the duplicate request cache: its client has received them all.
    pub fn forget_replies(&mut self, session: &Session) {
        self.nfs.forget_replies(session.connection);
    }

    /// Releases the files of a session whose connection is about to be closed.
    pub fn abandon(&mut self, session: &mut Session, vfs: &mut Tree) {
        self.nfs.drc.connections.close(session.connection);
        match session.phase.take() {
            Some(Phase::Nfs3(phase)) => phase.release(vfs),
            Some(Phase::Nfs4(waiting)) => self.nfs4.abandon(&waiting, vfs),
            None => {}
        }
    }
}
