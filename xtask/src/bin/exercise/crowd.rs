//! `exercise crowd DIR`: reads a directory with many entries while some of them are removed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// `exercise crowd`
#[derive(clap::Args)]
pub struct Args {
    /// The directory to create
    directory: PathBuf,
    /// Number of entries, a multiple of four
    #[arg(long, default_value_t = 10_000)]
    count: usize,
}

/// A prime. Multiplication by it, modulo the number of removed entries, reaches each of these entries once.
const STRIDE: usize = 7919;

/// Fills the directory, removes half of the names while listing them, then removes each remaining name as it is listed.
pub fn main(args: Args) -> Result<()> {
    fs::create_dir(&args.directory)?;
    for number in 0..args.count {
        File::create_new(args.directory.join(name(number)))?;
    }
    println!("{} made", args.count);

    // Two of every four names stay. Each time one of them is listed, a name at a pseudo-random position is removed. So some of the
    // removed names have been listed before, and others are never listed.
    let half = args.count / 2;
    let goes = |stays: usize| {
        let place = (stays / 4 * 2 + stays % 4) * STRIDE % half;
        place / 2 * 4 + 2 + place % 2
    };
    let mut seen = Vec::new();
    for entry in fs::read_dir(&args.directory)? {
        let number = number(&entry?.path())?;
        seen.push(number);
        if number % 4 < 2 {
            let gone = goes(number);
            fs::remove_file(args.directory.join(name(gone)))
                .with_context(|| format!("removing {gone}"))?;
        }
    }
    let stayed = |number: &usize| number % 4 < 2;
    let expected: Vec<usize> = (0..args.count).filter(stayed).collect();
    let once: BTreeSet<usize> = seen.iter().copied().collect();
    ensure!(
        once.len() == seen.len(),
        "{} names were listed, some of them twice",
        seen.len()
    );
    let missing = expected
        .iter()
        .filter(|number| !once.contains(number))
        .count();
    ensure!(missing == 0, "{missing} names that stayed were not listed");
    println!("{} listed, {} of them stayed", seen.len(), expected.len());

    let left: BTreeSet<usize> = list(&args.directory)?;
    ensure!(
        left.into_iter().eq(expected),
        "the remaining names are not those that should stay"
    );

    for entry in fs::read_dir(&args.directory)? {
        fs::remove_file(entry?.path())?;
    }
    let left = list(&args.directory)?;
    ensure!(
        left.is_empty(),
        "{} names remain after removing every name listed",
        left.len()
    );
    fs::remove_dir(&args.directory).context("cannot remove the empty directory")?;
    Ok(())
}

fn name(number: usize) -> String {
    format!("entry-{number:06}")
}

fn number(path: &Path) -> Result<usize> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("entry-")
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("unexpected entry {name}"))
}

fn list(directory: &Path) -> Result<BTreeSet<usize>> {
    fs::read_dir(directory)?
        .map(|entry| number(&entry?.path()))
        .collect()
}
