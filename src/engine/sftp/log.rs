//! The log: a line for each request, one for its status, and the bytes read and written through each handle.
//!
//! Programs parse these lines, so wording and order are those of OpenSSH's sftp-server 9.2p1.

use super::attributes::MODE_MASK;
use super::files::FILE_MODE;
use super::handles::{Handles, LIST, NONE};
use super::names::DIRECTORY_MODE;
use super::requests::{Entry, Format, Refusal};
use super::{Exchange, Level};
use crate::event::{Events, Line};
use crate::mem::nth;
use crate::text::{Text, text};
use crate::wire::calendar::calendar;
use crate::wire::sftp::{attribute, open};

impl Handles {
    /// The logged path of a slot.
    fn path(&self, slot: u16) -> &[u8] {
        let path = self.paths.get(usize::from(slot));
        // OpenSSH logs "(null)" for an invalid handle.
        path.map_or(b"(null)", |path| nth(path, 0, 0))
    }

    /// Logs that the object in a slot is closed. `forced` is printed first.
    fn log_close(&mut self, slot: u16, forced: Text, events: &mut Events) {
        let mut line = Line::start(forced);
        let counts = match self.at(slot) {
            Some(open) if open.mode & LIST == 0 => Some((open.cookie, open.written)),
            _ => None,
        };
        let what = match counts {
            Some(_) => text!("close "),
            None => text!("closedir "),
        };
        line.say_quoted(what, self.path(slot));
        if let Some((read, written)) = counts {
            line.say_number(text!(" bytes read "), read);
            line.say_number(text!(" written "), written);
        }
        events.report_line(&mut line);
    }

    /// Logs, at the end of a session, the handles that the client did not close.
    pub(super) fn log_open(&mut self, events: &mut Events) {
        for slot in 0..self.paths.len() as u16 {
            if self.at(slot).is_some_and(|open| open.known) {
                self.log_close(slot, text!("forced "), events);
            }
        }
    }
}

impl Exchange<'_> {
    /// Logs a line at this level and above.
    pub(super) fn report(&mut self, level: Level, line: &mut Line) {
        if self.sftp.level >= level {
            self.events.report_line(line);
        }
    }

    /// Logs the refusal of the request with this name.
    pub(super) fn log_refusal(&mut self, refusal: Refusal, name: &[u8]) {
        let mut line = Line::start(refusal.text());
        line.raw(name).say(text!(" request"));
        if refusal == Refusal::ReadOnly {
            line.say(text!(" in read-only mode"));
        }
        self.report(Level::Verbose, &mut line);
    }

    /// Returns true if the request is permitted. Logs a refusal.
    pub(super) fn permits(&mut self, entry: &Entry) -> bool {
        let refusal = self.sftp.permits.refusal(entry);
        if let Some(refusal) = refusal {
            self.log_refusal(refusal, entry.name());
        }
        refusal.is_none()
    }

    /// The path of the request, or the one by which its handle was opened.
    fn logged_path(&self) -> &[u8] {
        match self.request.path {
            [] => self.session.handles.path(self.request.slot),
            path => path,
        }
    }

    /// Logs a request before it is carried out. The caller has compared the level.
    pub(super) fn log(&mut self, entry: &Entry) {
        match entry.format {
            Format::ByHandler => {}
            Format::Close => {
                let handles = &mut self.session.handles;
                handles.log_close(self.request.slot, Text::NOTHING, self.events);
            }
            Format::Set => self.log_set(),
            _ => self.log_request(entry),
        }
    }

    /// Logs the name of a request, its path, and what its format lists after it.
    fn log_request(&mut self, entry: &Entry) {
        let request = &self.request;
        let mut line = Line::start(Text::NOTHING);
        line.raw(entry.name());
        if entry.format != Format::Bare {
            line.say_quoted(entry.format.text(), self.logged_path());
        }
        let mut mode = None;
        match entry.format {
            Format::Two => _ = line.say_quoted(text!(" new "), request.other),
            Format::Open => {
                put_flags(line.say(text!(" flags ")), request.uint32);
                mode = request.attributes.mode.or(Some(FILE_MODE));
            }
            Format::MakeDirectory => {
                let requested = request.attributes.mode.unwrap_or(DIRECTORY_MODE);
                mode = Some(requested & MODE_MASK);
            }
            _ => {}
        }
        if let Some(mode) = mode {
            line.say(text!(" mode 0")).digits(mode.into(), 8, 1);
        }
        self.events.report_line(&mut line);
    }

    /// Logs the attributes that a SETSTAT sets, in OpenSSH's order; for an invalid handle none.
    fn log_set(&mut self) {
        if !self.request.path.is_empty() || self.request.slot != NONE {
            self.log_attribute(attribute::SIZE);
            self.log_attribute(attribute::MODE);
            self.log_attribute(attribute::TIMES);
            self.log_attribute(attribute::OWNER);
        }
    }

    /// Logs the attribute with this flag, if the request sets it.
    fn log_attribute(&mut self, flag: u32) {
        let mut line = Line::start(Text::NOTHING);
        line.say_quoted(text!("set "), self.logged_path());
        let set = &self.request.attributes;
        match (flag, set.size, set.mode, set.times, set.owner) {
            (attribute::SIZE, Some(size), ..) => _ = line.say_number(text!(" size "), size),
            (attribute::MODE, _, Some(mode), ..) => {
                line.say(text!(" mode ")).digits(mode.into(), 8, 4);
            }
            (attribute::TIMES, _, _, Some((_, modified)), _) => {
                let (accounts, secs) = (&mut self.sftp.accounts, i64::from(modified));
                accounts.load(self.vfs);
                let local = secs + accounts.offset_at(secs);
                put_time(line.say(text!(" modtime ")), local);
            }
            (attribute::OWNER, .., Some((user, group))) => {
                line.say_number(text!(" owner "), user.into());
                line.say_number(text!(" group "), group.into());
            }
            _ => return,
        }
        self.events.report_line(&mut line);
    }
}

/// OPEN's flags and their names.
static FLAGS: [(u8, Text); 6] = [
    (open::READ as u8, text!("READ")),
    (open::WRITE as u8, text!("WRITE")),
    (open::APPEND as u8, text!("APPEND")),
    (open::CREATE as u8, text!("CREATE")),
    (open::TRUNCATE as u8, text!("TRUNCATE")),
    (open::EXCLUSIVE as u8, text!("EXCL")),
];

/// Writes the names of OPEN's flags, separated by commas.
fn put_flags(line: &mut Line, flags: u32) {
    let mut comma = Text::NOTHING;
    for (flag, name) in &FLAGS {
        if flags & u32::from(*flag) > 0 {
            line.say(comma).say(*name);
            comma = text!(",");
        }
    }
}

/// Writes seconds since 1970 as `20261123-04:25:00`.
fn put_time(line: &mut Line, secs: i64) {
    if let Some([year, month, day, second]) = calendar(secs) {
        line.number(year * 10_000 + month * 100 + day);
        let mut unit = 3600;
        for before in *b"-::" {
            let number = second / unit % 60;
            line.byte(before).digits(number.into(), 10, 2);
            unit /= 60;
        }
    }
}
