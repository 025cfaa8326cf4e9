//! From a request to its reply: what requests bring along is read here, and each is carried out in its own way.

use super::requests::{
    self, ATTRIBUTES, Ask, DIRECTORY, Entry, FILE, MISSING, OFFSET, OTHER, PATH, WORD,
};
use super::status::{Fault, Outcome};
use super::{Order, Request, Sftp, Stop};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::event::Events;
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
    fn carry_out(&mut self, request: &mut Request<'_, '_>, entry: Entry) -> Outcome {
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
        match entry.ask {
            Ask::Open | Ask::OpenDirectory => return self.open(request, entry.ask),
            Ask::Close => {
                let handles = &mut request.session.handles;
                handles.close(request.slot, request.vfs);
            }
            Ask::Read => return self.read(request),
            Ask::Write => return self.write(request),
            Ask::Sync => {
                let file = request.lend()?;
                self.order = Some(Order::Sync { file });
                return Err(Fault::Later);
            }
            Ask::Stat | Ask::LinkStat | Ask::OpenStat => return request.stat(entry.ask),
            Ask::SetStat | Ask::LinkSetStat | Ask::OpenSetStat => return request.set(entry.ask),
            Ask::ReadDirectory => return self.list(request),
            Ask::Remove
            | Ask::RemoveDirectory
            | Ask::MakeDirectory
            | Ask::Rename
            | Ask::PosixRename
            | Ask::SymbolicLink
            | Ask::HardLink => return request.change_names(entry.ask),
            Ask::RealPath => return request.true_path(request.path),
            Ask::ReadLink => return request.read_link(),
            Ask::ExpandPath => return self.expand(request),
            Ask::Home => return self.home(request),
            Ask::Space | Ask::OpenSpace | Ask::SpaceAvailable => return request.space(entry.ask),
            Ask::Limits => {
                let handles = request.session.handles.count_max() as u64;
                let data = PACKET_DATA_BYTES_MAX.into();
                request.numbers(&[PACKET_BYTES_MAX.into(), data, data, handles]);
            }
            Ask::Accounts => return self.names(request),
            Ask::Copy => return request.copy(),
            Ask::Check => return request.check(),
            Ask::Vendor => {}
        }
        Ok(())
    }
}

/// Tells a person what was asked, and why it was not done.
#[cold]
#[inline(never)]
fn tell(events: &mut Events, request: &Request<'_, '_>, entry: Entry, outcome: Outcome) {
    let why = match outcome {
        Ok(()) | Err(Fault::Later) => "",
        // It is asked once more.
        Err(Fault::NoRoom | Fault::Busy) => return,
        Err(fault) => fault.words().1,
    };
    let mut about = heapless::Vec::<u8, 512>::new();
    for path in [request.path, request.other] {
        // What does not fit is cut off, as a line is.
        let path = path.get(..250).unwrap_or(path);
        let _ = about.extend_from_slice(path);
        let _ = about.push(b' ');
    }
    let name = requests::name(entry.ask as usize);
    events.tell(name, about.trim_ascii_end(), why);
}
