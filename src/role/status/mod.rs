//! `status`: prints the figures of the servers that run on this host, or only the PID of the server that holds a PID file.

#[cfg_attr(not(feature = "status"), path = "no_figures.rs")]
mod figures;

use super::args::digits;
use super::flags::{Flags, flags};
use super::{Fatal, complain, print};
use crate::console::reasons::{Reason, failed, reason};
use crate::event::Line;
use crate::os::pid_file::holder;
use crate::sys::{Args, Errno};
use crate::text::{Text, text};
use core::ffi::CStr;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text = text!("  status\t\tprints what running servers have done\n");
const HELP: &[Text] = &[figures::HELP, text!(include_str!("pid_file.txt"))];

const PATH: Text = text!("file: a path");

flags! {
    pub(super) enum Flag of Status {
        Json { long: text!("--json") },
        Watch { long: text!("--watch") },
        Pid { takes: Operand(text!("process: a number")) },
        PidFile { long: text!("--pid-file"), takes: Value(PATH) },
    }
}

pub(super) const FLAGS: Flags = Flags::of(Flag::ROWS, HELP);

/// The arguments.
#[derive(Default)]
struct Options {
    is_json: bool,
    watches: bool,
    /// The process whose server is wanted.
    pid: Option<u32>,
    pid_file: Option<&'static CStr>,
}

/// Prints the figures, or the PID of the server that holds a PID file.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let mut options = Options::default();
    FLAGS.read(args, &mut |given| {
        match Flag::of(given.flag)? {
            Flag::Json => options.is_json = true,
            Flag::Watch => options.watches = true,
            Flag::Pid => options.pid = Some(digits(given.value.to_bytes(), 10)?),
            Flag::PidFile if given.value.is_empty() => return None,
            Flag::PidFile => options.pid_file = Some(given.value),
        }
        Some(())
    })?;
    if let Some(path) = options.pid_file {
        return print_holder(path);
    }
    options.print_figures()
}

/// Prints the PID of the server that holds the lock of the file at `path`.
///
/// # Errors
/// [`Fatal::NotRunning`]: no server holds it.
fn print_holder(path: &CStr) -> Result<(), Fatal> {
    const REASONS: &[Reason] = &[reason(
        Errno::BUSY,
        text!("it is locked, but has no number of a process"),
    )];
    let about = path.to_bytes();
    match holder(path) {
        Ok(Some(pid)) => {
            print(Line::default().number(pid).end_line());
            Ok(())
        }
        Ok(None) => {
            let what = text!("no server runs that has the PID file");
            Err(complain(Fatal::NotRunning, what, about, Text::NOTHING))
        }
        Err(errno) => Err(failed(
            text!("cannot use the pid file"),
            about,
            errno,
            REASONS,
        )),
    }
}
