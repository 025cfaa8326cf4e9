//! `cargo xtask fuzz`: inputs that reach new code, for as long as one likes; what was found stays under target/fuzz.
//!
//! libFuzzer, with the compiler's own coverage: it needs no nightly toolchain and no cargo-fuzz. The targets are in
//! xtask/fuzz, which is built here alone, with flags of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::build::{Arch, workspace_root};
use crate::setup;

/// What libFuzzer asks of the compiler. `fuzzing` compiles in what the targets have in common with the unit tests.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Lines of a failure that are shown, from where it begins.
const LINES: usize = 20;

/// `cargo xtask fuzz`
#[derive(clap::Args)]
pub struct Args {
    /// What is fed
    target: Target,

    /// For how long
    #[arg(long, default_value_t = 60)]
    secs: u32,

    /// Only this input, once: a file that was found
    #[arg(long, conflicts_with = "secs")]
    again: Option<PathBuf>,
}

/// What can be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Any bytes, as records and datagrams
    Records,
    /// Well-formed calls of every procedure, in any order and in pieces
    Calls,
    /// SFTP: any bytes, and well-formed requests of every type
    Sftp,
    /// An ISO image with any of its bytes changed
    Iso,
    /// Files and tables that say what mdns announces: any bytes
    Announced,
    /// Datagrams of a link, as the responder and the browser of mdns hear them
    Mdns,
    /// Frames of an Ethernet, as our own network stack receives them
    Frames,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Records,
        Self::Calls,
        Self::Sftp,
        Self::Iso,
        Self::Announced,
        Self::Mdns,
        Self::Frames,
    ];

    /// As on the command line and in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Calls => "calls",
            Self::Sftp => "sftp",
            Self::Iso => "iso",
            Self::Announced => "announced",
            Self::Mdns => "mdns",
            Self::Frames => "frames",
        }
    }

    /// Bytes of the longest input: enough for a WRITE that does not arrive at once, or for some hundred steps.
    const fn bytes_max(self) -> u32 {
        match self {
            Self::Records => 24_000,
            Self::Calls | Self::Sftp | Self::Announced | Self::Mdns | Self::Frames => 4096,
            Self::Iso => 600,
        }
    }
}

/// Feeds the target, or repeats what was found.
pub fn main(args: Args) -> Result<()> {
    match args.again {
        None => {
            println!("{}", run(args.target, args.secs)?);
            Ok(())
        }
        Some(file) => {
            let file = file
                .canonicalize()
                .with_context(|| format!("cannot find {}", file.display()))?;
            let status = Command::new(build(args.target)?)
                .arg(file)
                .status()
                .context("cannot start the target")?;
            if !status.success() {
                bail!("it still fails, as is said above");
            }
            Ok(())
        }
    }
}

/// Feeds the target for so many seconds; how much that was. An error says how to repeat what was found.
pub fn run(target: Target, secs: u32) -> Result<String> {
    let program = build(target)?;
    let place = place().join(target.name());
    let [corpus, seeds, found] = ["corpus", "seeds", "found"].map(|name| place.join(name));
    for dir in [&corpus, &seeds, &found] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let log = place.join("log");
    let said = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let waiting = setup::progress(&format!("feeding {} for {secs} s", target.name()));
    let status = Command::new(&program)
        .env("STOWAWAY_SEEDS", &seeds)
        .arg(format!("-max_total_time={secs}"))
        .arg(format!("-max_len={}", target.bytes_max()))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-len_control=0", "-timeout=10", "-print_final_stats=1"])
        .args([&corpus, &seeds])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    drop(waiting);
    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if !status.success() {
        bail!("{}", failure(target, &said, &log));
    }
    summary(target, &said).with_context(|| format!("{} is not what it was", log.display()))
}

/// Where everything lies that fuzzing makes.
fn place() -> PathBuf {
    workspace_root().join("target/fuzz")
}

/// Builds the target. Its flags would have all else built again, so its files lie apart.
fn build(target: Target) -> Result<PathBuf> {
    setup::need(&[setup::Package::CXX])?;
    let triple = Arch::X86_64.triple();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace_root())
        .args(["build", "-p", "fuzz", "--bin", target.name()])
        // With a target named, build scripts are spared the flags.
        .args(["--profile", "fuzz", "--target", triple, "--target-dir"])
        .arg(place())
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    let waiting = setup::progress(&format!("building the target {}", target.name()));
    setup::quietly(&mut cargo)?;
    drop(waiting);
    Ok(place().join(triple).join("fuzz").join(target.name()))
}

/// The end of what libFuzzer said, and how to see it again.
fn failure(target: Target, said: &str, log: &Path) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let begins = |line: &&str| line.contains("panicked at") || line.contains("ERROR: libFuzzer");
    let start = lines.iter().position(begins);
    let start = start.unwrap_or(lines.len().saturating_sub(LINES));
    let shown = lines.iter().skip(start).take(LINES);
    let mut text = shown.copied().collect::<Vec<_>>().join("\n");
    let written = lines.iter().rev().find_map(|line| {
        let (_, path) = line.split_once("Test unit written to ")?;
        Some(path)
    });
    if let Some(path) = written {
        let name = target.name();
        text.push_str(&format!(
            "\nthis alone again: cargo xtask fuzz {name} --again {path}"
        ));
    }
    text.push_str(&format!("\nall of it is in {}", log.display()));
    text
}

/// How many inputs there were, how fast, and what they reached.
fn summary(target: Target, said: &str) -> Option<String> {
    let stat = |name: &str| {
        let mut lines = said.lines();
        let number = lines.find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))?;
        number.trim_start_matches(':').trim().parse::<u64>().ok()
    };
    let count = stat("number_of_executed_units")?;
    let rate = stat("average_exec_per_sec")?;
    let done = said.lines().rev().find(|line| line.contains("\tDONE"))?;
    let mut words = done.split_whitespace();
    let mut after = |name| {
        words.find(|word| *word == name)?;
        words.next()
    };
    let (reached, kept) = (after("cov:")?, after("corp:")?);
    let kept = kept.split('/').next()?;
    let name = target.name();
    Some(format!(
        "{name}: {count} inputs, {rate} a second; they reach {reached} places, {kept} of them kept"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_read_from_what_was_said() {
        let said = "#77193\tDONE   cov: 1627 ft: 3514 corp: 374/203Kb lim: 24000 exec/s: 4824 rss: 30Mb\n\
            stat::number_of_executed_units: 77193\nstat::average_exec_per_sec:     4824\n";
        assert_eq!(
            summary(Target::Records, said).as_deref(),
            Some("records: 77193 inputs, 4824 a second; they reach 1627 places, 374 of them kept")
        );
        assert_eq!(summary(Target::Records, "nothing"), None);
    }

    #[test]
    fn what_was_found_is_shown_with_how_to_repeat_it() {
        let said = "#1 NEW\npanicked at x\nartifact_prefix='/f/'; Test unit written to /f/crash-1\nBase64: AA==\n";
        let text = failure(Target::Calls, said, Path::new("/log"));
        assert!(text.starts_with("panicked at x\n"));
        assert!(text.contains("cargo xtask fuzz calls --again /f/crash-1\n"));
    }
}
