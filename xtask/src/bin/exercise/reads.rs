//! `exercise reads FILE`: reads a file here and there, and tells the sum of it and what it cost.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cases::random::Random;
use sha2::{Digest as _, Sha256};

/// `exercise reads`
#[derive(clap::Args)]
pub struct Args {
    file: PathBuf,
    /// How often it reads
    #[arg(long)]
    count: usize,
    /// Bytes each time
    #[arg(long, default_value_t = 65_536)]
    bytes: usize,
    /// Where it reads follows from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Prints the SHA-256 of all that it read, then the most memory that it had resident, in KiB.
pub fn main(args: Args) -> Result<()> {
    let file =
        File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let last = file.metadata()?.len().saturating_sub(args.bytes as u64);
    let mut random = Random::new(args.seed);
    let mut buffer = vec![0; args.bytes];
    let mut sum = Sha256::new();
    for _ in 0..args.count {
        let at = random.number() % (last + 1);
        file.read_exact_at(&mut buffer, at)
            .with_context(|| format!("cannot read at {at}"))?;
        sum.update(&buffer);
    }
    let sum: String = sum
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("{sum}");
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!(
        "{}",
        peak.context("no VmHWM")?.trim().trim_end_matches(" kB")
    );
    Ok(())
}
