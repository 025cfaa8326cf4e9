//! `exercise load DIR`: several workers change a tree while the server is killed, until the file `--stop` exists.
//!
//! A worker records every operation that returned success. At the end, `--manifest` receives a line for each file that must exist.
//! If the server is killed after carrying out a request, the client retransmits it; only then may the call fail with "already done"
//! (EEXIST, ENOENT). With `--replies-kept` not even then: the server's stored replies survive the kill.

mod clock;
mod model;
mod worker;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use clock::Clock;
use worker::Worker;

/// `exercise load`
#[derive(clap::Args)]
pub struct Args {
    /// An empty directory
    directory: PathBuf,
    /// Log file: receives a line for each operation
    #[arg(long)]
    log: PathBuf,
    /// File that the test appends a byte to before each kill, and another one when the server is back
    #[arg(long)]
    kills: PathBuf,
    /// The load ends when this file exists
    #[arg(long)]
    stop: PathBuf,
    /// Output file: a line for each file and directory that must exist at the end
    #[arg(long)]
    manifest: PathBuf,
    /// Rename within one directory only: a path handle does not survive a move to another directory
    #[arg(long)]
    stay: bool,
    /// Accept no "already done" failures: the server's stored replies survive a kill
    #[arg(long)]
    replies_kept: bool,
    /// Number of parallel workers, each in its own directory
    #[arg(long, default_value_t = 4)]
    workers: u64,
    /// Seed of the operations, to repeat a run (the times of the kills still differ)
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the workers until the stop file exists, then writes the manifest.
pub fn main(args: Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let log = File::options().append(true).create(true).open(&args.log)?;
    let clock = Clock::new(&args.kills);
    let workers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.workers)
            .map(|number| {
                let (log, clock, args) = (&log, &clock, &args);
                scope.spawn(move || -> Result<Worker<'_>> {
                    let mut worker = Worker::new(args, number, seed, log, clock)?;
                    while !args.stop.exists() {
                        // Printed at once: the other workers continue until the test ends them.
                        let print = |error: &anyhow::Error| println!("failed: {error:#}");
                        worker.step().inspect_err(print)?;
                    }
                    Ok(worker)
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().expect("a worker does not panic")
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })
    .with_context(|| format!("with seed {seed}"))?;

    let mut lines: Vec<String> = workers.iter().flat_map(Worker::manifest).collect();
    lines.sort();
    fs::write(&args.manifest, lines.join("\n") + "\n")?;
    for (number, worker) in workers.iter().enumerate() {
        println!("worker {number}: {}", worker.summary());
    }
    Ok(())
}
