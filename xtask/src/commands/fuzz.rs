//! `cargo xtask fuzz`: fuzzes the protocol code with libFuzzer, guided by code coverage. Findings stay under target/fuzz.
//!
//! Uses the compiler's SanitizerCoverage pass directly, so it needs neither a nightly toolchain nor cargo-fuzz. The targets are
//! the crate xtask/fuzz; only this command builds them, with its own flags.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::build::{Arch, workspace_root};
use crate::setup;

/// Compiler flags for libFuzzer's coverage instrumentation. `cfg(fuzzing)` enables the code that the targets share with the unit
/// tests.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Maximum number of lines of libFuzzer's output that are printed after a failure, from the panic message on.
const FAILURE_LINES: usize = 20;

/// `cargo xtask fuzz`
#[derive(clap::Args)]
pub struct Args {
    /// The target to fuzz
    target: Target,

    /// Duration in seconds
    #[arg(long, default_value_t = 60)]
    secs: u32,

    /// Run only this input, once: a file from target/fuzz/TARGET/found
    #[arg(long, conflicts_with = "secs")]
    again: Option<PathBuf>,
}

/// A fuzz target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// RPC: arbitrary bytes, as TCP records and as UDP datagrams
    Records,
    /// RPC: well-formed calls of every procedure, in any order and split into segments
    Calls,
    /// NFS 4.1: COMPOUNDs of several clients, whole and damaged
    Nfs4,
    /// SFTP: arbitrary bytes, and well-formed requests of every type
    Sftp,
    /// An ISO image with arbitrary bytes changed
    Iso,
    /// A UDF image with arbitrary bytes changed
    Udf,
    /// The files and tables from which mdns reads its announcements: arbitrary bytes
    Announced,
    /// Files of exports: arbitrary bytes
    Exports,
    /// HTTP: arbitrary bytes as requests on a connection
    Http,
    /// Network boot: datagrams of TFTP and DHCP, and time that passes
    Boot,
    /// Multicast DNS: datagrams received by the responder and the browser
    Mdns,
    /// Ethernet frames received by the built-in network stack
    Frames,
}

impl Target {
    /// The name of the target on the command line and in paths.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Maximum input length in bytes: enough for a WRITE that arrives in several segments, or for a few hundred steps.
    const fn input_bytes_max(self) -> u32 {
        match self {
            Self::Records => 24_000,
            Self::Http => 10_000,
            Self::Calls
            | Self::Nfs4
            | Self::Sftp
            | Self::Announced
            | Self::Boot
            | Self::Mdns
            | Self::Frames => 4096,
            Self::Exports => 1024,
            Self::Iso | Self::Udf => 600,
        }
    }
}

/// Fuzzes the target, or runs one input (`--again`).
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
                .context("cannot start the fuzz target")?;
            if !status.success() {
                bail!("the input still fails; libFuzzer's output is above");
            }
            Ok(())
        }
    }
}

/// Fuzzes the target for `secs` seconds and returns libFuzzer's last line. After a failure, the error says how to reproduce it.
pub fn run(target: Target, secs: u32) -> Result<String> {
    let program = build(target)?;
    let directory = fuzz_directory().join(target.name());
    let [corpus, seeds, found] = ["corpus", "seeds", "found"].map(|name| directory.join(name));
    for dir in [&corpus, &seeds, &found] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let log = directory.join("log");
    let stderr =
        fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let waiting = setup::progress(&format!("fuzzing {} for {secs} s", target.name()));
    let status = Command::new(&program)
        .env("STOWAWAY_SEEDS", &seeds)
        .arg(format!("-max_total_time={secs}"))
        .arg(format!("-max_len={}", target.input_bytes_max()))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-len_control=0", "-timeout=10"])
        .args([&corpus, &seeds])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    drop(waiting);
    let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let output = String::from_utf8_lossy(&output);
    if !status.success() {
        bail!("{}", failure(target, &output, &log));
    }
    let mut lines = output.lines().rev();
    let done = lines.find(|line| line.contains("\tDONE"));
    let done = done.with_context(|| format!("{} lacks libFuzzer's last line", log.display()))?;
    Ok(format!("{}: {}", target.name(), done.replace('\t', " ")))
}

/// Directory of the fuzzing builds, inputs and logs.
fn fuzz_directory() -> PathBuf {
    workspace_root().join("target/fuzz")
}

/// Builds the target, in a separate target directory: otherwise the compiler flags would make cargo rebuild everything else.
fn build(target: Target) -> Result<PathBuf> {
    setup::install_packages(&["g++"])?;
    let triple = Arch::X86_64.triple();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace_root())
        .args(["build", "-p", "fuzz", "--bin", &target.name()])
        // With --target, cargo does not apply the flags to build scripts.
        .args(["--profile", "fuzz", "--target", triple, "--target-dir"])
        .arg(fuzz_directory())
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    let waiting = setup::progress(&format!("building the fuzz target {}", target.name()));
    setup::run_captured(&mut cargo)?;
    drop(waiting);
    Ok(fuzz_directory()
        .join(triple)
        .join("fuzz")
        .join(target.name()))
}

/// Returns the part of libFuzzer's output from the failure on, and the command that reproduces the failure.
fn failure(target: Target, output: &str, log: &Path) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let is_failure =
        |line: &&str| line.contains("panicked at") || line.contains("ERROR: libFuzzer");
    let start = lines.iter().position(is_failure);
    let start = start.unwrap_or(lines.len().saturating_sub(FAILURE_LINES));
    let shown = lines.iter().skip(start).take(FAILURE_LINES);
    let mut text = shown.copied().collect::<Vec<_>>().join("\n");
    let written = lines.iter().rev().find_map(|line| {
        let (_, path) = line.split_once("Test unit written to ")?;
        Some(path)
    });
    if let Some(path) = written {
        let name = target.name();
        text.push_str(&format!(
            "\nto reproduce: cargo xtask fuzz {name} --again {path}"
        ));
    }
    text.push_str(&format!("\nfull log: {}", log.display()));
    text
}
