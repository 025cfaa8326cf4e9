//! The backend's methods.

use super::super::jobs::{Ended, Extent, FileId, Job, Scope, Submitted};
use super::super::kernel::{self, PATH, error};
use super::super::{
    Access, Attr, Caller, CreateWhat, Detail, DirEntry, ExportRoot, FsError, FsResult, FsStat,
    Handle, ImageFile, Kind, Name, Node, ObjectType, Patience, Pin, Purpose, Rules, SetAttr, Stop,
    Target, Vfs, handle,
};
use super::Host;
use super::open_files::Opened;
use crate::config::SEARCH_DEPTH_MAX;
use crate::sys::Errno;
use crate::sys::linux::fs;
use crate::sys::linux::workers::Workers;
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::AsRawFd as _;

impl Vfs for Host {
    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        let (entry, _) = self.at(node)?;
        if self.seen.take() == Some(node) {
            return Ok(entry.volume.attr(&self.seen_stat));
        }
        let (named, mut stat) = (self.removals.count(), fs::blank());
        kernel::stat(&entry.file, &mut stat)?;
        // The object was removed; only our descriptor keeps its inode.
        if stat.stx_nlink == 0 {
            if !self.removals.spare(&stat, entry.named.get()) {
                return Err(FsError::Stale);
            }
            entry.lingers.set(false);
        }
        entry.named.set(named);
        Ok(entry.volume.attr(&stat))
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>, purpose: Purpose) -> FsResult<Node> {
        self.look_up(dir, name, purpose)
    }

    #[cfg(any(feature = "http", feature = "serve", test, fuzzing))]
    fn entry_attr(&mut self, dir: Node, name: Name<'_>, _: Option<u64>) -> FsResult<Attr> {
        self.acting.caller()?;
        let (entry, export) = self.at(dir)?;
        let (mut text, mut stat) = ([0; 256], fs::blank());
        let name = kernel::terminated(name, &mut text);
        fs::statx(&entry.file, name, &mut stat).map_err(error)?;
        let volume = export
            .volumes
            .enter(entry.volume, &entry.file, name, &stat)?;
        Ok(volume.attr(&stat))
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        let (entry, _) = self.at(node)?;
        if entry.kind != ObjectType::SymbolicLink {
            return Err(FsError::Invalid);
        }
        fs::readlinkat(entry.file.as_raw_fd(), out)
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        if self.at(dir)?.0.kind != ObjectType::Directory {
            return Err(FsError::NotDirectory);
        }
        self.reopen(dir, Opened::Read)?;
        self.acting.caller()?;
        let at @ (entry, export) = self.at(dir)?;
        let (mut handle, mut stat) = (Handle::EMPTY, fs::blank());
        let listed = fs::list(entry.file.as_raw_fd(), from, &mut |found| {
            let dots = found.is_dots();
            let known = detail == Detail::Objects
                && !dots
                && self
                    .identify(at, &entry.file, found.name, &mut handle, &mut stat, true)
                    .is_ok()
                // The ID of a subvolume is known only after it was opened.
                && export.volumes.is_in(entry.volume, &stat);
            let attr = entry.volume.attr(&stat);
            // For ".." of the export's top, show the top's own inode number instead of its parent's.
            let is_top = dots && export.is_top(entry);
            each(&DirEntry {
                name: found.name.to_bytes(),
                cookie: found.cookie,
                inode: match known {
                    true => attr.inode,
                    false if is_top => export.inode,
                    false => found.inode,
                },
                kind: found.kind(),
                id: 0,
                object: known.then_some((&attr, Some(&handle))),
            })
        });
        match listed {
            Err(Errno::INVAL) if from != 0 => Err(FsError::BadCookie),
            // The directory was removed while it was open, so it is empty.
            Err(Errno::NOENT) => Ok(true),
            listed => listed.map_err(error),
        }
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        kernel::statfs(self.at(node)?.1.dir.as_raw_fd())
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        Ok(self.at(node)?.0.handle)
    }

    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        match self.at(node)?.0.kind {
            ObjectType::Regular => {}
            ObjectType::Directory if access.is_none() => return self.table.pin(node, 0),
            ObjectType::Directory => return Err(FsError::IsDirectory),
            _ => return Err(FsError::Invalid),
        }
        let wanted = if access == Some(Access::Write) {
            Opened::Write
        } else {
            Opened::Read
        };
        self.reopen(node, wanted)?;
        if wanted == Opened::Write {
            // A write clears the set-group-ID bit unless the writer is in the group.
            self.acting.caller()?;
        }
        self.table.pin(node, self.acting.uid())
    }

    fn image(&mut self, mut file: Node, name: Option<Name<'_>>) -> FsResult<ImageFile> {
        if !crate::config::HAS_ISO {
            return Err(FsError::NotDirectory);
        }
        if let Some(name) = name {
            file = self.look_up(file, name, Purpose::Any)?;
        }
        self.open_image_file(file)
    }

    fn unpin(&mut self, pin: Pin) {
        self.table.unpin(pin);
    }

    fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent> {
        let file = FileId(self.table.get(pin.node)?.file.as_raw_fd());
        Some(Extent { file, offset, len })
    }

    fn read(
        &mut self,
        pin: &Pin,
        offset: u64,
        out: &mut [u8],
        patience: Patience,
    ) -> Result<u32, Stop> {
        match patience {
            Patience::Now => self.read_at_once(pin, offset, out),
            Patience::Forever => Ok(kernel::read(&self.at(pin.node)?.0.file, offset, out)?),
        }
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.write_all(pin, offset, bytes)
    }

    #[cfg(any(test, fuzzing))]
    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        self.stage_file(pin)?;
        let mut synced = Ok(());
        loop {
            match self.sync_changes(Scope::All) {
                Submitted::Done(last) => return synced.and(last),
                Submitted::Pending(_) => {}
            }
            let each = &mut |ended: Ended| synced = synced.and(ended.result);
            self.reap(Patience::Forever, each);
        }
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.change(node, change)?;
        self.mark_dirty(node)
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, kind: Kind) -> FsResult<()> {
        self.unlink(dir, name, kind)
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        target: Target,
    ) -> FsResult<()> {
        self.move_name((from, name), (to, new_name), target)
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        self.add_name(node, dir, name)
    }

    fn release_idle(&mut self) -> bool {
        self.acting.server();
        self.dirty.writes.release_idle();
        self.sync_objects(Scope::All);
        let removals = self.removals;
        let Self { table, dirty, .. } = self;
        table.release_idle(&mut |entry| dirty.close_idle(entry, removals))
    }

    fn open_top(&mut self, number: usize, path: &CStr, rules: &Rules) -> Result<ExportRoot, u8> {
        self.acting.server();
        let opened = self.replace_top(number, path, rules);
        opened.map_err(|errno| errno.raw_os_error() as u8)
    }

    fn close_top(&mut self, number: usize) {
        self.table.forget(number as u16);
        self.search.stop();
        if let Some(place) = self.exports.get_mut(number) {
            *place = None;
        }
    }

    fn digest(&mut self, dir: Option<Node>, path: &CStr) -> FsResult<u32> {
        let mut stat = fs::blank();
        match dir {
            Some(dir) => kernel::stat(&self.at(dir)?.0.file, &mut stat)?,
            None => {
                self.acting.server();
                fs::statx(rustix::fs::CWD, path, &mut stat).map_err(error)?;
            }
        }
        Ok(handle::digest(fs::device(&stat), stat.stx_ino))
    }

    fn real_path(&mut self, number: usize, out: &mut [u8]) -> usize {
        let export = self.export(number as u16);
        export.map_or(0, |export| fs::path_of(export.dir.as_raw_fd(), out).len())
    }

    fn root(&mut self, tag: Option<u32>) -> FsResult<Node> {
        let tag = tag.ok_or(FsError::Stale)?;
        self.find_or_open(handle::root(tag).bytes())
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        self.find_or_open(handle)
    }

    fn parent(&mut self, dir: Node) -> FsResult<Node> {
        let (entry, export) = self.at(dir)?;
        if export.is_top(entry) {
            return Ok(dir);
        }
        self.acting.server();
        let above = kernel::open(&entry.file, c"..", PATH, 0)?;
        let export_index = entry.export_index;
        self.adopt_directory(export_index, above, SEARCH_DEPTH_MAX)
    }

    fn act_as(&mut self, caller: Option<(&Caller, &Rules)>) {
        self.acting.ask_for(caller);
    }

    fn access(&mut self, node: Node, access: Access, inside: Option<&Attr>) -> FsResult<()> {
        let Some(attr) = inside else {
            return self.ask_access(node, access);
        };
        let owner = (attr.uid, attr.gid);
        self.acting.mode_lets(attr.mode, owner, access as u32)
    }

    fn caller(&self) -> Option<u32> {
        self.acting.is_other().then(|| self.acting.uid())
    }

    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        self.make(dir, name, make, change)
    }

    fn start(&mut self, watch: &mut dyn FnMut(FileId) -> bool) {
        let workers = Workers::new();
        self.dirty.workers = workers.filter(|workers| watch(FileId(workers.wake())));
    }

    fn submit(&mut self, job: Job<'_>) -> Submitted {
        match job {
            Job::Sync(scope) => self.sync_changes(scope),
            Job::Read(extent) => self.read_into_cache(&extent),
            Job::Write(file, offset, bytes) => self.store(file, offset, bytes),
            Job::Stage(file) => Submitted::Done(self.stage_file(file)),
            Job::StageExport(tag) => {
                self.stage_system(tag);
                Submitted::Done(Ok(()))
            }
            Job::Save(file, offset, bytes) => self.overwrite(file, offset, bytes),
        }
    }

    fn reap(&mut self, patience: Patience, each: &mut dyn FnMut(Ended)) {
        if let Some(workers) = &self.dirty.workers
            && patience == Patience::Forever
        {
            workers.wait();
        }
        self.complete_all(each);
    }
}
