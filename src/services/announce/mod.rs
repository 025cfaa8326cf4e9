//! Announces services by multicast DNS: of files that are read again, of virtual machines, and those that a role adds.

mod announced;
pub mod complaints;
pub mod files;
pub mod hosts;
pub mod machines;
mod specifiers;

use crate::console::reasons::{self, Reason, reason};
use crate::console::{Console, FAILED};
use crate::engine::mdns::{NameId, Responder};
use crate::event::{self, Fatal, Sink};
use crate::sys::Errno;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::announce::{self, Service};
use core::net::IpAddr;

const NO_MEMORY: Text = text!("no memory for more names and services");

/// Makes a service that has the host's name, and no subtypes.
#[inline(never)] // −27 bytes: four callers.
pub fn plain<'a>(kind: &'a [u8], port: u16, txt: &'a [u8]) -> Service<'a> {
    Service {
        name: &[announce::HOST],
        kind,
        subtypes: b"",
        host: None,
        interface: b"",
        families: announce::ANY_FAMILY,
        port,
        priority: 0,
        weight: 0,
        txt,
    }
}

/// Announces a service and returns its name. If the tables are full, reports that `file` (empty: the service's type) is left out.
pub fn add(
    responder: &mut Responder,
    now: Instant,
    service: &Service<'_>,
    file: &[u8],
) -> Option<NameId> {
    let added = responder.add_service(now, service).ok();
    if added.is_none() {
        let about = match file {
            [] => service.kind,
            file => file,
        };
        event::report(&mut Console, text!("left out").warn(), about, NO_MEMORY);
    }
    added
}

/// Announces an alias. If the tables are full, reports that it is left out.
pub fn add_alias(responder: &mut Responder, labels: &[u8], address: Option<&IpAddr>) {
    if responder.add_alias(labels, address).is_err() {
        event::report(&mut Console, text!("left out").warn(), labels, NO_MEMORY);
    }
}

/// Reasons why a file of [`crate::os::source`] cannot be read, added to the common ones.
static REASONS: [Reason; 2] = [
    reason(Errno::INVAL, text!("not a regular file")),
    reason(Errno::FBIG, text!("longer than 64 KiB")),
];

/// Reports to `sink` that `what` failed on `about`, with the reason of `errno`. Returns exit status 1.
pub fn report(sink: &mut dyn Sink, what: Text, about: &[u8], errno: Errno) -> Fatal {
    let why = reasons::of(errno, &REASONS);
    event::report(sink, what.error(), about, why);
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn file_reasons_match_their_errno() {
        reasons::check(Errno::INVAL, &REASONS, "not a regular file");
        reasons::check(Errno::FBIG, &REASONS, "64 KiB");
        reasons::check(Errno::LOOP, &REASONS, "symbolic link");
    }
}
