//! The list of system calls in qemu/hosts/minimal.toml is that of traces: sessions with every kind of request, on this kernel and
//! under the profiles of poorer hosts.
//!
//! With STOWAWAY_LIST=write, the tests rewrite the list. Calls of rare events are listed in `RARE`.

mod filter;
mod flags;
mod mdns;
mod nfs;
mod sftp;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;
use xtask::machines::lockdown::Profile;
use xtask::machines::lockdown::calls::{Calls, Names, RoleCalls};
use xtask::machines::lockdown::trace::{self, Trace};
use xtask::machines::server::public_dir;
use xtask::setup;

/// Hosts whose programs need fallbacks.
const POORER: [&str; 7] = [
    "esxi-7",
    "linux-2.6.18",
    "freebsd-linuxulator",
    "illumos-lx",
    "gvisor",
    "wsl1",
    "container",
];

/// Calls that other suites cause, and these sessions not at all or not each time: role and call.
const RARE: [(&str, &str); 24] = [
    ("boot", "getsockopt"),
    ("browse", "ppoll"),
    ("http", "clone"),
    ("http", "futex"),
    ("http", "getsockopt"),
    ("http", "recvmsg"),
    ("http", "sendmsg"),
    ("mdns", "accept"),
    ("mdns", "getsockopt"),
    ("nfs", "dup2"),
    ("nfs", "getsockopt"),
    ("nfs", "ioctl"),
    ("nfs", "recvmsg"),
    ("nfs", "sendmsg"),
    ("nfs", "syncfs"),
    ("publish", "accept"),
    ("publish", "getsockopt"),
    ("resolve", "ppoll"),
    ("serve", "dup2"),
    ("serve", "getsockopt"),
    ("serve", "ioctl"),
    ("serve", "recvmsg"),
    ("serve", "sendmsg"),
    ("serve", "syncfs"),
];

/// Such calls of processes without a filter of their own: `--listen` ends a session that is silent while another client waits; `--watch`
/// asks for a terminal; the socket of a killed server is removed.
const RARE_AT_START: [(&str, &str); 3] = [
    ("sftp-server", "kill"),
    ("status", "ioctl"),
    ("status", "unlinkat"),
];

/// The directory of strace's logs.
struct Log {
    directory: TempDir,
    /// The profile under which the programs run. None: this host.
    profile: Option<&'static str>,
    /// True if an unlisted call ends its program with SIGSYS.
    kills: bool,
}

impl Log {
    fn new(profile: Option<&'static str>) -> Result<Self> {
        setup::install_packages(&["strace"])?;
        let directory = public_dir()?;
        Ok(Self {
            directory,
            profile,
            kills: false,
        })
    }

    /// Words that precede the command of a program.
    fn wrapper(&self) -> Vec<String> {
        let mut words = trace::wrapper(self.directory.path());
        if let Some(profile) = self.profile {
            let lockdown = [env!("CARGO_BIN_EXE_workshop"), "lockdown", profile, "--"];
            words.extend(lockdown.map(String::from));
        }
        if self.kills {
            let lockdown = ["lockdown", "minimal", "--unlisted-kills", "--"];
            words.push(env!("CARGO_BIN_EXE_workshop").to_owned());
            words.extend(lockdown.map(String::from));
        }
        words
    }

    /// The calls of each role.
    fn read(&self, calls: &Calls) -> Result<BTreeMap<String, Trace>> {
        trace::read(self.directory.path(), calls)
    }
}

/// Runs `session` on this host and under `profiles`, and compares the calls of `roles` with the list. On this host the session must
/// succeed; under a profile it may fail.
fn compare(
    roles: &[&str],
    profiles: &[&'static str],
    session: impl Fn(&Log) -> Result<()>,
) -> Result<()> {
    let calls = Profile::load("minimal")?.calls;
    let here = Log::new(None)?;
    session(&here)?;
    let current = here.read(&calls)?;
    let mut poorer = Vec::new();
    for &profile in profiles {
        let log = Log::new(Some(profile))?;
        if let Err(error) = session(&log) {
            eprintln!("{profile}: {error:#}");
        }
        poorer.push(log.read(&calls)?);
    }
    let mut wrong = Vec::new();
    for &role in roles {
        let Trace {
            start,
            serving,
            narrow,
        } = current.get(role).cloned().unwrap_or_default();
        let tried = poorer.iter().filter_map(|traces| traces.get(role));
        let mut fallback = Names::new();
        for trace in tried {
            fallback.extend(trace.start.iter().chain(&trace.serving).cloned());
        }
        let mut traced = RoleCalls {
            start,
            serving,
            narrow,
            fallback,
        };
        let usual = traced.current();
        traced.fallback.retain(|name| !usual.contains(name));
        for (_, name) in RARE.iter().filter(|(of, _)| *of == role) {
            traced.start.remove(*name);
            traced.narrow.remove(*name);
            traced.fallback.remove(*name);
            traced.serving.insert((*name).to_owned());
        }
        for (_, name) in RARE_AT_START.iter().filter(|(of, _)| *of == role) {
            traced.start.insert((*name).to_owned());
        }
        // No profile refuses every poll.
        if traced.current().contains("ppoll") {
            traced.fallback.insert("nanosleep".to_owned());
        }
        for names in [
            &mut traced.start,
            &mut traced.serving,
            &mut traced.narrow,
            &mut traced.fallback,
        ] {
            names.retain(|name| !calls.kernel.contains(name));
        }
        let listed = calls.roles.get(role);
        let listed = listed.with_context(|| format!("{role} has no list"))?;
        if traced != *listed {
            wrong.push(differences(role, &traced, listed));
            if std::env::var("STOWAWAY_LIST").is_ok_and(|value| value == "write") {
                rewrite(role, traced)?;
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "qemu/hosts/minimal.toml differs from the traces: {}",
        wrong.join("; ")
    );
    Ok(())
}

/// Names that only one side has, for each list of a role.
fn differences(role: &str, traced: &RoleCalls, listed: &RoleCalls) -> String {
    let mut text = role.to_owned();
    for (key, traced, listed) in [
        ("start", &traced.start, &listed.start),
        ("serving", &traced.serving, &listed.serving),
        ("narrow", &traced.narrow, &listed.narrow),
        ("fallback", &traced.fallback, &listed.fallback),
    ] {
        let new: Vec<_> = traced.difference(listed).collect();
        let unused: Vec<_> = listed.difference(traced).collect();
        if !new.is_empty() || !unused.is_empty() {
            text += &format!(", {key}: not listed {new:?}, not used {unused:?}");
        }
    }
    text
}

/// Replaces a role's table. Other tests may do so at the same time.
fn rewrite(role: &str, traced: RoleCalls) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut calls = Profile::load("minimal")?.calls;
    calls.roles.insert(role.to_owned(), traced);
    calls.write()
}

/// A directory with a subdirectory, a large file and a link, which every user may change.
fn filled(directory: &Path) -> Result<()> {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, Permissions::from_mode(0o777))?;
    fs::create_dir(directory.join("sub"))?;
    fs::write(directory.join("sub/large"), vec![0; 2 << 20])?;
    std::os::unix::fs::symlink("sub", directory.join("link"))?;
    Ok(())
}
