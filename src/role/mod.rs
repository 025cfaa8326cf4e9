//! Multi-call: what the file does is its first word or the name it was started by. One role per file.

use crate::config::{REGION_BYTES, REGION_FIXED_BYTES};
use crate::event::{self, Sink};
use crate::mem::{give, parts, place_in};
use crate::sys::{self, Args, BUILD_ID_BYTES};
use crate::text::{Text, text};

#[cfg_attr(not(all(feature = "nfs", feature = "sftp-server")), allow(dead_code))]
mod args;
#[cfg(feature = "browse")]
mod browse;
#[cfg(any(feature = "browse", feature = "resolve"))]
mod browse_common;
#[cfg(feature = "check")]
mod check;
#[cfg(any(
    feature = "nfs",
    feature = "sftp-server",
    feature = "check",
    feature = "mdns",
    feature = "browse",
    feature = "resolve"
))]
mod flags;
#[cfg(feature = "ls")]
mod ls_cat;
#[cfg(feature = "mdns")]
mod mdns;
#[cfg(feature = "nfs")]
mod nfs;
#[cfg(feature = "publish")]
mod publish;
#[cfg_attr(not(any(feature = "nfs", feature = "sftp-server")), allow(dead_code))]
mod reasons;
#[cfg(feature = "resolve")]
mod resolve;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "sftp-server")]
mod sftp_server;
#[cfg(any(feature = "browse", feature = "resolve"))]
mod terminal_safe;

const HELP: &[Text] = &[
    text!("stowaway ROLE ..., or a link to it that is named as the ROLE:\n\n"),
    #[cfg(feature = "nfs")]
    nfs::SUMMARY,
    #[cfg(feature = "serve")]
    serve::SUMMARY,
    #[cfg(feature = "sftp-server")]
    sftp_server::SUMMARY,
    #[cfg(feature = "ls")]
    ls_cat::SUMMARY,
    #[cfg(feature = "check")]
    check::SUMMARY,
    #[cfg(feature = "mdns")]
    mdns::SUMMARY,
    #[cfg(feature = "browse")]
    browse::SUMMARY,
    #[cfg(feature = "publish")]
    publish::SUMMARY,
    #[cfg(feature = "resolve")]
    resolve::SUMMARY,
    text!("\nstowaway ROLE --help has its options.\n"),
];
const VERSION: Text = text!(concat!("stowaway ", env!("CARGO_PKG_VERSION"), "\n"));

/// Bytes of the longest text of help.
const HELP_BYTES_MAX: usize = 2 << 10;

/// What to do about a word that nobody knows.
const SEE_HELP: Text = text!("see stowaway --help");

/// The status a process exits with: why it failed has been said.
type Status = i32;
/// It did what it was asked.
const DONE: Status = 0;
/// It failed.
const FAILED: Status = 1;
/// It was not asked in the right way.
const USAGE: Status = 2;

/// Runs what the arguments ask for; the status to exit with. `build_id` goes before traces.
pub fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Status {
    start(args, build_id).err().unwrap_or(DONE)
}

fn start(mut args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Status> {
    const ROLES: &[u8] = if cfg!(any(
        feature = "mdns",
        feature = "browse",
        feature = "resolve"
    )) {
        b"serve nfs unfsd sftp-server ls cat check mdns browse resolve publish"
    } else {
        b"serve nfs unfsd sftp-server ls cat check"
    };
    let mut next = || args.next().unwrap_or_default().to_bytes();
    let name = next();
    let mut word = parts(name, b'/').last().unwrap_or_default();
    let mut role = place_in(ROLES, word);
    if role.is_none() {
        word = next();
        role = place_in(ROLES, word);
    }
    let _ = build_id;
    #[cfg_attr(not(feature = "serve"), allow(unused_mut))]
    let mut region_bytes = REGION_BYTES;
    #[cfg(all(feature = "serve", feature = "mdns"))]
    if role == Some(0) && serve::is_one_process(args.clone()) {
        region_bytes *= 2;
    }
    give(sys::region(region_bytes), region_bytes, REGION_FIXED_BYTES);
    match role {
        #[cfg(feature = "serve")]
        Some(0) => serve::run(args, build_id),
        #[cfg(feature = "nfs")]
        Some(1..=2) => {
            let options = crate::mem::leak(nfs::Options::default());
            options.read(args)?;
            nfs::run(options, build_id)
        }
        #[cfg(feature = "sftp-server")]
        Some(3) => sftp_server::run(args),
        #[cfg(feature = "ls")]
        Some(role @ 4..=5) => ls_cat::run(args, role == 5),
        #[cfg(feature = "check")]
        Some(6) => check::run(args),
        #[cfg(feature = "browse")]
        Some(8) => browse::run(args),
        #[cfg(feature = "publish")]
        Some(10) => publish::run(args),
        #[cfg(feature = "resolve")]
        Some(9) => resolve::run(args),
        #[cfg(feature = "mdns")]
        Some(7) => mdns::run(args),
        _ => {
            inform(word, HELP)?;
            Err(complain(USAGE, text!("there is no role"), word, SEE_HELP))
        }
    }
}

/// Prints what `word` asks to be told about the file itself, and is done; else goes on.
fn inform(word: &[u8], help: &[Text]) -> Result<(), Status> {
    let text = match place_in(b"-h --help help --version", word) {
        Some(3) => &[VERSION],
        Some(_) => help,
        None => return Ok(()),
    };
    for part in text {
        print(part.decode(&mut [0; HELP_BYTES_MAX]));
    }
    Err(DONE)
}

/// Prints what was asked for. Where that cannot be, it says so and ends the process.
fn print(bytes: &[u8]) {
    if !sys::print(bytes) {
        let what = text!("standard output cannot be written");
        sys::exit(complain(FAILED, what, b"", Text::NOTHING));
    }
}

/// Says on one line what is wrong, with what, and why or what to do; the status to exit with.
fn complain(status: Status, what: Text, about: &[u8], why: Text) -> Status {
    event::tell(&mut Console, what, about, why);
    status
}

/// Says why something cannot start; the status to exit with.
#[cfg_attr(not(any(feature = "nfs", feature = "mdns")), allow(dead_code))]
fn told(fatal: event::Fatal) -> Status {
    fatal.tell(&mut Console);
    FAILED
}

/// Says on one line of which word the value is wrong, and what to do; the status to exit with.
#[cfg(any(
    feature = "nfs",
    feature = "sftp-server",
    feature = "check",
    feature = "mdns",
    feature = "browse",
    feature = "resolve"
))]
fn refuse(word: &[u8], value: &[u8], why: Text) -> Status {
    event::tell_name(&mut Console, word, value, why);
    USAGE
}

/// Events go to standard error.
struct Console;

#[cfg(any(
    feature = "nfs",
    feature = "sftp-server",
    feature = "mdns",
    feature = "browse",
    feature = "resolve"
))]
impl Console {
    /// For as long as the process lasts; it takes no memory.
    fn leak() -> &'static mut Self {
        crate::mem::leak(Self)
    }

    /// Events that go there.
    fn events() -> crate::event::Events {
        crate::event::Events::to(Self::leak())
    }
}

impl Sink for Console {
    fn take(&mut self, line: &[u8]) {
        sys::console(line);
    }
}
