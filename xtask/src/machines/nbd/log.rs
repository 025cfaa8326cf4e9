//! What a disk was told, in order, and what it may hold after its power was cut.
//!
//! A disk promises little: a write is safe once a flush has ended that began after the write was done. Of all others each
//! sector may be old or new. When two writes to a sector did not overlap in time, the later one wins if it survives, so
//! that a choice per write and sector covers every order in which a write-back cache may empty itself.

use cases::random::Random;

/// What a disk tears a write into. ext4 does not survive a block of its own that was torn: with 512 bytes now and then the
/// last block of a journal entry fails its checksum, and e2fsck gives up. Whoever connects should use sectors of this size.
pub const SECTOR_BYTES: usize = 4096;

/// One thing that happened to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write was asked for.
    Write { offset: u64, data: Vec<u8> },
    /// A flush was asked for.
    Flush,
    /// What was asked for at this position is done, and about to be said so.
    Done(usize),
}

/// What a disk held at first, and all that happened since. A *position* is a number of events.
#[derive(Clone, Default)]
pub struct Log {
    pub start: Vec<u8>,
    pub events: Vec<Event>,
}

impl Log {
    /// The same disk without any promise: where a flush was asked for, nothing happened.
    pub fn without_flushes(&self) -> Self {
        let mut log = self.clone();
        for event in &mut log.events {
            if *event == Event::Flush {
                // Positions stay what they are.
                *event = Event::Write {
                    offset: 0,
                    data: Vec::new(),
                };
            }
        }
        log
    }
}

/// How a power cut treats the writes that are not safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None reaches the disk.
    All,
    /// Each reaches it.
    None,
    /// Each does or does not, as a whole.
    Writes,
    /// Each of their sectors does or does not.
    Sectors,
    /// Each reaches it up to some sector.
    Tails,
    /// All but one do.
    One,
}

impl Loss {
    /// Every way.
    pub const EVERY: [Self; 6] = [
        Self::All,
        Self::None,
        Self::Writes,
        Self::Sectors,
        Self::Tails,
        Self::One,
    ];
}

/// Walks a log from cut to cut.
pub struct Replay<'a> {
    log: &'a Log,
    at: usize,
    /// All that is safe at `at`.
    safe: Vec<u8>,
    /// Positions of the writes that are not, and of the end of each that is done.
    unsafe_writes: Vec<(usize, Option<usize>)>,
}

impl<'a> Replay<'a> {
    /// Begins at position 0.
    pub fn new(log: &'a Log) -> Self {
        Self {
            log,
            at: 0,
            safe: log.start.clone(),
            unsafe_writes: Vec::new(),
        }
    }

    /// Goes on to a position, never back.
    pub fn advance(&mut self, position: usize) {
        while self.at < position.min(self.log.events.len()) {
            match &self.log.events[self.at] {
                Event::Write { .. } => self.unsafe_writes.push((self.at, None)),
                Event::Flush => {}
                Event::Done(of) => self.done(*of),
            }
            self.at += 1;
        }
    }

    fn done(&mut self, of: usize) {
        let events = &self.log.events;
        if events[of] != Event::Flush {
            if let Some((_, end)) = self.unsafe_writes.iter_mut().find(|(at, _)| *at == of) {
                *end = Some(self.at);
            }
            return;
        }
        self.unsafe_writes.retain(|&(at, end)| {
            let covered = end.is_some_and(|end| end < of);
            if covered && let Event::Write { offset, data } = &events[at] {
                put(&mut self.safe, *offset, data);
            }
            !covered
        });
    }

    /// How many writes are not safe here.
    pub fn unsafe_count(&self) -> usize {
        self.unsafe_writes.len()
    }

    /// Makes `image` what the disk may hold when the power goes here.
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
                    put(image, offset + (sector * SECTOR_BYTES) as u64, bytes);
                }
            }
        }
    }
}

/// Copies `data` to where it belongs. The server lets no write pass that reaches beyond the end.
pub(super) fn put(image: &mut [u8], offset: u64, data: &[u8]) {
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

    /// The first byte of A and of B after a cut at `position`.
    fn after(log: &Log, position: usize, loss: Loss) -> (u8, u8) {
        let mut replay = Replay::new(log);
        replay.advance(position);
        let mut image = Vec::new();
        replay.cut(loss, &mut Random::new(1), &mut image);
        (image[A as usize], image[B as usize])
    }

    #[test]
    fn only_what_was_done_before_a_flush_that_has_ended_is_safe() {
        let log = log(vec![
            write(A, 1),
            Event::Done(0),
            write(B, 2),
            Event::Flush,
            Event::Done(2),
            Event::Done(3),
        ]);
        assert_eq!(after(&log, 5, Loss::All), (0, 0), "the flush has not ended");
        assert_eq!(after(&log, 6, Loss::All), (1, 0), "B was not done in time");
        assert_eq!(after(&log, 6, Loss::None), (1, 2));
        assert_eq!(
            after(&log, 2, Loss::None),
            (1, 0),
            "B was not asked for yet"
        );
    }

    #[test]
    fn a_disk_that_forgets_its_flushes_promises_nothing() {
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
    fn writes_are_torn_between_sectors_and_never_within() {
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
        assert!(mixtures > 30, "{mixtures} of 50 tore it");
    }
}
