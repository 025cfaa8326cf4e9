//! The jobs of a loop: the ends of those that worker threads or disks have carried out.

use super::task::World;
use crate::net::{FileId, Ready, Token};
use crate::vfs::{JobId, Patience, Tree};

/// Token of the descriptor that is readable once a job has ended. No task has this number.
const JOBS: Token = Token::new(u8::MAX, 0);

/// Starts the workers, if the network can watch their wake-up descriptor.
pub(super) fn start(world: &mut World<'_>) {
    let World { tree, net, .. } = world;
    tree.start_jobs(&mut |file| net.watch_file(FileId(file.0), JOBS).is_ok());
}

/// Returns true if not all tasks know the jobs that have ended: the next turn begins at once.
pub(super) fn have_ended(tree: &Tree) -> bool {
    tree.has_ended()
}

/// Lists the jobs that have ended, of which each task learns in this turn. Returns their number since the start.
pub(super) fn reap(tree: &mut Tree, ready: &Ready) -> u32 {
    if ready.tokens.contains(&JOBS) {
        tree.reap(Patience::Now);
    }
    if cfg!(bare) && ready.signals.disk {
        tree.end_job(JobId::DISKS);
    }
    tree.ended_count()
}

/// From now on, all tasks know the first `count` ends.
pub(super) fn forget_ended(tree: &mut Tree, count: u32) {
    tree.forget_ended(count);
}
