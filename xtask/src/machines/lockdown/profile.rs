//! Profiles of hosts that are poorer than Linux: which system calls fail there, and how. Each is a file in qemu/hosts.
//!
//! A file has:
//! - `source`: where the facts come from
//! - `above`: the greatest number of a call; all greater ones fail with ENOSYS
//! - `empty`: directories that are replaced by empty ones (needs root)
//! - `[[answer]]`: an errno, and what fails with it. Errno "0": the call does nothing and returns 0
//! - `[allow]`: for each role, the only calls that do not fail with ENOSYS; `[allow_i686]`: further ones on i686

use super::filter::{self, Argument, Rules, rule};
use crate::build::workspace_root;
use crate::machines::toml_names;
use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seccompiler::BpfProgram;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use syscalls::{Sysno, x86};

/// A host, as its file describes it.
#[derive(Debug)]
pub struct Profile {
    /// Where the facts come from.
    pub source: String,
    /// Greatest number of a call that exists.
    above: Option<i32>,
    /// Directories that are empty on this host.
    empty: Vec<PathBuf>,
    /// Calls that fail, in the order of the file. The first case that matches a call decides.
    pub(super) cases: Vec<Case>,
    /// Names of the calls, options, flags and families in `[[answer]]`.
    answered: Vec<String>,
    /// The only calls that exist, for each role.
    allow: BTreeMap<String, BTreeSet<Sysno>>,
    /// Further calls on i686, for each role.
    allow_i686: BTreeMap<String, BTreeSet<String>>,
}

/// A call that fails, or does nothing.
#[derive(Debug, PartialEq)]
pub(super) struct Case {
    pub call: Sysno,
    /// Arguments with which the call fails. Empty: it fails with any.
    pub arguments: Vec<Argument>,
    /// Arguments that match the case. If the filter did not answer, the kernel's result would be another one.
    pub sample: [usize; 6],
    /// The result. 0: the call does nothing and returns 0.
    pub errno: i32,
}

/// Argument that is invalid as a descriptor, as an address and as a flag.
pub(super) const INVALID: usize = usize::MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostFile {
    source: String,
    above: Option<i32>,
    #[serde(default)]
    empty: Vec<PathBuf>,
    #[serde(default)]
    answer: Vec<Answer>,
    #[serde(default)]
    allow: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    allow_i686: BTreeMap<String, Vec<String>>,
}

/// Calls that fail with one errno.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    errno: String,
    /// System calls, with any arguments.
    #[serde(default)]
    calls: Vec<String>,
    /// Address families of socket(2).
    #[serde(default)]
    families: Vec<String>,
    /// Flags in the type of socket(2).
    #[serde(default)]
    socket_flags: Vec<String>,
    /// Options of setsockopt(2).
    #[serde(default)]
    options: Vec<String>,
    /// Operations of prctl(2).
    #[serde(default)]
    prctls: Vec<String>,
    /// Commands of fcntl(2).
    #[serde(default)]
    fcntls: Vec<String>,
    /// Flags of preadv2(2) and pwritev2(2).
    #[serde(default)]
    rwf_flags: Vec<String>,
}

/// Returns the value of a constant in libc by its name.
macro_rules! value_of {
    ($name:expr, $($known:ident)*) => {
        match $name {
            $(stringify!($known) => Ok(libc::$known),)*
            name => Err(anyhow::anyhow!("{name} is not one of {}", stringify!($($known)*))),
        }
    };
}

fn errno(name: &str) -> Result<i32> {
    match name {
        "0" => Ok(0),
        name => {
            value_of!(name, EACCES EAFNOSUPPORT EINVAL ENOPROTOOPT ENOSYS EOPNOTSUPP EPERM)
        }
    }
}

fn family(name: &str) -> Result<i32> {
    value_of!(name, AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK)
}

fn socket_flag(name: &str) -> Result<i32> {
    value_of!(name, SOCK_CLOEXEC SOCK_NONBLOCK)
}

/// Level and number of a socket option.
fn option(name: &str) -> Result<(i32, i32)> {
    let level = match name.split('_').next() {
        Some("IP") => libc::IPPROTO_IP,
        Some("IPV6") => libc::IPPROTO_IPV6,
        Some("TCP") => libc::IPPROTO_TCP,
        _ => libc::SOL_SOCKET,
    };
    let number = value_of!(name, IPV6_RECVPKTINFO IP_MULTICAST_ALL IP_PKTINFO SO_REUSEPORT TCP_USER_TIMEOUT)?;
    Ok((level, number))
}

fn prctl(name: &str) -> Result<i32> {
    value_of!(name, PR_GET_NO_NEW_PRIVS PR_SET_NO_NEW_PRIVS PR_SET_SECCOMP PR_SET_THP_DISABLE)
}

fn fcntl(name: &str) -> Result<i32> {
    value_of!(name, F_DUPFD_CLOEXEC F_GETPIPE_SZ F_OFD_SETLK F_SETPIPE_SZ)
}

fn rwf_flag(name: &str) -> Result<i32> {
    value_of!(name, RWF_DSYNC RWF_NOWAIT)
}

/// The number of an x86_64 system call.
fn number(name: &String) -> Result<Sysno> {
    let number = name.parse().ok();
    number.with_context(|| format!("x86_64 has no system call {name}"))
}

impl Answer {
    /// Names of all that the answer is for.
    fn names(&self) -> impl Iterator<Item = &String> {
        let lists = [
            &self.calls,
            &self.families,
            &self.socket_flags,
            &self.options,
            &self.prctls,
            &self.fcntls,
            &self.rwf_flags,
        ];
        lists.into_iter().flatten()
    }

    /// Appends the cases of this answer.
    fn add_to(&self, cases: &mut Vec<Case>) -> Result<()> {
        const X: usize = INVALID;
        let errno = errno(&self.errno)?;
        let before = cases.len();
        let mut add = |call, arguments: &[Argument], sample| {
            cases.push(Case {
                call,
                arguments: arguments.to_vec(),
                sample,
                errno,
            });
        };
        for name in &self.calls {
            add(number(name)?, &[], [X; 6]);
        }
        for name in &self.families {
            let family = family(name)?;
            let sample = [family as usize, libc::SOCK_RAW as usize, 0, X, X, X];
            add(Sysno::socket, &[Argument::is(0, family)], sample);
        }
        for name in &self.socket_flags {
            let flag = socket_flag(name)?;
            let kind = (libc::SOCK_DGRAM | flag) as usize;
            let sample = [libc::AF_INET as usize, kind, 0, X, X, X];
            add(Sysno::socket, &[Argument::has(1, flag)], sample);
        }
        for name in &self.options {
            let (level, option) = option(name)?;
            let arguments = [Argument::is(1, level), Argument::is(2, option)];
            let sample = [X, level as usize, option as usize, X, X, X];
            add(Sysno::setsockopt, &arguments, sample);
        }
        for name in &self.prctls {
            let operation = prctl(name)?;
            // PR_SET_SECCOMP with SECCOMP_MODE_FILTER fails with EFAULT if the filter does not answer.
            let first = match operation {
                libc::PR_SET_SECCOMP => libc::SECCOMP_MODE_FILTER as usize,
                libc::PR_GET_NO_NEW_PRIVS => 0,
                _ => 1,
            };
            let second = if operation == libc::PR_SET_SECCOMP {
                X
            } else {
                0
            };
            let sample = [operation as usize, first, second, 0, 0, 0];
            add(Sysno::prctl, &[Argument::is(0, operation)], sample);
        }
        for name in &self.fcntls {
            let command = fcntl(name)?;
            let sample = [X, command as usize, 0, X, X, X];
            add(Sysno::fcntl, &[Argument::is(1, command)], sample);
        }
        for name in &self.rwf_flags {
            let flag = rwf_flag(name)?;
            for call in [Sysno::preadv2, Sysno::pwritev2] {
                let sample = [X, X, X, 0, 0, flag as usize];
                add(call, &[Argument::has(5, flag)], sample);
            }
        }
        ensure!(cases.len() > before, "the answer {} is empty", self.errno);
        Ok(())
    }
}

impl Profile {
    /// Names of all profiles, in alphabetical order.
    pub fn names() -> Result<Vec<String>> {
        toml_names(&workspace_root().join("qemu/hosts"))
    }

    /// Reads qemu/hosts/`name`.toml.
    pub fn load(name: &str) -> Result<Self> {
        let names = Self::names()?;
        if !names.iter().any(|known| known == name) {
            bail!("no profile {name}; the profiles are {}", names.join(", "));
        }
        let path = workspace_root().join(format!("qemu/hosts/{name}.toml"));
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let file: HostFile = toml::from_str(text)?;
        ensure!(!file.source.is_empty(), "the source is empty");
        let mut cases = Vec::new();
        let mut answered = Vec::new();
        for answer in &file.answer {
            answer.add_to(&mut cases)?;
            answered.extend(answer.names().cloned());
        }
        let mut allow = BTreeMap::new();
        for (role, names) in file.allow {
            let calls = names.iter().map(number).collect::<Result<_>>();
            allow.insert(role, calls?);
        }
        let mut allow_i686 = BTreeMap::new();
        for (role, names) in file.allow_i686 {
            for name in &names {
                let is_known = name.parse::<x86::Sysno>().is_ok();
                ensure!(is_known, "i686 has no system call {name}");
            }
            allow_i686.insert(role, names.into_iter().collect());
        }
        Ok(Self {
            source: file.source,
            above: file.above,
            empty: file.empty,
            answered,
            cases,
            allow,
            allow_i686,
        })
    }

    /// Names of the calls that `role` may use on x86_64 or i686.
    pub fn allowed_names(&self, role: &str) -> BTreeSet<&str> {
        let names = self.allow.get(role).into_iter().flatten();
        let more = self.allow_i686.get(role).into_iter().flatten();
        let mut all: BTreeSet<&str> = names.map(|call| call.name()).collect();
        all.extend(more.map(String::as_str));
        all
    }

    /// Returns true if a call exists on this host. An `[[answer]]` may still refuse it.
    pub(super) fn has(&self, call: i32) -> bool {
        let is_above = self.above.is_some_and(|above| call > above);
        let mut allowed = self.allow.values().flatten();
        !is_above && (self.allow.is_empty() || allowed.any(|known| known.id() == call))
    }

    /// Returns true if this host refuses `name`: a system call, or an option, flag or family as an `[[answer]]` names it.
    pub fn refuses(&self, name: &str) -> bool {
        let named = || self.answered.iter().any(|answered| answered == name);
        match name.parse::<Sysno>() {
            Ok(call) => !self.has(call.id()) || named(),
            Err(_) => named() || self.lacks_call_of(name),
        }
    }

    /// Returns true if the call of an option, flag or family is refused.
    fn lacks_call_of(&self, name: &str) -> bool {
        let call = match name.split('_').next() {
            Some("RWF") => Sysno::preadv2,
            Some("PR") => Sysno::prctl,
            Some("F") => Sysno::fcntl,
            Some("AF") => Sysno::socket,
            _ => Sysno::setsockopt,
        };
        self.refuses(call.name())
    }

    /// Returns true if the directory is empty on this host.
    pub fn hides(&self, dir: &str) -> bool {
        self.empty.iter().any(|empty| empty.as_os_str() == dir)
    }

    /// The seccomp program.
    fn program(&self) -> Result<BpfProgram> {
        let mut programs = Vec::new();
        for answers in self
            .cases
            .chunk_by(|a, b| a.errno == b.errno && a.arguments.is_empty() == b.arguments.is_empty())
        {
            let mut rules = Rules::new();
            for case in answers {
                let of_call = rules.entry(case.call.id().into()).or_default();
                if !case.arguments.is_empty() {
                    of_call.push(rule(&case.arguments)?);
                }
            }
            programs.push(filter::refuse(rules, answers[0].errno)?);
        }
        if self.above.is_some() || !self.allow.is_empty() {
            let last = self.above.unwrap_or(Sysno::last().id());
            let numbers = (0..=last).filter(|&call| self.has(call));
            let rules = numbers.map(|call| (call.into(), Vec::new())).collect();
            programs.push(filter::allow_only(rules, libc::ENOSYS)?);
        }
        ensure!(!programs.is_empty(), "the profile refuses nothing");
        Ok(filter::join(programs))
    }

    /// Confines this process, which must have one thread, and all programs that it starts.
    pub fn confine(&self) -> Result<()> {
        let program = self.program()?;
        if !self.empty.is_empty() {
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(None::<&str>, "/", None::<&str>, flags, None::<&str>))
                .context("cannot make a mount namespace (this profile needs root)")?;
        }
        for dir in &self.empty {
            mount(
                Some("none"),
                dir,
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .with_context(|| format!("cannot hide {}", dir.display()))?;
        }
        filter::install(&program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_of_the_project_is_valid() -> Result<()> {
        let names = Profile::names()?;
        assert!(names.len() >= 9, "{names:?}");
        for name in names {
            let program = Profile::load(&name)?.program()?;
            assert!(program.len() < 4096, "{name}: {}", program.len());
        }
        Ok(())
    }

    #[test]
    fn unknown_names_are_errors() {
        let answer =
            |line: &str| format!("source = \"x\"\n[[answer]]\nerrno = \"EPERM\"\n{line}\n");
        assert!(Profile::parse(&answer(r#"calls = ["statx"]"#)).is_ok());
        for line in [
            r#"calls = ["statxx"]"#,
            r#"families = ["AF_NET"]"#,
            r#"socket_flags = ["SOCK_DGRAM"]"#,
            r#"options = ["IP_PKT"]"#,
            r#"prctls = ["PR_SET"]"#,
            r#"fcntls = ["F_SETPIPE"]"#,
            r#"call = ["statx"]"#,
            "calls = []",
        ] {
            assert!(Profile::parse(&answer(line)).is_err(), "{line}");
        }
        assert!(Profile::parse("source = \"x\"\n[allow]\nnfs = [\"mmap2\"]\n").is_err());
        assert!(Profile::parse("source = \"x\"\n[allow_i686]\nnfs = [\"mmap3\"]\n").is_err());
        assert!(Profile::parse("above = 1\n").is_err());
    }

    #[test]
    fn unknown_profile_names_the_known_ones() {
        let error = Profile::load("esxi-6").map(drop).unwrap_err().to_string();
        assert!(
            error.starts_with("no profile esxi-6; the profiles are container, esxi-7, "),
            "{error}"
        );
    }
}
