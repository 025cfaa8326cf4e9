//! What the kernel says, whole, cut and invented; and that every way of asking this host tells the same.

use super::*;
use crate::sys::Errno;
use crate::sys::sockets::{self, DATAGRAM, INET};
use netlink::read;
use requests::{list_by_asking, list_in_file, list_v4, read_lines};

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const NAME: u16 = 3;
const MTU: u16 = 4;
const FLAGS: u16 = 8;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = 4 + value.len() as u16;
    let mut bytes = [len.to_le_bytes(), kind.to_le_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, head: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let said = [head.to_vec(), attributes.concat()].concat();
    let mut bytes = (16 + said.len() as u32).to_le_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend([2, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
    bytes.extend(said);
    bytes
}

fn address(index: u8, prefix_len: u8, flags: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let head = [0, prefix_len, flags, 0, index, 0, 0, 0];
    message(20, &head, attributes)
}

fn link(index: u8, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut head = vec![0, 0, 1, 0, index, 0, 0, 0];
    head.extend(flags.to_le_bytes());
    head.extend([0; 4]);
    message(16, &head, attributes)
}

fn done() -> Vec<u8> {
    message(3, &[0; 4], &[])
}

fn v6(last: u8) -> [u8; 16] {
    let mut octets = [0; 16];
    (octets[0], octets[1], octets[15]) = (0xfe, 0x80, last);
    octets
}

fn dump() -> Vec<u8> {
    [
        address(
            1,
            8,
            0x80,
            &[
                attribute(ADDRESS, &[127, 0, 0, 1]),
                attribute(NAME, b"lo\0"),
            ],
        ),
        // The other end of the line comes first.
        address(
            2,
            32,
            0x80,
            &[
                attribute(ADDRESS, &[192, 0, 2, 9]),
                attribute(LOCAL, &[192, 0, 2, 1]),
            ],
        ),
        address(2, 64, 0x80, &[attribute(ADDRESS, &v6(1))]),
        // Tentative, taken by somebody else, and forgotten soon: the first byte of flags is all that old kernels tell.
        address(2, 64, 0x40, &[attribute(ADDRESS, &v6(2))]),
        address(
            2,
            64,
            0,
            &[
                attribute(ADDRESS, &v6(3)),
                attribute(FLAGS, &0x208u32.to_le_bytes()),
            ],
        ),
        address(2, 64, 0x21, &[attribute(ADDRESS, &v6(4))]),
        // Temporary, which alone is no harm; and a second one of version 4, which has the same flag.
        address(2, 200, 0x01, &[attribute(ADDRESS, &v6(5))]),
        address(2, 24, 0x21, &[attribute(LOCAL, &[192, 0, 2, 2])]),
        link(
            1,
            0x1_0049,
            &[attribute(NAME, b"lo\0"), attribute(ADDRESS, &[0; 6])],
        ),
        link(
            2,
            0x1_1043,
            &[
                attribute(NAME, b"eth0\0"),
                attribute(MTU, &1500u32.to_le_bytes()),
                attribute(ADDRESS, &[2, 0, 0, 0, 0, 1]),
            ],
        ),
        link(3, 0x1003, &[attribute(NAME, b"bare\0")]),
        done(),
    ]
    .concat()
}

fn prefix(address: &str, len: u8) -> (IpAddr, u8) {
    (address.parse().unwrap(), len)
}

fn name(of: &Interface) -> &str {
    let end = of.name.iter().position(|byte| *byte == 0).unwrap();
    core::str::from_utf8(&of.name[..end]).unwrap()
}

#[test]
fn a_dump_gives_what_has_usable_addresses() {
    let mut out = Interfaces::new();
    assert_eq!(read(&dump(), &mut out), Ok(true));
    let [lo, ethernet] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!((lo.index, name(lo)), (1, "lo"));
    assert!(lo.has(UP | LOOPBACK | RUNNING) && !lo.has(MULTICAST));
    assert_eq!(lo.hardware, None);
    assert_eq!(lo.addresses, [prefix("127.0.0.1", 8)]);
    assert_eq!((ethernet.index, name(ethernet)), (2, "eth0"));
    assert!(ethernet.has(UP | MULTICAST) && !ethernet.has(POINT_TO_POINT));
    assert_eq!(
        (ethernet.mtu, ethernet.hardware),
        (1500, Some([2, 0, 0, 0, 0, 1]))
    );
    assert_eq!(
        ethernet.addresses,
        [
            prefix("192.0.2.1", 32),
            prefix("fe80::1", 64),
            prefix("fe80::5", 128),
            prefix("192.0.2.2", 24),
        ]
    );
}

#[test]
fn every_prefix_of_a_dump_gives_no_more_than_the_whole() {
    let (bytes, mut whole) = (dump(), Interfaces::new());
    read(&bytes, &mut whole).unwrap();
    for len in 0..bytes.len() {
        let mut out = Interfaces::new();
        assert_eq!(read(&bytes[..len], &mut out), Ok(false));
        for (part, whole) in out.iter().zip(&whole) {
            assert!(whole.addresses.starts_with(&part.addresses));
            assert!(part.name == [0; 16] || part.name == whole.name);
        }
        assert!(out.len() <= whole.len());
    }
}

#[test]
fn what_has_no_length_ends_and_a_refusal_is_an_error() {
    let mut out = Interfaces::new();
    for len in 0..16u32 {
        let mut bytes = dump();
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(read(&bytes, &mut out), Ok(false));
    }
    assert!(out.is_empty());
    for len in 0..4u16 {
        let mut endless = attribute(ADDRESS, &[192, 0, 2, 1]);
        endless[..2].copy_from_slice(&len.to_le_bytes());
        let local = attribute(LOCAL, &[192, 0, 2, 2]);
        let bytes = [address(2, 24, 0, &[local, endless]), done()].concat();
        out.clear();
        assert_eq!(read(&bytes, &mut out), Ok(true));
        assert_eq!(out[0].addresses, [prefix("192.0.2.2", 24)]);
    }
    let refused = message(2, &(-13i32).to_le_bytes(), &[]);
    assert_eq!(read(&refused, &mut out), Err(Errno::OPNOTSUPP));
}

#[test]
fn any_bytes_are_survived() {
    let mut random = crate::engine::trial::random::Random::new(1);
    for _ in 0..20_000 {
        let mut bytes = dump();
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len());
            bytes[at] = random.number() as u8;
        }
        let mut out = Interfaces::new();
        let _ = read(&bytes, &mut out);
        read_lines(&bytes, &mut out);
        assert!(out.iter().all(|interface| interface.name[15] == 0));
    }
}

#[test]
fn more_than_there_is_room_for_is_left_out() {
    let mut out = Interfaces::new();
    for index in 1..=40 {
        for last in 1..=40 {
            let local = attribute(LOCAL, &[192, 0, 2, last]);
            read(&address(index, 24, 0, &[local]), &mut out).unwrap();
        }
    }
    assert_eq!(out.len(), INTERFACE_COUNT_MAX);
    assert!(
        out.iter()
            .all(|interface| interface.addresses.len() == ADDRESS_COUNT_MAX)
    );
}

#[test]
fn lines_of_the_file_are_read_and_all_that_they_are_cut_to() {
    let text = b"00000000000000000000000000000001 01 80 10 80       lo\n\
        fe800000000000000000000000000007 1a4 40 20 80     eth0\n\
        fe800000000000000000000000000008 1a4 40 20 c0     eth0\n\
        junk\n";
    for len in 0..=text.len() {
        let mut out = Interfaces::new();
        assert_eq!(read_lines(&text[..len], &mut out), len >= 45);
        assert_eq!(out.len(), usize::from(len >= 45) + usize::from(len >= 100));
        if let [lo, ethernet] = &out[..] {
            assert_eq!((lo.index, ethernet.index), (1, 0x1a4));
            assert_eq!(lo.addresses, [prefix("::1", 128)]);
            assert_eq!(ethernet.addresses, [prefix("fe80::7", 64)]);
        }
    }
}

/// By what an interface is known, whoever tells of it.
fn known(all: &Interfaces) -> Vec<Interface> {
    let mut all: Vec<_> = all.iter().cloned().collect();
    all.sort_by_key(|interface| interface.index);
    for interface in &mut all {
        interface.addresses.sort();
    }
    all
}

#[test]
fn every_way_of_asking_tells_the_same() {
    let mut told = [const { Interfaces::new() }; 2];
    // Interfaces may come and go between the questions.
    for turn in 0..50 {
        told.iter_mut().for_each(Interfaces::clear);
        netlink::list(&mut told[0]).unwrap();
        requests::list(&mut told[1]);
        if known(&told[0]) == known(&told[1]) || turn == 49 {
            break;
        }
        std::thread::sleep(core::time::Duration::from_millis(20));
    }
    assert_eq!(known(&told[0]), known(&told[1]));
    let lo = told[0].iter().find(|interface| name(interface) == "lo");
    let lo = lo.expect("every host has one");
    assert_eq!(lo.index, 1);
    assert!(lo.has(UP | LOOPBACK));
    assert!(lo.addresses.contains(&prefix("127.0.0.1", 8)));
}

#[test]
fn version_6_is_found_without_the_file() {
    let socket = sockets::open(INET, DATAGRAM).unwrap();
    let (mut told, mut asked) = (Interfaces::new(), Interfaces::new());
    list_v4(&socket, &mut asked);
    assert!(asked[0].addresses.contains(&prefix("127.0.0.1", 8)));
    asked.clear();
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
    // What it says of others is true, if not all.
    for interface in &asked {
        let other = told.iter().find(|other| other.index == interface.index);
        let other = other.expect("nothing is invented");
        for (address, _) in &interface.addresses {
            assert!(other.addresses.iter().any(|(known, _)| known == address));
        }
    }
}

#[test]
fn what_is_told_of_changes_comes_to_an_end() {
    let socket = watch().unwrap();
    // This host may have some at the moment.
    let mut told = (0..1000).map(|_| sockets::recv(&socket, &mut []));
    let end = told.find(Result::is_err);
    assert_eq!(end, Some(Err(Errno::AGAIN)));
}
