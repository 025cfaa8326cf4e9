//! `--exec`: a program that is run for each service that is resolved, changed or gone, one at a time and never by a shell.
//!
//! While it runs, what happens waits among what the browser knows: of what comes and goes meanwhile nothing is left.

use super::super::terminal_safe::{Out, strings};
use super::super::{Console, FAILED, Fatal, complain, refuse};
use super::line::{KIND_LABELS, family};
use crate::drive::platform::host::exec::{Ended, Program};
use crate::engine::mdns::browser::{Event, What};
use crate::event;
use crate::mem::{Ends as _, parts};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::wire::label::is_like;
use crate::wire::txt;
use core::ffi::CStr;

/// How often it is looked whether the program has ended, beside the signal, which some hosts do not tell of.
const LOOK: Duration = Duration::SECOND;
/// Keys of a TXT record in its environment.
const KEY_COUNT_MAX: usize = 64;
/// What the names in its environment begin with.
const PREFIX: &[u8] = b"DNSSD_";

/// The program, and whether it runs.
pub(super) struct Runner {
    program: Program,
    /// When that is looked at by itself.
    look_at: Instant,
}

impl Runner {
    /// One for this program. The error has been told.
    pub(super) fn new(program: &'static CStr) -> Result<Self, Fatal> {
        let Some(program) = Program::new(program) else {
            let why = text!("there is no such program, or it may not be run; name its path");
            refuse(b"--exec", program.to_bytes(), why);
            return Err(FAILED);
        };
        Ok(Self {
            program,
            look_at: Instant::NEVER,
        })
    }

    /// Whether it does not run. If it failed, that is told.
    pub(super) fn is_free(&mut self, now: Instant) -> bool {
        if !self.program.is_running() {
            return true;
        }
        let Some(ended) = self.program.ended() else {
            self.look_at = now.after(LOOK);
            return false;
        };
        self.look_at = Instant::NEVER;
        if ended != Ended::Well {
            let what = if ended == Ended::NotRun {
                text!("cannot be run: the program")
            } else {
                text!("has failed: the program")
            };
            let about = self.program.path().to_bytes();
            event::tell(&mut Console, what, about, Text::NOTHING);
        }
        true
    }

    /// When it is to be asked whether it is free again.
    pub(super) const fn poll_at(&self) -> Instant {
        self.look_at
    }

    /// Runs it for what happened to a service.
    pub(super) fn run(&mut self, out: &mut Out, interface: &[u8], event: &Event<'_>) {
        let what = match event.what {
            What::Resolved => text!("add"),
            What::Changed => text!("change"),
            What::Lost => text!("remove"),
            What::Removed if event.was_resolved => text!("remove"),
            _ => return,
        };
        describe(out, what.decode(&mut [0; 8]), interface, event);
        if !self.program.start(out.bytes(), PREFIX) {
            let what = text!("cannot be run: the program");
            let why = text!("the host has no process left");
            complain(FAILED, what, self.program.path().to_bytes(), why);
        }
    }
}

/// What happened, as it stands in the environment: a NUL behind each.
pub(super) fn describe(out: &mut Out, word: &[u8], interface: &[u8], event: &Event<'_>) {
    let names = event.names();
    out.begin();
    set(out, b"EVENT", word);
    set(out, b"INTERFACE", interface);
    set(out, b"FAMILY", family(event));
    set(out, b"NAME", names.label(event.name));
    name(out, b"TYPE");
    out.labels(names, names.parent(event.name), KIND_LABELS)
        .byte(0);
    if !matches!(event.what, What::Resolved | What::Changed) {
        return;
    }
    name(out, b"HOST").name(names, event.host).byte(0);
    name(out, b"ADDRESS").address(event.address).byte(0);
    name(out, b"PORT").number(event.port.into()).byte(0);
    let keys = strings(event.txt).filter_map(txt::split);
    let mut count = 0;
    for (key, value) in keys {
        let begun = out.len();
        out.put(PREFIX).put(b"TXT_");
        for byte in key {
            let is_safe = byte.is_ascii_alphanumeric();
            out.byte(if is_safe { *byte } else { b'_' });
        }
        out.byte(b'=');
        // Of the same key the first counts. RFC 6763 section 6.4.
        let (before, this) = (out.bytes().head(begun), out.bytes().tail(begun));
        let mut before = parts(before, 0);
        let is_there = before.any(|other| is_like(this, other.head(this.len())));
        if is_there || count == KEY_COUNT_MAX {
            out.cut(begun);
            continue;
        }
        count += 1;
        put(out, value.unwrap_or_default());
    }
}

/// The beginning of a text of the environment.
fn name<'o>(out: &'o mut Out, name: &[u8]) -> &'o mut Out {
    out.put(PREFIX).put(name).byte(b'=')
}

/// The end of one. A NUL in it would be its end for others: it is left out.
fn put(out: &mut Out, value: &[u8]) {
    for byte in value {
        if *byte != 0 {
            out.byte(*byte);
        }
    }
    out.byte(0);
}

fn set(out: &mut Out, what: &[u8], value: &[u8]) {
    name(out, what);
    put(out, value);
}
