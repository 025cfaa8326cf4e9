//! VERSION and the extensions about file systems, accounts and the server itself.

use super::requests::{Operation, extensions};
use super::status::Outcome;
use super::{Exchange, Level};
use crate::event::Line;
use crate::stats;
use crate::text::text;
use crate::wire::Reader;
use crate::wire::sftp::{VERSION, kind};

/// The data of vendor-id: vendor, product, version, build.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const VENDOR: [u8; {
    let mut len = 8;
    let mut place = 0;
    while place < MADE.len() {
        len += 4 + MADE[place].len();
        place += 1;
    }
    len
}] = {
    let mut data = [0; _];
    let (mut len, mut place) = (0, 0);
    while place < MADE.len() {
        let part = MADE[place].as_bytes();
        data[len + 3] = part.len() as u8;
        len += 4;
        let mut at = 0;
        while at < part.len() {
            data[len] = part[at];
            at += 1;
            len += 1;
        }
        place += 1;
    }
    data
};
const MADE: [&str; 3] = ["stowaway", "stowaway", env!("CARGO_PKG_VERSION")];

impl Exchange<'_> {
    /// Writes VERSION with the extensions that are permitted.
    pub(super) fn greet(&mut self) {
        let version = self.request.id;
        let mut line = Line::start(text!("received client version "));
        self.report(Level::Verbose, line.number(version));
        let start = self.reply.start_packet(kind::VERSION, VERSION);
        for entry in extensions() {
            if !self.permits(entry) {
                continue;
            }
            let reply = &mut self.reply;
            let whole = reply.start_string();
            reply.put(entry.name());
            reply.put(entry.suffix().as_bytes());
            reply.finish(whole);
            let version = entry.version();
            reply.string(match entry.operation {
                Operation::Vendor => &VENDOR,
                _ => version.as_slice(),
            });
        }
        self.reply.finish(start);
        let init = stats::Operation::sftp(kind::INIT);
        self.stats.called(init, stats::Outcome::Done);
    }

    /// Writes these 64-bit numbers into the reply.
    pub(super) fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.reply.u64(*number);
        }
    }

    /// Answers statvfs@openssh.com and fstatvfs@openssh.com, and space-available as in draft-ietf-secsh-filexfer-13.
    pub(super) fn statfs(&mut self) -> Outcome {
        if self.request.operation != Operation::OpenSpace {
            self.resolve(self.request.path, true)?;
        }
        let stat = &self.vfs.statfs(self.request.node)?;
        let unit = u64::from(stat.unit_bytes).max(1);
        let (total, free, mine) = (stat.total_bytes, stat.free_bytes, stat.available_bytes);
        if self.request.operation == Operation::SpaceAvailable {
            // Free bytes that are reserved for root, so this user cannot use them.
            let kept = free.saturating_sub(mine);
            self.numbers(&[total, free, total.saturating_sub(kept), mine]);
            self.reply.u32(stat.unit_bytes);
            return Ok(());
        }
        let units = |bytes: u64| bytes.checked_div(unit).unwrap_or(0);
        self.numbers(&[
            unit,
            unit,
            units(total),
            units(free),
            units(mine),
            stat.total_files,
            stat.free_files,
            stat.free_files,
            stat.id,
            // f_flag: ST_RDONLY and ST_NOSUID.
            u64::from(stat.read_only) | u64::from(stat.ignores_set_user) << 1,
            stat.name_bytes_max.into(),
        ]);
        Ok(())
    }

    /// Answers users-groups-by-id@openssh.com: a name for each user ID, then for each group ID; "" if it has none.
    pub(super) fn names(&mut self) -> Outcome {
        self.sftp.accounts.load(self.vfs);
        for groups in 0..2 {
            let mut numbers = Reader::new(self.request.args.string());
            let names = self.reply.start_string();
            while !numbers.rest().is_empty() {
                let number = numbers.u32();
                let name = if groups > 0 {
                    self.sftp.accounts.group(number)
                } else {
                    self.sftp.accounts.user(number)
                };
                self.reply.string(name.unwrap_or_default());
            }
            numbers.check()?;
            self.reply.finish(names);
        }
        self.request.args.check()?;
        Ok(())
    }
}
