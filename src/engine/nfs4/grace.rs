//! The grace period after a start: clients with a record reclaim their opens, and other opens are refused. RFC 8881 section 8.4.2.
//!
//! The period ends when each of these clients has sent RECLAIM_COMPLETE, at the latest after the lease; while clients reclaim, after twice the
//! lease.

use super::locked;
use super::records::emit;
use super::tables::{Client, Words as _, client, head};
use super::turn::{Done, Fault, Turn};
use crate::event;
use crate::text::Text;
use crate::vfs::{Job, Submitted, Until};
use crate::wire::nfs4::Status;

/// Shortest time (seconds) from a reclaim to the end of the grace period.
const PAUSE_SECS: u32 = 5;

impl Turn<'_, '_, '_, '_> {
    /// Checks that the client may reclaim (`reclaims`), or take something new.
    ///
    /// # Errors
    /// `GRACE`, `NO_GRACE`; the event that must come first.
    pub(super) fn check_reclaim(&mut self, reclaims: bool) -> Done {
        let (tables, now, own) = (self.tables, self.cx.now.secs(), self.client()?);
        let reclaimed = own.word(client::RECLAIMED);
        if !reclaims {
            // RFC 8881 section 18.51.3: before RECLAIM_COMPLETE, the client reclaims only.
            if reclaimed == 0 {
                return Err(Status::GRACE.into());
            }
            self.check_grace()?;
            if reclaimed == client::RECLAIMED_ONE {
                self.record_client(own)?;
                own.set(client::RECLAIMED, client::RECORDED);
            }
            return self.flush_records();
        }
        let is_back = reclaimed > client::RECLAIMED_ONE;
        if is_back || !tables.is_grace(now) || !tables.may_reclaim(own.pair(client::OWNER)) {
            return Err(Status::NO_GRACE.into());
        }
        let ends = tables.head.word(head::GRACE_ENDS);
        let limit = tables.head.word(head::GRACE_LIMIT);
        tables
            .head
            .set(head::GRACE_ENDS, ends.max(limit.min(now + PAUSE_SECS)));
        Ok(())
    }

    /// Checks that no client may reclaim what a request would use.
    ///
    /// # Errors
    /// `GRACE`.
    pub(super) fn check_grace(&self) -> Result<(), Status> {
        match self.tables.is_grace(self.cx.now.secs()) {
            true => Err(Status::GRACE),
            false => Ok(()),
        }
    }

    /// Makes the record of a client that has returned durable.
    ///
    /// # Errors
    /// The event that must come first.
    pub(super) fn record_client(&mut self, row: Client) -> Done {
        let (tables, owner) = (self.tables, row.pair(client::OWNER));
        if self.records.is_none() {
            return Ok(());
        }
        let Some(at) = locked(self.lock, || tables.put_record(owner)) else {
            // Clients that have not returned have all rows. At the end of the grace period they lose them.
            self.flush_records()?;
            return Err(Status::DELAY.into());
        };
        let start = tables.head.word(head::START);
        self.save(at as u32 + 1, &emit(owner, start))
    }

    /// Makes durable what must be before a client opens anything: the end of the grace period, and the loss of records.
    ///
    /// # Errors
    /// The event that must come first.
    pub(super) fn flush_records(&mut self) -> Done {
        let tables = self.tables;
        while let Some((place, bytes)) = tables.next_write(self.cx.now.secs()) {
            if place == 0
                && let Some(row) = tables.unrecorded()
            {
                self.record_client(row)?;
                row.set(client::RECLAIMED, client::RECORDED);
                continue;
            }
            self.save(place, &bytes)?;
            tables.end_write(place);
        }
        Ok(())
    }

    /// As [`Self::flush_records`], for an operation that does not wait. Others of the same COMPOUND do.
    pub(super) fn begin_flush(&mut self) {
        let _ = self.flush_records();
        self.compound.saving = None;
    }

    /// Writes to the file of records. A failure is reported: the client goes on without the record.
    fn save(&mut self, place: u32, bytes: &[u8]) -> Done {
        let Some(file) = self.records else {
            return Ok(());
        };
        if self.compound.saving.take() == Some(place) {
            return Ok(());
        }
        let offset = u64::from(place) * bytes.len() as u64;
        match self.cx.vfs.submit(Job::Save(file, offset, bytes)) {
            Submitted::Pending(id) => {
                self.compound.saving = Some(place);
                Err(Fault::Again(Until::Job(id)))
            }
            Submitted::Done(Ok(())) => Ok(()),
            Submitted::Done(Err(_)) => {
                self.cx.report(event::NOT_KEPT, b"", Text::NOTHING);
                Ok(())
            }
        }
    }
}
