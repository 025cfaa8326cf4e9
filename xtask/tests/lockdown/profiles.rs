//! Each profile refuses what its file lists, and `cargo xtask lockdown` starts a program under it.

use super::wrapper;
use anyhow::{Result, ensure};
use std::process::{Command, Output};
use xtask::machines::lockdown::Profile;
use xtask::machines::server::root_for;

/// Runs `cargo xtask lockdown` with these arguments.
fn lockdown(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    Ok(command.arg("lockdown").args(arguments).output()?)
}

#[test]
fn every_listed_call_fails_as_listed() -> Result<()> {
    if !root_for("profiles with empty directories") {
        return Ok(());
    }
    for profile in Profile::names()? {
        let output = lockdown(&[&profile, "--verify"])?;
        ensure!(output.status.success(), "{profile}: {output:?}");
    }
    Ok(())
}

#[test]
fn command_runs_under_the_profile() -> Result<()> {
    let words = wrapper("container");
    let mut command = Command::new(&words[0]);
    let output =
        command
            .args(&words[1..])
            .args(["sh", "-c", "grep Seccomp: /proc/self/status; exit 7"]);
    let output = output.output()?;
    ensure!(
        output.status.code() == Some(7) && output.stdout == b"Seccomp:\t2\n",
        "{output:?}"
    );
    Ok(())
}

#[test]
fn directories_of_the_profile_are_empty() -> Result<()> {
    if !root_for("empty directories") {
        return Ok(());
    }
    let output = lockdown(&["esxi-7", "--", "ls", "-A", "/proc", "/sys"])?;
    ensure!(
        output.status.success() && output.stdout == b"/proc:\n\n/sys:\n",
        "{output:?}"
    );
    Ok(())
}

#[test]
fn unknown_profile_lists_the_known_ones() -> Result<()> {
    let output = lockdown(&["none", "--", "true"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && text.contains("the profiles are container, esxi-7"),
        "{text}"
    );
    let help = lockdown(&["--help"])?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for profile in Profile::names()? {
        ensure!(help.contains(&profile), "{help}");
    }
    Ok(())
}
