//! What carries Ethernet frames on a Linux host: sockets of packet(7), TAP interfaces, socket files.

use super::fs::File;
use super::sockets::{self, Address, NONBLOCK, PACKET, STREAM, UNIX, Verb, socket_call};
use super::{Errno, outcome};
use core::ffi::CStr;
use core::{array, ptr};
use linux_raw_sys::general::iovec;
use linux_raw_sys::net::{mmsghdr, msghdr};
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Frames that wait to be received take at most so many bytes: a burst of a thousand small ones takes 768 each.
const RECEIVE_BYTES: u32 = 4 << 20;
/// A socket gets all that passes the interface, whomever it is for.
const PROMISCUOUS: u16 = 1;
/// What was sent from this host.
const OUTGOING: u8 = 4;

/// Options of sockets: level, number.
const RECEIVE_BUFFER: (u32, u32) = (1, 33);
const ADD_MEMBERSHIP: (u32, u32) = (263, 1);
const VNET_HEADER: (u32, u32) = (263, 15);

/// Requests on interfaces (netdevice(7), linux/if_tun.h).
pub(super) const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFMTU: u32 = 0x8921;
pub(super) const SIOCGIFINDEX: u32 = 0x8933;
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
/// Frames, without a header of protocol, with one of `virtio_net_hdr`.
const TAP: u16 = 0x2 | 0x1000 | 0x4000;
/// Checksums, segments of both versions of IP.
const OFFLOADS: usize = 1 | 2 | 4;

/// What is asked of an interface: its name, then a number (`struct ifreq`).
#[repr(C, align(8))]
pub(super) struct Request {
    pub(super) name: [u8; 16],
    pub(super) value: [u8; 24],
}

impl Request {
    /// About the interface `name`.
    pub(super) fn new(name: &CStr) -> Result<Self, Errno> {
        let mut request = Self {
            name: [0; 16],
            value: [0; 24],
        };
        let name = name.to_bytes_with_nul();
        let place = request.name.get_mut(..name.len());
        place.ok_or(Errno::NODEV)?.copy_from_slice(name);
        Ok(request)
    }

    pub(super) fn ask(&mut self, file: &File, what: u32) -> Result<(), Errno> {
        let at = &raw mut *self;
        // SAFETY: the kernel reads and writes a request of this size at most.
        outcome(unsafe { raw_syscall!(Sysno::ioctl, file.as_raw_fd(), what, at) }).map(drop)
    }

    pub(super) fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.value;
        u32::from_ne_bytes([a, b, c, d])
    }
}

fn set(socket: &File, (level, name): (u32, u32), value: &[u8]) -> Result<(), Errno> {
    let (socket, at, len) = (socket.as_raw_fd(), value.as_ptr(), value.len());
    // SAFETY: the kernel reads so many bytes.
    outcome(unsafe { socket_call!(setsockopt, 14, socket, level, name, at, len) }).map(drop)
}

/// What an interface says of itself.
fn answer(name: &CStr, what: u32) -> Result<Request, Errno> {
    let mut request = Request::new(name)?;
    request.ask(&sockets::open(sockets::INET, sockets::DATAGRAM)?, what)?;
    Ok(request)
}

/// The same, if it is a number.
fn asked(name: &CStr, what: u32) -> Result<u32, Errno> {
    Ok(answer(name, what)?.number())
}

/// The number of the interface `name` on its Ethernet. `NODEV`: it is none of an Ethernet.
#[cfg(feature = "init")]
pub fn hardware(name: &CStr) -> Result<[u8; 6], Errno> {
    const SIOCGIFHWADDR: u32 = 0x8927;
    const ETHERNET: u16 = 1;
    let [a, b, hardware @ ..] = answer(name, SIOCGIFHWADDR)?.value;
    let is_ethernet = u16::from_ne_bytes([a, b]) == ETHERNET;
    let hardware = hardware.first_chunk().filter(|_| is_ethernet);
    hardware.copied().ok_or(Errno::NODEV)
}

/// Bytes of the longest packet of the interface `name`.
pub fn mtu(name: &CStr) -> Result<usize, Errno> {
    Ok(asked(name, SIOCGIFMTU)? as usize)
}

/// Looks whether the interface `name` is up and has a carrier. `NETDOWN`: it does not.
pub fn expect_running(name: &CStr) -> Result<(), Errno> {
    const RUNNING: u32 = 0x40;
    let is_running = asked(name, SIOCGIFFLAGS)? & RUNNING != 0;
    is_running.then_some(()).ok_or(Errno::NETDOWN)
}

/// A socket of all frames that pass the interface `name`; whether each has a `virtio_net_hdr` before it. While the interface is
/// down, receiving says so once.
pub fn open_packet(name: &CStr) -> Result<(File, bool), Errno> {
    const RAW: u32 = 3;
    let socket = sockets::open(PACKET, RAW | NONBLOCK)?;
    let mut request = Request::new(name)?;
    request.ask(&socket, SIOCGIFINDEX)?;
    let index = request.number();
    let has_header = set(&socket, VNET_HEADER, &1u32.to_ne_bytes()).is_ok();
    // More than users may have; where that is refused, bursts lose more.
    let _ = set(&socket, RECEIVE_BUFFER, &RECEIVE_BYTES.to_ne_bytes());
    let mut membership = [0; 16];
    membership[..4].copy_from_slice(&index.to_ne_bytes());
    membership[4..6].copy_from_slice(&PROMISCUOUS.to_ne_bytes());
    set(&socket, ADD_MEMBERSHIP, &membership)?;
    sockets::call(
        socket.as_raw_fd(),
        Verb::Bind,
        &mut Address::of_frames(index),
    )?;
    Ok((socket, has_header))
}

/// The same, of ARP and of what is sent to clients of DHCP alone: the rest is the kernel's own stack's, which takes it beside this.
#[cfg(feature = "init")]
pub fn open_addresses(name: &CStr) -> Result<(File, bool), Errno> {
    /// `struct sock_filter` (linux/filter.h): code, jumps if it is so and if not, a number.
    #[repr(C)]
    struct Step(u16, u8, u8, u32);
    #[repr(C)]
    struct Filter {
        count: u16,
        steps: *const Step,
    }
    const ATTACH_FILTER: (u32, u32) = (1, 26);
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF_BEHIND: u16 = 0x48;
    const LOAD_HEADER_LEN: u16 = 0xb1;
    const IS: u16 = 0x15;
    const HAS_BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    static STEPS: [Step; 12] = [
        Step(LOAD_HALF, 0, 0, 12),
        Step(IS, 9, 0, 0x806), // ARP
        Step(IS, 0, 7, 0x800), // IPv4
        Step(LOAD_BYTE, 0, 0, 23),
        Step(IS, 0, 5, 17), // UDP
        Step(LOAD_HALF, 0, 0, 20),
        Step(HAS_BITS, 3, 0, 0x1fff), // A later fragment
        Step(LOAD_HEADER_LEN, 0, 0, 14),
        Step(LOAD_HALF_BEHIND, 0, 0, 16),
        Step(IS, 1, 0, 68), // The port of clients
        Step(RETURN, 0, 0, 0),
        Step(RETURN, 0, 0, u32::MAX),
    ];
    let opened = open_packet(name)?;
    let filter = Filter {
        count: STEPS.len() as u16,
        steps: STEPS.as_ptr(),
    };
    let at = (&raw const filter).cast();
    // SAFETY: the bytes of the structure.
    set(&opened.0, ATTACH_FILTER, unsafe {
        core::slice::from_raw_parts(at, size_of_val(&filter))
    })?;
    Ok(opened)
}

/// Frames that [`recv_frames`] receives at most.
pub const BATCH: usize = 8;

/// Receives frames (recvmmsg(2)), `step` bytes of `buffer` for each; how many. Their lengths go to `lens`; 0 is that of one which was
/// sent by this host.
pub fn recv_frames(
    socket: RawFd,
    buffer: &mut [u8],
    step: usize,
    lens: &mut [usize; BATCH],
) -> Result<usize, Errno> {
    // Where the type of `struct sockaddr_ll` is.
    const TYPE: usize = 10;
    let count = (buffer.len() / step).min(BATCH);
    let mut senders = [[0u8; 20]; BATCH];
    let start = buffer.as_mut_ptr();
    let mut places = array::from_fn::<_, BATCH, _>(|at| iovec {
        iov_base: start.wrapping_add(at * step).cast(),
        iov_len: step as _,
    });
    let mut messages = array::from_fn::<_, BATCH, _>(|at| mmsghdr {
        msg_hdr: msghdr {
            msg_name: senders.as_mut_ptr().wrapping_add(at).cast(),
            msg_namelen: 20,
            msg_iov: places.as_mut_ptr().wrapping_add(at).cast(),
            msg_iovlen: 1,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        },
        msg_len: 0,
    });
    let at = messages.as_mut_ptr();
    // SAFETY: so many messages, each with a name of 20 bytes and so many bytes of the buffer, which outlast the call.
    let received = outcome(unsafe { raw_syscall!(Sysno::recvmmsg, socket, at, count, 0, 0) })?;
    for ((len, message), sender) in lens.iter_mut().zip(&messages).zip(&senders) {
        let is_ours = sender[TYPE] == OUTGOING;
        *len = if is_ours { 0 } else { message.msg_len as usize };
    }
    Ok(received)
}

/// Attaches to the TAP interface `name`, with a `virtio_net_hdr` before each frame. `NXIO`: this host has none.
pub fn open_tap(name: &CStr) -> Result<File, Errno> {
    let file = File::open::<Errno>(c"/dev/net/tun", OFlags::RDWR | OFlags::NONBLOCK, 0);
    let file = file.map_err(|errno| match errno {
        Errno::NOENT | Errno::NODEV => Errno::NXIO,
        errno => errno,
    })?;
    let mut request = Request::new(name)?;
    let [a, b] = TAP.to_ne_bytes();
    [request.value[0], request.value[1]] = [a, b];
    request.ask(&file, TUNSETIFF)?;
    // SAFETY: a number.
    let set = unsafe { raw_syscall!(Sysno::ioctl, file.as_raw_fd(), TUNSETOFFLOAD, OFFLOADS) };
    outcome(set)?;
    Ok(file)
}

/// Writes a frame to a TAP interface.
pub fn write(file: RawFd, frame: &[u8]) -> Result<(), Errno> {
    let (at, len) = (frame.as_ptr(), frame.len());
    // SAFETY: the kernel reads so many bytes.
    outcome(unsafe { raw_syscall!(Sysno::write, file, at, len) }).map(drop)
}

/// Connects to the process that listens at the socket file `path`, for bytes, non-blocking.
pub fn connect_stream(path: &CStr) -> Result<File, Errno> {
    let socket = sockets::open(UNIX, STREAM | NONBLOCK)?;
    let mut at = Address::empty();
    at.set_file(path).ok_or(Errno::NAMETOOLONG)?;
    sockets::call(socket.as_raw_fd(), Verb::Connect, &mut at)?;
    Ok(socket)
}
