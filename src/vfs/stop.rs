//! Stopping: the only words for a call that cannot go on now.
//!
//! A call that may touch a disk fails with [`FsError::Again`](super::FsError::Again) before its first change. `?` carries the error
//! up to the driver, which calls again when the event has come.

use super::JobId;

/// The event until which a call has to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// The end of this job.
    Job(JobId),
    /// An empty output buffer.
    Output,
    /// The next turn of the loop: a bounded search goes on then.
    Turn,
}

/// The time for which a call may wait for a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// No time: a job does the work, and the call stops until it has ended.
    Now,
    /// Until the disk has done the work.
    Forever,
}
