//! The options of a server's log: `--log-level` and `--log-format`.

use super::Role;
use crate::config::{HAS_SERVE, HAS_SFTP};
use crate::console::log::{self, Channel, Form, Settings};
use crate::event::Level;
use crate::mem::index_of;
use crate::mem::{self, Ends as _};
use crate::sys;

/// The parsed options.
#[derive(Clone, Copy, Default)]
pub(super) struct LogOptions {
    level: Level,
    is_json: bool,
}

impl LogOptions {
    /// Sets the last level that is written. Returns `None` if there is no level of this name.
    pub(super) fn set_level(&mut self, name: &[u8]) -> Option<()> {
        self.level = *Level::ALL.get(index_of(Level::NAMES, name)?)?;
        Some(())
    }

    /// Sets the format. Returns `None` if it is neither text nor json.
    pub(super) fn set_format(&mut self, name: &[u8]) -> Option<()> {
        self.is_json = index_of(b"text json", name)? > 0;
        Some(())
    }

    /// Begins the log of a server: from now on lines have times, unless standard error is a terminal or the journal. On a machine without an operating
    /// system, lines have the time since boot.
    pub(super) fn start(self, channel: Channel) {
        if sys::is_bare() {
            return;
        }
        let mut settings = Settings {
            level: self.level,
            channel,
            role: Role::name(),
            ..Settings::default()
        };
        if channel != Channel::Stream || !sys::is_terminal() && !sys::is_journal() {
            settings.form = Form::Stamped;
        }
        if HAS_SERVE {
            if self.is_json {
                settings.form = Form::Json;
            }
            settings.pid = crate::os::daemon::process_id();
            if channel == Channel::SyslogHost {
                let host = mem::bytes(HOST_BYTES_MAX);
                let len = sys::host_name(host);
                settings.host = host.head(len);
            }
        }
        if HAS_SFTP && settings.form != Form::Plain {
            settings.zone = crate::os::zone::load();
        }
        log::start(settings);
    }
}

/// Longest name of this host (bytes).
const HOST_BYTES_MAX: usize = 64;
