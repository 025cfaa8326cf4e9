//! What the first process of a machine asks of the kernel: file systems, modules, the interface's addresses, the end.

use super::fs::File;
use super::link::{Request, SIOCGIFFLAGS, SIOCGIFINDEX};
use super::sockets::{self, DATAGRAM, INET, INET6};
use super::{Errno, outcome};
use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr};
use rustix::fd::AsRawFd as _;
use rustix::system::{RebootCommand, reboot};
use syscalls::{Sysno, raw_syscall};

/// Whether this is the first process.
pub fn is_first() -> bool {
    rustix::process::getpid() == rustix::process::Pid::INIT
}

/// Flag of a mount (mount(2)): nothing is written to it.
pub const RDONLY: usize = 1;
/// Its programs run as whoever starts them.
pub const NOSUID: usize = 2;
/// Its devices are none.
pub const NODEV: usize = 4;
/// What is mounted there stays, and is used by other flags.
pub const REMOUNT: usize = 1 << 5;
/// With the former: only there, not wherever else it is mounted.
pub const BIND: usize = 1 << 12;
/// The kernel does not complain of a file system of another kind.
pub const SILENT: usize = 1 << 15;

/// Mounts what `source` is at `target`, as a file system of this kind.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: usize) -> Result<(), Errno> {
    let [source, target, kind] = [source, target, kind].map(CStr::as_ptr);
    // SAFETY: the kernel reads texts with a NUL behind each.
    outcome(unsafe { raw_syscall!(Sysno::mount, source, target, kind, flags, 0) }).map(drop)
}

/// Takes away what is mounted at `target`.
///
/// # Errors
/// `BUSY`: it is used.
#[doc(alias = "umount2")]
pub fn unmount(target: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads a text with a NUL behind it.
    outcome(unsafe { raw_syscall!(Sysno::umount2, target.as_ptr(), 0) }).map(drop)
}

/// Loads a module of the kernel.
#[doc(alias = "finit_module")]
pub fn load_module(file: &File) -> Result<(), Errno> {
    // SAFETY: the kernel reads a text with a NUL behind it.
    outcome(unsafe { raw_syscall!(Sysno::finit_module, file.as_raw_fd(), c"".as_ptr(), 0) })
        .map(drop)
}

/// Has Ctrl-Alt-Del ask this process to stop (SIGINT), and not reset the machine.
pub fn take_ctrl_alt_del() {
    let _ = reboot(RebootCommand::CadOff);
}

/// Gives the host a name.
pub fn set_host_name(name: &[u8]) {
    let _ = rustix::system::sethostname(name);
}

/// Ends all other processes.
pub fn end_others() {
    const SIGKILL: usize = 9;
    // SAFETY: two numbers.
    unsafe { raw_syscall!(Sysno::kill, -1isize, SIGKILL) };
}

/// Powers the machine off, once all is written to its disks.
pub fn power_off() {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
}

// Requests on interfaces (netdevice(7)) that nobody else makes.
const SIOCADDRT: u32 = 0x890b;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCSIFNETMASK: u32 = 0x891c;

/// Raises all interfaces; the name of the first that is an Ethernet's.
pub fn raise_interfaces() -> Option<&'static CStr> {
    const UP: u8 = 1;
    /// Numbers that are looked at: nothing was taken away yet.
    const INDEX_MAX: u32 = 32;
    let socket = sockets::open(INET, DATAGRAM).ok()?;
    let mut first = None;
    for index in 1..=INDEX_MAX {
        let mut request = Request::new(c"").ok()?;
        request.value[..4].copy_from_slice(&index.to_ne_bytes());
        if request.ask(&socket, SIOCGIFNAME).is_err() {
            continue;
        }
        let name = crate::mem::c_str(crate::mem::copy(&request.name));
        if request.ask(&socket, SIOCGIFFLAGS).is_ok() {
            request.value[0] |= UP;
            let _ = request.ask(&socket, SIOCSIFFLAGS);
        }
        if first.is_none() && super::link::hardware(name).is_ok() {
            first = Some(name);
        }
    }
    first
}

/// An address of version 4 as interfaces have it (`struct sockaddr_in`).
fn socket_address(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&INET.to_ne_bytes());
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}

/// Gives the interface `name` an address of a network with so many bits: of version 4 instead of that which it had, and an
/// unspecified one takes that away.
pub fn set_address(name: &CStr, address: IpAddr, prefix: u8) -> Result<(), Errno> {
    match address {
        IpAddr::V4(address) => {
            let socket = sockets::open(INET, DATAGRAM)?;
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            for (what, address) in [
                (SIOCSIFADDR, address),
                (SIOCSIFNETMASK, Ipv4Addr::from_bits(mask)),
            ] {
                let mut request = Request::new(name)?;
                request.value[..16].copy_from_slice(&socket_address(address));
                request.ask(&socket, what)?;
                if address.is_unspecified() {
                    break;
                }
            }
            Ok(())
        }
        IpAddr::V6(address) => {
            /// `struct in6_ifreq`.
            #[repr(C)]
            struct Request6 {
                address: [u8; 16],
                prefix: u32,
                index: u32,
            }
            let mut request = Request::new(name)?;
            let socket = sockets::open(INET6, DATAGRAM)?;
            request.ask(&socket, SIOCGIFINDEX)?;
            let request = Request6 {
                address: address.octets(),
                prefix: prefix.into(),
                index: request.number(),
            };
            let (socket, at) = (socket.as_raw_fd(), &raw const request);
            // SAFETY: the kernel reads the structure.
            outcome(unsafe { raw_syscall!(Sysno::ioctl, socket, SIOCSIFADDR, at) }).map(drop)
        }
    }
}

/// Sends all that no interface has a network for to `gateway`.
pub fn set_gateway(gateway: Ipv4Addr) -> Result<(), Errno> {
    const UP: u16 = 1;
    const GATEWAY: u16 = 2;
    /// A route (`struct rtentry`).
    #[repr(C)]
    struct Route {
        unused: usize,
        to: [u8; 16],
        gateway: [u8; 16],
        mask: [u8; 16],
        flags: u16,
        /// Nothing of this is given.
        rest: [usize; 8],
    }
    let anywhere = socket_address(Ipv4Addr::UNSPECIFIED);
    let route = Route {
        unused: 0,
        to: anywhere,
        gateway: socket_address(gateway),
        mask: anywhere,
        flags: UP | GATEWAY,
        rest: [0; 8],
    };
    let socket = sockets::open(INET, DATAGRAM)?;
    let (socket, at) = (socket.as_raw_fd(), &raw const route);
    // SAFETY: the kernel reads the structure, which is as long as its own.
    outcome(unsafe { raw_syscall!(Sysno::ioctl, socket, SIOCADDRT, at) }).map(drop)
}
