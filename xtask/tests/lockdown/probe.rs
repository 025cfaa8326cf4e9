//! `probe` names what a profile lacks, and the roles say that a kernel without openat is too old.

use super::wrapper;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use xtask::build::Arch;
use xtask::machines::lockdown::Profile;
use xtask::machines::server::{binary, public_dir, root_for};

/// Runs a role under a profile, 10 s at most.
pub(super) fn run(profile: &str, arch: Arch, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("timeout");
    command
        .arg("10")
        .args(wrapper(profile))
        .arg(binary(arch)?)
        .args(arguments)
        .stdin(Stdio::null());
    Ok(command.output()?)
}

/// The report of `probe --json` under a profile.
fn report(profile: &str, arch: Arch) -> Result<Value> {
    let output = run(profile, arch, &["probe", "--json"])?;
    ensure!(output.status.success(), "{profile}: {output:?}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("{profile}: {output:?}"))
}

/// The names in a section of a report.
fn names(report: &Value, section: &str) -> Result<BTreeSet<String>> {
    let section = report.get(section).and_then(Value::as_object);
    Ok(section
        .context("a section is missing")?
        .keys()
        .cloned()
        .collect())
}

/// Under each profile, the rows of the report are those that the profile refuses; without one, none is missing.
#[test]
fn probe_names_what_each_profile_refuses() -> Result<()> {
    if !root_for("profiles with empty directories") {
        return Ok(());
    }
    let output = Command::new(binary(Arch::X86_64)?)
        .args(["probe", "--json"])
        .output()?;
    let here: Value = serde_json::from_slice(&output.stdout)?;
    let missing_here = names(&here, "missing")?;
    let mut all = BTreeSet::new();
    let hosts = Profile::names()?
        .into_iter()
        .map(|name| (name, Arch::X86_64));
    let narrow = ["esxi-7", "linux-2.6.18", "minimal"].map(|name| (name.to_owned(), Arch::I686));
    for (name, arch) in hosts.chain(narrow) {
        let profile = Profile::load(&name)?;
        let report = report(&name, arch)?;
        let missing = names(&report, "missing")?;
        let refused: BTreeSet<String> = ROWS
            .iter()
            .filter(|row| profile.refuses(row) || missing_here.contains(**row))
            .map(|row| (*row).to_owned())
            .collect();
        ensure!(
            missing == refused,
            "{name}, {arch:?}: missing are {missing:?}, refused {refused:?}"
        );
        all.extend(missing);
        for path in ["/proc", "/sys"] {
            let paths = report["path"].as_object().context("no paths")?;
            let of_it = paths.iter().filter(|(known, _)| known.starts_with(path));
            for (known, state) in of_it {
                ensure!(
                    (state == "missing") == profile.hides(path),
                    "{name}: {known} is {state}"
                );
            }
        }
    }
    println!(
        "{} of {} rows are missing somewhere: {all:?}",
        all.len(),
        ROWS.len()
    );
    Ok(())
}

/// A role that works under a profile is not said to fail, and losses are named.
#[test]
fn probe_names_what_roles_lose() -> Result<()> {
    if !root_for("profiles with empty directories") {
        return Ok(());
    }
    for (profile, role, part) in [
        (
            "linux-2.4",
            "nfs",
            "does not work: the kernel has no openat",
        ),
        (
            "linux-2.4",
            "sftp-server",
            "does not work: the kernel has no openat",
        ),
        ("esxi-7", "nfs", "works, without kernel handles"),
        ("esxi-7", "mdns", "without notice of changed interfaces"),
        (
            "freebsd-linuxulator",
            "nfs",
            "without users: all clients act as one",
        ),
        ("gvisor", "serve", "without users: all clients act as one"),
        (
            "illumos-lx",
            "sftp-server",
            "works, without the full sandbox",
        ),
        ("container", "nfs", "without the full sandbox: no_new_privs"),
        ("gvisor", "browse", "without the full sandbox"),
        ("wsl1", "mdns", "without the full sandbox"),
        ("linux-2.6.18", "serve", "several loops"),
        ("minimal", "nfs", "works"),
    ] {
        let report = report(profile, Arch::X86_64)?;
        let said = report["role"][role].as_str().context("no such role")?;
        ensure!(said.contains(part), "{profile}: {role}: {said}");
    }
    Ok(())
}

/// A kernel without openat: each role fails with one line that says so.
#[test]
fn every_role_says_that_openat_is_missing() -> Result<()> {
    let directory = public_dir()?;
    let export = directory.path().display().to_string();
    for role in [
        &["nfs", "-n", "0", "-p", "--export", &export][..],
        &["serve", "-n", "0", "-p", "--export", &export],
        &["sftp-server"],
        &["mdns", "--name", "box"],
        &["browse", "-t", "_http._tcp"],
        &["resolve", "-n", "box.local"],
        &["publish", "-s", "box", "_http._tcp", "80"],
        &["ls", &export],
        &["cat", &export],
        &["check", "nfs"],
    ] {
        let output = run("linux-2.4", Arch::X86_64, role)?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1)
                && text.contains("the kernel has no openat; use Linux 2.6.16 or later")
                && text.lines().count() == 1
                && output.stdout.is_empty(),
            "{role:?}: {output:?}"
        );
    }
    Ok(())
}

/// The rows that `probe` tests, by the names that profiles use.
const ROWS: &[&str] = &[
    "openat",
    "ppoll",
    "epoll_create1",
    "epoll_pwait",
    "signalfd4",
    "getrandom",
    "statx",
    "AT_NO_AUTOMOUNT",
    "openat2",
    "faccessat2",
    "renameat2",
    "utimensat",
    "close_range",
    "pidfd_open",
    "syncfs",
    "geteuid",
    "F_DUPFD_CLOEXEC",
    "F_SETPIPE_SZ",
    "PR_SET_THP_DISABLE",
    "IP_MULTICAST_ALL",
    "execve",
    "name_to_handle_at",
    "open_by_handle_at",
    "PR_SET_NO_NEW_PRIVS",
    "setfsuid",
    "setfsgid",
    "preadv2",
    "RWF_NOWAIT",
    "cachestat",
    "sendfile",
    "splice",
    "set_robust_list",
    "SO_REUSEPORT",
    "landlock_create_ruleset",
    "PR_SET_SECCOMP",
    "inotify_init1",
    "AF_NETLINK",
    "AF_INET6",
    "AF_PACKET",
];
