//! ONC RPC: records from a byte stream, calls from records, and the three programs behind them. RFC 5531.
//!
//! A record is read as far as any request needs ([`REQUEST_BYTES`]); what a WRITE carries beyond that is skipped.
//! Requests that lie together in the input are answered together in the output.

use super::mount::{self, Mounts};
use super::portmap::{self, Mappings};
use super::{Cx, Datagrams, Order, Progress, State, Stream, nfs};
use crate::config::{FRAGMENT_COUNT_MAX, RECORD_BYTES_MAX, REPLY_HEAD_BYTES, REQUEST_BYTES};
use crate::log;
use crate::vfs::FsResult;
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
    verifier: [u8; VERIFIER_BYTES],
    /// What the portmapper tells.
    pub mappings: Mappings,
    mounts: Mounts,
}

impl Programs {
    /// Programs whose promises about unstable writes end with `verifier`: another one for every start.
    pub fn new(verifier: [u8; VERIFIER_BYTES]) -> Self {
        Self {
            mappings: Mappings::new(),
            mounts: Mounts::default(),
            order: None,
            verifier,
        }
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
            rx: Rx::Skip(Rest::NONE),
        }
    }
}

/// Where in the stream of records a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rx {
    /// Within a record that was answered already, or, with nothing left of it, at the next record's mark.
    Skip(Rest),
    /// An order is under way; then so many zero bytes are due, and the rest of the request is skipped.
    Order(u8, Rest),
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The reply is written, but for what was ordered.
    Done,
    /// Nothing was begun: the reply needs an empty output.
    NoRoom,
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
    /// Answers one call, or refuses it. An error: the packet is no call, and nothing is sent.
    fn call(
        &mut self,
        service: Service,
        cx: &mut Cx<'_>,
        packet: &[u8],
        reply: &mut Writer<'_>,
    ) -> Result<Answer, NotACall> {
        let mut args = Reader::new(packet);
        let start = reply.position();
        let (xid, why) = match Call::parse(&mut args) {
            Ok(call) => {
                log::debug!(
                    "call {=u32}.{=u32}.{=u32}",
                    call.program,
                    call.version,
                    call.procedure
                );
                emit_reply(reply, call.xid, Ok(()));
                match self.dispatch(service, &call, cx, &mut args, reply) {
                    Ok(answer) if reply.written().is_some() => return Ok(answer),
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
        call: &Call,
        cx: &mut Cx<'_>,
        args: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<Answer, Reject> {
        match call.program {
            crate::wire::nfs3::PROGRAM if service.nfs => {
                nfs::answer(self.verifier, call, cx, args, reply, &mut self.order)
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
        match session.rx {
            Rx::Order(..) => return Err(State::NeedOutput),
            Rx::Skip(rest) if rest.left == 0 && rest.last => {}
            Rx::Skip(rest) => {
                let (used, rest) = skip(rest, input).ok_or(State::Closed(TOO_LONG))?;
                session.rx = Rx::Skip(rest);
                return if used > 0 {
                    Ok(used)
                } else {
                    Err(State::NeedInput)
                };
            }
        }
        let mut joined = heapless::Vec::new();
        let (packet, used, rest) = match head(input, &mut joined) {
            Head::Here(packet, used, rest) => (packet, used, rest),
            Head::NeedInput => return Err(State::NeedInput),
            Head::TooLong => return Err(State::Closed(TOO_LONG)),
        };
        if reply.room().len() < REPLY_HEAD_BYTES {
            return Err(State::NeedOutput);
        }
        let mark = reply.position();
        reply.u32(0);
        match self.call(session.service, cx, packet, reply) {
            Ok(Answer::Done) => {}
            Ok(Answer::NoRoom) => {
                reply.truncate(mark);
                return Err(State::NeedOutput);
            }
            Err(NotACall::Malformed) => {
                reply.truncate(mark);
                return Err(State::Closed("what it sent is no RPC call"));
            }
            Err(_) => {
                reply.truncate(mark);
                session.rx = Rx::Skip(rest);
                return Ok(used);
            }
        }
        let len = reply
            .position()
            .saturating_sub(mark)
            .saturating_sub(MARK_BYTES);
        let mut len = u32::try_from(len).unwrap_or(u32::MAX);
        session.rx = Rx::Skip(rest);
        if let Some(Order::Send { len: bulk, .. }) = self.order {
            let pad = padding(bulk as usize) as u8;
            len = len.saturating_add(bulk).saturating_add(pad.into());
            session.rx = Rx::Order(pad, rest);
        }
        reply.patch(mark, Mark::whole(len));
        Ok(used)
    }
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
        _: &mut Cx<'_>,
        result: FsResult<u64>,
        output: &mut [u8],
    ) -> Progress {
        let mut reply = Writer::new(output);
        // The count was promised in a head that is gone: there is no other way to take it back.
        let state = match (session.rx, result) {
            (Rx::Order(pad, rest), Ok(_)) => {
                reply.put([0; 3].get(..pad.into()).unwrap_or_default());
                session.rx = Rx::Skip(rest);
                State::NeedInput
            }
            _ => State::Closed("a file became shorter while it was read"),
        };
        Progress {
            consumed: 0,
            produced: reply.position(),
            order: None,
            state,
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
        match self.call(service, cx, packet, &mut reply) {
            Ok(Answer::Done) => reply.written(),
            // NFS itself is not served by datagrams, so there are no orders; strangers get no answer.
            Ok(Answer::NoRoom) | Err(_) => None,
        }
    }
}
