//! The host's own sockets. Waits with epoll where the host has it, with poll on every other.

use super::{
    Interest, Interfaces, Joined, Links, Net, NetError, NetResult, Post, Ready, Socket, Token,
};
use crate::config::CONNECTION_COUNT_MAX;
use crate::mem::Slots;
use crate::sys::linux::epoll::{Change, Epoll, Room};
use crate::sys::linux::fs::File;
use crate::sys::linux::{interfaces, multicast, sockets};
use crate::sys::{self, Errno};
use crate::time::{Duration, Instant};
use crate::vfs::Descriptor;
use core::mem::MaybeUninit;
use core::net::{IpAddr, SocketAddr};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

/// Whether there are connections, of which there may be many. Without them poll does as well, and is smaller.
const HAS_MANY: bool = cfg!(any(feature = "nfs", feature = "sftp-server"));
/// Sockets that may be open: connections, and those that are not.
const SOCKET_COUNT_MAX: usize = if HAS_MANY {
    CONNECTION_COUNT_MAX + 64
} else {
    1024
};
/// The token of the descriptor that tells the process to stop.
const STOP: Token = Token::MAX;
/// That of a descriptor that wakes, which is no socket's.
const WAKE: Token = Token::MAX - 1;

#[derive(Debug)]
struct Watched {
    file: File,
    token: Token,
    interest: Interest,
}

/// The kernel's sockets.
#[derive(Debug)]
pub struct Kernel {
    /// By the number of their descriptor.
    sockets: Slots<Option<Watched>>,
    epoll: Option<Epoll>,
    /// What bytes go through on their way to a file.
    pipe: Option<(File, File)>,
}

impl Kernel {
    /// A net that stops when `stop` becomes readable.
    pub fn new(stop: Option<File>) -> Self {
        let mut kernel = Self {
            sockets: Slots::new(SOCKET_COUNT_MAX),
            epoll: if HAS_MANY { Epoll::new().ok() } else { None },
            pipe: None,
        };
        // Some hosts can make one and lack the call that waits.
        if HAS_MANY
            && kernel
                .wait_epoll(Some(Duration::default()), &mut Ready::default())
                .is_err()
        {
            kernel.epoll = None;
        }
        if let Some(stop) = stop {
            // Without it a signal waits until the process is killed.
            let _ = kernel.keep(stop, STOP, Interest::Input);
        }
        kernel
    }

    /// Ends each wait in which `file` becomes readable, whatever that means.
    pub fn wake_by(&mut self, file: File) {
        let _ = self.keep(file, WAKE, Interest::Input);
    }

    #[inline(never)]
    fn get(&self, socket: Socket) -> Result<BorrowedFd<'_>, Errno> {
        match self.sockets.get(socket.0 as usize) {
            Some(Some(watched)) => Ok(watched.file.as_fd()),
            _ => Err(Errno::BADF),
        }
    }

    /// Watches a file of the caller's, too. `None`: there is no place for it.
    pub fn watch_file(&mut self, file: File, token: Token) -> Option<()> {
        self.keep(file, token, Interest::Input).ok().map(drop)
    }

    fn keep(&mut self, file: File, token: Token, interest: Interest) -> Result<Socket, Errno> {
        let number = file.as_raw_fd() as usize;
        while self.sockets.len() <= number {
            self.sockets.push(None).ok_or(Errno::NFILE)?;
        }
        if HAS_MANY && let Some(epoll) = &self.epoll {
            epoll.set(Change::Add, file.as_raw_fd(), token, flags(interest))?;
        }
        if let Some(place) = self.sockets.get_mut(number) {
            *place = Some(Watched {
                file,
                token,
                interest,
            });
        }
        Ok(Socket(number as u32))
    }

    #[inline(never)]
    fn open(&mut self, at: SocketAddr, connects: bool, token: Token) -> NetResult<Socket> {
        self.hear(sockets::open_at(at, connects), token)
    }

    fn hear(&mut self, file: Result<File, Errno>, token: Token) -> NetResult<Socket> {
        Ok(self.keep(file?, token, Interest::Input)?)
    }

    fn wait_epoll(&self, timeout: Option<Duration>, ready: &mut Ready) -> Result<(), Errno> {
        let epoll = self.epoll.as_ref().ok_or(Errno::NOSYS)?;
        let mut room: Room = [const { MaybeUninit::uninit() }; _];
        // Whoever is woken too early waits again.
        let timeout_ms = timeout.map_or(-1, |timeout| timeout.as_ms().min(i32::MAX as u64) as i32);
        for event in epoll.wait(&mut room, timeout_ms)? {
            ready.push(event.token);
        }
        Ok(())
    }

    /// Looks at every socket each time: 50 µs for a thousand of them, on hosts that have nothing better.
    #[inline(never)] // For the sake of the stack.
    fn wait_poll(&self, timeout: Option<Duration>, ready: &mut Ready) -> Result<(), Errno> {
        let watched = || {
            let sockets = self.sockets.iter().flatten();
            sockets.filter(|socket| socket.interest != Interest::None)
        };
        let mut polled = heapless::Vec::<PollFd<'_>, SOCKET_COUNT_MAX>::new();
        for socket in watched() {
            let flags = PollFlags::from_bits_retain(flags(socket.interest));
            let _ = polled.push(PollFd::from_borrowed_fd(socket.file.as_fd(), flags));
        }
        sys::sleep(&mut polled, timeout)?;
        for (socket, polled) in watched().zip(&polled) {
            if !polled.revents().is_empty() {
                ready.push(socket.token);
            }
        }
        Ok(())
    }
}

impl Ready {
    fn push(&mut self, token: Token) {
        if token == STOP {
            self.stop = true;
        } else {
            // What does not fit is still ready in the next turn.
            let _ = self.tokens.push(token);
        }
    }
}

/// For epoll and for poll, whose numbers are the same.
const fn flags(interest: Interest) -> u16 {
    match interest {
        Interest::None => 0,
        Interest::Input => 1,
        Interest::Output => 4,
    }
}

impl Post for Kernel {
    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<(usize, SocketAddr)> {
        Ok(sockets::recv_from(self.get(socket)?, buffer)?)
    }

    fn send_to(&mut self, socket: Socket, to: SocketAddr, bytes: &[u8]) -> NetResult<()> {
        Ok(sockets::send_to(self.get(socket)?, to, bytes)?)
    }

    fn close(&mut self, socket: Socket) {
        if let Some(place) = self.sockets.get_mut(socket.0 as usize) {
            *place = None;
        }
    }

    fn wait(&mut self, now: Instant, until: Option<Instant>, ready: &mut Ready) -> Instant {
        ready.tokens.clear();
        let timeout = until.map(|until| until.since(now));
        // An interrupted wait has found nothing, and the next one is at once.
        let _ = match self.epoll {
            Some(_) if HAS_MANY => self.wait_epoll(timeout, ready),
            _ => self.wait_poll(timeout, ready),
        };
        sys::now()
    }
}

impl Net for Kernel {
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        self.open(at, true, token)
    }

    fn bind(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        self.open(at, false, token)
    }

    fn local(&self, socket: Socket) -> NetResult<SocketAddr> {
        Ok(sockets::name(self.get(socket)?)?)
    }

    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)> {
        let (file, peer) = sockets::accept(self.get(listener)?)?;
        let socket = self.keep(file, 0, Interest::None)?;
        Ok((socket, peer))
    }

    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        Ok(sockets::recv(self.get(socket)?, buffer)?)
    }

    fn send(&mut self, socket: Socket, bytes: &[u8], more: bool) -> NetResult<usize> {
        Ok(sockets::send(self.get(socket)?, bytes, more)?)
    }

    fn send_file(
        &mut self,
        socket: Socket,
        file: Descriptor,
        offset: u64,
        len: u32,
    ) -> NetResult<usize> {
        match crate::sys::linux::fs::sendfile(self.get(socket)?, file.0, offset, len) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Err(NetError::Unsupported),
            sent => Ok(sent?),
        }
    }

    fn recv_pipe(&mut self, socket: Socket, len: u32) -> NetResult<(usize, Descriptor)> {
        if self.pipe.is_none() {
            self.pipe = Some(crate::sys::linux::fs::pipe().map_err(|_| NetError::Unsupported)?);
        }
        let (from, to) = self.pipe.as_ref().ok_or(NetError::Unsupported)?;
        let socket = self.get(socket)?.as_raw_fd();
        match crate::sys::linux::fs::splice(socket, to.as_raw_fd(), None, len as usize) {
            Err(Errno::INVAL) => Err(NetError::Unsupported),
            moved => Ok((moved?, Descriptor(from.as_raw_fd()))),
        }
    }

    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()> {
        let Some(Some(watched)) = self.sockets.get_mut(socket.0 as usize) else {
            return Err(NetError::Gone);
        };
        if (watched.token, watched.interest) == (token, interest) {
            return Ok(());
        }
        (watched.token, watched.interest) = (token, interest);
        if let Some(epoll) = &self.epoll {
            let file = watched.file.as_raw_fd();
            epoll.set(Change::Modify, file, token, flags(interest))?;
        }
        Ok(())
    }
}

impl Links for Kernel {
    fn interfaces(&self, out: &mut Interfaces) {
        interfaces::list(out);
    }

    fn changes(&mut self, token: Token) -> NetResult<Socket> {
        self.hear(interfaces::watch(), token)
    }

    fn join(&mut self, index: u32, own: IpAddr, token: Token) -> NetResult<Joined> {
        let (file, alone) = multicast::join(index, own)?;
        let socket = self.hear(Ok(file), token)?;
        Ok(Joined { socket, alone })
    }

    fn claim(&mut self, index: u32, own: IpAddr, token: Token) -> NetResult<Socket> {
        self.hear(multicast::claim(index, own), token)
    }
}

impl From<Errno> for NetError {
    #[inline(never)]
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN | Errno::INTR => Self::WouldBlock,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => Self::Full,
            Errno::ADDRINUSE => Self::InUse,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::ADDRNOTAVAIL => Self::NoSuchAddress,
            Errno::AFNOSUPPORT | Errno::NOSYS | Errno::PROTONOSUPPORT => Self::Unsupported,
            _ => Self::Gone,
        }
    }
}
