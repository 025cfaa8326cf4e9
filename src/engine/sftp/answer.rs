//! From a request to its reply: what requests bring along is read here, and each is carried out in its own way.

use super::attributes::{MODE_MASK, told};
use super::paths::place;
use super::requests::{self, ATTRIBUTES, Ask, DIRECTORY, Entry, FILE, OFFSET, OTHER, PATH, WORD};
use super::{Fault, Order, Outcome, Request, Sftp, Stop, status};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::vfs::{Change, FsError, Make};
use crate::wire::sftp::{Attributes, Status, kind};

/// The mode of a directory for which none is asked.
const DIRECTORY_MODE: u32 = 0o777;

impl Sftp {
    /// Answers a request, or not yet.
    #[inline(never)]
    pub(super) fn answer(&mut self, request: &mut Request<'_, '_, '_>) -> Result<(), Stop> {
        let start = request.reply.position();
        let fault = match self.take(request) {
            Ok(kind::STATUS) => Fault::Status(Status::Ok),
            Ok(_) if request.reply.written().is_some() => {
                let more = match &self.order {
                    Some(Order::Send { len, .. }) => *len,
                    _ => 0,
                };
                request.reply.end(start, more);
                return Ok(());
            }
            // It is only the size of the reply that is wrong: nothing was changed.
            Ok(_) if start == 0 => Fault::Status(Status::Failure),
            Ok(_) => Fault::NoRoom,
            Err(fault) => fault,
        };
        request.reply.truncate(start);
        match fault {
            Fault::NoRoom => return Err(Stop::NeedOutput),
            Fault::Busy => return Err(Stop::Busy),
            Fault::Later => {}
            Fault::Files(_) | Fault::Status(_) => status::emit(request.reply, request.id, fault),
        }
        Ok(())
    }

    /// Finds out what is asked, has it carried out, and tells of it. The type of the reply, which was begun.
    fn take(&mut self, request: &mut Request<'_, '_, '_>) -> Result<u8, Fault> {
        if request.kind == kind::EXTENDED {
            request.name = request.args.string();
            request.args.check()?;
        }
        let found = requests::find(request.kind, request.name);
        let (place, entry) = found.ok_or(Status::Unsupported)?;
        if entry.has(PATH) {
            request.path = request.args.path();
        }
        if entry.has(OTHER) {
            request.other = request.args.path();
        }
        let outcome = if self.permits.has(place) {
            self.carry_out(request, entry)
        } else {
            Err(Status::PermissionDenied.into())
        };
        if self.level >= entry.level() {
            tell(request, place, outcome);
        }
        outcome.map(|()| entry.reply)
    }

    /// Reads the rest of what a request brings along, and carries it out.
    #[inline(never)]
    fn carry_out(&mut self, request: &mut Request<'_, '_, '_>, entry: Entry) -> Outcome {
        let args = &mut request.args;
        let mut handle: &[u8] = &[];
        if entry.has(FILE | DIRECTORY) {
            handle = args.handle();
        }
        if entry.has(OFFSET) {
            request.offset = args.u64();
        }
        if entry.has(WORD) {
            request.word = args.u32();
        }
        if entry.has(ATTRIBUTES) {
            request.attributes = Attributes::parse(args);
        }
        args.check()?;
        // The draft has "" for where the session began.
        if entry.has(PATH) && request.path.is_empty() && entry.ask != Ask::SymbolicLink {
            request.path = b".";
        }
        if entry.has(FILE | DIRECTORY) {
            let handles = &mut request.session.handles;
            (request.slot, request.mode) = handles.find(handle, entry.traits)?;
            request.node = Some(handles.get(request.slot)?.0.node());
        }
        request.reply.begin(entry.reply, request.id);
        let vfs = &mut *request.cx.vfs;
        match entry.ask {
            Ask::Open | Ask::OpenDirectory => return self.open(request, entry.ask),
            Ask::Close => request.session.handles.close(request.slot, vfs),
            Ask::Read => return self.read(request),
            Ask::Write => return self.write(request),
            Ask::Sync => {
                let file = request.lend()?;
                self.order = Some(Order::Sync { file });
                return Err(Fault::Later);
            }
            Ask::Stat | Ask::LinkStat => {
                let attr = vfs.attr_at(request.path, entry.ask == Ask::Stat)?;
                told(&attr).emit(request.reply);
            }
            Ask::OpenStat => {
                let node = request.node()?;
                told(&request.cx.vfs.attr(node)?).emit(request.reply);
            }
            Ask::SetStat | Ask::LinkSetStat | Ask::OpenSetStat => return request.set(entry.ask),
            Ask::ReadDirectory => return self.list(request),
            Ask::Remove | Ask::RemoveDirectory => {
                let directory = entry.ask == Ask::RemoveDirectory;
                let (dir, name) = place(vfs, request.path, directory)?;
                vfs.remove(dir, name, directory)?;
            }
            Ask::MakeDirectory => {
                let (dir, name) = place(vfs, request.path, true)?;
                let mode = request.attributes.mode.unwrap_or(DIRECTORY_MODE) & MODE_MASK;
                let change = Change {
                    mode: Some(mode),
                    ..Change::default()
                };
                vfs.create(dir, name, Make::Directory, &change)?;
            }
            // The former takes no name away.
            Ask::Rename | Ask::PosixRename => {
                let (from, name) = place(vfs, request.path, true)?;
                let (to, new_name) = place(vfs, request.other, true)?;
                vfs.rename(from, name, to, new_name, entry.ask == Ask::PosixRename)?;
            }
            // First what it leads to, then its name: the draft has it the other way round, OpenSSH and all clients this way.
            Ask::SymbolicLink => {
                if request.path.is_empty() {
                    return Err(FsError::NoEntry.into());
                }
                let (dir, name) = place(vfs, request.other, false)?;
                vfs.create(dir, name, Make::Link(request.path), &Change::default())?;
            }
            Ask::HardLink => {
                let node = vfs.resolve(request.path, false)?;
                let (dir, name) = place(vfs, request.other, false)?;
                vfs.link(node, dir, name)?;
            }
            Ask::RealPath => return request.true_path(request.path),
            Ask::ReadLink => return request.read_link(),
            Ask::ExpandPath => return self.expand(request),
            Ask::Home => return self.home(request),
            Ask::Space | Ask::OpenSpace | Ask::SpaceAvailable => {
                let node = request.node()?;
                let space = request.cx.vfs.space(node)?;
                request.space(&space, entry.ask);
            }
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
fn tell(request: &mut Request<'_, '_, '_>, place: usize, outcome: Outcome) {
    let why = match outcome {
        Ok(()) | Err(Fault::Later) => "",
        // It is asked once more.
        Err(Fault::NoRoom | Fault::Busy) => return,
        Err(fault) => status::words(fault).1,
    };
    // What does not fit is cut off, as a line is.
    let mut about = heapless::Vec::<u8, 480>::new();
    for part in [request.path, b" ", request.other] {
        let room = about.capacity().saturating_sub(about.len());
        let part = part.get(..room).unwrap_or(part);
        let _ = about.extend_from_slice(part);
    }
    let about = about.trim_ascii_end();
    request.cx.events.tell(requests::name(place), about, why);
}
