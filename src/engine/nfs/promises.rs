//! Promises: replies that report a durable change and therefore wait for a sync. If the sync fails, [`emit_failure`] writes the
//! reply's error.

use crate::wire::Writer;
use crate::wire::nfs3::{Procedure, Status};

/// Length of the longest results of a failed procedure (bytes): the status and up to four absent attributes.
pub(in super::super) const FAILURE_BYTES_MAX: usize = 5 * 4;
const RENAME: u32 = Procedure::Rename as u32;
const LINK: u32 = Procedure::Link as u32;

/// Writes the results of a procedure that has failed with this status. They are not longer than those of its success.
#[cold]
pub(in super::super) fn emit_failure(results: &mut Writer<'_>, procedure: u32, status: Status) {
    // Attributes before and after, all absent (FALSE): after the failed sync they may be wrong.
    let count = match procedure {
        RENAME => 4,
        LINK => 3,
        _ => 2,
    };
    let words = [status as u32, 0, 0, 0, 0];
    results.words(words.get(..=count).unwrap_or_default());
}
