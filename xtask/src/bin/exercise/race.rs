//! `exercise race DIR DIR`: the same directory, seen by two clients: of those that make one name, exactly one succeeds.

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
    /// The directory as the first client sees it
    first: PathBuf,
    /// The same directory as the second one sees it
    second: PathBuf,
    /// How often each way of making a name is raced
    #[arg(long, default_value_t = 200)]
    rounds: usize,
}

/// Two of each client race: they also race against each other.
const RACERS: usize = 4;
/// How much later than another a racer may start, so that everybody wins now and then.
const HEAD_START_MAX_US: u64 = 500;

type Way = fn(&Path) -> io::Result<()>;

const WAYS: [(&str, Way); 4] = [
    ("O_EXCL", |path| File::create_new(path).map(drop)),
    ("mkdir", |path| fs::create_dir(path)),
    ("symlink", |path| symlink("target", path)),
    ("link", |path| {
        fs::hard_link(path.with_file_name("source"), path)
    }),
];

/// Races and prints who won how often.
pub fn main(args: Args) -> Result<()> {
    fs::write(args.first.join("source"), "source")?;
    for (word, way) in WAYS {
        let mut won = [0; RACERS];
        for round in 0..args.rounds {
            let name = format!("{word}-{round}");
            let outcomes = race(&args, &name, way);
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
                "{name} was made {winners} times: {outcomes:?}"
            );
        }
        println!("{word}: won {won:?}");
        let clients = [won[0] + won[2], won[1] + won[3]];
        ensure!(
            clients.iter().all(|&count| count > args.rounds / 20),
            "one client hardly ever came first: that was no race"
        );
        for directory in [&args.first, &args.second] {
            see_all(directory, word, args.rounds)
                .with_context(|| format!("in {}", directory.display()))?;
        }
    }
    Ok(())
}

fn race(args: &Args, name: &str, way: Way) -> Vec<io::Result<()>> {
    let start = &Barrier::new(RACERS);
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let directory = [&args.first, &args.second][racer % 2];
                let path = directory.join(name);
                scope.spawn(move || {
                    start.wait();
                    std::thread::sleep(Duration::from_micros(fastrand::u64(..HEAD_START_MAX_US)));
                    way(&path)
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().expect("a racer does not panic"))
            .collect()
    })
}

/// Both clients see every name that was won.
fn see_all(directory: &Path, word: &str, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        let name = format!("{word}-{round}");
        fs::symlink_metadata(directory.join(&name))
            .with_context(|| format!("{name} is missing"))?;
    }
    Ok(())
}
