//! Kernel sockets. Waits by epoll, or by poll if the kernel lacks epoll.

#[cfg(feature = "multicast")]
mod multicast;

use super::{
    Binding, Connections, Datagrams, FileId, FileRange, HAS_STREAMS, Interest, Net, NetError,
    NetResult, Own, Ready, Received, Signals, Socket, Streams, Token,
};
use super::{OwnAddresses, add_own};
use crate::config::{CONNECTION_COUNT_MAX, HAS_MULTICAST};
use crate::mem::Slots;
use crate::sys::linux::destinations;
use crate::sys::linux::epoll::{Change, Epoll, EventBuffer};
use crate::sys::linux::fd::{AsFd as _, AsRawFd as _, RawFd};
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::process::{self, SignalRequest};
use crate::sys::linux::sockets::{self, Address};
use crate::sys::{self, Errno};
use crate::time::{Duration, Instant};
use core::mem::MaybeUninit;
use core::net::SocketAddr;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Open sockets at most: connections and 64 others. Builds without connections use poll.
const SOCKET_COUNT_MAX: usize = if HAS_STREAMS {
    CONNECTION_COUNT_MAX + 64
} else {
    1024
};
/// Token of the signalfd.
const SIGNALS: Token = Token(u32::MAX);

#[derive(Debug)]
struct WatchedFile {
    file: File,
    token: Token,
    interest: Interest,
    /// Destination of all datagrams to this socket (`None`: more than one is possible), and their interface.
    to: Own,
    /// True if datagrams leave from the address that the caller names (IP_PKTINFO): the socket is bound to none.
    is_any: bool,
    /// True if the kernel reports the destination of each datagram (IP_PKTINFO).
    has_destinations: bool,
}

/// The kernel's sockets.
#[derive(Debug)]
pub struct Kernel {
    /// Sockets, indexed by descriptor.
    sockets: Slots<Option<WatchedFile>>,
    /// The signalfd.
    signals: Option<Socket>,
    epoll: Option<Epoll>,
    /// True if other processes bind the same ports (SO_REUSEPORT).
    pub shares_ports: bool,
    /// Pipe for splicing bytes from a socket to a file.
    pipe: Option<(File, File)>,
}

impl Kernel {
    /// A network without sockets.
    pub fn empty() -> Self {
        Self {
            sockets: Slots::new(SOCKET_COUNT_MAX),
            signals: None,
            shares_ports: false,
            epoll: if HAS_STREAMS { Epoll::new().ok() } else { None },
            pipe: None,
        }
    }

    /// Tests whether epoll works; called first. [`Datagrams::wait`] also reports the signals of the signalfd `signals`; without one
    /// a signal ends the process.
    pub fn probe_epoll(&mut self, signals: Option<File>) {
        // Some kernels have epoll_create1 but not epoll_pwait.
        if HAS_STREAMS
            && self
                .wait_epoll(Some(Duration::default()), &mut Ready::default())
                .is_err()
        {
            self.epoll = None;
        }
        self.signals = signals.and_then(|file| self.insert(file, SIGNALS, Interest::Input).ok());
    }

    fn get(&self, socket: Socket) -> NetResult<&WatchedFile> {
        match self.sockets.get(socket.0) {
            Some(Some(watched)) => Ok(watched),
            _ => Err(NetError::Gone),
        }
    }

    fn insert(&mut self, file: File, token: Token, interest: Interest) -> NetResult<Socket> {
        let number = file.as_raw_fd() as usize;
        while self.sockets.len() <= number {
            self.sockets.push(None).ok_or(NetError::Full)?;
        }
        if HAS_STREAMS
            && let Some(epoll) = &self.epoll
            && let Err(errno) = epoll.set(Change::Add, file.as_raw_fd(), token.0, flags(interest))
        {
            if self.sockets.iter().flatten().next().is_some() {
                return Err(errno.into());
            }
            // The first descriptor, of the signals: epoll_ctl does not work here, so poll is used.
            self.epoll = None;
        }
        if let Some(place) = self.sockets.get_mut(number) {
            *place = Some(WatchedFile {
                file,
                token,
                interest,
                to: Own::default(),
                is_any: false,
                has_destinations: false,
            });
        }
        Ok(Socket(number))
    }

    fn open(&mut self, at: SocketAddr, connects: bool, token: Token) -> NetResult<Socket> {
        self.watch_input(sockets::open_at(at, connects, self.shares_ports), token)
    }

    fn watch_input(&mut self, file: Result<File, Errno>, token: Token) -> NetResult<Socket> {
        self.insert(file?, token, Interest::Input)
    }

    fn wait_epoll(&self, timeout: Option<Duration>, ready: &mut Ready) -> Result<(), Errno> {
        let epoll = self.epoll.as_ref().ok_or(Errno::NOSYS)?;
        let mut events: EventBuffer = [const { MaybeUninit::uninit() }; _];
        // A timeout above `i32::MAX` is truncated; the loop then waits again.
        let timeout_ms = timeout.map_or(-1, |timeout| timeout.as_ms().min(i32::MAX as u64) as i32);
        for event in epoll.wait(&mut events, timeout_ms)? {
            self.add(Token(event.token), ready);
        }
        Ok(())
    }

    /// Waits by poll, which checks every socket: 50 µs for a thousand.
    #[inline(never)] // Keeps the array of 96 KiB off the frame of `wait`.
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
        let slept = sys::linux::sleep(&mut polled, timeout);
        // Where the host refuses poll, each socket is perhaps ready. `ready` has room for some of them: first other ones each time.
        let (mut first, is_blind) = (0, !matches!(slept, Ok(()) | Err(Errno::INTR)));
        if is_blind {
            first = sys::now().since(Instant::default()).as_ms() as usize % polled.len().max(1);
        }
        let all = watched().zip(&polled);
        for (socket, polled) in all.cycle().skip(first).take(polled.len()) {
            if is_blind || slept.is_ok() && !polled.revents().is_empty() {
                self.add(socket.token, ready);
            }
        }
        slept
    }

    /// Adds the token of a ready socket to `ready`, or reads a signal from the signalfd.
    fn add(&self, token: Token, ready: &mut Ready) {
        if token != SIGNALS {
            let _ = ready.tokens.push(token);
        } else if let Some(Ok(watched)) = self.signals.map(|socket| self.get(socket)) {
            note_signal(&watched.file, &mut ready.signals);
        }
    }
}

/// Reads a signal from a signalfd, and notes its request.
pub(super) fn note_signal(file: &File, signals: &mut Signals) {
    match process::read_signal(file.as_fd()) {
        SignalRequest::Nothing => signals.child = true,
        SignalRequest::Reload => signals.reload = true,
        SignalRequest::Figures => signals.figures = true,
        SignalRequest::Stop => signals.stop = true,
    }
}

/// Descriptor of a socket. If it is closed, the system call fails with EBADF.
const fn number(socket: Socket) -> RawFd {
    socket.0 as RawFd
}

/// Event mask for epoll and poll, which use the same bits.
const fn flags(interest: Interest) -> u16 {
    match interest {
        Interest::None => 0,
        Interest::Input => 1,
        Interest::Output | Interest::Reply => 4,
    }
}

impl Datagrams for Kernel {
    fn bind(&mut self, binding: &Binding<'_>, token: Token) -> NetResult<Socket> {
        let (at, shares) = (binding.at, self.shares_ports);
        let device = binding.interface.map_or(&[][..], |one| &one.name);
        let socket = self.watch_input(sockets::open_by(device, at, false, shares), token)?;
        if let Some(Some(watched)) = self.sockets.get_mut(socket.0) {
            watched.is_any = at.ip().is_unspecified();
            watched.to = Own::of((!watched.is_any).then_some(at.ip()));
            watched.has_destinations = HAS_STREAMS
                && watched.is_any
                && binding.destinations
                && destinations::report(&watched.file);
            if let Some(interface) = binding.interface {
                watched.to.interface = interface.index;
            }
            if binding.broadcasts {
                sockets::allow_broadcasts(&watched.file);
            }
            if binding.fragments {
                sockets::allow_fragments(&watched.file);
            }
        }
        Ok(socket)
    }

    fn socket_count_max(&self) -> usize {
        sys::linux::descriptor_limit().min(SOCKET_COUNT_MAX)
    }

    fn local(&self, socket: Socket) -> NetResult<SocketAddr> {
        let mut at = Address::empty();
        sockets::name(number(socket), &mut at)?;
        Ok(at.get())
    }

    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<Received> {
        let watched = self.get(socket)?;
        let Own { address, interface } = watched.to;
        let mut to = destinations::Own {
            address,
            interface,
            is_broadcast: false,
        };
        let mut from = Address::empty();
        let len = match HAS_STREAMS && watched.has_destinations {
            true => destinations::recv(number(socket), buffer, &mut from, &mut to),
            false => sockets::recv_from(number(socket), buffer, &mut from),
        }?;
        Ok(Received {
            len,
            from: from.get(),
            to: Own {
                address: to.address,
                interface: to.interface,
            },
            is_broadcast: to.is_broadcast,
        })
    }

    fn send_to(
        &mut self,
        socket: Socket,
        from: Own,
        to: SocketAddr,
        bytes: &[u8],
    ) -> NetResult<()> {
        let is_any = self.get(socket)?.is_any;
        if HAS_STREAMS
            && is_any
            && from != Own::default()
            && destinations::send(number(socket), from.address, from.interface, to, bytes).is_ok()
        {
            return Ok(());
        }
        Ok(sockets::send_to(number(socket), to, bytes)?)
    }

    fn close(&mut self, socket: Socket) {
        if let Some(place) = self.sockets.get_mut(socket.0) {
            // A closed descriptor stays watched while another one of the same file is open.
            if HAS_STREAMS
                && let Some(epoll) = &self.epoll
                && place.is_some()
            {
                let _ = epoll.set(Change::Remove, number(socket), 0, 0);
            }
            *place = None;
        }
    }

    fn watch_file(&mut self, file: FileId, token: Token) -> NetResult<Socket> {
        let own = fs::dup::<Errno>(file.0).map(File::of);
        self.watch_input(own, token)
    }

    fn wait(&mut self, now: Instant, until: Instant, ready: &mut Ready) -> Instant {
        if !ready.tokens.is_empty() {
            sys::linux::process::count_turn();
        }
        ready.tokens.clear();
        ready.signals = Signals::default();
        let timeout = (until < Instant::NEVER).then(|| until.since(now));
        // On EINTR nothing is ready, and the loop waits again.
        let _ = match self.epoll {
            Some(_) if HAS_STREAMS => self.wait_epoll(timeout, ready),
            _ => self.wait_poll(timeout, ready),
        };
        sys::now()
    }
}

impl Connections for Kernel {
    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        Ok(sockets::recv(number(socket), buffer)?)
    }

    fn peek(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        Ok(sockets::peek(number(socket), buffer)?)
    }

    fn send(&mut self, socket: Socket, bytes: &[u8], more: bool) -> NetResult<usize> {
        Ok(sockets::send(number(socket), bytes, more)?)
    }

    fn end_sending(&mut self, socket: Socket) {
        sockets::end_sending(number(socket));
    }

    fn has_delivered(&mut self, socket: Socket) -> bool {
        sockets::has_delivered(number(socket))
    }

    fn send_file(&mut self, socket: Socket, range: FileRange) -> NetResult<usize> {
        let socket = &self.get(socket)?.file;
        match fs::sendfile(socket, range.file.0, range.offset, range.len) {
            // EPERM: a container's filter. Otherwise the read of the copy fails, too.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => Err(NetError::Unsupported),
            sent => Ok(sent?),
        }
    }

    fn recv_pipe(&mut self, socket: Socket, len: u32) -> NetResult<(usize, FileId)> {
        if self.pipe.is_none() {
            self.pipe = Some(fs::pipe().map_err(|_| NetError::Unsupported)?);
        }
        let (from, to) = self.pipe.as_ref().ok_or(NetError::Unsupported)?;
        let socket = self.get(socket)?.file.as_raw_fd();
        match fs::splice(socket, None, to.as_raw_fd(), None, len as usize) {
            Err(Errno::INVAL | Errno::PERM) => Err(NetError::Unsupported),
            moved => Ok((moved?, FileId(from.as_raw_fd()))),
        }
    }
}

/// Addresses for documentation (RFC 5737, RFC 3849): the route to them is the default route, and no host has them.
const OTHER_HOSTS: [Ipv6Addr; 2] = [
    Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
];

impl Streams for Kernel {
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        self.open(at, true, token)
    }

    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)> {
        let mut peer = Address::empty();
        let file = sockets::accept(number(listener), &mut peer)?;
        let socket = self.insert(file, Token(0), Interest::None)?;
        Ok((socket, peer.get()))
    }

    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()> {
        let Some(Some(watched)) = self.sockets.get_mut(socket.0) else {
            return Err(NetError::Gone);
        };
        if (watched.token, watched.interest) == (token, interest) {
            return Ok(());
        }
        (watched.token, watched.interest) = (token, interest);
        if let Some(epoll) = &self.epoll {
            let file = watched.file.as_raw_fd();
            epoll.set(Change::Modify, file, token.0, flags(interest))?;
        }
        Ok(())
    }

    /// Asks the kernel for the source addresses of datagrams on the default routes: connect sends none. Without such a route, returns
    /// the first addresses of running interfaces.
    #[cfg(any(feature = "nfs", feature = "smol"))]
    fn own_addresses(&mut self) -> OwnAddresses {
        let mut own = [Ipv6Addr::UNSPECIFIED; 2];
        for host in OTHER_HOSTS {
            let mut source = Address::empty();
            if let Ok(socket) = sockets::datagrams_to_host(host, 9)
                && sockets::name(socket.as_raw_fd(), &mut source).is_ok()
            {
                add_own(&mut own, source.get().ip());
            }
        }
        if HAS_MULTICAST && own == [Ipv6Addr::UNSPECIFIED; 2] {
            let mut all = super::Interfaces::default();
            crate::sys::linux::interfaces::list(&mut all);
            for interface in all.iter().filter(|one| one.is_running && !one.is_loopback) {
                for (address, _) in &interface.addresses {
                    add_own(&mut own, *address);
                }
            }
        }
        own
    }
}

impl Net for Kernel {}

impl From<Errno> for NetError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN | Errno::INTR => Self::WouldBlock,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => Self::Full,
            Errno::ADDRINUSE => Self::InUse,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::ADDRNOTAVAIL => Self::NoSuchAddress,
            Errno::NETUNREACH | Errno::HOSTUNREACH => Self::Unreachable,
            Errno::MSGSIZE => Self::TooLong,
            Errno::AFNOSUPPORT | Errno::NOSYS | Errno::PROTONOSUPPORT => Self::Unsupported,
            _ => Self::Gone,
        }
    }
}
