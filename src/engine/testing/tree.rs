//! The model tree with something of everything in it, on a host that misbehaves as the test wants, and counts.

use crate::vfs::ram::{Ram, TAG};
use crate::vfs::{
    self, Access, Attr, Backend, Bytes, Caller, CreateWhat, Detail, DirEntry, Extent, FileTime,
    FsError, FsResult, FsStat, Handle, Handles, Name, Node, OpenFlags, Paths, Pin, Rules, SetAttr,
    Ticket, Vfs,
};
use core::cell::{Cell, RefCell, RefMut};
use core::ffi::CStr;
use core::ops::{ControlFlow, Deref, DerefMut};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

/// Bytes of the file that is read by order: beyond the largest inline READ, and not a multiple of four.
pub const BIG_BYTES: usize = 200_003;
/// Bytes of the sparse file: as many as a file can have.
pub const ENDLESS_BYTES: u64 = i64::MAX as u64;

/// The number of the only pipe there is.
pub const PIPE: i32 = 4;

/// What the byte at `at` of the file "big" is.
pub fn big_byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8
}

/// What the host does, and what was done to it.
#[derive(Default)]
pub struct Host {
    /// Handles open to this error.
    pub lost: Cell<Option<FsError>>,
    /// Objects that were opened fail with this error, though their attributes are known.
    pub broken: Cell<Option<FsError>>,
    /// Files have become this short since their size was told.
    pub cut: Cell<Option<u64>>,
    /// Files have numbers, though the net cannot send from them.
    pub numbered: Cell<bool>,
    /// Names and attributes cannot be made durable.
    pub commit_fails: Cell<Option<FsError>>,
    /// Names or attributes were changed and not made durable.
    pub is_dirty: Cell<bool>,
    /// Syncs of files, at once and with a commit.
    pub syncs: Cell<usize>,
    /// They fail with this error.
    pub sync_fails: Cell<Option<FsError>>,
    /// What the net received into a pipe, where it can.
    pub pipe: Rc<RefCell<VecDeque<u8>>>,
    /// Calls of `release_idle`.
    pub rests: Cell<usize>,
    /// Threads wait for the disk.
    pub has_threads: Cell<bool>,
    /// What they were given, all in all, and whether some of it has not ended.
    pub jobs: Cell<u32>,
    /// See [`Host::jobs`].
    pub in_flight: Cell<bool>,
    /// There is something to collect, though nothing has ended since.
    pub is_told: Cell<bool>,
    /// Nothing is in memory, whatever threads read.
    pub is_cold: Cell<bool>,
    /// The disk takes its time.
    pub is_held: Cell<bool>,
    /// Much is not on the disk: threads store what follows.
    pub is_behind: Cell<bool>,
    /// Parts of WRITEs that are stored so, and not forgotten.
    pub stores: Cell<usize>,
    /// More to let go of at the next calls of `release_idle`.
    pub to_rest: Cell<usize>,
}

impl Host {
    fn works(&self) -> FsResult<()> {
        self.broken.get().map_or(Ok(()), Err)
    }

    /// It works, and something is about to be changed.
    fn changes(&self) -> FsResult<()> {
        self.works()?;
        self.is_dirty.set(true);
        Ok(())
    }
}

/// The tree.
pub struct Tree {
    files: vfs::Tree,
    ram: Rc<RefCell<Ram>>,
    /// What it lies on.
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
    /// The tree on a host that works, for reading only.
    fn default() -> Self {
        let mut ram = Ram::model(b"/export");
        ram.file("hello", b"hello world");
        ram.file("big", &(0..BIG_BYTES).map(big_byte).collect::<Vec<_>>());
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
    /// This model on a host that works.
    pub fn of(ram: Ram) -> Self {
        let (ram, host) = (Rc::new(RefCell::new(ram)), Rc::new(Host::default()));
        let backend = |has_handles| -> &'static mut dyn Vfs {
            Box::leak(Box::new(Misbehaving {
                ram: Rc::downgrade(&ram),
                host: Rc::downgrade(&host),
                has_handles,
                put_off: Vec::new(),
                begun: Vec::new(),
                stores: Vec::new(),
                ended: 0,
                failures: 0,
            }))
        };
        let path = ram.borrow().root_path();
        Self {
            files: vfs::Tree::of(Backend::Ram, [backend(true), backend(false)], path, TAG),
            ram,
            host,
        }
    }

    /// The same, which may be written to.
    pub fn writable() -> Self {
        let tree = Self::default();
        tree.ram().writable = true;
        tree
    }

    /// A tree like this one, on a host of its own that works.
    pub fn another(&self) -> Self {
        Self::of(self.ram().clone())
    }

    /// The model.
    pub fn ram(&self) -> RefMut<'_, Ram> {
        self.ram.borrow_mut()
    }
}

/// What a thread stores: the job, where, what, and what came of it.
struct Store {
    job: u32,
    file: Pin,
    offset: u64,
    bytes: Vec<u8>,
    result: Option<FsResult<()>>,
}

/// The model on its host: a backend, whose test keeps both.
struct Misbehaving {
    ram: Weak<RefCell<Ram>>,
    host: Weak<Host>,
    /// It is registered as the model's own, not as that of paths.
    has_handles: bool,
    /// Files whose sync was put off.
    put_off: Vec<Pin>,
    /// Those that threads have been given since.
    begun: Vec<Pin>,
    /// What threads store, with what came of it.
    stores: Vec<Store>,
    /// Jobs that have ended, and how many failed.
    ended: u32,
    failures: u32,
}

/// Does something with the model.
macro_rules! ram {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        let ram = $self.ram.upgrade().expect("the test keeps it");
        let done = ram.borrow_mut().$method($($argument),*);
        done
    }};
}

impl Misbehaving {
    fn commit_all(&mut self) -> FsResult<()> {
        let mut done = Ok(());
        for pin in core::mem::take(&mut self.put_off) {
            done = done.and(self.sync_one(&pin));
            ram!(self.unpin(pin));
        }
        done?;
        self.host().commit_fails.get().map_or(Ok(()), Err)?;
        self.host().is_dirty.set(false);
        ram!(self.commit(true)).map(drop)
    }

    /// All that threads were given has ended.
    fn end_all(&mut self) {
        let host = self.host();
        if host.in_flight.take() {
            self.ended = host.jobs.get();
            for store in self
                .stores
                .iter_mut()
                .filter(|store| store.result.is_none())
            {
                let (file, bytes) = (&store.file, &store.bytes);
                let written = || ram!(self.write(file, store.offset, bytes));
                store.result = Some(host.works().and_then(|()| written()));
            }
            let later = core::mem::replace(&mut self.put_off, core::mem::take(&mut self.begun));
            let dirty = host.is_dirty.get();
            self.failures += u32::from(self.commit_all().is_err());
            host.is_dirty.set(dirty);
            self.put_off = later;
        }
    }

    fn host(&self) -> Rc<Host> {
        self.host.upgrade().expect("the test keeps it")
    }

    fn sync_one(&self, pin: &Pin) -> FsResult<()> {
        self.host().sync_fails.get().map_or(Ok(()), Err)?;
        self.host().syncs.update(|count| count + 1);
        ram!(self.sync(pin))
    }
}

impl Vfs for Misbehaving {
    fn as_handles(&mut self) -> Option<&mut dyn Handles> {
        if self.has_handles { Some(self) } else { None }
    }

    fn as_paths(&mut self) -> Option<&mut dyn Paths> {
        Some(self)
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        ram!(self.handle(node))
    }

    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        self.host().works()?;
        ram!(self.pin(node, access))
    }

    fn unpin(&mut self, pin: Pin) {
        ram!(self.unpin(pin));
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        self.host().works()?;
        let left = self
            .host()
            .cut
            .get()
            .map_or(u64::MAX, |cut| cut.saturating_sub(offset));
        let len = left.min(out.len() as u64) as usize;
        ram!(self.read(pin, offset, &mut out[..len]))
    }

    fn read_cached(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        if self.host().is_cold.get() {
            return Err(FsError::TryLater);
        }
        self.read(pin, offset, out)
    }

    fn extent(&mut self, _: &Pin, offset: u64, len: u32) -> Option<Extent> {
        let extent = Extent {
            file: 3,
            offset,
            len,
        };
        self.host().numbered.get().then_some(extent)
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.host().works()?;
        ram!(self.write(pin, offset, bytes))
    }

    fn write_from(&mut self, pin: &Pin, offset: u64, pipe: i32, len: usize) -> FsResult<()> {
        assert_eq!(pipe, PIPE);
        let host = self.host();
        let mut held = host.pipe.borrow_mut();
        // It is empty afterwards in any case.
        let bytes: Vec<u8> = held.drain(..).collect();
        assert_eq!(bytes.len(), len);
        self.host().works()?;
        ram!(self.write(pin, offset, &bytes))
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
        self.host().rests.update(|count| count + 1);
        let left = self.host().to_rest.get();
        self.host().to_rest.set(left.saturating_sub(1));
        left > 0
    }
    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        ram!(self.attr(node))
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        self.host().works()?;
        ram!(self.lookup(dir, name))
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        self.host().works()?;
        ram!(self.readlink(node, out))
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        self.host().works()?;
        ram!(self.readdir(dir, from, detail, each))
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        self.host().works()?;
        // So that tests tell what is free from what a user may have of it.
        ram!(self.statfs(node)).map(|stat| FsStat {
            available_bytes: stat.free_bytes / 2,
            ..stat
        })
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.host().changes()?;
        ram!(self.set_attr(node, change))
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        self.host().changes()?;
        ram!(self.remove(dir, name, directory))
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()> {
        self.host().changes()?;
        ram!(self.rename(from, name, to, new_name, replace))
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        self.host().changes()?;
        ram!(self.link(node, dir, name))
    }
}

impl Handles for Misbehaving {
    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        self.host().changes()?;
        ram!(self.create(dir, name, make, change))
    }

    fn root(&mut self, tag: u32) -> FsResult<Node> {
        ram!(self.root(tag))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        self.host().lost.get().map_or(Ok(()), Err)?;
        ram!(self.open(handle))
    }

    fn parent(&mut self, dir: Node) -> FsResult<Node> {
        ram!(self.parent(dir))
    }

    fn act_as(&mut self, caller: Option<(&Caller, &Rules)>) {
        ram!(self.act_as(caller));
    }

    fn access(&mut self, node: Node, access: Access) -> FsResult<()> {
        self.host().works()?;
        ram!(self.access(node, access))
    }

    fn sync_later(&mut self, pin: &Pin) -> FsResult<()> {
        if !self.put_off.iter().any(|other| other.node() == pin.node()) {
            let pin = ram!(self.pin(pin.node(), None))?;
            self.put_off.push(pin);
        }
        Ok(())
    }

    fn commit(&mut self, any: bool) -> FsResult<Option<Ticket>> {
        let host = self.host();
        if !host.has_threads.get() {
            return self.commit_all().map(|()| None);
        }
        let is_begun = host.is_dirty.take() || !self.put_off.is_empty();
        self.begun.append(&mut self.put_off);
        if is_begun {
            host.jobs.update(|jobs| jobs + 1);
            host.in_flight.set(true);
        }
        let ticket = Ticket::Changes {
            jobs: host.jobs.get(),
            failures: self.failures,
        };
        Ok((is_begun || any && host.in_flight.get()).then_some(ticket))
    }

    fn committed(&mut self, ticket: Ticket, waits: bool) -> FsResult<bool> {
        let (jobs, failures) = match ticket {
            Ticket::Changes { jobs, failures } => (jobs, Some(failures)),
            Ticket::Bytes { job } => (job + 1, None),
            Ticket::Stored { job } => {
                if waits {
                    self.end_all();
                }
                let mut stores = self.stores.iter();
                let store = stores.find(|store| store.job == job);
                let Some(result) = store.map_or(Some(Ok(())), |store| store.result) else {
                    return Ok(false);
                };
                return result.map(|()| true);
            }
        };
        if waits && self.ended < jobs {
            self.end_all();
            self.host().is_told.set(true);
        }
        if failures.is_some_and(|failures| failures != self.failures) {
            return Err(FsError::Io);
        }
        Ok(self.ended >= jobs)
    }

    fn read_ahead(&mut self, _: &Extent) -> Option<Ticket> {
        let host = self.host();
        if !host.is_cold.get() || !host.has_threads.get() {
            return None;
        }
        host.in_flight.set(true);
        Some(Ticket::Bytes {
            job: host.jobs.replace(host.jobs.get() + 1),
        })
    }

    fn store_by_thread(&mut self, pin: &Pin, offset: u64, bytes: Bytes<'_>) -> Option<u32> {
        let host = self.host();
        if !host.is_behind.get() || !host.has_threads.get() {
            return None;
        }
        let bytes: Vec<u8> = match bytes {
            Bytes::Here(bytes) => bytes.into(),
            Bytes::Piped(PIPE, len) => host.pipe.borrow_mut().drain(..len).collect(),
            Bytes::Piped(..) => panic!("there is no other pipe"),
        };
        host.in_flight.set(true);
        host.stores.update(|count| count + 1);
        let job = host.jobs.replace(host.jobs.get() + 1);
        self.stores.push(Store {
            job,
            file: pin.lend(),
            offset,
            bytes,
            result: None,
        });
        Some(job)
    }

    fn forget_stored(&mut self, job: u32) {
        let before = self.stores.len();
        self.stores.retain(|store| store.job != job);
        let forgotten = before - self.stores.len();
        self.host().stores.update(|count| count - forgotten);
    }

    fn collect_committed(&mut self) {
        self.host().is_told.set(false);
        if !self.host().is_held.get() {
            self.end_all();
        }
    }

    fn use_threads(&mut self, watch: &mut dyn FnMut(i32) -> bool) -> bool {
        watch(0) && {
            self.host().has_threads.set(true);
            true
        }
    }
}

impl Paths for Misbehaving {
    fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        let change = SetAttr {
            mode,
            ..SetAttr::default()
        };
        self.create(dir, name, what, &change).map(drop)
    }

    fn root_path(&self) -> &'static [u8] {
        ram!(self.root_path())
    }

    fn root_dir(&mut self) -> FsResult<Node> {
        ram!(self.root_dir())
    }

    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        ram!(self.cwd(out))
    }

    fn chdir(&mut self, dir: &'static CStr) -> FsResult<()> {
        ram!(self.chdir(dir))
    }

    fn resolve(&mut self, dir: Option<Node>, path: &[u8], follow: bool) -> FsResult<Node> {
        self.host().works()?;
        ram!(self.resolve(dir, path, follow))
    }

    fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr> {
        self.host().works()?;
        ram!(self.attr_at(path, follow))
    }

    fn open_at(&mut self, dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        self.host().works()?;
        ram!(self.open_at(dir, path, how))
    }

    fn clock(&mut self) -> FileTime {
        ram!(self.clock())
    }
}
