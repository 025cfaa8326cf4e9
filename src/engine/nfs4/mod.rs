//! NFS version 4.1: COMPOUND and its operations. RFC 8881.
//!
//! Clients, sessions, slots and kept replies are in tables of fixed size, which servers of the same files share. Handles are those of
//! version 3.

use super::Cx;
use super::nfs::{Phase, Writing};
use super::rpc::connections::Connections;
use super::rpc::lock::ServerLock;
use super::rpc::{Answer, RecordCursor, Reply, Request, Unanswered};
use super::service::{Moved, Next};
use crate::mem::Slots;
use crate::stats::Outcome;
use crate::time::Instant;
use crate::vfs::{FileId, Patience, Tree};
use crate::wire::nfs3;
use crate::wire::nfs4::{self, OPAQUE_BYTES_MAX, SESSION_ID_BYTES, Status, operation};
use crate::wire::rpc::{MARK_BYTES, Reject};
use crate::wire::{Reader, Writer};
use compound::Stopped;
use core::sync::atomic::AtomicU32;
use tables::{Tables, Words as _};
use turn::{Compound, HEADER_BYTES, Turn};

mod attributes;
mod change;
mod clients;
mod compound;
mod create;
mod directory;
mod files;
mod grace;
mod locks;
mod open;
mod opens;
mod operations;
mod ranges;
mod records;
mod room;
mod sessions;
mod slots;
mod states;
mod tables;
#[cfg(test)]
mod tests;
mod turn;
mod write;

pub use tables::word_count;

/// The state of NFS 4.1 that all connections share.
#[derive(Default)]
pub struct Nfs4 {
    tables: Tables,
    /// The other servers that use the tables; `None`: version 4.1 is not offered.
    shared: Option<Shared>,
    /// The lowest and the highest version of NFS that the server offers.
    versions: [u8; 2],
    /// The file of records, if there is one.
    records: Option<FileId>,
    /// True if another server may carry out what this one has begun.
    is_kept: bool,
    /// The COMPOUNDs that wait. Places are touched when they are first used.
    waiting: Slots<Option<Compound>>,
}

/// Terms of a server that may change between calls.
pub(super) struct Terms {
    /// Largest READ (bytes).
    pub(super) read_bytes_max: u32,
    /// The write verifier.
    pub(super) verifier: u64,
}

/// The connections and the lock of the servers that use the tables.
#[derive(Clone, Copy)]
struct Shared {
    connections: Connections,
    lock: Option<&'static dyn ServerLock>,
}

/// Carries out `work` while no other server uses the tables.
fn locked<T>(lock: Option<&'static dyn ServerLock>, work: impl FnOnce() -> T) -> T {
    if let Some(lock) = lock {
        lock.acquire_tables();
    }
    let done = work();
    if let Some(lock) = lock {
        lock.release_tables();
    }
    done
}

/// A COMPOUND that waits.
#[derive(Debug)]
pub struct Waiting {
    number: u16,
    len: u16,
    is_amid: bool,
}

impl Waiting {
    /// Returns true if the stream was read up to its next operation: the call is not passed from its start again.
    pub(super) const fn is_amid(&self) -> bool {
        self.is_amid
    }

    /// Length of the start of its reply (bytes), with the record mark.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

impl Nfs4 {
    /// Offers version 4.1, and version 3 unless `is_alone`. `words` of [`word_count`] are zeros or an earlier server's; other servers
    /// may use them, too, synchronised by `lock`. `connections` are those of all these servers. `instance` differs for each start. At
    /// most `waiting_count` COMPOUNDs wait at the same time. `is_kept`: other servers use the words, now or later.
    pub fn new(
        words: &'static [AtomicU32],
        instance: [u32; 2],
        connections: Connections,
        lock: Option<&'static dyn ServerLock>,
        waiting_count: usize,
        is_kept: bool,
    ) -> Self {
        let tables = Tables::new(words, instance);
        // An earlier server may have been killed in the middle of a change.
        locked(lock, || tables.mend());
        Self {
            tables,
            shared: Some(Shared { connections, lock }),
            versions: [nfs3::VERSION as u8, nfs4::VERSION as u8],
            records: None,
            is_kept,
            waiting: Slots::new(waiting_count),
        }
    }

    /// The lowest and the highest version of NFS.
    pub(super) const fn versions(&self) -> [u8; 2] {
        match self.shared {
            Some(_) => self.versions,
            None => [nfs3::VERSION as u8; 2],
        }
    }

    /// The numbers of clients, of opens, and of opens that deny something to others; without version 4.1, none.
    pub(super) fn counts(&self) -> &'static [AtomicU32] {
        self.tables.counts()
    }

    /// Keeps records of clients in `file`, whose content is `content`. `server` identifies the server: records of others do not count.
    /// Returns the number of clients that may reclaim their opens, unless another server of the tables has found it out.
    pub fn keep_records(&mut self, file: FileId, content: &[u8], server: u64, now: Instant) -> u32 {
        self.records = Some(file);
        let (tables, lock) = (self.tables, self.shared.and_then(|shared| shared.lock));
        locked(lock, || tables.load_records(content, server, now.secs()))
    }

    /// Stops offering version 3.
    pub const fn end_version_3(&mut self) {
        self.versions = [nfs4::VERSION as u8; 2];
    }

    /// Carries out a COMPOUND, or goes on with the one that waits, whose first results are in the output. The reply's header is
    /// written. If the COMPOUND has to wait, leaves it in `waiting`. If it ends with a READ whose data follows, leaves that in
    /// `sending`.
    ///
    /// # Errors
    /// The event that must come first, before the same call is passed again; a call that is rejected.
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        waiting: &mut Option<Waiting>,
        terms: &Terms,
        sending: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        if request.call.procedure != nfs4::COMPOUND {
            return Err(Reject::Procedure.into());
        }
        let shared = self.shared.ok_or(Reject::Program)?;
        let waited = waiting.take().and_then(|waiting| self.take(&waiting));
        let mut compound = waited.unwrap_or_else(|| Compound::of(&request.call));
        let patience = match compound.fetched.take() {
            Some(file) => {
                cx.vfs.unpin(file);
                Patience::Forever
            }
            None => Patience::Now,
        };
        let all_bytes = request.args.rest().len() as u32;
        let mut turn = Turn {
            tables: self.tables,
            connections: shared.connections,
            lock: shared.lock,
            records: self.records,
            cx,
            call: &request.call,
            args: &mut request.args,
            start: request.reply.position().saturating_sub(HEADER_BYTES),
            reply: &mut *request.reply,
            compound: &mut compound,
            connection: request.connection,
            all_bytes,
            follows: request.follows,
            patience,
            terms,
            sending: &mut *sending,
            at: 0,
            is_kept: self.is_kept,
            waiting: &self.waiting,
        };
        match turn.run() {
            Ok(status) => {
                let mut answer = Answer {
                    promise: compound.promise,
                    promised: compound.promised,
                    ..Answer::of(Outcome::of_error(status != Status::OK))
                };
                if let Some(sending) = sending {
                    answer.reply = Reply::Head(sending.len());
                }
                Ok(answer)
            }
            Err(Stopped::Malformed) => Err(Reject::Arguments.into()),
            Err(Stopped::Until(until)) => {
                *waiting = Some(self.keep(compound));
                Err(Unanswered::Again(until))
            }
            Err(Stopped::Later) => {
                compound.is_amid = true;
                *waiting = Some(self.keep(compound));
                Ok(Answer {
                    reply: Reply::Later,
                    ..Answer::DONE
                })
            }
        }
    }

    /// Turns the results of a COMPOUND whose sync has failed into an error with this status: that of the first operation that reports
    /// something as durable, which is the last one then. The kept reply becomes the same. Returns the length of the results (bytes).
    #[cold]
    pub(super) fn fail(&self, results: &mut [u8], promised: u32, status: u32) -> usize {
        let (index, at) = (promised >> 18, (promised & 0x3_ffff) as usize * 4);
        let at = at.saturating_sub(HEADER_BYTES);
        let len = results.len();
        let mut reply = Writer::new(results);
        reply.put_ahead(len.min(at + 4));
        reply.u32(status);
        if Reader::new(reply.since(at)).u32() == operation::SETATTR {
            reply.u32(0);
        }
        reply.patch(0, status);
        let tag = 8 + Reader::new(reply.since(4))
            .opaque(OPAQUE_BYTES_MAX)
            .len()
            .next_multiple_of(4);
        reply.patch(tag, index + 1);
        let (tables, lock) = (&self.tables, self.shared.and_then(|shared| shared.lock));
        let all = reply.since(0);
        locked(lock, || {
            let mut first = Reader::new(reply.since(tag + 12));
            let session = tables.session(first.take(SESSION_ID_BYTES))?;
            let sequence = first.u32();
            let slot = tables.slot(session, first.u32())?;
            if slot.word(tables::slot::SEQUENCE) == sequence && slot.word(tables::slot::REPLY) != 0
            {
                tables.keep_reply(slot, all);
            }
            Some(())
        });
        all.len()
    }

    /// Stores a COMPOUND that waits in a free place.
    fn keep(&mut self, mut compound: Compound) -> Waiting {
        let len = MARK_BYTES + HEADER_BYTES + compound.written;
        let free = self.waiting.iter().position(Option::is_none);
        let number = free.or_else(|| self.waiting.push(None));
        let number = number.unwrap_or_default();
        // Other callers come first: the object is opened with the rights of this one again.
        if let Some(current) = &mut compound.current {
            current.node = None;
        }
        let is_amid = compound.is_amid;
        if let Some(place) = self.waiting.get_mut(number) {
            *place = Some(compound);
        }
        Waiting {
            number: number as u16,
            len: len as u16,
            is_amid,
        }
    }

    /// Stores the data of a WRITE that has arrived.
    ///
    /// # Errors
    /// The need for which the WRITE waits.
    pub(super) fn store(
        &mut self,
        waiting: &Waiting,
        record: &mut RecordCursor,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
    ) -> Result<(), Next> {
        match self.storing(waiting) {
            Some(writing) => writing.store(record, cx, input),
            None => Ok(()),
        }
    }

    /// Goes on with a WRITE after its transfer.
    pub(super) fn moved(
        &mut self,
        waiting: &Waiting,
        record: &mut RecordCursor,
        done: Moved,
        vfs: &mut Tree,
    ) {
        match self.storing(waiting) {
            Some(writing) => writing.resume(record, done),
            None => done.transfer.abandon(vfs),
        }
    }

    /// The WRITE of a COMPOUND that waits whose data is being stored.
    fn storing(&mut self, waiting: &Waiting) -> Option<&mut Writing> {
        let place = self.waiting.get_mut(usize::from(waiting.number))?;
        place.as_mut()?.storing.as_mut()
    }

    /// Removes a COMPOUND that waits.
    fn take(&mut self, waiting: &Waiting) -> Option<Compound> {
        self.waiting.get_mut(usize::from(waiting.number))?.take()
    }

    /// Ends a COMPOUND that waits, because its connection closes: it counts as never sent.
    pub(super) fn abandon(&mut self, waiting: &Waiting, vfs: &mut Tree) {
        if let Some(compound) = self.take(waiting) {
            if let Some(file) = compound.fetched {
                vfs.unpin(file);
            }
            if let Some(writing) = compound.storing {
                writing.abandon(vfs);
            }
            if let Some(held) = &compound.held {
                held.release();
            }
        }
    }
}
