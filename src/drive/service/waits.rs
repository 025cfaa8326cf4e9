//! Group commit: records which replies and transfers wait for which job.
//!
//! Replies that promise a durable change wait in a block until their sync has ended. A sync covers all replies written before it
//! was submitted.

use super::Served;
use super::connection::{CloseReason, Connection, Wait, Waits};
use super::turn::Turn;
use crate::log;
use crate::vfs::{
    Ended, FsError, FsResult, Job, JobId, JobKind, Patience, Peer, Scope, Submitted, Tree,
};

/// Counts the connections' waits for jobs, and stores the error of a sync that no connection waited for.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    /// Number of waits that are pending: pairs of a connection and a job.
    pending_count: usize,
    /// Number of waits whose job has ended and whose connection was not served yet.
    ended_count: usize,
    /// Error of a sync that no connection waited for; the next sync reports it.
    error: Option<FsError>,
}

impl GroupCommit {
    /// Submits a sync of the changes that must be durable before the unsent replies are sent.
    pub(super) fn flush(&mut self, tree: &mut Tree) -> Submitted {
        match self.error.take() {
            Some(why) => Submitted::Done(Err(why)),
            None => tree.submit(Job::Sync(Scope::Promised)),
        }
    }

    /// Counts a connection that waits for job `id`.
    pub(super) const fn add(&mut self, id: JobId) -> Option<Wait> {
        self.pending_count += 1;
        Some(Wait::Pending(id))
    }

    /// Ends the waits of a connection that is closed.
    pub(super) fn forget(&mut self, waits: Waits) {
        for wait in [waits.sync, waits.job] {
            match wait {
                Some(Wait::Pending(_)) => self.pending_count -= 1,
                Some(Wait::Ended(_)) => self.ended_count -= 1,
                None => {}
            }
        }
    }

    /// Returns the result of an ended job once; `None` while it is pending.
    pub(super) const fn take_result(&mut self, wait: &mut Option<Wait>) -> Option<FsResult<()>> {
        let Some(Wait::Ended(result)) = *wait else {
            return None;
        };
        *wait = None;
        self.ended_count -= 1;
        Some(result)
    }

    /// Returns true if a job has ended and a connection that waited for it was not served yet.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended_count > 0
    }

    /// Records the end of a job for the connections that wait for it. Returns false if there are none.
    pub(super) fn on_ended(
        &mut self,
        connections: &mut [Option<Connection>],
        ended: Ended,
    ) -> bool {
        // Syncs end in order, and a later sync fails with this error, too. So a connection that waits for any sync reports the
        // error.
        let is_sync = ended.kind == JobKind::Sync;
        let mut is_heard = false;
        for connection in connections.iter_mut().flatten() {
            if self.pending_count == 0 {
                break;
            }
            let Waits { sync, job } = &mut connection.waits;
            is_heard |= is_sync && matches!(sync, Some(Wait::Pending(_)));
            for wait in [sync, job] {
                if *wait == Some(Wait::Pending(ended.id)) {
                    *wait = Some(Wait::Ended(ended.result));
                    self.pending_count -= 1;
                    self.ended_count += 1;
                    is_heard = true;
                }
            }
        }
        if is_sync && !is_heard {
            self.error = self.error.or(ended.result.err());
        }
        is_heard
    }
}

impl Served {
    /// Number of waits that are pending.
    pub(super) const fn pending_count(&self) -> usize {
        self.group.pending_count
    }

    /// Records the next job that has ended, and returns it.
    pub(super) fn hear_ended(&mut self, turn: &mut Turn<'_, '_>) -> Option<Ended> {
        let ended = turn.world.tree.ended_after(self.heard_count)?;
        self.heard_count = self.heard_count.wrapping_add(1);
        log::debug!(
            "job {=u16} has ended: {=bool}",
            ended.id.number(),
            ended.result.is_ok()
        );
        let is_heard = self.group.on_ended(&mut self.connections, ended);
        // A request does not learn that a save has failed.
        if !is_heard || ended.kind == JobKind::Save {
            let (mut cx, ..) = turn.world.lend(Peer::NONE);
            turn.service.ended(&mut cx, ended);
        }
        Some(ended)
    }

    /// Blocks the loop until job `id` ends, and returns its result. Used if no block is free for the replies that wait for the job.
    ///
    /// # Errors
    /// `NoReplyBlock`: too many jobs have ended in this turn.
    #[cold]
    pub(super) fn wait_here(
        &mut self,
        turn: &mut Turn<'_, '_>,
        id: JobId,
    ) -> Result<FsResult<()>, CloseReason> {
        loop {
            while let Some(ended) = self.hear_ended(turn) {
                if ended.id == id {
                    return Ok(ended.result);
                }
            }
            if !turn.world.tree.reap(Patience::Forever) {
                return Err(CloseReason::NoReplyBlock);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::service::ConnectionId;
    use crate::net::Socket;
    use crate::stats::CLIENT_NONE;
    use crate::time::Instant;

    #[test]
    fn failed_sync_without_later_waiter_is_lost() {
        let now = Instant::default();
        let mut connection =
            Connection::new(ConnectionId(0), Socket::ONLY, Peer::NONE, CLIENT_NONE, now);
        let mut group = GroupCommit::default();
        connection.waits.sync = group.add(JobId::of(5));
        let mut connections = [None, Some(connection)];
        let ended = |number, result| Ended {
            id: JobId::of(number),
            kind: JobKind::Sync,
            result,
        };
        let failed = Err(FsError::Io);
        // The connection waits for sync 5, which fails like sync 3, so the group keeps no error. No connection waits for sync 6.
        assert!(group.on_ended(&mut connections, ended(3, failed)));
        assert!(group.on_ended(&mut connections, ended(5, failed)));
        assert_eq!((group.error, group.has_ended()), (None, true));
        assert!(!group.on_ended(&mut connections, ended(6, failed)));
        assert_eq!(group.error, Some(FsError::Io));
    }
}
