//! The long form of the tests (`--full`), split into parts so that a run can be resumed: a part that passed is not run again until
//! the sources change.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use sha2::{Digest as _, Sha256};

use super::schedule::{Job, Outcome};
use super::suites::{Part, Suites};
use super::{Mode, e2e, prepare, steps};
use crate::build::{self, Arch, workspace_root};
use crate::commands::fuzz::{self, Target};
use crate::setup;

/// Duration of fuzzing for each target, in seconds.
const FUZZ_SECS: u32 = 300;

/// Prints the name of each part of the long form, and the coverage that the part adds to the short form.
pub fn list(suites: &Suites) {
    for (name, part) in &suites.full {
        println!("{name:<24}{}", part.adds);
    }
}

/// Jobs for the parts in `names`; if empty, for all parts that have not passed with the current sources.
pub fn jobs(mode: &Mode, names: &[String]) -> Result<Vec<Job>> {
    let known = &mode.suites.full;
    if let Some(unknown) = names.iter().find(|name| !known.contains_key(*name)) {
        bail!("unknown part {unknown:?}: cargo xtask test --list prints all parts");
    }
    let sources = hash_sources()?;
    let mut chosen = Vec::new();
    for (name, part) in known {
        let has_passed = fs::read_to_string(stamp(name)).is_ok_and(|hash| hash == sources);
        if names.contains(name) || (names.is_empty() && !has_passed) {
            chosen.push((name.clone(), part.clone()));
        }
    }
    let mut jobs = Vec::new();
    let mut e2e_parts = Vec::new();
    for (name, part) in chosen {
        match part.suite.as_str() {
            "unit" => jobs.push(unit_job(name, &part, &sources)),
            "fuzz" => jobs.push(fuzz_job(name, &part, &sources)?),
            _ => e2e_parts.push((name, part)),
        }
    }
    if !e2e_parts.is_empty() {
        let build = steps::jobs(mode).into_iter();
        jobs.extend(build.filter(|job| job.suite == steps::BUILD));
        jobs.push(prepare::job(mode));
        jobs.push(e2e::parts(mode, e2e_parts, &sources));
    }
    Ok(jobs)
}

/// Path of the file with the hash of the sources with which a part last passed.
fn stamp(part: &str) -> PathBuf {
    workspace_root().join("target/test/full").join(part)
}

/// Records that a part passed with these sources.
pub fn record_pass(part: &str, sources: &str) -> Result<()> {
    let path = stamp(part);
    fs::create_dir_all(path.parent().context("no parent directory")?)?;
    fs::write(&path, sources).with_context(|| format!("cannot write {}", path.display()))
}

/// SHA-256 over all source files, including those not yet added to git.
fn hash_sources() -> Result<String> {
    let root = workspace_root();
    let mut git = Command::new("git");
    git.current_dir(&root)
        .args(["ls-files", "-z", "--cached", "--others"])
        .args(["--exclude-standard", "--"])
        .args(["src", "xtask", "linker", "image", "qemu"])
        .args(["Cargo.toml", "Cargo.lock"]);
    let mut sum = Sha256::new();
    for file in setup::run_captured(&mut git)?.split_terminator('\0') {
        // A file that git lists but that cannot be read was deleted in the working tree; it is hashed as empty.
        let bytes = fs::read(root.join(file)).unwrap_or_default();
        sum.update(format!("{file} {}\n", bytes.len()));
        sum.update(bytes);
    }
    let sum = sum.finalize();
    Ok(sum.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unit_job(name: String, part: &Part, sources: &str) -> Job {
    let (test, sources) = (part.test.clone(), sources.to_owned());
    let (suite, log) = (name.clone(), steps::log_path(&format!("full::{name}")));
    Job::new(&suite, move || {
        let mut command = build::unit_tests(Arch::X86_64)?;
        command.arg(test).env("STOWAWAY_FULL", "1");
        let (success, outcome) = steps::run_logged(&mut command, &log, None)?;
        if success {
            record_pass(&name, &sources)?;
        }
        Ok(outcome)
    })
}

fn fuzz_job(name: String, part: &Part, sources: &str) -> Result<Job> {
    let target = Target::from_str(&part.test, false).map_err(anyhow::Error::msg)?;
    let (suite, sources) = (name.clone(), sources.to_owned());
    Ok(Job::new(&suite, move || {
        let output = fuzz::run(target, FUZZ_SECS)?;
        record_pass(&name, &sources)?;
        Ok(Outcome {
            passed: 1,
            output,
            ..Outcome::default()
        })
    }))
}
