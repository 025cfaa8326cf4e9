//! SFTP version 3 as OpenSSH serves it: packets from a byte stream, and what each is answered. draft-ietf-secsh-filexfer-02.
//!
//! A packet is answered when it is there as a whole, but for a WRITE: what of its data has not arrived goes from the stream to
//! the file by an order. Replies come in the order of the requests; only copies and checks, which may take long, are carried
//! on in slices, and are answered when they are done. What is malformed is answered so, as long as its number is known.

// Tests have any backend there, whose methods need not be imported.
#![cfg_attr(any(test, fuzzing), allow(unused_imports))]

use super::{Cx, Order, Progress, State, Stream};
use crate::config::{PACKET_BYTES_MAX, PACKET_REPLY_BYTES, PACKET_WHOLE_BYTES_MAX};
use crate::event::Events;
use crate::text::texts;
use crate::vfs::{Files, FsResult, Name, Node, Pin, SetAttr};
use crate::wire::sftp::{HEAD_BYTES, LENGTH_BYTES, kind};
use crate::wire::{Reader, Writer};
use accounts::Accounts;
use handles::Handles;
use jobs::Jobs;
use requests::Ask;
use status::Fault;

mod about;
pub mod accounts;
mod answer;
mod attributes;
pub mod check;
mod directory;
mod files;
mod handles;
mod jobs;
pub mod longname;
mod names;
mod paths;
mod requests;
mod rounds;
mod status;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use handles::Open;
pub use requests::{Permits, requests};

/// How much is told of requests, in OpenSSH's words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[allow(missing_docs)]
pub enum Level {
    Quiet,
    #[default]
    Error,
    Info,
    Verbose,
    Debug,
}

/// A server: what all its sessions share.
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Sftp {
    permits: Permits,
    level: Level,
    /// Who runs it.
    uid: u32,
    accounts: Accounts,
}

impl Sftp {
    /// One that has not begun. It is all zeros: room for it takes none in the file.
    pub const fn idle() -> Self {
        Self {
            permits: Permits::ALL,
            level: Level::Quiet,
            uid: 0,
            accounts: Accounts::nobody(),
        }
    }

    /// Begins as a server that the user of this number runs. The memory is for passwd and group, and is not touched before
    /// they are needed.
    pub fn begin(
        &mut self,
        permits: Permits,
        level: Level,
        uid: u32,
        texts: [&'static mut [u8]; 2],
    ) {
        (self.permits, self.level, self.uid) = (permits, level, uid);
        self.accounts.lend(texts);
    }

    /// Who is known by name.
    pub const fn accounts(&mut self) -> &mut Accounts {
        &mut self.accounts
    }
}

/// The state of one connection.
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Session {
    handles: Handles,
    /// What the order under way is for.
    lent: Option<Lent>,
    /// Bytes of a packet that was answered already.
    skip: u32,
    /// Whether it has begun with INIT.
    greeted: bool,
    jobs: Jobs,
}

/// A handle whose file an order has, and the request that is answered after it.
#[derive(Clone, Copy)]
struct Lent {
    slot: u16,
    id: u32,
}

impl Session {
    /// One that has not begun. It is all zeros: room for it takes none in the file.
    pub const fn idle() -> Self {
        Self {
            greeted: false,
            skip: 0,
            lent: None,
            handles: Handles::NONE,
            jobs: Jobs::NONE,
        }
    }

    /// Begins a session with so many handles. One check has no more bytes of hashes than there are in `hashes`, at most
    /// [`HASHES_BYTES`](crate::config::HASHES_BYTES); it is not touched before.
    pub fn begin(&mut self, handles: &'static mut [Option<Open>], hashes: &'static mut [u8]) {
        self.handles.lend(handles);
        self.jobs.lend(hashes);
    }

    /// The same for the next connection, after [`Stream::abandon`].
    pub const fn renew(&mut self) {
        (self.skip, self.greeted) = (0, false);
    }
}

/// The request in hand, and all that it needs. What its type does not bring along is still that of the one before.
#[repr(C)] // What is used most lies first, where short instructions reach it.
struct Request<'a> {
    vfs: &'a mut Files,
    session: &'a mut Session,
    sftp: &'a mut Sftp,
    /// What it brings along and was not read yet, as far as it is there: the session knows how much is not.
    args: Reader<'a>,
    /// Where its reply goes, behind those before.
    reply: Writer<'a>,
    /// What it says, as far as it is such a request.
    path: &'a [u8],
    offset: u64,
    word: u32,
    id: u32,
    /// Which attributes it tells.
    told: u32,
    ask: Ask,
    /// What its handle names: what that is open for, where it is, and which object it is.
    mode: u8,
    slot: u16,
    node: Node,
    pin: Option<Pin>,
    /// Of an extension: bytes of its name.
    name_len: usize,
    /// What its attributes are to change.
    change: SetAttr,
    other: &'a [u8],
    /// The name that a path ends with.
    last: Option<Name<'a>>,
    /// What it ordered.
    order: Option<Order>,
    /// The stream from this request on.
    input: Reader<'a>,
    events: &'a mut Events,
}

texts! {
    /// Why a session does not go on.
    enum Stop {
        NeedInput => "",
        NeedOutput => "",
        Busy => "",
        Length => "its packet is empty, or longer than any request",
        NoNumber => "its packet has no number to answer to",
        NoGreeting => "it did not begin with INIT",
        Shrunk => "a file became shorter while it was read",
        Unexpected => "",
    }
}

impl From<Stop> for State {
    fn from(stop: Stop) -> Self {
        Self::Closed(match stop {
            Stop::NeedInput => return Self::NeedInput,
            Stop::NeedOutput => return Self::NeedOutput,
            Stop::Busy => return Self::Busy,
            stop => stop.text(),
        })
    }
}

impl Request<'_> {
    /// Skips some of what is left of a packet, or answers the next; or says what has to happen first.
    #[inline(never)]
    fn step(&mut self) -> Result<(), Stop> {
        let have = self.input.rest().len();
        let session = &mut *self.session;
        if session.lent.is_some() {
            return Err(Stop::NeedOutput);
        }
        if session.skip > 0 && have > 0 {
            let here = have.min(session.skip as usize);
            session.skip -= here as u32;
            self.input.take(here);
            return Ok(());
        }
        // What is not there reads as zero.
        let args = &mut self.args;
        *args = self.input.clone();
        let len = args.u32();
        if args.check().is_err() {
            return Err(Stop::NeedInput);
        }
        if len == 0 || len > PACKET_BYTES_MAX {
            return Err(Stop::Length);
        }
        let whole = (len + LENGTH_BYTES as u32) as usize;
        if whole < HEAD_BYTES {
            return Err(Stop::NoNumber);
        }
        let kind = args.byte();
        self.id = args.u32();
        let too_long = len > PACKET_WHOLE_BYTES_MAX && kind != kind::WRITE;
        let wanted = match kind {
            kind::WRITE => files::WRITE_HEAD_BYTES.min(whole),
            _ if too_long || kind == kind::INIT => HEAD_BYTES,
            _ => whole,
        };
        if have < wanted {
            return Err(Stop::NeedInput);
        }
        if self.reply.room().len() < PACKET_REPLY_BYTES {
            return Err(Stop::NeedOutput);
        }
        let here = whole.min(have);
        session.skip = (whole - here) as u32;
        *args = Reader::new(args.take(here - HEAD_BYTES));
        if too_long {
            args.refuse();
        }
        let answered = if kind == kind::INIT {
            session.greeted = true;
            self.greet();
            // The greeting leaves alone: the driver may have to lock itself in before anything else is looked at.
            Err(Stop::NeedOutput)
        } else if session.greeted {
            self.answer(kind)
        } else {
            Err(Stop::NoGreeting)
        };
        if answered.is_ok() || kind == kind::INIT {
            self.input.take(here);
        } else {
            self.session.skip = 0;
        }
        answered
    }
}

/// What was done, and what is to be done next.
#[inline(always)]
fn progress(
    session: &Session,
    consumed: usize,
    reply: &Writer<'_>,
    order: Option<Order>,
    stop: Stop,
) -> Progress {
    let state = match stop {
        _ if order.is_some() => State::NeedOutput,
        Stop::NeedInput if !session.jobs.is_empty() => State::Busy,
        stop => stop.into(),
    };
    Progress {
        consumed,
        produced: reply.position(),
        order,
        state,
    }
}

impl Stream for Sftp {
    type Session = Session;
    type Files = Files;

    fn advance(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_, Files>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        let request = &mut Request {
            vfs: cx.vfs,
            session,
            sftp: self,
            args: Reader::new(&[]),
            reply: Writer::new(output),
            path: &[],
            offset: 0,
            word: 0,
            id: 0,
            node: Node::default(),
            pin: None,
            slot: 0,
            mode: 0,
            ask: Ask::Open,
            told: 0,
            change: SetAttr::default(),
            other: &[],
            last: None,
            name_len: 0,
            order: None,
            input: Reader::new(input),
            events: cx.events,
        };
        // Whoever asks for short things all the time must not keep the long ones from their end, nor the other way round.
        request.go_on();
        loop {
            if let Err(stop) = request.step() {
                let consumed = input.len() - request.input.rest().len();
                let order = request.order.take();
                return progress(request.session, consumed, &request.reply, order, stop);
            }
        }
    }

    fn done(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_, Files>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress {
        let mut reply = Writer::new(output);
        let mut stop = Stop::NeedInput;
        if let Some(Lent { id, .. }) = session.lent.take() {
            let fault = result.map_or_else(Fault::Files, |()| Fault::Done);
            match &order {
                // The length was promised in a head that is gone: there is no other way to take it back.
                Order::Send { .. } if result.is_err() => stop = Stop::Shrunk,
                Order::Send { .. } => {}
                Order::Store { len, .. } => {
                    // What was not taken off the stream is of no use any more.
                    session.skip += *len;
                    fault.emit(&mut reply, id);
                }
                Order::Sync { .. } => fault.emit(&mut reply, id),
            }
        } else {
            order.abandon(cx.vfs);
            stop = Stop::Unexpected;
        }
        progress(session, 0, &reply, None, stop)
    }

    fn interrupted(&mut self) {}

    fn abandon(&mut self, session: &mut Session, vfs: &mut Files) {
        session.jobs.clear();
        if let Some(Lent { slot, .. }) = session.lent.take() {
            session.handles.forget(slot);
        }
        session.handles.clear(vfs);
    }
}

const _: () = assert!(files::WRITE_HEAD_BYTES < PACKET_WHOLE_BYTES_MAX as usize);
