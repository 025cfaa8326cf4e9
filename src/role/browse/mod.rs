//! `browse`: prints what others announce. Flags and lines are avahi-browse's. RFC 6763 section 4.
//!
//! What comes from the network is escaped before it reaches a terminal.

mod line;

use super::flags::Flags;
use super::{Console, SEE_HELP, Status, USAGE, complain, refuse};
use crate::drive::mdns::{Choice, Mdns, Speaker};
use crate::engine::mdns::browser::{Browser, Goal, Limits, What, Wish};
use crate::engine::mdns::{LINK_COUNT_MAX, Link, LinkId, Meta, Random, Transmit};
use crate::event::Events;
use crate::net::kernel::Kernel;
use crate::sys::start::Args;
use crate::sys::{self, process};
use crate::text::{Ends as _, Text, text};
use crate::time::Instant;
use crate::wire::Writer;
use crate::wire::announce::is_kind;
use crate::wire::dns::{NAME_BYTES_MAX, Name};
use core::mem::ManuallyDrop;
use line::Form;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text =
    text!("  browse TYPE | -a\t\tprints the services that others announce\n");
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// Interfaces on the command line.
const INTERFACE_COUNT_MAX: usize = 8;
/// In the order of [`Options::set`].
const FLAGS: Flags = Flags {
    names: b"a D r t p l k v b --json d --interface *",
    bare_count: 10,
    wanted: Text::row(&[
        "there is no other domain than local",
        "name an interface, such as eth0; 8 at most",
        "name one type, such as _ssh._tcp or _printer._sub._http._tcp",
    ]),
    help: HELP,
    more: None,
};

/// What the arguments ask for.
#[derive(Default)]
struct Options {
    /// A type or subtype; without one, `goal` says what is looked for.
    kind: &'static [u8],
    goal: Option<Goal>,
    resolves: bool,
    ends: bool,
    form: Form,
    leaves_out_own: bool,
    interfaces: heapless::Vec<&'static [u8], INTERFACE_COUNT_MAX>,
}

impl Options {
    fn set(&mut self, place: usize, value: &'static [u8]) -> Option<()> {
        match place {
            0 => self.goal = Some(Goal::Everything),
            1 => self.goal = Some(Goal::Types),
            2 => self.resolves = true,
            3 => self.ends = true,
            4 => self.form = Form::Fields,
            5 => self.leaves_out_own = true,
            6..=8 => {}
            9 => self.form = Form::Json,
            10 => return (value == b"local" || value == b"local.").then_some(()),
            _ if value.is_empty() => return None,
            11 => self.interfaces.push(value).ok()?,
            _ => {
                let is_first = self.kind.is_empty() && is_kind(type_of(value));
                self.kind = is_first.then_some(value)?;
            }
        }
        Some(())
    }
}

/// Prints until the process is asked to stop, or, if that is wanted, all have answered.
pub(super) fn run(args: Args) -> Result<(), Status> {
    let mut options = Options::default();
    FLAGS.read(args, &mut |place, value| {
        options.set(place, value.to_bytes())
    })?;
    let mut room = [0; NAME_BYTES_MAX];
    let (goal, name) = match (options.goal, options.kind) {
        (None, b"") => {
            return Err(complain(USAGE, text!("name a type, or -a"), b"", SEE_HELP));
        }
        (Some(goal), b"") => (goal, in_local(b"_services._dns-sd._udp", &mut room)),
        (None, kind) => (Goal::Services, in_local(kind, &mut room)),
        (Some(_), kind) => return Err(refuse(b"-a", kind, text!("name a type, or -a"))),
    };
    let mut entropy = [0; 16];
    sys::entropy(&mut entropy);
    let now = sys::now();
    let mut browser = ManuallyDrop::new(Browser::new(&Limits::USUAL, Random::new(&entropy)));
    browser.wish(
        now,
        &Wish {
            goal,
            name,
            links: u8::MAX,
            resolves: options.resolves,
            families: 3,
        },
    );
    let choice = Choice {
        names: &options.interfaces,
    };
    let mut printer = ManuallyDrop::new(Printer {
        browser: ManuallyDrop::into_inner(browser),
        links: Default::default(),
        names: [[0; 16]; LINK_COUNT_MAX],
        options: &options,
    });
    let mut net = ManuallyDrop::new(Kernel::new(process::signals(false)));
    let events = Events::to(Console::leak());
    let mdns = Mdns::new(&mut *net, &mut *printer, choice, events, now);
    ManuallyDrop::new(mdns).run();
    Ok(())
}

/// Of a subtype, the type: its last two labels.
fn type_of(kind: &[u8]) -> &[u8] {
    let dots = || kind.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    match dots().rev().nth(1) {
        Some((at, _)) => kind.tail(at + 1),
        None => kind,
    }
}

/// A name in the domain `local`.
fn in_local<'a>(text: &[u8], room: &'a mut [u8; NAME_BYTES_MAX]) -> Name<'a> {
    let mut out = Writer::new(room);
    for label in text.split(|byte| *byte == b'.').chain([&b"local"[..]]) {
        out.put(&[label.len() as u8]);
        out.put(label);
    }
    out.put(&[0]);
    Name::of(room)
}

/// The browser, and how what it finds is printed.
struct Printer<'a> {
    browser: Browser,
    links: [Link; LINK_COUNT_MAX],
    /// Of the interfaces.
    names: [[u8; 16]; LINK_COUNT_MAX],
    options: &'a Options,
}

impl Speaker for Printer<'_> {
    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, interface: &[u8]) -> bool {
        let place = usize::from(id);
        if let Some(known) = self.links.get_mut(place) {
            *known = link.clone();
        }
        // One that is gone keeps its name until that is told.
        if let Some(name) = self.names.get_mut(place)
            && !interface.is_empty()
        {
            *name = [0; 16];
            name.iter_mut()
                .zip(interface)
                .for_each(|(to, byte)| *to = *byte);
        }
        self.browser.link_changed(now, id, link);
        true
    }

    fn handle(&mut self, now: Instant, meta: Meta, datagram: &[u8], _: &mut [u8]) -> Option<usize> {
        self.browser.handle(now, &meta, datagram, &self.links);
        None
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        self.browser.poll_transmit(now, out)
    }

    fn poll_at(&self) -> Instant {
        self.browser.poll_at()
    }

    fn tell(&mut self, now: Instant) -> bool {
        while let Some(event) = self.browser.next_event(now) {
            if event.what == What::AllForNow {
                if self.options.ends {
                    return false;
                }
            } else if !(self.options.leaves_out_own && event.is_own)
                && (event.what != What::Type || self.options.goal == Some(Goal::Types))
            {
                let interface = self.names.get(usize::from(event.link));
                let interface = interface.map_or(&[][..], |name| &name[..]);
                let mut interface = interface.split(|byte| *byte == 0);
                let interface = interface.next().unwrap_or_default();
                self.options.form.print(interface, &event);
            }
        }
        true
    }

    fn leave(&mut self, _: Instant) {}
}
