//! Tasks of PID 1 on Linux before and after serving: mounts file systems, loads modules, configures interfaces, finds disks.

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

/// Returns true if this is process 1.
pub fn is_first() -> bool {
    init::is_first()
}

/// Sets the host name.
pub fn set_host_name(name: &[u8]) {
    init::set_host_name(name);
}

/// Powers the machine off after sync(2).
pub fn power_off() {
    init::power_off();
}

/// Buffer size (bytes) for files of /proc that list disks or file systems, and for the list of modules.
const TOLD_BYTES: usize = 4 << 10;
/// Longest path of a disk or a share (bytes), with its NUL.
const PATH_BYTES: usize = 128;
/// List of the initramfs's modules in loading order (Android's `modules.load`); the modules are in the same directory.
const MODULES: &CStr = c"/lib/modules/modules.load";
/// Directory of the mount points, one per disk or share; the exported paths are links to them.
const MOUNTS: &CStr = c"/mnt";
/// Time to retry umount(2) on EBUSY after the last server was stopped.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_ms(10);

/// A NUL-terminated path.
struct Path([u8; PATH_BYTES]);

impl Path {
    /// Concatenates `parts`. `None`: too long.
    fn of(parts: &[&[u8]]) -> Option<Self> {
        let (mut path, mut len) = (Self([0; _]), 0);
        for part in parts {
            let end = len + part.len();
            path.0.get_mut(len..end)?.copy_from_slice(part);
            len = end;
        }
        // The last byte stays zero, so that the path ends with a NUL.
        (len < PATH_BYTES).then_some(path)
    }

    #[inline(never)] // −59 bytes: eight callers.
    fn c_str(&self) -> &CStr {
        c_str(&self.0)
    }
}

fn make_directory(path: &CStr) -> Result<(), Errno> {
    fs::mkdirat(AT_FDCWD, path.to_bytes(), 0o755)
}

/// Prepares the machine: mounts the kernel's file systems, loads modules, brings interfaces up. Calls `refused` with the name of each
/// module that could not be loaded. Returns the name of the first Ethernet interface.
pub fn prepare_machine(refused: &mut dyn FnMut(&[u8], Errno)) -> Option<&'static CStr> {
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
    // Create the directory of the key file of kernel handles.
    for path in [c"/var", c"/var/lib"] {
        let _ = make_directory(path);
    }
    let mut list = [0; TOLD_BYTES];
    let names = parts(files::read(MODULES, &mut list).unwrap_or_default(), b'\n');
    for name in names.filter(|name| !name.is_empty()) {
        let path = Path::of(&[b"/lib/modules/", name]).ok_or(Errno::NAMETOOLONG);
        let file = path.and_then(|path| File::open(path.c_str(), OFlags::RDONLY, 0));
        match file.and_then(|file| init::load_module(&file)) {
            // EEXIST: the module is loaded, or part of the kernel.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => refused(name, errno),
        }
    }
    init::watch_power_button();
    init::raise_interfaces()
}

/// Returns true if the kernel has this driver of virtio, built in or as a loaded module.
pub fn has_driver(name: &[u8]) -> bool {
    let path = Path::of(&[b"/sys/bus/virtio/drivers/", name]);
    path.is_some_and(|path| is_there(path.c_str()))
}

/// Reads the boot arguments, cut to the length of `out`.
pub fn command_line(out: &mut [u8]) -> &[u8] {
    let line = files::read(c"/proc/cmdline", out).unwrap_or_default();
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Returns true if the kernel does not know a boot argument. The kernel passes unknown arguments to PID 1, as arguments or
/// environment.
pub fn is_unknown(argument: &[u8], mut args: Args) -> bool {
    sys::variable(argument) == Some(b"") || args.any(|left| left.to_bytes() == argument)
}

/// Result of [`mount_export`] for an exported path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MountResult {
    /// The path existed already.
    There,
    /// Files in memory (tmpfs).
    Memory,
    /// A disk with a file system that the kernel mounts.
    Disk,
    /// A disk with an ISO 9660 image that the kernel cannot mount.
    Image,
    /// A share of the hypervisor (virtiofs or 9p).
    Share,
    /// Not found.
    Nothing,
}

/// Unless `path` exists, mounts the file system after which `path` is named: a tmpfs (`ram`), the disk of this name, or the share
/// with this tag. If the kernel cannot mount a disk with an ISO image, `path` becomes a link to the disk.
pub fn mount_export(path: &CStr, is_writable: bool) -> MountResult {
    let name = path.to_bytes().strip_prefix(b"/").unwrap_or_default();
    let (Some(device), Some(tag)) = (Path::of(&[b"/dev/", name]), Path::of(&[name])) else {
        return MountResult::Nothing;
    };
    let Some(place) = Path::of(&[MOUNTS.to_bytes(), b"/", name]) else {
        return MountResult::Nothing;
    };
    let (device, tag, place) = (device.c_str(), tag.c_str(), place.c_str());
    let link = |target| fs::symlinkat::<Errno>(target, AT_FDCWD, path.to_bytes());
    if link(place).is_err() {
        return MountResult::There;
    }
    let _ = make_directory(place);
    let read_only = if is_writable { 0 } else { init::RDONLY };
    let flags = init::NOSUID | init::NODEV | init::SILENT | read_only;
    let mount = |source: &CStr, kind: &CStr| init::mount(source, place, kind, flags).is_ok();
    let found = match name {
        b"ram" if mount(tag, c"tmpfs") => MountResult::Memory,
        _ if is_there(device) => mount_disk(device, &mount),
        _ if mount(tag, c"virtiofs") || mount(tag, c"9p") => MountResult::Share,
        _ => MountResult::Nothing,
    };
    if matches!(found, MountResult::Image | MountResult::Nothing) {
        for (path, is_directory) in [(place, true), (path, false)] {
            let _ = fs::unlinkat::<Errno>(AT_FDCWD, path.to_bytes(), is_directory);
        }
    }
    if found == MountResult::Image {
        let _ = link(device);
    }
    found
}

/// Makes the directory of the mount points read-only, without the file systems mounted in it, and returns its path.
pub fn close_mounts() -> &'static CStr {
    let flags = init::REMOUNT | init::BIND | init::RDONLY;
    let _ = init::mount(MOUNTS, MOUNTS, c"", flags);
    MOUNTS
}

fn is_there(path: &CStr) -> bool {
    File::open::<Errno>(path, OFlags::PATH, 0).is_ok()
}

/// Mounts a disk with the first file system type of /proc/filesystems that succeeds. Skips types that need no disk ("nodev").
fn mount_disk(device: &CStr, mount: &dyn Fn(&CStr, &CStr) -> bool) -> MountResult {
    let mut list = [0; TOLD_BYTES];
    let list = files::read(c"/proc/filesystems", &mut list).unwrap_or_default();
    for line in parts(list, b'\n') {
        let kind = line.strip_prefix(b"\t").and_then(|kind| Path::of(&[kind]));
        if kind.is_some_and(|kind| mount(device, kind.c_str())) {
            return MountResult::Disk;
        }
    }
    match has_image(device) {
        true => MountResult::Image,
        false => MountResult::Nothing,
    }
}

/// Returns true if a disk has an ISO 9660 image.
fn has_image(device: &CStr) -> bool {
    const AT: u64 = 0x8001;
    let mut name = [0; 5];
    let file = File::open::<Errno>(device, OFlags::RDONLY, 0);
    let read = file.and_then(|file| fs::pread::<Errno>(file.as_raw_fd(), AT, &mut name));
    read.is_ok() && name == *b"CD001"
}

/// Mounts all disks and partitions that have a file system, read-only. Calls `each` with the path of each, also of a disk whose ISO
/// image the kernel cannot mount.
pub fn disks(each: &mut dyn FnMut(&CStr, MountResult)) {
    let mut list = [0; TOLD_BYTES];
    let list = files::read(c"/proc/partitions", &mut list).unwrap_or_default();
    // The first two lines are a heading and an empty line.
    for line in parts(list, b'\n').skip(2) {
        let name = parts(line, b' ').last().unwrap_or_default();
        // Skip RAM disks and zram.
        let is_disk = !matches!(
            name,
            [] | [b'r', b'a', b'm', ..] | [b'z', b'r', b'a', b'm', ..]
        );
        if let Some(path) = Path::of(&[b"/", name]).filter(|_| is_disk) {
            let found = mount_export(path.c_str(), false);
            if !matches!(found, MountResult::There | MountResult::Nothing) {
                each(path.c_str(), found);
            }
        }
    }
}

/// Sets an address of interface `name`, as [`init::set_address`], and optionally the default gateway.
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

/// Kills all other processes and unmounts `paths`.
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
