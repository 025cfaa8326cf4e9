//! `sftp-server`: SFTP version 3 on standard input and output, as sshd and dropbear start it. draft-ietf-secsh-filexfer-02.
//!
//! The flags are those of OpenSSH's server. --jail, --at and --listen are our own.

mod options;
mod syslog;

use super::{Console, DONE, FAILED, Status, USAGE, complain, reasons};
use crate::config::{
    ACCOUNT_BYTES_MAX, HANDLE_COUNT_MAX, HANDLE_DESCRIPTOR_RESERVE, HASHES_BYTES, PATH_BYTES_MAX,
};
use crate::drive::guests;
use crate::drive::stdio::{End, Talk};
use crate::engine::sftp::{Level, Session, Sftp, requests};
use crate::event::{self, Events, Line, Sink};
use crate::sys::heap::Slots;
use crate::sys::sockets::{self, Place};
use crate::sys::start::Args;
use crate::sys::stdio::Stdio;
use crate::sys::{self, Errno, process, walls};
use crate::vfs::user::User;
use core::ffi::CStr;
use core::mem::ManuallyDrop;
use options::Options;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: &str =
    "  sftp-server\t\tSFTP for sshd and dropbear; flags as OpenSSH's\n";
const HELP: &str = "\
stowaway sftp-server [OPTION …]
\tSFTP version 3 on standard input and output: the Subsystem of sshd,
\tthe sftp-server of dropbear. Flags as OpenSSH's:

  -R\t\t\tchanges nothing
  -d DIR\t\tbegins in DIR; %d is the home directory, %u the user
  -u MASK\t\ttakes these bits, in octal, from the modes of new files
  -P LIST\t\trefuses these requests (names with commas)
  -p LIST\t\trefuses all but these
  -Q requests\t\tlists the requests
  -l LEVEL\t\tlogs so much: INFO, VERBOSE, DEBUG … (ERROR)
  -f FACILITY\t\tto this facility of the host's log (AUTH)
  -e\t\t\tlogs to standard error instead

  --jail DIR\t\tnothing outside of DIR exists; it is shown as /
  --at PATH\t\t… or as PATH
  --listen PLACE\tserves everybody who connects, without SSH:
\t\t\tADDRESS:PORT (loopback) or /path/of.sock (its owner)
  --i-trust-this-network  … also on other addresses than loopback

mount with:  sshfs -o directport=PORT localhost:/ /mnt
";
/// The status of OpenSSH's server when the peer breaks the protocol.
const BROKEN: Status = 11;

/// Serves until the peer has said all it had to say.
pub(super) fn run(args: Args) -> Result<(), Status> {
    let mut options = Options::default();
    options.read(args)?;
    if options.lists {
        return list_requests();
    }
    walls::hide();
    if let Some(bits) = options.umask {
        rustix::process::umask(rustix::fs::Mode::from_bits_retain(bits));
    }
    let Some(mut place) = options.listen else {
        return match serve(&options) {
            DONE => Ok(()),
            status => Err(status),
        };
    };
    let is_far = matches!(place, Place::Address(at) if !at.ip().is_loopback());
    let mut line = Line::default();
    if is_far && !options.trusts {
        return Err(complain(
            USAGE,
            b"--listen",
            tell_place(&place, &mut line),
            FAR,
        ));
    }
    let listener = sockets::listen(&mut place);
    let about = tell_place(&place, &mut line);
    let listener = listener.map_err(|errno| failed("cannot listen on", about, errno))?;
    let mut events = ManuallyDrop::new(Events::to(Console::leak()));
    let who = match place {
        Place::Path(_) => "SFTP; only this user and root can connect",
        Place::Address(_) if is_far => "SFTP without a password for everybody who reaches it",
        Place::Address(_) => {
            "SFTP without a password for every user of this host; a socket file is for one"
        }
    };
    events.tell(event::LISTENING, about, who);
    guests::run(listener, &mut events, &mut || serve(&options));
    if let Place::Path(path) = place {
        let _ = rustix::fs::unlink(path);
    }
    Ok(())
}

/// Why an address that others can reach is refused.
const FAR: &[u8] = b"SFTP without SSH has no passwords; whoever reaches it has the files. Listen on 127.0.0.1 or at a socket file, or add --i-trust-this-network";

/// Talks to the peer at the other end of standard input and output, as who runs this process.
fn serve(options: &Options) -> Status {
    // Where a terminal is in between, it has to pass every byte as it is.
    let _terminal = Stdio::pass_all_bytes();
    let descriptors = process::descriptor_limit();
    let handle_count = descriptors
        .saturating_sub(HANDLE_DESCRIPTOR_RESERVE)
        .clamp(1, HANDLE_COUNT_MAX);
    let mut user = ManuallyDrop::new(User::new(handle_count));
    let mut handles = Slots::new(handle_count);
    while !handles.is_full() {
        handles.push(None);
    }
    let texts = [(); 2].map(|()| Slots::zeroed(ACCOUNT_BYTES_MAX).leak());
    let uid = rustix::process::getuid().as_raw();
    let mut sftp = ManuallyDrop::new(Sftp::new(options.permits, options.level, uid, texts));
    if let Some(jail) = options.jail
        && let Err(errno) = user.jail(jail, options.at)
    {
        return failed("cannot make a jail of", jail.to_bytes(), errno);
    }
    if let Some(wanted) = options.start {
        let room = Slots::zeroed(PATH_BYTES_MAX).leak();
        let start = expand(wanted.to_bytes(), uid, &mut sftp, &mut user, room);
        if user.start_at(start).is_err() {
            // As OpenSSH's: better somewhere than nowhere.
            let why = b"it is not there, or this user may not go there";
            complain(FAILED, b"cannot begin at", start.to_bytes(), why);
        }
    }
    let mut sink: &'static mut dyn Sink = Console::leak();
    if !options.to_stderr && options.level >= Level::Info {
        let mut log = Slots::new(1);
        log.push(syslog::Syslog::open(options.facility));
        if let [log] = log.leak() {
            sink = log;
        }
    }
    let mut events = ManuallyDrop::new(Events::to(sink));
    let hashes = Slots::zeroed(HASHES_BYTES).leak();
    let mut session = ManuallyDrop::new(Session::new(handles.leak(), hashes));
    let mut wire = (Stdio::Input, Stdio::Output);
    let jail = user.jail_descriptor();
    let mut greeted = || {
        if let Some(jail) = jail {
            walls::raise(jail);
        }
    };
    let mut talk = Talk::new(&mut wire, &mut *user, &mut events, &mut greeted);
    let end = talk.run(&mut *sftp, &mut session);
    match end {
        End::Over => DONE,
        End::Broken(why) => complain(
            BROKEN,
            b"the client broke the protocol",
            b"",
            why.as_bytes(),
        ),
        End::Short => complain(FAILED, b"a file became shorter while it was read", b"", b""),
    }
}

/// `%d` becomes the home directory, `%u` the user's name, `%%` a percent sign. What is not known stays as it is.
fn expand(
    wanted: &[u8],
    uid: u32,
    sftp: &mut Sftp,
    user: &mut User,
    room: &'static mut [u8],
) -> &'static CStr {
    let (accounts, mut len) = (sftp.accounts(), 0);
    let mut rest = wanted;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        let mut bytes = core::slice::from_ref(byte);
        if let (b'%', [letter, behind @ ..]) = (byte, behind) {
            accounts.load(user);
            let meant = match letter {
                b'%' => Some(&b"%"[..]),
                b'd' => accounts.home_of(uid),
                b'u' => accounts.user(uid),
                _ => None,
            };
            if let Some(meant) = meant {
                (bytes, rest) = (meant, behind);
            }
        }
        for byte in bytes {
            if let Some(place) = room.get_mut(len) {
                *place = *byte;
                len += 1;
            }
        }
    }
    // What does not fit has no end, and is no text.
    sys::c_str(room.get(..=len).unwrap_or_default())
}

/// Prints what -P and -p may name.
fn list_requests() -> Result<(), Status> {
    for name in requests() {
        let mut line = Line::default();
        line.raw(name);
        if !Stdio::print(line.end()) {
            return Err(super::unwritten());
        }
    }
    Ok(())
}

/// How people write the place that is listened at.
fn tell_place<'a>(place: &'a Place<'_>, line: &'a mut Line) -> &'a [u8] {
    match place {
        Place::Path(path) => path.to_bytes(),
        Place::Address(at) => line.socket(*at).bytes(),
    }
}

/// Says what failed, with what, and why.
fn failed(what: &str, about: &[u8], errno: Errno) -> Status {
    reasons::failed(what, about, errno, REASONS)
}

/// Why something failed here and what to do about it.
const REASONS: &str = concat!(
    "\x62\0somebody listens there already; choose another place\0", // ADDRINUSE
    "\x63\0this host has no such address\0",                        // ADDRNOTAVAIL
    "\x12\0it shows the kernel's own state, not files\0",           // XDEV
);
