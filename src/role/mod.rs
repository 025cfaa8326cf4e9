//! Multi-call: what the file does is its first word or the name it was started by. One role per file.

use crate::config::{REGION_BYTES, REGION_FIXED_BYTES};
#[cfg(feature = "smol")]
use crate::config::{STACK_FIXED_BYTES, STACK_HEAP_BYTES};
use crate::event::{self, Fatal, Sink};
use crate::mem::{give, parts, place_in};
use crate::sys::{self, Args, BUILD_ID_BYTES};
use crate::text::{Text, text};

#[cfg(any(bare, feature = "init"))]
mod addresses;
#[cfg_attr(not(all(feature = "nfs", feature = "sftp-server")), allow(dead_code))]
mod args;
#[cfg(bare)]
mod boot;
#[cfg(any(bare, feature = "init"))]
mod boot_words;
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
#[cfg(feature = "init")]
mod init;
#[cfg(feature = "ls")]
mod ls_cat;
#[cfg(feature = "mdns")]
mod mdns;
#[cfg(any(
    feature = "nfs",
    feature = "sftp-server",
    feature = "mdns",
    feature = "browse",
    feature = "resolve"
))]
mod network;
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
#[cfg(feature = "smol")]
mod stack;
#[cfg(any(feature = "browse", feature = "resolve"))]
mod terminal_safe;

#[cfg(bare)]
pub use boot::boot;

const HELP_HEAD: Text = text!("stowaway ROLE ..., or a link to it that is named as the ROLE:\n\n");
const HELP_END: Text = text!("\nstowaway ROLE --help has its options.\n");

/// The roles: the names that each is called by, what `--help` says of it, and how it runs, in the order of `--help`.
macro_rules! roles {
    ($($(#[cfg($when:meta)])? $role:ident $($name:literal)|+: $summary:expr, |$args:pat_param, $build_id:pat_param| $run:expr;)+) => {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Role {
            $($(#[cfg($when)])? $role),+
        }

        impl Role {
            const ALL: &[Self] = &[$($(#[cfg($when)])? Self::$role),+];
            const HELP: &[Text] = &[
                HELP_HEAD,
                $($(#[cfg($when)])? $summary,)+
                HELP_END,
            ];

            /// The role of this name.
            fn of(name: &[u8]) -> Option<Self> {
                const NAMES: &[&str] = &[$($(#[cfg($when)])? concat!($($name, "|",)+ " ")),+];
                const JOINED: [u8; joined(NAMES, &mut [])] = {
                    let mut names = [0; _];
                    joined(NAMES, &mut names);
                    names
                };
                Self::ALL.get(place_of(&JOINED, name)?).copied()
            }

            fn run(self, args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
                match self {
                    $($(#[cfg($when)])? Self::$role => {
                        let ($args, $build_id) = (args, build_id);
                        $run
                    })+
                }
            }
        }
    };
}

roles! {
    #[cfg(feature = "nfs")]
    Nfs "nfs" | "unfsd": nfs::SUMMARY, |args, build_id| nfs::run(args, build_id);
    #[cfg(feature = "serve")]
    Serve "serve": serve::SUMMARY, |args, build_id| serve::run(args, build_id);
    #[cfg(feature = "sftp-server")]
    SftpServer "sftp-server": sftp_server::SUMMARY, |args, _| sftp_server::run(args);
    #[cfg(feature = "ls")]
    Ls "ls": ls_cat::SUMMARY, |args, _| ls_cat::run(args, false);
    #[cfg(feature = "ls")]
    Cat "cat": Text::NOTHING, |args, _| ls_cat::run(args, true);
    #[cfg(feature = "check")]
    Check "check": check::SUMMARY, |args, _| check::run(args);
    #[cfg(feature = "mdns")]
    Mdns "mdns": mdns::SUMMARY, |args, _| mdns::run(args);
    #[cfg(feature = "browse")]
    Browse "browse": browse::SUMMARY, |args, _| browse::run(args);
    #[cfg(feature = "publish")]
    Publish "publish": publish::SUMMARY, |args, _| publish::run(args);
    #[cfg(feature = "resolve")]
    Resolve "resolve": resolve::SUMMARY, |args, _| resolve::run(args);
    #[cfg(feature = "init")]
    Init "init": Text::NOTHING, |args, build_id| init::run(args, build_id);
}

/// Writes texts one behind the other, as far as there is space; how long all of them are.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn joined(texts: &[&str], buffer: &mut [u8]) -> usize {
    let (mut text, mut len) = (0, 0);
    while text < texts.len() {
        let bytes = texts[text].as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if len < buffer.len() {
                buffer[len] = bytes[at];
            }
            (at, len) = (at + 1, len + 1);
        }
        text += 1;
    }
    len
}

/// Which of several things has this name: `names` has `|` behind each name of a thing, and a blank behind the thing.
#[inline(never)]
fn place_of(names: &[u8], name: &[u8]) -> Option<usize> {
    parts(names, b' ').position(|names| parts(names, b'|').any(|one| one == name))
}

const VERSION: Text = text!(concat!("stowaway ", env!("CARGO_PKG_VERSION"), "\n"));

/// Bytes of the longest text of help.
const HELP_BYTES_MAX: usize = 2 << 10;

/// What to do about a word that nobody knows.
const SEE_HELP: Text = text!("see stowaway --help");

/// It did what it was asked.
const DONE: Fatal = Fatal::Done;
/// It failed.
const FAILED: Fatal = Fatal::Failed;
/// It was not asked in the right way.
const USAGE: Fatal = Fatal::Usage;

/// Runs what the arguments ask for; the status to exit with. `build_id` goes before traces.
pub fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> i32 {
    Fatal::status(start(args, build_id))
}

fn start(mut args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    let mut next = || args.next().unwrap_or_default().to_bytes();
    let name = next();
    // Login shells have a "-" before their name.
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let mut word = parts(name, b'/').last().unwrap_or_default();
    let mut role = Role::of(word);
    if role.is_none() {
        word = next();
        role = Role::of(word);
    }
    let (region_bytes, fixed_bytes) = memory(role, &args);
    give(sys::region(region_bytes), region_bytes, fixed_bytes);
    match role {
        Some(role) => role.run(args, build_id),
        None => {
            inform(word, Role::HELP)?;
            Err(complain(USAGE, text!("there is no role"), word, SEE_HELP))
        }
    }
}

/// Bytes that a role needs, and how many of these do not depend on how long its tables are.
#[cfg_attr(not(all(feature = "serve", feature = "mdns")), allow(unused_variables))]
#[cfg_attr(not(feature = "smol"), allow(unused_mut))]
fn memory(role: Option<Role>, args: &Args) -> (usize, usize) {
    let (mut bytes, mut fixed) = (REGION_BYTES, REGION_FIXED_BYTES);
    #[cfg(all(feature = "serve", feature = "mdns"))]
    if role == Some(Role::Serve) && serve::is_one_process(args.clone()) {
        bytes *= 2;
    }
    #[cfg(feature = "smol")]
    let is_own = stack::may_be_own(args.clone());
    #[cfg(feature = "init")]
    let is_own = is_own || role == Some(Role::Init);
    #[cfg(feature = "smol")]
    if is_own {
        bytes += STACK_HEAP_BYTES + STACK_FIXED_BYTES;
        fixed += STACK_FIXED_BYTES;
    }
    (bytes, fixed)
}

/// Prints what `word` asks to be told about the file itself, and is done; else goes on.
fn inform(word: &[u8], help: &[Text]) -> Result<(), Fatal> {
    let text = match place_in(b"-h --help help --version", word) {
        Some(3) => &[VERSION],
        Some(_) => help,
        None => return Ok(()),
    };
    for part in text.iter().filter(|part| **part != Text::NOTHING) {
        print(part.decode(&mut [0; HELP_BYTES_MAX]));
    }
    Err(DONE)
}

/// Prints what was asked for. Where that cannot be, it says so and ends the process.
fn print(bytes: &[u8]) {
    if !sys::print(bytes) {
        let what = text!("standard output cannot be written");
        sys::exit(complain(FAILED, what, b"", Text::NOTHING) as i32);
    }
}

/// Says on one line what is wrong, with what, and why or what to do; the status to exit with.
fn complain(status: Fatal, what: Text, about: &[u8], why: Text) -> Fatal {
    event::tell(&mut Console, what, about, why);
    status
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
fn refuse(word: &[u8], value: &[u8], why: Text) -> Fatal {
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
}

impl Sink for Console {
    fn take(&mut self, line: &[u8]) {
        #[cfg(feature = "init")]
        if let Some(mut stamped) = init::stamped(line) {
            return sys::console(stamped.end());
        }
        sys::console(line);
    }
}
