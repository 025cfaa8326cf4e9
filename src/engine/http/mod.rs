//! HTTP over the exports: files and directories to read, and the state of the server. RFC 9110, RFC 9112.
//!
//! A path is the path of an export, then a path in it. Each request is carried out as the export's anonymous user, whatever it says
//! about itself. `place` finds the object, `answer` chooses the reply, `conditions` has those of a file, `parts` sends it or ranges of it, `listing`
//! has that of a directory, whose names `names` sorts and `rows` writes; `figures` writes those of the server, `reply` heads, `access_log` a line
//! for each reply.
//! A reply ends its connection if more than half of the connections are taken.
//! Invariant: a reply has a length, or the connection ends after it; after a request that cannot be framed, the connection ends.

mod access_log;
mod answer;
mod conditions;
pub mod figures;
mod listing;
mod names;
mod parts;
mod place;
mod reply;
mod rows;
#[cfg_attr(not(any(feature = "boot", test, fuzzing)), path = "no_script.rs")]
mod script;

use super::Cx;
use super::service::Health;
use super::service::{ConnectionId, Io, Local, Moved, Next, Progress, Service, Transfer};
use crate::config::{
    HTTP_BODY_BYTES_MAX, HTTP_NAME_COUNT, HTTP_NAMES_BYTES, PATH_BYTES_MAX, REQUEST_BYTES,
};
use crate::event::Sink;
use crate::mem::{self, Ends as _, Slots, scaled};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::vfs::Until;
use crate::wire::Writer;
use crate::wire::http::{self, BadRequest, Body, Request};
use figures::Figures;
use listing::Listed;
use names::Names;
use parts::SentParts;
use reply::Asked;
pub use script::Script;

/// The object at the path `/`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// A list of the exports that the peer may read.
    Exports,
    /// The top of the only export.
    Single,
}

/// A server.
pub struct Http {
    /// Indexed by connection number.
    sessions: Slots<Session>,
    /// Number of open connections, and the most that can be open.
    open_count: usize,
    open_count_max: usize,
    root: Root,
    /// Receives a line for each reply.
    log: Option<&'static mut dyn Sink>,
    /// Seconds since 1970, at the last call.
    wall_secs: i64,
    /// The export that was opened again last, and the time from which it may be opened again.
    reopened: (usize, Instant),
    /// The time from which `/healthz` may look at all exports again.
    state_at: Instant,
    /// Begins with the path of the current request, decoded.
    path: &'static mut [u8],
    /// Length of that path (bytes).
    path_len: usize,
    /// The host's name, for the titles of listings.
    host: &'static [u8],
    /// The names of the listing in progress.
    names: Names,
    /// The peers that may read the figures.
    pub figures: figures::Access,
    /// The menu of images for iPXE.
    pub script: Script,
}

/// A page, or a reply with several parts of a file, in progress: where it goes on.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Names(Listed),
    Figures(Figures),
    Parts(SentParts),
}

impl Sent {
    /// Returns true if the head of the reply was sent.
    const fn has_head(&self) -> bool {
        match self {
            Self::Names(listed) => listed.has_head,
            Self::Figures(_) | Self::Parts(_) => true,
        }
    }
}

/// State of a connection between two calls.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    /// The listing, page or reply with several parts of which a part was sent.
    sent: Option<Sent>,
    /// Number of the listener.
    listener: u16,
    /// Number of bytes to skip: the body of a request; [`u64::MAX`]: all that the client still sends.
    skip_bytes: u64,
    /// True if the connection ends: the last reply is written.
    closes: bool,
    /// True if the time limit of the request has passed.
    is_late: bool,
}

/// The next step after a request was looked at.
enum Step {
    /// The reply is written.
    Done,
    /// The head of the reply is written; this part of a file follows.
    Send(Transfer),
    /// A part of a listing is written.
    Continue,
    /// The rest of a reply of which a part was sent cannot be read: the connection ends.
    Cut,
    /// Nothing was done: the request is to be looked at again after this event.
    Again(Until),
}

/// The reason why a connection ends within a reply.
const CUT: Text = text!("a file or listing could not be read to its end");

impl Http {
    /// A server of at most `connection_count` connections on the host of this name. `log` receives a line for each reply.
    pub fn new(
        connection_count: usize,
        root: Root,
        host: &'static [u8],
        log: Option<&'static mut dyn Sink>,
    ) -> Self {
        Self {
            host,
            sessions: Slots::new(connection_count),
            open_count: 0,
            open_count_max: connection_count,
            root,
            log,
            wall_secs: 0,
            reopened: (usize::MAX, Instant::default()),
            state_at: Instant::default(),
            path: mem::bytes(PATH_BYTES_MAX),
            path_len: 0,
            names: Names::new(
                scaled(HTTP_NAME_COUNT / 8, HTTP_NAME_COUNT),
                scaled(HTTP_NAMES_BYTES / 8, HTTP_NAMES_BYTES),
            ),
            figures: figures::Access::default(),
            script: Script::default(),
        }
    }

    /// Looks at the request at the start of `input`. Returns the number of bytes that are done with, and the next need.
    fn take(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        out: &mut Writer<'_>,
    ) -> (usize, Next) {
        let parsed = match http::parse(input) {
            // Empty lines, which some clients send after a body, are no request.
            Ok(None) if session.is_late && input.trim_ascii().is_empty() => {
                return (0, Next::Close(Text::NOTHING));
            }
            Ok(None) if session.is_late => Err(BadRequest::Late),
            Ok(None) if input.len() < REQUEST_BYTES => return (0, Next::Input),
            Ok(None) => Err(http::too_long(input)),
            Ok(Some(parsed)) => Ok(parsed),
            Err(fault) => Err(fault),
        };
        let (request, len) = match parsed {
            Ok(parsed) => parsed,
            Err(fault) => {
                // The start of a ClientHello.
                if input.starts_with(b"\x16\x03") {
                    let advice = text!("use http:// or a proxy");
                    cx.report(
                        text!("asks for TLS, which is not served").warn(),
                        b"",
                        advice,
                    );
                }
                self.refuse(cx, input, fault.status(), out);
                (session.closes, session.skip_bytes) = (true, u64::MAX);
                return (input.len(), Next::Output);
            }
        };
        let asked = Asked {
            request: &request,
            input,
            closes: !request.keeps
                || skip_bytes(&request) == u64::MAX
                || self.open_count * 2 > self.open_count_max,
        };
        let next = match self.answer(session, cx, &asked, out) {
            Step::Again(until) => return (0, until.into()),
            // Other connections have their turns, because the next part is as long.
            Step::Continue => return (0, Next::Soon),
            Step::Cut => return (0, Next::Close(CUT)),
            // The next part follows: the request is looked at again.
            Step::Send(transfer) if session.sent.is_some() => return (0, Next::Move(transfer)),
            Step::Send(transfer) => Next::Move(transfer),
            Step::Done => Next::Output,
        };
        session.skip_bytes = skip_bytes(&request);
        session.closes |= asked.closes;
        (len, next)
    }
}

/// Length of the request's body, which is skipped. [`u64::MAX`] if that is unknown or long: the reply is the last.
const fn skip_bytes(request: &Request<'_>) -> u64 {
    match request.body {
        Body::None => 0,
        Body::Length(len) if len <= HTTP_BODY_BYTES_MAX && !request.expects => len,
        _ => u64::MAX,
    }
}

impl Service for Http {
    fn open(&mut self, id: ConnectionId, at: Local) {
        self.open_count += 1;
        let opened = Session {
            listener: at.socket,
            ..Session::default()
        };
        match self.sessions.get_mut(id.index()) {
            Some(session) => *session = opened,
            // Numbers are used again first, so this one is the next.
            None => _ = self.sessions.push(opened),
        }
    }

    fn advance(&mut self, id: ConnectionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        let Some(mut session) = self.sessions.get(id.index()).copied() else {
            return Progress::CLOSED;
        };
        self.wall_secs = (cx.wall.as_ms() / 1000) as i64;
        let mut out = Writer::new(io.output);
        let mut used = 0;
        let next = loop {
            used += session.skip(io.input.len() - used);
            let rest = io.input.tail(used);
            let is_body = session.skip_bytes > 0;
            if session.closes || is_body && session.is_late {
                break match is_body || !rest.is_empty() {
                    true => Next::Drain,
                    false => Next::Close(Text::NOTHING),
                };
            }
            if is_body {
                break Next::Rest;
            }
            if rest.is_empty() {
                break Next::Input;
            }
            if out.space().len() < reply::HEAD_BYTES_MAX {
                break Next::Output;
            }
            let (len, next) = self.take(&mut session, cx, rest, &mut out);
            used += len;
            if len == 0 || !matches!(next, Next::Output) {
                break next;
            }
        };
        session.is_late = false;
        if let Some(place) = self.sessions.get_mut(id.index()) {
            *place = session;
        }
        Progress::of(used, out.written().unwrap_or(0), next)
    }

    fn moved(&mut self, _: ConnectionId, cx: &mut Cx<'_>, done: Moved, _io: Io<'_>) -> Progress {
        done.transfer.abandon(cx.vfs);
        let next = match done.result {
            Err(error) => {
                answer::report(cx, error);
                Next::Close(CUT)
            }
            Ok(()) => Next::Output,
        };
        Progress::of(0, 0, next)
    }

    fn close(&mut self, _: ConnectionId, _: &mut Cx<'_>, _held: &[u8]) {
        self.open_count -= 1;
    }

    fn refusal(&self) -> &'static [u8] {
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    }

    fn expire(&mut self, id: ConnectionId) -> bool {
        let session = self.sessions.get_mut(id.index());
        session.map(|session| session.is_late = true).is_some()
    }
}

impl Session {
    /// Ends a listing or page. With `closes` the connection ends, too.
    const fn end(&mut self, closes: bool) {
        self.sent = None;
        self.closes |= closes;
    }

    /// Skips as many of `have` bytes as are to be skipped, and returns their number.
    fn skip(&mut self, have: usize) -> usize {
        let skipped = self.skip_bytes.min(have as u64);
        self.skip_bytes -= skipped;
        skipped as usize
    }
}

/// Shortest time between two looks at an export's directory.
const REOPEN: Duration = Duration::SECOND;

#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;
