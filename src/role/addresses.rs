//! The task that tells people which addresses a machine of its own has: nothing else there does. On Linux, it gives them to the
//! kernel's interface.

use super::Fatal;
#[cfg(feature = "init")]
use crate::drive::platform::host::init;
use crate::drive::{Task, World};
use crate::event::Line;
use crate::mem;
use crate::net::{Interfaces, Signals, Socket};
use crate::text::{Text, text};
use crate::time::Instant;
use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr};

/// What was told.
struct Addresses {
    /// The host's interface that they are for.
    card: Option<&'static CStr>,
    changes: Option<Socket>,
    told: heapless::Vec<(IpAddr, u8), 8>,
}

/// A task that has not started.
pub(super) fn task(card: Option<&'static CStr>) -> &'static mut dyn Task {
    mem::leak(Addresses {
        card,
        changes: None,
        told: heapless::Vec::new(),
    })
}

impl Task for Addresses {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        self.changes = world.net.changes(world.token(0)).ok();
        self.ready(world, 0);
        Ok(())
    }

    fn ready(&mut self, world: &mut World<'_>, _: u32) {
        if let Some(changes) = self.changes {
            while world.net.recv_from(changes, &mut []).is_ok() {}
        }
        let mut all = Interfaces::new();
        world.net.interfaces(&mut all);
        let interface = all.first();
        let now = interface.map(|interface| &interface.addresses[..]);
        let now = now.unwrap_or_default();
        let gateway = interface.and_then(|interface| interface.gateway);
        let (card, told) = (self.card, &mut self.told);
        told.retain(|told| {
            let is_kept = now.contains(told);
            if !is_kept && told.0.is_ipv4() {
                give(card, (Ipv4Addr::UNSPECIFIED.into(), 0), None, world);
            }
            is_kept
        });
        for address in now {
            if !told.contains(address) && told.push(*address).is_ok() {
                give(card, *address, gateway, world);
                let mut line = Line::default();
                let ip = match address.0 {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                line.address(ip).text("/").number(address.1.into());
                world
                    .events
                    .tell(text!("address"), line.bytes(), Text::NOTHING);
            }
        }
    }

    fn turn(&mut self, _: &mut World<'_>, _: Signals) {}

    fn poll_at(&self) -> Instant {
        Instant::NEVER
    }

    fn stop(&mut self, _: &mut World<'_>) {}
}

/// Gives the host's interface an address; an unspecified one takes the last one away.
#[cfg(feature = "init")]
fn give(
    card: Option<&CStr>,
    address: (IpAddr, u8),
    gateway: Option<Ipv4Addr>,
    world: &mut World<'_>,
) {
    if let Some(card) = card
        && init::set_address(card, address, gateway).is_err()
    {
        let what = text!("the kernel does not take an address for");
        world.events.tell(what, card.to_bytes(), Text::NOTHING);
    }
}

/// There is none.
#[cfg(not(feature = "init"))]
fn give(_: Option<&CStr>, _: (IpAddr, u8), _: Option<Ipv4Addr>, _: &mut World<'_>) {}
