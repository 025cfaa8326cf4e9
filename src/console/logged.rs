//! The console as a server's log.

use super::{Console, log, reasons};
use crate::event::Logged;
use crate::sys;
use crate::text::text;

impl Logged for Console {
    fn shows_debug(&self) -> bool {
        log::shows_debug()
    }

    /// After an error, which is reported, lines still go to the old file.
    fn reopen(&mut self) {
        if let Err(errno) = sys::reopen_log() {
            let what = text!("cannot open the log again");
            reasons::failed(what, sys::log_path(), errno, &[]);
        }
    }
}
