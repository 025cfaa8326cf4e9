//! `sftp-server`: SFTP version 3 on standard input and output, as started by sshd and dropbear. draft-ietf-secsh-filexfer-02.
//!
//! The short flags are those of OpenSSH's sftp-server. --jail, --at and --listen are our own.

mod options;
#[cfg_attr(not(any(feature = "serve", feature = "smol")), path = "no_task.rs")]
pub(super) mod task;

use super::{Console, DONE, FAILED, Fatal, complain, refuse};
use crate::config::{
    ACCOUNT_BYTES_MAX, ACCOUNT_BYTES_MIN, HANDLE_COUNT_MAX, HANDLE_DESCRIPTOR_RESERVE, HAS_SERVE,
    HASHES_BYTES, PATH_BYTES_MAX,
};
use crate::console::reasons::{self, Reason, reason};
use crate::drive::platform;
use crate::drive::platform::host::per_connection;
use crate::drive::platform::host::stdio::{self, Standard, StdioSession};
use crate::engine::sftp::Sessions;
use crate::engine::sftp::{Level, LoggedPath, Session, Sftp, requests};
use crate::event::{self, Events, Line, Sink};
use crate::mem::Ends as _;
use crate::mem::{self, Slots, nth};
use crate::os::{self, syslog};
use crate::sys::address::{Reach, ServerAddress};
use crate::sys::{self, Args, Calls, Errno, FileRights, Needs};
use crate::text::{Text, text};
use crate::vfs::Tree;
use crate::vfs::user::User;
use crate::wire::Writer;
use core::ffi::CStr;
#[cfg(test)]
pub(super) use options::FLAGS;
pub(super) use options::{Flag, Options};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  sftp-server\t\tSFTP for sshd and dropbear; flags as OpenSSH's\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    super::network::HELP,
    text!("\nmount with:  sshfs -o directport=PORT localhost:/ /mnt\n"),
];

/// Serves one session on standard input and output until the client closes it, or all connections of `--listen`.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let mut options = Options::default();
    let network = options.read(args)?;
    if options.lists {
        return list_requests();
    }
    os::set_undumpable();
    if HAS_SERVE && !options.listen_text.is_empty() {
        let channel = crate::console::log::Channel::Stream;
        super::log::LogOptions::default().start(channel);
    }
    if network.is_own() {
        return task::serve_all(&network, &options);
    }
    match options.listen {
        None => serve(&options),
        Some(at) => listen(&options, at),
    }
}

/// Message for `--listen` on an address other than loopback without `--i-trust-this-network`.
const NOT_TRUSTED: Text = text!(
    "SFTP without SSH has no passwords; \
     listen on 127.0.0.1 or at a socket file, or add --i-trust-this-network"
);

/// Accepts connections and serves each in its own process, until SIGTERM or SIGINT.
fn listen(options: &Options, mut at: ServerAddress) -> Result<(), Fatal> {
    const OWNER: Text = text!("only this user and root can connect");
    sys::hold_streams(0);
    let mut text = options.listen_text.to_bytes();
    let access = match at.reach() {
        Reach::Owner => OWNER,
        Reach::Host => text!("every user of this host can connect; a socket file is for one user"),
        Reach::Anywhere if !options.trusts => return Err(refuse(b"--listen", text, NOT_TRUSTED)),
        Reach::Anywhere => text!("anyone on the network can connect, without a password"),
    };
    let listener = per_connection::listen(&mut at);
    let listener = listener.map_err(|errno| failed(text!("cannot listen on"), text, errno))?;
    let mut line = Line::default();
    if let ServerAddress::Host(at) = at
        && let Some(host) = text.strip_suffix(b":0")
    {
        // Port 0: reports the port that the kernel chose.
        let port = at.port();
        text = line.raw(host).byte(b':').number(port.into()).bytes();
    }
    event::report(&mut Console, event::LISTENING, text, access);
    let what = text!("a client must wait on");
    let report = &mut |errno| _ = failed(what, text, errno);
    per_connection::run(&listener, &mut || serve(options), report)
}

/// Serves one session on standard input and output as the user of this process, then exits.
fn serve(options: &Options) -> ! {
    // If standard input is a terminal, sets raw mode, so that the terminal changes no byte.
    let terminal = stdio::pass_all_bytes();
    let status = run_session(options);
    drop(terminal);
    sys::exit(status as i32)
}

/// Runs one session on standard input and output and returns the exit status.
fn run_session(options: &Options) -> Fatal {
    // As with OpenSSH, the soft limit holds.
    let handle_count = handle_count(sys::descriptor_limit());
    let tree = platform::tree();
    let (sftp, jail) = match server(options, handle_count, tree) {
        Ok(server) => server,
        Err(status) => return status,
    };
    let mut sink: &'static mut dyn Sink = Console::leak();
    if !options.to_stderr && options.level >= Level::Info {
        sink = mem::leak(syslog::Syslog::open(options.facility, cannot_log));
    }
    let mut events = Events::to(sink);
    let level = options.level;
    let opened = text!("session opened for local user ");
    log_session(level, opened, &mut events);
    let mut needs = Needs::all_files();
    if let Some(jail) = jail {
        needs = Needs::none();
        needs.add_opened(jail, FileRights::Change);
    }
    needs.add(Calls::SFTP);
    needs.confine();
    let mut protocol = Sessions::new(sftp, sessions(1, handle_count, level));
    let mut transport = Standard::default();
    let mut session = StdioSession::new(&mut transport, &mut protocol, tree, &mut events);
    let end = session.run();
    let closed = text!("session closed for local user ");
    log_session(level, closed, &mut events);
    match end {
        Text::NOTHING => DONE,
        why => complain(
            Fatal::Broken,
            text!("cannot continue the session"),
            b"",
            why,
        ),
    }
}

/// Logs the start or end of a session with the user and client address. Both come from the environment that sshd set, not from
/// /etc/passwd: in a jail the user may have written that file.
fn log_session(level: Level, what: Text, events: &mut Events) {
    let variable = |name| nth(sys::variable(name).unwrap_or(b"UNKNOWN"), b' ', 0);
    if level >= Level::Info {
        let mut line = Line::start(what);
        line.escaped(variable(b"LOGNAME="));
        line.say(text!(" from ["))
            .escaped(variable(b"SSH_CONNECTION="));
        events.report_line(line.byte(b']'));
    }
}

/// Makes the state shared by all sessions, which is never freed, and adds the user's files to the tree. Also returns the
/// descriptor of the jail's directory, if any.
fn server(
    options: &Options,
    handle_count: usize,
    tree: &mut Tree,
) -> Result<(&'static mut Sftp, Option<i32>), Fatal> {
    let mut jail = None;
    // Without an operating system, the exports of NFS already in the tree are served.
    if !sys::is_bare() {
        let user = mem::leak(User::new(handle_count));
        if let Some(mask) = options.umask {
            user.set_umask(mask);
        }
        if let Some(jail) = options.jail
            && let Err(errno) = user.jail(jail, options.shown_path)
        {
            let what = text!("cannot use as the jail");
            return Err(failed(what, jail.to_bytes(), errno));
        }
        jail = user.jail_descriptor();
        tree.add_paths(user, options.shown_path);
    }
    let account_bytes = mem::scaled(ACCOUNT_BYTES_MIN, ACCOUNT_BYTES_MAX);
    let text = || mem::bytes(account_bytes);
    let uid = sys::user_id();
    let sftp = mem::leak(Sftp::new(
        options.permits,
        options.level,
        uid,
        sys::wall_clock,
        sys::variable(b"TZ="),
        [text(), text(), text()],
    ));
    if let Some(wanted) = options.start {
        let start = expand(wanted.to_bytes(), uid, sftp, tree);
        if tree.chdir(start).is_err() {
            // A failed chdir is only reported: as with OpenSSH's sftp-server, the session starts in the current directory.
            let why = text!("no such directory, or permission denied");
            complain(FAILED, text!("cannot start in"), start.to_bytes(), why);
        }
    }
    Ok((sftp, jail))
}

/// Returns the limit of open files and directories of all sessions together if this number of descriptors may be open.
fn handle_count(descriptor_count: usize) -> usize {
    let spare = descriptor_count.saturating_sub(HANDLE_DESCRIPTOR_RESERVE);
    // With a small RLIMIT_NOFILE, only the standard streams are reserved, as with OpenSSH.
    let few = descriptor_count.saturating_sub(3);
    let spare = spare.max(few.min(HANDLE_DESCRIPTOR_RESERVE));
    spare.clamp(1, HANDLE_COUNT_MAX)
}

/// Allocates `count` sessions, which divide `handle_count` handles among them. From [`Level::Info`] on, each handle also has memory
/// for the path to log.
fn sessions(count: usize, handle_count: usize, level: Level) -> &'static mut [Session] {
    let handle_count = (handle_count / count).max(1);
    let mut sessions = Slots::new(count);
    while !sessions.is_full() {
        let handles = Slots::new(handle_count);
        let mut paths: &mut [_] = &mut [];
        if level >= Level::Info {
            let path_bytes = mem::scaled(1, handle_count) * size_of::<LoggedPath>();
            paths = mem::bytes(path_bytes).as_chunks_mut().0;
        }
        let hashes = mem::bytes(HASHES_BYTES);
        sessions.push(Session::new(handles, paths, hashes));
    }
    sessions.leak()
}

/// Replaces `%d` by the home directory, `%u` by the user name and `%%` by a percent sign. Other sequences stay unchanged.
fn expand(wanted: &[u8], uid: u32, sftp: &mut Sftp, tree: &mut Tree) -> &'static CStr {
    let buffer = mem::bytes(PATH_BYTES_MAX);
    let (accounts, mut out) = (sftp.accounts(), Writer::new(buffer));
    let mut remaining = wanted;
    while let [byte, after @ ..] = remaining {
        remaining = after;
        let mut bytes = core::slice::from_ref(byte);
        if let (b'%', [letter, after @ ..]) = (byte, after) {
            accounts.load(tree);
            let value = match letter {
                b'%' => Some(&b"%"[..]),
                b'd' => accounts.home_of(uid),
                b'u' => accounts.user(uid),
                _ => None,
            };
            if let Some(value) = value {
                (bytes, remaining) = (value, after);
            }
        }
        out.put(bytes);
    }
    out.put(b"\0");
    // A path that is too long becomes the empty path.
    let len = out.written().unwrap_or_default();
    mem::c_str(buffer.head(len))
}

/// Prints the names of the requests that `-P` and `-p` accept.
fn list_requests() -> Result<(), Fatal> {
    for name in requests() {
        let mut line = Line::default();
        line.raw(name);
        super::print(line.end_line());
    }
    Ok(())
}

/// Reports that `what` failed on `about`, with the reason of `errno`. Returns exit status 1.
fn failed(what: Text, about: &[u8], errno: Errno) -> Fatal {
    reasons::failed(what, about, errno, &REASONS)
}

fn cannot_log(path: &[u8], errno: Errno) -> Fatal {
    failed(text!("cannot write the log"), path, errno)
}

/// Reasons and advice that are specific to this role.
static REASONS: [Reason; 4] = [
    reason(
        Errno::NOTSOCK,
        text!("exists and is no socket; choose another name"),
    ),
    reason(
        Errno::ADDRINUSE,
        text!("the address is in use; choose another one"),
    ),
    reason(Errno::ADDRNOTAVAIL, text!("this host has no such address")),
    reason(Errno::XDEV, text!("shows kernel state, not files")),
];
