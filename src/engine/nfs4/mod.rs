//! NFS version 4.1: COMPOUND and its operations, without those that lock or change files. RFC 8881.
//!
//! Clients, sessions, slots and kept replies are in tables of fixed size, which servers of the same files share. Handles are those of
//! version 3.

use super::Cx;
use super::nfs::{Phase, set_caller};
use super::rpc::connections::Connections;
use super::rpc::lock::ServerLock;
use super::rpc::{Answer, Reply, Request, Unanswered};
use crate::mem::Slots;
use crate::stats::Outcome;
use crate::vfs::{Caller, Patience, Tree};
use crate::wire::nfs3;
use crate::wire::nfs4::{self, Status};
use crate::wire::rpc::{MARK_BYTES, Reject};
use compound::Stopped;
use core::sync::atomic::AtomicU32;
use tables::Tables;
use turn::{Compound, HEADER_BYTES, Turn};

mod attributes;
mod clients;
mod compound;
mod directory;
mod files;
mod open;
mod opens;
mod operations;
mod room;
mod sessions;
mod slots;
mod states;
mod tables;
#[cfg(test)]
mod tests;
mod turn;

pub use tables::word_count;

/// The state of NFS 4.1 that all connections share.
#[derive(Default)]
pub struct Nfs4 {
    tables: Tables,
    /// The other servers that use the tables; `None`: version 4.1 is not offered.
    shared: Option<Shared>,
    /// The lowest and the highest version of NFS that the server offers.
    versions: [u8; 2],
    /// The COMPOUNDs that wait.
    waiting: Slots<Option<Compound>>,
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
}

impl Waiting {
    /// Length of the start of its reply (bytes), with the record mark.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

impl Nfs4 {
    /// Offers version 4.1, and version 3 unless `is_alone`. `words` of [`word_count`] are zeros or an earlier server's; other servers
    /// may use them, too, synchronised by `lock`. `connections` are those of all these servers. `instance` differs for each start. At
    /// most `waiting_count` COMPOUNDs wait at the same time.
    pub fn new(
        words: &'static [AtomicU32],
        instance: [u32; 2],
        connections: Connections,
        lock: Option<&'static dyn ServerLock>,
        waiting_count: usize,
    ) -> Self {
        let tables = Tables::new(words, instance);
        // An earlier server may have been killed in the middle of a change.
        locked(lock, || tables.mend_opens());
        Self {
            tables,
            shared: Some(Shared { connections, lock }),
            versions: [nfs3::VERSION as u8, nfs4::VERSION as u8],
            waiting: Slots::defaults(waiting_count),
        }
    }

    /// The lowest and the highest version of NFS.
    pub(super) const fn versions(&self) -> [u8; 2] {
        match self.shared {
            Some(_) => self.versions,
            None => [nfs3::VERSION as u8; 2],
        }
    }

    /// Stops offering version 3.
    pub const fn end_version_3(&mut self) {
        self.versions = [nfs4::VERSION as u8; 2];
    }

    /// Carries out a COMPOUND, or goes on with the one that waits, whose first results are in the output. The reply's header is
    /// written. If the COMPOUND has to wait, leaves it in `waiting`. If it ends with a READ of up to `read_bytes_max` whose data
    /// follows, leaves that in `sending`.
    ///
    /// # Errors
    /// The event that must come first, before the same call is passed again; a call that is rejected.
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        waiting: &mut Option<Waiting>,
        read_bytes_max: u32,
        sending: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        if request.call.procedure != nfs4::COMPOUND {
            return Err(Reject::Procedure.into());
        }
        let shared = self.shared.ok_or(Reject::Program)?;
        let (mut compound, mut patience) = (Compound::new(), Patience::Now);
        if let Some(waited) = waiting.take().and_then(|waiting| self.take(&waiting)) {
            compound = waited;
            if let Some(file) = compound.fetched.take() {
                cx.vfs.unpin(file);
                patience = Patience::Forever;
            }
        }
        let free = self.waiting.iter().position(Option::is_none);
        // A request of which a part has not arrived is longer than any session allows.
        let request_bytes = match request.follows {
            Some(0) => request.args.rest().len() as u32,
            _ => u32::MAX,
        };
        let mut turn = Turn {
            tables: self.tables,
            connections: shared.connections,
            lock: shared.lock,
            cx,
            call: &request.call,
            caller: Caller::default(),
            args: &mut request.args,
            start: request.reply.position().saturating_sub(HEADER_BYTES),
            reply: &mut *request.reply,
            compound: &mut compound,
            connection: request.connection,
            request_bytes,
            patience,
            read_bytes_max,
            sending: &mut *sending,
            may_wait: free.is_some(),
        };
        // Set in place: a copy is long.
        set_caller(&mut turn.caller, turn.call);
        match turn.run() {
            Ok(status) => {
                let mut answer = Answer::of(Outcome::of_error(status != Status::OK));
                if let Some(sending) = sending {
                    answer.reply = Reply::Head(sending.len());
                }
                Ok(answer)
            }
            Err(Stopped::Malformed) => Err(Reject::Arguments.into()),
            Err(Stopped::Until(until)) => {
                let number = free.unwrap_or_default();
                let len = MARK_BYTES + HEADER_BYTES + compound.written;
                if let Some(place) = self.waiting.get_mut(number) {
                    *place = Some(compound);
                }
                *waiting = Some(Waiting {
                    number: number as u16,
                    len: len as u16,
                });
                Err(Unanswered::Again(until))
            }
        }
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
            if let Some(held) = &compound.held {
                held.release();
            }
        }
    }
}
