//! The filter of each role (src/sys/linux/sandbox.rs) allows the listed calls of a role that serves, and few others.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs::read_to_string;
use xtask::build::workspace_root;
use xtask::machines::lockdown::Profile;

/// Calls of which the filter checks an argument, without a row in the table: openat needs a descriptor, ioctl is TCSETS, clone makes
/// a thread.
const CHECKED: [&str; 3] = ["clone", "ioctl", "openat"];

/// Calls for a log file that is full. Only `nfs` and `serve` have such files, and their lists have the calls.
const EACH: [&str; 3] = ["dup2", "newfstatat", "renameat"];
/// HTTP, whose process has the same sets, ends its side of a connection.
const NFS: [&str; 2] = ["prctl", "shutdown"];
/// Files of services are read again, and a process reads the directory of virtual machines. `stowaway status` asks the responder. Before
/// Linux 2.6.27, socket(2) has no flags.
const MDNS: [&str; 18] = [
    "accept",
    "clone",
    "close_range",
    "epoll_ctl",
    "epoll_pwait",
    "fcntl",
    "getdents64",
    "getpid",
    "getppid",
    "getsockopt",
    "inotify_add_watch",
    "lseek",
    "prctl",
    "pread64",
    "rt_sigaction",
    "rt_sigprocmask",
    "unlinkat",
    "wait4",
];

/// Sets of calls in the table, and the single sets that they stand for.
const SETS: [(&str, &[&str]); 3] = [
    ("EACH", &["NFS", "SFTP", "MULTICAST"]),
    ("FILES", &["NFS", "SFTP"]),
    ("NET", &["STREAMS", "DATAGRAMS", "MULTICAST", "LINK"]),
];

/// The conditions of rows that hold on x86_64.
const HOLDING: [&str; 4] = [
    "target_arch = \"x86_64\"",
    "not(target_arch = \"x86\")",
    "not(target_arch = \"aarch64\")",
    "target_pointer_width = \"64\"",
];

/// Calls that the table has in one of `sets`, on x86_64.
fn filtered(table: &str, sets: &[&str]) -> Result<BTreeSet<String>> {
    let mut calls = BTreeSet::new();
    let mut holds = true;
    for line in table.lines() {
        let line = line.trim();
        let condition = line
            .strip_prefix("#[cfg(")
            .and_then(|rest| rest.strip_suffix(")]"));
        if let Some(condition) = condition {
            holds = HOLDING.contains(&condition);
            continue;
        }
        let Some(row) = line.strip_prefix("(Sysno::") else {
            continue;
        };
        let (name, of) = row.split_once(", ").context("no set in a row")?;
        let of = of.trim_end_matches("),").split(" | ").flat_map(|set| {
            let named = SETS.iter().find(|(name, _)| *name == set);
            named.map_or_else(|| vec![set], |(_, sets)| sets.to_vec())
        });
        if holds && of.into_iter().any(|set| sets.contains(&set)) {
            calls.insert(name.to_owned());
        }
        holds = true;
    }
    Ok(calls)
}

#[test]
fn filter_allows_the_listed_calls() -> Result<()> {
    let source = read_to_string(workspace_root().join("src/sys/linux/sandbox.rs"))?;
    let (_, table) = source.split_once("const NEEDED: &[").context("no table")?;
    let (table, _) = table.split_once("\n];").context("no end of the table")?;
    let calls = Profile::load("minimal")?.calls;
    let nfs: (&[_], &[_]) = (&["NFS", "STREAMS", "DATAGRAMS"], &NFS);
    let multicast: (&[_], &[_]) = (&["MULTICAST", "SOURCE"], &MDNS);
    for (role, (sets, rare)) in [
        ("nfs", nfs),
        ("sftp-server", (&["SFTP", "LOGGER"], &["socket"])),
        ("mdns", multicast),
        ("publish", multicast),
        ("browse", multicast),
        ("resolve", multicast),
    ] {
        let listed = calls.roles.get(role).context("no such role")?;
        let filtered = filtered(table, sets)?;
        let refused: Vec<_> = listed
            .serving
            .iter()
            .filter(|name| !filtered.contains(*name) && !CHECKED.contains(&name.as_str()))
            .collect();
        ensure!(refused.is_empty(), "{role}: the filter refuses {refused:?}");
        let known = |name: &String| {
            [&listed.serving, &listed.fallback, &listed.narrow]
                .iter()
                .any(|list| list.contains(name))
                || rare.contains(&name.as_str())
                || EACH.contains(&name.as_str())
                || calls.kernel.contains(name)
        };
        let spare: Vec<_> = filtered.iter().filter(|name| !known(name)).collect();
        ensure!(spare.is_empty(), "{role}: the filter allows {spare:?}");
    }
    Ok(())
}
