//! The model tree, with every kind of object, on a simulated host that fails as the test requests and counts calls.

use crate::vfs::ram::{Ram, TAG};
use crate::vfs::shared::delegate;
use crate::vfs::{
    self, Access, Attr, Backend, Bytes, Caller, CreateWhat, Detail, DirEntry, Ended, Extent,
    FileId, FsError, FsResult, FsStat, Handle, Job, JobId, JobKind, Kind, Name, Node, OpenFlags,
    Patience, Pin, Purpose, Rules, SetAttr, Stop, Submitted, Target, Until, Vfs,
};
use core::cell::{Cell, RefCell, RefMut};
use core::ops::{ControlFlow, Deref, DerefMut};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

/// Size of the file "big" (bytes): larger than the largest inline READ, so that an order sends it, and not a multiple of four.
pub const BIG_BYTES: usize = 200_003;
/// Size of the sparse file (bytes): the largest possible.
pub const ENDLESS_BYTES: u64 = i64::MAX as u64;

/// The file descriptor of the only pipe.
pub const PIPE: i32 = 4;

/// The content of the file "big".
pub fn big() -> &'static [u8] {
    static BIG: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| (0..BIG_BYTES).map(big_byte).collect());
    &BIG
}

/// The byte at offset `at` of the file "big".
pub fn big_byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8
}

/// The behaviour of the simulated host, and counts of calls.
#[derive(Default)]
pub struct Host {
    /// Error returned when a handle is opened.
    pub open_error: Cell<Option<FsError>>,
    /// Error returned by operations on open objects, although their attributes are known.
    pub io_error: Cell<Option<FsError>>,
    /// Number of further operations that must wait for a disk.
    pub waits_left: Cell<u32>,
    /// Number of operations before one that must wait for a disk, once.
    pub stops_after: Cell<Option<u32>>,
    /// Length (bytes) to which files shrink after their size was reported.
    pub shrunk_len: Cell<Option<u64>>,
    /// True if files have file descriptors (`extent` returns one). The simulated network cannot send from them.
    pub has_descriptors: Cell<bool>,
    /// Error returned when names and attributes are made durable.
    pub commit_fails: Cell<Option<FsError>>,
    /// True if names or attributes were changed and not made durable.
    pub is_dirty: Cell<bool>,
    /// Number of syncs of files, immediate ones and those of a commit.
    pub syncs: Cell<usize>,
    /// Error returned by syncs.
    pub sync_fails: Cell<Option<FsError>>,
    /// Data that the net has received into a pipe, if it supports pipes.
    pub pipe: Rc<RefCell<VecDeque<u8>>>,
    /// Number of calls of `release_idle`.
    pub release_calls: Cell<usize>,
    /// True if there are worker threads, which wait for the disk.
    pub has_threads: Cell<bool>,
    /// Number of jobs that were submitted, ended ones included.
    pub jobs: Cell<u32>,
    /// The file of the server's state, and the number of writes to it.
    pub state: RefCell<Vec<u8>>,
    /// Number of writes to that file.
    pub saves: Cell<u32>,
    /// True if some jobs are still pending.
    pub in_flight: Cell<bool>,
    /// Number of staged exports.
    pub staged_exports: Cell<usize>,
    /// True if reads find nothing in memory, even after a worker has read the data.
    pub is_cold: Cell<bool>,
    /// True if jobs stay pending until the test ends them.
    pub holds_jobs: Cell<bool>,
    /// True if the host reports that much data is not on disk: workers carry out the following WRITEs.
    pub stores_by_worker: Cell<bool>,
    /// Number of pending writes.
    pub stores: Cell<usize>,
    /// Number of further `release_idle` calls that have something to release.
    pub releases_left: Cell<usize>,
}

impl Host {
    /// Fails if the operation must wait for a disk.
    fn stops(&self) -> FsResult<()> {
        if let Some(left) = self.stops_after.get() {
            self.stops_after.set(left.checked_sub(1));
            if left == 0 {
                return Err(FsError::AwaitsDisk);
            }
        }
        if let Some(left) = self.waits_left.get().checked_sub(1) {
            self.waits_left.set(left);
            return Err(FsError::AwaitsDisk);
        }
        Ok(())
    }

    fn works(&self) -> FsResult<()> {
        self.io_error.get().map_or(Ok(()), Err)
    }

    /// Fails with `io_error` if that is set; otherwise records that names or attributes were changed.
    fn changes(&self) -> FsResult<()> {
        self.stops()?;
        self.works()?;
        self.is_dirty.set(true);
        Ok(())
    }
}

/// The model tree and its simulated host.
pub struct Tree {
    files: vfs::Tree,
    ram: Rc<RefCell<Ram>>,
    /// The simulated host.
    pub host: Rc<Host>,
}

impl Deref for Tree {
    type Target = vfs::Tree;

    fn deref(&self) -> &vfs::Tree {
        &self.files
    }
}

impl DerefMut for Tree {
    fn deref_mut(&mut self) -> &mut vfs::Tree {
        &mut self.files
    }
}

impl Default for Tree {
    /// The read-only tree on a host without failures.
    fn default() -> Self {
        let mut ram = Ram::model(b"/export");
        ram.file("hello", b"hello world");
        ram.file("big", big());
        ram.sparse(
            "endless",
            ENDLESS_BYTES,
            ENDLESS_BYTES - 5000,
            &[b'e'; 5000],
        );
        ram.dir("dir");
        ram.file("dir/inner", b"inner");
        ram.dir("empty");
        ram.symlink("link", b"/etc/passwd");
        ram.symlink("long link", &[b'l'; 5000]);
        ram.fifo("fifo");
        ram.dir("many");
        for number in 0..100usize {
            let name = format!("{number:03}{}", "n".repeat(number * 37 % 100));
            ram.file(&format!("many/{name}"), b"");
        }
        ram.file(&format!("many/{}", "m".repeat(255)), b"");
        Self::of(ram)
    }
}

impl Tree {
    /// This model on a host without failures.
    pub fn of(ram: Ram) -> Self {
        let (ram, host) = (Rc::new(RefCell::new(ram)), Rc::new(Host::default()));
        let backend = |has_handles| -> &'static mut dyn Vfs {
            Box::leak(Box::new(Misbehaving {
                ram: Rc::downgrade(&ram),
                host: Rc::downgrade(&host),
                has_handles,
                staged: Vec::new(),
                begun: Vec::new(),
                stores: Vec::new(),
                pending: Vec::new(),
                ended: Vec::new(),
            }))
        };
        let path = ram.borrow().path();
        Self {
            files: vfs::Tree::of(Backend::Ram, [backend(true), backend(false)], path, TAG),
            ram,
            host,
        }
    }

    /// A writable tree on a host without failures.
    pub fn writable() -> Self {
        let tree = Self::default();
        tree.ram().writable = true;
        tree
    }

    /// A copy of the tree on a new host without failures.
    pub fn copy(&self) -> Self {
        Self::of(self.ram().clone())
    }

    /// The model's files.
    pub fn ram(&self) -> RefMut<'_, Ram> {
        self.ram.borrow_mut()
    }
}

/// A pending [`Job::Write`].
struct Store {
    id: JobId,
    file: Pin,
    offset: u64,
    bytes: Vec<u8>,
}

/// The model as a backend whose operations fail as the host says. The test owns model and host.
struct Misbehaving {
    ram: Weak<RefCell<Ram>>,
    host: Weak<Host>,
    /// True for the backend that offers handles and jobs besides paths; false for the one that offers only paths.
    has_handles: bool,
    /// Files that the next sync covers.
    staged: Vec<Pin>,
    /// Files that pending syncs cover.
    begun: Vec<Pin>,
    stores: Vec<Store>,
    /// Pending syncs and reads.
    pending: Vec<(JobId, JobKind)>,
    /// Ended jobs whose results the server has not yet collected.
    ended: Vec<Ended>,
}

impl Misbehaving {
    fn commit_all(&mut self) -> FsResult<()> {
        let mut done = Ok(());
        for pin in core::mem::take(&mut self.staged) {
            done = done.and(self.sync_one(&pin));
            self.to_model(|ram| ram.unpin(pin));
        }
        // A failed sync is reported to the client, so no change is left to make durable.
        self.host().is_dirty.set(false);
        done?;
        self.host().commit_fails.get().map_or(Ok(()), Err)?;
        self.to_model(|ram| ram.end_changes());
        Ok(())
    }

    /// Calls the model.
    fn to_model<T>(&self, call: impl FnOnce(&mut Ram) -> T) -> T {
        let ram = self.ram.upgrade().expect("the test keeps it");
        call(&mut ram.borrow_mut())
    }

    /// Calls the model, unless the host fails with `io_error`.
    fn to_model_if_it_works<T>(&self, call: impl FnOnce(&mut Ram) -> FsResult<T>) -> FsResult<T> {
        self.host().stops()?;
        self.host().works()?;
        self.to_model(call)
    }

    /// As [`Self::to_model_if_it_works`], and records that names or attributes were changed.
    fn to_model_as_change<T>(&self, call: impl FnOnce(&mut Ram) -> FsResult<T>) -> FsResult<T> {
        self.host().changes()?;
        self.to_model(call)
    }

    /// The number for a new pending job.
    fn next_id(&self) -> JobId {
        let host = self.host();
        host.in_flight.set(true);
        let number = host.jobs.get();
        host.jobs.set(number + 1);
        JobId::of(number)
    }

    /// Ends all pending jobs.
    fn end_all(&mut self) {
        let host = self.host();
        if !host.in_flight.take() {
            return;
        }
        for Store {
            id,
            file,
            offset,
            bytes,
        } in core::mem::take(&mut self.stores)
        {
            host.stores.update(|count| count - 1);
            let written = || self.to_model(|ram| ram.write(&file, offset, &bytes));
            self.ended.push(Ended {
                id,
                kind: JobKind::Write,
                result: host.works().and_then(|()| written()),
            });
        }
        let later = core::mem::replace(&mut self.staged, core::mem::take(&mut self.begun));
        let dirty = host.is_dirty.get();
        let synced = self.commit_all();
        host.is_dirty.set(dirty);
        self.staged = later;
        for (id, kind) in core::mem::take(&mut self.pending) {
            let result = if kind == JobKind::Sync {
                synced
            } else {
                Ok(())
            };
            self.ended.push(Ended { id, kind, result });
        }
    }

    fn host(&self) -> Rc<Host> {
        self.host.upgrade().expect("the test keeps it")
    }

    fn stage(&mut self, pin: &Pin) -> FsResult<()> {
        if !self.staged.iter().any(|other| other.node() == pin.node()) {
            let pin = self.to_model(|ram| ram.pin(pin.node(), None))?;
            self.staged.push(pin);
        }
        Ok(())
    }

    fn sync_one(&self, pin: &Pin) -> FsResult<()> {
        self.host().sync_fails.get().map_or(Ok(()), Err)?;
        self.host().syncs.update(|count| count + 1);
        self.to_model(|ram| ram.sync(pin))
    }
}

impl Vfs for Misbehaving {
    fn read(
        &mut self,
        pin: &Pin,
        offset: u64,
        out: &mut [u8],
        patience: Patience,
    ) -> Result<u32, Stop> {
        self.host().stops()?;
        if patience == Patience::Now && self.host().is_cold.get() {
            let len = out.len() as u32;
            if let Some(extent) = self.extent(pin, offset, len)
                && let Submitted::Pending(id) = self.submit(Job::Read(extent))
            {
                return Err(Stop::Again(Until::Job(id)));
            }
        }
        self.host().works()?;
        let left = self
            .host()
            .shrunk_len
            .get()
            .map_or(u64::MAX, |cut| cut.saturating_sub(offset));
        let len = left.min(out.len() as u64) as usize;
        self.to_model(|ram| ram.read(pin, offset, &mut out[..len], patience))
    }

    fn extent(&mut self, _: &Pin, offset: u64, len: u32) -> Option<Extent> {
        let extent = Extent {
            file: FileId(3),
            offset,
            len,
        };
        self.host().has_descriptors.get().then_some(extent)
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        self.host().works()?;
        self.sync_one(pin)?;
        self.commit_all()
    }

    fn release_idle(&mut self) -> bool {
        if !self.has_handles {
            return false;
        }
        self.host().release_calls.update(|count| count + 1);
        let left = self.host().releases_left.get();
        self.host().releases_left.set(left.saturating_sub(1));
        left > 0
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        self.host().works()?;
        // Make available space differ from free space, so that tests notice if the two are confused.
        self.to_model(|ram| ram.statfs(node)).map(|stat| FsStat {
            available_bytes: stat.free_bytes / 2,
            ..stat
        })
    }

    delegate! {
        to_model:
        fn handle(node: Node) -> FsResult<Handle>;
        fn unpin(pin: Pin);
        fn attr(node: Node) -> FsResult<Attr>;
    }

    delegate! {
        to_model_if_it_works:
        fn pin(node: Node, access: Option<Access>) -> FsResult<Pin>;
        fn lookup(dir: Node, name: Name<'_>, purpose: Purpose) -> FsResult<Node>;
        fn readlink(node: Node, out: &mut [u8]) -> FsResult<u32>;
        fn readdir(dir: Node, from: u64, detail: Detail, each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>) -> FsResult<bool>;
    }

    delegate! {
        to_model_as_change:
        fn set_attr(node: Node, change: &SetAttr) -> FsResult<()>;
        fn remove(dir: Node, name: Name<'_>, kind: Kind) -> FsResult<()>;
        fn rename(from: Node, name: Name<'_>, to: Node, new_name: Name<'_>, target: Target) -> FsResult<()>;
        fn link(node: Node, dir: Node, name: Name<'_>) -> FsResult<()>;
        fn create(dir: Node, name: Name<'_>, make: CreateWhat<'_>, change: &SetAttr) -> FsResult<Node>;
    }

    /// The work of a job, which waits for the disk itself.
    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.host().works()?;
        self.to_model(|ram| ram.write(pin, offset, bytes))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        self.host().stops()?;
        self.host().open_error.get().map_or(Ok(()), Err)?;
        self.to_model(|ram| ram.open(handle))
    }

    delegate! {
        to_model:
        fn root(tag: Option<u32>) -> FsResult<Node>;
        fn parent(dir: Node) -> FsResult<Node>;
        fn act_as(caller: Option<(&Caller, &Rules)>);
    }

    delegate! {
        to_model_if_it_works:
        fn access(node: Node, access: Access, inside: Option<&Attr>) -> FsResult<()>;
    }

    fn start(&mut self, watch: &mut dyn FnMut(FileId) -> bool) {
        if self.has_handles {
            self.host().has_threads.set(watch(FileId(0)));
        }
    }

    fn submit(&mut self, job: Job<'_>) -> Submitted {
        let host = self.host();
        let has_threads = host.has_threads.get();
        match job {
            _ if !self.has_handles => Submitted::Done(Ok(())),
            Job::Stage(pin) => Submitted::Done(self.stage(pin)),
            Job::StageExport(tag) => {
                assert_eq!(tag, TAG);
                host.is_dirty.set(true);
                host.staged_exports.update(|count| count + 1);
                Submitted::Done(Ok(()))
            }
            Job::Save(_, offset, bytes) => {
                if let Some(why) = host.commit_fails.get() {
                    return Submitted::Done(Err(why));
                }
                let mut file = host.state.borrow_mut();
                let end = offset as usize + bytes.len();
                let len = file.len().max(end);
                file.resize(len, 0);
                file[offset as usize..end].copy_from_slice(bytes);
                host.saves.update(|count| count + 1);
                match has_threads {
                    true => {
                        let id = self.next_id();
                        self.pending.push((id, JobKind::Save));
                        Submitted::Pending(id)
                    }
                    false => Submitted::Done(Ok(())),
                }
            }
            Job::Sync(_) if has_threads => {
                if host.is_dirty.take() || !self.staged.is_empty() {
                    self.begun.append(&mut self.staged);
                    let id = self.next_id();
                    self.pending.push((id, JobKind::Sync));
                }
                let mut pending = self.pending.iter().rev();
                match pending.find(|(_, kind)| *kind == JobKind::Sync) {
                    Some((id, _)) => Submitted::Pending(*id),
                    None => Submitted::Done(Ok(())),
                }
            }
            Job::Sync(_) => Submitted::Done(self.commit_all()),
            Job::Read(_) if has_threads && host.is_cold.get() => {
                let id = self.next_id();
                self.pending.push((id, JobKind::Read));
                Submitted::Pending(id)
            }
            Job::Read(_) => Submitted::Done(Ok(())),
            Job::Write(pin, offset, bytes) => {
                let bytes: Vec<u8> = match bytes {
                    Bytes::Here(bytes) => bytes.into(),
                    Bytes::Piped(file, len) => {
                        assert_eq!(file, FileId(PIPE));
                        host.pipe.borrow_mut().drain(..len).collect()
                    }
                };
                if !has_threads || !host.stores_by_worker.get() {
                    return Submitted::Done(self.write(pin, offset, &bytes));
                }
                let (id, file) = (self.next_id(), pin.lend());
                host.stores.update(|count| count + 1);
                self.stores.push(Store {
                    id,
                    file,
                    offset,
                    bytes,
                });
                Submitted::Pending(id)
            }
        }
    }

    fn reap(&mut self, patience: Patience, each: &mut dyn FnMut(Ended)) {
        if !self.has_handles {
            return;
        }
        if patience == Patience::Forever || !self.host().holds_jobs.get() {
            self.end_all();
        }
        self.ended.drain(..).for_each(each);
    }

    delegate! {
        to_model:
        fn cwd(out: &mut [u8]) -> FsResult<u32>;
    }

    delegate! {
        to_model_if_it_works:
        fn resolve(dir: Option<Node>, path: &[u8], follow: bool) -> FsResult<Node>;
        fn attr_at(path: &[u8], follow: bool) -> FsResult<Attr>;
        fn open_at(dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin>;
    }
}
