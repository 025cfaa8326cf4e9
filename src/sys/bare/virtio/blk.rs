//! Disks (virtio 1.2, section 5.2), read-only. Each has a cache of lines, which the device fills while the machine continues.

use super::super::clock;
use super::virtqueue::{Element, Virtqueue};
use super::{Device, feature};
use crate::mem::{self, Ends as _, leak};

/// Bytes of a line: what a request reads.
pub const LINE_BYTES: usize = 32 << 10;
/// Most lines of a disk.
pub const LINE_COUNT_MAX: usize = 32;
/// Requests that a device has at a time, each of three descriptors.
const REQUEST_COUNT: usize = 2;
const ELEMENT_COUNT: usize = 3;

/// Unit of capacity and addresses, in bytes, whatever the block size is.
const SECTOR: u64 = 512;
/// Offsets in the configuration space: the capacity (64 bits), the block size.
const CAPACITY: usize = 0;
const BLK_SIZE: usize = 20;
/// VIRTIO_BLK_T_IN: read. VIRTIO_BLK_S_OK: success (section 5.2.6). `UNTOLD`: initial value of the status byte, which no device
/// writes.
const VIRTIO_BLK_T_IN: u64 = 0;
const VIRTIO_BLK_S_OK: u8 = 0;
const UNTOLD: u8 = 0xff;

/// Result of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskRead {
    /// The bytes were read.
    Done,
    /// The device failed.
    Failed,
    /// The device reads what is needed. Repeat the call once [`have_disks_ended`](super::have_disks_ended).
    Pending,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Empty,
    Loading,
    Loaded,
    Failed,
}

/// A part of the disk in memory.
struct Line {
    /// Offset on the disk, in lines.
    number: u64,
    state: State,
    /// Value of [`Disk::clock`] at the last use.
    used_at: u64,
    bytes: &'static mut [u8],
}

/// What the device reads of a request, then the status byte that it writes.
#[repr(C)]
struct Request {
    kind: u64,
    sector: u64,
    status: u8,
    /// Index of the line that is loaded.
    line: usize,
    /// Time since the start at which the device got the request, in milliseconds.
    began_ms: u64,
}

/// A disk.
pub(super) struct Disk {
    device: Device,
    queue: Virtqueue,
    bytes: u64,
    requests: [&'static mut Request; REQUEST_COUNT],
    lines: heapless::Vec<Line, LINE_COUNT_MAX>,
    /// Counts the uses of lines.
    clock: u64,
    /// The line that was read last.
    last: u64,
    /// True once a request has ended, until [`Disk::take_ended`].
    has_ended: bool,
    /// True if the device was reported because it does not answer.
    is_reported: bool,
}

impl Disk {
    pub(super) fn begin(mut device: Device) -> Option<Self> {
        device.begin(feature::BLK_SIZE);
        let queue = device.queue(0)?;
        device.finish();
        let capacity = [4, 0].map(|at| u64::from(device.config(CAPACITY + at)));
        let sectors = capacity[0] << 32 | capacity[1];
        // The device refuses requests that are not whole blocks.
        let block = match device.has(feature::BLK_SIZE) {
            true => u64::from(device.config(BLK_SIZE)).max(SECTOR),
            false => SECTOR,
        };
        let bytes = sectors.checked_mul(SECTOR)?;
        Some(Self {
            device,
            queue,
            bytes: bytes - bytes % block,
            requests: [(); REQUEST_COUNT].map(|()| {
                leak(Request {
                    kind: VIRTIO_BLK_T_IN,
                    sector: 0,
                    status: UNTOLD,
                    line: 0,
                    began_ms: 0,
                })
            }),
            lines: heapless::Vec::new(),
            clock: 0,
            last: 0,
            has_ended: false,
            is_reported: false,
        })
    }

    /// Size in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Allocates the cache.
    pub(super) fn start(&mut self, count: usize) {
        for _ in 0..count {
            let _ = self.lines.push(Line {
                number: 0,
                state: State::Empty,
                used_at: 0,
                bytes: mem::bytes(LINE_BYTES),
            });
        }
    }

    /// Fills `out` from `offset`; the range is within the disk. Waits for a request until it is `patience_ms` old.
    pub(super) fn read(&mut self, offset: u64, out: &mut [u8], patience_ms: u64) -> DiskRead {
        let (mut offset, mut out) = (offset, out);
        while !out.is_empty() {
            let number = offset / LINE_BYTES as u64;
            let index = loop {
                let index = self.load(number);
                let line = index.and_then(|index| self.lines.get_mut(index));
                if line.is_some_and(|line| line.state != State::Loading) {
                    break index;
                }
                // The device reads the line, or has as many requests as it may have.
                if self.age_ms() >= patience_ms {
                    return DiskRead::Pending;
                }
                self.poll();
            };
            let Some(line) = index.and_then(|index| self.lines.get_mut(index)) else {
                return DiskRead::Failed;
            };
            if line.state == State::Failed {
                line.state = State::Empty;
                return DiskRead::Failed;
            }
            let bytes = line.bytes.tail((offset % LINE_BYTES as u64) as usize);
            let len = bytes.len().min(out.len());
            out.head_mut(len).copy_from_slice(bytes.head(len));
            out = out.split_at_mut(len).1;
            offset += len as u64;
            // A sequential reader will want the next line.
            if number == self.last + 1 && (number + 1) * (LINE_BYTES as u64) < self.bytes {
                self.load(number + 1);
            }
            self.last = number;
        }
        DiskRead::Done
    }

    /// Returns the index of the line that has, or loads, line `number` of the disk. `None`: the device has no room for a request.
    fn load(&mut self, number: u64) -> Option<usize> {
        self.clock += 1;
        let mut lines = self.lines.iter_mut().enumerate();
        let cached = lines.find(|(_, line)| line.state != State::Empty && line.number == number);
        if let Some((index, line)) = cached {
            line.used_at = self.clock;
            return Some(index);
        }
        let slot = (0..REQUEST_COUNT).find(|slot| !self.is_in_use(*slot))?;
        let lines = self.lines.iter_mut().enumerate();
        let unused = lines.filter(|(_, line)| line.state != State::Loading);
        let (index, line) = unused.min_by_key(|(_, line)| line.used_at)?;
        (line.number, line.state, line.used_at) = (number, State::Loading, self.clock);
        let request = self.requests.get_mut(slot)?;
        let at = number * LINE_BYTES as u64;
        (request.sector, request.status, request.line) = (at / SECTOR, UNTOLD, index);
        request.began_ms = clock::elapsed_ms();
        let len = self.bytes.saturating_sub(at).min(LINE_BYTES as u64) as usize;
        let parts = [
            Element::Read((&raw const **request).cast(), 16),
            Element::write(line.bytes.head_mut(len)),
            Element::Write(&raw mut request.status, 1),
        ];
        // SAFETY: a line in the state `Loading` and the request of a chain in use are not touched.
        unsafe { self.queue.add(slot * ELEMENT_COUNT, &parts) };
        self.device.notify(&self.queue);
        Some(index)
    }

    /// Age of the oldest request that the device has, in milliseconds; 0: it has none.
    pub(super) fn age_ms(&self) -> u64 {
        let now = clock::elapsed_ms();
        let requests = self.requests.iter().enumerate();
        let used = requests.filter(|(slot, _)| self.is_in_use(*slot));
        let ages = used.map(|(_, request)| now.saturating_sub(request.began_ms));
        ages.max().unwrap_or(0)
    }

    fn is_in_use(&self, slot: usize) -> bool {
        self.queue.in_use >> (slot * ELEMENT_COUNT) & 1 != 0
    }

    /// Returns true if a request has ended since the last call of [`Disk::take_ended`].
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended || self.queue.has_used()
    }

    /// Forgets that a request has ended.
    pub(super) fn take_ended(&mut self) {
        self.poll();
        self.has_ended = false;
    }

    /// Returns true once if the device has not answered for `limit_ms`.
    pub(super) fn is_stalled(&mut self, limit_ms: u64) -> bool {
        let is_late = self.age_ms() > limit_ms;
        is_late && !core::mem::replace(&mut self.is_reported, is_late)
    }

    /// Collects what the device has read.
    fn poll(&mut self) {
        while self.queue.has_used() {
            while let Some((place, _)) = self.queue.take_used() {
                let Some(request) = self.requests.get(place / ELEMENT_COUNT) else {
                    continue;
                };
                // SAFETY: the status byte is a part of the request. The read is volatile, because the device has written to it.
                let status = unsafe { (&raw const request.status).read_volatile() };
                if let Some(line) = self.lines.get_mut(request.line) {
                    line.state = match status {
                        VIRTIO_BLK_S_OK => State::Loaded,
                        _ => State::Failed,
                    };
                }
                (self.has_ended, self.is_reported) = (true, false);
            }
            // Before the last look at the queue: what the device completes after that look raises an interrupt again.
            self.device.acknowledge();
        }
    }
}
