//! `exercise race DIR DIR`: creates the same names through two mounts of one directory. For each name exactly one attempt must
//! succeed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

/// `exercise race`
#[derive(clap::Args)]
pub struct Args {
    /// The directory in the first client's mount
    first: PathBuf,
    /// The directory in the second client's mount; on the server, both are one directory
    second: PathBuf,
    /// Number of names for each way of creating one
    #[arg(long, default_value_t = 200)]
    rounds: usize,
}

/// Number of racers: two per client, so that racers of one client also compete with each other.
const RACERS: usize = 4;
/// Maximum random delay of a racer's start in microseconds, so that every racer wins sometimes.
const HEAD_START_MAX_US: u64 = 500;

type Attempt = fn(&Path) -> io::Result<()>;

const ATTEMPTS: [(&str, Attempt); 4] = [
    ("O_EXCL", |path| File::create_new(path).map(drop)),
    ("mkdir", |path| fs::create_dir(path)),
    ("symlink", |path| symlink("target", path)),
    ("link", |path| {
        fs::hard_link(path.with_file_name("source"), path)
    }),
];

/// Runs the races and prints how often each racer won.
pub fn main(args: Args) -> Result<()> {
    fs::write(args.first.join("source"), "source")?;
    for (word, attempt) in ATTEMPTS {
        let mut won = [0; RACERS];
        for round in 0..args.rounds {
            let name = format!("{word}-{round}");
            let outcomes = race(&args, &name, attempt);
            for (racer, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(()) => won[racer] += 1,
                    Err(error) => ensure!(
                        error.raw_os_error() == Some(Errno::EEXIST as i32),
                        "{name}: {error}"
                    ),
                }
            }
            let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            ensure!(
                winners == 1,
                "{name} was created {winners} times: {outcomes:?}"
            );
        }
        println!("{word}: won {won:?}");
        let clients = [won[0] + won[2], won[1] + won[3]];
        ensure!(
            clients.iter().all(|&count| count > args.rounds / 20),
            "{word}: one client won at most 5 % of the rounds: the clients did not compete"
        );
        for directory in [&args.first, &args.second] {
            see_all(directory, word, args.rounds)
                .with_context(|| format!("in {}", directory.display()))?;
        }
    }
    Ok(())
}

fn race(args: &Args, name: &str, attempt: Attempt) -> Vec<io::Result<()>> {
    let start = &Barrier::new(RACERS);
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let directory = [&args.first, &args.second][racer % 2];
                let path = directory.join(name);
                scope.spawn(move || {
                    start.wait();
                    std::thread::sleep(Duration::from_micros(fastrand::u64(..HEAD_START_MAX_US)));
                    attempt(&path)
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().expect("a racer does not panic"))
            .collect()
    })
}

/// Checks that every name exists in `directory`.
fn see_all(directory: &Path, word: &str, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        let name = format!("{word}-{round}");
        fs::symlink_metadata(directory.join(&name))
            .with_context(|| format!("{name} is missing"))?;
    }
    Ok(())
}
