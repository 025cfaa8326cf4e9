//! Finds virtual machines: VMware's files `*.vmx` in a directory and its subdirectories, and the machines that libvirt or Proxmox
//! run on this host. In /vmfs/volumes of ESXi each datastore is a directory named by its UUID and a link named by its label, so a
//! machine may be found twice: first by the label.
//!
//! On storage that several hosts share, a host announces only its own machines, if it has a list of them. No state is kept between
//! scans: the caller compares a machine's identity and stamp to detect new, changed and duplicate machines.

use super::files::{Directory, Info};
use super::source::{self, Memory};
use crate::mem::{FNV_PRIME, c_str};
use crate::sys::Errno;
use crate::wire::vmx::Machine;
use crate::wire::{Reader, Writer, inventory, label, txt};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// Limit of machines per scan; a file that is found twice counts twice.
pub const MACHINE_COUNT_MAX: usize = 2000;
/// Limit of directory entries per scan.
const ENTRY_COUNT_MAX: usize = 50_000;
/// Limit of directory levels below the top: a datastore, folders in it, a machine.
const DEPTH_MAX: u8 = 6;
/// Longest path (bytes); longer ones are skipped.
const PATH_BYTES_MAX: usize = 1024;
/// File name extension of a machine.
const EXTENSION: &[u8] = b".vmx";
/// Added to the file's name: the lock of a machine that runs. With a NUL.
const LOCK: &[u8] = b".lck\0";

/// ESXi's list of the machines that are registered on this host.
const ESXI_LIST: &[u8] = b"etc/vmware/hostd/vmInventory.xml";

/// Directories with a file for each machine of this host: libvirt's active and persistent domains, Proxmox' machines.
static LISTS: [&[u8]; 3] = [
    b"run/libvirt/qemu",
    b"etc/libvirt/qemu",
    b"etc/pve/qemu-server",
];

/// Identity of a machine, unaffected by renaming its file, and a stamp that changes with its content.
pub type Id = (u64, u64);

/// Buffer size (bytes) for a [`Found`] in its binary form.
pub const FOUND_BYTES: usize = 16 + 4 + (label::BYTES_MAX + 1) + 4 + txt::PAIRS_BYTES;

/// A machine as found by a scan.
pub struct Found<'a> {
    /// Its identity and stamp.
    pub id: Id,
    /// Name; empty if the caller knows the machine with this identity and stamp.
    pub name: &'a [u8],
    /// TXT record; empty if the name is.
    pub txt: &'a [u8],
}

impl<'a> Found<'a> {
    /// Parses the binary form. `None`: too short.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
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

/// Identities of files.
type Ids = heapless::Vec<u64, MACHINE_COUNT_MAX>;

/// Returns the identity of a file. Inode numbers are unique only within a device.
const fn identity(info: &Info) -> u64 {
    info.inode ^ info.device.wrapping_mul(FNV_PRIME)
}

/// A scan.
struct Scan<'s> {
    /// Buffer for reading files.
    memory: &'s mut Memory,
    /// Returns true if the caller knows a machine with this identity and stamp.
    is_known: &'s dyn Fn(Id) -> bool,
    /// Called with the binary form of each [`Found`].
    send: &'s mut dyn FnMut(&[u8]),
    machines_left: usize,
    entries_left: usize,
    /// Files that may be announced, if the host has ESXi's list.
    registered: Option<&'s Ids>,
    /// True while only links in the top directory are visited; then all but these are.
    visits_links: bool,
    /// Path of the current file.
    path: Writer<'s>,
}

/// Scans for the machines below `path`, or for those in the host's lists, which are passed on only with `is_first`. The lists are
/// below `root`, which is "/" except in tests. Returns false if a limit was reached.
pub fn scan(
    root: &Directory,
    path: &CStr,
    is_first: bool,
    memory: &mut Memory,
    is_known: &dyn Fn(Id) -> bool,
    send: &mut dyn FnMut(&[u8]),
) -> Result<bool, Errno> {
    let dir = Directory::open(path)?;
    let mut ids = Ids::new();
    let mut buffer = [0; PATH_BYTES_MAX];
    let has_ids = read_esxi_list(root, memory, &mut buffer, &mut ids);
    let mut scan = Scan {
        memory,
        is_known,
        send,
        machines_left: MACHINE_COUNT_MAX,
        entries_left: ENTRY_COUNT_MAX,
        registered: has_ids.then_some(&ids),
        visits_links: true,
        path: Writer::new(&mut buffer),
    };
    for list in LISTS {
        scan.read_list(root, list, is_first);
    }
    if scan.machines_left < MACHINE_COUNT_MAX {
        return Ok(true);
    }
    let path = path.to_bytes();
    scan.path.truncate(0);
    scan.path.put(path.strip_suffix(b"/").unwrap_or(path));
    if scan.path.written().is_none() {
        return Err(Errno::NAMETOOLONG);
    }
    let is_all = scan.visit_dir(&dir, 0)?;
    scan.visits_links = false;
    Ok(is_all && scan.visit_dir(&dir, 0)?)
}

/// Reads the identities of the files in ESXi's list. Returns false if this host has no such list.
fn read_esxi_list(root: &Directory, memory: &mut Memory, buffer: &mut [u8], ids: &mut Ids) -> bool {
    let mut offset = 0;
    // A list longer than the buffer is read in parts.
    while let Ok(file) = root.read_at(ESXI_LIST, offset, memory) {
        let used = inventory::parse_esxi(file, buffer, &mut |path| {
            if let Ok(info) = root.info(c_str(path)) {
                let _ = ids.push(identity(&info));
            }
        });
        if used == 0 {
            return true;
        }
        offset += used as u64;
    }
    false
}

impl Scan<'_> {
    /// Passes on the machines of a list, if `passes` is true. A domain that is active and persistent is passed on twice, first with
    /// its state; the caller ignores the second.
    fn read_list(&mut self, root: &Directory, list: &[u8], passes: bool) {
        let Ok(dir) = root.directory(list, true) else {
            return;
        };
        let _ = dir.list(&mut |entry| {
            let name = entry.to_bytes();
            let Ok(file) = dir.read(name, self.memory) else {
                return ControlFlow::Continue(());
            };
            let mut machine = Machine::default();
            let is_machine = if let Some(stem) = name.strip_suffix(b".conf") {
                self.path.truncate(0);
                for part in [b"run/qemu-server/", stem, b".pid\0"] {
                    self.path.put(part);
                }
                machine.is_running = root.info(c_str(self.path.since(0))).is_ok();
                machine.parse_proxmox(file, stem)
            } else {
                name.ends_with(b".xml") && machine.parse_libvirt(file)
            };
            if is_machine {
                let Some(left) = self.machines_left.checked_sub(1) else {
                    return ControlFlow::Break(());
                };
                self.machines_left = left;
                if passes {
                    self.path.truncate(0);
                    for part in [b"/", list, b"/", name] {
                        self.path.put(part);
                    }
                    self.pass_on(source::stamped(name, 0), 0, &machine);
                }
            }
            ControlFlow::Continue(())
        });
    }

    /// Passes on a machine with the current path. The stamp 0 is replaced by a hash of the content.
    fn pass_on(&mut self, id: u64, stamp: u64, machine: &Machine) {
        let mut buffer = [0; _];
        let state: &[u8] = if machine.is_running { b"running" } else { b"" };
        let words = [self.path.since(0), machine.guest.bytes(), state];
        let txt = txt::write(b"path guest state uuid", &words, machine.uuid, &mut buffer);
        let name = machine.name.bytes();
        let stamp = match stamp {
            0 => source::stamped(txt, source::stamped(name, 0)),
            stamp => stamp,
        };
        if !self.passes_known((id, stamp)) {
            self.send_found((id, stamp), name, txt);
        }
    }

    /// Returns true if the caller knows a machine, after passing on its identity.
    fn passes_known(&mut self, id: Id) -> bool {
        let is_known = (self.is_known)(id);
        if is_known {
            self.send_found(id, b"", b"");
        }
        is_known
    }

    /// Sends a [`Found`] in its binary form.
    fn send_found(&mut self, (id, stamp): Id, name: &[u8], txt: &[u8]) {
        let mut buffer = [0; FOUND_BYTES];
        let mut out = Writer::new(&mut buffer);
        out.u64(id);
        out.u64(stamp);
        out.opaque(name);
        out.opaque(txt);
        (self.send)(out.since(0));
    }

    /// Visits all entries of a directory `depth` levels below the top, and of its subdirectories.
    fn visit_dir(&mut self, dir: &Directory, depth: u8) -> Result<bool, Errno> {
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
        if self.registered.is_some_and(|ids| !ids.contains(&id)) {
            return;
        }
        let end = self.path.position();
        self.path.put(LOCK);
        let lock = c_str(self.path.since(end - name.len()));
        let mut machine = Machine {
            is_running: !lock.is_empty() && dir.info(lock).is_ok(),
            ..Machine::default()
        };
        self.path.truncate(end);
        // The size is part of the stamp, because a file moved over another one may have an older mtime.
        let stamp =
            info.written ^ info.size.wrapping_mul(FNV_PRIME) ^ u64::from(machine.is_running);
        if !self.passes_known((id, stamp))
            && let Ok(file) = source::read(dir, name, self.memory)
            && machine.parse_vmx(file, stem)
        {
            self.pass_on(id, stamp, &machine);
        }
    }
}

#[cfg(test)]
mod tests;
