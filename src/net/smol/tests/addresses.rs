//! Addresses that others have, too, and those that routers tell of.

use super::{Ip, PEER_MAC, World};
use crate::net::smol::packet;
use crate::time::{Duration, Instant};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::wire::{EthernetAddress, NdiscNeighborFlags, NdiscRepr};

const PEER: EthernetAddress = EthernetAddress(PEER_MAC);

impl World {
    /// Lets time pass, and calls `look` with each frame of the stack's, which may answer it.
    fn watch(&mut self, secs: u32, look: &mut dyn FnMut(&packet::Content<'_>) -> Option<Vec<u8>>) {
        self.peer.is_on = false;
        let end = self.now.after(Duration::from_secs(secs));
        while self.now < end {
            self.turn();
            while let Some(frame) = self.end.take() {
                let seen = packet::content(&frame, PEER);
                if let Some(answer) = seen.and_then(|content| look(&content)) {
                    self.end.put(&answer);
                }
            }
            self.sleep(end);
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.stack.addresses.usable().map(|(own, _)| own).collect()
    }

    fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses().iter().find_map(|one| match one {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }
}

fn arp(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; packet::ARP_BYTES];
    packet::arp(PEER, sender, target, &mut frame);
    frame
}

#[test]
fn a_link_local_address_that_somebody_has_is_not_taken() {
    let mut world = World::new(5, 0, Ip::LinkLocal);
    let mut refused = None;
    world.watch(20, &mut |content| match *content {
        packet::Content::Arp { sender, target, .. } if sender.is_unspecified() => {
            let first = *refused.get_or_insert(target);
            (first == target).then(|| arp(target, target))
        }
        _ => None,
    });
    let own = world.ipv4().expect("another one");
    assert!(own.is_link_local() && Some(own) != refused);
    // A conflict is met with an announcement, the next one soon after with another address.
    let mut announced = 0;
    world.end.put(&arp(own, own));
    world.watch(3, &mut |content| {
        if let packet::Content::Arp {
            sender, is_reply, ..
        } = content
        {
            announced += u32::from(*sender == own && !is_reply);
        }
        None
    });
    assert_eq!((announced, world.ipv4()), (1, Some(own)));
    world.end.put(&arp(own, own));
    world.watch(20, &mut |_| None);
    assert!(world.ipv4().is_some_and(|other| other != own));
}

#[test]
fn without_dhcp_there_is_a_link_local_address() {
    let mut world = World::new(6, 0, Ip::Dhcp);
    world.watch(5, &mut |_| None);
    assert_eq!(world.ipv4(), None);
    world.watch(20, &mut |_| None);
    assert!(world.ipv4().is_some_and(|own| own.is_link_local()));
}

#[test]
fn routers_tell_of_networks_and_addresses_that_are_taken_are_others() {
    let mut world = World::new(7, 0, Ip::LinkLocal);
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let first: Ipv6Addr = "2001:db8::ff:fe00:1".parse().unwrap();
    let (mut solicited, mut advertised) = (0, false);
    world.watch(30, &mut |content| match *content {
        packet::Content::Solicit { target, from, .. }
            if from.is_unspecified() && target == first =>
        {
            let advert = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr: target,
                lladdr: Some(PEER.into()),
            };
            let mut frame = vec![0; 128];
            let len = packet::discover(
                PEER,
                target,
                super::super::claim::ALL_NODES,
                advert,
                &mut frame,
            );
            frame.truncate(len);
            Some(frame)
        }
        packet::Content::Solicit { .. } => {
            solicited += 1;
            (!core::mem::replace(&mut advertised, solicited > 0)).then(|| advertisement(router))
        }
        _ => None,
    });
    let own = world.addresses();
    let network = |own: &&IpAddr| own.to_string().starts_with("2001:db8:");
    let found: Vec<_> = own.iter().filter(network).collect();
    assert_eq!(found.len(), 1, "{own:?}");
    assert_ne!(*found[0], IpAddr::V6(first));
    assert_eq!(world.stack.addresses.router(), Some(router));
    // Of a router that says nothing more, nothing is left after 100 s.
    world.watch(120, &mut |_| None);
    assert_eq!(world.stack.addresses.router(), None);
    assert_eq!(world.addresses().iter().filter(network).count(), 0);
}

/// A router for 100 s, and 2001:db8::/64 for as long.
fn advertisement(router: Ipv6Addr) -> Vec<u8> {
    use smoltcp::wire::{NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRouterFlags};
    let secs = |secs| smoltcp::time::Duration::from_secs(secs);
    let message = NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: secs(100),
        reachable_time: secs(0),
        retrans_time: secs(0),
        lladdr: None,
        mtu: None,
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len: 64,
            flags: NdiscPrefixInfoFlags::ADDRCONF | NdiscPrefixInfoFlags::ON_LINK,
            valid_lifetime: secs(100),
            preferred_lifetime: secs(100),
            prefix: "2001:db8::".parse().unwrap(),
        }),
    };
    let mut frame = vec![0; 256];
    let group = super::super::claim::ALL_NODES;
    let len = packet::discover(PEER, router, group, message, &mut frame);
    frame.truncate(len);
    frame
}

#[test]
fn an_address_is_forgotten_by_nobody_at_the_end_of_time() {
    // "For ever" is 2^32 - 1 seconds.
    assert!(Instant::default().after(Duration::from_secs(u32::MAX)) < Instant::NEVER);
}
