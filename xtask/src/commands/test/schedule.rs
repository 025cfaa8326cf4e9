//! Does jobs side by side: those that wait beside those that compute, as far as the processors reach.

use std::collections::BTreeSet;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Jobs beyond this many wait, however little they compute.
const SIDE_BY_SIDE_MAX: usize = 12;
/// Processors are given out a little more than once, because no job computes all the time.
const OVERCOMMIT: f64 = 1.2;
/// Shares are tenths, whose sums are not exact: 0.4 + 1.2 + 0.8 is more than 2.4.
const INEXACT: f64 = 1e-6;

/// Something to do, and what must be known to find its place.
pub struct Job {
    /// The line that it is counted in.
    pub suite: String,
    /// Which part of that; empty when it is all of it.
    pub part: String,
    /// Processors that it keeps busy while it runs.
    pub share: f64,
    /// What it usually takes.
    pub usual: Duration,
    /// Those with a higher rank go first; of one rank, the longest.
    pub rank: u8,
    /// Suites that must have ended before.
    pub after: Vec<&'static str>,
    /// Nothing else may run beside it.
    pub alone: bool,
    /// Does it.
    pub work: Box<dyn FnOnce() -> Result<Outcome> + Send>,
}

impl Job {
    /// A job that keeps one processor busy and waits for nothing.
    pub fn new(suite: &str, work: impl FnOnce() -> Result<Outcome> + Send + 'static) -> Self {
        Self {
            suite: suite.into(),
            part: String::new(),
            share: 1.0,
            usual: Duration::ZERO,
            rank: 1,
            after: Vec::new(),
            alone: false,
            work: Box::new(work),
        }
    }

    /// As it is known to the reader.
    pub fn name(&self) -> String {
        if self.part.is_empty() {
            self.suite.clone()
        } else {
            format!("{}::{}", self.suite, self.part)
        }
    }
}

/// What came of a job that could be done at all.
#[derive(Default)]
pub struct Outcome {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that said that they cannot be done here.
    pub skipped: u64,
    /// What a reader wants to see, of a failure above all.
    pub output: String,
    /// Jobs that only became known by it.
    pub more: Vec<Job>,
}

/// A job that ended.
pub struct Done {
    /// As in the job.
    pub suite: String,
    /// As in the job.
    pub part: String,
    /// What it took.
    pub took: Duration,
    /// The error is of the job itself.
    pub outcome: Result<Outcome>,
}

/// What goes on, told whenever something changes.
pub struct Now<'a> {
    /// Names of the jobs that run.
    pub running: Vec<&'a str>,
    /// Jobs that ended.
    pub done_count: usize,
    /// Jobs that are known and have not ended.
    pub left_count: usize,
    /// What these usually still take, on this many processors.
    pub left: Duration,
}

struct Running {
    name: String,
    suite: String,
    share: f64,
    end_usual: Instant,
    alone: bool,
}

/// Does all of `jobs`, and those that come of them. Stops beginning new ones when `ended` says so.
pub fn run(
    jobs: Vec<Job>,
    cores: usize,
    mut ended: impl FnMut(Done) -> bool,
    mut progress: impl FnMut(&Now<'_>),
) {
    let capacity = cores as f64 * OVERCOMMIT;
    let (sender, receiver) = channel();
    let mut waiting = jobs;
    let mut running: Vec<Running> = Vec::new();
    let mut done_count = 0;
    loop {
        while let Some(job) = next(&mut waiting, &running, capacity) {
            running.push(begin(job, &sender));
        }
        let now = Instant::now();
        progress(&Now {
            running: running.iter().map(|job| job.name.as_str()).collect(),
            done_count,
            left_count: running.len() + waiting.len(),
            left: left(&waiting, &running, now, capacity),
        });
        if running.is_empty() {
            return;
        }
        let Ok((name, mut done)) = receiver.recv() else {
            return;
        };
        running.retain(|job| job.name != name);
        done_count += 1;
        if let Ok(outcome) = &mut done.outcome {
            waiting.append(&mut outcome.more);
        }
        if !ended(done) {
            waiting.clear();
        }
    }
}

/// The job to begin now, if any: whatever fits beside those that run, the most urgent one.
fn next(waiting: &mut Vec<Job>, running: &[Running], capacity: f64) -> Option<Job> {
    let busy: f64 = running.iter().map(|job| job.share).sum();
    if running.len() >= SIDE_BY_SIDE_MAX || running.iter().any(|job| job.alone) {
        return None;
    }
    let unfinished: BTreeSet<&str> = waiting
        .iter()
        .map(|job| job.suite.as_str())
        .chain(running.iter().map(|job| job.suite.as_str()))
        .collect();
    let may_begin = |job: &Job| {
        let fits = running.is_empty() || (!job.alone && busy + job.share <= capacity + INEXACT);
        fits && !job.after.iter().any(|suite| unfinished.contains(suite))
    };
    let urgency = |job: &Job| (!job.alone, job.rank, job.usual);
    let place = (0..waiting.len())
        .filter(|&place| may_begin(&waiting[place]))
        .max_by_key(|&place| urgency(&waiting[place]))?;
    Some(waiting.swap_remove(place))
}

fn begin(job: Job, sender: &Sender<(String, Done)>) -> Running {
    let name = job.name();
    let running = Running {
        name: name.clone(),
        suite: job.suite.clone(),
        share: job.share,
        end_usual: Instant::now() + job.usual,
        alone: job.alone,
    };
    let sender = sender.clone();
    // Programs that it starts are told to end with this thread, which lives as long as they do.
    thread::spawn(move || {
        let start = Instant::now();
        let outcome = (job.work)();
        let done = Done {
            suite: job.suite,
            part: job.part,
            took: start.elapsed(),
            outcome,
        };
        // Nobody hears it only when all has ended.
        let _ = sender.send((name, done));
    });
    running
}

/// What is left, as if all of it could be laid evenly on the processors; but no less than the longest job.
fn left(waiting: &[Job], running: &[Running], now: Instant, capacity: f64) -> Duration {
    let waits = waiting.iter().map(|job| (job.usual, job.share));
    let runs = running
        .iter()
        .map(|job| (job.end_usual.saturating_duration_since(now), job.share));
    let all: Vec<(Duration, f64)> = waits.chain(runs).collect();
    let longest = all.iter().map(|(usual, _)| *usual).max();
    let busy: f64 = all
        .iter()
        .map(|(usual, share)| usual.as_secs_f64() * share)
        .sum();
    let lanes: f64 = all.iter().map(|(usual, _)| usual.as_secs_f64()).sum();
    let even = (busy / capacity).max(lanes / SIDE_BY_SIDE_MAX as f64);
    longest
        .unwrap_or_default()
        .max(Duration::from_secs_f64(even))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    type Log = Arc<Mutex<Vec<String>>>;

    /// A job that notes its begin and its end.
    fn noting(log: &Log, suite: &str) -> Job {
        let (log, name) = (log.clone(), suite.to_owned());
        Job::new(suite, move || {
            log.lock().unwrap().push(format!("+{name}"));
            thread::sleep(Duration::from_millis(30));
            log.lock().unwrap().push(format!("-{name}"));
            Ok(Outcome {
                passed: 1,
                ..Outcome::default()
            })
        })
    }

    fn all(jobs: Vec<Job>, cores: usize) -> u64 {
        let mut passed = 0;
        run(
            jobs,
            cores,
            |done| {
                passed += done.outcome.map_or(0, |outcome| outcome.passed);
                true
            },
            |_| {},
        );
        passed
    }

    #[test]
    fn what_waits_for_another_begins_after_its_end() {
        let log = Log::default();
        let mut second = noting(&log, "second");
        second.after = vec!["first"];
        second.rank = 9;
        assert_eq!(all(vec![second, noting(&log, "first")], 4), 2);
        assert_eq!(
            *log.lock().unwrap(),
            ["+first", "-first", "+second", "-second"]
        );
    }

    #[test]
    fn as_many_run_as_there_are_processors_and_what_is_alone_is() {
        let log = Log::default();
        let mut alone = noting(&log, "alone");
        alone.alone = true;
        let jobs = vec![
            alone,
            noting(&log, "a"),
            noting(&log, "b"),
            noting(&log, "c"),
        ];
        assert_eq!(all(jobs, 2), 4);
        let log = log.lock().unwrap();
        let mut most = 0;
        let mut count = 0;
        for line in log.iter() {
            count += if line.starts_with('+') { 1 } else { -1 };
            most = most.max(count);
            assert!(count <= 1 || !line.ends_with("alone"), "{log:?}");
        }
        assert_eq!(most, 2, "{log:?}");
    }

    #[test]
    fn jobs_that_only_wait_run_beside_others() {
        let log = Log::default();
        let jobs = (0..6).map(|n| {
            let mut job = noting(&log, &format!("job {n}"));
            job.share = 0.1;
            job
        });
        assert_eq!(all(jobs.collect(), 1), 6);
        assert!(
            log.lock().unwrap()[..6]
                .iter()
                .all(|line| line.starts_with('+'))
        );
    }

    #[test]
    fn jobs_that_fit_exactly_run_beside_each_other() {
        let log = Log::default();
        let jobs = [0.4, 1.2, 0.8].map(|share| {
            let mut job = noting(&log, &format!("job {share}"));
            job.share = share;
            job
        });
        assert_eq!(all(jobs.into(), 2), 3);
        let log = log.lock().unwrap();
        assert!(log[..3].iter().all(|line| line.starts_with('+')), "{log:?}");
    }

    #[test]
    fn jobs_that_become_known_are_done_too() {
        let log = Log::default();
        let inner = noting(&log, "inner");
        let outer = Job::new("outer", move || {
            Ok(Outcome {
                passed: 1,
                more: vec![inner],
                ..Outcome::default()
            })
        });
        assert_eq!(all(vec![outer], 2), 2);
    }
}
