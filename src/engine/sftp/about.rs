//! What is told of file systems, accounts and the server itself: VERSION, statvfs@openssh.com and fstatvfs@openssh.com,
//! space-available, limits@openssh.com, users-groups-by-id@openssh.com, vendor-id.

use super::requests::ENTRIES;
use super::{Answer, Outcome, Request, Sftp};
use crate::config::{PACKET_BYTES_MAX, PACKET_DATA_BYTES_MAX};
use crate::vfs::Space;
use crate::wire::sftp::{VERSION, kind};
use crate::wire::{Reader, Writer};

const READ_ONLY: u64 = 1;
const NO_SET_USER: u64 = 2;

impl Sftp {
    /// Writes VERSION, with the extensions that may be asked for.
    pub(super) fn greet(&self, reply: &mut Writer<'_>) {
        let start = reply.begin(kind::VERSION, VERSION);
        for (place, entry) in ENTRIES.iter().enumerate() {
            if entry.kind != kind::EXTENDED || !self.permits.has(place) {
                continue;
            }
            let name = reply.begin_string();
            reply.put(entry.name.as_bytes());
            reply.put(entry.suffix().as_bytes());
            reply.end(name, 0);
            match entry.version() {
                [] => vendor(reply),
                version => reply.string(version),
            }
        }
        reply.end(start, 0);
    }
}

/// The data of vendor-id: who made what, and which version and build of it.
fn vendor(reply: &mut Writer<'_>) {
    const NAME: &[u8] = b"stowaway";
    const RELEASE: &[u8] = env!("CARGO_PKG_VERSION").as_bytes();
    let start = reply.begin_string();
    reply.string(NAME);
    reply.string(NAME);
    reply.string(RELEASE);
    reply.u64(0);
    reply.end(start, 0);
}

impl Request<'_, '_, '_> {
    fn words(&mut self, words: &[u64]) -> Outcome {
        let start = self.reply.begin(kind::EXTENDED_REPLY, self.id);
        words.iter().for_each(|word| self.reply.u64(*word));
        self.reply.end(start, 0);
        Ok(Answer::Written)
    }

    #[inline(never)]
    fn space(&mut self, space: &Space) -> Outcome {
        let unit = u64::from(space.unit_bytes).max(1);
        let units = |bytes: u64| bytes.checked_div(unit).unwrap_or(0);
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        self.words(&[
            unit,
            unit,
            units(space.total_bytes),
            units(space.free_bytes),
            units(space.available_bytes),
            space.total_files,
            space.free_files,
            space.free_files,
            space.id,
            flag(space.read_only, READ_ONLY) | flag(space.ignores_set_user, NO_SET_USER),
            space.name_bytes_max.into(),
        ])
    }
}

pub(super) fn space_of_path(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    request.args.check()?;
    let node = request.cx.vfs.resolve(path, true)?;
    let space = request.cx.vfs.space(node)?;
    request.space(&space)
}

pub(super) fn space_of_open(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let handle = request.args.handle();
    request.args.check()?;
    let slot = request.session.handles.find(handle, false)?;
    let (pin, ..) = request.session.handles.get(slot)?;
    let space = request.cx.vfs.space(pin.node())?;
    request.space(&space)
}

/// space-available: draft-ietf-secsh-filexfer-13 section 9.3.
pub(super) fn space_available(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    request.args.check()?;
    let node = request.cx.vfs.resolve(path, true)?;
    let space = request.cx.vfs.space(node)?;
    // What is kept for others is no room for this user.
    let kept = space.free_bytes.saturating_sub(space.available_bytes);
    let start = request.reply.begin(kind::EXTENDED_REPLY, request.id);
    request.reply.u64(space.total_bytes);
    request.reply.u64(space.free_bytes);
    request.reply.u64(space.total_bytes.saturating_sub(kept));
    request.reply.u64(space.available_bytes);
    request.reply.u32(space.unit_bytes);
    request.reply.end(start, 0);
    Ok(Answer::Written)
}

pub(super) fn limits(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let handles = request.session.handles.count_max() as u64;
    let data = PACKET_DATA_BYTES_MAX.into();
    request.words(&[PACKET_BYTES_MAX.into(), data, data, handles])
}

/// users-groups-by-id@openssh.com: names for numbers, "" for those that have none.
pub(super) fn accounts(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let lists = [request.args.string(), request.args.string()];
    if lists.iter().any(|list| list.len() % 4 != 0) {
        request.args.refuse();
    }
    request.args.check()?;
    sftp.accounts.load(request.cx.vfs);
    let accounts = &sftp.accounts;
    let reply = &mut *request.reply;
    let start = reply.begin(kind::EXTENDED_REPLY, request.id);
    for (list, groups) in lists.into_iter().zip([false, true]) {
        let names = reply.begin_string();
        let mut numbers = Reader::new(list);
        while !numbers.rest().is_empty() {
            let number = numbers.u32();
            let name = if groups {
                accounts.group(number)
            } else {
                accounts.user(number)
            };
            reply.string(name.unwrap_or_default());
        }
        reply.end(names, 0);
    }
    reply.end(start, 0);
    Ok(Answer::Written)
}

/// vendor-id: what the client is does not matter.
pub(super) fn vendor_id(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    for _ in 0..3 {
        request.args.string();
    }
    request.args.u64();
    request.args.check()?;
    Ok(Answer::Ok)
}
