//! From a request to its reply: what requests bring along is read here, and each is carried out in its own way.

use super::attributes;
use super::files::What;
use super::requests::{
    self, ATTRIBUTES, Ask, DIRECTORY, Entry, FILE, MISSING, OFFSET, OTHER, PATH, UINT32,
};
use super::status::{Fault, Outcome};
use super::{Order, State, Turn};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::text::Text;
use crate::wire::sftp::kind;

impl Turn<'_> {
    /// Answers a request, or orders what has to happen before.
    ///
    /// # Errors
    /// Nothing was begun: the same packet is to be given again.
    pub(super) fn answer(&mut self, kind: u8) -> Result<(), State> {
        let start = self.reply.position();
        let fault = match self.handle_request(kind) {
            Err(fault) => fault,
            Ok(()) if self.reply.written().is_some() => {
                let more = match &self.request.order {
                    Some(Order::Send { len, .. }) => *len,
                    _ => 0,
                };
                self.reply.end(start, more);
                return Ok(());
            }
            // It is only the size of the reply that is wrong: nothing was changed.
            Ok(()) if start == 0 => Fault::FAILURE,
            Ok(()) => Fault::NeedOutput,
        };
        self.reply.truncate(start);
        match fault {
            Fault::NeedOutput => return Err(State::NeedOutput),
            Fault::Busy => return Err(State::Busy),
            Fault::Later => {}
            fault => fault.emit(&mut self.reply, self.request.id),
        }
        Ok(())
    }

    /// Finds out what is asked, has it carried out, and tells of it.
    #[inline(never)]
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
            // The draft has "" for where the session began.
            if self.request.path.is_empty() && entry.ask != Ask::SymbolicLink {
                self.request.path = b".";
            }
        }
        if entry.has(OTHER) {
            self.request.other = self.request.args.path();
        }
        let outcome = if self.sftp.permits.has(entry) {
            self.carry_out(entry)
        } else {
            Err(Fault::DENIED)
        };
        if entry.is_told(self.sftp.level) {
            self.tell(entry, outcome);
        }
        outcome
    }

    /// Reads the rest of what a request brings along, and carries it out.
    #[inline(always)]
    fn carry_out(&mut self, entry: &Entry) -> Outcome {
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
            self.request.attributes_told = attributes::read(args, &mut self.request.set_attr);
        }
        args.check()?;
        if found.is_err() {
            return Err(if entry.has(MISSING) {
                Fault::MISSING
            } else {
                Fault::FAILURE
            });
        }
        self.reply.begin(entry.reply, self.request.id);
        self.dispatch()
    }

    pub(super) fn close(&mut self) -> Outcome {
        let handles = &mut self.session.handles;
        handles.release(self.request.slot, false, self.vfs);
        Err(Fault::Done)
    }

    pub(super) fn sync(&mut self) -> Outcome {
        self.order(What::Sync, 0, 0).ok_or(Fault::FAILURE)?;
        Err(Fault::Later)
    }

    pub(super) fn limits(&mut self) -> Outcome {
        let handles = self.session.handles.count_max() as u64;
        let data = PACKET_DATA_BYTES_MAX.into();
        self.numbers(&[PACKET_BYTES_MAX.into(), data, data, handles]);
        Ok(())
    }

    /// What the client is does not matter.
    pub(super) fn vendor(&mut self) -> Outcome {
        for _ in 0..3 {
            self.request.args.string();
        }
        self.request.args.u64();
        self.request.args.check()?;
        Err(Fault::Done)
    }

    /// Tells a person what was asked, and why it was not done.
    #[cold]
    fn tell(&mut self, entry: &Entry, outcome: Outcome) {
        let why = match outcome {
            Ok(()) | Err(Fault::Later | Fault::Done) => Text::NOTHING,
            // It is asked once more.
            Err(Fault::NeedOutput | Fault::Busy) => return,
            Err(fault) => fault.text(),
        };
        let mut about = heapless::Vec::<u8, ABOUT_BYTES>::new();
        let mut put = |path: &[u8]| {
            for byte in path.iter().take(PATH_BYTES_TOLD) {
                let _ = about.push(*byte);
            }
        };
        if entry.has(PATH) {
            put(self.request.path);
        }
        if entry.has(OTHER) {
            put(b" ");
            put(self.request.other);
        }
        self.events
            .tell_request(requests::name(entry.ask as usize), &about, why);
    }
}

/// Bytes of a path that a person is told, and of two with a blank between.
const PATH_BYTES_TOLD: usize = 240;
const ABOUT_BYTES: usize = 2 * PATH_BYTES_TOLD + 1;
