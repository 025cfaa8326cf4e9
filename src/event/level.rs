//! Levels of events, and the marks by which a log finds the parts of a line.

use crate::config::{HAS_LOG, HAS_SERVE};
use crate::text::Text;

/// The level of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Level {
    /// A failure of this server or host.
    Error,
    /// A client was refused or evicted, or the server works with less than was asked for.
    Warn,
    /// The life of the server, and mounts.
    #[default]
    Info,
    /// Usual requests of clients.
    Debug,
}

impl Level {
    /// The names, in the order of the values.
    pub const NAMES: &'static [u8] = b"error warn info debug";
    /// All levels.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];
}

/// The text of an event, with its level. A text alone is an event of level [`Level::Info`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The text.
    pub text: Text,
    /// The level.
    pub level: Level,
}

impl From<Text> for Event {
    fn from(text: Text) -> Self {
        text.at(Level::Info)
    }
}

impl Text {
    /// The event of this level.
    pub const fn at(self, level: Level) -> Event {
        Event { text: self, level }
    }

    /// The event of level [`Level::Error`].
    pub const fn error(self) -> Event {
        self.at(Level::Error)
    }

    /// The event of level [`Level::Warn`].
    pub const fn warn(self) -> Event {
        self.at(Level::Warn)
    }

    /// The event of level [`Level::Debug`].
    pub const fn debug(self) -> Event {
        self.at(Level::Debug)
    }
}

/// The parts of a line, for the log. The line starts with the program's name, of [`PREFIX_BYTES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The level of the event.
    pub level: Level,
    /// Length of the client's address (bytes), which follows the program's name; 0: the event is about no client.
    pub peer_len: u8,
    /// Place of the event's subject in the line.
    pub about_start: u16,
    /// Length of the subject (bytes); 0: there is none.
    pub about_len: u16,
}

/// Length (bytes) of the prefix "stowaway: ".
pub const PREFIX_BYTES: usize = 10;

impl Marks {
    /// The marks of a failure, without parts.
    pub const ERROR: Self = Self {
        level: Level::Error,
        peer_len: 0,
        about_start: 0,
        about_len: 0,
    };

    /// Sets the level. Executables without a log need none.
    pub(super) const fn set_level(&mut self, level: Level) {
        if HAS_LOG {
            self.level = level;
        }
    }

    /// Marks the client's address, which ends at the index `end`.
    pub(super) const fn end_peer(&mut self, end: u32) {
        if HAS_SERVE {
            self.peer_len = (end as u8).saturating_sub(PREFIX_BYTES as u8);
        }
    }

    /// Marks the subject, from `start` to `end`.
    pub(super) const fn set_about(&mut self, start: u32, end: u32) {
        if HAS_SERVE {
            self.about_start = start as u16;
            self.about_len = end.saturating_sub(start) as u16;
        }
    }
}
