//! SFTP version 3 as OpenSSH serves it: packets from a byte stream, and what each is answered. draft-ietf-secsh-filexfer-02.
//!
//! A packet is answered when it is there as a whole, but for a WRITE: what of its data has not arrived goes from the stream to
//! the file by an order. Replies come in the order of the requests; only copies and checks, which may take long, are carried
//! on in slices, and are answered when they are done. What is malformed is answered so, as long as its number is known.

use super::{Cx, Order, Progress, State, Stream};
use crate::config::{
    PACKET_BYTES_MAX, PACKET_REPLY_BYTES, PACKET_WHOLE_BYTES_MAX, SFTP_BATCH_BYTES,
};
use crate::event::Events;
use crate::mem::Slots;
use crate::text::{Text, text};
use crate::vfs::{FsResult, Name, Node, Pin, SetAttr, Tree};
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
mod lines;
mod log;
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
mod zone;

pub use handles::{LoggedPath, Open};
pub use lines::log;
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
    /// The user that runs it.
    uid: u32,
    accounts: Accounts,
}

impl Sftp {
    /// A server that the user of this number runs, where TZ is this. The memory is for passwd, group and local time's file, and
    /// is not touched before they are needed.
    pub fn new(
        permits: Permits,
        level: Level,
        uid: u32,
        tz: Option<&'static [u8]>,
        texts: [&'static mut [u8]; 3],
    ) -> Self {
        Self {
            permits,
            level,
            uid,
            accounts: Accounts::new(tz, texts),
        }
    }

    /// Names of users and groups.
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
    /// Bytes that the request reads or writes.
    len: u32,
}

impl Session {
    /// A session with as many handles as there are places, whose paths are logged as far as there are places for them. One check has no more bytes of
    /// hashes than there are in `hashes`, at most [`HASHES_BYTES`](crate::config::HASHES_BYTES); it is not touched before.
    pub const fn new(
        handles: Slots<Option<Open>>,
        paths: &'static mut [LoggedPath],
        hashes: &'static mut [u8],
    ) -> Self {
        Self {
            greeted: false,
            skip: 0,
            lent: None,
            handles: Handles::new(handles, paths),
            jobs: Jobs::new(hashes),
        }
    }

    /// The same for the next connection, after [`Stream::abandon`].
    pub const fn renew(&mut self) {
        (self.skip, self.greeted) = (0, false);
    }
}

/// One call of [`Sftp::advance`]: what it may use.
#[repr(C)] // What is used most lies first, where short instructions reach it.
struct Turn<'a> {
    vfs: &'a mut Tree,
    session: &'a mut Session,
    sftp: &'a mut Sftp,
    /// Where the next reply goes.
    reply: Writer<'a>,
    request: Request<'a>,
    /// The stream from this request on.
    input: Reader<'a>,
    events: &'a mut Events,
}

/// The request in hand.
#[repr(C)] // As above.
struct Request<'a> {
    /// Its arguments from the first that was not read yet on, as far as they have arrived: the session knows how much has not.
    args: Reader<'a>,
    path: &'a [u8],
    offset: u64,
    /// Flags of OPEN, and then its handle; length of READ and WRITE.
    uint32: u32,
    id: u32,
    /// Which attributes it has.
    attributes_told: u32,
    ask: Ask,
    /// What its handle names: what that is open for, where it is, and which object it is.
    mode: u8,
    slot: u16,
    node: Node,
    pin: Option<Pin>,
    /// Of an extension: bytes of its name.
    extension_name_len: usize,
    /// What its attributes are to change.
    set_attr: SetAttr,
    /// The same as it is logged: size, mode, time of the last write, user and group, as far as they are told.
    numbers: [u64; 5],
    /// A second path.
    other: &'a [u8],
    /// The name that a path ends with.
    last_name: Option<Name<'a>>,
    /// What it ordered.
    order: Option<Order>,
}

impl Request<'_> {
    /// One without arguments.
    fn new() -> Self {
        Self {
            args: Reader::new(&[]),
            path: &[],
            offset: 0,
            uint32: 0,
            id: 0,
            attributes_told: 0,
            ask: Ask::Open,
            mode: 0,
            slot: handles::NONE,
            node: Node::default(),
            pin: None,
            extension_name_len: 0,
            set_attr: SetAttr::default(),
            numbers: [0; 5],
            other: &[],
            last_name: None,
            order: None,
        }
    }
}

impl Turn<'_> {
    /// Skips some of what is left of a packet, or answers the next; or says what has to happen first.
    fn step(&mut self) -> Result<(), State> {
        let have = self.input.rest().len();
        let session = &mut *self.session;
        if session.lent.is_some() {
            return Err(State::NeedOutput);
        }
        if session.skip > 0 && have > 0 {
            let here = have.min(session.skip as usize);
            session.skip -= here as u32;
            self.input.take(here);
            return Ok(());
        }
        // What is not there reads as zero.
        self.request = Request::new();
        let args = &mut self.request.args;
        *args = self.input.clone();
        let len = args.u32();
        if args.check().is_err() {
            return Err(State::NeedInput);
        }
        if len == 0 || len > PACKET_BYTES_MAX {
            let why = text!("its packet is empty, or longer than any request");
            return Err(State::Closed(why));
        }
        let whole = (len + LENGTH_BYTES as u32) as usize;
        if whole < HEAD_BYTES {
            let why = text!("its packet has no number to answer to");
            return Err(State::Closed(why));
        }
        let kind = args.byte();
        self.request.id = args.u32();
        let too_long = len > PACKET_WHOLE_BYTES_MAX && kind != kind::WRITE;
        let wanted = match kind {
            kind::WRITE => files::WRITE_HEAD_BYTES.min(whole),
            _ if too_long || kind == kind::INIT => HEAD_BYTES,
            _ => whole,
        };
        if have < wanted {
            return Err(State::NeedInput);
        }
        let is_short = self.reply.space().len() < PACKET_REPLY_BYTES;
        if is_short || self.reply.position() >= SFTP_BATCH_BYTES {
            return Err(State::NeedOutput);
        }
        let here = whole.min(have);
        session.skip = (whole - here) as u32;
        *args = Reader::new(args.take(here - HEAD_BYTES));
        if too_long {
            args.refuse();
        }
        if kind == kind::INIT {
            session.greeted = true;
            self.greet();
            self.input.take(here);
            // The greeting leaves alone: the driver may have to lock itself in before anything else is looked at.
            return Err(State::NeedOutput);
        }
        let answered = if session.greeted {
            self.answer(kind)
        } else {
            Err(State::Closed(text!("it did not begin with INIT")))
        };
        if answered.is_err() {
            self.session.skip = 0;
            return answered;
        }
        self.input.take(here);
        self.request
            .order
            .take()
            .map_or(Ok(()), |order| Err(State::Order(order)))
    }
}

/// What was done, and what is to be done next.
#[inline(always)]
fn progress(session: &Session, consumed: usize, reply: &Writer<'_>, mut state: State) -> Progress {
    if state == State::NeedInput && !session.jobs.is_empty() {
        state = State::Busy;
    }
    Progress {
        consumed,
        produced: reply.position(),
        state,
    }
}

impl Stream for Sftp {
    type Session = Session;

    fn advance(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        let turn = &mut Turn {
            vfs: cx.vfs,
            session,
            sftp: self,
            reply: Writer::new(output),
            request: Request::new(),
            input: Reader::new(input),
            events: cx.events,
        };
        // Neither short requests without end nor long jobs must keep the others from their end.
        turn.go_on();
        loop {
            if let Err(state) = turn.step() {
                let consumed = input.len() - turn.input.rest().len();
                return progress(turn.session, consumed, &turn.reply, state);
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
        let mut state = State::NeedInput;
        if let Some(Lent { slot, id, len }) = session.lent.take() {
            let fault = result.map_or_else(Fault::Files, |()| Fault::Done);
            if result.is_ok() {
                session.handles.count(slot, 0, len);
            }
            if let Order::Store { len, .. } = &order {
                // The rest of a WRITE that failed is skipped.
                session.skip += *len;
            }
            fault.emit(&mut reply, id, self.level, cx.events);
        } else {
            order.abandon(cx.vfs);
            state = State::Closed(Text::NOTHING);
        }
        progress(session, 0, &reply, state)
    }

    fn interrupted(&mut self) {}

    fn abandon(&mut self, session: &mut Session, vfs: &mut Tree, events: &mut Events) {
        session.handles.log_open(events);
        session.jobs.clear();
        if let Some(Lent { slot, .. }) = session.lent.take() {
            session.handles.forget(slot);
        }
        session.handles.clear(vfs);
    }
}

const _: () = assert!(files::WRITE_HEAD_BYTES < PACKET_WHOLE_BYTES_MAX as usize);
