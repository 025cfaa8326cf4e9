//! The check of an HTTP server.

use super::super::http::default_port;
use super::{Options, Report, Subject};
use crate::event::Line;
use crate::os::check::http::ask;
use crate::text::text;
use crate::time::Instant;
use core::net::SocketAddrV6;

/// Checks HTTP, if asked for.
pub(super) fn check(options: &Options, report: &mut Report, until: Instant) {
    let is_asked = options.protocol == Subject::All && options.http.is_some();
    if options.protocol != Subject::Http && !is_asked {
        return;
    }
    let default = || SocketAddrV6::new(options.host, default_port(), 0, 0);
    let at = options.http.unwrap_or_else(default);
    let mut about = Line::default();
    let about = about.socket(&at).bytes();
    match ask(at, until) {
        Ok(()) => report.pass("http", about, text!(" serves HTTP"), "at", about),
        Err(why) => report.fail("http", about, why),
    }
}
