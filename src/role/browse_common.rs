//! What `browse` and `resolve` have in common: a browser on the links of this host, and what it finds on its way to them.

use super::{Console, DONE, Fatal};
use crate::drive::endpoint::{Choice, Endpoint, Mdns};
use crate::drive::platform::{self, network::Network};
use crate::engine::mdns::browser::{Browser, Event, Limits, Wish};
use crate::engine::mdns::{LINK_COUNT_MAX, Link, LinkId, Meta, Random, Transmit};
use crate::event::Events;
use crate::mem;
#[cfg(feature = "browse")]
use crate::mem::parts;
use crate::net::Signals;
use crate::sys;
use crate::time::Instant;

/// Interfaces on the command line.
const INTERFACE_COUNT_MAX: usize = 8;

/// Which interfaces are asked on; if there are none, on all that lead to several others.
pub(super) type Interfaces = heapless::Vec<&'static [u8], INTERFACE_COUNT_MAX>;

/// The role that takes what is found.
pub(super) trait Finder {
    /// Does what is due, and says whether something can be taken now. Else it waits among what is known, where it may change.
    fn is_free(&mut self, _: Instant) -> bool {
        true
    }
    /// Takes what was found. False: that was all.
    fn take(&mut self, links: &Links, event: &Event<'_>) -> bool;
    /// When it has something to do again.
    fn poll_at(&self) -> Instant {
        Instant::NEVER
    }
    /// This is the end.
    fn leave(&mut self) {}
}

/// The names of the links' interfaces with NULs behind them, and which links are there.
#[derive(Default)]
pub(super) struct Links {
    names: [[u8; 16]; LINK_COUNT_MAX],
    are_up: [bool; LINK_COUNT_MAX],
}

#[cfg(all(test, feature = "browse"))]
impl Links {
    /// The first one is there, or was.
    pub(super) fn of(name: &str, is_up: bool) -> Self {
        let mut all = Self::default();
        for (to, byte) in all.names[0].iter_mut().zip(name.bytes()) {
            *to = byte;
        }
        all.are_up[0] = is_up;
        all
    }
}

#[cfg(feature = "browse")]
impl Links {
    /// The name of a link's interface, also after it has gone.
    pub(super) fn name(&self, id: LinkId) -> &[u8] {
        let name = self.names.get(usize::from(id));
        let name = name.map_or(&[][..], |name| &name[..]);
        parts(name, 0).next().unwrap_or_default()
    }

    /// Whether a link is there.
    pub(super) fn is_up(&self, id: LinkId) -> bool {
        self.are_up.get(usize::from(id)) == Some(&true)
    }

    /// Whether an interface of this name is there.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        let mut links = self.are_up.iter().zip(0..);
        links.any(|(is_up, id)| *is_up && self.name(id) == name)
    }
}

/// The browser, and the role that takes what it finds.
struct Seeker<'a> {
    browser: Browser,
    links: Links,
    finder: &'a mut dyn Finder,
}

/// Hands what is wished, on this network, to `finder` until it has all it wants, or the process is asked to stop. With `runs`, it is asked again
/// whenever a child process has ended.
pub(super) fn run(
    network: &Network,
    finder: &mut dyn Finder,
    interfaces: &Interfaces,
    wishes: &mut dyn Iterator<Item = Wish<'_>>,
    runs: bool,
) -> Result<(), Fatal> {
    let mut entropy = [0; 16];
    sys::entropy(&mut entropy);
    let now = sys::now();
    let seeker = mem::leak(Seeker {
        browser: Browser::new(&Limits::USUAL, Random::new(&entropy)),
        links: Links::default(),
        finder,
    });
    for wish in wishes {
        seeker.browser.wish(now, &wish);
    }
    let signals = Signals {
        child: runs,
        ..Signals::default()
    };
    let mdns = mem::leak(Mdns::new(
        &mut *seeker,
        Choice {
            names: interfaces,
            ..Choice::default()
        },
    ));
    let ended = platform::run(network, &mut [mdns], Console::leak(), signals);
    seeker.finder.leave();
    ended
}

impl Endpoint for Seeker<'_> {
    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, interface: &[u8]) -> bool {
        let place = usize::from(id);
        if let Some(is_up) = self.links.are_up.get_mut(place) {
            *is_up = link.is_up();
        }
        if let Some(name) = self.links.names.get_mut(place)
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

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        self.browser.poll_transmit(now, out)
    }

    fn poll_at(&self) -> Instant {
        self.browser.poll_at().min(self.finder.poll_at())
    }

    fn poll_event(&mut self, now: Instant, _: &mut Events) -> Result<(), Fatal> {
        while self.finder.is_free(now)
            && let Some(event) = self.browser.next_event(now)
        {
            if !self.finder.take(&self.links, &event) {
                return Err(DONE);
            }
        }
        Ok(())
    }

    fn goodbye(&mut self, _: Instant, _: &mut Events) {}
}
