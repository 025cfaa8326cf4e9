//! The sockets of servers that run on this host: found, asked for their figures, and removed if their server was killed.
//!
//! A server listens at /run/stowaway/ROLE.PID, or at the abstract name stowaway/ROLE/PID (`drive::platform::host::status`).

#![forbid(unsafe_code)]

use super::files::{Directory, read};
use crate::config::CHILD_COUNT_MAX;
use crate::event::Line;
use crate::mem::{self, Ends as _, c_str, copy_into, index_of, letters, nth, parts, shift};
use crate::sys::linux::fs::{self, AT_FDCWD, File};
use crate::sys::linux::sockets::{LocalName, connect_locally};
use crate::sys::{self, Errno};
use crate::time::{Duration, Instant};
use crate::wire::label::number;
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::AsRawFd as _;

const DIRECTORY: &CStr = c"/run/stowaway";
/// Begins an abstract name in /proc/net/unix.
const ABSTRACT: &[u8] = b"@stowaway/";

/// Most sockets that are asked.
pub const SOCKET_COUNT_MAX: usize = 64;
/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Roles that listen.
const ROLES: &[u8] = b"nfs serve http sftp mdns publish addresses";
const LINE_BYTES: usize = 4 << 10;
/// Longest answer (bytes), and the longest with minimum memory.
const ANSWER_BYTES: usize = 4 << 20;
const ANSWER_BYTES_MIN: usize = 64 << 10;

/// The socket of a server's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket {
    role: u8,
    is_file: bool,
    /// Its process.
    pub pid: u32,
}

/// The reason why a socket gives no figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// The server has ended. The file of the socket is removed, if this user may.
    Ended,
    /// The server is another user's.
    Foreign,
    /// The server does not answer.
    TimedOut,
}

/// The figures of a server, in the form that was asked for.
#[derive(Debug)]
pub struct Answer {
    text: &'static mut [u8],
    len: usize,
    /// The processes of the server, told by the last line.
    pub pids: heapless::Vec<u32, CHILD_COUNT_MAX>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            text: mem::bytes(mem::scaled(ANSWER_BYTES_MIN, ANSWER_BYTES)),
            len: 0,
            pids: heapless::Vec::new(),
        }
    }
}

impl Answer {
    /// The figures.
    pub fn text(&self) -> &[u8] {
        self.text.head(self.len)
    }

    /// Adds a line. It may be another user's: what a terminal cannot print is replaced.
    fn read(&mut self, line: &[u8]) {
        if let [b'.', pids @ ..] = line {
            for pid in parts(pids, b'.').filter_map(|pid| number(pid, 10)) {
                let _ = self.pids.push(pid);
            }
            return;
        }
        for (letter, is_printable) in letters(line).chain([(&b"\n"[..], true)]) {
            let space = self.text.tail_mut(self.len);
            self.len += letter.len().min(space.len());
            copy_into(space, if is_printable { letter } else { b"?" });
        }
    }
}

impl Socket {
    fn of(role: &[u8], pid: &[u8], is_file: bool) -> Option<Self> {
        let pid = number(pid, 10)?;
        Some(Self {
            role: index_of(ROLES, role)? as u8,
            is_file,
            pid,
        })
    }

    /// The role of the process.
    pub fn role(&self) -> &'static [u8] {
        nth(ROLES, b' ', self.role.into())
    }

    /// Reads the server's figures in the form of this byte.
    ///
    /// # Errors
    /// The server gave none, or a part of them.
    pub fn ask(&self, form: u8, answer: &mut Answer) -> Result<(), Silence> {
        answer.len = 0;
        answer.pids.clear();
        let mut name = Line::default();
        let joint = match self.is_file {
            true => name
                .raw(DIRECTORY.to_bytes())
                .byte(b'/')
                .raw(self.role())
                .byte(b'.'),
            false => name.raw(ABSTRACT.tail(1)).raw(self.role()).byte(b'/'),
        };
        joint.number(self.pid);
        let connected = match self.is_file {
            true => connect_locally(LocalName::File(c_str(name.byte(0).bytes()))),
            false => connect_locally(LocalName::Abstract(name.bytes())),
        };
        let file = connected.map_err(|errno| match errno {
            Errno::CONNREFUSED | Errno::NOENT => {
                if self.is_file {
                    let path = name.bytes().strip_suffix(b"\0").unwrap_or_default();
                    let _ = fs::unlinkat::<Errno>(AT_FDCWD, path, false);
                }
                Silence::Ended
            }
            Errno::ACCESS | Errno::PERM => Silence::Foreign,
            _ => Silence::TimedOut,
        })?;
        let until = sys::now().after(PATIENCE);
        let _ = rustix::io::write(&file, &[form]);
        each_line(&file, until, &mut |line| answer.read(line))?;
        match answer.len {
            // A server closes the connection of another user.
            0 => Err(Silence::Foreign),
            len if len == answer.text.len() || answer.pids.is_empty() => Err(Silence::TimedOut),
            _ => Ok(()),
        }
    }

    /// The PID of the process that started this one, such as the supervisor. 0: unknown.
    pub fn parent(&self) -> u32 {
        let mut path = Line::default();
        path.text("/proc/").number(self.pid).text("/stat").byte(0);
        let mut text = [0; 512];
        let text = read(c_str(path.bytes()), &mut text).unwrap_or_default();
        // PID (NAME) STATE PARENT; the name may have spaces and brackets.
        let after = text.iter().rposition(|byte| *byte == b')');
        let parent = nth(text.tail(after.unwrap_or(0)), b' ', 2);
        number(parent, 10).unwrap_or(0)
    }
}

/// Passes the lines that arrive before `until` to `call`. The end of a longer line than [`LINE_BYTES`] is a line of its own.
fn each_line(file: &File, until: Instant, call: &mut dyn FnMut(&[u8])) -> Result<(), Silence> {
    let (mut buffer, mut len) = ([0; LINE_BYTES], 0);
    loop {
        match fs::read(file.as_raw_fd(), buffer.tail_mut(len)) {
            Ok(0) => return Ok(()),
            Ok(count) => len += count,
            Err(Errno::AGAIN) => {
                let left = until.since(sys::now());
                let _ = sys::linux::sleep(&mut [PollFd::new(file, PollFlags::IN)], Some(left));
            }
            Err(_) => return Err(Silence::Foreign),
        }
        if sys::now() >= until {
            return Err(Silence::TimedOut);
        }
        while let Some(line_len) = buffer.head(len).iter().position(|byte| *byte == b'\n') {
            call(buffer.head(line_len));
            len = shift(buffer.head_mut(len), line_len + 1);
        }
        if len == LINE_BYTES {
            len = 0;
        }
    }
}

/// Passes the sockets of this host to `call`, those first whose processes know the exports. Returns false if abstract names cannot be
/// listed.
pub fn find(call: &mut dyn FnMut(Socket)) -> bool {
    let mut sockets = heapless::Vec::<Socket, SOCKET_COUNT_MAX>::new();
    let mut add = |socket: Option<Socket>| {
        if let Some(socket) = socket
            && !sockets.contains(&socket)
        {
            let _ = sockets.push(socket);
        }
    };
    if let Ok(directory) = Directory::open(DIRECTORY) {
        let _ = directory.list(&mut |name| {
            let name = name.to_bytes();
            add(Socket::of(nth(name, b'.', 0), nth(name, b'.', 1), true));
            ControlFlow::Continue(())
        });
    }
    let names = File::open::<Errno>(c"/proc/net/unix", rustix::fs::OFlags::CLOEXEC, 0);
    if let Ok(file) = &names {
        let _ = each_line(file, sys::now().after(PATIENCE), &mut |line| {
            let name = parts(line, b' ').last().unwrap_or_default();
            if let Some(name) = name.strip_prefix(ABSTRACT) {
                add(Socket::of(nth(name, b'/', 0), nth(name, b'/', 1), false));
            }
        });
    }
    for role in 0..parts(ROLES, b' ').count() {
        let of_role = sockets
            .iter()
            .filter(|socket| usize::from(socket.role) == role);
        of_role.for_each(|socket| call(*socket));
    }
    names.is_ok()
}

/// Waits.
pub fn pause(interval: Duration) {
    let _ = sys::linux::sleep(&mut [], Some(interval));
}

/// Returns true if standard output is a terminal.
pub fn prints_to_terminal() -> bool {
    rustix::termios::isatty(fs::borrow(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};

    #[test]
    fn hostile_answers_are_printable_or_refused() {
        let pid = std::process::id();
        let address = SocketAddr::from_abstract_name(format!("stowaway/nfs/{pid}")).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let socket = Socket::of(b"nfs", pid.to_string().as_bytes(), false).unwrap();
        let mut answer = Answer::default();
        for (sent, expected) in [
            ("", Err(Silence::Foreign)),
            ("role\nnfs\n", Err(Silence::TimedOut)),
            ("\x1b[2J\u{202e}\u{fc}\r\n.7.8\n", Ok("?[2J???\u{fc}?\n")),
            (".1\n", Err(Silence::Foreign)),
        ] {
            let answered = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut peer = listener.accept().unwrap().0;
                    peer.read_exact(&mut [0]).unwrap();
                    peer.write_all(sent.as_bytes()).unwrap();
                });
                socket.ask(b'p', &mut answer)
            });
            let text = String::from_utf8(answer.text().to_vec()).unwrap();
            assert_eq!(answered.map(|()| text.as_str()), expected, "{sent:?}");
        }
    }
}
