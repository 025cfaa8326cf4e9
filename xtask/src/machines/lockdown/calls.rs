//! The system calls that each role needs: the tables of qemu/hosts/minimal.toml, and a filter that enforces them.

use super::filter;
use crate::build::{replace_file, workspace_root};
use crate::machines::workshop;
use anyhow::{Context as _, Result, ensure};
use nix::libc;
use seccompiler::BpfProgram;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use syscalls::{Sysno, x86};

/// Names of system calls, those of x86_64 unless stated otherwise.
pub type Names = BTreeSet<String>;

/// The calls of a role.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RoleCalls {
    /// Calls that a process issues only before it installs its filter, or that a process without a filter issues.
    #[serde(default)]
    pub start: Names,
    /// Calls that it also issues later.
    #[serde(default)]
    pub serving: Names,
    /// Calls that it issues only on 32-bit processors.
    #[serde(default)]
    pub narrow: Names,
    /// Calls that it issues only on a host that lacks another one.
    #[serde(default)]
    pub fallback: Names,
}

impl RoleCalls {
    /// Returns true if the role uses this call on a kernel that lacks none.
    pub fn is_current(&self, name: &str) -> bool {
        self.current().contains(name)
    }

    /// Calls on a kernel that lacks none.
    pub fn current(&self) -> Names {
        let current = self.start.iter().chain(&self.serving);
        current.chain(&self.narrow).cloned().collect()
    }

    /// All calls, fallbacks included.
    pub fn all(&self) -> Names {
        let mut all = self.current();
        all.extend(self.fallback.iter().cloned());
        all
    }
}

/// The calls of all roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub roles: BTreeMap<String, RoleCalls>,
    /// Calls for threads and processes, which the count of a role's calls leaves out.
    pub threads: Names,
    /// Calls that the kernel makes a process issue.
    pub kernel: Names,
    /// Calls of container engines between the filter and the role's start.
    pub engine: Names,
    /// Names of a call on other processors, where they differ.
    pub variants: BTreeMap<String, Names>,
}

/// The calls of the list that a filter allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Calls on a kernel that lacks none.
    Current,
    /// All calls, fallbacks included.
    All,
}

/// The result of an unlisted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The call fails with ENOSYS.
    Fails,
    /// The call ends the process with SIGSYS.
    Kills,
}

impl Calls {
    /// Path of the file.
    pub fn path() -> PathBuf {
        workspace_root().join("qemu/hosts/minimal.toml")
    }

    /// Fails if a name is not that of a call of x86_64, or a variant not one of i686 or ARM.
    pub(super) fn check(&self) -> Result<()> {
        let names = self.roles.values().flat_map(RoleCalls::all);
        let other = self.threads.iter().chain(&self.kernel).cloned();
        for name in names.chain(other).chain(self.variants.keys().cloned()) {
            let known = name.parse::<Sysno>();
            ensure!(known.is_ok(), "x86_64 has no system call {name}");
        }
        for name in self.variants.values().flatten() {
            let known = name.parse::<x86::Sysno>();
            ensure!(known.is_ok(), "i686 has no system call {name}");
        }
        for (role, calls) in &self.roles {
            let lists = [&calls.start, &calls.serving, &calls.narrow, &calls.fallback];
            let count: usize = lists.iter().map(|names| names.len()).sum();
            ensure!(count == calls.all().len(), "{role} has a call in two lists");
        }
        Ok(())
    }

    /// Name on x86_64 of a call of another architecture.
    pub fn base<'a>(&'a self, name: &'a str) -> &'a str {
        let mut variants = self.variants.iter();
        let base = variants.find(|(_, names)| names.contains(name));
        base.map_or(name, |(base, _)| base)
    }

    /// Calls of all roles.
    pub fn union(&self, of: impl Fn(&RoleCalls) -> Names) -> Names {
        self.roles.values().flat_map(of).collect()
    }

    /// `names` with those of other processors.
    pub fn with_variants(&self, names: &Names) -> Names {
        let more = names.iter().filter_map(|name| self.variants.get(name));
        names.iter().chain(more.flatten()).cloned().collect()
    }

    /// The calls that `role` may issue, with those that the kernel makes it issue. None: those of all roles.
    pub fn allowed(&self, role: Option<&str>, part: Part) -> Result<Names> {
        let names = |calls: &RoleCalls| match part {
            Part::All => calls.all(),
            Part::Current => calls.current(),
        };
        let mut allowed = match role {
            None => self.union(names),
            Some(role) => {
                let calls = self.roles.get(role);
                names(calls.with_context(|| format!("minimal.toml has no role {role}"))?)
            }
        };
        allowed.extend(self.kernel.iter().cloned());
        Ok(allowed)
    }

    /// The filter that allows these calls only, for programs of x86_64 and i686.
    pub(super) fn program(&self, names: &Names, unlisted: Unlisted) -> BpfProgram {
        let action = match unlisted {
            Unlisted::Fails => libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
            Unlisted::Kills => libc::SECCOMP_RET_KILL_PROCESS,
        };
        let x86 = self.numbers_i686(names);
        // Variants are left out: x86_64 has some of ARM64's (dup3), but a role calls the base there.
        let x86_64 = names.iter().filter_map(|name| name.parse::<Sysno>().ok());
        filter::allow_numbers(
            &x86_64.map(|call| call as u32).collect::<Vec<_>>(),
            &x86,
            action,
        )
    }

    /// The numbers of these calls for programs of i686.
    pub(super) fn numbers_i686(&self, names: &Names) -> Vec<u32> {
        let names = self.with_variants(names);
        let calls = names.iter().filter_map(|name| name.parse().ok());
        calls.map(|call: x86::Sysno| call as u32).collect()
    }

    /// Replaces the tables of the roles in minimal.toml. The text before them stays.
    pub fn write(&self) -> Result<()> {
        let path = Self::path();
        let text = fs::read_to_string(&path).context("cannot read minimal.toml")?;
        let (head, _) = text.split_once("[role.").context("no table of a role")?;
        let mut text = head.to_owned();
        for (role, calls) in &self.roles {
            writeln!(text, "[role.{role}]")?;
            for (key, names) in [
                ("start", &calls.start),
                ("serving", &calls.serving),
                ("narrow", &calls.narrow),
                ("fallback", &calls.fallback),
            ] {
                if names.is_empty() {
                    continue;
                }
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\",")).collect();
                let words = quoted.iter().map(String::as_str);
                writeln!(text, "{key} = [\n{}]", wrapped(words, "    ", 128))?;
            }
            text.push('\n');
        }
        let text = text.trim_end().to_owned() + "\n";
        fs::write(&path, text).context("cannot write minimal.toml")
    }
}

/// Lines of at most `len_max` characters, each after `indent`.
pub fn wrapped<'a>(
    words: impl IntoIterator<Item = &'a str>,
    indent: &str,
    len_max: usize,
) -> String {
    let (mut text, mut line) = (String::new(), String::new());
    for word in words {
        if !line.is_empty() && line.len() + 1 + word.len() > len_max {
            text += &format!("{line}\n");
            line.clear();
        }
        line += if line.is_empty() { indent } else { " " };
        line += word;
    }
    if !line.is_empty() {
        text += &format!("{line}\n");
    }
    text
}

/// Environment variable that makes tests start our programs through a script. `kill`: an unlisted call ends them with SIGSYS. A
/// directory: strace writes their calls there.
const WATCH: &str = "STOWAWAY_CALLS";

/// The path by which tests start `file`: the file itself, or a script if STOWAWAY_CALLS is set.
pub fn watched(file: PathBuf) -> Result<PathBuf> {
    let Ok(value) = std::env::var(WATCH) else {
        return Ok(file);
    };
    let words = if value == "kill" {
        let workshop = workshop()?.display().to_string();
        let workshop = shlex::try_quote(&workshop)?.into_owned();
        format!("{workshop} lockdown minimal --unlisted-kills --argv0 \"$0\" --")
    } else {
        format!("strace -D -f -qq -o {}/$$", shlex::try_quote(&value)?)
    };
    let path = file.display().to_string();
    let text = format!(
        "#!/bin/sh\nexec {words} {} \"$@\"\n",
        shlex::try_quote(&path)?
    );
    let script = file.with_file_name("watched").join("stowaway");
    replace_file(&script, text.as_bytes())?;
    Ok(script)
}
