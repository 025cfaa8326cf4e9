//! Browses by multicast DNS: runs a browser on the links of this host, and passes its events to a role. Events of services are
//! printed, kept in a file, and passed to a program.

pub mod exec;
pub mod keep;
pub mod line;
#[cfg(test)]
mod tests;

use crate::config::LINK_COUNT_MAX;
use crate::console::{Console, DONE};
use crate::drive::endpoint::{Choice, Endpoint, Mdns};
use crate::drive::platform::{self, network::Network};
use crate::engine::mdns::browser::{Browser, Event, Limits, Lookup};
use crate::engine::mdns::{Link, LinkId, LinkSet, Meta, Outgoing, Random, link_count};
use crate::event::{Events, Fatal};
use crate::mem::{self, Slots};
use crate::net::Signals;
use crate::sys::{self, Calls, Needs};
use crate::text::text;
use crate::time::Instant;
use crate::wire::dns::NAME_BYTES_MAX;
use crate::wire::dns::escape::parse;

/// Names of the interfaces to query on.
pub type Interfaces = heapless::Vec<&'static [u8], LINK_COUNT_MAX>;

/// The part of a role that receives the browser's events.
pub trait Finder {
    /// Does work that is due and returns true if an event can be handled now. Until then events stay in the browser, which merges
    /// them with later changes. An error ends the role.
    fn is_ready(&mut self, _: Instant) -> Result<bool, Fatal> {
        Ok(true)
    }
    /// Handles an event. Returns false to end the role.
    fn handle_event(&mut self, links: &Links, event: &Event<'_>) -> bool;
    /// Time at which [`Self::is_ready`] is to be called again.
    fn poll_at(&self) -> Instant {
        Instant::NEVER
    }
    /// Returns true if the role writes no files and runs no programs.
    fn is_confined(&self) -> bool {
        true
    }
    /// Called once before the role ends.
    fn finish(&mut self) {}
}

/// The interfaces of the links.
#[derive(Default)]
pub struct Links {
    /// Interface names of the links that have been in use, padded with NULs.
    names: Slots<[u8; 16]>,
    up: LinkSet,
}

impl Links {
    /// Makes the interfaces of one link, on interface `name`.
    pub fn of(name: &str, is_up: bool) -> Self {
        let mut all = Self::default();
        all.names.push_more([0; 16]);
        for (to, byte) in all.names[0].iter_mut().zip(name.bytes()) {
            *to = byte;
        }
        if is_up {
            all.up.add(LinkSet::of(0));
        }
        all
    }
}

impl Links {
    /// Returns the name of a link's interface, also after the link went down.
    pub fn name(&self, id: LinkId) -> &[u8] {
        let name = self.names.get(usize::from(id));
        let name = name.map_or(&[][..], |name| &name[..]);
        mem::parts(name, 0).next().unwrap_or_default()
    }

    /// Returns true if a link is or was up. The first one has number 0.
    pub fn have_been_up(&self) -> bool {
        !self.name(0).is_empty()
    }

    /// Returns true if a link is up.
    pub fn is_up(&self, id: LinkId) -> bool {
        self.up.has(id)
    }

    /// Returns true if a link on the interface `name` is up.
    pub fn has(&self, name: &[u8]) -> bool {
        let mut links = 0..self.names.len() as LinkId;
        links.any(|id| self.is_up(id) && self.name(id) == name)
    }
}

/// Writes `text` with the domain `local` appended, in uncompressed wire form. `None`: no valid name, or too long.
pub fn in_local(text: &[u8], buffer: &mut [u8; NAME_BYTES_MAX]) -> Option<()> {
    let len = parse(text, buffer)?;
    let end = buffer.get_mut(len.checked_sub(1)?..)?;
    *end.first_chunk_mut()? = *b"\x05local\0";
    Some(())
}

/// The browser and the role that receives its events.
struct Seeker<'a> {
    browser: Browser,
    links: Links,
    finder: &'a mut dyn Finder,
}

/// Browses for `lookups` on the interfaces of `choice` and passes the events to `finder`, until `finder` ends the role or SIGTERM
/// or SIGINT arrives. With `runs`, SIGCHLD also wakes the loop, so that `finder` notices the end of its child processes.
pub fn run(
    network: &Network,
    finder: &mut dyn Finder,
    choice: Choice<'_>,
    lookups: &mut dyn Iterator<Item = Lookup<'_>>,
    runs: bool,
    reports_once: bool,
) -> Result<(), Fatal> {
    let mut entropy = [0; 16];
    sys::entropy(&mut entropy);
    let now = sys::now();
    let seeker = mem::leak(Seeker {
        browser: Browser::new(&Limits::DEFAULT, Random::new(&entropy)),
        links: Links::default(),
        finder,
    });
    seeker.browser.reports_once = reports_once;
    for lookup in lookups {
        seeker.browser.start_lookup(now, &lookup);
    }
    // SIGHUP ends browsing in a terminal. With a program to run, it is a service: SIGHUP is ignored.
    let signals = Signals {
        reload: runs,
        child: runs,
        ..Signals::default()
    };
    let mdns = mem::leak(Mdns::new(&mut *seeker, choice));
    let ended = platform::run("", network, &mut [mdns], Console::leak(), signals);
    seeker.finder.finish();
    ended
}

impl Endpoint for Seeker<'_> {
    fn add_needs(&self, needs: &mut Needs) {
        if !self.finder.is_confined() {
            needs.add(Calls::ALL);
        }
    }

    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, interface: &[u8]) -> bool {
        let (links, index) = (&mut self.links, usize::from(id));
        links.up.remove(LinkSet::of(id));
        if link.is_up() {
            links.up.add(LinkSet::of(id));
        }
        while links.names.len() <= index && links.names.push_up_to(link_count(), [0; 16]).is_some()
        {
        }
        if let Some(name) = links.names.get_mut(index)
            && !interface.is_empty()
        {
            *name = [0; 16];
            for (to, byte) in name.iter_mut().zip(interface) {
                *to = *byte;
            }
        }
        self.browser.link_changed(now, id, link);
        true
    }

    fn handle(&mut self, now: Instant, meta: Meta, datagram: &[u8], _: &mut [u8]) -> Option<usize> {
        self.browser.handle(now, &meta, datagram);
        None
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Outgoing> {
        self.browser.poll_transmit(now, out)
    }

    fn poll_at(&self) -> Instant {
        self.browser.poll_at().min(self.finder.poll_at())
    }

    fn poll_event(&mut self, now: Instant, events: &mut Events) -> Result<(), Fatal> {
        if self.browser.take_overflow() {
            let why = text!("the network has more than fit; choose a type, or one --interface");
            events.report(text!("not all services are shown or resolved"), b"", why);
        }
        while self.finder.is_ready(now)?
            && let Some(event) = self.browser.next_event(now)
        {
            if !self.finder.handle_event(&self.links, &event) {
                return Err(DONE);
            }
        }
        Ok(())
    }

    fn goodbye(&mut self, _: Instant) {}
}
