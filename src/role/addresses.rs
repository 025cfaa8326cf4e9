//! The task that reports a machine's IP addresses on its console when they change: without an operating system, and under
//! `init`, nothing else does. Under `init` it also sets each address on the kernel's interface.

use super::Fatal;
use super::{http, nfs};
use crate::drive::{Task, World};
use crate::event::Line;
use crate::mem;
use crate::net::{Interfaces, Signals, Socket};
use crate::os::init;
use crate::sys::{Calls, Needs};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::Tree;
use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr};

/// The addresses in use, as reported last.
struct Addresses {
    /// The kernel's interface on which the addresses are set (`init`).
    card: Option<&'static CStr>,
    /// Becomes readable when an address changes.
    changes: Option<Socket>,
    /// Under `init`: what clients mount and open, until commands and URLs are reported. The servers start before there is an address.
    served: Option<(&'static nfs::Options, &'static http::Options)>,
    /// The interfaces when they were last read. The first one is the machine's.
    interfaces: Interfaces,
    /// Addresses with their prefix lengths that were reported and still exist.
    reported: heapless::Vec<(IpAddr, u8), 8>,
}

/// Makes the task, which is not started yet.
pub(super) fn task(
    card: Option<&'static CStr>,
    served: Option<(&'static nfs::Options, &'static http::Options)>,
) -> &'static mut dyn Task {
    mem::leak(Addresses {
        card,
        served,
        changes: None,
        interfaces: Interfaces::default(),
        reported: heapless::Vec::new(),
    })
}

impl Task for Addresses {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        self.changes = world.net.changes(world.token(0)).ok();
        self.ready(world, 0);
        Ok(())
    }

    fn add_needs(&self, _: &Tree, needs: &mut Needs) {
        needs.add(Calls::ALL);
    }

    fn ready(&mut self, world: &mut World<'_>, _: u32) {
        if let Some(changes) = self.changes {
            while world.net.recv_from(changes, &mut []).is_ok() {}
        }
        world.net.interfaces(&mut self.interfaces);
        let interface = self.interfaces.first();
        let current = interface.map(|interface| &interface.addresses[..]);
        let current = current.unwrap_or_default();
        let gateway = interface.and_then(|interface| interface.gateway);
        let (card, reported) = (self.card, &mut self.reported);
        reported.retain(|old| {
            let is_kept = current.contains(old);
            if !is_kept && old.0.is_ipv4() {
                set_address(card, (Ipv4Addr::UNSPECIFIED.into(), 0), None, world);
            }
            is_kept
        });
        for address in current {
            if !reported.contains(address) && reported.push(*address).is_ok() {
                set_address(card, *address, gateway, world);
                let mut line = Line::default();
                let ip = match address.0 {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                line.address(ip).text("/").number(address.1.into());
                world
                    .events
                    .report(text!("address"), line.bytes(), Text::NOTHING);
                if address.0.is_ipv4()
                    && let Some((options, http)) = self.served.take()
                {
                    let paths = &mut options.exports.list.iter().map(|export| export.path);
                    let [_, ipv6] = world.net.own_addresses();
                    let own = [ip, ipv6];
                    options.mounting().report(own, paths, world.events);
                    http.report_listeners(options, own, world.events);
                }
            }
        }
    }

    fn turn(&mut self, _: &mut World<'_>, _: Signals) {}

    fn poll_at(&self) -> Instant {
        Instant::NEVER
    }

    fn stop(&mut self, _: &mut World<'_>) {}
}

/// Sets an address of the kernel's interface `card`; an unspecified address removes the current one.
fn set_address(
    card: Option<&CStr>,
    address: (IpAddr, u8),
    gateway: Option<Ipv4Addr>,
    world: &mut World<'_>,
) {
    if let Some(card) = card
        && init::set_address(card, address, gateway).is_err()
    {
        let what = text!("the kernel refuses the address for interface").error();
        world.events.report(what, card.to_bytes(), Text::NOTHING);
    }
}
