//! Runs jobs in parallel, as many as the processors can serve. Each job has a share: the average number of processors that the job
//! keeps busy. A job that mostly waits has a small share.

use std::collections::BTreeSet;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Maximum number of jobs that run at the same time, however few processors they keep busy.
const RUNNING_MAX: usize = 12;
/// Number of processors that the running jobs together may need, per processor of the machine. Above 1, because no job computes all
/// the time.
const OVERCOMMIT: f64 = 1.2;
/// Tolerance when sums of `Job::share` are compared. In floating point they are inexact: 0.4 + 1.2 + 0.8 > 2.4.
const TOLERANCE: f64 = 1e-6;

/// A job and its scheduling parameters.
pub struct Job {
    /// Name of the row in the report to which the job is added.
    pub suite: String,
    /// Part of the suite; empty for the whole suite.
    pub part: String,
    /// Average number of processors that the job keeps busy.
    pub share: f64,
    /// Usual duration of the job; used to choose the next job and to estimate the remaining time.
    pub usual: Duration,
    /// Priority: of the jobs that can start, one of the highest rank starts first, and among these the longest.
    pub rank: u8,
    /// Suites that must have ended before this job starts.
    pub after: Vec<&'static str>,
    /// True if no other job may run at the same time.
    pub alone: bool,
    /// Runs the job.
    pub work: Box<dyn FnOnce() -> Result<Outcome> + Send>,
}

impl Job {
    /// A job that keeps one processor busy and depends on no other.
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

    /// Name in progress and failure messages: SUITE or SUITE::PART.
    pub fn name(&self) -> String {
        if self.part.is_empty() {
            self.suite.clone()
        } else {
            format!("{}::{}", self.suite, self.part)
        }
    }
}

/// Result of a job that ran to its end.
#[derive(Default)]
pub struct Outcome {
    /// Number of tests that passed.
    pub passed: u64,
    /// Number of tests that failed.
    pub failed: u64,
    /// Number of tests that printed SKIPPED.
    pub skipped: u64,
    /// Processor time of the programs that the job ran; zero if the job did not measure it.
    pub processor: Duration,
    /// Output of the job to print, such as that of a failed test.
    pub output: String,
    /// Further jobs to run, which this one discovered.
    pub more: Vec<Job>,
}

/// A job that ended.
pub struct FinishedJob {
    /// See `Job::suite`.
    pub suite: String,
    /// See `Job::part`.
    pub part: String,
    /// Duration of the job.
    pub took: Duration,
    /// An error means that the job could not be run to its end.
    pub outcome: Result<Outcome>,
}

/// The progress of a run, which is reported after each change.
pub struct RunProgress<'a> {
    /// Names of the running jobs.
    pub running: Vec<&'a str>,
    /// Number of jobs that ended.
    pub done_count: usize,
    /// Number of known jobs that have not ended.
    pub left_count: usize,
    /// Estimated time until all known jobs have ended.
    pub left: Duration,
}

struct Running {
    name: String,
    suite: String,
    share: f64,
    end_usual: Instant,
    alone: bool,
}

/// Runs `jobs` and the jobs that they add. Calls `ended` after each job; once it returns false, starts no more jobs.
pub fn run(
    jobs: Vec<Job>,
    cores: usize,
    mut ended: impl FnMut(FinishedJob) -> bool,
    mut progress: impl FnMut(&RunProgress<'_>),
) {
    let capacity = cores as f64 * OVERCOMMIT;
    let (sender, receiver) = channel();
    let mut waiting = jobs;
    let mut running: Vec<Running> = Vec::new();
    let mut done_count = 0;
    loop {
        while let Some(job) = pop_next(&mut waiting, &running, capacity) {
            running.push(start_job(job, &sender));
        }
        let now = Instant::now();
        progress(&RunProgress {
            running: running.iter().map(|job| job.name.as_str()).collect(),
            done_count,
            left_count: running.len() + waiting.len(),
            left: estimate_left(&waiting, &running, now, capacity),
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

/// Removes and returns the most urgent job that can start now: all jobs on which it depends have ended, and enough processors are
/// free.
fn pop_next(waiting: &mut Vec<Job>, running: &[Running], capacity: f64) -> Option<Job> {
    let busy: f64 = running.iter().map(|job| job.share).sum();
    if running.len() >= RUNNING_MAX || running.iter().any(|job| job.alone) {
        return None;
    }
    let unfinished: BTreeSet<&str> = waiting
        .iter()
        .map(|job| job.suite.as_str())
        .chain(running.iter().map(|job| job.suite.as_str()))
        .collect();
    let can_start = |job: &Job| {
        let fits = running.is_empty() || (!job.alone && busy + job.share <= capacity + TOLERANCE);
        fits && !job.after.iter().any(|suite| unfinished.contains(suite))
    };
    let urgency = |job: &Job| (!job.alone, job.rank, job.usual);
    let index = (0..waiting.len())
        .filter(|&index| can_start(&waiting[index]))
        .max_by_key(|&index| urgency(&waiting[index]))?;
    Some(waiting.swap_remove(index))
}

fn start_job(job: Job, sender: &Sender<(String, FinishedJob)>) -> Running {
    let name = job.name();
    let running = Running {
        name: name.clone(),
        suite: job.suite.clone(),
        share: job.share,
        end_usual: Instant::now() + job.usual,
        alone: job.alone,
    };
    let sender = sender.clone();
    // One thread per job, not a pool: the job's processes have PDEATHSIG set, which kills them when this thread ends.
    thread::spawn(move || {
        let start = Instant::now();
        let outcome = (job.work)();
        let done = FinishedJob {
            suite: job.suite,
            part: job.part,
            took: start.elapsed(),
            outcome,
        };
        // `send` fails only if `run` has returned.
        let _ = sender.send((name, done));
    });
    running
}

/// Estimates the remaining time: all work distributed evenly over the processors, but at least the longest job.
fn estimate_left(waiting: &[Job], running: &[Running], now: Instant, capacity: f64) -> Duration {
    let waiting = waiting.iter().map(|job| (job.usual, job.share));
    let running = running
        .iter()
        .map(|job| (job.end_usual.saturating_duration_since(now), job.share));
    let all: Vec<(Duration, f64)> = waiting.chain(running).collect();
    let longest = all.iter().map(|(usual, _)| *usual).max();
    let busy: f64 = all
        .iter()
        .map(|(usual, share)| usual.as_secs_f64() * share)
        .sum();
    let total: f64 = all.iter().map(|(usual, _)| usual.as_secs_f64()).sum();
    let even = (busy / capacity).max(total / RUNNING_MAX as f64);
    longest
        .unwrap_or_default()
        .max(Duration::from_secs_f64(even))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    type Log = Arc<Mutex<Vec<String>>>;

    /// A job that logs its start (`+`) and its end (`-`).
    fn logging_job(log: &Log, suite: &str) -> Job {
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

    /// Runs the jobs and returns the number of tests passed.
    fn run_all(jobs: Vec<Job>, cores: usize) -> u64 {
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
    fn dependent_job_starts_after_its_dependency() {
        let log = Log::default();
        let mut second = logging_job(&log, "second");
        second.after = vec!["first"];
        second.rank = 9;
        assert_eq!(run_all(vec![second, logging_job(&log, "first")], 4), 2);
        assert_eq!(
            *log.lock().unwrap(),
            ["+first", "-first", "+second", "-second"]
        );
    }

    #[test]
    fn shares_limit_parallel_jobs_and_alone_excludes_others() {
        let log = Log::default();
        let mut alone = logging_job(&log, "alone");
        alone.alone = true;
        let jobs = vec![
            alone,
            logging_job(&log, "a"),
            logging_job(&log, "b"),
            logging_job(&log, "c"),
        ];
        assert_eq!(run_all(jobs, 2), 4);
        let log = log.lock().unwrap();
        let mut count_max = 0;
        let mut count = 0;
        for line in log.iter() {
            count += if line.starts_with('+') { 1 } else { -1 };
            count_max = count_max.max(count);
            assert!(count <= 1 || !line.ends_with("alone"), "{log:?}");
        }
        assert_eq!(count_max, 2, "{log:?}");
    }

    #[test]
    fn jobs_with_small_shares_run_in_parallel() {
        let log = Log::default();
        let jobs = (0..6).map(|n| {
            let mut job = logging_job(&log, &format!("job {n}"));
            job.share = 0.1;
            job
        });
        assert_eq!(run_all(jobs.collect(), 1), 6);
        assert!(
            log.lock().unwrap()[..6]
                .iter()
                .all(|line| line.starts_with('+'))
        );
    }

    #[test]
    fn shares_that_fit_exactly_run_in_parallel() {
        let log = Log::default();
        let jobs = [0.4, 1.2, 0.8].map(|share| {
            let mut job = logging_job(&log, &format!("job {share}"));
            job.share = share;
            job
        });
        assert_eq!(run_all(jobs.into(), 2), 3);
        let log = log.lock().unwrap();
        assert!(log[..3].iter().all(|line| line.starts_with('+')), "{log:?}");
    }

    #[test]
    fn jobs_added_by_a_job_are_run() {
        let log = Log::default();
        let inner = logging_job(&log, "inner");
        let outer = Job::new("outer", move || {
            Ok(Outcome {
                passed: 1,
                more: vec![inner],
                ..Outcome::default()
            })
        });
        assert_eq!(run_all(vec![outer], 2), 2);
    }
}
