//! Virtual machines as services: where each lives, so that a search for one finds its host.
//!
//! The directory is looked at every ten seconds; a file is read when it is new or was written to.

use super::super::Console;
use super::announced::Announced;
use super::source::Memory;
use super::vms::{self, MACHINE_COUNT_MAX, Seen};
use super::{failed, pairs, plain};
use crate::engine::mdns::Responder;
use crate::event::{self, Line};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::wire::announce::Service;
use core::ffi::CStr;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The machines in a directory.
pub(super) struct Machines {
    path: &'static CStr,
    announced: Announced,
    /// It was told how many there are.
    is_told: bool,
    /// That the directory cannot be read was told.
    is_lost: bool,
}

impl Machines {
    /// None yet.
    pub(super) fn new(path: &'static CStr) -> Self {
        Self {
            path,
            announced: Announced::new(MACHINE_COUNT_MAX),
            is_told: false,
            is_lost: false,
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
        // One that cannot be read, or says nothing, is perhaps just being written.
        let Ok(file) = seen.read(memory) else {
            return;
        };
        let Some(machine) = seen.machine(file) else {
            return;
        };
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

    /// Looks at the directory, and tells the responder; when to look again. The first time, it is said what was found.
    pub(super) fn look(
        &mut self,
        now: Instant,
        memory: &mut Memory,
        responder: &mut Responder,
    ) -> Instant {
        let path = self.path;
        self.announced.begin();
        let all = vms::list(path, &mut |seen| self.take(seen, now, memory, responder));
        if let Err(errno) = all
            && !self.is_lost
        {
            failed(text!("cannot read the directory"), path.to_bytes(), errno);
        }
        self.is_lost = all.is_err();
        // Unless not all could be looked at.
        if all == Ok(true) {
            self.announced.end(now, responder);
        }
        if let Ok(is_all) = all
            && !self.is_told
        {
            self.is_told = true;
            let mut line = Line::default();
            let count = self.announced.count();
            line.number(count as u32);
            line.say(text!(" virtual machines below "));
            line.raw(path.to_bytes());
            let why = match is_all {
                true => Text::NOTHING,
                false => text!("there are more than 2000, or than 50000 files"),
            };
            event::tell(&mut Console, text!("announcing"), line.bytes(), why);
        }
        now.after(LOOK)
    }
}
