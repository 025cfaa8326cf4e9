//! Cuts the power at many positions of one log, and checks whether the promises were kept.

use anyhow::{Context as _, Result};
use cases::random::Random;
use xtask::machines::nbd::log::{Log, Loss, Replay};

use super::load::Step;
use super::seen::{self, Seen};
use super::tree::Tree;
use super::verdict::differences;

/// Maximum number of calls that a report lists for one object.
const HISTORY_MAX: usize = 8;

/// The log of one guest's disk, and the calls of its clients.
pub struct Run {
    pub log: Log,
    /// Position at which the clients' directories were durable and empty.
    pub start: usize,
    /// One list per client, which has a directory of its own.
    pub loads: Vec<Vec<Step>>,
}

pub fn directory(client: usize) -> String {
    format!("client-{client}")
}

/// The state that the server has promised to one client, at a position of the log that only increases.
struct Promises<'a> {
    steps: &'a [Step],
    tree: Tree,
    answered_count: usize,
}

impl<'a> Promises<'a> {
    fn new(steps: &'a [Step]) -> Self {
        Self {
            steps,
            tree: Tree::new(),
            answered_count: 0,
        }
    }

    /// Applies the calls that were answered up to `position`, which never decreases.
    fn advance(&mut self, position: usize) {
        for step in &self.steps[self.answered_count..] {
            if step.answered > position {
                break;
            }
            self.tree.apply(&step.op);
            self.answered_count += 1;
        }
    }

    /// Reports the differences between the promises and the client's directory. None if all objects agree, or if a call in flight
    /// explains the differences.
    fn broken(&self, position: usize, seen: &Seen) -> Option<String> {
        let wrong = differences(&self.tree, seen);
        let first = wrong.first()?;
        let in_flight = self.steps.get(self.answered_count);
        let in_flight = in_flight.filter(|step| step.sent < position);
        let possible = in_flight.map_or(Vec::new(), |step| self.tree.possible_during(&step.op));
        let agrees = |tree: &Tree| differences(tree, seen).is_empty();
        if possible.iter().any(agrees) {
            return None;
        }
        let sent = &self.steps[..self.answered_count + usize::from(in_flight.is_some())];
        let history: Vec<String> = sent
            .iter()
            .filter(|step| step.op.concerns(first.id))
            .map(Step::to_string)
            .collect();
        Some(format!(
            "{} differences, the first: {first}\n    {}",
            wrong.len(),
            history[history.len().saturating_sub(HISTORY_MAX)..].join("\n    ")
        ))
    }
}

impl Run {
    /// Cuts the power `count` times. For each round in which a promise was broken, returns position and kind of the cut, and the
    /// differences that were found.
    pub fn rounds(&self, count: usize, random: &mut Random) -> Result<Vec<String>> {
        // e2fsck calls fsync after repairs; fsync costs nothing on a file system in memory.
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .context("cannot make a directory for disks")?;
        let mut cuts: Vec<usize> = (0..count).map(|_| self.choose_position(random)).collect();
        cuts.sort_unstable();
        let mut replay = Replay::new(&self.log);
        let mut promises: Vec<_> = self
            .loads
            .iter()
            .map(|steps| Promises::new(steps))
            .collect();
        let (mut broken, mut image) = (Vec::new(), Vec::new());
        for position in cuts {
            replay.advance(position);
            let loss = *random.pick(&Loss::EVERY);
            replay.cut(loss, random, &mut image);
            let disk = seen::recover(&image, directory.path());
            let wrong = match disk {
                Ok(disk) => self.check_clients(&mut promises, position, &disk),
                Err(error) => vec![format!("{error:#}")],
            };
            if !wrong.is_empty() {
                broken.push(format!(
                    "power cut at {position} of {}, {} writes not flushed, loses {loss:?}:\n  {}",
                    self.log.events.len(),
                    replay.unsafe_count(),
                    wrong.join("\n  ")
                ));
            }
        }
        Ok(broken)
    }

    fn check_clients(
        &self,
        promises: &mut [Promises<'_>],
        position: usize,
        disk: &Seen,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (client, promises) in promises.iter_mut().enumerate() {
            promises.advance(position);
            let name = directory(client);
            match disk.children.get(&name) {
                Some(seen) => wrong.extend(
                    promises
                        .broken(position, seen)
                        .map(|what| format!("{name}: {what}")),
                ),
                None => wrong.push(format!("{name} is missing")),
            }
        }
        wrong
    }

    /// Returns a random position. In half of the rounds a reply has just arrived at that position, where a missing sync is most
    /// likely to lose data.
    fn choose_position(&self, random: &mut Random) -> usize {
        if random.chance(50) {
            let steps = random.pick(&self.loads);
            return random.pick(steps).answered;
        }
        self.start + random.below(self.log.events.len() + 1 - self.start)
    }
}
