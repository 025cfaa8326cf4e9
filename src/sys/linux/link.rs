//! Ethernet frames on Linux: packet sockets, TAP interfaces, socket files.

use super::fs::File;
use super::sockets::{self, Address, AddressCall, NONBLOCK, PACKET, STREAM, UNIX, socket_call};
use super::{Errno, outcome};
use core::ffi::CStr;
use core::{array, ptr};
use linux_raw_sys::general::iovec;
use linux_raw_sys::net::{mmsghdr, msghdr};
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Receive buffer of a packet socket, in bytes. A small frame takes 768, so a burst of a thousand fits.
const RECEIVE_BYTES: u32 = 4 << 20;
/// PACKET_MR_PROMISC: receive frames for any destination.
const PROMISCUOUS: u16 = 1;
/// PACKET_OUTGOING: type of frames that this host has sent.
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
/// IFF_TAP | IFF_NO_PI | IFF_VNET_HDR.
const TAP: u16 = 0x2 | 0x1000 | 0x4000;
/// TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6.
const OFFLOADS: usize = 1 | 2 | 4;

/// Argument and result of an interface's ioctl: name, value (`struct ifreq`).
#[repr(C, align(8))]
pub(super) struct Request {
    pub(super) name: [u8; 16],
    pub(super) value: [u8; 24],
}

impl Request {
    /// Creates a request about the interface `name`.
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
    // SAFETY: the kernel reads only the bytes passed, by their length.
    outcome(unsafe { socket_call!(setsockopt, 14, socket, level, name, at, len) }).map(drop)
}

/// Makes an ioctl about the interface `name`; returns the result.
fn answer(name: &CStr, what: u32) -> Result<Request, Errno> {
    let mut request = Request::new(name)?;
    request.ask(&sockets::open(sockets::INET, sockets::DATAGRAM)?, what)?;
    Ok(request)
}

/// As [`answer`], for a numeric result.
fn asked(name: &CStr, what: u32) -> Result<u32, Errno> {
    Ok(answer(name, what)?.number())
}

/// MAC address of the interface `name`. ENODEV if it is not an Ethernet interface.
pub fn hardware(name: &CStr) -> Result<[u8; 6], Errno> {
    const SIOCGIFHWADDR: u32 = 0x8927;
    const ETHERNET: u16 = 1;
    let [a, b, hardware @ ..] = answer(name, SIOCGIFHWADDR)?.value;
    let is_ethernet = u16::from_ne_bytes([a, b]) == ETHERNET;
    let hardware = hardware.first_chunk().filter(|_| is_ethernet);
    hardware.copied().ok_or(Errno::NODEV)
}

/// MTU of the interface `name`, in bytes.
pub fn mtu(name: &CStr) -> Result<usize, Errno> {
    Ok(asked(name, SIOCGIFMTU)? as usize)
}

/// Checks that the interface `name` is up and has a carrier. ENETDOWN if not.
pub fn expect_running(name: &CStr) -> Result<(), Errno> {
    const RUNNING: u32 = 0x40;
    let is_running = asked(name, SIOCGIFFLAGS)? & RUNNING != 0;
    is_running.then_some(()).ok_or(Errno::NETDOWN)
}

/// Opens a packet socket for all frames on the interface `name`. The result is true if each frame has a `virtio_net_hdr`. After the
/// interface goes down, one receive returns ENETDOWN.
pub fn open_packet(name: &CStr) -> Result<(File, bool), Errno> {
    const RAW: u32 = 3;
    let socket = sockets::open(PACKET, RAW | NONBLOCK)?;
    let mut request = Request::new(name)?;
    request.ask(&socket, SIOCGIFINDEX)?;
    let index = request.number();
    let has_header = set(&socket, VNET_HEADER, &1u32.to_ne_bytes()).is_ok();
    // SO_RCVBUFFORCE needs CAP_NET_ADMIN; without it more frames of a burst are lost.
    let _ = set(&socket, RECEIVE_BUFFER, &RECEIVE_BYTES.to_ne_bytes());
    let mut membership = [0; 16];
    membership[..4].copy_from_slice(&index.to_ne_bytes());
    membership[4..6].copy_from_slice(&PROMISCUOUS.to_ne_bytes());
    set(&socket, ADD_MEMBERSHIP, &membership)?;
    sockets::call(
        socket.as_raw_fd(),
        AddressCall::Bind,
        &mut Address::of_frames(index),
    )?;
    Ok((socket, has_header))
}

/// As [`open_packet`], but only for ARP and for datagrams to the DHCP client port. The kernel's own stack handles all other
/// packets.
pub fn open_addresses(name: &CStr) -> Result<(File, bool), Errno> {
    /// `struct sock_filter` (linux/filter.h): code, jump if true, jump if false, operand.
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
        Step(HAS_BITS, 3, 0, 0x1fff), // Later fragment of a datagram
        Step(LOAD_HEADER_LEN, 0, 0, 14),
        Step(LOAD_HALF_BEHIND, 0, 0, 16),
        Step(IS, 1, 0, 68), // DHCP client port
        Step(RETURN, 0, 0, 0),
        Step(RETURN, 0, 0, u32::MAX),
    ];
    let opened = open_packet(name)?;
    let filter = Filter {
        count: STEPS.len() as u16,
        steps: STEPS.as_ptr(),
    };
    let at = (&raw const filter).cast();
    // SAFETY: `at` points to a `Filter`, which has no padding and lives until the call returns.
    set(&opened.0, ATTACH_FILTER, unsafe {
        core::slice::from_raw_parts(at, size_of_val(&filter))
    })?;
    Ok(opened)
}

/// Frames per call of [`recv_frames`], at most.
pub const BATCH: usize = 8;

/// Receives frames (recvmmsg(2)) into `buffer`, one every `step` bytes; returns their number. Writes the length of each to `lens`:
/// 0 for a frame that this host has sent.
pub fn recv_frames(
    socket: RawFd,
    buffer: &mut [u8],
    step: usize,
    lens: &mut [usize; BATCH],
) -> Result<usize, Errno> {
    // Offset of the packet type in `struct sockaddr_ll`.
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
    // SAFETY: `count` messages, each with a name of 20 bytes and `step` bytes of the buffer; all outlive the call.
    let received = outcome(unsafe { raw_syscall!(Sysno::recvmmsg, socket, at, count, 0, 0) })?;
    for ((len, message), sender) in lens.iter_mut().zip(&messages).zip(&senders) {
        let is_ours = sender[TYPE] == OUTGOING;
        *len = if is_ours { 0 } else { message.msg_len as usize };
    }
    Ok(received)
}

/// Attaches to the TAP interface `name`; each frame has a `virtio_net_hdr`. ENXIO: the kernel has no TUN/TAP driver.
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
    // SAFETY: no argument is an address.
    let set = unsafe { raw_syscall!(Sysno::ioctl, file.as_raw_fd(), TUNSETOFFLOAD, OFFLOADS) };
    outcome(set)?;
    Ok(file)
}

/// Sends a frame by a TAP interface.
pub fn write(file: RawFd, frame: &[u8]) -> Result<(), Errno> {
    let (at, len) = (frame.as_ptr(), frame.len());
    // SAFETY: the kernel reads only the bytes passed, by their length.
    outcome(unsafe { raw_syscall!(Sysno::write, file, at, len) }).map(drop)
}

/// Opens a non-blocking stream connection to the socket file `path`.
pub fn connect_stream(path: &CStr) -> Result<File, Errno> {
    let socket = sockets::open(UNIX, STREAM | NONBLOCK)?;
    let mut at = Address::empty();
    at.set_file(path).ok_or(Errno::NAMETOOLONG)?;
    sockets::call(socket.as_raw_fd(), AddressCall::Connect, &mut at)?;
    Ok(socket)
}
