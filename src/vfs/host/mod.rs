//! The host's own files, from descriptors, never from stored paths.
//!
//! Each step looks up one name below one descriptor and follows no link, so a concurrent rename cannot redirect a lookup out of
//! the export. Objects are opened with `O_PATH`, which has no effect on FIFOs and devices; only regular files and directories are
//! opened again for reading. Mount points are listed, but not entered. If the administrator moves a directory out of the export,
//! clients' handles of it stay valid, as with other NFS servers.

mod acting;
mod cached;
mod change;
mod durable;
pub mod groups;
mod key;
mod open;
mod open_files;
mod records;
mod removed;
mod search;
mod storage;
mod vfs;
mod volume;
mod writes;

use super::handle::{self, Key};
use super::kernel::{self, PATH, READ};
use super::{
    Backend, ExportRoot, Form, FsError, FsResult, Node, ObjectType, OpenFault, Rules, Vfs as _,
};
use crate::config::EXPORT_PATH_BYTES_MAX;
use crate::mem::Slots;
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File, KernelHandle, Statx};
use acting::Acting;
use core::cell::Cell;
use core::ffi::CStr;
use durable::Dirty;
use groups::GroupTable;
use open_files::{OpenEntry, OpenFiles};
pub use removed::Removals;
use rustix::fd::AsRawFd as _;
use search::Search;
use volume::Volumes;

/// The top of an export.
#[derive(Debug)]
struct HostExport {
    dir: File,
    volumes: Volumes,
    inode: u64,
    /// Number by which path handles identify the top.
    number: u64,
    mount: u32,
    tag: u32,
    /// True if replies need not wait until changes of names and attributes are on disk.
    is_async: Cell<bool>,
    /// False for a tmpfs.
    has_disk: bool,
    /// True if the last sync was slow.
    is_slow: Cell<bool>,
    /// True until the file system refuses non-blocking reads (RWF_NOWAIT, EOPNOTSUPP).
    tells_cached: Cell<bool>,
    /// True if the export is an image file.
    is_image: bool,
}

/// The backend.
#[derive(Debug)]
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct Host {
    /// True if other server processes change the same files, so that each must also make the others' changes durable.
    pub is_shared: bool,
    /// True if an earlier server may have left unsynced data.
    pub was_used: bool,
    /// The removals by clients of all loops.
    pub removals: Removals,
    form: Form,
    /// True if the form changes to path handles when the first export that appears has no kernel handles.
    pub may_use_paths: bool,
    /// The object that was opened last; `None` after any change.
    seen: Cell<Option<Node>>,
    /// The file that the caller of this request has opened for reading.
    readable: Option<Node>,
    table: OpenFiles,
    exports: Slots<Option<HostExport>>,
    acting: Acting,
    key: Key,
    search: Search,
    dirty: Dirty,
    /// The statx result of `seen`, which saves a second call.
    seen_stat: Statx,
}

impl Host {
    /// A backend of at most `export_count` exports that keeps at most `node_count` descriptors of other objects open.
    pub fn new(node_count: usize, export_count: usize) -> Self {
        Self {
            is_shared: false,
            was_used: false,
            removals: Removals::default(),
            exports: Slots::new(export_count),
            table: OpenFiles::new(node_count),
            form: Form::Path,
            may_use_paths: false,
            acting: Acting::alone(),
            key: Key::default(),
            search: Search::NONE,
            dirty: Dirty::default(),
            seen: Cell::new(None),
            readable: None,
            seen_stat: fs::blank(),
        }
    }

    /// Uses kernel handles for all exports, with the key in the file at `path`, which is created if it does not exist.
    ///
    /// # Errors
    /// `MSGSIZE`: the file is not a key; `BADMSG`: group or others may read it.
    pub fn use_kernel_handles(&mut self, path: &CStr) -> Result<(), Errno> {
        self.key = key::load_or_make(path)?;
        self.form = Form::Kernel;
        Ok(())
    }

    /// The key of the MACs in handles; zeros without kernel handles.
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Carries out later calls with the callers' credentials if this process can switch users. Returns true if it can.
    pub fn act_as_callers(&mut self) -> bool {
        self.acting.enable();
        self.acting.switches()
    }

    /// Uses the groups of `table` instead of those of the credentials, `count` for each user at most.
    pub fn manage_groups(&mut self, table: &'static GroupTable, count: usize) {
        self.acting.manage_groups(table, count);
    }

    /// Makes the process one of this UID and GID for good, for a process of root that cannot act as the callers.
    ///
    /// # Errors
    /// The process may still be root's: it must end.
    pub fn become_anonymous(&mut self, ids: (u32, u32)) -> Result<(), Errno> {
        self.acting.become_anonymous(ids)
    }

    /// Returns true if this process may use kernel handles (open_by_handle_at) in the directory at `path`, or the directory cannot
    /// be opened now.
    pub fn gives_kernel_handles(path: &CStr) -> bool {
        let dir = File::open::<Errno>(path, READ, 0);
        dir.map_or(true, |dir| match try_kernel_handles(&dir) {
            Ok(_) => true,
            Err(errno) => is_shortage(errno),
        })
    }

    /// Opens the directory or image at `path` for an export.
    fn read_top(&self, path: &CStr, rules: &Rules) -> Result<HostExport, Errno> {
        // The administrator's path: links in it are followed.
        let dir = File::open(path, READ, 0)?;
        let mut stat = fs::blank();
        fs::statx(&dir, c"", &mut stat)?;
        let system = fs::fstatfs(dir.as_raw_fd())?;
        if kernel::is_pseudo(&system) {
            return Err(fault(OpenFault::PSEUDO));
        }
        if rules.has(Rules::NEEDS_MOUNT) && !is_mount_point(&dir, &stat) {
            return Err(fault(OpenFault::NOT_MOUNTED));
        }
        let is_image = match ObjectType::of_mode(stat.stx_mode.into()) {
            ObjectType::Directory => false,
            ObjectType::Regular | ObjectType::BlockDevice if crate::config::HAS_ISO => true,
            _ => return Err(fault(OpenFault::NO_IMAGE)),
        };
        let mut volumes = Volumes::new(&system, &stat);
        let number = volumes.identify(volumes.top, &dir, c"", &stat).inode;
        let tag = rules
            .fsid
            .unwrap_or_else(|| handle::digest(fs::fsid(&system), number));
        volumes.top.id = tag;
        let mount = match self.form {
            Form::Kernel => try_kernel_handles(&dir).map_err(|errno| match is_shortage(errno) {
                true => errno,
                false => Errno::OPNOTSUPP,
            })?,
            Form::Path => 0,
        };
        let has_disk = !kernel::is_in_memory(&system);
        Ok(HostExport {
            dir,
            volumes,
            inode: stat.stx_ino,
            number,
            mount,
            tag,
            is_async: Cell::new(rules.has(Rules::ASYNC)),
            has_disk,
            is_slow: Cell::new(has_disk),
            tells_cached: Cell::new(true),
            is_image,
        })
    }

    /// Opens the export `number` unless its top is the same as before.
    fn replace_top(
        &mut self,
        number: usize,
        path: &CStr,
        rules: &Rules,
    ) -> Result<ExportRoot, Errno> {
        let mut top = self.read_top(path, rules);
        if self.may_use_paths
            && top.as_ref().is_err_and(|errno| *errno == Errno::OPNOTSUPP)
            && self.exports.iter().all(Option::is_none)
        {
            self.form = Form::Path;
            top = self.read_top(path, rules);
        }
        let top = top?;
        self.may_use_paths = false;
        let mut buffer = [0; EXPORT_PATH_BYTES_MAX];
        let real = fs::path_of(top.dir.as_raw_fd(), &mut buffer);
        let mut root = ExportRoot {
            backend: Backend::Host,
            tag: top.tag,
            is_image: top.is_image,
            is_linked: !real.is_empty() && real != path.to_bytes(),
            is_new: false,
            hook: 0,
            form: self.form,
        };
        if let Some(old) = self.export(number as u16)
            && (old.volumes, old.inode, old.mount) == (top.volumes, top.inode, top.mount)
            && old.number == top.number
        {
            old.is_async.set(top.is_async.get());
            return Ok(root);
        }
        self.close_top(number);
        self.sync_system(&top);
        while self.exports.len() <= number && self.exports.push(None).is_some() {}
        *self.exports.get_mut(number).ok_or(Errno::NOMEM)? = Some(top);
        root.is_new = true;
        Ok(root)
    }

    /// The top of an export; `None`: missing.
    fn export(&self, number: u16) -> Option<&HostExport> {
        self.exports.get(usize::from(number))?.as_ref()
    }

    /// The entry of a node, and the top of its export.
    ///
    /// # Errors
    /// `Stale`: the entry was evicted.
    #[inline(always)] // `entry_and_export` returns in registers; a `Result` would be returned in memory.
    fn at(&self, node: Node) -> FsResult<(&OpenEntry, &HostExport)> {
        self.entry_and_export(node).ok_or(FsError::Stale)
    }

    fn entry_and_export(&self, node: Node) -> Option<(&OpenEntry, &HostExport)> {
        let entry = self.table.get(node)?;
        Some((entry, self.export(entry.export_index)?))
    }
}

/// A reason that Linux has no errno for, as a number beyond its errnos.
const fn fault(number: u8) -> Errno {
    Errno::from_raw_os_error(number as i32)
}

/// Returns true for an errno that says nothing about the file: the process or the host is short of descriptors or memory.
const fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// Checks that this process may open a directory by its kernel handle. Returns the mount ID.
fn try_kernel_handles(dir: &File) -> Result<u32, Errno> {
    let mut handle = KernelHandle::EMPTY;
    let mount = fs::name_to_handle_at(dir, c"", &mut handle)?;
    fs::open_by_handle_at(dir, &handle, PATH)?;
    Ok(mount)
}

/// Returns true if the export's top is a mount point. Kernels before 5.8 do not report that: there, a mount point has another device
/// number than its parent directory, or is its own parent.
fn is_mount_point(top: &File, stat: &Statx) -> bool {
    fs::is_mount_root(stat).unwrap_or_else(|| {
        let mut above = fs::blank();
        fs::statx(top, c"..", &mut above).is_ok()
            && (fs::device(&above) != fs::device(stat) || above.stx_ino == stat.stx_ino)
    })
}
