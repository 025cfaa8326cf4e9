//! `exercise reads FILE`: reads a file at random offsets; prints the SHA-256 of the data and the peak memory use.

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
    /// Number of reads
    #[arg(long)]
    count: usize,
    /// Bytes per read
    #[arg(long, default_value_t = 65_536)]
    bytes: usize,
    /// Seed of the random offsets
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Prints the SHA-256 of all data read, then the peak resident memory (VmHWM) in KiB.
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
            .with_context(|| format!("cannot read at offset {at}"))?;
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
        peak.context("no VmHWM in /proc/self/status")?
            .trim()
            .trim_end_matches(" kB")
    );
    Ok(())
}
