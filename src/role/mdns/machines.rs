//! Announces virtual machines as services `_vm._tcp`, so that browsing finds the host on which a machine is stored.
//!
//! Scans the directory every ten seconds, and reads a file if it is new or was modified.

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

/// Interval of scans.
pub(super) const SCAN_INTERVAL: Duration = Duration::from_secs(10);

/// The machines in a directory.
pub(super) struct Machines {
    path: &'static CStr,
    announced: Announced,
    /// True if the number of machines was reported.
    is_reported: bool,
    /// True if the last scan failed, which was reported.
    has_failed: bool,
}

impl Machines {
    /// Makes an empty list for the directory at `path`.
    pub(super) fn new(path: &'static CStr) -> Self {
        Self {
            path,
            announced: Announced::new(MACHINE_COUNT_MAX),
            is_reported: false,
            has_failed: false,
        }
    }

    /// Announces a machine that was found, if it is new or changed.
    fn update(
        &mut self,
        seen: &Seen<'_>,
        now: Instant,
        memory: &mut Memory,
        responder: &mut Responder,
    ) {
        if self.announced.mark_present(now, seen.id, responder) {
            return;
        }
        // A file that is unreadable or describes no machine may be half-written; the next scan tries again.
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

    /// Scans the directory and updates the responder. Returns the time of the next scan. The first scan reports the number of
    /// machines.
    pub(super) fn scan(
        &mut self,
        now: Instant,
        memory: &mut Memory,
        responder: &mut Responder,
    ) -> Instant {
        let path = self.path;
        self.announced.start_scan();
        let all = vms::list(path, &mut |seen| self.update(seen, now, memory, responder));
        if let Err(errno) = all
            && !self.has_failed
        {
            failed(text!("cannot read the directory"), path.to_bytes(), errno);
        }
        self.has_failed = all.is_err();
        // Removes missing machines only after a complete scan.
        if all == Ok(true) {
            self.announced.finish_scan(now, responder);
        }
        if let Ok(is_all) = all
            && !self.is_reported
        {
            self.is_reported = true;
            let mut line = Line::default();
            let count = self.announced.count();
            line.number(count as u32);
            line.say(text!(" virtual machines below "));
            line.raw(path.to_bytes());
            let why = match is_all {
                true => Text::NOTHING,
                false => text!("stopped at the limit of 2000 machines or 50000 files"),
            };
            event::report(&mut Console, text!("announcing"), line.bytes(), why);
        }
        now.after(SCAN_INTERVAL)
    }
}
