//! Parses a request's arguments, dispatches it and writes its reply.

use super::requests::{self, Arg, Entry, Operation};
use super::status::{Fault, Outcome};
use super::{Exchange, Next};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::stats;
use crate::wire::sftp::kind;

impl Exchange<'_> {
    /// Answers a request, or sets the transfer that its reply must wait for.
    ///
    /// # Errors
    /// Nothing was done: the same packet is passed again.
    pub(super) fn answer(&mut self, kind: u8) -> Result<(), Next> {
        let start = self.reply.position();
        let fault = match self.handle_request(kind) {
            Err(fault) => fault,
            Ok(()) if self.reply.written().is_some() => {
                self.reply.finish(start);
                self.count(kind, Fault::Done);
                return Ok(());
            }
            // The reply does not fit into an empty output. Nothing was changed.
            Ok(()) if start == 0 => Fault::FAILURE,
            Ok(()) => Fault::NeedOutput,
        };
        self.reply.truncate(start);
        if let Fault::Files(error) = fault
            && let Some(until) = error.until()
        {
            return Err(until.into());
        }
        match fault {
            Fault::NeedOutput => return Err(Next::Output),
            Fault::Busy => return Err(Next::Soon),
            Fault::Later => {}
            fault => {
                let (level, reply) = (self.sftp.level, &mut self.reply);
                fault.emit(reply, self.request.id, level, self.events);
                self.count(kind, fault);
            }
        }
        Ok(())
    }

    /// Counts a request of this packet type that is answered.
    #[inline(always)]
    fn count(&mut self, kind: u8, fault: Fault) {
        self.stats
            .called(stats::Operation::sftp(kind), fault.outcome());
    }

    /// Looks the request up in the table, parses its arguments, logs it, and carries it out if it is permitted.
    #[inline(never)] // −544 bytes of sftp-server: one caller, whose frame stays small.
    fn handle_request(&mut self, kind: u8) -> Outcome {
        let mut name: &[u8] = &[];
        if kind == kind::EXTENDED {
            name = self.request.args.string();
            self.request.extension_name_len = name.len();
            self.request.args.check()?;
        }
        let entry = requests::lookup(kind, name).ok_or(Fault::UNSUPPORTED)?;
        self.request.operation = entry.operation;
        let found = self.parse(entry);
        if !self.permits(entry) {
            return Err(Fault::DENIED);
        }
        self.request.args.check()?;
        if self.sftp.level >= entry.level {
            self.log(entry);
        }
        if found.is_err() {
            // As with OpenSSH, an invalid handle has this status for two requests.
            return Err(match entry.operation {
                Operation::Close | Operation::Sync => Fault::MISSING,
                _ => Fault::FAILURE,
            });
        }
        self.reply.start_packet(entry.reply, self.request.id);
        self.carry_out(entry.operation)
    }

    /// Parses the arguments that the table lists. Malformed ones are reported by `args.check()`.
    ///
    /// # Errors
    /// The handle is invalid.
    #[inline(always)]
    fn parse(&mut self, entry: &Entry) -> Outcome {
        let (request, args) = (&mut self.request, entry.args);
        if args.has(Arg::Path) || args.has(Arg::Target) {
            request.path = request.args.path();
        }
        // In the draft, "" is the directory in which the session began.
        if args.has(Arg::Path) && request.path.is_empty() {
            request.path = b".";
        }
        if args.has(Arg::Other) {
            request.other = request.args.path();
        }
        let mut found = Ok(());
        if args.has(Arg::File) || args.has(Arg::Directory) {
            let handle = request.args.handle();
            found = self.find(handle, args);
        }
        let request = &mut self.request;
        if args.has(Arg::Offset) {
            request.offset = request.args.u64();
        }
        if args.has(Arg::Uint32) {
            request.uint32 = request.args.u32();
        }
        if args.has(Arg::Attributes) {
            request.attributes.read(&mut request.args);
        }
        found
    }

    pub(super) fn close(&mut self) -> Outcome {
        let handles = &mut self.session.handles;
        handles.release(self.request.slot, false, self.vfs);
        Err(Fault::Done)
    }

    pub(super) fn sync(&mut self) -> Outcome {
        let pin = self.request.pin.as_ref().ok_or(Fault::FAILURE)?;
        self.vfs.sync(pin)?;
        Err(Fault::Done)
    }

    pub(super) fn limits(&mut self) -> Outcome {
        let handles = self.session.handles.count_max() as u64;
        let data = PACKET_DATA_BYTES_MAX.into();
        self.numbers(&[PACKET_BYTES_MAX.into(), data, data, handles]);
        Ok(())
    }

    /// vendor-id: the client's version is checked for its format and ignored.
    pub(super) fn vendor(&mut self) -> Outcome {
        for _ in 0..3 {
            self.request.args.string();
        }
        self.request.args.u64();
        self.request.args.check()?;
        Err(Fault::Done)
    }
}
