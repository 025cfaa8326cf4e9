//! SFTP version 3 with OpenSSH's extensions: parses packets from a byte stream and answers them. draft-ietf-secsh-filexfer-02.
//!
//! A packet is answered when all of it has arrived. The exception is WRITE: a transfer moves the rest of its data from the stream to
//! the file. Replies come in the order of the requests; only copies and checks, which may take long, run in slices and are answered
//! when they are complete. A malformed request is answered with an error if its id is known.

use super::Cx;
use super::service::{Moved, Next, Progress, Transfer};
use crate::config::{
    PACKET_BYTES_MAX, PACKET_REPLY_BYTES, PACKET_WHOLE_BYTES_MAX, SFTP_BATCH_BYTES,
};
use crate::event::Events;
use crate::mem::Slots;
use crate::stats::{self, Meter};
use crate::text::text;
use crate::vfs::{Name, Node, Pin, Tree};
use crate::wire::sftp::{Attributes, HEAD_BYTES, LENGTH_BYTES, kind};
use crate::wire::{Reader, Writer};
use accounts::Accounts;
use handles::Handles;
use jobs::Jobs;
use requests::Operation;
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
mod log;
pub mod longname;
mod names;
mod paths;
mod requests;
mod rounds;
mod service;
mod status;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use handles::{LoggedPath, OpenHandle};
pub use requests::{Permits, requests};
pub use service::{REQUEST_BYTES, Sessions};

/// The log level, as OpenSSH names it.
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

/// A server: the state that its sessions share.
#[repr(C)] // Most-used fields first, where short instructions reach them.
pub struct Sftp {
    permits: Permits,
    level: Level,
    /// UID of the server.
    uid: u32,
    /// Returns the seconds and nanoseconds since 1970.
    clock: fn() -> (i64, u32),
    accounts: Accounts,
}

impl Sftp {
    /// Creates a server that runs as `uid`. `clock` returns the seconds and nanoseconds since 1970, for the dates of listings. `tz` is the value of TZ. `texts` is memory for passwd, group and the time zone file,
    /// and is not touched before these are needed.
    pub fn new(
        permits: Permits,
        level: Level,
        uid: u32,
        clock: fn() -> (i64, u32),
        tz: Option<&'static [u8]>,
        texts: [&'static mut [u8]; 3],
    ) -> Self {
        Self {
            permits,
            level,
            uid,
            clock,
            accounts: Accounts::new(tz, texts),
        }
    }

    /// Names of users and groups.
    pub const fn accounts(&mut self) -> &mut Accounts {
        &mut self.accounts
    }
}

/// The state of one connection.
#[repr(C)] // Most-used fields first, where short instructions reach them.
pub struct Session {
    handles: Handles,
    /// The request that waits for the current transfer. `None` if there is none.
    lent: Option<LentHandle>,
    /// Length of the unread rest of a packet that was already answered (bytes).
    skip: u32,
    /// True after INIT.
    greeted: bool,
    jobs: Jobs,
}

/// A handle whose file a transfer uses, and the request to answer after it.
#[derive(Clone, Copy)]
struct LentHandle {
    slot: u16,
    id: u32,
    /// Length of the request's data (bytes).
    len: u32,
}

impl Session {
    /// Creates a session. `handles` limits the number of open handles, `paths` the number of those whose paths are logged. `hashes`
    /// limits the hashes of one check; it has at most [`HASHES_BYTES`](crate::config::HASHES_BYTES) and is not touched before the
    /// first check.
    pub const fn new(
        handles: Slots<Option<OpenHandle>>,
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

    /// Resets the session for the next connection, after [`Sftp::abandon`].
    pub const fn renew(&mut self) {
        (self.skip, self.greeted) = (0, false);
    }
}

/// The request that is being answered, its reply, and what its handler needs.
#[repr(C)] // Most-used fields first, where short instructions reach them.
struct Exchange<'a> {
    vfs: &'a mut Tree,
    session: &'a mut Session,
    sftp: &'a mut Sftp,
    /// Writer for the next reply.
    reply: Writer<'a>,
    request: Request<'a>,
    /// The stream from this request on.
    input: Reader<'a>,
    events: &'a mut Events,
    stats: &'a mut Meter,
}

/// The current request.
#[repr(C)] // As above.
struct Request<'a> {
    /// The unread arguments that have arrived; `Session::skip` counts those that have not.
    args: Reader<'a>,
    path: &'a [u8],
    offset: u64,
    /// For OPEN: its flags, then the handle of the reply. For READ and WRITE: the length.
    uint32: u32,
    id: u32,
    operation: Operation,
    /// The open object that the handle of the request refers to: access mode, slot, node and pin.
    mode: u8,
    slot: u16,
    node: Node,
    pin: Option<Pin>,
    /// For an extension: length of its name (bytes).
    extension_name_len: usize,
    /// The attributes to set.
    attributes: Attributes,
    /// The second path of a request with two.
    other: &'a [u8],
    /// The last name of the path whose parent directory was resolved last.
    last_name: Option<Name<'a>>,
    /// The transfer that must be carried out next.
    transfer: Option<Transfer>,
}

impl Request<'_> {
    /// A request without arguments.
    fn new() -> Self {
        Self {
            args: Reader::new(&[]),
            path: &[],
            offset: 0,
            uint32: 0,
            id: 0,
            operation: Operation::Open,
            mode: 0,
            slot: handles::NONE,
            node: Node::default(),
            pin: None,
            extension_name_len: 0,
            attributes: Attributes::default(),
            other: &[],
            last_name: None,
            transfer: None,
        }
    }
}

impl Exchange<'_> {
    /// Skips bytes of an answered packet, or answers the next packet. Fails with the need for which the driver must act first.
    fn step(&mut self) -> Result<(), Next> {
        let have = self.input.rest().len();
        let session = &mut *self.session;
        if session.lent.is_some() {
            return Err(Next::Output);
        }
        if session.skip > 0 && have > 0 {
            let here = have.min(session.skip as usize);
            session.skip -= here as u32;
            self.input.take(here);
            return Ok(());
        }
        // Missing bytes are read as zeros; `check` reports them.
        self.request = Request::new();
        let args = &mut self.request.args;
        *args = self.input.clone();
        let len = args.u32();
        if args.check().is_err() {
            return Err(Next::Input);
        }
        if len == 0 || len > PACKET_BYTES_MAX {
            let why = text!("a packet is empty, or longer than any request");
            return Err(Next::Close(why));
        }
        let whole = (len + LENGTH_BYTES as u32) as usize;
        if whole < HEAD_BYTES {
            return Err(Next::Close(text!("a packet has no request id")));
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
            return Err(Next::Input);
        }
        let is_short = self.reply.space().len() < PACKET_REPLY_BYTES;
        if is_short || self.reply.position() >= SFTP_BATCH_BYTES {
            return Err(Next::Output);
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
            return Ok(());
        }
        let answered = if session.greeted {
            self.answer(kind)
        } else {
            Err(Next::Close(text!("the session did not start with INIT")))
        };
        if answered.is_err() {
            self.session.skip = 0;
            return answered;
        }
        self.input.take(here);
        self.request
            .transfer
            .take()
            .map_or(Ok(()), |transfer| Err(Next::Move(transfer)))
    }
}

/// The progress of one call. While jobs remain, it is not input that is needed.
#[inline(always)]
fn progress(session: &Session, used: usize, reply: &Writer<'_>, mut next: Next) -> Progress {
    if matches!(next, Next::Input) && !session.jobs.is_empty() {
        next = Next::Soon;
    }
    Progress::of(used, reply.position(), next)
}

impl Sftp {
    /// Answers the requests in `input`, as far as the replies fit into `output`.
    pub fn advance(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress {
        let exchange = &mut Exchange {
            vfs: cx.vfs,
            session,
            sftp: self,
            reply: Writer::new(output),
            request: Request::new(),
            input: Reader::new(input),
            events: cx.events,
            stats: cx.stats,
        };
        // One slice of a job, then requests, so that neither starves the other.
        let waits = exchange.continue_job();
        loop {
            if let Err(mut next) = exchange.step() {
                if let (Some(until), Next::Input) = (waits, &next) {
                    next = until.into();
                }
                let used = input.len() - exchange.input.rest().len();
                return progress(exchange.session, used, &exchange.reply, next);
            }
        }
    }

    /// Answers the WRITE whose data the driver has moved, with the given `result`.
    pub fn moved(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        Moved { transfer, result }: Moved,
        output: &mut [u8],
    ) -> Progress {
        let Some(LentHandle { slot, id, len }) = session.lent.take() else {
            transfer.abandon(cx.vfs);
            return Progress::CLOSED;
        };
        let mut reply = Writer::new(output);
        let fault = result.map_or_else(Fault::Files, |()| Fault::Done);
        if result.is_ok() {
            session.handles.count(slot, 0, len);
        }
        // The rest of a WRITE that failed is skipped.
        session.skip += transfer.len as u32;
        fault.emit(&mut reply, id, self.level, cx.events);
        cx.stats
            .called(stats::Operation::sftp(kind::WRITE), fault.outcome());
        progress(session, 0, &reply, Next::Input)
    }

    /// Releases the files of a session whose connection has closed.
    pub fn abandon(&mut self, session: &mut Session, vfs: &mut Tree, events: &mut Events) {
        session.handles.log_open(events);
        session.jobs.clear();
        if let Some(LentHandle { slot, .. }) = session.lent.take() {
            session.handles.forget(slot);
        }
        session.handles.clear(vfs);
    }
}

const _: () = assert!(files::WRITE_HEAD_BYTES < PACKET_WHOLE_BYTES_MAX as usize);
