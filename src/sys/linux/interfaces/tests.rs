//! Parses valid, truncated and invalid kernel output; checks that all sources list the same interfaces on this host.

use super::*;
use crate::sys::Errno;
use crate::sys::linux::sockets::{self, DATAGRAM, INET};
use requests::{Lines, list_by_asking, list_in_file, list_v4};
use rustix::fd::AsRawFd as _;

/// Parses the text, whole and in pieces, and checks that the results are equal. Returns true if it had a line.
fn read_lines(text: &[u8], out: &mut Interfaces) -> bool {
    let (mut in_pieces, mut others) = (Lines::default(), Interfaces::default());
    for interface in out.iter() {
        others.push_more(interface.clone());
    }
    for piece in text.chunks(7) {
        in_pieces.read(piece, &mut others);
    }
    let mut lines = Lines::default();
    lines.read(text, out);
    assert_eq!((in_pieces.any, &others[..]), (lines.any, &out[..]));
    lines.any
}

fn prefix(address: &str, len: u8) -> (IpAddr, u8) {
    (address.parse().unwrap(), len)
}

fn name(of: &Interface) -> &str {
    let end = of.name.iter().position(|byte| *byte == 0).unwrap();
    core::str::from_utf8(&of.name[..end]).unwrap()
}

#[test]
fn if_inet6_is_parsed_when_cut_anywhere() {
    let text = b"00000000000000000000000000000001 01 80 10 80       lo\n\
        fe800000000000000000000000000007 1a4 40 20 80     eth0\n\
        fe800000000000000000000000000008 1a4 40 20 c0     eth0\n\
        junk\n";
    for len in 0..=text.len() {
        let mut out = Interfaces::default();
        assert_eq!(read_lines(&text[..len], &mut out), len >= 45);
        assert_eq!(out.len(), usize::from(len >= 45) + usize::from(len >= 100));
        if let [lo, ethernet] = &out[..] {
            assert_eq!((lo.index, ethernet.index), (1, 0x1a4));
            assert_eq!(lo.addresses, [prefix("::1", 128)]);
            assert_eq!(ethernet.addresses, [prefix("fe80::7", 64)]);
        }
    }
}

/// An invalid prefix length becomes 128. Avahi's commit 2b4e8d7a concerns lengths above 120 and above 128.
#[test]
fn prefix_length_is_clamped_to_128() {
    for told in 0..=255u8 {
        let text = format!("20010db8000000000000000000000007 02 {told:02x} 00 80     eth0\n");
        let mut out = Interfaces::default();
        assert!(read_lines(text.as_bytes(), &mut out));
        let expect = prefix("2001:db8::7", told.min(128));
        assert_eq!(out[0].addresses, [expect]);
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 1u32;
    for len in 0..400 {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"0123456789abcdef \n\0x"[(seed >> 16) as usize % 20]
            })
            .collect();
        read_lines(&bytes, &mut Interfaces::default());
    }
}

#[test]
fn excess_interfaces_and_addresses_are_ignored() {
    let mut out = Interfaces::default();
    for number in 0..6000u32 {
        let line = format!(
            "fe80{number:028x} {:x} 40 20 80 x{number}\n",
            1 + number / 20
        );
        read_lines(line.as_bytes(), &mut out);
    }
    assert_eq!(out.len(), interface_count());
    assert!(out.iter().all(|interface| interface.addresses.is_full()));
}

#[test]
fn list_contains_the_loopback_interface() {
    let mut told = Interfaces::default();
    list(&mut told);
    let lo = told.iter().find(|interface| name(interface) == "lo");
    let lo = lo.expect("no interface lo");
    assert_eq!(lo.index, 1);
    assert!(lo.is_running && lo.is_loopback);
    assert!(lo.addresses.contains(&prefix("127.0.0.1", 8)));
}

#[test]
fn ipv6_addresses_are_found_without_if_inet6() {
    let socket = sockets::open(INET, DATAGRAM).unwrap();
    let (mut told, mut of_v4) = (Interfaces::default(), Interfaces::default());
    list_v4(&socket, &mut of_v4);
    assert!(of_v4[0].addresses.contains(&prefix("127.0.0.1", 8)));
    let mut asked = Interfaces::default();
    list_in_file(&mut told);
    list_by_asking(&socket, &mut asked);
    let only = |all: &Interfaces| {
        let of = |interface: &Interface| {
            let addresses = interface.addresses.clone().into_iter();
            let addresses = addresses.filter(|(address, _)| {
                matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
            });
            (interface.index, addresses.collect::<Vec<_>>())
        };
        let mut all: Vec<_> = all.iter().map(of).collect();
        all.retain(|(_, addresses)| !addresses.is_empty());
        all.sort();
        all
    };
    assert_eq!(only(&told), only(&asked));
    // Global addresses found by asking must be in the list, but need not be complete.
    for interface in asked.iter() {
        let other = told.iter().find(|other| other.index == interface.index);
        let other = other.expect("interface is not in if_inet6");
        for (address, _) in &interface.addresses {
            assert!(other.addresses.iter().any(|(known, _)| known == address));
        }
    }
}

#[test]
fn change_notifications_drain_to_eagain() {
    let socket = watch().unwrap();
    // Changes on this host may have queued notifications; after them the receive must fail with EAGAIN.
    let mut told = (0..1000).map(|_| sockets::recv(socket.as_raw_fd(), &mut []));
    let end = told.find(Result::is_err);
    assert_eq!(end, Some(Err(Errno::AGAIN)));
}
