//! The task that tells people which addresses a machine without an operating system has: nothing else there does.

use super::Fatal;
use crate::drive::{Task, World};
use crate::event::Line;
use crate::mem;
use crate::net::{Interfaces, Signals, Socket};
use crate::text::{Text, text};
use crate::time::Instant;
use core::net::IpAddr;

/// What was told.
struct Addresses {
    changes: Option<Socket>,
    told: heapless::Vec<(IpAddr, u8), 8>,
}

/// A task that has not started.
pub(super) fn task() -> &'static mut dyn Task {
    mem::leak(Addresses {
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
        let now = all.first().map(|interface| &interface.addresses[..]);
        let now = now.unwrap_or_default();
        self.told.retain(|told| now.contains(told));
        for address in now {
            if !self.told.contains(address) && self.told.push(*address).is_ok() {
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
