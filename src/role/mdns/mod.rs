//! `mdns`: announces the host, what it is, its services and its virtual machines. RFC 6762, RFC 6763.

mod files;
mod identity;
mod machines;
mod options;
mod source;
mod vms;

#[cfg(any(feature = "publish", feature = "serve"))]
pub(super) use files::advice;
#[cfg(feature = "serve")]
pub(super) use options::FLAGS;
pub(super) use options::Options;

use super::reasons;
use super::{Console, FAILED, Status};
use crate::config::{ANNOUNCED_NAME_COUNT, ANNOUNCED_RECORD_COUNT, ANNOUNCED_TEXT_BYTES};
use crate::drive::mdns::{Choice, Mdns, Speaker};
use crate::engine::mdns::{self, Limits, Link, LinkId, Meta, NameId, Responder, Transmit};
use crate::event::{self, Events, Line};
use crate::net::kernel::Kernel;
use crate::sys::frames::{self, BUILD_ID_BYTES};
use crate::sys::start::Args;
use crate::sys::{self, Errno, heap, process};
use crate::text::{Ends as _, Text, text};
use crate::time::Instant;
use crate::wire::Writer;
use crate::wire::announce::{self, Draft, Service};
use crate::wire::dns::{NAME_BYTES_MAX, Name};
use crate::wire::label;
use crate::wire::uuid::Uuid;
use core::mem::ManuallyDrop;
use identity::Identity;
use machines::Machines;
use rustix::fd::RawFd;
use source::Memory;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text =
    text!("  mdns ...\t\tannounces this host and its services on its networks\n");
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// The port of those who only say that they are there.
const DISCARD_PORT: u16 = 9;

/// Announces until the process is asked to stop.
pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Status> {
    let mut options = Options::default();
    options.read(args)?;
    if let Some(path) = options.log {
        frames::open(path, build_id)
            .map_err(|errno| failed(text!("cannot write traces to"), path.to_bytes(), errno))?;
    }
    announce(&options, &|_| {})
}

/// Hands out further services.
pub(super) type Source<'a> = &'a dyn Fn(&mut dyn FnMut(&Service<'_>));

/// Announces what the options say, and what `more` hands out.
pub(super) fn announce(options: &Options, more: Source<'_>) -> Result<(), Status> {
    let now = sys::now();
    let mut announcer = ManuallyDrop::new(Announcer::new(now));
    let memory = announce_all(options, more, &mut announcer.responder, now)?;
    announcer.machines = options.machines.map(|path| Machines::new(path, memory));
    announcer.subject = announcer.responder.host();
    announcer.run(&options.interfaces, now)
}

/// The responder, and what changes of what it announces.
pub(super) struct Announcer {
    pub(super) responder: Responder,
    machines: Option<Machines>,
    /// When they are looked at.
    machines_at: Instant,
    /// What is told to be announced: the host, or a service.
    pub(super) subject: NameId,
    /// It has this name or none.
    pub(super) keeps_name: bool,
    events: Events,
    /// All names were ours.
    was_settled: bool,
    has_links: bool,
}

impl Announcer {
    /// One that has nothing to announce yet. The process ends when it does: nothing has to be given back.
    #[inline(never)]
    pub(super) fn new(now: Instant) -> Self {
        let mut entropy = [0; 16];
        sys::entropy(&mut entropy);
        let limits = Limits {
            name_count: ANNOUNCED_NAME_COUNT,
            record_count: ANNOUNCED_RECORD_COUNT,
            text_bytes: ANNOUNCED_TEXT_BYTES,
        };
        Self {
            responder: Responder::new(limits, &entropy, now),
            machines: None,
            machines_at: now,
            subject: NameId::ROOT,
            keeps_name: false,
            events: Events::to(Console::leak()),
            was_settled: true,
            has_links: false,
        }
    }

    /// Announces on these interfaces, or on all, until the process is asked to stop.
    #[inline(never)]
    pub(super) fn run(&mut self, interfaces: &[&[u8]], now: Instant) -> Result<(), Status> {
        let mut net = ManuallyDrop::new(Kernel::new(process::signals(false)));
        let choice = Choice { names: interfaces };
        let events = Events::to(Console::leak());
        let mdns = Mdns::new(&mut *net, self, choice, events, now);
        if !ManuallyDrop::new(mdns).run() {
            return Err(FAILED);
        }
        self.events.tell(event::STOPPING, b"", Text::NOTHING);
        Ok(())
    }
}

impl Speaker for Announcer {
    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, _: &[u8]) -> bool {
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

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        self.responder.poll_transmit(now, out)
    }

    fn poll_at(&self) -> Instant {
        self.responder.poll_at().min(self.machines_at)
    }

    /// Says what the host is called when that is settled, and what had to be called differently.
    fn tell(&mut self, now: Instant) -> bool {
        if self.machines_at <= now {
            let machines = self.machines.as_mut();
            self.machines_at = machines.map_or(Instant::NEVER, |machines| {
                machines.look(now, &mut self.responder)
            });
        }
        if let Some(name) = self.responder.renamed() {
            let label = self.responder.label(name);
            let why = text!("another host has the name");
            if self.keeps_name {
                self.events.tell(text!("cannot announce"), label, why);
                return false;
            }
            self.events.tell(text!("is now called"), label, why);
        }
        let is_settled = self.responder.is_settled();
        if is_settled && !self.was_settled && self.has_links {
            let mut line = Line::default();
            line.raw(self.responder.label(self.subject));
            if self.subject == self.responder.host() {
                line.text(".local");
            }
            self.events
                .tell(text!("announced"), line.bytes(), Text::NOTHING);
        }
        self.was_settled = is_settled;
        true
    }

    fn leave(&mut self, now: Instant) {
        self.responder.leave(now);
    }
}

/// Tells the responder all there is to announce that does not change; memory for files.
#[inline(never)]
fn announce_all(
    options: &Options,
    more: Source<'_>,
    responder: &mut Responder,
    now: Instant,
) -> Result<&'static mut Memory, Status> {
    let mut room = [0; label::BYTES_MAX];
    let host = host_name(options.name, &mut room);
    let _ = responder.set_host(host);
    let mut add = |service: &Service<'_>| _ = add(responder, now, host, service);
    let memory = heap::array();
    let identity = Identity::parse(options.hardware);
    let identity = identity.unwrap_or_else(|| Identity::find(ROOT, options.identifies, memory));
    add_device(&identity, &mut add);
    more(&mut add);
    if options.is_workstation {
        add(&plain(b"_workstation._tcp", DISCARD_PORT, b""));
    }
    let mut parts = [0; announce::ROOM_BYTES];
    let mut draft = Draft::new(&mut parts);
    for service in &options.services {
        if let Ok(service) = announce::parse_line(service, &mut draft) {
            add(&service);
        }
    }
    if let Some(path) = options.files {
        files::read(path, memory, &mut Console, &mut add)
            .map_err(|errno| failed(text!("cannot read the directory"), path.to_bytes(), errno))?;
    }
    Ok(memory)
}

/// Where paths begin that begin with a slash.
const ROOT: RawFd = -100;

/// What the host is called: what the user says, else what it calls itself up to the first dot.
pub(super) fn host_name<'a>(wished: &'a [u8], room: &'a mut [u8; label::BYTES_MAX]) -> &'a [u8] {
    if !wished.is_empty() {
        return wished;
    }
    let system = rustix::system::uname();
    let own = system.nodename().to_bytes();
    let own = own.split(|byte| *byte == b'.').next().unwrap_or_default();
    let mut out = Writer::new(room);
    label::put(&mut out, own);
    match out.position() {
        0 => b"stowaway",
        len => room.head(len),
    }
}

/// A service that is named as the host is.
pub(super) fn plain<'a>(kind: &'a [u8], port: u16, txt: &'a [u8]) -> Service<'a> {
    Service {
        name: &[announce::HOST],
        kind,
        subtypes: b"",
        host: None,
        port,
        priority: 0,
        weight: 0,
        txt,
        protocol: announce::Protocol::Any,
    }
}

/// Says what the machine is, as far as that is known.
#[inline(never)]
fn add_device(identity: &Identity, add: &mut dyn FnMut(&Service<'_>)) {
    let mut room = [0; 512];
    let mut txt = Writer::new(&mut room);
    let mut uuid = [0; Uuid::TEXT_BYTES];
    let mut uuid_text: &[u8] = b"";
    if let Some(known) = identity.uuid {
        known.emit(&mut Writer::new(&mut uuid));
        uuid_text = &uuid;
    }
    for (key, value) in [
        (&b"model="[..], identity.product()),
        (b"vendor=", identity.vendor()),
        (b"serial=", identity.serial()),
        (b"uuid=", uuid_text),
    ] {
        if !value.is_empty() {
            txt.put(&[(key.len() + value.len()) as u8]);
            txt.put(key);
            txt.put(value);
        }
    }
    let len = txt.position();
    if len > 0 {
        add(&plain(b"_device-info._tcp", 0, room.head(len)));
    }
}

/// Announces a service; its name. Where there is no room for it, that is said.
#[inline(never)]
pub(super) fn add(
    responder: &mut Responder,
    now: Instant,
    host: &[u8],
    service: &Service<'_>,
) -> Option<NameId> {
    let (mut room, mut kind, mut other) = (
        [0; label::BYTES_MAX],
        [0; NAME_BYTES_MAX],
        [0; NAME_BYTES_MAX],
    );
    let described = mdns::Service {
        instance: service.name_on(host, &mut room),
        kind: dotted(service.kind, &mut kind),
        subtypes: service.subtypes,
        host: service.host.map(|host| dotted(host, &mut other)),
        port: service.port,
        choice: [service.priority, service.weight],
        text: service.txt,
    };
    let added = responder.add_service(now, &described).ok();
    if added.is_none() {
        let what = text!("there is no room for the service");
        event::tell(
            &mut Console,
            what.bytes(),
            described.instance,
            Text::NOTHING,
        );
    }
    added
}

/// A name whose labels have dots between them.
fn dotted<'a>(text: &[u8], room: &'a mut [u8; NAME_BYTES_MAX]) -> Name<'a> {
    let mut out = Writer::new(room);
    for label in text.split(|byte| *byte == b'.') {
        out.put(&[label.len() as u8]);
        out.put(label);
    }
    out.put(&[0]);
    Name::of(room)
}

fn failed(what: Text, about: &[u8], errno: Errno) -> Status {
    reasons::failed(what, about, errno, &source::REASONS)
}
