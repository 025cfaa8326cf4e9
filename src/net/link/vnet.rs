//! The virtio-net header before a frame, by which checksums and segmentation are offloaded (virtio specification section 5.1.6;
//! `struct virtio_net_hdr` of linux/virtio_net.h). Its numbers are in host byte order.

use core::num::NonZeroU16;

/// Header length (bytes): flags, segmentation type, then four 16-bit numbers.
pub(super) const BYTES: usize = 10;

/// VIRTIO_NET_HDR_F_NEEDS_CSUM: checksum the bytes from `csum_start` on, and store it at `csum_offset` from there.
const NEEDS_CHECKSUM: u8 = 1;
/// VIRTIO_NET_HDR_F_DATA_VALID.
const IS_VERIFIED: u8 = 2;
const SEGMENTS_V4: u8 = 1;
const SEGMENTS_V6: u8 = 4;

const ETHERNET_BYTES: usize = super::ETHERNET_BYTES;
const IPV4: [u8; 2] = [8, 0];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Returns true if a frame with this header has checksums that need not be verified.
pub(super) fn is_verified(header: &[u8]) -> bool {
    header
        .first()
        .is_some_and(|flags| flags & (NEEDS_CHECKSUM | IS_VERIFIED) != 0)
}

/// Position of a TCP or UDP checksum and of the bytes it covers.
struct Covered {
    /// Offset of the TCP or UDP header in the frame.
    start: usize,
    /// Offset of the checksum in that header.
    checksum: usize,
    /// Length of that header in bytes.
    header: usize,
    kind: u8,
    /// Sum of the pseudo-header, not complemented: addresses, protocol and length (RFC 9293 section 3.1).
    pseudo: u16,
}

fn sum(bytes: &[u8]) -> u32 {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// Locates the checksum in a frame that our stack has built: no fragment, no extension header. `None`: neither TCP nor UDP.
fn covered(frame: &[u8]) -> Option<Covered> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    let (protocol, addresses, start, kind) = match *frame.get(12..ETHERNET_BYTES)?.first_chunk()? {
        IPV4 => {
            let header = usize::from(*packet.first()? & 15) * 4;
            (*packet.get(9)?, packet.get(12..20)?, header, SEGMENTS_V4)
        }
        IPV6 => (*packet.get(6)?, packet.get(8..40)?, 40, SEGMENTS_V6),
        _ => return None,
    };
    let payload = packet.get(start..)?;
    let (checksum, header) = match protocol {
        TCP => (16, usize::from(*payload.get(12)? >> 4) * 4),
        UDP => (6, 8),
        _ => return None,
    };
    let len = payload.len() as u32;
    Some(Covered {
        start: ETHERNET_BYTES + start,
        checksum,
        header,
        kind,
        pseudo: fold(sum(addresses) + u32::from(protocol) + (len >> 16) + (len & 0xffff)),
    })
}

/// Writes the virtio-net header to the first [`BYTES`] of `buffer`; the frame follows. The frame's checksum field is set to the
/// sum of the pseudo-header, as VIRTIO_NET_HDR_F_NEEDS_CSUM requires; the link adds the sum of the bytes from `csum_start` on.
pub(super) fn fill(buffer: &mut [u8], segment: Option<NonZeroU16>) {
    let Some((header, frame)) = buffer.split_at_mut_checked(BYTES) else {
        return;
    };
    header.fill(0);
    let Some(covered) = covered(frame) else {
        return;
    };
    let at = covered.start + covered.checksum;
    let Some(checksum) = frame.get_mut(at..at + 2) else {
        return;
    };
    checksum.copy_from_slice(&covered.pseudo.to_be_bytes());
    let (kind, head, segment) = match segment {
        Some(segment) => (covered.kind, covered.start + covered.header, segment.get()),
        None => (0, 0, 0),
    };
    let numbers = [
        head as u16,
        segment,
        covered.start as u16,
        covered.checksum as u16,
    ];
    if let [flags, kind_at, rest @ ..] = header {
        (*flags, *kind_at) = (NEEDS_CHECKSUM, kind);
        for (place, number) in rest.chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP frame from 192.0.2.1:1 to 192.0.2.2:2 with two bytes, without a checksum.
    const DATAGRAM: [u8; 44] = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, //
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, //
        0, 1, 0, 2, 0, 10, 0, 0, b'h', b'i',
    ];

    #[test]
    fn checksum_offload_header_is_written() {
        let mut buffer = [[0xaa; BYTES].as_slice(), &DATAGRAM].concat();
        fill(&mut buffer, None);
        let numbers: Vec<u16> = buffer[2..BYTES]
            .chunks(2)
            .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(
            (&buffer[..2], &numbers[..]),
            (&[1, 0][..], &[0, 0, 34, 6][..])
        );
        // The checksum field has the sum of the pseudo-header: c000 + 0201 + c000 + 0202 + 0011 + 000a, with the carry added.
        assert_eq!(buffer[BYTES + 40..BYTES + 42], [0x84, 0x1f]);
        assert!(is_verified(&buffer));
    }

    #[test]
    fn short_frames_never_panic() {
        for len in 0..BYTES + DATAGRAM.len() {
            let mut buffer = [[0; BYTES].as_slice(), &DATAGRAM].concat();
            fill(&mut buffer[..len], NonZeroU16::new(1460));
        }
    }
}
