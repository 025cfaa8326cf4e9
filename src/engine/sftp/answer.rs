//! From a request to its reply: what requests bring along is read here, and each is carried out in its own way.

use super::requests::{
    self, ATTRIBUTES, Ask, COUNT, DIRECTORY, Entry, FILE, MISSING, OFFSET, OTHER, PATH, WORD,
};
use super::status::{Fault, Outcome};
use super::{Order, Request, Sftp, Stop};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::event::Events;
use crate::text::Text;
use crate::wire::Writer;
use crate::wire::sftp::kind;

impl Sftp {
    /// Answers a request, or not yet.
    #[inline(never)]
    pub(super) fn answer(
        &mut self,
        request: &mut Request<'_, '_>,
        kind: u8,
        events: &mut Events,
    ) -> Result<(), Stop> {
        let start = request.reply.position();
        let mut reply = kind::STATUS;
        let fault = match self.take(request, kind, events, &mut reply) {
            Err(fault) => fault,
            Ok(()) if reply == kind::STATUS => Fault::Done,
            Ok(()) if request.reply.written().is_some() => {
                let more = match &self.order {
                    Some(Order::Send { len, .. }) => *len,
                    _ => 0,
                };
                request.reply.end(start, more);
                return Ok(());
            }
            // It is only the size of the reply that is wrong: nothing was changed.
            Ok(()) if start == 0 => Fault::Failure,
            Ok(()) => Fault::NoRoom,
        };
        request.reply.truncate(start);
        match fault {
            Fault::NoRoom => return Err(Stop::NeedOutput),
            Fault::Busy => return Err(Stop::Busy),
            Fault::Later => {}
            fault => fault.emit(request.reply, request.id),
        }
        Ok(())
    }

    /// Finds out what is asked, has it carried out, and tells of it.
    fn take(
        &mut self,
        request: &mut Request<'_, '_>,
        kind: u8,
        events: &mut Events,
        reply: &mut u8,
    ) -> Outcome {
        if kind == kind::EXTENDED {
            request.name = request.args.string();
            request.args.check()?;
        }
        let entry = requests::find(kind, request.name).ok_or(Fault::Unsupported)?;
        *reply = entry.reply;
        if entry.has(PATH) {
            request.path = request.args.path();
            // The draft has "" for where the session began.
            if request.path.is_empty() && entry.ask != Ask::SymbolicLink {
                request.path = b".";
            }
        }
        if entry.has(OTHER) {
            request.other = request.args.path();
        }
        let outcome = if self.permits.has(entry) {
            self.carry_out(request, entry)
        } else {
            Err(Fault::Denied)
        };
        if self.level >= entry.level() {
            tell(events, request, entry, outcome);
        }
        outcome
    }

    /// Reads the rest of what a request brings along, and carries it out.
    #[inline(never)]
    fn carry_out(&mut self, request: &mut Request<'_, '_>, entry: &Entry) -> Outcome {
        let args = &mut request.args;
        let by_handle = entry.has(FILE | DIRECTORY);
        let mut handle: &[u8] = &[];
        if by_handle {
            handle = args.handle();
        }
        if entry.has(OFFSET) {
            request.offset = args.u64();
        }
        if entry.has(WORD) {
            request.word = args.u32();
        }
        if entry.has(ATTRIBUTES) {
            request.attributes.read(args);
        }
        args.check()?;
        if by_handle {
            let slot = request.session.handles.find(handle, entry.traits);
            request.slot = slot.ok_or(if entry.has(MISSING) {
                Fault::Missing
            } else {
                Fault::Failure
            })?;
        }
        request.reply.begin(entry.reply, request.id);
        let handler = HANDLERS.get(entry.ask as usize).ok_or(Fault::Unsupported)?;
        handler(self, request, entry.ask)
    }

    fn close(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let handles = &mut request.session.handles;
        handles.close(request.slot, request.vfs);
        Ok(())
    }

    fn sync(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let file = request.lend().ok_or(Fault::Failure)?;
        self.order = Some(Order::Sync { file });
        Err(Fault::Later)
    }

    fn limits(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let handles = request.session.handles.count_max() as u64;
        let data = PACKET_DATA_BYTES_MAX.into();
        request.numbers(&[PACKET_BYTES_MAX.into(), data, data, handles]);
        Ok(())
    }

    /// What the client is does not matter.
    fn vendor(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        for _ in 0..3 {
            request.args.string();
        }
        request.args.u64();
        Ok(request.args.check()?)
    }
}

type Handler = fn(&mut Sftp, &mut Request<'_, '_>, Ask) -> Outcome;

/// Who carries out what, in the order of what can be asked.
static HANDLERS: [Handler; COUNT] = [
    Sftp::open,
    Sftp::close,
    Sftp::read,
    Sftp::write,
    Sftp::stat,
    Sftp::stat,
    Sftp::set,
    Sftp::set,
    Sftp::open,
    Sftp::list,
    Sftp::change_names,
    Sftp::change_names,
    Sftp::change_names,
    Sftp::real_path,
    Sftp::stat,
    Sftp::change_names,
    Sftp::read_link,
    Sftp::change_names,
    Sftp::change_names,
    Sftp::space,
    Sftp::space,
    Sftp::change_names,
    Sftp::sync,
    Sftp::set,
    Sftp::limits,
    Sftp::expand,
    Sftp::copy,
    Sftp::home,
    Sftp::names,
    Sftp::check,
    Sftp::space,
    Sftp::vendor,
];

/// Bytes of a path that a person is told.
const PATH_BYTES_TOLD: usize = 240;

/// Tells a person what was asked, and why it was not done.
#[cold]
#[inline(never)]
fn tell(events: &mut Events, request: &Request<'_, '_>, entry: &Entry, outcome: Outcome) {
    let why = match outcome {
        Ok(()) | Err(Fault::Later) => Text::NOTHING,
        // It is asked once more.
        Err(Fault::NoRoom | Fault::Busy) => return,
        Err(fault) => fault.words(),
    };
    let mut room = [0; 512];
    let mut about = Writer::new(&mut room);
    // What does not fit is cut off, as a line is.
    about.put(request.path.get(..PATH_BYTES_TOLD).unwrap_or(request.path));
    if entry.has(OTHER) {
        about.put(b" ");
        about.put(
            request
                .other
                .get(..PATH_BYTES_TOLD)
                .unwrap_or(request.other),
        );
    }
    events.tell_request(requests::name(entry.ask as usize), about.since(0), why);
}
