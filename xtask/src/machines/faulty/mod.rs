//! A FUSE file system in memory that fails chosen operations with a chosen errno and records every operation it receives.

mod nodes;

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, umount2};
use nodes::{ErrnoResult, Nodes};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The file system's operations. Each call is recorded, and each operation can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Open,
    Create,
    MkDir,
    MkNod,
    SymLink,
    Link,
    Unlink,
    RmDir,
    Rename,
    SetAttr,
    Read,
    Write,
    Sync,
    SyncDir,
}

/// The faults to inject, and the operations that were received.
#[derive(Default)]
struct Plan {
    faults: Vec<Fault>,
    operations: Vec<Op>,
}

struct Fault {
    op: Op,
    errno: Errno,
    /// Number of further calls of `op` that succeed before the first failure.
    skip: usize,
    /// Number of calls of `op` that fail after the skipped ones.
    remaining: usize,
}

/// A mounted file system. Drop unmounts it.
pub struct Faulty {
    mount_point: PathBuf,
    plan: Arc<Mutex<Plan>>,
    nodes: Arc<Mutex<Nodes>>,
    _session: BackgroundSession,
}

/// While it exists, the file system answers no operation.
pub struct Frozen<'f>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'f, Nodes>);

impl Faulty {
    /// Mounts an empty file system. Its root directory is owned by root and writable by every user.
    pub fn mount(mount_point: &Path) -> Result<Self> {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let nodes = Arc::new(Mutex::new(Nodes::new()));
        let tree = Tree {
            plan: plan.clone(),
            nodes: nodes.clone(),
        };
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.mount_options = vec![
            MountOption::DefaultPermissions,
            MountOption::FSName("faulty".into()),
        ];
        let session = fuser::spawn_mount(tree, mount_point, &config)
            .context("cannot mount a file system through /dev/fuse")?;
        Ok(Self {
            mount_point: mount_point.into(),
            plan,
            nodes,
            _session: session,
        })
    }

    /// Makes the next `count` calls of `op` fail with `errno`.
    pub fn fail(&self, op: Op, errno: i32, count: usize) {
        self.fail_after(op, errno, 0, count);
    }

    /// Makes calls of `op` fail with `errno`: the next `skip` calls succeed, the `count` calls after them fail.
    pub fn fail_after(&self, op: Op, errno: i32, skip: usize, count: usize) {
        locked(&self.plan).faults.push(Fault {
            op,
            errno: Errno::from_i32(errno),
            skip,
            remaining: count,
        });
    }

    /// Lets every operation wait until the result is dropped, as a file server does that no longer answers.
    pub fn freeze(&self) -> Frozen<'_> {
        Frozen(locked(&self.nodes))
    }

    /// Removes all faults. Returns true if every planned failure has occurred.
    pub fn clear_faults(&self) -> bool {
        let mut plan = locked(&self.plan);
        let all = plan.faults.iter().all(|fault| fault.remaining == 0);
        plan.faults.clear();
        all
    }

    /// Returns the operations received since the last call of this function.
    pub fn take_operations(&self) -> Vec<Op> {
        std::mem::take(&mut locked(&self.plan).operations)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // A lazy unmount: a process that still has a file open gets errors from now on. A failure of umount2 cannot be handled in
        // drop.
        let _ = umount2(&self.mount_point, MntFlags::MNT_DETACH);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lifetime of the kernel's cached names and attributes. Zero: every lookup and every GETATTR reaches this process.
const TTL: Duration = Duration::ZERO;

const WRITE_MAX: u32 = 128 << 10;

struct Tree {
    plan: Arc<Mutex<Plan>>,
    nodes: Arc<Mutex<Nodes>>,
}

impl Tree {
    /// Records `op`. If a fault is due for this call, returns its errno; otherwise returns the locked inode table.
    fn ask(&self, op: Op) -> ErrnoResult<MutexGuard<'_, Nodes>> {
        let mut plan = locked(&self.plan);
        plan.operations.push(op);
        let due = plan
            .faults
            .iter_mut()
            .find(|f| f.op == op && f.remaining > 0);
        match due {
            Some(fault) if fault.skip == 0 => {
                fault.remaining -= 1;
                Err(fault.errno)
            }
            Some(fault) => {
                fault.skip -= 1;
                Ok(locked(&self.nodes))
            }
            None => Ok(locked(&self.nodes)),
        }
    }
}

fn time(asked: TimeOrNow) -> SystemTime {
    match asked {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

fn entry(answer: ErrnoResult<FileAttr>, reply: ReplyEntry) {
    match answer {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(e) => reply.error(e),
    }
}

fn empty(answer: ErrnoResult<()>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

impl Filesystem for Tree {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // The kernel splits a larger WRITE into several of at most this size.
        let _ = config.set_max_write(WRITE_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut nodes = locked(&self.nodes);
        let found = nodes.find(dir, name);
        entry(found.and_then(|ino| Ok(nodes.get(ino)?.attr)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match locked(&self.nodes).get(ino) {
            Ok(node) => reply.attr(&TTL, &node.attr),
            Err(e) => reply.error(e),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            let mut nodes = self.ask(Op::SetAttr)?;
            let node = nodes.get(ino)?;
            let attr = &mut node.attr;
            attr.ctime = SystemTime::now();
            attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
            attr.uid = uid.unwrap_or(attr.uid);
            attr.gid = gid.unwrap_or(attr.gid);
            if let Some(size) = size {
                node.data.resize(size as usize, 0);
                attr.size = size;
                attr.mtime = attr.ctime;
            }
            attr.atime = atime.map_or(attr.atime, time);
            attr.mtime = mtime.map_or(attr.mtime, time);
            Ok(*attr)
        };
        match set() {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(e) => reply.error(e),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match locked(&self.nodes).get(ino) {
            Ok(node) => reply.data(&node.data),
            Err(e) => reply.error(e),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        dir: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        const TYPE: u32 = 0o170_000;
        let (op, kind) = match mode & TYPE {
            // Some kernels create regular files by MKNOD instead of CREATE.
            0o100_000 => (Op::Create, FileType::RegularFile),
            0o020_000 => (Op::MkNod, FileType::CharDevice),
            0o060_000 => (Op::MkNod, FileType::BlockDevice),
            0o140_000 => (Op::MkNod, FileType::Socket),
            _ => (Op::MkNod, FileType::NamedPipe),
        };
        let made = self
            .ask(op)
            .and_then(|mut nodes| nodes.create(req, dir, name, (kind, mode, rdev), b""));
        entry(made, reply);
    }

    fn mkdir(
        &self,
        req: &Request,
        dir: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let spec = (FileType::Directory, mode, 0);
        let made = self
            .ask(Op::MkDir)
            .and_then(|mut nodes| nodes.create(req, dir, name, spec, b""));
        entry(made, reply);
    }

    fn symlink(&self, req: &Request, dir: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let spec = (FileType::Symlink, 0o777, 0);
        let target = target.as_os_str().as_bytes();
        let made = self
            .ask(Op::SymLink)
            .and_then(|mut nodes| nodes.create(req, dir, name, spec, target));
        entry(made, reply);
    }

    fn create(
        &self,
        req: &Request,
        dir: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let spec = (FileType::RegularFile, mode, 0);
        let made = self
            .ask(Op::Create)
            .and_then(|mut nodes| nodes.create(req, dir, name, spec, b""));
        match made {
            Ok(attr) => reply.created(
                &TTL,
                &attr,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(e) => reply.error(e),
        }
    }

    fn link(&self, _: &Request, ino: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.ask(Op::Link).and_then(|mut nodes| {
            let node = nodes.get(ino)?;
            node.attr.nlink += 1;
            node.attr.ctime = SystemTime::now();
            let attr = node.attr;
            nodes.touch(dir)?.names.insert(name.to_owned(), ino);
            Ok(attr)
        });
        entry(linked, reply);
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.ask(Op::Unlink);
        empty(removed.and_then(|mut nodes| nodes.remove(dir, name)), reply);
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.ask(Op::RmDir);
        empty(removed.and_then(|mut nodes| nodes.remove(dir, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        from: INodeNo,
        from_name: &OsStr,
        to: INodeNo,
        to_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.ask(Op::Rename).and_then(|mut nodes| {
            let ino = nodes.find(from, from_name)?;
            if nodes.find(to, to_name).is_ok() {
                nodes.remove(to, to_name)?;
            }
            nodes.touch(from)?.names.remove(from_name);
            nodes.touch(to)?.names.insert(to_name.to_owned(), ino);
            Ok(())
        });
        empty(renamed, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.ask(Op::Open) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(e) => reply.error(e),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let answer = self.ask(Op::Read).and_then(|mut nodes| {
            let data = &nodes.get(ino)?.data;
            let from = data.len().min(offset as usize);
            Ok(data[from..data.len().min(from + size as usize)].to_vec())
        });
        match answer {
            Ok(data) => reply.data(&data),
            Err(e) => reply.error(e),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let answer = self.ask(Op::Write).and_then(|mut nodes| {
            let node = nodes.touch(ino)?;
            let (from, to) = (offset as usize, offset as usize + data.len());
            if node.data.len() < to {
                node.data.resize(to, 0);
            }
            node.data[from..to].copy_from_slice(data);
            node.attr.size = node.data.len() as u64;
            Ok(data.len() as u32)
        });
        match answer {
            Ok(count) => reply.written(count),
            Err(e) => reply.error(e),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.ask(Op::Sync).map(drop), reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.ask(Op::SyncDir).map(drop), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        dir: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut nodes = locked(&self.nodes);
        let names = match nodes.get(dir) {
            Ok(node) => node.names.clone(),
            Err(e) => return reply.error(e),
        };
        let dots = [".", ".."].map(|name| (OsString::from(name), dir));
        let all = dots.into_iter().chain(names);
        for (next, (name, ino)) in (1..).zip(all).skip(offset as usize) {
            let kind = nodes
                .get(ino)
                .map_or(FileType::RegularFile, |n| n.attr.kind);
            if reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096);
    }
}
