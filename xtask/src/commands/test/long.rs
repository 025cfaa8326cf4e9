//! The long form, in parts that are run alone and resumed: a part that passed is not run again until the sources change.

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

/// Seconds that a target is fed.
const FUZZ_SECS: u32 = 300;

/// Prints the parts.
pub fn list(suites: &Suites) {
    for (name, part) in &suites.full {
        println!("{name:<24}{}", part.adds);
    }
}

/// The jobs of the parts that are named, or of all that have not passed.
pub fn jobs(mode: &Mode, names: &[String]) -> Result<Vec<Job>> {
    let known = &mode.suites.full;
    if let Some(strange) = names.iter().find(|name| !known.contains_key(*name)) {
        bail!("there is no part {strange}: cargo xtask test --list names them");
    }
    let sources = sources()?;
    let mut chosen = Vec::new();
    for (name, part) in known {
        let has_passed = fs::read_to_string(stamp(name)).is_ok_and(|of| of == sources);
        if names.contains(name) || (names.is_empty() && !has_passed) {
            chosen.push((name.clone(), part.clone()));
        }
    }
    let mut jobs = Vec::new();
    let mut clients = Vec::new();
    for (name, part) in chosen {
        match part.suite.as_str() {
            "unit" => jobs.push(unit(name, &part, &sources)),
            "fuzz" => jobs.push(feed(name, &part, &sources)?),
            _ => clients.push((name, part)),
        }
    }
    if !clients.is_empty() {
        let build = steps::jobs(mode).into_iter();
        jobs.extend(build.filter(|job| job.suite == steps::BUILD));
        jobs.push(prepare::job(mode));
        jobs.push(e2e::parts(mode, clients, &sources));
    }
    Ok(jobs)
}

/// What says with which sources a part last passed.
fn stamp(part: &str) -> PathBuf {
    workspace_root().join("target/test/full").join(part)
}

/// Notes that a part passed.
pub fn pass(part: &str, sources: &str) -> Result<()> {
    let path = stamp(part);
    fs::create_dir_all(path.parent().context("no directory")?)?;
    fs::write(&path, sources).with_context(|| format!("cannot write {}", path.display()))
}

/// A sum over all that is compiled, also what git does not know yet.
fn sources() -> Result<String> {
    let root = workspace_root();
    let mut git = Command::new("git");
    git.current_dir(&root)
        .args(["ls-files", "-z", "--cached", "--others"])
        .args(["--exclude-standard", "--"])
        .args(["src", "xtask", "linker", "image", "qemu"])
        .args(["Cargo.toml", "Cargo.lock"]);
    let mut sum = Sha256::new();
    for file in setup::quietly(&mut git)?.split_terminator('\0') {
        // What is listed and not there was removed.
        let bytes = fs::read(root.join(file)).unwrap_or_default();
        sum.update(format!("{file} {}\n", bytes.len()));
        sum.update(bytes);
    }
    let sum = sum.finalize();
    Ok(sum.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unit(name: String, part: &Part, sources: &str) -> Job {
    let (test, sources) = (part.test.clone(), sources.to_owned());
    let (suite, log) = (name.clone(), steps::log_path(&format!("full::{name}")));
    Job::new(&suite, move || {
        let mut command = build::unit_tests(Arch::X86_64)?;
        command.arg(test).env("STOWAWAY_FULL", "1");
        let (success, outcome) = steps::run_logged(&mut command, &log, None)?;
        if success {
            pass(&name, &sources)?;
        }
        Ok(outcome)
    })
}

fn feed(name: String, part: &Part, sources: &str) -> Result<Job> {
    let target = Target::from_str(&part.test, false).map_err(anyhow::Error::msg)?;
    let (suite, sources) = (name.clone(), sources.to_owned());
    Ok(Job::new(&suite, move || {
        let output = fuzz::run(target, FUZZ_SECS)?;
        pass(&name, &sources)?;
        Ok(Outcome {
            passed: 1,
            output,
            ..Outcome::default()
        })
    }))
}
