//! Parses a request's arguments, dispatches it and writes its reply.

use super::attributes;
use super::requests::{
    self, ATTRIBUTES, Ask, DIRECTORY, FILE, MISSING, OFFSET, OTHER, PATH, RequestInfo, UINT32,
};
use super::status::{Fault, Outcome};
use super::{Next, Turn};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::wire::sftp::kind;

impl Turn<'_> {
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
            }
        }
        Ok(())
    }

    /// Looks the request up in the table, reads its paths, and carries it out if it is permitted.
    #[inline(never)] // −525 bytes: one caller, whose frame stays small.
    fn handle_request(&mut self, kind: u8) -> Outcome {
        let mut name: &[u8] = &[];
        if kind == kind::EXTENDED {
            name = self.request.args.string();
            self.request.extension_name_len = name.len();
            self.request.args.check()?;
        }
        let entry = requests::lookup(kind, name).ok_or(Fault::UNSUPPORTED)?;
        self.request.ask = entry.ask;
        if entry.has(PATH) {
            self.request.path = self.request.args.path();
            // In the draft, "" is the directory in which the session began.
            if self.request.path.is_empty() && entry.ask != Ask::SymbolicLink {
                self.request.path = b".";
            }
        }
        if entry.has(OTHER) {
            self.request.other = self.request.args.path();
        }
        if !self.permits(entry) {
            return Err(Fault::DENIED);
        }
        self.carry_out(entry)
    }

    /// Parses the rest of the arguments, logs the request and carries it out.
    #[inline(always)]
    fn carry_out(&mut self, entry: &RequestInfo) -> Outcome {
        let mut found = Ok(());
        if entry.has(FILE | DIRECTORY) {
            let handle = self.request.args.handle();
            found = self.find(handle, entry.traits);
        }
        let args = &mut self.request.args;
        if entry.has(OFFSET) {
            self.request.offset = args.u64();
        }
        if entry.has(UINT32) {
            self.request.uint32 = args.u32();
        }
        if entry.has(ATTRIBUTES) {
            attributes::read(&mut self.request);
        }
        self.request.args.check()?;
        if entry.is_logged(self.sftp.level) {
            self.log(entry);
        }
        if found.is_err() {
            return Err(if entry.has(MISSING) {
                Fault::MISSING
            } else {
                Fault::FAILURE
            });
        }
        self.reply.start_packet(entry.reply, self.request.id);
        self.dispatch()
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
