//! COMPOUND: carries out its operations from left to right, once. RFC 8881 sections 2.10 and 16.2.
//!
//! An operation that must wait for a disk has changed nothing. The context of its COMPOUND is kept, and the COMPOUND goes on at that
//! operation. A context has handles in place of nodes, which are valid for one turn.

use super::locked;
use super::operations::{self, Rule, Run};
use super::turn::{Done, Fault, HEADER_BYTES, Kept, Turn};
use crate::config::{LINK_BYTES_MAX, REPLY_HEAD_BYTES};
use crate::engine::nfs::{self, Writing};
use crate::engine::service::Promise;
use crate::mem::is_utf8;
use crate::stats::{Family, Figure};
use crate::vfs::Until;
use crate::wire::nfs4::{
    HANDLE_BYTES_MAX, MINOR_VERSION, OPAQUE_BYTES_MAX, SEQUENCE_BYTES, Status, operation,
};
use crate::wire::xdr::padding;
use crate::wire::{Reader, Writer};

/// Longest result (bytes) of an operation without bulk data.
const RESULT_BYTES_MAX: usize = REPLY_HEAD_BYTES / 2;
const _: () = assert!(LINK_BYTES_MAX < RESULT_BYTES_MAX + 8);

impl<'a> Turn<'_, 'a, '_, '_> {
    /// Carries out the COMPOUND, or goes on with it. Returns the outcome.
    ///
    /// # Errors
    /// The reason why it stops: an event, data, arguments that have not arrived; malformed ones, before anything was done.
    pub(super) fn run(&mut self) -> Result<Status, Stopped> {
        let all = self.args.clone();
        let head = self.start + HEADER_BYTES;
        if self.compound.done > 0 {
            self.args.take(self.compound.read);
            self.reply.put_ahead(self.compound.written);
        } else {
            let tag = self.args.opaque(OPAQUE_BYTES_MAX);
            let minor = self.args.u32();
            self.compound.count = self.args.u32();
            self.args.check().map_err(|_| Stopped::Malformed)?;
            self.reply.u32(Status::OK.0.into());
            self.reply.opaque(tag);
            self.reply.u32(0);
            if minor != MINOR_VERSION {
                return Ok(self.finish(Status::MINOR_VERS_MISMATCH));
            }
            if !is_utf8(tag) {
                return Ok(self.finish(Status::INVAL));
            }
        }
        let mut status = Status::OK;
        while status == Status::OK && self.compound.done < self.compound.count {
            let before = self.args.clone();
            let at = self.reply.position();
            match self.step(at, &before) {
                Ok(outcome) => status = outcome,
                Err(stopped) => {
                    self.reply.truncate(at);
                    self.compound.written = at - head;
                    self.compound.read = match stopped {
                        // The data is followed by its padding.
                        Stopped::Later => {
                            padding(self.compound.storing.as_ref().map_or(0, Writing::len))
                        }
                        Stopped::Until(_) | Stopped::Malformed => {
                            all.rest().len() - before.rest().len()
                        }
                    };
                    return Err(stopped);
                }
            }
        }
        Ok(self.finish(status))
    }

    /// Carries out one operation, whose arguments begin at `before`, and its result at `at`.
    ///
    /// # Errors
    /// The reason why it stops.
    fn step(&mut self, at: usize, before: &Reader<'a>) -> Result<Status, Stopped> {
        let mut number = match self.compound.storing {
            Some(_) => operation::WRITE,
            None => self.args.u32(),
        };
        self.at = at;
        self.reply.words(&[number, Status::OK.0.into()]);
        let done = self.need_space(RESULT_BYTES_MAX);
        let status = match done.and_then(|()| self.operate(number)) {
            Ok(()) => self.check_length(0),
            Err(Fault::Data) => return Err(Stopped::Later),
            Err(Fault::Status(Status::BADXDR)) if self.lacks_arguments(before) => {
                *self.args = before.clone();
                return Err(Stopped::Later);
            }
            Err(Fault::Again(until)) if self.may_wait() => return Err(Stopped::Until(until)),
            Err(Fault::Again(_)) => {
                if let Some(file) = self.compound.fetched.take() {
                    self.cx.vfs.unpin(file);
                }
                Status::DELAY
            }
            Err(Fault::Denied) => match self.check_length(0) {
                Status::OK => Status::DENIED,
                status => status,
            },
            Err(Fault::Status(status)) => status,
            Err(Fault::Files(error)) => Status(nfs::error_status(self.cx, error) as u16),
        };
        if status == Status::DENIED {
            self.reply.patch(at + 4, status.0.into());
        } else if status != Status::OK {
            if let Some(sending) = self.sending.take() {
                sending.release(self.cx.vfs);
            }
            // RFC 8881 section 18.52.3: the status "MUST be set to NFS4ERR_OP_ILLEGAL".
            if matches!(status, Status::OP_ILLEGAL) {
                number = operation::ILLEGAL;
            }
            self.reply.truncate(at);
            emit_failure(number, status, self.reply);
        }
        self.compound.done += 1;
        match self.compound.kept {
            Some(kept) if status == Status::OK => Ok(self.repeat(kept)),
            _ => Ok(status),
        }
    }

    /// Returns true if the arguments of the operation that begins at `before` have not all arrived, and may wait for the others.
    fn lacks_arguments(&self, before: &Reader<'_>) -> bool {
        let is_first = before.rest().len() as u32 == self.all_bytes;
        self.follows != Some(0) && !is_first && self.may_wait()
    }

    /// Checks the place of an operation, and carries it out.
    fn operate(&mut self, number: u32) -> Done {
        if let Some(writing) = self.compound.storing.take() {
            return self.end_write(writing);
        }
        self.args.check()?;
        let row = operations::row(number).ok_or(Status::OP_ILLEGAL)?;
        let is_first = self.compound.done == 0;
        let stands_alone = row.rule == Rule::Alone || row.rule == Rule::First && is_first;
        // RFC 8881 section 18.46.3: other operations "MUST NOT appear as the first operation in a COMPOUND".
        if is_first && number != operation::SEQUENCE && !stands_alone {
            return Err(Status::OP_NOT_IN_SESSION.into());
        }
        // RFC 8881 section 18.35.3: the server "MUST return NFS4ERR_NOT_ONLY_OP". RFC 8881 section 18.34.3: BIND_CONN_TO_SESSION
        // "MUST be the only operation in the COMPOUND procedure". RFC 8881 section 18.37.3: "server MUST return NFS4ERR_NOT_ONLY_OP".
        // RFC 8881 section 18.50.3: DESTROY_CLIENTID "MUST be the only operation in the COMPOUND request".
        if stands_alone && self.compound.count > 1 {
            return Err(Status::NOT_ONLY_OP.into());
        }
        if row.rule == Rule::Object && self.compound.current.is_none() {
            return Err(Status::NOFILEHANDLE.into());
        }
        match row.run {
            Run::Refuse(status) => Err(status.into()),
            Run::Files(carry_out) => carry_out(self),
            Run::Change(carry_out) => self.change(carry_out),
            Run::Tables(carry_out) => locked(self.lock, || carry_out(self)),
        }
    }

    /// Answers a retransmitted request after its SEQUENCE.
    fn repeat(&mut self, kept: Kept) -> Status {
        self.cx.stats.add(Family::Rpc, Figure::Duplicates, 1);
        if let Kept::Reply(slot) = kept {
            if self.compound.promised != 0 {
                // The sync that the first reply waits for may be of another server, or fail.
                self.compound.promise = Promise::Names;
                let mut put = self.args.clone();
                if put.u32() == operation::PUTFH {
                    self.cx.vfs.stage_export(put.opaque(HANDLE_BYTES_MAX));
                }
            }
            self.reply.truncate(self.start + HEADER_BYTES);
            self.tables.emit_reply(slot, self.reply);
            // Nothing is left to do, and the outcome is in the reply.
            self.compound.done = self.compound.count;
            return Status::OK;
        }
        let mut status = Status::OK;
        if self.compound.count > 1 {
            status = repeat(kept, self.args.u32(), self.reply);
            self.compound.done += 1;
        }
        self.compound.count = self.compound.done;
        status
    }

    /// Completes the reply, and keeps it as the slot demands.
    fn finish(&mut self, status: Status) -> Status {
        let compound = &mut *self.compound;
        let head = self.start + HEADER_BYTES;
        if matches!(compound.kept, Some(Kept::Reply(_))) {
            return status;
        }
        // The tag begins after the status, with its length.
        let tag = Reader::new(self.reply.since(head + 4)).u32() as usize;
        self.reply.patch(head, status.0.into());
        self.reply
            .patch(head + 8 + tag + padding(tag), compound.done);
        if let Some(held) = compound.held.take() {
            let failed = (status != Status::OK && compound.done == 2).then(|| {
                let results = Reader::new(self.reply.since(head + 12 + tag + padding(tag)));
                let mut second = results;
                second.take(SEQUENCE_BYTES);
                (second.u32(), status)
            });
            let (results, promised) = (self.reply.since(head), compound.promised);
            locked(self.lock, || {
                held.settle(&self.tables, results, failed, promised)
            });
        }
        status
    }
}

/// The reason why a COMPOUND is not answered now.
pub(super) enum Stopped {
    /// This event must come first.
    Until(Until),
    /// The stream is read up to the current operation, or the data of its WRITE, and the rest is passed later.
    Later,
    /// The arguments are malformed.
    Malformed,
}

/// Writes the answer to a retransmitted request after the result of SEQUENCE. `second` is its second operation.
fn repeat(kept: Kept, second: u32, reply: &mut Writer<'_>) -> Status {
    let (number, status) = match kept {
        Kept::Failed(number, status) => (number, status),
        _ => (second, Status::RETRY_UNCACHED_REP),
    };
    emit_failure(number, status, reply);
    status
}

/// Writes the result of an operation that failed.
fn emit_failure(number: u32, status: Status, reply: &mut Writer<'_>) {
    reply.words(&[number, status.0.into()]);
    if number == operation::SETATTR {
        // The attributes that were set: none.
        reply.u32(0);
    }
}
