//! Messages of the program for people: lines on standard error, and output on standard output. Tasks in a loop report events instead
//! (`event::Events`), which arrive here, too.

#[cfg(any(feature = "nfs", feature = "ls"))]
pub mod images;
pub mod json;
pub mod log;
#[cfg_attr(not(any(feature = "nfs", feature = "mdns")), path = "no_logged.rs")]
mod logged;
pub mod reasons;
pub mod terminal;

use crate::config::{HAS_INIT, HAS_LOG};
use crate::event::{self, Fatal, Level, Line, Marks, Sink};
use crate::mem::Ends as _;
use crate::sys;
use crate::text::{Text, text};
use core::sync::atomic::{AtomicBool, Ordering};

/// Exit status 0: all work is done.
pub const DONE: Fatal = Fatal::Done;
/// Exit status 1: a failure.
pub const FAILED: Fatal = Fatal::Failed;
/// Exit status 2: wrong arguments.
pub const USAGE: Fatal = Fatal::Usage;

/// Writes `bytes` to standard output. If that fails, reports the failure and exits with status 1.
pub fn print(bytes: &[u8]) {
    if !sys::print(bytes) {
        let what = text!("standard output cannot be written");
        sys::exit(complain(FAILED, what, b"", Text::NOTHING) as i32);
    }
}

/// Reports one line on standard error: `what` failed, `about` which object, and `why` or the advice. Returns `status`.
#[inline(never)] // −470 bytes: 31 callers.
pub fn complain(status: Fatal, what: Text, about: &[u8], why: Text) -> Fatal {
    let level = match status {
        DONE => Level::Warn,
        _ => Level::Error,
    };
    event::report(&mut Console, what.at(level), about, why);
    status
}

/// Reports one line on standard error: option `word` has a wrong `value`, and `why` is the advice. Returns [`USAGE`].
pub fn refuse(word: &[u8], value: &[u8], why: Text) -> Fatal {
    event::report_name(&mut Console, Level::Error, word, value, why);
    USAGE
}

/// Reports one line on standard error: `option` has a wrong `value`, or none. `wanted` names the value and says which are right, with
/// ": " between. A positional argument has no `option`. Returns [`USAGE`].
pub fn refuse_value(option: &[u8], value: &[u8], wanted: Text) -> Fatal {
    let (mut line, mut said) = (Line::default(), Line::default());
    let wanted = said.say(wanted).bytes();
    let noun = wanted.iter().position(|byte| *byte == b':').unwrap_or(0);
    line.prefix().say(match value {
        [] => text!("missing "),
        _ => text!("invalid "),
    });
    line.raw(wanted.head(noun)).details(value, Text::NOTHING);
    if !option.is_empty() {
        line.text(" (").escaped(option).byte(b')');
    }
    line.raw(wanted.tail(noun));
    Console.write_line(line.end_line(), Marks::ERROR);
    USAGE
}

/// A sink that writes events to standard error.
pub struct Console;

impl Console {
    /// Returns a `'static` console. The type has no size, so nothing is allocated.
    pub fn leak() -> &'static mut Self {
        crate::mem::leak(Self)
    }
}

impl Sink for Console {
    fn write_line(&mut self, line: &[u8], marks: Marks) {
        if HAS_INIT && let Some(mut stamped) = stamped(line) {
            return sys::console(stamped.end_line());
        }
        match HAS_LOG {
            true => log::write(line, marks),
            false => sys::console(line),
        }
    }
}

/// True if console lines begin with the time since boot.
static HAS_STAMPS: AtomicBool = AtomicBool::new(false);

/// Puts the time since boot before all further console lines, as the kernel does.
pub fn stamp_lines() {
    HAS_STAMPS.store(true, Ordering::Relaxed);
}

/// Puts a kernel-style time stamp (seconds since boot) before a console line. `None` unless this is process 1 or its child.
fn stamped(line: &[u8]) -> Option<Line> {
    if !HAS_STAMPS.load(Ordering::Relaxed) {
        return None;
    }
    let ms = sys::now().since(Default::default()).as_ms();
    let mut stamped = Line::default();
    stamped.text("[").digits(ms / 1000, 10, 1);
    stamped.text(".").digits(ms % 1000, 10, 3).text("] ");
    stamped.raw(line.strip_suffix(b"\n").unwrap_or(line));
    Some(stamped)
}
