//! What is told of file systems, accounts and the server itself.

use super::requests::{Ask, extensions, name};
use super::status::Outcome;
use super::{Request, Sftp};
use crate::wire::sftp::{VERSION, kind};
use crate::wire::{Reader, Writer};

const READ_ONLY: u64 = 1;
const NO_SET_USER: u64 = 2;

/// Who made what, which version of it, and which build.
const VENDOR: &str = concat!(
    "\0\0\0\x08stowaway\0\0\0\x08stowaway\0\0\0\x05",
    env!("CARGO_PKG_VERSION"),
    "\0\0\0\0\0\0\0\0"
);

const _: () = assert!(env!("CARGO_PKG_VERSION").len() == 5);

/// Writes VERSION, with the extensions that may be asked for.
pub(super) fn greet(sftp: &Sftp, reply: &mut Writer<'_>) {
    let start = reply.begin(kind::VERSION, VERSION);
    for entry in extensions(sftp.permits) {
        let whole = reply.begin_string();
        reply.put(name(entry.ask as usize).as_bytes());
        reply.put(entry.suffix().as_bytes());
        reply.end(whole, 0);
        let data = if entry.ask == Ask::Vendor {
            VENDOR.as_bytes()
        } else {
            entry.version()
        };
        reply.string(data);
    }
    reply.end(start, 0);
}

impl Request<'_, '_> {
    /// Answers with these numbers.
    #[inline(never)]
    pub(super) fn numbers(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.reply.u64(*number));
    }

    /// Answers how full a file system is: as OpenSSH does, or, for space-available, as draft-ietf-secsh-filexfer-13 has it.
    pub(super) fn space(&mut self, ask: Ask) -> Outcome {
        let node = if ask == Ask::OpenSpace {
            self.session.handles.pin(self.slot)?.node()
        } else {
            self.vfs.resolve(self.path, true)?
        };
        let space = self.vfs.space(node)?;
        let unit = u64::from(space.unit_bytes).max(1);
        let (total, free, mine) = (space.total_bytes, space.free_bytes, space.available_bytes);
        if ask == Ask::SpaceAvailable {
            // What is kept for others is no room for this user.
            let kept = free.saturating_sub(mine);
            self.numbers(&[total, free, total.saturating_sub(kept), mine]);
            self.reply.u32(space.unit_bytes);
            return Ok(());
        }
        let units = |bytes: u64| bytes.checked_div(unit).unwrap_or(0);
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        self.numbers(&[
            unit,
            unit,
            units(total),
            units(free),
            units(mine),
            space.total_files,
            space.free_files,
            space.free_files,
            space.id,
            flag(space.read_only, READ_ONLY) | flag(space.ignores_set_user, NO_SET_USER),
            space.name_bytes_max.into(),
        ]);
        Ok(())
    }
}

impl Sftp {
    /// Answers with names for numbers, "" for those that have none: users, then groups.
    pub(super) fn names(&mut self, request: &mut Request<'_, '_>) -> Outcome {
        self.accounts.load(request.vfs);
        let reply = &mut *request.reply;
        for groups in [false, true] {
            let mut numbers = Reader::new(request.args.string());
            let names = reply.begin_string();
            while !numbers.rest().is_empty() {
                let number = numbers.u32();
                let name = if groups {
                    self.accounts.group(number)
                } else {
                    self.accounts.user(number)
                };
                reply.string(name.unwrap_or_default());
            }
            numbers.check()?;
            reply.end(names, 0);
        }
        Ok(request.args.check()?)
    }
}
