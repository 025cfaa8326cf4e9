//! Profiles of hosts that are poorer than Linux: which system calls fail there, and how. Each is a file in qemu/hosts.
//!
//! - `source`: where the facts come from
//! - `above`, `above_i686`: the greatest number of a call; greater ones fail with `above_errno` (default: ENOSYS). Without the second,
//!   i686 programs are killed
//! - `empty`: directories that are replaced by empty ones (needs root)
//! - `[[answer]]`: an errno, and what fails with it, on i686 under every name. Errno "0": the call does nothing and returns 0
//! - `[role.NAME]` and the lists of [`Calls`]: all other calls fail with ENOSYS

use super::calls::{Calls, Names, Part, RoleCalls, Unlisted};
use super::filter::{self, Architecture, Argument, Rules, rule};
use super::i686;
use super::supervisor;
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
use syscalls::Sysno;

/// A host, as its file describes it.
#[derive(Debug)]
pub struct Profile {
    /// The name of the file, without .toml.
    name: String,
    /// Where the facts come from.
    pub source: String,
    /// Greatest number of a call that exists.
    above: Option<i32>,
    /// Greatest number of a call of i686 that exists.
    above_i686: Option<u32>,
    /// Result of calls with greater numbers.
    pub(super) above_errno: i32,
    /// Directories that are empty on this host.
    empty: Vec<PathBuf>,
    /// Calls that fail, in the order of the file. The first case that matches a call decides.
    pub(super) cases: Vec<Case>,
    /// Names of the calls, options, flags and families in `[[answer]]`.
    answered: Vec<String>,
    /// The only calls that exist. Without roles: all.
    pub calls: Calls,
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
    above_i686: Option<u32>,
    above_errno: Option<String>,
    #[serde(default)]
    empty: Vec<PathBuf>,
    #[serde(default)]
    answer: Vec<Answer>,
    #[serde(default)]
    role: BTreeMap<String, RoleCalls>,
    #[serde(default)]
    threads: Names,
    #[serde(default)]
    kernel: Names,
    #[serde(default)]
    engine: Names,
    #[serde(default)]
    variants: BTreeMap<String, Names>,
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
    /// Flags of statx(2) and fstatat(2).
    #[serde(default)]
    at_flags: Vec<String>,
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

/// The value of a constant that an `[[answer]]` may name.
fn constant(name: &str) -> Result<i32> {
    value_of!(name,
        EACCES EAFNOSUPPORT EINVAL ENOPROTOOPT ENOSYS EOPNOTSUPP EPERM
        AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK SOCK_CLOEXEC SOCK_NONBLOCK
        IPV6_RECVPKTINFO IP_MULTICAST_ALL IP_PKTINFO SO_REUSEPORT TCP_USER_TIMEOUT
        PR_GET_NO_NEW_PRIVS PR_SET_NO_NEW_PRIVS PR_SET_SECCOMP PR_SET_THP_DISABLE
        F_DUPFD_CLOEXEC F_GETPIPE_SZ F_OFD_SETLK F_SETPIPE_SZ
        RWF_DSYNC RWF_NOWAIT AT_NO_AUTOMOUNT
    )
}

fn errno(name: &str) -> Result<i32> {
    if name == "0" { Ok(0) } else { constant(name) }
}

/// Level of a socket option.
fn level(option: &str) -> i32 {
    match option.split('_').next() {
        Some("IP") => libc::IPPROTO_IP,
        Some("IPV6") => libc::IPPROTO_IPV6,
        Some("TCP") => libc::IPPROTO_TCP,
        _ => libc::SOL_SOCKET,
    }
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
            &self.at_flags,
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
            let family = constant(name)?;
            let sample = [family as usize, libc::SOCK_RAW as usize, 0, X, X, X];
            add(Sysno::socket, &[Argument::is(0, family)], sample);
        }
        for name in &self.socket_flags {
            let flag = constant(name)?;
            let kind = (libc::SOCK_DGRAM | flag) as usize;
            let sample = [libc::AF_INET as usize, kind, 0, X, X, X];
            add(Sysno::socket, &[Argument::has(1, flag)], sample);
        }
        for name in &self.options {
            let (level, option) = (level(name), constant(name)?);
            let arguments = [Argument::is(1, level), Argument::is(2, option)];
            let sample = [X, level as usize, option as usize, X, X, X];
            add(Sysno::setsockopt, &arguments, sample);
        }
        for name in &self.prctls {
            let operation = constant(name)?;
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
            let command = constant(name)?;
            let sample = [X, command as usize, 0, X, X, X];
            add(Sysno::fcntl, &[Argument::is(1, command)], sample);
        }
        for name in &self.rwf_flags {
            let flag = constant(name)?;
            for call in [Sysno::preadv2, Sysno::pwritev2] {
                let sample = [X, X, X, 0, 0, flag as usize];
                add(call, &[Argument::has(5, flag)], sample);
            }
        }
        for name in &self.at_flags {
            let flag = constant(name)?;
            for (call, index) in [(Sysno::statx, 2), (Sysno::newfstatat, 3)] {
                let mut sample = [X, X, X, 0, X, X];
                sample[index] = flag as usize;
                add(call, &[Argument::has(index as u8, flag)], sample);
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
        let profile = Self::parse(&text);
        let mut profile = profile.with_context(|| format!("cannot use {}", path.display()))?;
        profile.name = name.to_owned();
        Ok(profile)
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
        let calls = Calls {
            roles: file.role,
            threads: file.threads,
            kernel: file.kernel,
            engine: file.engine,
            variants: file.variants,
        };
        calls.check()?;
        Ok(Self {
            name: String::new(),
            source: file.source,
            above: file.above,
            above_i686: file.above_i686,
            above_errno: errno(file.above_errno.as_deref().unwrap_or("ENOSYS"))?,
            empty: file.empty,
            answered,
            cases,
            calls,
        })
    }

    /// Returns true if a call exists on this host. An `[[answer]]` may still refuse it.
    pub(super) fn has(&self, call: i32) -> bool {
        let is_listed = |call: Sysno| {
            let is_kernel = self.calls.kernel.contains(call.name());
            let mut roles = self.calls.roles.values();
            is_kernel || roles.any(|calls| calls.is_current(call.name()))
        };
        let is_above = self.above.is_some_and(|above| call > above);
        let is_open = self.calls.roles.is_empty();
        !is_above && (is_open || Sysno::new(call as usize).is_some_and(is_listed))
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
            Some("AT") => Sysno::statx,
            _ => Sysno::setsockopt,
        };
        self.refuses(call.name())
    }

    /// Returns true if the directory is empty on this host.
    pub fn hides(&self, dir: &str) -> bool {
        self.empty.iter().any(|empty| empty.as_os_str() == dir)
    }

    /// Returns true if programs of i686 run on this host.
    pub(super) fn has_i686(&self) -> bool {
        self.above.is_some() == self.above_i686.is_some()
    }

    /// Returns true if i686's call exists on this host. An `[[answer]]` may still refuse it.
    pub(super) fn has_i686_call(&self, number: u32) -> Result<bool> {
        let is_above = self.above_i686.is_some_and(|above| number > above);
        let is_open = self.calls.roles.is_empty();
        let is_listed = || -> Result<bool> {
            let allowed = self.calls.allowed(None, Part::Current)?;
            Ok(self.calls.numbers_i686(&allowed).contains(&number))
        };
        Ok(!is_above && (is_open || is_listed()?))
    }

    /// The seccomp program.
    fn program(&self) -> Result<BpfProgram> {
        let kill = libc::SECCOMP_RET_KILL_PROCESS;
        let x86_64 = self.program_for(Architecture::X86_64)?;
        let x86 = if self.has_i686() {
            self.program_for(Architecture::I686)?
        } else {
            filter::always(kill)
        };
        Ok(filter::by_architecture(x86_64, x86, kill))
    }

    fn program_for(&self, architecture: Architecture) -> Result<BpfProgram> {
        let is_narrow = architecture == Architecture::I686;
        let above = match architecture {
            Architecture::X86_64 => self.above.map(i32::cast_unsigned),
            Architecture::I686 => self.above_i686,
        };
        let above = above.map(|above| filter::refuse_above(above, self.above_errno));
        let mut programs = Vec::new();
        // An `[[answer]]` has numbers of x86_64. Some of i686 for the same calls are newer, and missing on an old host.
        programs.extend(above.clone().filter(|_| is_narrow));
        for answers in self
            .cases
            .chunk_by(|a, b| a.errno == b.errno && a.arguments.is_empty() == b.arguments.is_empty())
        {
            let mut rules = Rules::new();
            for case in answers {
                let refused = match architecture {
                    Architecture::X86_64 => {
                        vec![(case.call.id().cast_unsigned(), case.arguments.clone())]
                    }
                    Architecture::I686 => i686::refused(case),
                };
                for (number, arguments) in refused {
                    let of_call = rules.entry(number.into()).or_default();
                    if !arguments.is_empty() {
                        of_call.push(rule(&arguments)?);
                    }
                }
            }
            programs.push(filter::refuse(rules, answers[0].errno, architecture)?);
        }
        programs.extend(above.filter(|_| !is_narrow));
        let missing = self.missing_socket_calls();
        if is_narrow && !missing.is_empty() {
            let rules: Result<Vec<_>> = missing
                .iter()
                .map(|number| rule(&[Argument::is(0, *number)]))
                .collect();
            let rules = Rules::from([(i686::SOCKETCALL.into(), rules?)]);
            programs.push(filter::refuse(rules, libc::EINVAL, architecture)?);
        }
        if !self.calls.roles.is_empty() {
            let allowed = self.calls.allowed(None, Part::Current)?;
            programs.push(self.calls.program(&allowed, Unlisted::Fails));
        }
        ensure!(!programs.is_empty(), "the profile refuses nothing");
        Ok(filter::join(programs))
    }

    /// Numbers of socketcall(2) that are newer than this host, which fail with EINVAL.
    pub(super) fn missing_socket_calls(&self) -> Vec<i32> {
        let missing = i686::socket_calls().filter(|(_, call)| !self.has(call.id()));
        missing.map(|(number, _)| number).collect()
    }

    /// Numbers of socketcall(2) for which a supervisor decides.
    fn supervised(&self) -> Vec<i32> {
        let cases = self.cases.iter().filter(|_| self.has_i686());
        let numbers: BTreeSet<i32> = cases.filter_map(i686::supervised).collect();
        numbers.into_iter().collect()
    }

    /// Number of arguments by which cases of a call are distinguished.
    pub(super) fn argument_count(&self, call: Sysno) -> usize {
        let cases = self.cases.iter().filter(|case| case.call == call);
        let arguments = cases.flat_map(|case| &case.arguments);
        arguments
            .map(|argument| usize::from(argument.index) + 1)
            .max()
            .unwrap_or(0)
    }

    /// The errno of a call whose case depends on these arguments. None: no case matches.
    pub(super) fn errno_of(&self, call: Sysno, arguments: &[u32; 6]) -> Option<i32> {
        let mut cases = self.cases.iter();
        let case = cases.find(|case| {
            let mut conditions = case.arguments.iter();
            case.call == call && conditions.all(|condition| condition.matches(arguments))
        });
        case.map(|case| case.errno)
    }

    /// Decides calls of i686 programs, as the module `supervisor` describes. Its listener arrives on stdin.
    pub fn supervise(&self) -> Result<()> {
        supervisor::run(self)
    }

    /// Confines this process to the calls of `role`, fallbacks included. None: those of all roles. An unlisted call ends the
    /// process.
    pub fn kill_unlisted(&self, role: Option<&str>) -> Result<()> {
        let role = role.filter(|role| self.calls.roles.contains_key(*role));
        let allowed = self.calls.allowed(role, Part::All)?;
        filter::install(&self.calls.program(&allowed, Unlisted::Kills))
    }

    /// Confines this process, which must have one thread, and all programs that it starts.
    pub fn confine(&self) -> Result<()> {
        let program = self.program()?;
        let supervised = self.supervised();
        if !supervised.is_empty() {
            supervisor::start(&self.name, &supervised)?;
        }
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
            r#"at_flags = ["AT_EMPTY"]"#,
            r#"call = ["statx"]"#,
            "calls = []",
        ] {
            assert!(Profile::parse(&answer(line)).is_err(), "{line}");
        }
        let listed = |line: &str| Profile::parse(&format!("source = \"x\"\n{line}\n"));
        assert!(listed("[role.nfs]\nserving = [\"mmap\"]").is_ok());
        assert!(listed("[role.nfs]\nserving = [\"mmap2\"]").is_err());
        assert!(listed("[role.nfs]\nserving = [\"read\"]\nfallback = [\"read\"]").is_err());
        assert!(listed("[variants]\nmmap = [\"mmap2\"]").is_ok());
        assert!(listed("[variants]\nmmap = [\"mmap3\"]").is_err());
        assert!(Profile::parse("above = 1\n").is_err());
    }
}
