//! From a request to its reply: what requests bring along is read here, and each is carried out in its own way.

use super::attributes;
use super::files::What;
use super::requests::{
    self, ATTRIBUTES, Ask, COUNT, DIRECTORY, Entry, FILE, MISSING, OFFSET, OTHER, PATH, WORD,
};
use super::status::{Fault, Outcome};
use super::{Order, Request, Stop};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::text::Text;
use crate::wire::sftp::kind;

/// The ways in which requests are carried out.
#[derive(Clone, Copy)]
enum Way {
    Open,
    Close,
    Read,
    Write,
    Stat,
    Set,
    List,
    Names,
    RealPath,
    ReadLink,
    Space,
    Sync,
    Limits,
    Expand,
    Copy,
    Home,
    Accounts,
    Check,
    Vendor,
}

/// In the order of what can be asked. There are half as many ways, and a number is smaller than an address.
static WAYS: [Way; COUNT] = [
    Way::Open,
    Way::Close,
    Way::Read,
    Way::Write,
    Way::Stat,
    Way::Stat,
    Way::Set,
    Way::Set,
    Way::Open,
    Way::List,
    Way::Names,
    Way::Names,
    Way::Names,
    Way::RealPath,
    Way::Stat,
    Way::Names,
    Way::ReadLink,
    Way::Names,
    Way::Names,
    Way::Space,
    Way::Space,
    Way::Names,
    Way::Sync,
    Way::Set,
    Way::Limits,
    Way::Expand,
    Way::Copy,
    Way::Home,
    Way::Accounts,
    Way::Check,
    Way::Space,
    Way::Vendor,
];

impl Request<'_> {
    /// How each is carried out, in the order of [`Way`].
    const HANDLERS: [fn(&mut Self) -> Outcome; Way::Vendor as usize + 1] = [
        Self::open,
        Self::close,
        Self::read,
        Self::write,
        Self::stat,
        Self::set,
        Self::list,
        Self::change_names,
        Self::real_path,
        Self::read_link,
        Self::statfs,
        Self::sync,
        Self::limits,
        Self::expand,
        Self::copy,
        Self::home,
        Self::names,
        Self::check,
        Self::vendor,
    ];

    /// Answers a request, or not yet.
    pub(super) fn answer(&mut self, kind: u8) -> Result<(), Stop> {
        let start = self.reply.position();
        let fault = match self.take(kind) {
            Err(fault) => fault,
            Ok(()) if self.reply.written().is_some() => {
                let more = match &self.order {
                    Some(Order::Send { len, .. }) => *len,
                    _ => 0,
                };
                self.reply.end(start, more);
                return Ok(());
            }
            // It is only the size of the reply that is wrong: nothing was changed.
            Ok(()) if start == 0 => Fault::FAILURE,
            Ok(()) => Fault::NoRoom,
        };
        self.reply.truncate(start);
        match fault {
            Fault::NoRoom => return Err(Stop::NeedOutput),
            Fault::Busy => return Err(Stop::Busy),
            Fault::Later => {}
            fault => fault.emit(&mut self.reply, self.id),
        }
        Ok(())
    }

    /// Finds out what is asked, has it carried out, and tells of it.
    #[inline(never)]
    fn take(&mut self, kind: u8) -> Outcome {
        let mut name: &[u8] = &[];
        if kind == kind::EXTENDED {
            name = self.args.string();
            self.name_len = name.len();
            self.args.check()?;
        }
        let entry = requests::find(kind, name).ok_or(Fault::UNSUPPORTED)?;
        self.ask = entry.ask;
        if entry.has(PATH) {
            self.path = self.args.path();
            // The draft has "" for where the session began.
            if self.path.is_empty() && entry.ask != Ask::SymbolicLink {
                self.path = b".";
            }
        }
        if entry.has(OTHER) {
            self.other = self.args.path();
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
            let handle = self.args.handle();
            found = self.find(handle, entry.traits);
        }
        let args = &mut self.args;
        if entry.has(OFFSET) {
            self.offset = args.u64();
        }
        if entry.has(WORD) {
            self.word = args.u32();
        }
        if entry.has(ATTRIBUTES) {
            self.told = attributes::read(args, &mut self.change);
        }
        args.check()?;
        if found.is_err() {
            return Err(if entry.has(MISSING) {
                Fault::MISSING
            } else {
                Fault::FAILURE
            });
        }
        self.reply.begin(entry.reply, self.id);
        let way = WAYS.get(entry.ask as usize).ok_or(Fault::UNSUPPORTED)?;
        let handler = Self::HANDLERS.get(*way as usize);
        let handler = handler.ok_or(Fault::UNSUPPORTED)?;
        handler(self)
    }

    fn close(&mut self) -> Outcome {
        let handles = &mut self.session.handles;
        handles.release(self.slot, false, self.vfs);
        Err(Fault::Done)
    }

    fn sync(&mut self) -> Outcome {
        self.order(What::Sync, 0, 0).ok_or(Fault::FAILURE)?;
        Err(Fault::Later)
    }

    fn limits(&mut self) -> Outcome {
        let handles = self.session.handles.count_max() as u64;
        let data = PACKET_DATA_BYTES_MAX.into();
        self.numbers(&[PACKET_BYTES_MAX.into(), data, data, handles]);
        Ok(())
    }

    /// What the client is does not matter.
    fn vendor(&mut self) -> Outcome {
        for _ in 0..3 {
            self.args.string();
        }
        self.args.u64();
        self.args.check()?;
        Err(Fault::Done)
    }

    /// Tells a person what was asked, and why it was not done.
    #[cold]
    fn tell(&mut self, entry: &Entry, outcome: Outcome) {
        let why = match outcome {
            Ok(()) | Err(Fault::Later | Fault::Done) => Text::NOTHING,
            // It is asked once more.
            Err(Fault::NoRoom | Fault::Busy) => return,
            Err(fault) => fault.text(),
        };
        let mut about = heapless::Vec::<u8, ABOUT_BYTES>::new();
        let mut put = |path: &[u8]| {
            for byte in path.iter().take(PATH_BYTES_TOLD) {
                let _ = about.push(*byte);
            }
        };
        if entry.has(PATH) {
            put(self.path);
        }
        if entry.has(OTHER) {
            put(b" ");
            put(self.other);
        }
        self.events
            .tell_request(requests::name(entry.ask as usize), &about, why);
    }
}

/// Bytes of a path that a person is told, and of two with a blank between.
const PATH_BYTES_TOLD: usize = 240;
const ABOUT_BYTES: usize = 2 * PATH_BYTES_TOLD + 1;
