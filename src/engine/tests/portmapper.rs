//! The portmapper: lookups in all versions, and registrations of other servers.

use super::Bench;
use super::calls::Call;
use crate::engine::portmap::MAPPING_COUNT_MAX;
use crate::wire::portmap::{PROGRAM, Transport};
use crate::wire::rpc::{Reject, emit_rejection};
use crate::wire::{Writer, mount, nfs3};
use core::net::{Ipv4Addr, Ipv6Addr};

const LOCKD: u32 = 100_021;
const TCP: u32 = 6;

fn call(version: u32, procedure: u32) -> Call {
    Call::new(PROGRAM, version, procedure)
}

/// A call of version 3 or 4 with a mapping. The owner is empty.
fn rpcb(version: u32, procedure: u32, program: u32, netid: &str, address: &str) -> Call {
    let call = call(version, procedure).words(&[program, 3]);
    let call = call.opaque(netid.as_bytes()).opaque(address.as_bytes());
    call.opaque(b"")
}

/// A string in words: its length, and its bytes padded with zeros.
fn string(text: &str) -> Vec<u32> {
    let mut words = vec![text.len() as u32];
    for chunk in text.as_bytes().chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        words.push(u32::from_be_bytes(word));
    }
    words
}

/// Compares the words of the reply after its header.
#[track_caller]
fn check(bench: &mut Bench, call: &Call, expect: &[&[u32]]) {
    assert_eq!(
        words(&bench.reply(call)),
        [&[7, 1, 0, 0, 0, 0], &expect.concat()[..]].concat()
    );
}

/// Checks that a call is rejected.
#[track_caller]
fn refuse(bench: &mut Bench, call: &Call, why: Reject) {
    let mut buffer = [0; 64];
    let mut reply = Writer::new(&mut buffer);
    emit_rejection(&mut reply, 7, why);
    assert_eq!(bench.reply(call), reply.since(0));
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u32::from_be_bytes(*word)).collect()
}

/// A bench whose client uses a port below 1024 of this host.
fn local() -> Bench {
    Bench {
        peer: Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        ..Bench::default()
    }
}

#[test]
fn getaddr_returns_the_host_that_the_client_reached() {
    let mut bench = local();
    check(&mut bench, &rpcb(4, 1, LOCKD, "tcp6", "::.3.231"), &[&[1]]);
    for version in [3, 4] {
        for (program, netid, asked, expect) in [
            (nfs3::PROGRAM, "tcp", "192.0.2.1.0.111", "192.0.2.1.8.1"),
            (nfs3::PROGRAM, "tcp", "", "0.0.0.0.8.1"),
            (nfs3::PROGRAM, "tcp", "::1.0.111", "0.0.0.0.8.1"),
            (nfs3::PROGRAM, "udp", "192.0.2.1.0.111", ""),
            (nfs3::PROGRAM, "local", "", ""),
            (LOCKD, "tcp6", "fe80::1.0.111", "fe80::1.3.231"),
            (LOCKD, "tcp6", "192.0.2.1.0.111", "::.3.231"),
            (LOCKD, "tcp", "192.0.2.1.0.111", ""),
        ] {
            let call = rpcb(version, 3, program, netid, asked);
            check(&mut bench, &call, &[&string(expect)]);
        }
    }
    let asked = "192.0.2.1.0.111";
    let call = rpcb(4, 9, nfs3::PROGRAM, "tcp", asked);
    check(&mut bench, &call, &[&string("192.0.2.1.8.1")]);
    refuse(
        &mut bench,
        &rpcb(3, 9, nfs3::PROGRAM, "tcp", asked),
        Reject::Procedure,
    );
}

/// CALLIT with AUTH_NONE: 56 bytes.
fn call_it(version: u32, procedure: u32, asked: [u32; 3]) -> Call {
    call(version, procedure).words(&asked).opaque(b"")
}

#[test]
fn callit_answers_only_own_null() {
    let mut bench = Bench::default();
    let mut ask = |call: &Call| bench.datagram(&call.0);
    for (procedure, versions) in [(5, 2..5), (10, 4..5)] {
        for version in versions {
            let reply = match version {
                2 => vec![2049, 0],
                _ => [string("198.51.100.1.8.1"), vec![0]].concat(),
            };
            for program in [nfs3::PROGRAM, mount::PROGRAM] {
                let call = call_it(version, procedure, [program, 3, 0]);
                let answer = ask(&call).unwrap();
                assert_eq!(words(&answer)[..6], [7, 1, 0, 0, 0, 0]);
                assert_eq!(words(&answer)[6..], reply);
                assert!(answer.len() <= call.0.len(), "{} bytes", answer.len());
            }
            let others = [
                [LOCKD, 3, 0],
                [nfs3::PROGRAM, 2, 0],
                [nfs3::PROGRAM, 3, 1],
                [mount::PROGRAM, 3, 5],
                [PROGRAM, 2, 5],
            ];
            let others = others.map(|asked| call_it(version, procedure, asked));
            for call in others.iter().chain([&call(version, procedure)]) {
                let stat = ask(call).map(|answer| words(&answer)[5]);
                // INDIRECT reports failures: PROG_UNAVAIL.
                assert_eq!(stat, (procedure == 10).then_some(1));
            }
        }
    }
    // A client that uses IPv6 gets a port of IPv6, and no address of the other family.
    let mut bench = Bench {
        peer: Ipv6Addr::LOCALHOST,
        ..Bench::default()
    };
    for mapping in &mut bench.programs.mappings {
        mapping.transport = Transport::Tcp6;
    }
    let answer = bench.datagram(&call_it(3, 5, [nfs3::PROGRAM, 3, 0]).0);
    assert_eq!(
        words(&answer.unwrap())[6..],
        [string("::.8.1"), vec![0]].concat()
    );
    // A stream continues after a call that is not answered.
    let mut bench = Bench::default();
    let silent = call_it(2, 5, [LOCKD, 3, 0]).record();
    let talk = bench.send_pieces(&[silent, call(2, 0).record()].concat(), || 9);
    assert_eq!(talk.output.len(), 4 + 24);
}

#[test]
fn dump_has_ports_or_universal_addresses() {
    let mut bench = local();
    check(&mut bench, &rpcb(4, 1, LOCKD, "udp6", "::.3.231"), &[&[1]]);
    let owner = string("");
    let entry = |program, netid, address| {
        let strings = [&string(netid)[..], &string(address), &owner].concat();
        [&[1, program, 3][..], &strings].concat()
    };
    let all = [
        entry(nfs3::PROGRAM, "tcp", "0.0.0.0.8.1"),
        entry(mount::PROGRAM, "tcp", "0.0.0.0.8.1"),
        entry(LOCKD, "udp6", "::.3.231"),
    ]
    .concat();
    check(&mut bench, &call(3, 4), &[&all, &[0]]);
    check(&mut bench, &call(4, 4), &[&all, &[0]]);
    let nfs = [1, nfs3::PROGRAM, 3, TCP, 2049];
    let mount = [1, mount::PROGRAM, 3, TCP, 2049];
    check(&mut bench, &call(2, 4), &[&nfs, &mount, &[0]]);
}

#[test]
fn set_keeps_another_port_and_unset_removes() {
    let mut bench = local();
    let set = |port| call(2, 1).words(&[LOCKD, 3, TCP, port]);
    let get = call(2, 3).words(&[LOCKD, 3, TCP, 0]);
    check(&mut bench, &set(999), &[&[1]]);
    check(&mut bench, &set(999), &[&[1]]);
    check(&mut bench, &set(998), &[&[0]]);
    check(&mut bench, &get, &[&[999]]);
    check(&mut bench, &rpcb(4, 2, LOCKD, "udp", ""), &[&[0]]);
    check(&mut bench, &rpcb(4, 2, LOCKD, "tcp", ""), &[&[1]]);
    check(&mut bench, &get, &[&[0]]);
    // Version 2 ignores the protocol of UNSET; in version 4 no netid means all.
    for unset in [
        call(2, 2).words(&[LOCKD, 3, 0, 0]),
        rpcb(4, 2, LOCKD, "", ""),
    ] {
        check(&mut bench, &rpcb(3, 1, LOCKD, "udp6", "::1.3.231"), &[&[1]]);
        check(&mut bench, &set(999), &[&[1]]);
        check(&mut bench, &unset, &[&[1]]);
        check(&mut bench, &unset, &[&[0]]);
        check(&mut bench, &get, &[&[0]]);
    }
}

#[test]
fn invalid_and_surplus_sets_are_refused() {
    let mut bench = local();
    for (netid, address) in [
        ("", "::.3.231"),
        ("local", "::.3.231"),
        ("tcp6", ""),
        ("tcp6", "::.0.0"),
    ] {
        check(&mut bench, &rpcb(4, 1, LOCKD, netid, address), &[&[0]]);
    }
    for port in [0, 65536] {
        check(
            &mut bench,
            &call(2, 1).words(&[LOCKD, 3, TCP, port]),
            &[&[0]],
        );
    }
    check(&mut bench, &call(2, 1).words(&[LOCKD, 3, 1, 99]), &[&[0]]);
    let own_count = bench.programs.mappings.len();
    for version in own_count..=MAPPING_COUNT_MAX {
        let set = call(2, 1).words(&[LOCKD, version as u32, TCP, 99]);
        check(&mut bench, &set, &[&[(version < MAPPING_COUNT_MAX).into()]]);
    }
}

#[test]
fn other_hosts_cannot_change_the_table() {
    for peer in [
        Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(),
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    ] {
        let mut bench = local();
        let set = call(2, 1).words(&[LOCKD, 3, TCP, 99]);
        check(&mut bench, &set, &[&[1]]);
        bench.peer = peer;
        check(&mut bench, &call(2, 1).words(&[LOCKD, 4, TCP, 99]), &[&[0]]);
        check(&mut bench, &call(2, 2).words(&[LOCKD, 3, TCP, 99]), &[&[0]]);
        check(&mut bench, &rpcb(4, 2, LOCKD, "", ""), &[&[0]]);
        check(&mut bench, &call(2, 3).words(&[LOCKD, 3, TCP, 0]), &[&[99]]);
    }
}

#[test]
fn mappings_of_our_programs_cannot_be_changed() {
    let mut bench = local();
    for program in [PROGRAM, nfs3::PROGRAM, mount::PROGRAM] {
        check(
            &mut bench,
            &call(2, 1).words(&[program, 9, TCP, 99]),
            &[&[0]],
        );
        check(
            &mut bench,
            &rpcb(4, 1, program, "udp6", "::.3.231"),
            &[&[0]],
        );
        check(&mut bench, &rpcb(4, 2, program, "", ""), &[&[0]]);
    }
    let get = call(2, 3).words(&[nfs3::PROGRAM, 3, TCP, 0]);
    check(&mut bench, &get, &[&[2049]]);
}

#[test]
fn other_procedures_and_short_arguments_are_refused() {
    let mut bench = local();
    for (version, procedure, why) in [
        (1, 0, Reject::Version(2, 4)),
        (5, 0, Reject::Version(2, 4)),
        (2, 6, Reject::Procedure),
        (3, 6, Reject::Procedure),
        (3, 10, Reject::Procedure),
        (4, 10, Reject::Program),
        (4, 11, Reject::Procedure),
        (2, 3, Reject::Arguments),
        (4, 1, Reject::Arguments),
    ] {
        let call = call(version, procedure).words(&[LOCKD, 3, 6]);
        refuse(&mut bench, &call, why);
    }
    for version in [2, 3, 4] {
        check(&mut bench, &call(version, 0), &[]);
    }
}

#[test]
fn datagram_to_another_network_amplifies_nothing() {
    for (peer, is_near) in [
        (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), true),
        (Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped(), true),
        (Ipv4Addr::new(169, 254, 2, 3).to_ipv6_mapped(), true),
        (Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(), false),
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), true),
        (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), true),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), false),
    ] {
        let mut bench = Bench {
            peer,
            ..Bench::default()
        };
        let dump = Call(call(4, 4).0[..24].to_vec()).words(&[0; 4]);
        let reply = bench.datagram(&dump.0).unwrap();
        assert_eq!(reply.len() > dump.0.len(), is_near, "{peer}");
        let stat = words(&reply)[5];
        assert_eq!(stat, if is_near { 0 } else { 5 }, "{peer}");
        let get = call(2, 3).words(&[nfs3::PROGRAM, 3, TCP, 0]);
        assert_eq!(words(&bench.datagram(&get.0).unwrap())[5..], [0, 2049]);
        // The rejection is longer than this call of another RPC version.
        let short = Call(vec![0; 8]).word(3);
        assert_eq!(bench.datagram(&short.0).is_some(), is_near, "{peer}");
    }
}
