//! `mdns`: announces the host, its hardware, its services and its virtual machines by multicast DNS. RFC 6762, RFC 6763.

mod options;

pub(super) use options::FLAGS;
pub(super) use options::{Flag, Options};

use super::{Console, FAILED, Fatal};
use crate::config::{
    ANNOUNCED_NAME_COUNT, ANNOUNCED_NAME_COUNT_MIN, ANNOUNCED_RECORD_COUNT,
    ANNOUNCED_RECORD_COUNT_MIN, ANNOUNCED_TEXT_BYTES, ANNOUNCED_TEXT_BYTES_MIN,
};
use crate::console::log::Channel;
use crate::drive::endpoint::{Choice, Endpoint, Mdns};
use crate::drive::{Task, platform};
use crate::engine::mdns::{
    Limits, Link, LinkId, Meta, NameId, Outgoing, Renamed, Responder, Rival,
};
use crate::event::{self, Events, Line};
use crate::mem::{self, scaled};
use crate::mem::{Ends as _, index_of};
use crate::net::{FileId, Signals};
use crate::os::files::Directory;
use crate::os::source::Memory;
use crate::os::watch::Watch;
use crate::services::announce::complaints::Complaints;
use crate::services::announce::files::Files;
use crate::services::announce::machines::{Machines, SCAN_INTERVAL};
use crate::services::announce::{add, add_alias, hosts, plain, report};
use crate::sys;
use crate::sys::{Args, Needs};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::wire::Writer;
use crate::wire::announce::{self, Draft, Service};
use crate::wire::label::{self, Word, cut};
use crate::wire::txt;
use core::ffi::CStr;
use options::DIRECTORY_COUNT_MAX;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  mdns ...\t\tannounces this host and its services on its networks\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    super::network::HELP,
    text!("\nList what is announced:  stowaway browse -art\n"),
];

/// Port (9, discard) that is announced for a service without a server, such as `_workstation._tcp`.
const DISCARD_PORT: u16 = 9;

/// Delay between a reported change of a file and reading it: changes come in bursts, and a file is first created, then written.
const SETTLE: Duration = Duration::from_ms(500);

/// Announces until SIGTERM or SIGINT.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let options = Options::none();
    let network = options.read(args)?;
    options.check()?;
    options.log.start(Channel::Stream);
    let task = task(options, &|_| {})?;
    platform::run(
        "mdns",
        &network,
        &mut [task],
        Console::leak(),
        Signals::RELOAD,
    )
}

/// A function that calls its argument with each further service, such as the exports of `serve`.
pub(super) type Source<'a> = &'a dyn Fn(&mut dyn FnMut(&Service<'_>));

/// Makes the task, not started yet, that announces the services of the options and of `more`. The task is never freed.
pub(super) fn task(
    options: &'static mut Options,
    more: Source<'_>,
) -> Result<&'static mut dyn Task, Fatal> {
    let now = sys::now();
    let announcer = mem::leak(Announcer::new(now));
    announcer.services.paths = core::mem::take(&mut options.files);
    announcer.hosts = options.hosts;
    if announcer.has_files() {
        announcer.watch.open();
    }
    for path in &options.machines {
        let is_first = announcer.machines.is_empty();
        let _ = announcer.machines.push(Machines::new(path, is_first));
    }
    announcer.announce_all(options, more, now)?;
    announcer.subject = announcer.responder.host();
    Ok(announcer.task(Choice {
        names: &options.interfaces,
        denied: &options.denied,
        families: options.families,
    }))
}

/// The responder and the sources of its services that change: files and virtual machines.
#[repr(C)] // Largest field last: the others have short offsets.
pub(super) struct Announcer {
    /// The file of `--hosts`.
    hosts: Option<&'static CStr>,
    /// Hash of that file when it was last read.
    hosts_hash: u64,
    /// Watches these files and directories.
    watch: Watch,
    /// Time at which to read them again.
    files_at: Instant,
    /// Time of the next step of a scan for virtual machines.
    machines_at: Instant,
    /// Name that is reported as announced: the host's, or that of a service or alias.
    pub(super) subject: NameId,
    /// True if the current name of `subject` was reported.
    is_reported: bool,
    has_links: bool,
    /// Buffer for reading files.
    memory: &'static mut Memory,
    services: Files,
    machines: heapless::Vec<Machines, DIRECTORY_COUNT_MAX>,
    complaints: Complaints,
    pub(super) responder: Responder,
}

impl Announcer {
    /// Passes everything to announce to the responder, except virtual machines.
    fn announce_all(
        &mut self,
        options: &mut Options,
        more: Source<'_>,
        now: Instant,
    ) -> Result<(), Fatal> {
        let responder = &mut self.responder;
        omit(responder, options.omits_host, options.omits_reverse);
        responder.set_service_ttl(options.service_ttl);
        set_host(responder, options.name);
        for alias in &options.aliases {
            add_alias(responder, alias, None);
        }
        let mut add = |service: &Service<'_>| _ = add(responder, now, service, b"");
        let mut parts = [0; announce::ROOM_BYTES];
        let mut draft = Draft::new(&mut parts);
        for service in &options.services {
            // Cannot fail: `Options::check` has parsed each service.
            let _ = options::read_service(service, &mut draft, &mut add);
        }
        let hardware = &mut options.hardware;
        #[cfg(bare)]
        if sys::is_bare() && !hardware.is_known() {
            let _ = hardware.ask_firmware(options.identifies, self.memory);
        }
        if !hardware.is_known()
            && let Ok(root) = Directory::open(c"/")
        {
            hardware.find(&root, options.identifies, self.memory);
        }
        let mut buffer = [0; _];
        let [vendor, model, serial] = &hardware.words;
        if options.identifies && serial.is_empty() && hardware.uuid.is_none() {
            let what = text!("this host provides neither its serial number nor its UUID").warn();
            let why = text!("name them with --hwid, or start as root");
            event::report(&mut Console, what, b"", why);
        }
        let words = [model.bytes(), vendor.bytes(), serial.bytes()];
        let keys = b"model vendor serial uuid";
        let txt = txt::write(keys, &words, hardware.uuid, &mut buffer);
        if !txt.is_empty() {
            add(&plain(b"_device-info._tcp", 0, txt));
        }
        if options.is_workstation {
            add(&plain(b"_workstation._tcp", DISCARD_PORT, b""));
        }
        more(&mut add);
        self.read_files(now)
    }

    /// Reads the files of `--hosts` and `--services`, at the start or again: announces the changes.
    fn read_files(&mut self, now: Instant) -> Result<(), Fatal> {
        self.watch.start_scan();
        self.complaints.start_scan();
        let hosts = self.read_hosts(now);
        let (watch, sink) = (&mut self.watch, &mut self.complaints);
        let services = self
            .services
            .read(now, self.memory, watch, sink, &mut self.responder);
        self.files_at = Instant::NEVER;
        if !watch.is_complete && self.has_files() {
            self.files_at = now.after(SCAN_INTERVAL);
        }
        hosts.and(services)
    }

    /// Returns true if the options name files.
    fn has_files(&self) -> bool {
        self.hosts.is_some() || !self.services.paths.is_empty()
    }

    /// Reads the file of `--hosts`.
    fn read_hosts(&mut self, now: Instant) -> Result<(), Fatal> {
        let Some(path) = self.hosts else {
            return Ok(());
        };
        self.watch.add(path.to_bytes());
        let (responder, sink) = (&mut self.responder, &mut self.complaints);
        responder.start_aliases();
        let hash = hosts::read(path, self.memory, sink, &mut |labels, address| {
            add_alias(responder, labels, address);
        })
        .map_err(|error| report(sink, text!("cannot read"), path.to_bytes(), error))?;
        // Aliases that were given up after a conflict are probed for again only if the file has changed.
        if core::mem::replace(&mut self.hosts_hash, hash) != hash {
            responder.finish_aliases(now);
        }
        Ok(())
    }

    /// Makes an announcer without anything to announce. Its memory is never freed.
    pub(super) fn new(now: Instant) -> Self {
        let limits = Limits {
            name_count: scaled(ANNOUNCED_NAME_COUNT_MIN, ANNOUNCED_NAME_COUNT),
            record_count: scaled(ANNOUNCED_RECORD_COUNT_MIN, ANNOUNCED_RECORD_COUNT),
            rdata_bytes: scaled(ANNOUNCED_TEXT_BYTES_MIN, ANNOUNCED_TEXT_BYTES),
        };
        Self {
            responder: Responder::new(limits, &sys::seed()),
            services: Files::allocate(),
            hosts: None,
            hosts_hash: 0,
            watch: Watch::default(),
            files_at: Instant::NEVER,
            complaints: Complaints::default(),
            machines: heapless::Vec::new(),
            memory: mem::array(),
            machines_at: now,
            subject: NameId::ROOT,
            is_reported: false,
            has_links: false,
        }
    }

    /// Makes the task that announces on the interfaces of `choice`.
    pub(super) fn task(&'static mut self, choice: Choice<'static>) -> &'static mut dyn Task {
        mem::leak(Mdns::new(self, choice))
    }
}

impl Endpoint for Announcer {
    fn start(&mut self, now: Instant, watch: &mut dyn FnMut(FileId) -> bool) {
        if !self.watch.start(&mut |file| watch(FileId(file))) && self.has_files() {
            self.files_at = now.after(SCAN_INTERVAL);
        }
    }

    fn add_needs(&self, needs: &mut Needs) {
        needs.report_for("mdns");
        if self.has_files() || !self.machines.is_empty() {
            needs.add_all_files();
        }
    }

    fn handle_readable(&mut self, now: Instant) {
        self.watch.drain();
        self.files_at = self.files_at.min(now.after(SETTLE));
    }

    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, interface: &[u8]) -> bool {
        if !interface.is_empty() {
            self.responder.set_interface(id, interface);
        }
        self.has_links |= link.is_up();
        self.responder.set_link(now, id, link).is_ok()
    }

    fn handle(
        &mut self,
        now: Instant,
        meta: Meta,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        self.responder.handle(now, meta, datagram, out)
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Outgoing> {
        self.responder.poll_transmit(now, out)
    }

    fn figures(&self) -> [u64; 3] {
        self.responder.figures()
    }

    fn poll_at(&self) -> Instant {
        let files_at = self.machines_at.min(self.files_at);
        self.responder.poll_at().min(files_at)
    }

    /// Reads files again and scans for virtual machines, if due. Reports names that changed after a conflict, and the subject's name
    /// once probing is finished.
    fn poll_event(&mut self, now: Instant, events: &mut Events) -> Result<(), Fatal> {
        if self.files_at <= now {
            // Errors were reported; the announced names and services then stay unchanged.
            let _ = self.read_files(now);
        }
        if self.machines_at <= now {
            self.machines_at = Instant::NEVER;
            for machines in &mut self.machines {
                let next = machines.poll(now, self.memory, &mut self.responder);
                self.machines_at = self.machines_at.min(next);
            }
        }
        for machines in &mut self.machines {
            machines.report_count(&self.responder);
        }
        while let Some(Renamed { name, rival }) = self.responder.pop_renamed() {
            let label = self.responder.label(name);
            let mut why = match rival {
                Rival::OtherHost => text!("another host has the name"),
                Rival::ThisHost => text!("another responder on this host has the name"),
            };
            let mut what = text!("is now called").warn();
            let is_alias = self.responder.is_alias(name);
            if is_alias {
                what = text!("cannot announce").error();
            } else if self.responder.other_host() == Some(name) {
                what = text!("announces services alone, on").warn();
                why = text!("another responder on this host announces that");
                self.is_reported = false;
            }
            events.report(what, label, why);
            let is_subject = name == self.subject;
            if is_subject && is_alias {
                return Err(FAILED);
            }
            self.is_reported &= !is_subject;
        }
        let is_host = self.subject == self.responder.host();
        // If another responder on this host has the host's name, the loop above has reported that instead.
        let is_ours = !(is_host && self.responder.other_host().is_some());
        if !self.is_reported && self.has_links && is_ours && self.responder.is_settled() {
            self.is_reported = true;
            let mut line = Line::default();
            if is_host && self.responder.is_host_excluded() {
                line.say(text!("services on "));
            }
            line.raw(self.responder.label(self.subject));
            if is_host || self.responder.is_alias(self.subject) {
                line.text(".local");
            }
            events.report(text!("announced"), line.bytes(), Text::NOTHING);
        }
        Ok(())
    }

    fn is_beside(&self) -> bool {
        self.responder.other_host().is_some()
    }

    fn is_claiming(&self, now: Instant) -> bool {
        self.responder.is_claiming(now)
    }

    fn on_port_taken(&mut self, now: Instant) {
        self.responder.on_port_taken(now);
    }

    fn on_signals(&mut self, now: Instant, signals: Signals) {
        if signals.reload {
            self.complaints.forget();
            self.hosts_hash = 0;
            self.files_at = now;
        }
    }

    fn goodbye(&mut self, now: Instant) {
        self.responder.goodbye(now);
    }
}

/// Longest host name of Linux (bytes).
const HOST_NAME_BYTES: usize = 64;

/// Sets the host's name: `wished`, else the kernel's host name up to the first dot, else `stowaway-` with the last three bytes of
/// the MAC address.
pub(super) fn set_host(responder: &mut Responder, wished: &[u8]) {
    let mut name = Word::default();
    name.set(wished);
    let mut buffer = [0; HOST_NAME_BYTES];
    let len = sys::host_name(&mut buffer);
    let (kernel_name, _) = cut(buffer.head(len), b'.');
    if name.is_empty() && index_of(b"localhost (none)", kernel_name).is_none() {
        name.set(kernel_name);
    }
    if name.is_empty() {
        let mut buffer = [0; label::BYTES_MAX];
        let mut out = Writer::new(&mut buffer);
        out.put(b"stowaway");
        if let Some([_, _, _, last @ ..]) = &sys::hardware_address() {
            label::put_byte(&mut out, b'-');
            label::put_hex(&mut out, last);
        }
        name.set(out.since(0));
    }
    let _ = responder.set_host(name.bytes());
}

/// Omits the host's addresses (`host`) or their reverse mappings (`reverse`) from the announcements.
pub(super) const fn omit(responder: &mut Responder, host: bool, reverse: bool) {
    if host {
        responder.exclude_host();
    }
    if reverse {
        responder.exclude_reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::source::tests::TestDir;

    /// Between changes, the responder sleeps. Without inotify, it reads the files every ten seconds.
    #[test]
    fn watched_files_need_no_timer() {
        let test_dir = TestDir::new("watched");
        let path = mem::leak(test_dir.path());
        let now = Instant::from_ms(1000);
        let mut announcer = Announcer::new(now);
        announcer.services.paths.push(path).unwrap();
        announcer.read_files(now).unwrap();
        assert_eq!(announcer.files_at, now.after(SCAN_INTERVAL));
        announcer.watch.open();
        announcer.read_files(now).unwrap();
        assert_eq!(announcer.files_at, Instant::NEVER);
        // A directory that does not exist is reported at each start, and awaited.
        let test_dir = TestDir::new("awaited");
        std::fs::remove_dir(&test_dir.0).unwrap();
        announcer.services.paths[0] = mem::leak(test_dir.path());
        assert!(announcer.read_files(now).is_err());
        assert_eq!(announcer.files_at, Instant::NEVER);
        announcer.handle_readable(now);
        assert_eq!(announcer.files_at, now.after(SETTLE));
    }
}
