//! Multi-call: what the file does is its first word or the name it was started by. One role per file.

use crate::event::{Line, Sink};
use crate::sys::frames::BUILD_ID_BYTES;
use crate::sys::start::Args;
use crate::sys::stdio::Stdio;
use embedded_io::Write as _;

mod nfs;
mod serve;

const HELP: &str = "\
stowaway nfs --export DIR[:OPTION,…] …
\tserves directories over NFS version 3; also as unfsd. Options:
\tro (default), rw, root_squash (default), no_root_squash,
\tall_squash, anonuid=NUMBER, anongid=NUMBER: as in exports(5);
\tasync: names are on disk within 2 s, not before the reply;
\tfsid=NUMBER: names it for good, also when its file system moves
stowaway serve …
\tthe same, in a process that is started again when it ends

  -n PORT\t\tNFS on this port (2049; 0: any that is free)
  -m PORT\t\tMOUNT on this port (the NFS port)
  -l ADDRESS\t\tlistens on this address only
  -p\t\t\tno portmapper on port 111
  --handles KIND\tkernel: they survive every rename (needs root);
\t\t\tpath: they need no rights. Default: what works
  --key-file FILE\tthe secret of kernel handles, made if it is missing
\t\t\t(/var/lib/stowaway/handle.key)
  --log FILE\t\ttraces for developers; - is standard output

mount with:  mount -t nfs -o nolock HOST:DIR /mnt
";
const VERSION: &str = concat!("stowaway ", env!("CARGO_PKG_VERSION"), "\n");

/// What to do about a word that nobody knows.
const SEE_HELP: &[u8] = b"see stowaway --help";

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
    const ROLES: &str = "serve nfs unfsd";
    let mut next = || args.next().unwrap_or_default().to_bytes();
    let name = next();
    let mut word = parts(name, b'/').last().unwrap_or_default();
    if place_in(ROLES, word).is_none() {
        word = next();
    }
    inform(word)?;
    let Some(role) = place_in(ROLES, word) else {
        return Err(complain(USAGE, b"there is no role", word, SEE_HELP));
    };
    // Wrong usage is said once, also when a role is to be started again and again.
    let mut options = nfs::Options::default();
    options.read(args)?;
    match role {
        0 => serve::run(&options, build_id),
        _ => nfs::run(&options, build_id),
    }
}

/// Prints what `word` asks to be told about the file itself, and is done; else goes on.
fn inform(word: &[u8]) -> Result<(), Status> {
    let text = match place_in("-h --help help --version", word) {
        Some(3) => VERSION,
        Some(_) => HELP,
        None => return Ok(()),
    };
    Err(match Stdio::Output.write(text.as_bytes()) {
        Ok(len) if len == text.len() => DONE,
        _ => complain(FAILED, b"standard output cannot be written", b"", b""),
    })
}

/// Where `word` stands among `words`.
fn place_in(words: &str, word: &[u8]) -> Option<usize> {
    parts(words.as_bytes(), b' ').position(|other| other == word)
}

/// What stands between `separator`s: at least one part, perhaps an empty one.
const fn parts(text: &[u8], separator: u8) -> Parts<'_> {
    Parts {
        rest: Some(text),
        separator,
    }
}

/// An iterator over parts. That of slices would be made anew for every separator.
struct Parts<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline(never)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        for (at, byte) in rest.iter().enumerate() {
            if *byte == self.separator {
                self.rest = rest.get(at + 1..);
                return rest.get(..at);
            }
        }
        Some(rest)
    }
}

/// Says on one line what is wrong, with what, and why or what to do; the status to exit with.
fn complain(status: Status, what: &[u8], about: &[u8], why: &[u8]) -> Status {
    Console.take(Line::begun().told(what, about, why).end());
    status
}

/// Events go to standard error.
struct Console;

impl Sink for Console {
    fn take(&mut self, line: &[u8]) {
        let _ = Stdio::Error.write(line);
    }
}
