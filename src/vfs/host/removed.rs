//! Files that have lost their last name: what they take up on the disk is freed when nobody has them open any more. Where that is
//! much, it takes long, and a thread does it.

use super::super::kernel::{self, PATH, terminated};
use super::super::{Kind, Name};
use super::Host;
use super::durable::Dirty;
use super::jobs::Job;
use super::table::Entry;
use crate::config::FREE_BLOCKS_MAX;
use crate::sys;
use crate::sys::linux::fs::{self, File, Statx};
use crate::sys::linux::threads::Work;

impl Host {
    /// The file that is about to lose this name, held open if it is large.
    pub(super) fn hold_large(&self, dir: &File, name: Name<'_>) -> Option<File> {
        self.dirty.workers.as_ref()?;
        let (mut text, mut stat) = ([0; 256], fs::blank());
        let name = terminated(name, &mut text);
        fs::statx(dir, name, &mut stat).ok()?;
        let file = is_large(&stat).then(|| kernel::open(dir, name, PATH, 0));
        file?.ok()
    }

    /// Waits for what threads free, and frees what else there is: whether there may be more room now.
    #[cold]
    pub(super) fn make_room(&mut self) -> bool {
        let mut any = false;
        while let Some(workers) = &self.dirty.workers
            && workers.is_freeing()
        {
            workers.wait();
            self.collect();
            any = true;
        }
        if let Some(workers) = self.dirty.workers.as_ref().filter(|_| any) {
            // What was told is taken: others who wait look once more.
            workers.tell();
        }
        self.table.drop_removed() || any
    }
}

impl Dirty {
    /// Closes what was held open.
    pub(super) fn let_go(&mut self, file: Option<File>) {
        let Some(file) = file.map(File::leak) else {
            return;
        };
        let workers = self.workers.as_mut();
        if !workers.is_some_and(|workers| workers.take(Work::Close, file, Job::Other, sys::now())) {
            fs::close(file);
        }
    }

    /// Closes what was not used for a while.
    pub(super) fn let_go_idle(&mut self, entry: Entry) {
        let mut stat = fs::blank();
        if entry.kind == Kind::Regular
            && fs::statx(&entry.file, c"", &mut stat).is_ok()
            && stat.stx_nlink == 0
            && is_large(&stat)
        {
            self.let_go(Some(entry.file));
        }
    }
}

fn is_large(stat: &Statx) -> bool {
    Kind::of_mode(stat.stx_mode.into()) == Kind::Regular && stat.stx_blocks > FREE_BLOCKS_MAX
}
