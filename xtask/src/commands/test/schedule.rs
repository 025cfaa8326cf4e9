//! Runs jobs in parallel, as many as the processors can serve. Each job has a share: the average number of processors that the job
//! keeps busy. A job that mostly waits has a small share.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
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
    /// Test of the suite; empty for the whole suite.
    pub test: String,
    /// Average number of processors that the job keeps busy.
    pub share: f64,
    /// Usual duration of the job.
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
            test: String::new(),
            share: 1.0,
            usual: Duration::ZERO,
            rank: 1,
            after: Vec::new(),
            alone: false,
            work: Box::new(work),
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
    /// Output of the job to print, such as that of a failed test.
    pub output: String,
    /// Further jobs to run, which this one discovered.
    pub more: Vec<Job>,
}

impl Outcome {
    /// One test passed.
    pub fn pass() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }
}

/// A job that was started.
pub struct Started {
    /// SUITE or SUITE::TEST.
    pub name: String,
    /// See `Job::suite`.
    pub suite: String,
    pub start: Instant,
    number: usize,
    share: f64,
    alone: bool,
}

/// The jobs of a run that have not ended.
struct Queue {
    waiting: Vec<Job>,
    running: Vec<Started>,
    capacity: f64,
}

/// Runs `jobs` and the jobs that they add. Calls `ended` for each job that ended, with its result (an error: the job could not be run
/// to its end), the running jobs and the number of waiting ones. Once it returns false, no more jobs are started.
pub fn run(
    jobs: Vec<Job>,
    cores: usize,
    mut ended: impl FnMut(Started, Result<Outcome>, &[Started], usize) -> bool,
) {
    let (sender, receiver) = channel();
    let mut queue = Queue {
        waiting: jobs,
        running: Vec::new(),
        capacity: cores as f64 * OVERCOMMIT,
    };
    for number in 0.. {
        if let Some(job) = queue.pop_next() {
            let name = [&*job.suite, &*job.test].join("::");
            queue.running.push(Started {
                name: name.trim_end_matches("::").into(),
                suite: job.suite,
                start: Instant::now(),
                number,
                share: job.share,
                alone: job.alone,
            });
            let sender = sender.clone();
            // One thread per job, not a pool: the job's processes have PDEATHSIG set, which kills them when this thread ends.
            // `send` fails only if `run` has returned.
            thread::spawn(move || sender.send((number, (job.work)())));
            continue;
        }
        if queue.running.is_empty() {
            return;
        }
        let Ok((number, mut outcome)) = receiver.recv() else {
            return;
        };
        let is_it = |job: &Started| job.number == number;
        let Some(index) = queue.running.iter().position(is_it) else {
            return;
        };
        let done = queue.running.swap_remove(index);
        if let Ok(outcome) = &mut outcome {
            queue.waiting.append(&mut outcome.more);
        }
        if !ended(done, outcome, &queue.running, queue.waiting.len()) {
            queue.waiting.clear();
        }
    }
}

impl Queue {
    /// Removes and returns the most urgent job that can start now: all jobs on which it depends have ended, and enough processors
    /// are free.
    fn pop_next(&mut self) -> Option<Job> {
        let running = &self.running;
        let busy: f64 = running.iter().map(|job| job.share).sum();
        if running.len() >= RUNNING_MAX || running.iter().any(|job| job.alone) {
            return None;
        }
        let waiting = self.waiting.iter().map(|job| &job.suite);
        let unfinished: BTreeSet<&String> = waiting
            .chain(running.iter().map(|job| &job.suite))
            .collect();
        let can_start = |job: &Job| {
            let fits = !job.alone && busy + job.share <= self.capacity + TOLERANCE;
            let is_pending = |suite: &&str| unfinished.iter().any(|name| name == suite);
            (fits || running.is_empty()) && !job.after.iter().any(is_pending)
        };
        let urgency = |job: &Job| (!job.alone, job.rank, job.usual);
        let index = (0..self.waiting.len())
            .filter(|&index| can_start(&self.waiting[index]))
            .max_by_key(|&index| urgency(&self.waiting[index]))?;
        Some(self.waiting.swap_remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Runs a job for each of `shares`. Returns the starts (`+`) and ends (`-`) of the jobs by their numbers.
    fn play(shares: &[f64], cores: usize, change: impl Fn(usize, &mut Job)) -> Vec<String> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let jobs = shares.iter().enumerate().map(|(number, &share)| {
            let log = log.clone();
            let mut job = Job::new(&number.to_string(), move || {
                log.lock().unwrap().push(format!("+{number}"));
                thread::sleep(Duration::from_millis(30));
                log.lock().unwrap().push(format!("-{number}"));
                Ok(Outcome::pass())
            });
            job.share = share;
            change(number, &mut job);
            job
        });
        let mut passed = 0;
        run(jobs.collect(), cores, |_, outcome, _, _| {
            passed += outcome.unwrap().passed;
            true
        });
        assert_eq!(passed, shares.len() as u64);
        Arc::into_inner(log).unwrap().into_inner().unwrap()
    }

    /// The largest number of jobs that ran at the same time.
    fn most(log: &[String]) -> i32 {
        let steps = log
            .iter()
            .map(|line| if line.starts_with('+') { 1 } else { -1 });
        let counts = steps.scan(0, |count, step| {
            *count += step;
            Some(*count)
        });
        counts.max().unwrap_or(0)
    }

    #[test]
    fn dependent_job_starts_after_its_dependency() {
        let log = play(&[1.0, 1.0], 4, |number, job| {
            if number == 0 {
                (job.after, job.rank) = (vec!["1"], 9);
            }
        });
        assert_eq!(log, ["+1", "-1", "+0", "-0"]);
    }

    #[test]
    fn sum_of_shares_limits_parallel_jobs() {
        for (shares, cores, expected) in [
            (&[1.0; 4][..], 2, 2),
            (&[0.1; 6], 1, 6),
            // The sum is exactly the capacity, but not in floating point.
            (&[0.4, 1.2, 0.8], 2, 3),
        ] {
            let log = play(shares, cores, |_, _| {});
            assert_eq!(most(&log), expected, "{shares:?}: {log:?}");
        }
    }

    #[test]
    fn lone_job_excludes_others() {
        let log = play(&[0.1; 4], 2, |number, job| job.alone = number == 2);
        assert_eq!(most(&log), 3, "{log:?}");
        let start = log.iter().position(|line| line == "+2").unwrap();
        assert_eq!(log[start + 1], "-2", "{log:?}");
        assert_eq!(most(&log[..start]) % 3, 0, "{log:?}");
    }

    #[test]
    fn job_added_by_a_job_is_run() {
        let outer = Job::new("outer", || {
            Ok(Outcome {
                more: vec![Job::new("inner", || Ok(Outcome::pass()))],
                ..Outcome::pass()
            })
        });
        let mut names = Vec::new();
        run(vec![outer], 2, |done, _, _, _| {
            names.push(done.name);
            true
        });
        assert_eq!(names, ["outer", "inner"]);
    }
}
