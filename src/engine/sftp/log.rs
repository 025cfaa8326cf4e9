//! The log: a line for each request, one for its status, and the bytes read and written through each handle.
//!
//! Programs parse these lines, so wording and order are those of OpenSSH's sftp-server 9.2p1.

use super::attributes::MODE_MASK;
use super::files::FILE_MODE;
use super::handles::{Handles, LIST, NONE};
use super::lines::log;
use super::names::DIRECTORY_MODE;
use super::requests::{self, Ask, Format, RequestInfo};
use super::{Level, Turn};
use crate::event::Events;
use crate::mem::nth;
use crate::text::{Text, text};
use crate::wire::sftp::attribute;

impl Handles {
    /// The logged path of a slot.
    fn path(&self, slot: u16) -> &[u8] {
        let path = self.paths.get(usize::from(slot));
        // OpenSSH logs "(null)" for an invalid handle.
        path.map_or(b"(null)", |path| nth(path, 0, 0))
    }

    /// Logs that the object in a slot is closed. `forced` is printed first.
    fn log_close(&mut self, slot: u16, forced: &[u8], events: &mut Events) {
        let (mut format, mut counts) = (text!("$closedir \"$\""), [0; 2]);
        if let Some(open) = self.at(slot)
            && open.mode & LIST == 0
        {
            format = text!("$close \"$\" bytes read # written #");
            counts = [open.cookie, open.written];
        }
        log(events, format, &[forced, self.path(slot)], &counts);
    }

    /// Logs, at the end of a session, the handles that the client did not close.
    pub(super) fn log_open(&mut self, events: &mut Events) {
        for slot in 0..self.paths.len() as u16 {
            if self.at(slot).is_some_and(|open| open.known) {
                self.log_close(slot, b"forced ", events);
            }
        }
    }
}

impl Turn<'_> {
    /// Logs a line with this name and number at level VERBOSE and above.
    pub(super) fn log_more(&mut self, format: Text, name: &[u8], number: u32) {
        if self.sftp.level >= Level::Verbose {
            log(self.events, format, &[name], &[number.into()]);
        }
    }

    /// Returns true if the request is permitted. Logs a refusal.
    pub(super) fn permits(&mut self, entry: &RequestInfo) -> bool {
        let refusal = self.sftp.permits.refusal(entry);
        if let Some(format) = refusal {
            self.log_more(format, requests::name(entry.ask as usize), 0);
        }
        refusal.is_none()
    }

    /// Logs a request before it is carried out.
    #[cold]
    #[inline(never)] // −87 bytes: one caller, whose frame stays small.
    pub(super) fn log(&mut self, entry: &RequestInfo) {
        let (ask, slot) = (entry.ask, self.request.slot);
        let handles = &mut self.session.handles;
        if ask == Ask::Close {
            return handles.log_close(slot, b"", self.events);
        }
        let mut path = self.request.path;
        if path.is_empty() {
            path = handles.path(slot);
        }
        let mut told = self.request.attributes_told;
        let [flags, mode, mtime, ..] = &mut self.request.numbers;
        let (mut name, format) = (requests::name(ask as usize), entry.format());
        if format == Format::Size.text() {
            if slot == NONE && ask == Ask::OpenSetStat {
                return;
            }
            name = b"set";
            self.sftp.accounts.load(self.vfs);
            let ahead_secs = self.sftp.accounts.offset_at(*mtime as i64);
            *mtime = mtime.wrapping_add_signed(ahead_secs);
        } else {
            *flags = self.request.uint32.into();
            if told & attribute::MODE == 0 {
                *mode = u64::from(if ask == Ask::OpenHandle {
                    FILE_MODE
                } else {
                    DIRECTORY_MODE
                });
            } else if ask == Ask::MakeDirectory {
                *mode &= u64::from(MODE_MASK);
            }
            // Requests other than SETSTAT are logged in one line, whatever attributes they set.
            told = attribute::SIZE;
        }
        let strings = [name, path, self.request.other];
        for (place, attribute) in SET.iter().enumerate() {
            if told & attribute > 0 {
                let format = format.plus(place as u8);
                log(self.events, format, &strings, &self.request.numbers);
            }
        }
    }
}

/// The attributes that can be set, in the order of the formats from `Format::Size` on.
static SET: [u32; 4] = [
    attribute::SIZE,
    attribute::MODE,
    attribute::TIMES,
    attribute::OWNER,
];
