//! Multi-call: what the file does is its first word or the name it was started by. One role per file.

use crate::event::{Line, Sink};
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
const VERSION: &str = concat!("stowaway ", env!("CARGO_PKG_VERSION"), "\n");

/// The status a process exits with: why it failed has been said.
type Status = i32;
/// It failed.
const FAILED: Status = 1;
/// It was not asked in the right way.
const USAGE: Status = 2;

/// Runs what the arguments ask for; the status to exit with. `build_id` goes before traces.
pub fn run(mut args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Status {
    let name = args.next().map_or(&b""[..], CStr::to_bytes);
    let mut word = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    if !matches!(word, b"nfs" | b"unfsd" | b"serve") {
        word = args.next().map_or(&b""[..], CStr::to_bytes);
    }
    let outcome = match word {
        b"nfs" | b"unfsd" => nfs::run(args, build_id),
        b"serve" => serve::run(args, build_id),
        b"-h" | b"--help" | b"help" => print(HELP),
        b"--version" => print(VERSION),
        b"" => Err(complain(USAGE, &[b"say what to do: see stowaway --help"])),
        word => Err(complain(
            USAGE,
            &[b"there is no role ", word, b": see stowaway --help"],
        )),
    };
    outcome.err().unwrap_or(0)
}

/// Says on one line what is wrong, where, and what to do; the status to exit with.
fn complain(status: Status, parts: &[&[u8]]) -> Status {
    let mut line = Line::default();
    line.text("stowaway: ");
    for part in parts {
        line.escaped(part);
    }
    let _ = Stdio::error().write_all(line.end());
    status
}

/// Events go to standard error.
struct Console;

impl Sink for Console {
    fn take(&mut self, line: &[u8]) {
        let _ = Stdio::error().write_all(line);
    }
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), Status> {
    let written = Stdio::output().write_all(text.as_bytes());
    written.map_err(|_| complain(FAILED, &[b"standard output cannot be written"]))
}
