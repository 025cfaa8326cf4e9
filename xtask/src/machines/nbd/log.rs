//! The log of a disk's writes and flushes, and the possible contents of the disk after a power cut.
//!
//! A write is flushed (safe) once a flush has completed that was requested after the write was done. Every sector of an unflushed
//! write may be old or new after a power cut. If two writes to one sector did not overlap in time, the later one wins if it
//! survives. So one choice per write and sector covers every order in which a write-back cache can be flushed.

use cases::random::Random;

/// The unit (bytes) in which a write can be torn. Clients should use sectors of this size: ext4 does not survive a torn block. With
/// 512 bytes the last block of a journal entry sometimes failed its checksum, and e2fsck gave up.
pub const SECTOR_BYTES: usize = 4096;

/// An event on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write was requested.
    Write { offset: u64, data: Vec<u8> },
    /// A flush was requested.
    Flush,
    /// The write or flush that was requested at this position of the log is done; its reply is sent next.
    Done(usize),
}

/// The initial contents of a disk and all later events. A *position* is an index into `events`.
#[derive(Clone, Default)]
pub struct Log {
    pub start: Vec<u8>,
    pub events: Vec<Event>,
}

impl Log {
    /// Returns this log with every flush replaced by an empty write, so that every write stays unflushed.
    pub fn without_flushes(&self) -> Self {
        let mut log = self.clone();
        for event in &mut log.events {
            if *event == Event::Flush {
                // The flush is replaced, not removed, so that the positions of other events stay valid.
                *event = Event::Write {
                    offset: 0,
                    data: Vec::new(),
                };
            }
        }
        log
    }
}

/// Selects the unflushed writes that survive a power cut. A write is unflushed if no completed flush covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Every unflushed write is lost.
    All,
    /// Every unflushed write survives.
    None,
    /// Each unflushed write survives or is lost as a whole, at random.
    Writes,
    /// Each sector of an unflushed write survives or is lost, at random.
    Sectors,
    /// A random number of the first sectors of each unflushed write survives.
    Tails,
    /// All unflushed writes survive except one, chosen at random.
    One,
}

impl Loss {
    pub const EVERY: [Self; 6] = [
        Self::All,
        Self::None,
        Self::Writes,
        Self::Sectors,
        Self::Tails,
        Self::One,
    ];
}

/// Replays a log up to the position of a power cut.
pub struct Replay<'a> {
    log: &'a Log,
    position: usize,
    /// The contents of the disk if every unflushed write at `position` is lost.
    safe: Vec<u8>,
    /// Unflushed writes: position of the request, and position of its `Done` event if that has occurred.
    unsafe_writes: Vec<(usize, Option<usize>)>,
}

impl<'a> Replay<'a> {
    /// Starts a replay at position 0, with the initial contents of the disk.
    pub fn new(log: &'a Log) -> Self {
        Self {
            log,
            position: 0,
            safe: log.start.clone(),
            unsafe_writes: Vec::new(),
        }
    }

    /// Replays the events up to `position`. Does nothing if the replay is already past `position`.
    pub fn advance(&mut self, position: usize) {
        while self.position < position.min(self.log.events.len()) {
            match &self.log.events[self.position] {
                Event::Write { .. } => self.unsafe_writes.push((self.position, None)),
                Event::Flush => {}
                Event::Done(request) => self.complete(*request),
            }
            self.position += 1;
        }
    }

    fn complete(&mut self, request: usize) {
        let events = &self.log.events;
        if events[request] != Event::Flush {
            if let Some((_, end)) = self.unsafe_writes.iter_mut().find(|(at, _)| *at == request) {
                *end = Some(self.position);
            }
            return;
        }
        self.unsafe_writes.retain(|&(at, end)| {
            let covered = end.is_some_and(|end| end < request);
            if covered && let Event::Write { offset, data } = &events[at] {
                overwrite(&mut self.safe, *offset, data);
            }
            !covered
        });
    }

    /// Number of writes at the current position that no completed flush covers.
    pub fn unsafe_count(&self) -> usize {
        self.unsafe_writes.len()
    }

    /// Sets `image` to a possible content of the disk after a power cut at the current position.
    pub fn cut(&self, loss: Loss, random: &mut Random, image: &mut Vec<u8>) {
        image.clone_from(&self.safe);
        let victim = random.below(self.unsafe_writes.len());
        for (number, (at, _)) in self.unsafe_writes.iter().enumerate() {
            let Event::Write { offset, data } = &self.log.events[*at] else {
                continue;
            };
            let sector_count = data.len().div_ceil(SECTOR_BYTES);
            let survives: Vec<bool> = match loss {
                Loss::All => vec![false; sector_count],
                Loss::None => vec![true; sector_count],
                Loss::Writes => vec![random.chance(50); sector_count],
                Loss::Sectors => (0..sector_count).map(|_| random.chance(50)).collect(),
                Loss::Tails => {
                    let kept = random.below(sector_count + 1);
                    (0..sector_count).map(|sector| sector < kept).collect()
                }
                Loss::One => vec![number != victim; sector_count],
            };
            for (sector, bytes) in data.chunks(SECTOR_BYTES).enumerate() {
                if survives[sector] {
                    overwrite(image, offset + (sector * SECTOR_BYTES) as u64, bytes);
                }
            }
        }
    }
}

/// Copies `data` to `offset`. The NBD server rejects writes beyond the end of the image before this call.
pub(super) fn overwrite(image: &mut [u8], offset: u64, data: &[u8]) {
    let start = offset as usize;
    image[start..start + data.len()].copy_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u64 = 4096;
    const B: u64 = 8192;

    fn write(offset: u64, byte: u8) -> Event {
        Event::Write {
            offset,
            data: vec![byte; 4096],
        }
    }

    fn log(events: Vec<Event>) -> Log {
        Log {
            start: vec![0; 16384],
            events,
        }
    }

    /// Replays `log` up to `position`, cuts the power, and returns the first byte of sector A and that of sector B.
    fn after(log: &Log, position: usize, loss: Loss) -> (u8, u8) {
        let mut replay = Replay::new(log);
        replay.advance(position);
        let mut image = Vec::new();
        replay.cut(loss, &mut Random::new(1), &mut image);
        (image[A as usize], image[B as usize])
    }

    #[test]
    fn only_writes_before_a_completed_flush_are_safe() {
        let log = log(vec![
            write(A, 1),
            Event::Done(0),
            write(B, 2),
            Event::Flush,
            Event::Done(2),
            Event::Done(3),
        ]);
        assert_eq!(after(&log, 5, Loss::All), (0, 0), "the flush has not ended");
        assert_eq!(
            after(&log, 6, Loss::All),
            (1, 0),
            "B ended after the flush began"
        );
        assert_eq!(after(&log, 6, Loss::None), (1, 2));
        assert_eq!(after(&log, 2, Loss::None), (1, 0), "B was not sent yet");
    }

    #[test]
    fn without_flushes_no_write_is_safe() {
        let log = log(vec![
            write(A, 1),
            Event::Done(0),
            Event::Flush,
            Event::Done(2),
        ]);
        assert_eq!(after(&log, 4, Loss::All), (1, 0));
        assert_eq!(after(&log.without_flushes(), 4, Loss::All), (0, 0));
    }

    #[test]
    fn writes_are_torn_only_at_sector_boundaries() {
        let data = vec![7; 4 * SECTOR_BYTES];
        let log = log(vec![Event::Write { offset: 0, data }]);
        let mut replay = Replay::new(&log);
        replay.advance(1);
        let (mut mixtures, mut image) = (0, Vec::new());
        for seed in 0..50 {
            replay.cut(Loss::Sectors, &mut Random::new(seed), &mut image);
            let sectors: Vec<u8> = image.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
            for (sector, byte) in image.chunks(SECTOR_BYTES).zip(&sectors) {
                assert!(sector.iter().all(|b| b == byte));
            }
            mixtures += usize::from(sectors.contains(&0) && sectors.contains(&7));
        }
        assert!(mixtures > 30, "{mixtures} of 50 cuts tore the write");
    }
}
