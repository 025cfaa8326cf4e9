//! `exercise load DIR`: several workers change a tree until they are told to stop, while the server is killed.
//!
//! What a worker was told is done, it remembers. At the end `--manifest` has a line for each thing that must be there.
//! A request that was carried out before a kill may be sent again after it; then, and only then, it may fail because it
//! was carried out already, unless the server's replies outlive the kill.

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
    /// A line for each operation that was done
    #[arg(long)]
    log: PathBuf,
    /// Grows by a byte before each kill and by another one when the server is back
    #[arg(long)]
    kills: PathBuf,
    /// The load ends when this file is there
    #[arg(long)]
    stop: PathBuf,
    /// Where to write what must be there in the end
    #[arg(long)]
    manifest: PathBuf,
    /// Move names within their directory only: a handle that is a path from the top does not outlive more than that
    #[arg(long)]
    stay: bool,
    /// No request fails because it was carried out before: the server's replies outlive a kill
    #[arg(long)]
    replies_kept: bool,
    /// How many work at the same time, each in a directory of its own
    #[arg(long, default_value_t = 4)]
    workers: u64,
    /// Repeat a run; the kills come when they come
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the workers to their end.
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
                        worker.step()?;
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
