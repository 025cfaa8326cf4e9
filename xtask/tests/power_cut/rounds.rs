//! Cuts the power again and again in one log, and looks whether promises were kept.

use anyhow::{Context as _, Result};
use cases::random::Random;
use xtask::machines::nbd::log::{Log, Loss, Replay};

use super::load::Step;
use super::seen::{self, Seen};
use super::tree::Tree;
use super::verdict::differences;

/// How many of the calls that concern an object are shown.
const HISTORY_MAX: usize = 8;

/// What one guest did to its disk, and what its clients were promised.
pub struct Run {
    pub log: Log,
    /// The position at which the directories were there, empty and safe, and nothing was promised yet.
    pub start: usize,
    /// By client; each has a directory of its own.
    pub loads: Vec<Vec<Step>>,
}

/// A round in which a promise was broken.
pub struct Broken {
    /// Whether the file system itself was lost, so that nothing could be looked for.
    pub unreadable: bool,
    /// When the power was cut, how, and what is wrong.
    pub report: String,
}

/// The name of a client's directory.
pub fn directory(client: usize) -> String {
    format!("client-{client}")
}

/// Follows one client from cut to cut.
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

    /// Goes on to a position, never back.
    fn advance(&mut self, position: usize) {
        for step in &self.steps[self.answered_count..] {
            if step.answered > position {
                break;
            }
            self.tree.apply(&step.op);
            self.answered_count += 1;
        }
    }

    /// What is wrong with the client's directory; None when it is as promised.
    fn broken(&self, position: usize, seen: &Seen) -> Option<String> {
        let wrong = differences(&self.tree, seen);
        let first = wrong.first()?;
        let under_way = self.steps.get(self.answered_count);
        let under_way = under_way.filter(|step| step.sent < position);
        let may_be = under_way.map_or(Vec::new(), |step| self.tree.during(&step.op));
        let kept = |tree: &Tree| differences(tree, seen).is_empty();
        if may_be.iter().any(kept) {
            return None;
        }
        let begun = &self.steps[..self.answered_count + usize::from(under_way.is_some())];
        let history: Vec<String> = begun
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
    /// Cuts the power `count` times; the rounds in which a promise was broken.
    pub fn rounds(&self, count: usize, random: &mut Random) -> Result<Vec<Broken>> {
        // e2fsck syncs what it mends: in memory that costs nothing.
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .context("cannot make a directory for disks")?;
        let mut cuts: Vec<usize> = (0..count).map(|_| self.choose(random)).collect();
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
            let unreadable = disk.is_err();
            let wrong = match disk {
                Ok(disk) => self.judge(&mut promises, position, &disk),
                Err(error) => vec![format!("{error:#}")],
            };
            if !wrong.is_empty() {
                let report = format!(
                    "power cut at {position} of {}, {} writes not safe, loses {loss:?}:\n  {}",
                    self.log.events.len(),
                    replay.unsafe_count(),
                    wrong.join("\n  ")
                );
                broken.push(Broken { unreadable, report });
            }
        }
        Ok(broken)
    }

    fn judge(&self, promises: &mut [Promises<'_>], position: usize, disk: &Seen) -> Vec<String> {
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

    /// Any moment, or the one that is most telling: when an answer has just arrived.
    fn choose(&self, random: &mut Random) -> usize {
        if random.chance(50) {
            let steps = random.pick(&self.loads);
            return random.pick(steps).answered;
        }
        self.start + random.below(self.log.events.len() + 1 - self.start)
    }
}
