//! Disks (virtio 1.2, section 5.2), read-only. Each has a cache of lines, which the device fills while the machine continues.

use super::super::clock;
use super::virtqueue::{Element, SHORT, Virtqueue};
use super::{Device, feature};
use crate::mem::{self, Ends as _, leak};
use core::ops::Range;

/// Size (bytes) of a line, which one request reads.
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
    /// The device reads a line that the call needs. Repeat the call once [`have_disks_ended`](super::have_disks_ended).
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
    /// The range that was requested (bytes): all of the line, or what a client needs of a line that cannot be read as a whole.
    part: Range<usize>,
    state: State,
    /// Value of [`Disk::use_count`] at the last use.
    used_at: u64,
    bytes: &'static mut [u8],
}

/// Memory of a request: two fields that the device reads, then the status byte that it writes.
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
    /// Block size in bytes. The device refuses requests that are not whole blocks.
    block: usize,
    requests: [&'static mut Request; REQUEST_COUNT],
    lines: heapless::Vec<Line, LINE_COUNT_MAX>,
    /// Number of uses of lines.
    use_count: u64,
    /// The line that was read last.
    last: u64,
    /// True once a request has ended, until [`Disk::take_ended`].
    has_ended: bool,
    /// True if the device was reported because it does not answer.
    is_reported: bool,
}

impl Disk {
    pub(super) fn begin(mut device: Device) -> Option<Self> {
        device.begin(feature::BLK_SIZE)?;
        let queue = device.queue(0, SHORT)?;
        device.finish();
        let capacity = [4, 0].map(|at| u64::from(device.config(CAPACITY + at)));
        let sectors = capacity[0] << 32 | capacity[1];
        let block = match device.has(feature::BLK_SIZE) {
            true => u64::from(device.config(BLK_SIZE)).max(SECTOR),
            false => SECTOR,
        };
        let bytes = sectors.checked_mul(SECTOR)?;
        Some(Self {
            device,
            queue,
            bytes: bytes - bytes % block,
            block: block as usize,
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
            use_count: 0,
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
                part: 0..0,
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
            let start = (offset % LINE_BYTES as u64) as usize;
            let wanted = start..LINE_BYTES.min(start + out.len());
            let index = loop {
                let index = self.load(number, &wanted);
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
            let len = wanted.len();
            out.head_mut(len)
                .copy_from_slice(line.bytes.tail(start).head(len));
            out = out.split_at_mut(len).1;
            offset += len as u64;
            // A sequential reader will want the next line.
            if number == self.last + 1 && (number + 1) * (LINE_BYTES as u64) < self.bytes {
                self.load(number + 1, &(0..0));
            }
            self.last = number;
        }
        DiskRead::Done
    }

    /// Returns the index of the line that has, or loads, the `wanted` range (bytes) of line `number` of the disk. `None`: the device
    /// has no room for a request. A line that cannot be read as a whole has the wanted blocks only.
    fn load(&mut self, number: u64, wanted: &Range<usize>) -> Option<usize> {
        self.use_count += 1;
        let at = number * LINE_BYTES as u64;
        let mut part = 0..self.bytes.saturating_sub(at).min(LINE_BYTES as u64) as usize;
        let mut lines = self.lines.iter_mut().enumerate();
        let cached = lines.find(|(_, line)| line.state != State::Empty && line.number == number);
        if let Some((index, line)) = cached {
            line.used_at = self.use_count;
            let blocks =
                wanted.start / self.block * self.block..wanted.end.next_multiple_of(self.block);
            let has_all = line.part.start <= wanted.start && wanted.end <= line.part.end;
            let is_final = match line.state {
                State::Failed => line.part == blocks || wanted.is_empty(),
                State::Loaded => has_all || wanted.is_empty(),
                State::Loading | State::Empty => true,
            };
            if is_final {
                return Some(index);
            }
            part = blocks;
        }
        let slot = (0..REQUEST_COUNT).find(|slot| !self.is_in_use(*slot))?;
        let lines = self.lines.iter_mut().enumerate();
        let unused = lines.filter(|(_, line)| line.state != State::Loading);
        // The line itself if it has only a part, else the one that was not used for longest.
        let (index, line) = unused.min_by_key(|(_, line)| {
            let is_same = line.state != State::Empty && line.number == number;
            if is_same { 0 } else { line.used_at }
        })?;
        (line.number, line.state, line.used_at) = (number, State::Loading, self.use_count);
        line.part = part.clone();
        let request = self.requests.get_mut(slot)?;
        let at = at + part.start as u64;
        (request.sector, request.status, request.line) = (at / SECTOR, UNTOLD, index);
        request.began_ms = clock::elapsed_ms();
        let parts = [
            Element::Read((&raw const **request).cast(), 16),
            Element::write(line.bytes.head_mut(part.end).tail_mut(part.start)),
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

    /// Returns true if a request has ended since the last call.
    pub(super) fn take_ended(&mut self) -> bool {
        self.poll();
        core::mem::take(&mut self.has_ended)
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

#[cfg(test)]
mod tests {
    use super::super::Transport;
    use super::super::virtqueue::SHORT;
    use super::*;
    use core::cell::Cell;

    /// A device whose sector N is full of the byte N. It answers when the test calls [`Fake::answer`].
    struct Fake {
        block: u32,
        sectors: u32,
        queue: Cell<[usize; 3]>,
        answered: Cell<u16>,
    }

    impl Transport for Fake {
        fn offered(&self, half: u32) -> u32 {
            [feature::BLK_SIZE as u32, (feature::VERSION_1 >> 32) as u32][half as usize]
        }

        fn accept(&self, _: u32, _: u32) {}

        fn set_status(&self, _: u8) {}

        fn status(&self) -> u8 {
            super::super::status::FEATURES_OK
        }

        fn set_queue(&self, _: u16, _: usize, addresses: [usize; 3]) -> Option<usize> {
            self.queue.set(addresses);
            Some(0)
        }

        fn notify(&self, _: usize, _: u16) {}

        fn config(&self, at: usize) -> u32 {
            match at {
                CAPACITY => self.sectors,
                BLK_SIZE => self.block,
                _ => 0,
            }
        }

        fn acknowledge(&self) -> bool {
            false
        }
    }

    impl Fake {
        fn new(sectors: u32, block: u32) -> (&'static Self, Disk) {
            let fake = Box::leak(Box::new(Self {
                block,
                sectors,
                queue: Cell::default(),
                answered: Cell::default(),
            }));
            let device = Device {
                transport: fake,
                features: 0,
            };
            let mut disk = Disk::begin(device).unwrap();
            disk.start(4);
            (fake, disk)
        }

        /// Carries out all requests and gives them this status. Returns the first sector and the bytes of each.
        fn answer(&self, status: u8) -> Vec<(u64, u32)> {
            let [descriptors, available, used] = self.queue.get();
            let mut requests = Vec::new();
            // SAFETY: the test plays driver and device in one thread, and the addresses are those of the driver.
            unsafe {
                while self.answered.get() != *((available + 2) as *const u16) {
                    let turn = usize::from(self.answered.get()) % SHORT;
                    let place = *((available + 4 + 2 * turn) as *const u16);
                    let at = |number: u16| {
                        (descriptors + 16 * usize::from(place + number)) as *const u64
                    };
                    let (request, data, answer) = (*at(0), *at(1), *at(2));
                    let sector = *((request + 8) as *const u64);
                    let len = *at(1).add(1) as u32;
                    assert_eq!(
                        (sector * SECTOR + u64::from(len)) % u64::from(self.block),
                        0
                    );
                    for byte in 0..len as usize {
                        *((data as usize + byte) as *mut u8) = (sector as usize + byte / 512) as u8;
                    }
                    *(answer as *mut u8) = status;
                    *((used + 4 + 8 * turn) as *mut (u32, u32)) = (place.into(), len + 1);
                    self.answered.set(self.answered.get() + 1);
                    *((used + 2) as *mut u16) = self.answered.get();
                    requests.push((sector, len));
                }
            }
            requests
        }
    }

    #[test]
    fn read_is_repeated_until_the_device_has_answered() {
        let (fake, mut disk) = Fake::new(1000, 512);
        let mut out = [0; 1000];
        // Across the end of the first line.
        let at = LINE_BYTES as u64 - 500;
        assert_eq!(disk.read(at, &mut out, 0), DiskRead::Pending);
        assert!(!disk.has_ended() && disk.read(at, &mut out, 0) == DiskRead::Pending);
        assert_eq!(fake.answer(VIRTIO_BLK_S_OK), [(0, LINE_BYTES as u32)]);
        assert!(disk.has_ended());
        assert!(disk.take_ended());
        assert!(!disk.has_ended());
        assert_eq!(disk.read(at, &mut out, 0), DiskRead::Pending);
        fake.answer(VIRTIO_BLK_S_OK);
        assert!(disk.take_ended());
        assert_eq!(disk.read(at, &mut out, 0), DiskRead::Done);
        assert_eq!((out[0], out[499], out[500], out[999]), (63, 63, 64, 64));
        // The reader is sequential, so the device reads the next line already.
        assert_eq!(fake.answer(VIRTIO_BLK_S_OK), [(128, LINE_BYTES as u32)]);
    }

    #[test]
    fn failed_read_is_reported_and_tried_again() {
        let (fake, mut disk) = Fake::new(1000, 512);
        let mut out = [0; 10];
        assert_eq!(disk.read(0, &mut out, 0), DiskRead::Pending);
        fake.answer(1);
        assert!(disk.take_ended());
        // A sector of the line may be bad, so now the wanted block alone.
        assert_eq!(disk.read(600, &mut out, 0), DiskRead::Pending);
        assert_eq!(fake.answer(1), [(1, 512)]);
        assert!(disk.take_ended());
        assert_eq!(disk.read(600, &mut out, 0), DiskRead::Failed);
        // Another block of the line, after the line has failed again.
        assert_eq!(disk.read(0, &mut out, 0), DiskRead::Pending);
        assert_eq!(fake.answer(1), [(0, LINE_BYTES as u32)]);
        assert!(disk.take_ended());
        assert_eq!(disk.read(0, &mut out, 0), DiskRead::Pending);
        assert_eq!(fake.answer(VIRTIO_BLK_S_OK), [(0, 512)]);
        assert!(disk.take_ended());
        assert_eq!(disk.read(0, &mut out, 0), DiskRead::Done);
        assert_eq!(disk.read(510, &mut out, 0), DiskRead::Pending);
        assert_eq!(fake.answer(VIRTIO_BLK_S_OK), [(0, 1024)]);
        assert!(disk.take_ended());
        assert_eq!(disk.read(510, &mut out, 0), DiskRead::Done);
        assert_eq!((out[1], out[2]), (0, 1));
    }

    #[test]
    fn requests_are_whole_blocks_within_the_disk() {
        let (fake, mut disk) = Fake::new(8 * 20 + 3, 4096);
        assert_eq!(disk.bytes(), 20 * 4096);
        let at = disk.bytes() - 100;
        assert_eq!(disk.read(at, &mut [0; 100], 0), DiskRead::Pending);
        let sectors = LINE_BYTES as u64 / SECTOR;
        assert_eq!(fake.answer(VIRTIO_BLK_S_OK), [(2 * sectors, 4 * 4096)]);
        assert!(disk.take_ended());
        assert_eq!(disk.read(at, &mut [0; 100], 0), DiskRead::Done);
    }

    #[test]
    fn stalled_device_holds_no_line_that_others_have() {
        let (fake, mut disk) = Fake::new(100_000, 512);
        let line = |number: u64| number * LINE_BYTES as u64;
        assert_eq!(disk.read(line(0), &mut [0; 4], 0), DiskRead::Pending);
        fake.answer(VIRTIO_BLK_S_OK);
        assert!(disk.take_ended());
        for number in 10..20 {
            assert_eq!(disk.read(line(number), &mut [0; 4], 0), DiskRead::Pending);
            assert_eq!(disk.read(line(0), &mut [0; 4], 0), DiskRead::Done);
        }
        assert!(disk.is_stalled(0) || disk.age_ms() == 0);
        // Two requests at a time.
        let sectors = line(1) / SECTOR;
        let requests: Vec<_> = fake
            .answer(VIRTIO_BLK_S_OK)
            .iter()
            .map(|(at, _)| *at / sectors)
            .collect();
        assert_eq!(requests, [10, 11]);
    }
}
