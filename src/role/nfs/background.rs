//! The background: how the server runs without a terminal, and where its messages go.

use super::super::Fatal;
use super::super::args::{address, socket};
use super::super::flags::full_path;
use super::super::log::LogOptions;
use super::failed;
use crate::config::HAS_SERVE;
use crate::console::log::{self, Channel};
use crate::event::Line;
use crate::os::daemon::{self, LOG_PATH_BYTES_MAX, Log, OpenLog};
use crate::os::pid_file::PidFile;
use crate::text::text;
use core::ffi::CStr;
use core::net::SocketAddrV6;

// The message of `--log` names this limit.
const _: () = assert!(LOG_PATH_BYTES_MAX == 250);

/// The arguments about the background.
#[derive(Default)]
pub(in super::super) struct Background {
    /// True if the server leaves its terminal (`-D`, or started as unfsd).
    pub(super) detaches: bool,
    /// The file for the number of the process (`-i`).
    pub(super) pid_file: Option<&'static CStr>,
    /// Where messages go (`--log`). `None`: to standard error, or to the system logger if the server detaches.
    pub(super) log: Option<Log>,
    /// The level and the format of messages.
    pub(super) log_options: LogOptions,
}

impl Background {
    /// Returns true if the server leaves its terminal.
    pub(in super::super) const fn detaches(&self) -> bool {
        HAS_SERVE && self.detaches
    }

    /// Calls `serve` in the background, if that is asked for.
    ///
    /// # Errors
    /// Those of `serve`; exit status 1: the background is not possible, which is reported.
    pub(in super::super) fn run(
        &self,
        serve: &mut dyn FnMut() -> Result<(), Fatal>,
    ) -> Result<(), Fatal> {
        if !HAS_SERVE {
            self.log_options.start(Channel::Stream);
            return serve();
        }
        let no_file = |errno| {
            let path = self.pid_file.unwrap_or_default().to_bytes();
            failed(text!("cannot use the pid file"), path, errno)
        };
        let pid_file = match self.pid_file {
            Some(path) => Some(PidFile::lock(path).map_err(no_file)?),
            None => None,
        };
        let null = match self.detaches {
            true => Some(daemon::open_null().map_err(|errno| {
                let what = text!("cannot leave the terminal without");
                failed(what, b"/dev/null", errno)
            })?),
            false => None,
        };
        let log = self.log.or(self.detaches.then_some(Log::System));
        if let Some(log) = log {
            let path = match log {
                Log::File(path) => path.to_bytes(),
                _ => b"",
            };
            let no_log = |errno| failed(text!("cannot write the log"), path, errno);
            let opened = OpenLog::open(log).map_err(no_log)?;
            if let Some(null) = &null {
                let detached = daemon::detach(null, opened);
                detached.map_err(|errno| failed(text!("cannot start a daemon"), b"", errno))?;
            } else {
                daemon::keep_standard_error();
                opened.start().map_err(no_log)?;
            }
            if let Log::System = log
                && let Err(errno) = daemon::open_logger()
            {
                log::report_lost(errno);
            }
        }
        self.log_options.start(match log {
            Some(Log::System) => Channel::Syslog,
            Some(Log::Host(_)) => Channel::SyslogHost,
            _ => Channel::Stream,
        });
        if let Some(file) = &pid_file {
            let mut number = Line::default();
            number.number(daemon::process_id());
            if let Err(errno) = file.write(number.end_line()) {
                no_file(errno);
            }
        }
        let ended = serve();
        if let Some(file) = &pid_file {
            file.clear();
        }
        ended
    }
}

/// Parses the value of `--log`: `syslog`, `syslog:ADDRESS[:PORT]` or ADDRESS:PORT of a system logger, or a file.
pub(super) fn log(text: &'static CStr) -> Option<Log> {
    /// The port of system loggers.
    const PORT: u16 = 514;
    if !HAS_SERVE {
        return None;
    }
    let bytes = text.to_bytes();
    let named = bytes.strip_prefix(b"syslog");
    if named == Some(b"") {
        return Some(Log::System);
    }
    let named = named.and_then(|rest| rest.strip_prefix(b":"));
    if let Some(at) = socket(named.unwrap_or(bytes)) {
        return Some(Log::Host(at));
    }
    if let Some(named) = named {
        return Some(Log::Host(SocketAddrV6::new(address(named)?, PORT, 0, 0)));
    }
    let path = full_path(text);
    (path.count_bytes() < LOG_PATH_BYTES_MAX).then_some(Log::File(path))
}
