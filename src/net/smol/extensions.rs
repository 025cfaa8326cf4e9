//! IPv6 extension headers (RFC 8200 section 4). smoltcp 0.14 refuses packets that have any but hop-by-hop options, so they are
//! removed before smoltcp sees a packet. Also corrects the ICMPv6 errors by which smoltcp refuses the other packets.

use super::packet::{IPV6, MLD_QUERY, adjust_sum, destination};
use crate::mem::Ends as _;
use crate::net::link::ETHERNET_BYTES;

/// Length of the IPv6 header (bytes), and offsets of its fields.
const HEAD_BYTES: usize = 40;
const NEXT_HEADER: usize = 6;
const DESTINATION: usize = 24;

/// Values of the next header field.
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const NOTHING: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

/// Codes of the ICMPv6 message "parameter problem" (RFC 4443 section 3.4).
const BAD_FIELD: u8 = 0;
const UNKNOWN_HEADER: u8 = 1;
const UNKNOWN_OPTION: u8 = 2;

/// The reason why a packet is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rejected {
    /// The packet is dropped.
    Silent,
    /// A parameter problem is sent: its code, and the offset of the field in the packet.
    Problem(u8, usize),
}

/// Reads the extension headers of an IPv6 packet. Returns the protocol of the payload and its offset.
fn payload(packet: &[u8]) -> Result<(u8, usize), Rejected> {
    let byte = |at: usize| packet.get(at).copied().ok_or(Rejected::Silent);
    if byte(0)? >> 4 != 6 {
        return Err(Rejected::Silent);
    }
    let (mut field, mut at) = (NEXT_HEADER, HEAD_BYTES);
    loop {
        let protocol = byte(field)?;
        match protocol {
            TCP | UDP | ICMPV6 => return Ok((protocol, at)),
            // Fragments are not reassembled.
            FRAGMENT | NOTHING => return Err(Rejected::Silent),
            // Hop-by-hop options are valid only directly after the IPv6 header.
            HOP_BY_HOP if field == NEXT_HEADER => {}
            ROUTING | DESTINATION_OPTIONS => {}
            _ => return Err(Rejected::Problem(UNKNOWN_HEADER, field)),
        }
        let end = at + 8 + 8 * usize::from(byte(at + 1)?);
        byte(end - 1)?;
        if protocol != ROUTING {
            check_options(packet.head(end), at + 2)?;
        } else if byte(at + 3)? != 0 {
            // A routing header is ignored if no segments are left (section 4.4).
            return Err(Rejected::Problem(BAD_FIELD, at + 2));
        }
        (field, at) = (at, end);
    }
}

/// Checks the options from `at` to the end of `packet`. Known ones, and unknown ones that may be skipped, have a type below 64
/// (RFC 8200 section 4.2).
fn check_options(packet: &[u8], mut at: usize) -> Result<(), Rejected> {
    const PAD1: u8 = 0;
    const MULTICAST: u8 = 0xff;
    while let Some(kind) = packet.get(at) {
        match kind >> 6 {
            0 => {}
            2 => return Err(Rejected::Problem(UNKNOWN_OPTION, at)),
            3 if packet.get(DESTINATION) != Some(&MULTICAST) => {
                return Err(Rejected::Problem(UNKNOWN_OPTION, at));
            }
            _ => return Err(Rejected::Silent),
        }
        at += match *kind {
            PAD1 => 1,
            _ => 2 + usize::from(*packet.get(at + 1).ok_or(Rejected::Silent)?),
        };
    }
    match at == packet.len() {
        true => Ok(()),
        false => Err(Rejected::Silent),
    }
}

/// Returns true if hop-by-hop options have a router alert, which each MLD message needs (RFC 3810 section 6.2).
fn alerts_routers(packet: &[u8]) -> bool {
    const ROUTER_ALERT: [u8; 4] = [5, 2, 0, 0];
    let mut options = packet.tail(HEAD_BYTES + 2).windows(ROUTER_ALERT.len());
    packet.get(NEXT_HEADER) == Some(&HOP_BY_HOP) && options.any(|option| option == ROUTER_ALERT)
}

/// Removes the extension headers of the IPv6 packet in a frame. Returns the frame without them, or unchanged if smoltcp refuses it
/// with an ICMPv6 error. `None`: the frame is dropped.
#[inline(never)] // −51 bytes: one caller, whose frame stays small.
pub(super) fn remove(frame: &mut [u8]) -> Option<&mut [u8]> {
    const LENGTH: usize = ETHERNET_BYTES + 4;
    if frame.tail(12).first_chunk() != Some(&IPV6) {
        return Some(frame);
    }
    let (protocol, at) = match payload(frame.tail(ETHERNET_BYTES)) {
        Ok(payload) => payload,
        Err(Rejected::Problem(..)) => return Some(frame),
        Err(Rejected::Silent) => return None,
    };
    let removed = at - HEAD_BYTES;
    let packet = frame.tail(ETHERNET_BYTES);
    if protocol == ICMPV6 && packet.get(at) == Some(&MLD_QUERY) && !alerts_routers(packet.head(at))
    {
        return None;
    }
    let mut head = *frame.first_chunk::<{ ETHERNET_BYTES + HEAD_BYTES }>()?;
    let length = u16::from_be_bytes([head[LENGTH], head[LENGTH + 1]]);
    let length = length.checked_sub(removed as u16)?;
    [head[LENGTH], head[LENGTH + 1]] = length.to_be_bytes();
    head[ETHERNET_BYTES + NEXT_HEADER] = protocol;
    let frame = frame.tail_mut(removed);
    *frame.first_chunk_mut()? = head;
    Some(frame)
}

/// Returns true if `error`, an ICMP error that smoltcp has written about the packet in `frame`, may be sent. Errors about packets to
/// groups are not sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e). Corrects the code and the pointer of a parameter problem.
/// An error about a datagram becomes "port unreachable": smoltcp, which has no UDP here, knows no such protocol.
pub(super) fn correct_error(error: &mut [u8], frame: &[u8]) -> bool {
    const IPV4_HEAD_BYTES: usize = 20;
    const IPV4_PROTOCOL: usize = 9;
    /// Types and codes of "port unreachable" (RFC 792, RFC 4443 section 3.1).
    const PORT_V4: [u8; 2] = [3, 3];
    const PORT_V6: [u8; 2] = [1, 4];
    const PROBLEM: u8 = 4;
    let packet = frame.tail(ETHERNET_BYTES);
    let Some((ethertype, to)) = destination(packet) else {
        return false;
    };
    let is_unicast = frame.first().is_some_and(|first| first & 1 == 0) && !to.is_multicast();
    let (message, known) = match payload(packet) {
        _ if ethertype != IPV6 && packet.get(IPV4_PROTOCOL) == Some(&UDP) => {
            (error.tail_mut(IPV4_HEAD_BYTES), (PORT_V4, 0))
        }
        Ok((UDP, _)) => (error.tail_mut(HEAD_BYTES), (PORT_V6, 0)),
        Err(Rejected::Problem(code, at)) => {
            (error.tail_mut(HEAD_BYTES), ([PROBLEM, code], at as u16))
        }
        _ => return is_unicast,
    };
    let (kind, pointer) = known;
    if let Some([known_kind @ .., high_sum, low_sum, _, _, high, low]) =
        message.first_chunk_mut::<8>()
    {
        let sum = u16::from_be_bytes([*high_sum, *low_sum]);
        let words = [*known_kind, kind].map(u16::from_be_bytes);
        let sum = adjust_sum(sum, words[0], words[1]);
        let sum = adjust_sum(sum, u16::from_be_bytes([*high, *low]), pointer);
        [*high_sum, *low_sum] = sum.to_be_bytes();
        *known_kind = kind;
        [*high, *low] = pointer.to_be_bytes();
    }
    is_unicast || matches!(kind, [PROBLEM, UNKNOWN_OPTION])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a packet to `to` with these extension headers, the first of this type.
    fn packet(to: u8, first: u8, extensions: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEAD_BYTES];
        packet[0] = 0x60;
        packet[NEXT_HEADER] = first;
        packet[DESTINATION] = to;
        packet.extend(extensions);
        packet
    }

    #[test]
    fn extension_headers_are_checked() {
        let (problem, silent) = (
            |code, at| Err(Rejected::Problem(code, at)),
            Err(Rejected::Silent),
        );
        for (first, extensions, expected) in [
            (TCP, &[][..], Ok((TCP, 40))),
            (0, &[TCP, 0, 5, 2, 0, 0, 1, 0], Ok((TCP, 48))),
            (60, &[TCP, 0, 0x3f, 4, 1, 2, 3, 4], Ok((TCP, 48))),
            (60, &[TCP, 0, 0, 0, 0, 0, 0, 0], Ok((TCP, 48))),
            (
                0,
                &[60, 0, 1, 4, 0, 0, 0, 0, TCP, 0, 1, 4, 0, 0, 0, 0],
                Ok((TCP, 56)),
            ),
            (43, &[TCP, 0, 0, 0, 0, 0, 0, 0], Ok((TCP, 48))),
            (43, &[TCP, 0, 0, 1, 0, 0, 0, 0], problem(BAD_FIELD, 42)),
            (
                60,
                &[TCP, 0, 0, 0x80, 0, 0, 0, 0],
                problem(UNKNOWN_OPTION, 43),
            ),
            (
                0,
                &[TCP, 0, 1, 0, 0xc2, 0, 0, 0],
                problem(UNKNOWN_OPTION, 44),
            ),
            (60, &[TCP, 0, 0x40, 4, 0, 0, 0, 0], silent),
            // Hop-by-hop options after destination options, and an unknown header.
            (60, &[0, 0, 1, 4, 0, 0, 0, 0], problem(UNKNOWN_HEADER, 40)),
            (253, &[0; 8], problem(UNKNOWN_HEADER, NEXT_HEADER)),
            // A fragment, no next header, headers and options that are too long.
            (44, &[TCP, 0, 0, 0, 0, 0, 0, 0], silent),
            (59, &[0; 8], silent),
            (60, &[TCP, 1, 1, 4, 0, 0, 0, 0], silent),
            (60, &[TCP, 0, 1, 5, 0, 0, 0, 0], silent),
            (60, &[TCP, 0, 1, 3, 0, 0, 0, 1], silent),
            (60, &[TCP], silent),
        ] {
            assert_eq!(
                payload(&packet(0xfe, first, extensions)),
                expected,
                "{first} {extensions:?}"
            );
        }
        // An option of type 0b10… is refused also to a group, 0b11… is not.
        for (kind, expected) in [(0x80, problem(UNKNOWN_OPTION, 42)), (0xc0, silent)] {
            let packet = packet(0xff, 60, &[TCP, 0, kind, 4, 0, 0, 0, 0]);
            assert_eq!(payload(&packet), expected);
        }
    }
}
