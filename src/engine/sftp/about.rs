//! What is told of file systems, accounts and the server itself.

use super::requests::{Ask, extensions, name};
use super::status::{Fault, Outcome};
use super::{Request, Sftp};
use crate::wire::sftp::{VERSION, kind};
use crate::wire::{Reader, Writer};

/// Writes VERSION, with the extensions that may be asked for.
pub(super) fn greet(sftp: &Sftp, reply: &mut Writer<'_>) {
    let start = reply.begin(kind::VERSION, VERSION);
    for entry in extensions(sftp.permits) {
        let whole = reply.begin_string();
        reply.put(name(entry.ask as usize));
        reply.put(entry.suffix().as_bytes());
        reply.end(whole, 0);
        let data = reply.begin_string();
        if entry.ask == Ask::Vendor {
            // Who made what, which version of it, and which build.
            reply.string(b"stowaway");
            reply.string(b"stowaway");
            reply.string(env!("CARGO_PKG_VERSION").as_bytes());
            reply.u64(0);
        } else {
            reply.put(entry.version());
        }
        reply.end(data, 0);
    }
    reply.end(start, 0);
}

impl Request<'_, '_> {
    /// Answers with these numbers.
    #[inline(never)]
    pub(super) fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.reply.u64(*number);
        }
    }
}

impl Sftp {
    /// Answers how full a file system is: as OpenSSH does, or, for space-available, as draft-ietf-secsh-filexfer-13 has it.
    #[inline(never)]
    pub(super) fn space(&mut self, request: &mut Request<'_, '_>, ask: Ask) -> Outcome {
        let node = if ask == Ask::OpenSpace {
            let pin = request.session.handles.pin(request.slot);
            pin.ok_or(Fault::Failure)?.node()
        } else {
            request.vfs.resolve(request.path, true)?
        };
        let space = &request.vfs.space(node)?;
        let unit = u64::from(space.unit_bytes).max(1);
        let (total, free, mine) = (space.total_bytes, space.free_bytes, space.available_bytes);
        if ask == Ask::SpaceAvailable {
            // What is kept for others is no room for this user.
            let kept = free.saturating_sub(mine);
            request.numbers(&[total, free, total.saturating_sub(kept), mine]);
            request.reply.u32(space.unit_bytes);
            return Ok(());
        }
        let units = |bytes: u64| bytes.checked_div(unit).unwrap_or(0);
        request.numbers(&[
            unit,
            unit,
            units(total),
            units(free),
            units(mine),
            space.total_files,
            space.free_files,
            space.free_files,
            space.id,
            // Read-only, set-user-id bits without meaning.
            u64::from(space.read_only) | u64::from(space.ignores_set_user) << 1,
            space.name_bytes_max.into(),
        ]);
        Ok(())
    }

    /// Answers with names for numbers, "" for those that have none: users, then groups.
    #[inline(never)]
    pub(super) fn names(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        self.accounts.load(request.vfs);
        for groups in 0..2 {
            let mut numbers = Reader::new(request.args.string());
            let names = request.reply.begin_string();
            while !numbers.rest().is_empty() {
                let number = numbers.u32();
                let name = if groups > 0 {
                    self.accounts.group(number)
                } else {
                    self.accounts.user(number)
                };
                request.reply.string(name.unwrap_or_default());
            }
            numbers.check()?;
            request.reply.end(names, 0);
        }
        Ok(request.args.check()?)
    }
}
