//! The host's own sockets. Waits with epoll where the host has it, with poll on every other.

use super::{Interest, Net, NetError, NetResult, Ready, Socket, Token};
use crate::config::CONNECTION_COUNT_MAX;
use crate::sys::{self, Errno};
use crate::time::{Duration, Instant};
use crate::vfs::Descriptor;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Seconds of silence after which the kernel asks whether a peer is still there, and between its questions.
const KEEPALIVE: (u32, u32) = (60, 15);
/// The token of the descriptor that tells the process to stop.
const STOP: Token = Token::MAX;
/// Turns of the poll rung between two looks at the sockets that were idle.
const IDLE_TURNS: u32 = 8;

#[derive(Debug)]
struct Watched {
    file: OwnedFd,
    token: Token,
    interest: Interest,
}

/// How to wait.
#[derive(Debug)]
enum Rung {
    Epoll(OwnedFd),
    /// Sockets that were ready lately, and turns since all were looked at.
    Poll(Vec<u32>, u32),
}

/// The kernel's sockets.
#[derive(Debug)]
pub struct Kernel {
    /// By the number of their descriptor.
    sockets: Vec<Option<Watched>>,
    rung: Rung,
    stop: Option<OwnedFd>,
}

impl Kernel {
    /// A net that stops when `stop` becomes readable.
    pub fn new(stop: Option<OwnedFd>) -> Self {
        let rung = try_epoll().map_or(Rung::Poll(Vec::new(), 0), Rung::Epoll);
        Self::with(rung, stop)
    }

    fn with(rung: Rung, stop: Option<OwnedFd>) -> Self {
        if let (Rung::Epoll(epoll), Some(stop)) = (&rung, &stop) {
            let _ = epoll::add(
                epoll,
                stop,
                epoll::EventData::new_u64(STOP.into()),
                epoll::EventFlags::IN,
            );
        }
        Self {
            sockets: Vec::with_capacity(CONNECTION_COUNT_MAX + 64),
            rung,
            stop,
        }
    }

    fn get(&self, socket: Socket) -> NetResult<&OwnedFd> {
        let watched = self.sockets.get(socket.0 as usize).and_then(Option::as_ref);
        watched.map(|watched| &watched.file).ok_or(NetError::Gone)
    }

    fn keep(&mut self, file: OwnedFd, token: Token, interest: Interest) -> NetResult<Socket> {
        let number = file.as_raw_fd() as usize;
        while self.sockets.len() <= number {
            if self.sockets.len() == self.sockets.capacity() {
                return Err(NetError::Full);
            }
            self.sockets.push(None);
        }
        if let Rung::Epoll(epoll) = &self.rung {
            epoll::add(
                epoll,
                &file,
                epoll::EventData::new_u64(token.into()),
                flags(interest),
            )
            .map_err(error)?;
        }
        if let Some(slot) = self.sockets.get_mut(number) {
            *slot = Some(Watched {
                file,
                token,
                interest,
            });
        }
        Ok(Socket(number as u32))
    }

    fn open(
        &mut self,
        at: SocketAddr,
        kind: SocketType,
        prepare: impl Fn(&OwnedFd) -> Result<(), Errno>,
    ) -> NetResult<OwnedFd> {
        let family = if at.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let file = rustix::net::socket_with(family, kind, flags, None).map_err(error)?;
        if at.ip() == IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED) {
            // One socket for both families.
            sockopt::set_ipv6_v6only(&file, false).map_err(error)?;
        }
        prepare(&file).map_err(error)?;
        rustix::net::bind(&file, &at).map_err(error)?;
        Ok(file)
    }
}

/// An epoll that can be waited on: some hosts have the one call and lack the other.
fn try_epoll() -> Result<OwnedFd, Errno> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut events = [const { core::mem::MaybeUninit::uninit() }; 1];
    epoll::wait(&epoll, &mut events, Some(&Timespec::default()))?;
    Ok(epoll)
}

const fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::None => epoll::EventFlags::empty(),
        Interest::Input => epoll::EventFlags::IN,
        Interest::Output => epoll::EventFlags::OUT,
    }
}

/// accept4, else accept and fcntl.
fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Err(Errno::NOSYS) => {
            let file = rustix::net::accept(listener)?;
            rustix::io::ioctl_fionbio(&file, true)?;
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?;
            Ok(file)
        }
        accepted => accepted,
    }
}

impl Net for Kernel {
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        let file = self.open(at, SocketType::STREAM, |file| {
            sockopt::set_socket_reuseaddr(file, true)?;
            // Connections inherit these. A host that lacks one is served all the same.
            let _ = sockopt::set_tcp_nodelay(file, true);
            let _ = sockopt::set_socket_keepalive(file, true);
            let _ = sockopt::set_tcp_keepidle(
                file,
                core::time::Duration::from_secs(KEEPALIVE.0.into()),
            );
            let _ = sockopt::set_tcp_keepintvl(
                file,
                core::time::Duration::from_secs(KEEPALIVE.1.into()),
            );
            Ok(())
        })?;
        rustix::net::listen(&file, BACKLOG).map_err(error)?;
        self.keep(file, token, Interest::Input)
    }

    fn bind(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        let file = self.open(at, SocketType::DGRAM, |_| Ok(()))?;
        self.keep(file, token, Interest::Input)
    }

    fn local(&self, socket: Socket) -> NetResult<SocketAddr> {
        let name = rustix::net::getsockname(self.get(socket)?).map_err(error)?;
        SocketAddr::try_from(name).map_err(error)
    }

    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)> {
        let file = accept(self.get(listener)?).map_err(error)?;
        let peer = rustix::net::getpeername(&file)
            .map_err(error)?
            .ok_or(NetError::Gone)?;
        let peer = SocketAddr::try_from(peer).map_err(error)?;
        Ok((self.keep(file, 0, Interest::None)?, peer))
    }

    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        let (received, _) =
            rustix::net::recv(self.get(socket)?, buffer, RecvFlags::empty()).map_err(error)?;
        Ok(received)
    }

    fn send(&mut self, socket: Socket, bytes: &[u8], more: bool) -> NetResult<usize> {
        let flags = if more {
            SendFlags::MORE
        } else {
            SendFlags::empty()
        };
        rustix::net::send(self.get(socket)?, bytes, flags | SendFlags::NOSIGNAL).map_err(error)
    }

    fn send_file(
        &mut self,
        socket: Socket,
        file: Descriptor,
        offset: u64,
        len: u32,
    ) -> NetResult<usize> {
        match sys::files::send_file(self.get(socket)?, file.0, offset, len) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(NetError::Unsupported),
            sent => sent.map_err(error),
        }
    }

    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<(usize, SocketAddr)> {
        let received =
            rustix::net::recvfrom(self.get(socket)?, buffer, RecvFlags::empty()).map_err(error)?;
        let (len, _, from) = received;
        let from = from.ok_or(NetError::Gone)?;
        Ok((len, SocketAddr::try_from(from).map_err(error)?))
    }

    fn send_to(&mut self, socket: Socket, to: SocketAddr, bytes: &[u8]) -> NetResult<()> {
        rustix::net::sendto(self.get(socket)?, bytes, SendFlags::NOSIGNAL, &to)
            .map(drop)
            .map_err(error)
    }

    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()> {
        let watched = self
            .sockets
            .get_mut(socket.0 as usize)
            .and_then(Option::as_mut)
            .ok_or(NetError::Gone)?;
        if (watched.token, watched.interest) == (token, interest) {
            return Ok(());
        }
        (watched.token, watched.interest) = (token, interest);
        if let Rung::Epoll(epoll) = &self.rung {
            let data = epoll::EventData::new_u64(token.into());
            epoll::modify(epoll, &watched.file, data, flags(interest)).map_err(error)?;
        }
        Ok(())
    }

    fn close(&mut self, socket: Socket) {
        if let Some(slot) = self.sockets.get_mut(socket.0 as usize) {
            *slot = None;
        }
    }

    fn wait(&mut self, now: Instant, until: Option<Instant>, ready: &mut Ready) -> Instant {
        ready.tokens.clear();
        let timeout = until.map(|until| until.since(now));
        let mut push = |token| {
            if token == STOP {
                ready.stop = true;
            } else {
                // What does not fit is still ready in the next turn.
                let _ = ready.tokens.push(token);
            }
        };
        match &mut self.rung {
            Rung::Epoll(epoll) => {
                let mut events = [const { core::mem::MaybeUninit::uninit() }; 64];
                let timeout = timeout.map(timespec);
                if let Ok((events, _)) = epoll::wait(epoll, &mut events, timeout.as_ref()) {
                    events
                        .iter()
                        .for_each(|event| push(event.data.u64() as Token));
                }
            }
            Rung::Poll(hot, turns) => {
                let all = || 0..self.sockets.len() as u32;
                *turns += 1;
                let mut found = Vec::new();
                if !hot.is_empty() && *turns < IDLE_TURNS {
                    found = poll(
                        &self.sockets,
                        self.stop.as_ref(),
                        hot.iter().copied(),
                        Some(Duration::default()),
                        &mut push,
                    );
                }
                if found.is_empty() {
                    *turns = 0;
                    found = poll(&self.sockets, self.stop.as_ref(), all(), timeout, &mut push);
                }
                *hot = found;
            }
        }
        sys::now()
    }
}

/// epoll_pwait2 would take nanoseconds; rounding up never wakes too early, and every host has milliseconds.
fn timespec(timeout: Duration) -> Timespec {
    let ms = timeout.as_ms_up();
    Timespec {
        tv_sec: (ms / 1000) as i64,
        tv_nsec: (ms % 1000 * 1_000_000) as _,
    }
}

/// Polls those of `sockets` that are watched for something; the ones that are ready.
fn poll(
    sockets: &[Option<Watched>],
    stop: Option<&OwnedFd>,
    among: impl Iterator<Item = u32>,
    timeout: Option<Duration>,
    push: &mut impl FnMut(Token),
) -> Vec<u32> {
    let mut watched = Vec::new();
    let mut polled: Vec<PollFd<'_>> = Vec::new();
    for number in among {
        let Some(socket) = sockets.get(number as usize).and_then(Option::as_ref) else {
            continue;
        };
        let flags = match socket.interest {
            Interest::None => continue,
            Interest::Input => PollFlags::IN,
            Interest::Output => PollFlags::OUT,
        };
        polled.push(PollFd::from_borrowed_fd(socket.file.as_fd(), flags));
        watched.push((number, socket.token));
    }
    let stop: Option<BorrowedFd<'_>> = stop.map(|stop| stop.as_fd());
    polled.extend(stop.map(|stop| PollFd::from_borrowed_fd(stop, PollFlags::IN)));
    let timeout = timeout.map(timespec);
    if rustix::event::poll(&mut polled, timeout.as_ref()).is_err() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, poll) in polled.iter().enumerate() {
        if poll.revents().is_empty() {
            continue;
        }
        match watched.get(at) {
            Some((number, token)) => {
                push(*token);
                found.push(*number);
            }
            None => push(STOP),
        }
    }
    found
}

/// What an error of the host means.
const fn error(errno: Errno) -> NetError {
    match errno {
        Errno::AGAIN | Errno::INTR => NetError::WouldBlock,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => NetError::Full,
        Errno::ADDRINUSE => NetError::InUse,
        Errno::ACCESS | Errno::PERM => NetError::Denied,
        Errno::ADDRNOTAVAIL => NetError::NoSuchAddress,
        Errno::AFNOSUPPORT | Errno::NOSYS | Errno::PROTONOSUPPORT => NetError::Unsupported,
        _ => NetError::Gone,
    }
}
