//! A tap on a guest's network card: keeps the RPC calls, replies and ends of TCP connections, and the UDP datagrams of the last ten
//! seconds.
//!
//! QEMU writes each frame to a FIFO in the format of pcap. No frame is lost: QEMU waits while the FIFO is full.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use crate::clients::nfs::nfs3::{NFS_PROGRAM, PROGRAM, VERSION};
use crate::clients::nfs::status_of;

/// Time (µs) for which lines are kept.
const KEPT_US: u64 = 10_000_000;
/// Length (bytes) of the decoded part of a record: its mark and, with a short credential, all up to the first operation of a COMPOUND.
const HEAD_BYTES: usize = 256;
/// Protocols over IP.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Program, version and procedure of COMPOUND.
const COMPOUND: [u32; 3] = [PROGRAM, 4, 1];

/// The lines of a guest's traffic.
pub struct Tap {
    decoder: Arc<Mutex<Decoder>>,
    directory: TempDir,
}

impl Tap {
    /// Makes a FIFO and reads frames from it in a thread, which ends with QEMU.
    pub(super) fn create() -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot create a directory for frames")?;
        let tap = Self {
            decoder: Arc::default(),
            directory,
        };
        mkfifo(&tap.fifo(), Mode::S_IRUSR | Mode::S_IWUSR).context("cannot make a FIFO")?;
        let (fifo, decoder) = (tap.fifo(), Arc::clone(&tap.decoder));
        std::thread::spawn(move || -> Option<()> {
            let mut frames = BufReader::with_capacity(1 << 20, File::open(fifo).ok()?);
            let _: [u8; 24] = read(&mut frames)?;
            loop {
                let mut field = || read(&mut frames).map(u32::from_ne_bytes);
                let [secs, us, len, _] = [field()?, field()?, field()?, field()?];
                let mut frame = vec![0; len as usize];
                frames.read_exact(&mut frame).ok()?;
                let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
                decoder.handle(u64::from(secs) * 1_000_000 + u64::from(us), &frame);
            }
        });
        Ok(tap)
    }

    /// The path of the FIFO.
    pub(super) fn fifo(&self) -> PathBuf {
        self.directory.path().join("frames")
    }

    /// Forgets all lines.
    pub fn clear(&self) {
        let mut decoder = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        decoder.lines.clear();
    }

    /// The lines of the last ten seconds: datagrams, calls, replies with their statuses, SYNs, FINs and RSTs. Each begins with its time (s)
    /// before the last frame.
    pub fn lines(&self) -> Vec<String> {
        let decoder = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = decoder.lines.iter();
        let before = |at: u64| decoder.now_us.saturating_sub(at) as f64 / 1e6;
        lines
            .map(|(at, line)| format!("-{:.6} {line}", before(*at)))
            .collect()
    }
}

fn read<const LEN: usize>(input: &mut impl Read) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    input.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Source and destination port. The guest has one address, and so has the host.
type Ports = [u16; 2];

/// One direction of a TCP connection.
#[derive(Default)]
struct Stream {
    /// Sequence number of the next byte; `None` before the first segment.
    next: Option<u32>,
    /// The first bytes of the current record.
    head: Vec<u8>,
    /// Number of bytes to skip until the next record mark.
    skipped_len: usize,
    /// True if the current fragment continues a record.
    is_continued: bool,
}

impl Stream {
    /// Handles new bytes of the stream. Returns the head of each record whose head they complete.
    fn heads(&mut self, mut rest: &[u8]) -> Vec<Vec<u8>> {
        let mut heads = Vec::new();
        while !rest.is_empty() {
            let skipped_len = self.skipped_len.min(rest.len());
            (self.skipped_len, rest) = (self.skipped_len - skipped_len, &rest[skipped_len..]);
            let wanted = self.fragment_len().unwrap_or(4).min(HEAD_BYTES);
            let len = (wanted - self.head.len()).min(rest.len());
            self.head.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
            let Some(fragment_len) = self.fragment_len() else {
                continue;
            };
            if self.head.len() == fragment_len.min(HEAD_BYTES) {
                self.skipped_len = fragment_len - self.head.len();
                let is_last = self.head[0] & 0x80 != 0;
                let head = std::mem::take(&mut self.head);
                if !std::mem::replace(&mut self.is_continued, !is_last) {
                    heads.push(head);
                }
            }
        }
        heads
    }

    /// Length (bytes) of the current fragment with its mark, if the mark is known.
    fn fragment_len(&self) -> Option<usize> {
        let mark = u32::from_be_bytes(*self.head.first_chunk()?);
        Some(4 + (mark & 0x7fff_ffff) as usize)
    }
}

#[derive(Default)]
struct Decoder {
    now_us: u64,
    lines: VecDeque<(u64, String)>,
    streams: HashMap<Ports, Stream>,
    /// The names of the calls without a reply, by connection and XID.
    calls: HashMap<(Ports, u32), String>,
}

impl Decoder {
    fn handle(&mut self, now_us: u64, frame: &[u8]) {
        self.now_us = now_us;
        while self
            .lines
            .front()
            .is_some_and(|(at, _)| at + KEPT_US < now_us)
        {
            self.lines.pop_front();
        }
        // Other frames, such as ARP, are ignored.
        let _ = self.segment(frame);
    }

    fn say(&mut self, [from, to]: Ports, what: &str) {
        let line = format!("{from} > {to}: {what}");
        self.lines.push_back((self.now_us, line));
    }

    /// Handles a TCP segment or a UDP datagram over IPv4. Returns `None` for any other frame.
    fn segment(&mut self, frame: &[u8]) -> Option<()> {
        let packet = frame.get(14..)?;
        let protocol = *packet.get(9)?;
        if frame.get(12..14)? != [8, 0] || ![TCP, UDP].contains(&protocol) {
            return None;
        }
        let total_len = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
        let head_len = usize::from(packet[0] & 15) * 4;
        let segment = packet.get(head_len..total_len)?;
        let [a, b, c, d, sequence @ ..] = *segment.first_chunk::<8>()?;
        let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        if protocol == UDP {
            self.say(ports, "datagram");
            return Some(());
        }
        let mut sequence = u32::from_be_bytes(sequence);
        let data = segment.get(usize::from(*segment.get(12)? >> 4) * 4..)?;
        let flags = segment[13];
        for (bit, name) in [(2, "SYN"), (1, "FIN"), (4, "RST")] {
            if flags & bit != 0 {
                self.say(ports, name);
            }
        }
        if flags & 2 != 0 {
            self.streams.insert(ports, Stream::default());
            sequence = sequence.wrapping_add(1);
        }
        if !data.is_empty() {
            self.data(ports, sequence, data);
        }
        Some(())
    }

    /// Handles the data of a segment. Bytes that a retransmission repeats are skipped.
    fn data(&mut self, ports: Ports, sequence: u32, data: &[u8]) {
        let stream = self.streams.entry(ports).or_default();
        let mut known = stream.next.unwrap_or(sequence).wrapping_sub(sequence);
        if known > 1 << 31 {
            (*stream, known) = (Stream::default(), 0);
            self.say(ports, "data is missing");
        }
        let stream = self.streams.entry(ports).or_default();
        let Some(new) = data.get(known as usize..) else {
            return;
        };
        stream.next = Some(sequence.wrapping_add(data.len() as u32));
        let heads = stream.heads(new);
        for head in heads {
            let line = self.message(ports, &head);
            self.say(ports, &line);
        }
    }

    /// Describes the RPC message (RFC 5531 section 9) that begins with `head`, a record mark first.
    fn message(&mut self, ports: Ports, head: &[u8]) -> String {
        let words = head.as_chunks::<4>().0.iter();
        let words: Vec<_> = words.map(|word| u32::from_be_bytes(*word)).collect();
        match &words[..] {
            [_, xid, 0, 2, program, version, procedure, rest @ ..] => {
                let name = name_of([*program, *version, *procedure], rest);
                let line = format!("call {xid:08x} {name}");
                self.calls.insert((ports, *xid), name);
                line
            }
            [_, xid, 1, rest @ ..] => {
                let call = self.calls.remove(&([ports[1], ports[0]], *xid));
                let name = call.unwrap_or_else(|| "of an unknown call".into());
                let outcome = match rest {
                    [0, _, 0, 0, status, ..] => match status_of(&status.to_be_bytes()) {
                        Ok(status) => format!("{status:?}"),
                        Err(_) => format!("status {status}"),
                    },
                    [0, _, 0, 0] => "accepted".into(),
                    _ => format!("refused: {rest:?}"),
                };
                format!("reply {xid:08x} {name} {outcome}")
            }
            _ => format!("not an RPC message: {head:02x?}"),
        }
    }
}

/// The name of a call. `rest` follows the procedure's number.
fn name_of([program, version, procedure]: [u32; 3], rest: &[u32]) -> String {
    match (NFS_PROGRAM::try_from(procedure), first_operation(rest)) {
        (Ok(name), _) if (program, version) == (PROGRAM, VERSION) => format!("{name:?}"),
        (_, Some(operation)) if [program, version, procedure] == COMPOUND => {
            format!("COMPOUND of operation {operation}")
        }
        _ => format!("procedure {procedure} of program {program} version {version}"),
    }
}

/// The number of the first operation of a COMPOUND, which follows credential, verifier, tag, minor version and count.
fn first_operation(rest: &[u32]) -> Option<u32> {
    let after = |words: &'_ [u32]| Some(1 + (*words.first()? as usize).div_ceil(4));
    let mut words = rest;
    for flavor in [1, 1, 0] {
        words = words.get(flavor..)?;
        words = words.get(after(words)?..)?;
    }
    words.get(2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a TCP segment.
    fn frame(ports: Ports, sequence: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend((40 + data.len() as u16).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
        bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        bytes.extend(data);
        bytes
    }

    fn record(words: &[u32], more: usize) -> Vec<u8> {
        let len = words.len() * 4 + more;
        let mark = 0x8000_0000 | len as u32;
        let words = std::iter::once(&mark).chain(words);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_be_bytes()).collect();
        bytes.resize(4 + len, 7);
        bytes
    }

    /// A READ of two segments that are cut inside a mark, one of which is repeated; then lines that are 10 s old.
    #[test]
    fn calls_and_replies_are_decoded_across_segments() {
        let mut decoder = Decoder::default();
        let mut calls = record(&[0xab, 0, 2, PROGRAM, 3, 6, 0, 0], 100);
        calls.extend(record(&[0xac, 0, 2, PROGRAM, 3, 0], 16));
        let tagged = [1, 5, 7, 7, 0, 0, 3, 7, 1, 1, 57];
        calls.extend(record(
            &[&[0xad, 0, 2, PROGRAM, 4, 1], &tagged[..]].concat(),
            8,
        ));
        let mut replies = record(&[0xab, 1, 0, 0, 0, 0, 5], 88);
        replies.extend(record(&[0xac, 1, 0, 0, 0, 0], 0));
        let (there, back) = ([700, 2049], [2049, 700]);
        decoder.handle(1, &frame(there, 9, 2, &[]));
        for (at, bytes) in [(0, &calls[..138]), (0, &calls[..138]), (138, &calls[138..])] {
            decoder.handle(2, &frame(there, 10 + at, 16, bytes));
        }
        decoder.handle(3, &frame(back, u32::MAX, 16, &replies));
        let mut datagram = frame([800, 111], 9, 16, &[]);
        datagram[23] = UDP;
        decoder.handle(3, &datagram);
        decoder.handle(4, &frame(back, 9999, 4, &[]));
        let said = |decoder: &Decoder| -> Vec<String> {
            decoder.lines.iter().map(|(_, line)| line.clone()).collect()
        };
        let expected = [
            "700 > 2049: SYN",
            "700 > 2049: call 000000ab NFSPROC3_READ",
            "700 > 2049: call 000000ac NFSPROC3_NULL",
            "700 > 2049: call 000000ad COMPOUND of operation 57",
            "2049 > 700: reply 000000ab NFSPROC3_READ NFS3ERR_IO",
            "2049 > 700: reply 000000ac NFSPROC3_NULL accepted",
            "800 > 111: datagram",
            "2049 > 700: RST",
        ];
        assert_eq!(said(&decoder), expected);
        decoder.handle(3 + KEPT_US, &[]);
        assert_eq!(said(&decoder), expected[4..]);
    }
}
