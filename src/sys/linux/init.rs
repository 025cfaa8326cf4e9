//! System calls of process 1: mounts, kernel modules, interface addresses, power-off.

use super::fs::{AT_FDCWD, File, openat};
use super::link::{Request, SIOCGIFFLAGS, SIOCGIFINDEX};
use super::sockets::{self, DATAGRAM, INET, INET6};
use super::{Errno, outcome};
use crate::mem::c_str;
use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr};
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;
use rustix::system::{RebootCommand, reboot};
use syscalls::{Sysno, raw_syscall};

/// Returns true if this is process 1.
pub fn is_first() -> bool {
    rustix::process::getpid() == rustix::process::Pid::INIT
}

/// MS_RDONLY.
pub const RDONLY: usize = 1;
/// MS_NOSUID: ignore set-user-ID bits.
pub const NOSUID: usize = 2;
/// MS_NODEV: device files cannot be opened.
pub const NODEV: usize = 4;
/// MS_REMOUNT: change the flags of an existing mount.
pub const REMOUNT: usize = 1 << 5;
/// MS_BIND; with [`REMOUNT`]: change this mount only, not the file system's others.
pub const BIND: usize = 1 << 12;
/// MS_SILENT: no kernel message if the file system is of another type.
pub const SILENT: usize = 1 << 15;

/// Mounts `source` at `target`; `kind` is the file system's type.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: usize) -> Result<(), Errno> {
    let [source, target, kind] = [source, target, kind].map(CStr::as_ptr);
    // SAFETY: the kernel reads NUL-terminated strings.
    outcome(unsafe { raw_syscall!(Sysno::mount, source, target, kind, flags, 0) }).map(drop)
}

/// Unmounts `target`.
///
/// # Errors
/// `BUSY`: a file or directory on it is in use.
#[doc(alias = "umount2")]
pub fn unmount(target: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads a NUL-terminated string.
    outcome(unsafe { raw_syscall!(Sysno::umount2, target.as_ptr(), 0) }).map(drop)
}

/// Loads a kernel module.
#[doc(alias = "finit_module")]
pub fn load_module(file: &File) -> Result<(), Errno> {
    // SAFETY: the kernel reads a NUL-terminated string.
    outcome(unsafe { raw_syscall!(Sysno::finit_module, file.as_raw_fd(), c"".as_ptr(), 0) })
        .map(drop)
}

/// Makes Ctrl-Alt-Del send SIGINT to process 1 instead of resetting the machine.
pub fn take_ctrl_alt_del() {
    let _ = reboot(RebootCommand::CadOff);
}

/// Makes the power button of ACPI send SIGTERM to process 1. The kernel module `button` provides it as an input device, `evdev` as
/// one of the first files /dev/input/event*, which stays open. evdev sends the signal (O_ASYNC) when it has events.
#[doc(alias = "EVIOCGNAME")]
pub fn watch_power_button() {
    const NAME: &[u8; 12] = b"Power Button";
    const EVIOCGNAME: usize = 0x8000_4506 | NAME.len() << 16;
    const F_SETFL: usize = 4;
    const F_SETOWN: usize = 8;
    const F_SETSIG: usize = 10;
    const SIGTERM: usize = 15;
    const O_ASYNC: usize = 0o20_000;
    let mut path = *b"/dev/input/event0\0";
    for digit in b'0'..b'8' {
        path[16] = digit;
        let Ok(device) = openat::<Errno>(AT_FDCWD, c_str(&path), OFlags::RDONLY, 0) else {
            continue;
        };
        let mut name = [0; NAME.len()];
        // SAFETY: the kernel writes at most the length that is part of the request.
        unsafe { raw_syscall!(Sysno::ioctl, device, EVIOCGNAME, name.as_mut_ptr()) };
        if name == *NAME {
            for (what, value) in [(F_SETOWN, 1), (F_SETSIG, SIGTERM), (F_SETFL, O_ASYNC)] {
                // SAFETY: the calls take no pointers.
                unsafe { raw_syscall!(Sysno::fcntl, device, what, value) };
            }
        }
    }
}

/// Sets the host name.
pub fn set_host_name(name: &[u8]) {
    let _ = rustix::system::sethostname(name);
}

/// Sends SIGKILL to all other processes.
pub fn end_others() {
    const SIGKILL: usize = 9;
    // SAFETY: the call takes no pointers.
    unsafe { raw_syscall!(Sysno::kill, -1isize, SIGKILL) };
}

/// Powers the machine off after sync(2).
pub fn power_off() {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
}

// ioctl requests on interfaces (netdevice(7)) that only this file uses.
const SIOCADDRT: u32 = 0x890b;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCSIFNETMASK: u32 = 0x891c;

/// Brings all interfaces up; returns the name of the first Ethernet interface.
pub fn raise_interfaces() -> Option<&'static CStr> {
    const UP: u8 = 1;
    /// Highest interface index to try. Indexes are small at boot, because no interface was removed yet.
    const INDEX_MAX: u32 = 32;
    let socket = sockets::open(INET, DATAGRAM).ok()?;
    let mut first = None;
    for index in 1..=INDEX_MAX {
        let mut request = Request::new(c"").ok()?;
        request.value[..4].copy_from_slice(&index.to_ne_bytes());
        if request.ask(&socket, SIOCGIFNAME).is_err() {
            continue;
        }
        let name = c_str(crate::mem::copy(&request.name));
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

/// Builds a `struct sockaddr_in`.
fn socket_address(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&INET.to_ne_bytes());
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}

/// Sets an address of the interface `name`, with a prefix length. An IPv4 address replaces the former one; the unspecified IPv4
/// address removes it.
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

/// Sets the IPv4 default gateway.
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
        /// Metric, device, MTU and so on: unset.
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
    // SAFETY: the kernel reads the structure, which is as long as its `struct rtentry`.
    outcome(unsafe { raw_syscall!(Sysno::ioctl, socket, SIOCADDRT, at) }).map(drop)
}
