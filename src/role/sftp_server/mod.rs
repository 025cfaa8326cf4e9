//! `sftp-server`: SFTP version 3 on standard input and output, as sshd and dropbear start it. draft-ietf-secsh-filexfer-02.
//!
//! The flags are those of OpenSSH's server. --jail, --at and --listen are our own.

mod options;

#[cfg(any(all(feature = "serve", feature = "mdns"), feature = "smol"))]
use super::args::canonical;
#[cfg(feature = "smol")]
use super::args::socket;
use super::reasons::{self, Reason, reason};
use super::{Console, DONE, FAILED, Fatal, complain, refuse};
use crate::config::{
    ACCOUNT_BYTES_MAX, HANDLE_COUNT_MAX, HANDLE_DESCRIPTOR_RESERVE, HASHES_BYTES, PATH_BYTES_MAX,
};
use crate::drive::platform::host::per_connection::{self, Reach};
use crate::drive::platform::host::stdio::{self, Standard, StdioSession};
#[cfg(feature = "smol")]
use crate::drive::platform::network::Network;
use crate::drive::platform::{self, host::syslog};
use crate::drive::sftp::Sessions;
#[cfg(any(all(feature = "serve", feature = "mdns"), feature = "smol"))]
use crate::drive::{Task, World, streams::Streams};
use crate::engine::sftp::{Level, LoggedPath, Session, Sftp, log, requests};
use crate::event::{self, Events, Line, Sink};
use crate::mem::Ends as _;
use crate::mem::{self, Slots, nth};
use crate::sys::{self, Args, Errno};
use crate::text::{Text, text};
use crate::vfs::user::User;
use crate::vfs::{Backend, Tree};
use crate::wire::Writer;
#[cfg(any(all(feature = "serve", feature = "mdns"), feature = "smol"))]
use crate::{config::SFTP_CONNECTION_COUNT_MAX, net::Signals, time::Instant};
use core::ffi::CStr;
#[cfg(any(all(feature = "serve", feature = "mdns"), feature = "smol"))]
use core::net::SocketAddrV6;
pub(super) use options::Options;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text =
    text!("  sftp-server\t\tSFTP for sshd and dropbear; flags as OpenSSH's\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    #[cfg(feature = "smol")]
    super::stack::HELP,
    text!("\nmount with:  sshfs -o directport=PORT localhost:/ /mnt\n"),
];

/// Serves until the peer has said all it had to say.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let mut options = Options::default();
    #[cfg_attr(not(feature = "smol"), expect(unused_variables))]
    let network = options.read(args)?;
    if options.lists {
        return list_requests();
    }
    platform::host::set_undumpable();
    #[cfg(feature = "smol")]
    if network.is_own() {
        return serve_all(&network, &options);
    }
    if options.listen_text.is_empty() {
        serve(&options)
    }
    listen(&mut options)
}

/// Whoever can reach the place has the files.
const FAR: Text = text!(
    "SFTP without SSH has no passwords: whoever reaches it has the files; \
     listen on 127.0.0.1 or at a socket file, or add --i-trust-this-network"
);

/// Serves all that connect over a stack of our own, in one loop, until this process is asked to stop.
#[cfg(feature = "smol")]
fn serve_all(network: &Network, options: &Options) -> Result<(), Fatal> {
    let text = options.listen_text.to_bytes();
    let Some(at) = socket(text) else {
        let why =
            text!("name ADDRESS:PORT, such as 0.0.0.0:2222: a network of its own has no other");
        return Err(refuse(b"--listen", text, why));
    };
    if !options.trusts {
        return Err(refuse(b"--listen", text, FAR));
    }
    let tree = platform::tree();
    let task = task(options, at, tree)?;
    platform::serve(
        network,
        &mut [task],
        tree,
        Console::leak(),
        Signals::default(),
    )
}

/// Serves all that connect, each in a process of its own, until this one is asked to stop.
fn listen(options: &mut Options) -> Result<(), Fatal> {
    const OWNER: Text = text!("only this user and root can connect");
    let mut text = options.listen_text.to_bytes();
    let who = match options.listen.reach() {
        Reach::Owner => OWNER,
        Reach::Host => text!(
            "every user of this host can connect, without a password; a socket file is for one user"
        ),
        Reach::Anywhere if !options.trusts => return Err(refuse(b"--listen", text, FAR)),
        Reach::Anywhere => text!("everybody who reaches it can connect, without a password"),
    };
    let listener = per_connection::listen(&mut options.listen);
    let listener = listener.map_err(|errno| failed(text!("cannot listen on"), text, errno))?;
    let mut line = Line::default();
    if who != OWNER
        && let Some(host) = text.strip_suffix(b":0")
    {
        // The port is the one that was free.
        let port = options.listen.port();
        text = line.raw(host).byte(b':').number(port.into()).bytes();
    }
    event::tell(&mut Console, event::LISTENING, text, who);
    per_connection::run(&listener, &mut || serve(options))
}

/// Talks to the peer at the other end of standard input and output, as the user who runs this process, which ends then.
fn serve(options: &Options) -> ! {
    // Where a terminal is in between, it has to pass every byte as it is.
    let terminal = stdio::pass_all_bytes();
    let status = talk(options);
    drop(terminal);
    sys::exit(status as i32)
}

fn talk(options: &Options) -> Fatal {
    let handle_count = handle_count();
    let tree = platform::tree();
    let (sftp, jail) = match server(options, handle_count, tree) {
        Ok(server) => server,
        Err(status) => return status,
    };
    let mut sink: &'static mut dyn Sink = Console::leak();
    if !options.to_stderr && options.level >= Level::Info {
        sink = mem::leak(syslog::Syslog::open(options.facility));
    }
    let mut events = Events::to(sink);
    let level = options.level;
    let opened = text!("session opened for local user $ from [$]");
    log_session(level, opened, &mut events);
    let mut greeted = move || {
        if let Some(jail) = jail {
            platform::host::restrict_to(jail);
        }
    };
    let mut protocol = Sessions::new(sftp, sessions(1, handle_count, level));
    let mut transport = Standard::default();
    let mut session = StdioSession::new(
        &mut transport,
        &mut protocol,
        tree,
        &mut events,
        &mut greeted,
    );
    let end = session.run();
    let closed = text!("session closed for local user $ from [$]");
    log_session(level, closed, &mut events);
    match end {
        Text::NOTHING => DONE,
        why => complain(Fatal::Broken, text!("the session cannot go on"), b"", why),
    }
}

/// Logs that a session begins or ends, for whom and from where. Both as sshd says it: a jail's passwd may be written by its user.
#[inline(never)]
fn log_session(level: Level, format: Text, events: &mut Events) {
    let variable = |name| nth(sys::variable(name).unwrap_or(b"UNKNOWN"), b' ', 0);
    if level >= Level::Info {
        let client = [variable(b"LOGNAME="), variable(b"SSH_CONNECTION=")];
        log(events, format, &client, &[]);
    }
}

/// What all sessions share, which lasts as long as the process, and the descriptor of the jail's directory, if there is one. The
/// files are in the tree.
fn server(
    options: &Options,
    handle_count: usize,
    tree: &mut Tree,
) -> Result<(&'static mut Sftp, Option<i32>), Fatal> {
    let mut jail = None;
    // Where there is no host, exports are the files.
    if !sys::is_bare() {
        let user = mem::leak(User::new(handle_count));
        if let Some(mask) = options.umask {
            user.set_umask(mask);
        }
        if let Some(jail) = options.jail
            && let Err(errno) = user.jail(jail, options.at)
        {
            let what = text!("cannot make a jail of");
            return Err(failed(what, jail.to_bytes(), errno));
        }
        jail = user.jail_descriptor();
        tree.add(Backend::ByPath, user);
    }
    let texts = [(); 3].map(|()| mem::bytes(ACCOUNT_BYTES_MAX));
    let uid = sys::user_id();
    let sftp = mem::leak(Sftp::new(
        options.permits,
        options.level,
        uid,
        sys::variable(b"TZ="),
        texts,
    ));
    if let Some(wanted) = options.start {
        let start = expand(wanted.to_bytes(), uid, sftp, tree);
        if tree.chdir(start).is_err() {
            // As OpenSSH's: better somewhere than nowhere.
            let why = text!("it is not there, or this user may not go there");
            complain(FAILED, text!("cannot begin at"), start.to_bytes(), why);
        }
    }
    Ok((sftp, jail))
}

/// Sessions for all that connect to a TCP port, as a task that has not started, and their files in the tree. It lasts as long as
/// the process.
#[cfg(any(all(feature = "serve", feature = "mdns"), feature = "smol"))]
pub(super) fn task(
    options: &Options,
    at: SocketAddrV6,
    tree: &mut Tree,
) -> Result<&'static mut dyn Task, Fatal> {
    let handle_count = handle_count();
    let (sftp, _) = server(options, handle_count, tree)?;
    Ok(mem::leak(Server {
        sessions: Sessions::new(
            sftp,
            sessions(SFTP_CONNECTION_COUNT_MAX, handle_count, options.level),
        ),
        streams: Sessions::streams(),
        at,
    }))
}

/// The server of many sessions: a task.
#[cfg(any(all(feature = "serve", feature = "mdns"), feature = "smol"))]
struct Server {
    streams: Streams,
    sessions: Sessions<'static>,
    /// An address of version 4 is mapped into version 6.
    at: SocketAddrV6,
}

#[cfg(any(all(feature = "serve", feature = "mdns"), feature = "smol"))]
impl Task for Server {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        let mut line = Line::default();
        let Ok(at) = self.streams.listen(world, canonical(&self.at), 0) else {
            let why = text!("the port is in use, or not for this user");
            let about = line.socket(&self.at).bytes();
            return Err(complain(FAILED, text!("cannot listen on"), about, why));
        };
        self.at.set_port(at.port());
        line.socket(&self.at).say(text!(
            " for SFTP without SSH: whoever reaches it has the files"
        ));
        world
            .events
            .tell(event::LISTENING, line.bytes(), Text::NOTHING);
        Ok(())
    }

    fn ready(&mut self, world: &mut World<'_>, local: u32) {
        self.streams.ready(world, &mut self.sessions, local);
    }

    fn turn(&mut self, world: &mut World<'_>, _: Signals) {
        self.streams.turn(world, &mut self.sessions);
    }

    fn poll_at(&self) -> Instant {
        self.streams.poll_at()
    }

    fn stop(&mut self, world: &mut World<'_>) {
        self.streams.stop(world);
    }
}

/// Files and directories that may be open, those of all sessions together.
fn handle_count() -> usize {
    let spare = sys::descriptor_limit().saturating_sub(HANDLE_DESCRIPTOR_RESERVE);
    spare.clamp(1, HANDLE_COUNT_MAX)
}

/// So many sessions that have begun, share so many handles, and log so much.
#[inline(never)]
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

/// `%d` becomes the home directory, `%u` the user's name, `%%` a percent sign. What is not known stays as it is.
fn expand(wanted: &[u8], uid: u32, sftp: &mut Sftp, tree: &mut Tree) -> &'static CStr {
    let buffer = mem::bytes(PATH_BYTES_MAX);
    let (accounts, mut out) = (sftp.accounts(), Writer::new(buffer));
    let mut rest = wanted;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        let mut bytes = core::slice::from_ref(byte);
        if let (b'%', [letter, behind @ ..]) = (byte, behind) {
            accounts.load(tree);
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
        out.put(bytes);
    }
    out.put(b"\0");
    // What does not fit is no text.
    let len = out.written().unwrap_or_default();
    mem::c_str(buffer.head(len))
}

/// Prints what -P and -p may name.
fn list_requests() -> Result<(), Fatal> {
    for name in requests() {
        let mut line = Line::default();
        line.raw(name);
        super::print(line.end());
    }
    Ok(())
}

/// Says what failed, with what, and why.
fn failed(what: Text, about: &[u8], errno: Errno) -> Fatal {
    reasons::failed(what, about, errno, &REASONS)
}

/// Why something failed here and what to do about it.
static REASONS: [Reason; 3] = [
    reason(
        Errno::ADDRINUSE,
        text!("somebody listens there already; choose another place"),
    ),
    reason(Errno::ADDRNOTAVAIL, text!("this host has no such address")),
    reason(
        Errno::XDEV,
        text!("it shows the kernel's own state, not files"),
    ),
];
