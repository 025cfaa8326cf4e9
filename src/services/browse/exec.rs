//! `--exec`: runs a program for each service that is resolved, changed or gone, without a shell; up to `--jobs` at a time.
//!
//! While that many programs run, events stay in the browser, which merges them: a service that comes and goes meanwhile is not
//! reported. An event of a service waits until the program of its previous event has ended; all later events wait with it.

use super::Links;
use super::line::{family, labels, put_address, put_scoped};
use crate::console::terminal::{Out, strings};
use crate::console::{Console, FAILED, complain, refuse};
use crate::engine::mdns::browser::{Event, EventKind};
use crate::event::Fatal;
use crate::event::{self, NO_PROCESS};
use crate::mem::{Ends as _, parts};
use crate::os::exec::{Program, RunResult};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::wire::label::is_like;
use crate::wire::txt;
use core::ffi::CStr;

/// Interval at which waitpid(2) is called while the program runs, for hosts that do not deliver SIGCHLD.
const REAP_INTERVAL: Duration = Duration::SECOND;
/// Limit of TXT keys in the program's environment.
const KEY_COUNT_MAX: usize = 64;
/// Prefix of the variables in the program's environment.
const PREFIX: &[u8] = b"DNSSD_";

/// Runs the program of `--exec`.
pub struct Runner {
    program: Program,
    /// Limit of processes at a time.
    job_count_max: usize,
    /// Index of the name of the service for which the program is to be started. The environment is in the caller's buffer.
    waiting: Option<usize>,
    /// Time of the next waitpid(2), and of the next attempt to start the program.
    reap_at: Instant,
    /// True after the host refused a process, until it allows one.
    is_refused: bool,
}

impl Runner {
    /// Prepares to run `program`. An error is already reported.
    pub fn new(program: &'static CStr, job_count_max: usize) -> Result<Self, Fatal> {
        let Some(program) = Program::new(program) else {
            let why = text!("no such program, or not executable; name the full path");
            refuse(b"--exec", program.to_bytes(), why);
            return Err(FAILED);
        };
        Ok(Self {
            program,
            job_count_max,
            waiting: None,
            reap_at: Instant::NEVER,
            is_refused: false,
        })
    }

    /// Reports runs that failed. Starts the program for the event in `out`, unless it still runs for the previous event of the same
    /// service. Returns true if a further event can be passed to [`Self::add`].
    pub fn is_ready(&mut self, now: Instant, out: &Out) -> bool {
        while let Some(ended) = self.program.ended() {
            if ended != RunResult::Well {
                let what = if ended == RunResult::NotRun {
                    text!("cannot run the program")
                } else {
                    text!("error from the program")
                };
                let about = self.program.path().to_bytes();
                event::report(&mut Console, what, about, Text::NOTHING);
            }
        }
        if let Some(key) = self.waiting.filter(|key| !self.program.is_running(*key)) {
            let is_refused = !self.program.start(key, out.bytes(), PREFIX);
            if !is_refused {
                self.waiting = None;
            }
            if is_refused && !core::mem::replace(&mut self.is_refused, is_refused) {
                let what = text!("cannot run the program yet");
                complain(FAILED, what, self.program.path().to_bytes(), NO_PROCESS);
            }
            self.is_refused = is_refused;
        }
        self.reap_at = match (self.program.count(), self.waiting) {
            (0, None) => Instant::NEVER,
            _ => now.after(REAP_INTERVAL),
        };
        self.waiting.is_none() && self.program.count() < self.job_count_max
    }

    /// Returns true if no process runs.
    pub fn is_idle(&self) -> bool {
        self.program.count() == 0
    }

    /// Returns the time at which [`Self::is_ready`] must be called again.
    pub const fn poll_at(&self) -> Instant {
        self.reap_at
    }

    /// Prepares to run the program for an event that resolves, changes or removes a service. Ignores other events.
    pub fn add(&mut self, out: &mut Out, links: &Links, event: &Event<'_>) {
        let what = match event.kind {
            EventKind::Resolved => text!("add"),
            EventKind::Changed => text!("change"),
            EventKind::Lost => text!("remove"),
            EventKind::Removed if event.was_resolved => text!("remove"),
            _ => return,
        };
        describe(out, what.decode(&mut [0; 8]), links, event);
        self.waiting = Some(event.name.index());
    }
}

/// Writes the variables that describe an event, each NUL-terminated, into `out`.
pub fn describe(out: &mut Out, word: &[u8], links: &Links, event: &Event<'_>) {
    let names = event.names();
    out.clear();
    set(out, b"EVENT", word);
    set(out, b"INTERFACE", links.name(event.link));
    set(out, b"FAMILY", family(event));
    set(out, b"NAME", names.label(event.name));
    name(out, b"TYPE");
    out.labels(&mut labels(names, names.parent(event.name)))
        .byte(0);
    if !matches!(event.kind, EventKind::Resolved | EventKind::Changed) {
        return;
    }
    name(out, b"HOST")
        .labels(&mut names.texts(event.host))
        .byte(0);
    put_address(name(out, b"ADDRESS"), links.name(event.link), event);
    out.byte(0);
    name(out, b"ADDRESSES");
    put_addresses(out, links, event);
    name(out, b"PORT").number(event.port.into()).byte(0);
    let keys = strings(event.txt).filter_map(txt::split);
    let mut count = 0;
    for (key, value) in keys {
        let start = out.bytes().len();
        out.put(PREFIX).put(b"TXT_");
        for byte in key {
            let is_safe = byte.is_ascii_alphanumeric();
            out.byte(if is_safe { *byte } else { b'_' });
        }
        out.byte(b'=');
        // If a key occurs twice, only the first one is passed on (RFC 6763 section 6.4).
        let (before, variable) = (out.bytes().head(start), out.bytes().tail(start));
        let mut before = parts(before, 0);
        let is_repeated = before.any(|earlier| is_like(variable, earlier.head(variable.len())));
        if is_repeated || count == KEY_COUNT_MAX {
            out.truncate(start);
            continue;
        }
        count += 1;
        put(out, value.unwrap_or_default());
    }
}

/// Writes all known addresses of an event's host, with spaces between them and a NUL at the end. A link-local address has its
/// interface: `fe80::1%eth0`.
fn put_addresses(out: &mut Out, links: &Links, event: &Event<'_>) {
    let first = out.bytes().len();
    for (link, address) in event.addresses() {
        let start = out.bytes().len();
        put_scoped(out, address, links.name(link));
        // Two links to one network have the same addresses.
        let (before, new) = (out.bytes().head(start).tail(first), out.bytes().tail(start));
        if parts(before, b' ').any(|other| other == new) {
            out.truncate(start);
        } else {
            out.byte(b' ');
        }
    }
    out.truncate(out.bytes().len() - 1);
    out.byte(0);
}

/// Writes the name of a variable and "=".
fn name<'o>(out: &'o mut Out, name: &[u8]) -> &'o mut Out {
    out.put(PREFIX).put(name).byte(b'=')
}

/// Writes the value of a variable and a NUL. NULs inside the value are left out, because they would end the variable.
fn put(out: &mut Out, value: &[u8]) {
    for byte in value {
        if *byte != 0 {
            out.byte(*byte);
        }
    }
    out.byte(0);
}

fn set(out: &mut Out, variable: &[u8], value: &[u8]) {
    name(out, variable);
    put(out, value);
}
