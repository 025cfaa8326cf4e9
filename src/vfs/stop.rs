//! Stopping: the only words for a call that cannot go on now.
//!
//! A call that may touch a disk stops before its first change. `?` carries the reason up to the driver, which calls again when the
//! event has come. A backend names an event without a number by an error (`FsError::Awaits…`), which is a register; it becomes
//! [`Stop::Again`] where an engine takes it.

use super::{FsError, JobId};

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

/// The reason why a call has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The call failed.
    Failed(FsError),
    /// Nothing was done yet. The caller repeats the call after this event.
    Again(Until),
}

impl From<FsError> for Stop {
    fn from(error: FsError) -> Self {
        error.until().map_or(Self::Failed(error), Self::Again)
    }
}

/// The time for which a call may wait for a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// No time: a job does the work, and the call stops until it has ended.
    Now,
    /// Until the disk has done the work.
    Forever,
}
