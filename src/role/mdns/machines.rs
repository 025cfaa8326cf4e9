//! Virtual machines as services: where each lives, so that a search for one finds its host.
//!
//! The directory is looked at every ten seconds; a file is read when it is new or was written to.

use super::announced::Announced;
use super::source::Memory;
use super::vms::{self, MACHINE_COUNT_MAX, Seen};
use super::{failed, pairs, plain};
use crate::engine::mdns::Responder;
use crate::text::text;
use crate::time::{Duration, Instant};
use crate::wire::announce::Service;
use core::ffi::CStr;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The machines in a directory, if one is to be looked at.
pub(super) struct Machines {
    pub(super) path: Option<&'static CStr>,
    announced: Announced,
    /// That the directory cannot be read was told.
    is_told: bool,
}

impl Machines {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            path: None,
            announced: Announced::new(MACHINE_COUNT_MAX),
            is_told: false,
        }
    }

    /// Announces those that are new or changed.
    fn take(
        &mut self,
        seen: &Seen<'_>,
        now: Instant,
        memory: &mut Memory,
        responder: &mut Responder,
    ) {
        if self.announced.has(now, seen.id, responder) {
            return;
        }
        // One that cannot be read is perhaps just being written.
        let Ok(file) = seen.read(memory) else {
            return;
        };
        let machine = seen.machine(file);
        let mut buffer = [0; _];
        let words = [seen.path, machine.guest.bytes()];
        let service = Service {
            name: machine.name.bytes(),
            txt: pairs(b"path guest uuid", &words, machine.uuid, &mut buffer),
            ..plain(b"_vm._tcp", 0, b"")
        };
        self.announced
            .announce(now, seen.id, &service, seen.path, responder);
    }

    /// Looks at the directory, and tells the responder; when to look again.
    pub(super) fn look(
        &mut self,
        now: Instant,
        memory: &mut Memory,
        responder: &mut Responder,
    ) -> Instant {
        let Some(path) = self.path else {
            return Instant::NEVER;
        };
        self.announced.begin();
        let all = vms::list(path, &mut |seen| self.take(seen, now, memory, responder));
        if let Err(errno) = all
            && !self.is_told
        {
            failed(text!("cannot read the directory"), path.to_bytes(), errno);
        }
        self.is_told = all.is_err();
        // Unless not all could be looked at.
        if all == Ok(true) {
            self.announced.end(now, responder);
        }
        now.after(LOOK)
    }
}
