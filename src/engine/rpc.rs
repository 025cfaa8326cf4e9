//! ONC RPC: records from a byte stream, calls from records, and the three programs behind them. RFC 5531.
//!
//! A record is read as far as any request needs ([`REQUEST_BYTES`]); what a WRITE carries beyond that goes from the stream to
//! its file by orders, fragment by fragment. Requests that lie together in the input are answered together in the output.

use super::mount::{self, Mounts};
use super::nfs::{self, Nfs, Writing};
use super::portmap::{self, Mappings};
use super::replay::{Key, Replay};
use super::{Cx, Datagrams, Order, Progress, State, Stream};
use crate::config::{FRAGMENT_COUNT_MAX, RECORD_BYTES_MAX, REPLY_HEAD_BYTES, REQUEST_BYTES};
use crate::log;
use crate::vfs::{FsResult, Pin, Vfs};
use crate::wire::nfs3::VERIFIER_BYTES;
use crate::wire::rpc::{Call, MARK_BYTES, Mark, NotACall, Reject, emit_reply};
use crate::wire::xdr::padding;
use crate::wire::{Reader, Writer};

/// The programs that are reached through one socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// NFS.
    pub nfs: bool,
    /// MOUNT.
    pub mount: bool,
    /// The portmapper.
    pub portmap: bool,
}

/// The programs, and what they share.
#[derive(Debug)]
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Programs {
    /// What the call in hand ordered.
    order: Option<Order>,
    nfs: Nfs,
    replay: Replay,
    /// What the portmapper tells.
    pub mappings: Mappings,
    mounts: Mounts,
}

impl Programs {
    /// Programs whose promises about unstable writes end with `verifier`: another one for every start. `memory`, zeros of
    /// [`REPLAY_BYTES`](crate::config::REPLAY_BYTES), is for replies that may be asked for once more.
    pub fn new(verifier: [u8; VERIFIER_BYTES], memory: &'static mut [u8]) -> Self {
        Self {
            order: None,
            nfs: Nfs::new(verifier),
            replay: Replay::new(memory),
            mappings: Mappings::new(),
            mounts: Mounts::default(),
        }
    }

    /// What was told of changes may not be so: nobody is told it again, and whoever waits to commit data writes it once more.
    pub fn break_promises(&mut self) {
        self.nfs.break_promises();
        self.replay.clear();
    }
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    service: Service,
    rx: Rx,
}

impl Session {
    /// A connection to a socket of `service`.
    pub const fn new(service: Service) -> Self {
        Self {
            service,
            rx: Rx::NEXT,
        }
    }

    /// Whether it holds a file until more input comes.
    pub const fn holds_file(&self) -> bool {
        matches!(self.rx, Rx::Between(..))
    }
}

/// Where in the stream of records a connection is.
#[derive(PartialEq, Eq, Debug)]
enum Rx {
    /// Within a record that was answered already, or, with nothing left of it, at the next record's mark.
    Skip(Rest),
    /// A READ's order is under way; then so many zero bytes are due, and the rest of the request is skipped.
    Reading(u8, Rest),
    /// An order of a WRITE or COMMIT is under way; behind its bytes this is left of the record.
    Ordered(Writing, Rest),
    /// Data of a WRITE goes on in the next fragment, at this offset of the file.
    Between(Writing, Pin, u64, Rest),
}

impl Rx {
    const NEXT: Self = Self::Skip(Rest::NONE);
}

/// What is left of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rest {
    /// Bytes left of the fragment.
    left: u32,
    /// Whether the record ends with that fragment.
    last: bool,
    /// Fragments so far.
    fragments: u8,
    /// Bytes of the record, as far as they were announced.
    total: u32,
}

impl Rest {
    const NONE: Self = Self {
        left: 0,
        last: true,
        fragments: 0,
        total: 0,
    };

    /// The next fragment's mark; `None` if the record is longer, or in more pieces, than any request.
    fn next(self, mark: Mark) -> Option<Self> {
        let next = Self {
            left: mark.len,
            last: mark.last,
            fragments: self.fragments.checked_add(1)?,
            total: self.total.checked_add(mark.len)?,
        };
        (next.fragments <= FRAGMENT_COUNT_MAX && next.total <= RECORD_BYTES_MAX).then_some(next)
    }
}

/// What a call led to.
#[derive(PartialEq, Eq)]
pub(super) enum Answer {
    /// The reply is written, but for what was ordered.
    Done,
    /// Nothing was begun: the reply needs an empty output.
    NoRoom,
    /// The reply follows when the rest of the arguments, data for this offset of a file, is stored.
    Writing(Writing, Pin, u64),
}

/// The head of a record, joined.
enum Head<'a> {
    /// These bytes of it, the input's bytes they lay in, and what of the record is still to come.
    Here(&'a [u8], usize, Rest),
    NeedInput,
    TooLong,
}

/// Finds the head of the record that `input` begins with; joined, where it comes in several fragments.
fn head<'a>(input: &'a [u8], joined: &'a mut heapless::Vec<u8, REQUEST_BYTES>) -> Head<'a> {
    let mut rest = Rest {
        last: false,
        ..Rest::NONE
    };
    let mut reader = Reader::new(input);
    let mut used = 0usize;
    joined.clear();
    while !rest.last {
        let Ok(mark) = Mark::parse(&mut reader) else {
            if input.len() < REQUEST_BYTES {
                return Head::NeedInput;
            }
            break;
        };
        let Some(next) = rest.next(mark) else {
            return Head::TooLong;
        };
        used = used.saturating_add(MARK_BYTES);
        let available = input.len().saturating_sub(used);
        let wanted = mark.len as usize;
        let got = wanted.min(available);
        // A record that will not fit is answered from its head once the input can hold no more of it.
        if got < wanted && input.len() < REQUEST_BYTES {
            return Head::NeedInput;
        }
        let Ok(bytes) = reader.take(got) else {
            return Head::NeedInput;
        };
        used = used.saturating_add(got);
        rest = Rest {
            left: next
                .left
                .saturating_sub(u32::try_from(got).unwrap_or(u32::MAX)),
            ..next
        };
        if joined.is_empty() && (rest.last || rest.left > 0) {
            return Head::Here(bytes, used, rest);
        }
        if joined.extend_from_slice(bytes).is_err() {
            return Head::TooLong;
        }
        if rest.left > 0 {
            break;
        }
    }
    Head::Here(joined, used, rest)
}

impl Programs {
    /// Answers one call, or refuses it; `follows` are the bytes of it that did not arrive yet, if that is known. What of the
    /// arguments is data stays in `args`. An error: the packet is no call, and nothing is sent.
    fn call(
        &mut self,
        service: Service,
        cx: &mut Cx<'_>,
        args: &mut Reader<'_>,
        follows: Option<u32>,
        reply: &mut Writer<'_>,
    ) -> Result<Answer, NotACall> {
        let start = reply.position();
        let (xid, why) = match Call::parse(args) {
            Ok(call) => {
                log::debug!(
                    "call {=u32}.{=u32}.{=u32}",
                    call.program,
                    call.version,
                    call.procedure
                );
                let again = service.nfs && nfs::must_not_repeat(&call);
                let again = again.then(|| Key::new(cx.peer, &call, args.rest()));
                if let Some(told) = again.as_ref().and_then(|key| self.replay.find(key)) {
                    reply.put(told);
                    return Ok(Answer::Done);
                }
                emit_reply(reply, call.xid, Ok(()));
                match self.dispatch(service, &call, cx, args, follows, reply) {
                    Ok(answer) if reply.written().is_some() => {
                        if let Some(key) = again {
                            self.replay.keep(&key, reply.since(start));
                        }
                        return Ok(answer);
                    }
                    // Only an answer to a datagram can be too long: a stream's replies have their room.
                    Ok(_) => (call.xid, Reject::System),
                    Err(why) => (call.xid, why),
                }
            }
            Err(NotACall::Refused(xid, why)) => (xid, why),
            Err(other) => return Err(other),
        };
        reply.truncate(start);
        emit_reply(reply, xid, Err(why));
        Ok(Answer::Done)
    }

    fn dispatch(
        &mut self,
        service: Service,
        call: &Call<'_>,
        cx: &mut Cx<'_>,
        args: &mut Reader<'_>,
        follows: Option<u32>,
        reply: &mut Writer<'_>,
    ) -> Result<Answer, Reject> {
        match call.program {
            crate::wire::nfs3::PROGRAM if service.nfs => {
                self.nfs
                    .answer(call, cx, args, follows, reply, &mut self.order)
            }
            crate::wire::mount::PROGRAM if service.mount => {
                mount::answer(&mut self.mounts, call, cx, args, reply).map(|()| Answer::Done)
            }
            crate::wire::portmap::PROGRAM if service.portmap => {
                portmap::answer(&self.mappings, call, args, reply).map(|()| Answer::Done)
            }
            _ => Err(Reject::Program),
        }
    }

    /// Skips the rest of a record, or answers the next; how much of the input that took, or what has to happen first.
    #[inline(never)]
    fn step(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        reply: &mut Writer<'_>,
    ) -> Result<usize, State> {
        if let Rx::Reading(..) | Rx::Ordered(..) = session.rx {
            return Err(State::NeedOutput);
        }
        if let Rx::Skip(rest) = session.rx
            && (rest.left > 0 || !rest.last)
        {
            let (used, rest) = skip(rest, input).ok_or(State::Closed(TOO_LONG))?;
            session.rx = Rx::Skip(rest);
            return if used > 0 {
                Ok(used)
            } else {
                Err(State::NeedInput)
            };
        }
        if reply.room().len() < REPLY_HEAD_BYTES {
            return Err(State::NeedOutput);
        }
        if let Rx::Between(..) = session.rx {
            let Rx::Between(writing, file, offset, rest) =
                core::mem::replace(&mut session.rx, Rx::NEXT)
            else {
                return Err(State::NeedInput);
            };
            let used = self.store(session, cx, writing, (file, offset), rest, input, reply)?;
            return if used > 0 || !matches!(session.rx, Rx::Between(..)) {
                Ok(used)
            } else {
                Err(State::NeedInput)
            };
        }
        let mut joined = heapless::Vec::new();
        let (packet, used, rest) = match head(input, &mut joined) {
            Head::Here(packet, used, rest) => (packet, used, rest),
            Head::NeedInput => return Err(State::NeedInput),
            Head::TooLong => return Err(State::Closed(TOO_LONG)),
        };
        let mark = reply.position();
        reply.u32(0);
        let mut args = Reader::new(packet);
        let follows = rest.last.then_some(rest.left);
        session.rx = Rx::Skip(rest);
        match self.call(session.service, cx, &mut args, follows, reply) {
            Ok(Answer::Done) => {}
            Ok(Answer::Writing(writing, file, offset)) => {
                reply.truncate(mark);
                // To what is stored, the packet is the beginning of what follows it.
                let data = args.rest();
                let mut rest = rest;
                rest.left = rest.left.saturating_add(data.len() as u32);
                let stored = self.store(session, cx, writing, (file, offset), rest, data, reply)?;
                if let Rx::Skip(rest) | Rx::Ordered(_, rest) = &mut session.rx {
                    let padding = data.len().saturating_sub(stored);
                    rest.left = rest.left.saturating_sub(padding as u32);
                }
                return Ok(used);
            }
            Ok(Answer::NoRoom) => {
                reply.truncate(mark);
                session.rx = Rx::NEXT;
                return Err(State::NeedOutput);
            }
            Err(NotACall::Malformed) => {
                reply.truncate(mark);
                return Err(State::Closed("what it sent is no RPC call"));
            }
            Err(_) => {
                reply.truncate(mark);
                return Ok(used);
            }
        }
        let mut bulk = 0;
        if let Some(Order::Send { len, .. }) = self.order {
            let pad = padding(len as usize) as u8;
            bulk = len.saturating_add(pad.into());
            session.rx = Rx::Reading(pad, rest);
        }
        end_record(reply, mark, bulk);
        Ok(used)
    }

    /// Goes on with a WRITE: what of its data lies in `input` is stored, what does not is ordered, and behind the last of it
    /// stands the reply. How much of the input was data, or marks between data.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of a session, taken apart"
    )]
    #[inline(never)]
    fn store(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        mut writing: Writing,
        (file, mut offset): (Pin, u64),
        mut rest: Rest,
        input: &[u8],
        reply: &mut Writer<'_>,
    ) -> Result<usize, State> {
        let mut used = 0usize;
        while writing.left > 0 && writing.error.is_none() {
            let mut ahead = Reader::new(input.get(used..).unwrap_or_default());
            if rest.left == 0 {
                let mark = match Mark::parse(&mut ahead) {
                    Err(_) if !rest.last => {
                        self.nfs.forget_before();
                        session.rx = Rx::Between(writing, file, offset, rest);
                        return Ok(used);
                    }
                    mark => mark.ok().filter(|_| !rest.last),
                };
                let Some(next) = mark.and_then(|mark| rest.next(mark)) else {
                    cx.vfs.unpin(file);
                    return Err(State::Closed("a WRITE has less data than it says"));
                };
                rest = next;
                used = used.saturating_add(MARK_BYTES);
                continue;
            }
            let mut here = writing.left.min(rest.left);
            let ready = ahead.rest();
            if !ready.is_empty() {
                let bytes = ready.get(..here as usize).unwrap_or(ready);
                writing.error = cx.vfs.write(&file, offset, bytes).err();
                here = u32::try_from(bytes.len()).unwrap_or(here);
                used = used.saturating_add(bytes.len());
                offset = offset.saturating_add(here.into());
            }
            writing.left = writing.left.saturating_sub(here);
            rest.left = rest.left.saturating_sub(here);
            if ready.is_empty() {
                let len = here;
                self.order = Some(Order::Store { file, offset, len });
                session.rx = Rx::Ordered(writing, rest);
                return Ok(used);
            }
        }
        if writing.must_last() {
            self.order = Some(Order::Sync { file });
            session.rx = Rx::Ordered(writing, rest);
        } else {
            self.written(session, cx, &writing, file, rest, reply);
        }
        Ok(used)
    }

    /// Ends a WRITE or COMMIT with its reply.
    fn written(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        writing: &Writing,
        file: Pin,
        rest: Rest,
        reply: &mut Writer<'_>,
    ) {
        let mark = reply.position();
        reply.u32(0);
        emit_reply(reply, writing.xid, Ok(()));
        self.nfs.written(writing, &file, cx, reply);
        end_record(reply, mark, 0);
        cx.vfs.unpin(file);
        session.rx = Rx::Skip(rest);
    }
}

/// Says at `mark` how long the record is that ends here, or `bulk` bytes from here.
fn end_record(reply: &mut Writer<'_>, mark: usize, bulk: u32) {
    let len = reply
        .position()
        .saturating_sub(mark)
        .saturating_sub(MARK_BYTES);
    let len = u32::try_from(len).unwrap_or(u32::MAX).saturating_add(bulk);
    reply.patch(mark, Mark::whole(len));
}

impl Stream for Programs {
    type Session = Session;

    fn advance(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        let mut consumed = 0usize;
        let mut reply = Writer::new(output);
        let state = loop {
            let rest = input.get(consumed..).unwrap_or_default();
            match self.step(session, cx, rest, &mut reply) {
                Ok(used) => consumed = consumed.saturating_add(used),
                Err(state) => break state,
            }
        };
        Progress {
            consumed,
            produced: reply.position(),
            order: self.order.take(),
            state,
        }
    }

    fn done(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress {
        let mut reply = Writer::new(output);
        let rx = core::mem::replace(&mut session.rx, Rx::NEXT);
        let state = match (order, rx) {
            (Order::Send { file, .. }, Rx::Reading(pad, rest)) => {
                cx.vfs.unpin(file);
                reply.pad(4usize.saturating_sub(pad.into()));
                session.rx = Rx::Skip(rest);
                // The count was promised in a head that is gone: there is no other way to take it back.
                match result {
                    Ok(()) => State::NeedInput,
                    Err(_) => State::Closed("a file became shorter while it was read"),
                }
            }
            (Order::Store { file, offset, len }, Rx::Ordered(mut writing, mut rest)) => {
                writing.error = result.err();
                rest.left = rest.left.saturating_add(len);
                let more = self.store(session, cx, writing, (file, offset), rest, &[], &mut reply);
                more.err().unwrap_or(State::NeedInput)
            }
            (Order::Sync { file }, Rx::Ordered(mut writing, rest)) => {
                if let Err(error) = result {
                    // What others wrote may be lost too: they will see by the verifier that they have to write it again.
                    self.nfs.break_promises();
                    writing.error = Some(error);
                }
                self.written(session, cx, &writing, file, rest, &mut reply);
                State::NeedInput
            }
            (order, _) => {
                order.abandon(cx.vfs);
                State::Closed("")
            }
        };
        let order = self.order.take();
        Progress {
            consumed: 0,
            produced: reply.position(),
            state: if order.is_some() {
                State::NeedOutput
            } else {
                state
            },
            order,
        }
    }

    fn interrupted(&mut self) {
        self.nfs.forget_before();
    }

    fn abandon(&mut self, session: &mut Session, vfs: &mut dyn Vfs) {
        if let Rx::Between(_, file, ..) = core::mem::replace(&mut session.rx, Rx::NEXT) {
            vfs.unpin(file);
        }
    }
}

const TOO_LONG: &str = "its record is longer, or in more fragments, than any request";

/// Skips what `input` has of a record; how much that was, and what is left of the record.
fn skip(mut rest: Rest, input: &[u8]) -> Option<(usize, Rest)> {
    let mut used = 0usize;
    loop {
        let here = input.get(used..).unwrap_or_default();
        let step = (rest.left as usize).min(here.len());
        used = used.saturating_add(step);
        rest.left = rest
            .left
            .saturating_sub(u32::try_from(step).unwrap_or(u32::MAX));
        if rest.left > 0 {
            return Some((used, rest));
        }
        if rest.last {
            return Some((used, Rest::NONE));
        }
        let Ok(mark) = Mark::parse(&mut Reader::new(input.get(used..).unwrap_or_default())) else {
            return Some((used, rest));
        };
        used = used.saturating_add(MARK_BYTES);
        rest = rest.next(mark)?;
    }
}

impl Datagrams for Programs {
    type Service = Service;

    fn answer(
        &mut self,
        service: Service,
        cx: &mut Cx<'_>,
        packet: &[u8],
        output: &mut [u8],
    ) -> Option<usize> {
        let mut reply = Writer::new(output);
        let mut args = Reader::new(packet);
        match self.call(service, cx, &mut args, Some(0), &mut reply) {
            Ok(Answer::Done) => reply.written(),
            // NFS itself is not served by datagrams, so there are no orders; strangers get no answer.
            Ok(_) | Err(_) => None,
        }
    }
}
