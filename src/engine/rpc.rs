//! ONC RPC: records from a byte stream, calls from records, and the three programs behind them. RFC 5531.
//!
//! A record is read as far as any request needs ([`REQUEST_BYTES`]); what a WRITE carries beyond that goes from the stream to
//! its file by orders, fragment by fragment. Requests that lie together in the input are answered together in the output.

use super::drc::{DuplicateRequestCache, Key};
use super::mount::{self, Mounts};
use super::nfs::{self, Nfs, Writing};
use super::portmap::{self, Mappings};
use super::{Cx, Datagrams, Order, Progress, State, Stream};
use crate::config::{FRAGMENT_COUNT_MAX, RECORD_BYTES_MAX, REPLY_HEAD_BYTES, REQUEST_BYTES};
use crate::log;
use crate::text::Text;
use crate::vfs::{FsResult, Handles, Pin};
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
    nfs: Nfs,
    drc: DuplicateRequestCache,
    /// What the portmapper tells.
    pub mappings: Mappings,
    mounts: Mounts,
}

impl Programs {
    /// Programs whose promises about unstable writes end with `verifier`: another one for every start. `memory`, zeros of
    /// [`DRC_BYTES`](crate::config::DRC_BYTES), is for replies that may be asked for once more.
    pub fn new(verifier: [u8; VERIFIER_BYTES], memory: &'static mut [u8]) -> Self {
        Self {
            nfs: Nfs::new(verifier),
            drc: DuplicateRequestCache::new(memory),
            mappings: Mappings::new(),
            mounts: Mounts::default(),
        }
    }

    /// What was told of changes may not be so: nobody is told it again, and whoever waits to commit data writes it once more.
    pub fn break_promises(&mut self) {
        self.nfs.break_promises();
        self.drc.clear();
    }
}

/// The state of one connection.
#[derive(Debug)]
#[repr(C)]
pub struct Session {
    rx: Rx,
    service: Service,
    rest: Rest,
    writing: Writing,
}

impl Session {
    /// A connection to a socket of `service`.
    pub const fn new(service: Service) -> Self {
        Self {
            rx: Rx::Skip,
            service,
            rest: Rest::NONE,
            writing: Writing::NONE,
        }
    }

    /// Whether it holds a file until more input comes.
    pub const fn holds_file(&self) -> bool {
        matches!(self.rx, Rx::Writing(..))
    }

    /// Data for a file, or nothing but a wait for the disk, comes before the reply.
    pub(super) fn begin(&mut self, writing: Writing, file: Pin) {
        self.writing = writing;
        self.rx = Rx::Writing(file);
    }
}

/// Where in the stream of records a connection is; what is left of the record comes after that.
#[derive(Debug)]
enum Rx {
    /// Within a record that was answered already, or, with nothing left of it, at the next record's mark.
    Skip,
    /// A READ's order is under way; then so many zero bytes are due, and the rest of the request is skipped.
    Reading(u8),
    /// An order of a WRITE or COMMIT is under way.
    Ordered,
    /// Data of a WRITE goes on, in the next fragment.
    Writing(Pin),
}

/// Why a connection does not go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    NeedInput,
    NeedOutput,
    TooLong,
    NotACall,
    TooShort,
    Shrunk,
    Unexpected,
}

/// What a person is told of those from [`Stop::TooLong`] on.
const ENDS: Text = Text::row(&[
    "its record is longer, or in more fragments, than any request",
    "what it sent is no RPC call",
    "a WRITE has less data than it says",
    "a file became shorter while it was read",
]);

impl From<Stop> for State {
    fn from(stop: Stop) -> Self {
        Self::Closed(match stop {
            Stop::NeedInput => return Self::NeedInput,
            Stop::NeedOutput => return Self::NeedOutput,
            Stop::Unexpected => Text::NOTHING,
            stop => ENDS.plus((stop as u8).wrapping_sub(Stop::TooLong as u8)),
        })
    }
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

    /// Takes the next fragment's mark off the stream.
    #[inline(never)]
    fn next(&mut self, stream: &mut Reader<'_>) -> Result<(), Stop> {
        let mark = Mark::parse(stream).ok_or(Stop::NeedInput)?;
        self.left = mark.len;
        self.last = mark.last;
        self.fragments = self.fragments.wrapping_add(1);
        self.total = self.total.wrapping_add(mark.len);
        if self.fragments > FRAGMENT_COUNT_MAX || self.total > RECORD_BYTES_MAX {
            return Err(Stop::TooLong);
        }
        Ok(())
    }

    /// Takes off the stream what has arrived of the fragment, or of its next `len_max` bytes.
    #[inline(never)]
    fn take<'a>(&mut self, stream: &mut Reader<'a>, len_max: u32) -> &'a [u8] {
        let wanted = self.left.min(len_max) as usize;
        let bytes = stream.take(wanted.min(stream.rest().len()));
        self.left = self.left.wrapping_sub(bytes.len() as u32);
        bytes
    }
}

/// One call, and where its reply goes.
#[repr(C)]
pub(super) struct Request<'a, 'o> {
    pub(super) reply: &'a mut Writer<'o>,
    /// The packet, behind its header: what is data of a WRITE stays here.
    pub(super) args: Reader<'a>,
    pub(super) session: &'a mut Session,
    pub(super) call: Call<'a>,
    /// The bytes of the arguments that did not arrive yet, if that is known.
    pub(super) follows: Option<u32>,
}

/// What a call led to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The reply is written, but for what was ordered.
    Done,
    /// Nothing was begun: the reply needs an empty output.
    NoRoom,
    /// The reply follows when the rest of the arguments is stored.
    Writing,
    /// None: nothing was asked.
    Silence,
    /// None: it is no call.
    NotACall,
}

/// Finds the head of the record that `input` begins with; joined, where it comes in several fragments.
fn head<'a>(
    rest: &mut Rest,
    input: &mut Reader<'a>,
    joined: &'a mut heapless::Vec<u8, REQUEST_BYTES>,
) -> Result<&'a [u8], Stop> {
    // A record that will not fit is answered from its head once the input can hold no more of it.
    let full = input.rest().len() >= REQUEST_BYTES;
    while !rest.last {
        match rest.next(input) {
            Err(Stop::NeedInput) if full => break,
            next => next?,
        }
        let bytes = rest.take(input, u32::MAX);
        if rest.left > 0 && !full {
            return Err(Stop::NeedInput);
        }
        if joined.is_empty() && (rest.last || rest.left > 0) {
            return Ok(bytes);
        }
        if joined.extend_from_slice(bytes).is_err() {
            return Err(Stop::TooLong);
        }
        if rest.left > 0 {
            break;
        }
    }
    Ok(joined)
}

impl Programs {
    /// Answers one call, or refuses it.
    #[inline(never)]
    fn call(&mut self, cx: &mut Cx<'_>, request: &mut Request<'_, '_>) -> Answer {
        let start = request.reply.position();
        let key;
        let mut again = None;
        let outcome = match request.call.parse(&mut request.args) {
            Ok(()) => {
                let call = &request.call;
                log::debug!(
                    "call {=u32}.{=u32}.{=u32}",
                    call.program,
                    call.version,
                    call.procedure
                );
                if request.session.service.nfs && !nfs::is_idempotent(call) {
                    key = Key::new(cx.peer, call, request.args.rest());
                    if let Some(told) = self.drc.lookup(&key) {
                        request.reply.put(told);
                        return Answer::Done;
                    }
                    again = Some(&key);
                }
                emit_reply(request.reply, call.xid, Ok(()));
                self.dispatch(cx, request)
            }
            Err(NotACall::Refused(why)) => Err(why),
            Err(NotACall::Reply) => return Answer::Silence,
            Err(NotACall::Malformed) => return Answer::NotACall,
        };
        let why = match outcome {
            Ok(answer) if request.reply.written().is_some() => {
                if let Some(key) = again {
                    self.drc.insert(key, request.reply.since(start));
                }
                return answer;
            }
            // Only an answer to a datagram can be too long: a stream's replies have their room.
            Ok(_) => Reject::System,
            Err(why) => why,
        };
        request.reply.truncate(start);
        emit_reply(request.reply, request.call.xid, Err(why));
        Answer::Done
    }

    fn dispatch(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Answer, Reject> {
        let service = request.session.service;
        match request.call.program {
            crate::wire::nfs3::PROGRAM if service.nfs => return self.nfs.answer(cx, request),
            crate::wire::mount::PROGRAM if service.mount => {
                mount::answer(&mut self.mounts, cx, request)?;
            }
            crate::wire::portmap::PROGRAM if service.portmap => {
                portmap::answer(&self.mappings, request)?;
            }
            _ => return Err(Reject::Program),
        }
        Ok(Answer::Done)
    }

    /// Skips some of what is left of a record, or answers the next; or says what has to happen first.
    #[inline(never)]
    fn step(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<(), Stop> {
        match session.rx {
            Rx::Reading(_) | Rx::Ordered => return Err(Stop::NeedOutput),
            Rx::Skip if session.rest.left > 0 => {
                return if session.rest.take(input, u32::MAX).is_empty() {
                    Err(Stop::NeedInput)
                } else {
                    Ok(())
                };
            }
            Rx::Skip if !session.rest.last => return session.rest.next(input),
            _ => {}
        }
        if reply.room().len() < REPLY_HEAD_BYTES {
            return Err(Stop::NeedOutput);
        }
        if let Rx::Writing(_) = session.rx {
            return self.store(session, cx, input, reply);
        }
        let mut rest = Rest::NONE;
        rest.last = false;
        let mut joined = heapless::Vec::new();
        let mut ahead = Reader::new(input.rest());
        let packet = head(&mut rest, &mut ahead, &mut joined)?;
        let left = ahead.rest().len();
        let mark = reply.position();
        reply.u32(0);
        let mut request = Request {
            reply,
            args: Reader::new(packet),
            session,
            call: Call::default(),
            follows: rest.last.then_some(rest.left),
        };
        let answer = self.call(cx, &mut request);
        let Request {
            args: mut data,
            reply,
            session,
            ..
        } = request;
        match answer {
            Answer::Done => {
                let mut bulk = 0;
                if let Some(Order::Send { len, .. }) = self.nfs.order {
                    let pad = padding(len as usize) as u8;
                    bulk = len.wrapping_add(pad.into());
                    session.rx = Rx::Reading(pad);
                }
                end_record(reply, mark, bulk);
            }
            Answer::NoRoom => {
                reply.truncate(mark);
                return Err(Stop::NeedOutput);
            }
            Answer::NotACall => {
                reply.truncate(mark);
                return Err(Stop::NotACall);
            }
            Answer::Silence | Answer::Writing => reply.truncate(mark),
        }
        input.take(input.rest().len().wrapping_sub(left));
        if answer == Answer::Writing {
            // To what is stored, the packet is the beginning of what follows it.
            rest.left = rest.left.wrapping_add(data.rest().len() as u32);
            session.rest = rest;
            let stored = self.store(session, cx, &mut data, reply);
            let unused = data.rest().len() as u32;
            session.rest.left = session.rest.left.wrapping_sub(unused);
            return stored;
        }
        session.rest = rest;
        Ok(())
    }

    /// Goes on with a WRITE: what of its data lies in `input` is stored, what does not is ordered, and behind the last of it
    /// stands the reply.
    #[inline(never)]
    fn store(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<(), Stop> {
        let (writing, rest) = (&mut session.writing, &mut session.rest);
        let Rx::Writing(file) = core::mem::replace(&mut session.rx, Rx::Ordered) else {
            return Err(Stop::Unexpected);
        };
        while writing.left > 0 && writing.error.is_none() {
            if rest.left == 0 {
                let next = if rest.last {
                    Err(Stop::TooShort)
                } else {
                    rest.next(input)
                };
                if next.is_err() {
                    self.nfs.forget_wcc_attr();
                    session.rx = Rx::Writing(file);
                    return next;
                }
                continue;
            }
            let offset = writing.offset;
            let bytes = rest.take(input, writing.left);
            if bytes.is_empty() {
                let len = writing.left.min(rest.left);
                writing.left = writing.left.wrapping_sub(len);
                rest.left = rest.left.wrapping_sub(len);
                self.nfs.order = Some(Order::Store { file, offset, len });
                return Ok(());
            }
            writing.error = cx.vfs.write(&file, offset, bytes).err();
            let len = bytes.len() as u32;
            writing.offset = offset.wrapping_add(len.into());
            writing.left = writing.left.wrapping_sub(len);
        }
        if writing.must_last() {
            self.nfs.order = Some(Order::Sync { file });
        } else {
            self.written(session, cx, file, reply);
        }
        Ok(())
    }

    /// Ends a WRITE or COMMIT with its reply.
    #[inline(never)]
    fn written(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        file: Pin,
        reply: &mut Writer<'_>,
    ) {
        let mark = reply.position();
        reply.u32(0);
        emit_reply(reply, session.writing.xid, Ok(()));
        self.nfs.written(&session.writing, &file, cx, reply);
        end_record(reply, mark, 0);
        cx.vfs.unpin(file);
        session.rx = Rx::Skip;
    }

    /// What was done, and what is to be done next.
    #[inline(never)]
    fn progress(&mut self, consumed: usize, reply: &Writer<'_>, stop: Stop) -> Progress {
        let order = self.nfs.order.take();
        Progress {
            consumed,
            produced: reply.position(),
            state: if order.is_some() {
                State::NeedOutput
            } else {
                stop.into()
            },
            order,
        }
    }
}

/// Says at `mark` how long the record is that ends here, or `bulk` bytes from here.
fn end_record(reply: &mut Writer<'_>, mark: usize, bulk: u32) {
    let len = reply.position().wrapping_sub(mark).wrapping_sub(MARK_BYTES) as u32;
    let len = len.wrapping_add(bulk);
    reply.patch(mark, Mark::whole(len));
}

impl Stream for Programs {
    type Files = dyn Handles;
    type Session = Session;

    fn advance(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        let mut stream = Reader::new(input);
        let mut reply = Writer::new(output);
        loop {
            if let Err(stop) = self.step(session, cx, &mut stream, &mut reply) {
                let consumed = input.len().wrapping_sub(stream.rest().len());
                return self.progress(consumed, &reply, stop);
            }
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
        let stop = match (order, &session.rx) {
            (Order::Send { file, .. }, Rx::Reading(pad)) => {
                reply.pad(4usize.wrapping_sub((*pad).into()));
                cx.vfs.unpin(file);
                session.rx = Rx::Skip;
                // The count was promised in a head that is gone: there is no other way to take it back.
                match result {
                    Ok(()) => Stop::NeedInput,
                    Err(_) => Stop::Shrunk,
                }
            }
            (Order::Store { file, offset, len }, Rx::Ordered) => {
                let writing = &mut session.writing;
                writing.offset = offset;
                writing.error = result.err();
                session.rest.left = session.rest.left.wrapping_add(len);
                session.rx = Rx::Writing(file);
                let more = self.store(session, cx, &mut Reader::new(&[]), &mut reply);
                more.err().unwrap_or(Stop::NeedInput)
            }
            (Order::Sync { file }, Rx::Ordered) => {
                if result.is_err() {
                    // What others wrote may be lost too: they will see by the verifier that they have to write it again.
                    self.nfs.break_promises();
                    session.writing.error = result.err();
                }
                self.written(session, cx, file, &mut reply);
                Stop::NeedInput
            }
            (order, _) => {
                order.abandon(cx.vfs);
                Stop::Unexpected
            }
        };
        self.progress(0, &reply, stop)
    }

    fn interrupted(&mut self) {
        self.nfs.forget_wcc_attr();
    }

    fn abandon(&mut self, session: &mut Session, vfs: &mut (dyn Handles + 'static)) {
        if let Rx::Writing(file) = core::mem::replace(&mut session.rx, Rx::Skip) {
            vfs.unpin(file);
        }
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
        let mut request = Request {
            reply: &mut reply,
            args: Reader::new(packet),
            session: &mut Session::new(service),
            call: Call::default(),
            follows: Some(0),
        };
        match self.call(cx, &mut request) {
            Answer::Done => reply.written(),
            // NFS itself is not served by datagrams, so there are no orders; strangers get no answer.
            _ => None,
        }
    }
}
