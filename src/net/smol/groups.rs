//! IGMP and MLD, as far as smoltcp 0.14 is wrong or incomplete.

use super::packet::{IPV4, adjust_sum};
use crate::mem::Ends as _;
use crate::net::link::ETHERNET_BYTES;
use crate::time::Duration;
use smoltcp::wire::{IgmpPacket, Ipv4Packet};

/// Longest time from a query to smoltcp's reports: the longest response time of MLD on smoltcp's faster clock. IGMP's is shorter,
/// except for response times of more than a minute.
pub(super) const REPORT_TIME: Duration = Duration::from_secs(5);
/// Interval of the polls for reports after a query. smoltcp has no timer for them.
pub(super) const REPORT_POLL: Duration = Duration::from_ms(100);

/// Returns false if a frame has an IGMP message with a wrong checksum. Sets the maximum response time of an IGMPv3 query to at
/// least 0.1 s: smoltcp would otherwise answer as to IGMPv1, whose queries have eight bytes (RFC 3376 section 7.1).
#[inline(never)] // Smaller.
pub(super) fn check(frame: &mut [u8]) -> bool {
    if frame.tail(12).first_chunk() != Some(&IPV4) {
        return true;
    }
    let mut packet = Ipv4Packet::new_unchecked(frame.tail_mut(ETHERNET_BYTES));
    let message = packet.payload_mut();
    let is_intact = IgmpPacket::new_unchecked(&*message).verify_checksum();
    if let [_, time, _, _, _, _, _, _, _, ..] = message {
        *time = (*time).max(1);
    }
    is_intact
}

/// Corrects a report that smoltcp has written: adds the router alert option to IGMP (RFC 2236 section 2), and exchanges the types of
/// MLD records for joining and leaving a group (RFC 3810 section 5.2.12). `buffer` begins with the packet, which has `len` bytes.
/// Returns the new length.
pub(super) fn correct_report(buffer: &mut [u8], len: usize) -> usize {
    const IGMP: u8 = 2;
    const IGMP_BYTES: usize = 28;
    const ALERT: [u8; 4] = [0x94, 4, 0, 0];
    const HOP_BY_HOP: u8 = 0;
    /// Offsets in an MLD report: checksum, type of the first record.
    const SUM: usize = 50;
    const RECORD: usize = 56;
    const CHANGE_TO_INCLUDE: u8 = 3;
    const CHANGE_TO_EXCLUDE: u8 = 4;
    if let Some(packet) = buffer.first_chunk_mut::<{ IGMP_BYTES + ALERT.len() }>()
        && (packet[0], packet[9], len) == (0x45, IGMP, IGMP_BYTES)
    {
        packet.copy_within(20..IGMP_BYTES, 20 + ALERT.len());
        packet[20..][..ALERT.len()].copy_from_slice(&ALERT);
        let old = u16::from_be_bytes([packet[10], packet[11]]);
        // Adds the option, one word to the header's length, and four bytes to the packet's.
        [packet[10], packet[11]] = adjust_sum(old, 0, 0x9404 + 0x0100 + 4).to_be_bytes();
        (packet[0], packet[3]) = (0x46, packet.len() as u8);
        return packet.len();
    }
    if let Some(packet) = buffer.first_chunk_mut::<{ RECORD + 1 }>()
        && (packet[0], packet[6]) == (0x60, HOP_BY_HOP)
        && matches!(packet[RECORD], CHANGE_TO_INCLUDE | CHANGE_TO_EXCLUDE)
    {
        let kind = CHANGE_TO_INCLUDE + CHANGE_TO_EXCLUDE - packet[RECORD];
        let words = [packet[RECORD], kind].map(|kind| u16::from_be_bytes([kind, 0]));
        let old = u16::from_be_bytes([packet[SUM], packet[SUM + 1]]);
        [packet[SUM], packet[SUM + 1]] = adjust_sum(old, words[0], words[1]).to_be_bytes();
        packet[RECORD] = kind;
    }
    len
}
