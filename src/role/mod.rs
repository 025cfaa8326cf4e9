//! Multi-call: what the file does is its first word or the name it was started by. One role per file.

use crate::event::Line;
use crate::sys::frames::BUILD_ID_BYTES;
use crate::sys::start::Args;
use crate::sys::stdio::Stdio;
use core::ffi::CStr;
use embedded_io::Write as _;

mod nfs;
mod serve;

const HELP: &str = "\
stowaway: serves files from hosts where nothing else runs.

  stowaway nfs --export DIR     an NFS version 3 server (also as unfsd)
  stowaway serve --export DIR   the same, watched over and started again

  stowaway ROLE --help          the options of a role
  stowaway --version
";

/// How a run ends: an exit status, which [`run`] returns.
type Outcome = Result<(), Failure>;

/// Why a role did not do it.
struct Failure {
    status: i32,
    line: Line,
}

impl Failure {
    /// Wrong usage: what is wrong. Where to read more is added.
    fn usage(role: &str, tell: impl FnOnce(&mut Line)) -> Self {
        let mut line = Line::default();
        line.text("stowaway: ");
        tell(&mut line);
        line.text("; see stowaway ")
            .text(role)
            .text(if role.is_empty() { "--help" } else { " --help" });
        Self { status: 2, line }
    }

    /// It could not be done: what, on what, why, and what to do.
    fn failed(tell: impl FnOnce(&mut Line)) -> Self {
        let mut line = Line::default();
        line.text("stowaway: ");
        tell(&mut line);
        Self { status: 1, line }
    }
}

/// Runs what the arguments ask for; the status to exit with. `build_id` goes before traces.
pub fn run(mut args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> i32 {
    let name = args.next().map_or(&b""[..], CStr::to_bytes);
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let outcome = match name {
        b"nfs" | b"unfsd" => nfs::run(args, build_id),
        b"serve" => serve::run(args, build_id),
        _ => first_word(args, build_id),
    };
    status(outcome)
}

/// Says what failed; the status to exit with.
fn status(outcome: Outcome) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let line = failure.line.bytes();
            if !line.is_empty() {
                let _ = Stdio::error().write_all(line);
                let _ = Stdio::error().write_all(b"\n");
            }
            failure.status
        }
    }
}

fn first_word(mut args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Outcome {
    match args.next().map(CStr::to_bytes) {
        Some(b"nfs" | b"unfsd") => nfs::run(args, build_id),
        Some(b"serve") => serve::run(args, build_id),
        Some(b"-h" | b"--help" | b"help") => print(HELP),
        Some(b"--version") => print(concat!("stowaway ", env!("CARGO_PKG_VERSION"), "\n")),
        Some(word) => Err(Failure::usage("", |line| {
            line.text("there is no role \"").escaped(word).text("\"");
        })),
        None => Err(Failure::usage("", |line| {
            line.text("say what to do");
        })),
    }
}

/// Writes to standard output.
fn print(text: &str) -> Outcome {
    Stdio::output().write_all(text.as_bytes()).map_err(|_| {
        Failure::failed(|line| {
            line.text("standard output cannot be written");
        })
    })
}
