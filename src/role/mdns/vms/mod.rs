//! Finds virtual machines: VMware's files `*.vmx` in a directory and its subdirectories, and the machines that libvirt or Proxmox
//! run on this host. In /vmfs/volumes of ESXi each datastore is a directory named by its UUID and a link named by its label, so a
//! machine may be found twice: first by the label.
//!
//! On storage that several hosts share, a host announces only its own machines, if it has a list of them. No state is kept between
//! scans: the caller compares a machine's identity and stamp to detect new, changed and duplicate machines.

use super::pairs;
use super::source::{self, Memory};
use crate::drive::platform::host::files::{Directory, Info};
use crate::mem::c_str;
use crate::vfs::{FsError, FsResult};
use crate::wire::vmx::{self, Machine};
use crate::wire::{Reader, Writer, inventory, label};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// Limit of machines per scan; a file that is found twice counts twice.
pub(super) const MACHINE_COUNT_MAX: usize = 2000;
/// Limit of directory entries per scan.
const ENTRY_COUNT_MAX: usize = 50_000;
/// Limit of directory levels below the top: a datastore, folders in it, a machine.
const DEPTH_MAX: u8 = 6;
/// Longest path (bytes); longer ones are skipped.
const PATH_BYTES_MAX: usize = 1024;
/// File name extension of a machine.
const EXTENSION: &[u8] = b".vmx";
/// Added to the file's name: the lock of a machine that runs.
const LOCK: &[u8] = b".lck";

/// ESXi's list of the machines that are registered on this host.
const ESXI_LIST: &[u8] = b"etc/vmware/hostd/vmInventory.xml";
/// libvirt's running machines.
const LIBVIRT_RUNNING: &[u8] = b"run/libvirt/qemu";
/// libvirt's persistent machines.
const LIBVIRT_DEFINED: &[u8] = b"etc/libvirt/qemu";
/// Proxmox' machines on this node.
const PROXMOX_DEFINED: &[u8] = b"etc/pve/qemu-server";
/// The PID files of Proxmox' running machines.
const PROXMOX_RUNNING: &[u8] = b"run/qemu-server";

/// The FNV-1a prime; multiplication spreads similar numbers.
pub(super) const PRIME: u64 = 0x100_0000_01b3;

/// Identity of a machine, unaffected by renaming its file, and a stamp that changes with its content.
pub(super) type Id = (u64, u64);

/// Buffer size (bytes) for a [`Found`] in its binary form.
pub(super) const FOUND_BYTES: usize = 16 + 4 + (label::BYTES_MAX + 1) + 4 + super::PAIRS_BYTES;

/// A machine as found by a scan.
pub(super) struct Found<'a> {
    pub(super) id: Id,
    /// Name and TXT record; empty if the caller knows the machine with this identity and stamp.
    pub(super) name: &'a [u8],
    pub(super) txt: &'a [u8],
}

impl<'a> Found<'a> {
    /// Parses the binary form. `None`: too short.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let id = (reader.u64(), reader.u64());
        reader.check().ok()?;
        Some(Self {
            id,
            name: reader.opaque(FOUND_BYTES as u32),
            txt: reader.opaque(FOUND_BYTES as u32),
        })
    }
}

/// Hashes the length and content of `bytes` into `number` (as FNV-1a).
pub(super) fn mixed(bytes: &[u8], number: u64) -> u64 {
    let mix = |number: u64, byte: &u8| (number ^ u64::from(*byte)).wrapping_mul(PRIME);
    bytes.iter().fold(number ^ bytes.len() as u64, mix)
}

/// The caller's part of a scan.
pub(super) struct Caller<'c> {
    /// Buffer for reading files.
    pub(super) memory: &'c mut Memory,
    /// Returns true if the caller knows a machine with this identity and stamp.
    pub(super) is_known: &'c dyn Fn(Id) -> bool,
    /// Called with the binary form of each [`Found`].
    pub(super) send: &'c mut dyn FnMut(&[u8]),
}

impl Caller<'_> {
    /// Passes on a machine, unless the caller knows it. If it has no `stamp`, that is computed from the content.
    fn pass_on(&mut self, id: u64, stamp: Option<u64>, path: &[u8], machine: &Machine) {
        let mut buffer = [0; _];
        let state: &[u8] = if machine.is_running { b"running" } else { b"" };
        let words = [path, machine.guest.bytes(), state];
        let txt = pairs(b"path guest state uuid", &words, machine.uuid, &mut buffer);
        let name = machine.name.bytes();
        let stamp = stamp.unwrap_or_else(|| mixed(txt, mixed(name, 0)));
        if self.passes_known((id, stamp)) {
            return;
        }
        let mut buffer = [0; FOUND_BYTES];
        let mut out = Writer::new(&mut buffer);
        out.u64(id);
        out.u64(stamp);
        out.opaque(name);
        out.opaque(txt);
        (self.send)(out.since(0));
    }

    /// Returns true if the caller knows a machine, and passes its identity on.
    fn passes_known(&mut self, (id, stamp): Id) -> bool {
        let is_known = (self.is_known)((id, stamp));
        if is_known {
            let mut buffer = [0; 16];
            let mut out = Writer::new(&mut buffer);
            out.u64(id);
            out.u64(stamp);
            (self.send)(out.since(0));
        }
        is_known
    }

    /// Passes on the machines of libvirt and Proxmox. Returns true if the host has any.
    fn list_host(&mut self, root: &Directory, passes: bool) -> bool {
        let (mut machines_left, mut path) = (MACHINE_COUNT_MAX, [0; PATH_BYTES_MAX]);
        let running = root.directory(LIBVIRT_RUNNING, true);
        for place in [LIBVIRT_RUNNING, LIBVIRT_DEFINED, PROXMOX_DEFINED] {
            let is_proxmox = place == PROXMOX_DEFINED;
            let extension: &[u8] = if is_proxmox { b".conf" } else { b".xml" };
            let Ok(dir) = root.directory(place, true) else {
                continue;
            };
            let _ = dir.list(&mut |entry| {
                let name = entry.to_bytes();
                let Some(stem) = name.strip_suffix(extension) else {
                    return ControlFlow::Continue(());
                };
                if machines_left == 0 {
                    return ControlFlow::Break(());
                }
                // A machine that is running and defined has two files.
                let is_second = place == LIBVIRT_DEFINED
                    && running.as_ref().is_ok_and(|dir| dir.info(entry).is_ok());
                let Ok(file) = dir.read(name, self.memory) else {
                    return ControlFlow::Continue(());
                };
                let mut out = Writer::new(&mut path);
                let machine = if is_proxmox {
                    for part in [PROXMOX_RUNNING, b"/", stem, b".pid\0"] {
                        out.put(part);
                    }
                    let mut machine = inventory::parse_proxmox(file, stem);
                    if let Some(machine) = &mut machine {
                        machine.is_running = root.info(c_str(out.since(0))).is_ok();
                    }
                    machine
                } else {
                    inventory::parse_libvirt(file)
                };
                if let Some(machine) = machine.filter(|_| !is_second) {
                    machines_left -= 1;
                    out.truncate(0);
                    for part in [b"/", place, b"/", name] {
                        out.put(part);
                    }
                    if passes {
                        self.pass_on(mixed(name, 0), None, out.since(0), &machine);
                    }
                }
                ControlFlow::Continue(())
            });
        }
        machines_left < MACHINE_COUNT_MAX
    }

    /// Returns the identities of the files that are registered in ESXi's list. `None`: this host has no such list.
    fn registered(&mut self, root: &Directory) -> Option<Ids> {
        let (mut ids, mut offset, mut path) = (None, 0, [0; PATH_BYTES_MAX]);
        loop {
            let Ok(file) = root.read_at(ESXI_LIST, offset, self.memory) else {
                return ids;
            };
            let ids = ids.get_or_insert_with(Ids::new);
            let used = inventory::parse_esxi(file, &mut path, &mut |path| {
                if let Ok(info) = root.info(c_str(path)) {
                    let _ = ids.push(identity(&info));
                }
            });
            if used == 0 {
                return Some(core::mem::take(ids));
            }
            offset += used as u64;
        }
    }
}

/// Identities of files.
type Ids = heapless::Vec<u64, MACHINE_COUNT_MAX>;

/// Returns the identity of a file. Inode numbers are unique only within a device.
const fn identity(info: &Info) -> u64 {
    info.inode ^ info.device.wrapping_mul(PRIME)
}

/// A scan of a directory.
struct Walk<'w, 'c> {
    caller: &'w mut Caller<'c>,
    machines_left: usize,
    entries_left: usize,
    /// Files that may be announced; `None`: all.
    registered: Option<Ids>,
    /// True while only links in the top directory are visited; then all but these are.
    visits_links: bool,
    path: Writer<'w>,
}

/// Scans for the machines below `path`, and with `is_first` for libvirt's and Proxmox'. The host's lists are below `root`, which is
/// "/" except in tests. Returns false if a limit was reached.
pub(super) fn scan(
    root: &Directory,
    path: &CStr,
    is_first: bool,
    caller: &mut Caller<'_>,
) -> FsResult<bool> {
    let dir = Directory::open(path)?;
    if caller.list_host(root, is_first) {
        return Ok(true);
    }
    let mut path_buffer = [0; PATH_BYTES_MAX];
    let mut walk = Walk {
        registered: caller.registered(root),
        caller,
        machines_left: MACHINE_COUNT_MAX,
        entries_left: ENTRY_COUNT_MAX,
        visits_links: true,
        path: Writer::new(&mut path_buffer),
    };
    let path = path.to_bytes();
    walk.path.put(path.strip_suffix(b"/").unwrap_or(path));
    if walk.path.written().is_none() {
        return Err(FsError::NameTooLong);
    }
    let is_all = walk.visit_dir(&dir, 0)?;
    walk.visits_links = false;
    Ok(is_all && walk.visit_dir(&dir, 0)?)
}

impl Walk<'_, '_> {
    /// Visits all entries of a directory `depth` levels below the top, and of its subdirectories.
    fn visit_dir(&mut self, dir: &Directory, depth: u8) -> FsResult<bool> {
        dir.list(&mut |name| {
            let before = self.path.position();
            let done = self.visit_entry(dir, name, depth);
            self.path.truncate(before);
            done
        })
    }

    /// Visits an entry. Links to directories are followed in the top directory only, which excludes loops. Hidden names are
    /// skipped.
    fn visit_entry(&mut self, dir: &Directory, entry: &CStr, depth: u8) -> ControlFlow<()> {
        if self.entries_left == 0 {
            return ControlFlow::Break(());
        }
        self.entries_left -= 1;
        let name = entry.to_bytes();
        let stem = name.strip_suffix(EXTENSION);
        label::put_byte(&mut self.path, b'/');
        self.path.put(name);
        let Ok(info) = dir.info(entry) else {
            return ControlFlow::Continue(());
        };
        let is_link = !info.is_file && !info.is_directory;
        if name.starts_with(b".")
            || self.path.written().is_none()
            || depth == 0 && is_link != self.visits_links
        {
            return ControlFlow::Continue(());
        }
        match (info.is_file, stem) {
            (true, Some(stem)) => {
                if self.machines_left == 0 {
                    return ControlFlow::Break(());
                }
                self.machines_left -= 1;
                self.visit_machine(dir, name, stem, &info);
            }
            // `directory` fails unless the entry is a directory or, in the top directory, a link to one.
            (false, _) if depth < DEPTH_MAX => {
                if let Ok(dir) = dir.directory(name, depth == 0)
                    && self.visit_dir(&dir, depth + 1) == Ok(false)
                {
                    return ControlFlow::Break(());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Reads a machine's file and passes the machine on. A file that is unreadable or describes no machine may be half-written; the
    /// next scan tries again.
    fn visit_machine(&mut self, dir: &Directory, name: &[u8], stem: &[u8], info: &Info) {
        let id = identity(info);
        let is_ours = |ids: &Ids| ids.contains(&id);
        if !self.registered.as_ref().is_none_or(is_ours) {
            return;
        }
        let (end, path) = (self.path.position(), &mut self.path);
        path.put(LOCK);
        label::put_byte(path, 0);
        let lock = path.since(end - name.len());
        let is_running = !lock.is_empty() && dir.info(c_str(lock)).is_ok();
        path.truncate(end);
        // The size is part of the stamp, because a file moved over another one may have an older mtime.
        let stamp = info.written ^ info.size.wrapping_mul(PRIME) ^ u64::from(is_running);
        if self.caller.passes_known((id, stamp)) {
            return;
        }
        if let Ok(file) = source::read(dir, name, self.caller.memory)
            && let Some(machine) = vmx::parse(file, stem)
        {
            let machine = Machine {
                is_running,
                ..machine
            };
            self.caller
                .pass_on(id, Some(stamp), self.path.since(0), &machine);
        }
    }
}

#[cfg(test)]
mod tests;
