//! What the first process of a machine does to Linux before a server has anything to serve, and when it is over: file systems,
//! modules, interfaces, disks.

#![forbid(unsafe_code)]

use super::files;
use crate::mem::{c_str, parts};
use crate::sys;
use crate::sys::linux::fs::{self, AT_FDCWD, File};
use crate::sys::linux::init;
use crate::sys::linux::process;
use crate::sys::{Args, Errno};
use crate::time::Duration;
use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr};
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

pub use init::{is_first, power_off, set_host_name};

/// Bytes of what the kernel tells of its disks, or of its file systems.
const TOLD_BYTES: usize = 4 << 10;
/// Bytes of the longest path of a disk or a share, with its NUL.
const PATH_BYTES: usize = 128;
/// Where the modules of the initramfs lie that are to be loaded, and their list, in the order of loading (Android's
/// `modules.load`).
const MODULES: &CStr = c"/lib/modules/modules.load";
/// The directory that all that is found is mounted in, each by its name; links to them are what is exported.
const MOUNTS: &CStr = c"/mnt";
/// How long a file system may be used after the last server was told to end.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_ms(10);

/// A path, made of parts.
struct Path([u8; PATH_BYTES]);

impl Path {
    /// `None`: it is too long.
    fn of(parts: &[&[u8]]) -> Option<Self> {
        let (mut path, mut len) = (Self([0; _]), 0);
        for part in parts {
            let end = len + part.len();
            path.0.get_mut(len..end)?.copy_from_slice(part);
            len = end;
        }
        // The last byte stays zero.
        (len < PATH_BYTES).then_some(path)
    }

    fn c_str(&self) -> &CStr {
        c_str(&self.0)
    }
}

fn make_directory(path: &CStr) -> Result<(), Errno> {
    fs::mkdirat(AT_FDCWD, path.to_bytes(), 0o755)
}

/// Gets the machine ready: what the kernel tells is there, modules are loaded, interfaces are up. The name of the first interface
/// of an Ethernet.
pub fn begin() -> Option<&'static CStr> {
    init::take_ctrl_alt_del();
    for (path, kind) in [
        (c"/proc", c"proc"),
        (c"/sys", c"sysfs"),
        (c"/dev", c"devtmpfs"),
        (MOUNTS, c"tmpfs"),
    ] {
        let _ = make_directory(path);
        let _ = init::mount(kind, path, kind, init::NOSUID);
    }
    // Where the secret of kernel handles is, if these are asked for.
    for path in [c"/var", c"/var/lib"] {
        let _ = make_directory(path);
    }
    let mut list = [0; TOLD_BYTES];
    for name in parts(files::read(MODULES, &mut list).unwrap_or_default(), b'\n') {
        if let Some(path) = Path::of(&[b"/lib/modules/", name])
            && let Ok(file) = File::open::<Errno>(path.c_str(), OFlags::RDONLY, 0)
        {
            let _ = init::load_module(&file);
        }
    }
    init::raise_interfaces()
}

/// The boot arguments, without those that follow what `out` has space for.
pub fn command_line(out: &mut [u8]) -> &[u8] {
    let line = files::read(c"/proc/cmdline", out).unwrap_or_default();
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Whether nobody knows a boot argument: the kernel leaves what it does not know to its first process.
pub fn is_unknown(argument: &[u8], mut args: Args) -> bool {
    sys::variable(argument) == Some(b"") || args.any(|left| left.to_bytes() == argument)
}

/// What is found by a path that is to be exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// What was there before.
    There,
    /// Files in memory.
    Memory,
    /// A disk, with a file system that the kernel knows.
    Disk,
    /// A disk, with an image that it does not know.
    Image,
    /// A share of the hypervisor.
    Share,
    /// None of these.
    Nothing,
}

/// Mounts what is to be found by `path`, if that is not there: files in memory, the disk of this name, or the share of this tag. An
/// image that the kernel cannot mount is linked to.
pub fn bring(path: &CStr, is_writable: bool) -> Found {
    let name = path.to_bytes().strip_prefix(b"/").unwrap_or_default();
    let (Some(device), Some(tag)) = (Path::of(&[b"/dev/", name]), Path::of(&[name])) else {
        return Found::Nothing;
    };
    let Some(place) = Path::of(&[MOUNTS.to_bytes(), b"/", name]) else {
        return Found::Nothing;
    };
    let (device, tag, place) = (device.c_str(), tag.c_str(), place.c_str());
    let link = |target| fs::symlinkat::<Errno>(target, AT_FDCWD, path.to_bytes());
    if link(place).is_err() {
        return Found::There;
    }
    let _ = make_directory(place);
    let read_only = if is_writable { 0 } else { init::RDONLY };
    let flags = init::NOSUID | init::NODEV | init::SILENT | read_only;
    let mount = |source: &CStr, kind: &CStr| init::mount(source, place, kind, flags).is_ok();
    let found = match name {
        b"ram" if mount(tag, c"tmpfs") => Found::Memory,
        _ if is_there(device) => mount_disk(device, &mount),
        _ if mount(tag, c"virtiofs") || mount(tag, c"9p") => Found::Share,
        _ => Found::Nothing,
    };
    if matches!(found, Found::Image | Found::Nothing) {
        for (path, is_directory) in [(place, true), (path, false)] {
            let _ = fs::unlinkat::<Errno>(AT_FDCWD, path.to_bytes(), is_directory);
        }
    }
    if found == Found::Image {
        let _ = link(device);
    }
    found
}

/// The directory that all that was found is in: from now on, nothing else gets into it.
pub fn close_mounts() -> &'static CStr {
    let flags = init::REMOUNT | init::BIND | init::RDONLY;
    let _ = init::mount(MOUNTS, MOUNTS, c"", flags);
    MOUNTS
}

fn is_there(path: &CStr) -> bool {
    File::open::<Errno>(path, OFlags::PATH, 0).is_ok()
}

/// Mounts a disk as the first kind of file system that it has: before those of disks, the kernel has no "nodev".
fn mount_disk(device: &CStr, mount: &dyn Fn(&CStr, &CStr) -> bool) -> Found {
    let mut list = [0; TOLD_BYTES];
    let list = files::read(c"/proc/filesystems", &mut list).unwrap_or_default();
    for line in parts(list, b'\n') {
        let kind = line.strip_prefix(b"\t").and_then(|kind| Path::of(&[kind]));
        if kind.is_some_and(|kind| mount(device, kind.c_str())) {
            return Found::Disk;
        }
    }
    match has_image(device) {
        true => Found::Image,
        false => Found::Nothing,
    }
}

/// Whether a disk has an image of ISO 9660 on it.
fn has_image(device: &CStr) -> bool {
    const AT: u64 = 0x8001;
    let mut name = [0; 5];
    let file = File::open::<Errno>(device, OFlags::RDONLY, 0);
    let read = file.and_then(|file| fs::pread::<Errno>(file.as_raw_fd(), AT, &mut name));
    read.is_ok() && name == *b"CD001"
}

/// Brings all disks and parts of disks that have files in them; hands out the path of each, and what was found.
pub fn disks(each: &mut dyn FnMut(&CStr, Found)) {
    let mut list = [0; TOLD_BYTES];
    let list = files::read(c"/proc/partitions", &mut list).unwrap_or_default();
    // A line of headings, and an empty one.
    for line in parts(list, b'\n').skip(2) {
        let name = parts(line, b' ').last().unwrap_or_default();
        // Not what the kernel makes of its own memory.
        let is_disk = !matches!(
            name,
            [] | [b'r', b'a', b'm', ..] | [b'z', b'r', b'a', b'm', ..]
        );
        if let Some(path) = Path::of(&[b"/", name]).filter(|_| is_disk) {
            let found = bring(path.c_str(), false);
            if !matches!(found, Found::There | Found::Nothing) {
                each(path.c_str(), found);
            }
        }
    }
}

/// Gives the interface `name` an address as [`init::set_address`], and a way beyond its link.
///
/// # Errors
/// Those of ioctl(2).
pub fn set_address(
    name: &CStr,
    (address, prefix): (IpAddr, u8),
    gateway: Option<Ipv4Addr>,
) -> Result<(), Errno> {
    init::set_address(name, address, prefix)?;
    gateway.map_or(Ok(()), init::set_gateway)
}

/// Ends what still runs, and takes away what is mounted at `paths`.
pub fn unmount(paths: &mut dyn Iterator<Item = &'static CStr>) {
    init::end_others();
    let until = sys::now().after(UNMOUNT_TIMEOUT);
    for path in paths {
        while init::unmount(path) == Err(Errno::BUSY) && sys::now() < until {
            process::wait_for_signal(None, Some(LOOK));
            while process::reap_any(false).is_some() {}
        }
    }
}
