//! Announces virtual machines as services `_vm._tcp`, so that browsing finds the host on which a machine is stored or runs.
//!
//! A child process scans the directory every ten seconds, because a datastore may not answer: this process never waits for one. It
//! reads a file if it is new or was modified.

use super::announced::Announced;
use super::plain;
use crate::console::Console;
use crate::console::reasons;
use crate::engine::mdns::Responder;
use crate::event::{self, Line};
use crate::os::files::Directory;
use crate::os::helper::{Helper, Output};
use crate::os::machines::{self, FOUND_BYTES, Found, MACHINE_COUNT_MAX};
use crate::os::source::Memory;
use crate::sys::Errno;
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::wire::announce::Service;
use core::ffi::CStr;

/// Interval of scans.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// Duration of a scan after which it is reported that the directory does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Delay (milliseconds) before the first look at the results of a scan; later delays grow with the scan's duration.
const POLL_MS: u32 = 10;
/// Scans after which machines that other hosts announce are probed for again, as those hosts may have crashed: 10 minutes.
const RECLAIM_SCANS: u8 = 64;
/// Value of [`Machines::result`] before the child has sent one.
const NO_RESULT: [u8; 2] = [0, Errno::IO.raw_os_error() as u8];

/// State of the report of the number of machines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    AwaitsScan,
    /// A scan has succeeded, which was complete (`is_all`) or reached a limit; other hosts may announce some of its machines.
    AwaitsProbes {
        is_all: bool,
    },
    Done,
}

/// The machines in a directory.
pub struct Machines {
    path: &'static CStr,
    announced: Announced,
    /// The child process that scans, if one is running.
    helper: Option<Helper>,
    /// Result of the current scan, as the child sent it: 1 if the scan was complete, and the errno. EIO until the child has sent it,
    /// because the child may be killed.
    result: [u8; 2],
    /// Start of the last scan.
    since: Instant,
    /// Time of the next scan, or of the next look at the results of one.
    next: Instant,
    /// True for the directory with whose machines libvirt's and Proxmox' are announced.
    is_first: bool,
    report: Report,
    /// True if the last scan failed or took too long, which was reported.
    has_failed: bool,
    /// Number of scans, modulo 256.
    scan_count: u8,
}

impl Machines {
    /// Makes an empty list for the directory at `path`.
    pub fn new(path: &'static CStr, is_first: bool) -> Self {
        Self {
            path,
            announced: Announced::new(MACHINE_COUNT_MAX),
            helper: None,
            result: NO_RESULT,
            since: Instant::default(),
            next: Instant::default(),
            is_first,
            report: Report::AwaitsScan,
            has_failed: false,
            scan_count: 0,
        }
    }

    /// Starts a scan if one is due, and updates the responder with what the current one has found. Returns the time of the next
    /// call.
    pub fn poll(
        &mut self,
        now: Instant,
        memory: &mut Memory,
        responder: &mut Responder,
    ) -> Instant {
        if self.next > now {
            return self.next;
        }
        if self.helper.is_none() {
            (self.since, self.result) = (now, NO_RESULT);
            self.announced.start_scan();
            match Helper::start(&mut |send| self.scan(memory, send)) {
                Ok(helper) => self.helper = Some(helper),
                Err(errno) => self.finish(now, [0, errno.raw_os_error() as u8], responder),
            }
        }
        let mut buffer = [0; FOUND_BYTES];
        while let Some(helper) = &self.helper {
            match helper.receive(&mut buffer) {
                Output::Nothing => {
                    let took = now.since(self.since);
                    if took >= PATIENCE {
                        self.report_silence();
                    }
                    let pause = Duration::from_ms(POLL_MS + took.as_ms() as u32 / 4);
                    self.next = now.after(pause.min(SCAN_INTERVAL));
                    return self.next;
                }
                Output::Record(record) => match (record, Found::parse(record)) {
                    (_, Some(found)) => self.update(&found, now, responder),
                    ([is_all, errno], None) => self.result = [*is_all, *errno],
                    _ => {}
                },
                Output::End => {
                    self.helper = None;
                    self.finish(now, self.result, responder);
                }
            }
        }
        self.next = now.after(SCAN_INTERVAL);
        self.next
    }

    /// Scans in the child process: passes each machine and then the result to `send`.
    fn scan(&self, memory: &mut Memory, send: &mut dyn FnMut(&[u8])) {
        let all = Directory::open(c"/").and_then(|root| {
            let is_known = |id| self.announced.has(id);
            machines::scan(&root, self.path, self.is_first, memory, &is_known, send)
        });
        send(&match all {
            Ok(is_all) => [is_all.into(), 0],
            Err(error) => [0, error.raw_os_error() as u8],
        });
    }

    /// Announces a machine that was found, if it is new or changed, and if this scan has not found it before.
    fn update(&mut self, found: &Found<'_>, now: Instant, responder: &mut Responder) {
        if self.announced.is_present(found.id)
            || self.announced.mark_present(now, found.id, responder)
            || found.name.is_empty()
        {
            return;
        }
        let service = Service {
            name: found.name,
            txt: found.txt,
            ..plain(b"_vm._tcp", 0, b"")
        };
        let announced = &mut self.announced;
        if let Some(name) = announced.announce(now, found.id, &service, found.name, responder) {
            responder.set_machine(name);
        }
    }

    /// Reports once that the directory does not answer.
    fn report_silence(&mut self) {
        if !core::mem::replace(&mut self.has_failed, true) {
            let why = text!("no answer for 10 s; its machines stay announced");
            let what = text!("cannot read the directory").warn();
            event::report(&mut Console, what, self.path.to_bytes(), why);
        }
    }

    /// Ends a scan that was complete (`is_all`), reached a limit, or failed with `errno`.
    fn finish(&mut self, now: Instant, [is_all, errno]: [u8; 2], responder: &mut Responder) {
        let (path, has_failed) = (self.path.to_bytes(), errno != 0);
        if has_failed && !self.has_failed {
            let what = text!("cannot read the directory");
            reasons::failed_with(what, path, errno, &super::REASONS);
        }
        self.has_failed = has_failed;
        // Removes missing machines only after a complete scan.
        if is_all != 0 {
            self.announced.finish_scan(now, responder);
        }
        if !has_failed && self.report != Report::Done {
            self.report = Report::AwaitsProbes {
                is_all: is_all != 0,
            };
        }
        self.scan_count = self.scan_count.wrapping_add(1);
        if self.scan_count.is_multiple_of(RECLAIM_SCANS) {
            self.announced.reclaim(now, responder);
        }
    }

    /// Reports the number of machines once: after the first scan, and after probing has shown which of the machines other
    /// responders announce.
    pub fn report_count(&mut self, responder: &Responder) {
        let Report::AwaitsProbes { is_all } = self.report else {
            return;
        };
        if !responder.is_settled() {
            return;
        }
        self.report = Report::Done;
        let (count, ours) = self.announced.counts(responder);
        let mut line = Line::default();
        line.number(ours);
        if ours < count {
            line.text(" of ").number(count);
        }
        line.say(text!(" virtual machines below "));
        line.raw(self.path.to_bytes());
        let why = match is_all {
            false => text!("stopped at the limit of 2000 machines or 50000 files"),
            true if ours < count => text!("other responders announce the others"),
            true => Text::NOTHING,
        };
        event::report(&mut Console, text!("announcing"), line.bytes(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mdns::Limits;

    /// The child sends its result 50 ms before it ends, so that the parent reads result and end in two calls.
    #[test]
    fn result_is_kept_until_the_child_ends() {
        let limits = Limits {
            name_count: 8,
            record_count: 8,
            rdata_bytes: 8,
        };
        let (mut responder, mut memory) = (
            Responder::new(limits, &[7; 16]),
            crate::os::source::tests::memory(),
        );
        let mut machines = Machines::new(c"/", true);
        let helper = Helper::start(&mut |send| {
            send(&[1, 0]);
            std::thread::sleep(core::time::Duration::from_millis(50));
        });
        machines.helper = Some(helper.unwrap());
        let mut now = Instant::default();
        while machines.helper.is_some() {
            machines.poll(now, &mut memory, &mut responder);
            now = now.after(Duration::from_ms(1));
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
        assert!(!machines.has_failed && machines.report == Report::AwaitsProbes { is_all: true });
    }
}
