//! Portmapper version 2 and rpcbind versions 3 and 4: which port serves which program. RFC 1833.
//!
//! SET and UNSET are for other RPC servers of this host; they cannot change the entries of our own programs. CALLIT, by which
//! clients find servers with one broadcast, calls only NULL of our own programs. GETTIME and other procedures are refused.

use super::Cx;
use super::rpc::{Answer, Request, Unanswered};
use crate::event::Line;
use crate::vfs::Peer;
use crate::wire::Writer;
use crate::wire::portmap::{Mapping, PROGRAM, Query, VERSION, VERSION_4, procedure};
use crate::wire::rpc::Reject;
use crate::wire::{mount, nfs3};
use core::net::IpAddr;

/// Capacity of the table (mappings).
pub const MAPPING_COUNT_MAX: usize = 64;
/// The table: program, version, transport and port.
pub type Mappings = heapless::Vec<Mapping, MAPPING_COUNT_MAX>;

/// Longest universal address in the reply to CALLIT (bytes): that of any IPv4 address. With it, the reply is as long as the shortest
/// call, 56 bytes, so that forged calls cannot be used to flood a victim.
const CALLIT_ADDRESS_BYTES_MAX: usize = 24;

/// Answers one call, not NULL.
pub(super) fn answer(
    table: &mut Mappings,
    cx: &Cx<'_>,
    request: &mut Request<'_, '_>,
) -> Result<Answer, Unanswered> {
    let reply = &mut *request.reply;
    let (version, procedure) = (request.call.version, request.call.procedure);
    match procedure {
        procedure::DUMP => {
            dump(table, version, reply);
            return Ok(Answer::DONE);
        }
        procedure::CALLIT => return call_null(table, cx, request).ok_or(Unanswered::Silence),
        procedure::INDIRECT if version == VERSION_4 => {
            return call_null(table, cx, request).ok_or(Reject::Program.into());
        }
        procedure::SET..=procedure::GET => {}
        procedure::GETVERSADDR if version == VERSION_4 => {}
        _ => return Err(Reject::Procedure.into()),
    }
    let query = Query::parse(&mut request.args, version, procedure);
    request.args.check()?;
    let may_change = is_local(&cx.peer) && !is_own(query.program);
    let found = find(table, &query).and_then(|at| table.get(at)).copied();
    let port = found.map_or(0, |mapping| mapping.port);
    let is_done = match procedure {
        procedure::UNSET => {
            while may_change && let Some(at) = find(table, &query) {
                table.swap_remove(at);
            }
            may_change && port != 0
        }
        // A second SET of the same mapping succeeds, but does not replace another port.
        procedure::SET if port != 0 => may_change && port == query.port,
        procedure::SET => {
            let new = query.mapping().filter(|new| may_change && new.port != 0);
            new.is_some_and(|new| table.push(new).is_ok())
        }
        _ => {
            match found {
                Some(mapping) if version != VERSION => {
                    let host = query.host(mapping.transport);
                    reply.opaque(address(host, port).bytes());
                }
                // Without a mapping, the empty address of versions 3 and 4 is the word 0, too.
                _ => reply.u32(port.into()),
            }
            return Ok(Answer::DONE);
        }
    };
    reply.u32(is_done.into());
    Ok(Answer::DONE)
}

/// Writes the result of CALLIT for NULL of one of our own programs: its port (version 2) or its universal address, and no results.
/// Returns `None` for every other procedure. A port of UDP is preferred; NFS has a port of TCP only.
fn call_null(table: &Mappings, cx: &Cx<'_>, request: &mut Request<'_, '_>) -> Option<Answer> {
    let args = &mut request.args;
    let (program, version, procedure) = (args.u32(), args.u32(), args.u32());
    args.opaque(u32::MAX);
    let is_null = args.check().is_ok() && procedure == procedure::NULL && is_own(program);
    let is_v6 = cx.peer.address.to_ipv4_mapped().is_none();
    let asked = (program, version, is_v6);
    let mappings = table.iter().filter(|mapping| {
        is_null && asked == (mapping.program, mapping.version, mapping.transport.is_v6())
    });
    let mapping = mappings.max_by_key(|mapping| mapping.transport.is_udp())?;
    let reply = &mut *request.reply;
    if request.call.version == VERSION {
        reply.u32(mapping.port.into());
    } else {
        let mut host = Line::default();
        match request.reached {
            Some(IpAddr::V4(ip)) if !is_v6 => host.address(ip.to_ipv6_mapped()),
            Some(IpAddr::V6(ip)) if is_v6 => host.address(ip),
            _ => &mut host,
        };
        let mut reached = address(host.bytes(), mapping.port);
        if host.bytes().is_empty() || reached.bytes().len() > CALLIT_ADDRESS_BYTES_MAX {
            reached = address(mapping.transport.any_host(), mapping.port);
        }
        reply.opaque(reached.bytes());
    }
    reply.opaque(b"");
    Some(Answer::DONE)
}

/// Answers DUMP: an XDR linked list of the mappings. Version 2 has only those of IPv4.
fn dump(table: &Mappings, version: u32, reply: &mut Writer<'_>) {
    for mapping in table {
        let transport = mapping.transport;
        if version == VERSION && transport.is_v6() {
            continue;
        }
        reply.words(&[1, mapping.program, mapping.version]);
        if version == VERSION {
            reply.words(&[transport.protocol(), mapping.port.into()]);
        } else {
            reply.opaque(transport.netid());
            reply.opaque(address(transport.any_host(), mapping.port).bytes());
            reply.u32(0); // No owner is recorded.
        }
    }
    reply.u32(0);
}

/// Returns the index of the first mapping that the query names.
fn find(table: &Mappings, query: &Query<'_>) -> Option<usize> {
    table.iter().position(|mapping| query.names(mapping))
}

/// Returns true if the peer uses a port below 1024 of this host's loopback interface, as rpcbind requires for changes.
fn is_local(peer: &Peer) -> bool {
    let address = peer.address.to_bits();
    // ::1, or 127.0.0.0/8 mapped into IPv6.
    peer.is_privileged() && (address == 1 || address >> 24 == 0x00ff_ff7f)
}

/// Returns true for the programs of this server, whose mappings are fixed.
const fn is_own(program: u32) -> bool {
    matches!(program, PROGRAM | nfs3::PROGRAM | mount::PROGRAM)
}

/// Returns the universal address of a host and port: the host, and the two bytes of the port, with dots between them.
pub fn address(host: &[u8], port: u16) -> Line {
    let mut line = Line::default();
    line.raw(host);
    for byte in port.to_be_bytes() {
        line.byte(b'.').number(byte.into());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn only_low_loopback_ports_change_table() {
        let other = Ipv4Addr::new(126, 0, 0, 1).to_ipv6_mapped();
        for (address, port, expect) in [
            (Ipv6Addr::LOCALHOST, 1023, true),
            (Ipv6Addr::LOCALHOST, 1024, false),
            (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 1023, true),
            (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 1024, false),
            (Ipv4Addr::LOCALHOST.to_ipv6_compatible(), 1023, false),
            (Ipv6Addr::UNSPECIFIED, 1023, false),
            (other, 1023, false),
        ] {
            let peer = Peer { address, port };
            assert_eq!(is_local(&peer), expect, "{peer:?}");
        }
    }
}
