//! The addresses by which clients reach a server, as commands and URLs have them.

use crate::drive::World;
use crate::event::Line;
use crate::mem::Ends as _;
use crate::net::OwnAddresses;
use crate::os::files::{self, Directory};
use crate::sys;
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use core::mem::replace;
use core::net::Ipv6Addr;

/// Interval of the looks for an address.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Number of looks after which an IPv6 or a link-local address suffices: until then, DHCP may give an IPv4 address.
const LOOK_COUNT: u8 = 10;

/// The looks for the host's own addresses, which a network stack of our own may get late.
pub struct Lookout {
    /// Time of the next look.
    pub at: Instant,
    /// Number of looks left after which an IPv6 or a link-local address suffices.
    count: u8,
    /// True once a link-local address was returned, which another one may replace.
    has_link_local: bool,
    /// True with a network stack of our own.
    is_own_stack: bool,
}

impl Lookout {
    /// Creates the looks, of which none is due.
    pub const fn new(is_own_stack: bool) -> Self {
        Self {
            at: Instant::NEVER,
            count: LOOK_COUNT,
            has_link_local: false,
            is_own_stack,
        }
    }

    /// Returns the host's addresses. `None`: a network stack of our own has none yet. The next look is due later then, and after a
    /// link-local address of IPv4.
    pub fn look(&mut self, world: &mut World<'_>) -> Option<OwnAddresses> {
        let mut own = world.net.own_addresses();
        let [ipv4, ipv6] = &mut own;
        if is_link_local(*ipv4) && !ipv6.is_unspecified() {
            *ipv4 = Ipv6Addr::UNSPECIFIED;
        }
        let at = if self.count > 0 { *ipv4 } else { first(&own) };
        let is_link_local = is_link_local(at);
        self.at = Instant::NEVER;
        if self.is_own_stack && (at.is_unspecified() || is_link_local) {
            self.at = world.now.after(LOOK_INTERVAL);
            if self.count > 0 || !is_link_local {
                self.count = self.count.saturating_sub(1);
                return None;
            }
            if replace(&mut self.has_link_local, true) {
                return None;
            }
        }
        Some(own)
    }

    /// Returns true if the addresses that were returned last may be replaced by better ones.
    pub fn goes_on(&self) -> bool {
        self.at != Instant::NEVER
    }
}

/// Returns the IPv4 address, or else the IPv6 address; unspecified: there is none.
pub const fn first([ipv4, ipv6]: &OwnAddresses) -> Ipv6Addr {
    if ipv4.is_unspecified() { *ipv6 } else { *ipv4 }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address
        .to_ipv4_mapped()
        .is_some_and(|address| address.is_link_local())
}

/// The note beside a host in a container.
pub const PUBLISHED: Text = text!("  # HOST: the host's address; ports: the published ones");

/// The host in a command or URL.
pub struct Host {
    /// Its address or name.
    pub name: Line,
    /// True for an IPv6 address.
    pub is_v6: bool,
    /// True in a container whose ports the host publishes under others; the name is then HOST.
    pub is_published: bool,
}

impl Host {
    /// Returns the host of a server that is bound to this address. `own`: the address by which other hosts reach this one; if it is
    /// unspecified, the host has its name.
    pub fn of(bound: Ipv6Addr, own: Ipv6Addr) -> Self {
        let mut host = Line::default();
        let is_bound = !bound.to_canonical().is_unspecified();
        let at = if is_bound { bound } else { own };
        let is_published = !is_bound && is_behind_published_ports();
        let is_v6 = !at.is_unspecified() && at.to_ipv4_mapped().is_none();
        if is_published {
            host.say(text!("HOST"));
        } else if at.is_unspecified() {
            let name = &mut [0; 64];
            let len = sys::host_name(name);
            host.raw(name.head(len));
        } else {
            host.address(at);
        }
        Self {
            name: host,
            is_v6: is_v6 && !is_published,
            is_published,
        }
    }
}

/// Returns true in a container of Docker or podman that has a network of its own: clients reach it by an address of the host, at the
/// ports that the host publishes. Such a network is a tap or one end of a veth pair, whose other end has another number.
fn is_behind_published_ports() -> bool {
    let is_container = files::exists(c"/.dockerenv") || files::exists(c"/run/.containerenv");
    if !is_container || files::exists(c"/sys/class/net/tap0") {
        return is_container;
    }
    let Ok(card) = Directory::open(c"/sys/class/net/eth0") else {
        return false;
    };
    let (own, other) = (&mut [0; 16], &mut [0; 16]);
    card.read(b"ifindex", own) != card.read(b"iflink", other)
}
