//! A stowaway that a test, a benchmark or `run` started: its ports, what it said, what it costs, and its end.
//!
//! The file is the one that `build` leaves under target/; the environment variable STOWAWAY_BIN names another one.

pub mod emulation;
mod namespace;

pub use emulation::runnable;
pub use namespace::{Namespace, ip};

use crate::build::{self, Arch};
use crate::clients::nfs::Client;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to say that it listens: its key goes to a disk that may be busy.
const START_MAX: Duration = Duration::from_secs(60);

/// What to start and how; `..Default::default()` serves nothing on free ports of loopback, without portmap.
#[derive(Clone)]
pub struct ServerOptions {
    /// Which file to start.
    pub arch: Arch,
    /// The file, when it is not the built one.
    pub file: Option<PathBuf>,
    /// The role; `serve` puts the supervisor in front.
    pub role: &'static str,
    /// `DIR[:opts]` each.
    pub exports: Vec<String>,
    /// The address for `-l`.
    pub address: Ipv4Addr,
    /// The NFS port for `-n`; 0 picks a free one.
    pub port: u16,
    /// A MOUNT port of its own for `-m`.
    pub mount_port: Option<u16>,
    /// Whether to serve portmap on port 111 too.
    pub portmap: bool,
    /// The file with the key of kernel handles; without one each server makes its own.
    pub key_file: Option<PathBuf>,
    /// Start as this user and group, without a key.
    pub user: Option<u32>,
    /// More arguments, after all others.
    pub arguments: Vec<String>,
    /// A command that ends by exec-ing its arguments, e.g. `ip netns exec NAME`.
    pub through: Vec<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            arch: Arch::X86_64,
            file: None,
            role: "nfs",
            exports: Vec::new(),
            address: Ipv4Addr::LOCALHOST,
            port: 0,
            mount_port: None,
            portmap: false,
            key_file: None,
            user: None,
            arguments: Vec::new(),
            through: Vec::new(),
        }
    }
}

impl ServerOptions {
    /// Free ports of loopback, no portmap, these exports.
    pub fn serving(directories: &[&Path]) -> Self {
        Self {
            exports: directories
                .iter()
                .map(|d| d.display().to_string())
                .collect(),
            ..Self::default()
        }
    }

    /// The command line. `private` is a directory of this server's own.
    fn command(&self, private: &Path) -> Result<Command> {
        let made = |make: fn(Arch) -> Result<PathBuf>| match &self.file {
            Some(file) => Ok(file.clone()),
            None => make(self.arch),
        };
        let file = match self.user {
            // Another user may not reach the directory that the project lies in.
            Some(_) => emulation::copy(&made(binary)?, &private.join("stowaway"), self.arch)?,
            None => made(runnable)?,
        };
        let mut words = self.through.clone();
        words.push(file.display().to_string());
        words.push(self.role.into());
        for export in &self.exports {
            words.extend(["--export".into(), export.clone()]);
        }
        words.extend([
            "-n".into(),
            self.port.to_string(),
            "-l".into(),
            self.address.to_string(),
        ]);
        if let Some(port) = self.mount_port {
            words.extend(["-m".into(), port.to_string()]);
        }
        if !self.portmap {
            words.push("-p".into());
        }
        if self.user.is_none() {
            let key_file = self.key_file.clone().unwrap_or_else(|| private.join("key"));
            words.extend(["--key-file".into(), key_file.display().to_string()]);
        }
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        Ok(command)
    }
}

/// The finished file for `arch`, built at most once in this process.
pub fn binary(arch: Arch) -> Result<PathBuf> {
    static BUILT: Mutex<Vec<(Arch, PathBuf)>> = Mutex::new(Vec::new());
    if let Some(path) = std::env::var_os("STOWAWAY_BIN") {
        return Ok(path.into());
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = built.iter().find(|(a, _)| *a == arch) {
        return Ok(path.clone());
    }
    let path = build::build(arch)?;
    built.push((arch, path.clone()));
    Ok(path)
}

/// A new directory that every user may enter and read.
pub fn public_dir() -> Result<TempDir> {
    let permissions = fs::Permissions::from_mode(0o755);
    tempfile::Builder::new()
        .prefix("stowaway-")
        .permissions(permissions)
        .tempdir()
        .context("cannot make a directory in the place for temporary files")
}

/// Whether we are root. If not, says that `what` is SKIPPED: it cannot be shown otherwise.
pub fn root_for(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {what} (needs root)");
    }
    root
}

/// Whom to serve as so that every kind of handle is seen: root and an ordinary user, or just ourselves.
pub fn users() -> Vec<Option<u32>> {
    const NOBODY: u32 = 65534;
    if root_for("kernel handles") {
        vec![None, Some(NOBODY)]
    } else {
        vec![None]
    }
}

/// The lines of a server's stderr so far; a thread of its own reads them.
#[derive(Default)]
pub(crate) struct Said {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Said {
    pub(crate) fn read(self: Arc<Self>, stderr: impl std::io::Read + Send + 'static) {
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stderr);
            let mut raw = Vec::new();
            while reader.read_until(b'\n', &mut raw).is_ok_and(|n| n > 0) {
                let line = String::from_utf8_lossy(&raw)
                    .trim_end_matches('\n')
                    .to_owned();
                self.lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
                    .push(line);
                self.more.notify_all();
                raw.clear();
            }
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            self.more.notify_all();
        });
    }

    pub(crate) fn so_far(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// Waits until all was said, or the time is up.
    pub(crate) fn to_the_end(&self, time_max: Duration) {
        self.wait(time_max, |_| None::<()>);
    }

    /// Waits until `found` makes something of the lines, the server closed its stderr, or the time is up.
    fn wait<T>(&self, time_max: Duration, found: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + time_max;
        let mut said = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = found(&said.0) {
                return Some(value);
            }
            let left = end.saturating_duration_since(Instant::now());
            if said.1 || left.is_zero() {
                return None;
            }
            said = self
                .more
                .wait_timeout(said, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// A running server. Dropping it kills it.
pub struct Server {
    /// Where NFS listens.
    pub nfs_port: u16,
    /// Where MOUNT listens; the same unless `-m` says otherwise.
    pub mount_port: u16,
    address: Ipv4Addr,
    child: Child,
    said: Arc<Said>,
    /// Where the key of kernel handles lies, unless the options name a place, and the copy for another user.
    _private: TempDir,
}

impl Server {
    /// Starts the server and waits until it listens.
    pub fn start(options: ServerOptions) -> Result<Self> {
        let private = public_dir()?;
        let mut command = options.command(private.path())?;
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let said = Arc::new(Said::default());
        said.clone()
            .read(child.stderr.take().context("the server has no stderr")?);
        let ready = said.wait(START_MAX, |lines| {
            let portmap_known =
                !options.portmap || lines.iter().any(|line| line.contains("portmap"));
            Some((port_for(lines, "NFS")?, port_for(lines, "MOUNT")?)).filter(|_| portmap_known)
        });
        let Some((nfs_port, mount_port)) = ready else {
            // It may have ended by itself: then there is nothing to kill, and its exit code says more.
            let _ = child.kill();
            let status = child.wait()?;
            bail!(
                "{command:?} did not listen within {START_MAX:?} ({status}); it said:\n{}",
                said.so_far().join("\n")
            );
        };
        Ok(Self {
            nfs_port,
            mount_port,
            address: options.address,
            child,
            said,
            _private: private,
        })
    }

    /// Where NFS listens.
    pub fn nfs(&self) -> SocketAddr {
        (self.address, self.nfs_port).into()
    }

    /// Where MOUNT listens.
    pub fn mount(&self) -> SocketAddr {
        (self.address, self.mount_port).into()
    }

    /// A new connection to NFS.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.nfs())
    }

    /// A new connection to NFS and the handle of an export's root.
    pub fn open(&self, export: &Path) -> Result<(Client, Vec<u8>)> {
        let root = Client::connect(self.mount())?.mount(&export.display().to_string())?;
        Ok((self.connect()?, root))
    }

    /// The process id, which stays the same through `ServerOptions::through`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.said.so_far()
    }

    /// Waits for a line that contains `part`; the error shows what was said instead.
    pub fn wait_for_line(&self, part: &str, time_max: Duration) -> Result<String> {
        self.said
            .wait(time_max, |lines| {
                lines.iter().find(|line| line.contains(part)).cloned()
            })
            .with_context(|| {
                format!(
                    "no line with '{part}' within {time_max:?}; it said:\n{}",
                    self.lines().join("\n")
                )
            })
    }

    /// Resident memory (VmRSS) in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        status_field(self.pid(), "VmRSS")
    }

    /// Open descriptors.
    pub fn fd_count(&self) -> Result<usize> {
        fd_count(self.pid())
    }

    /// CPU time in user and kernel mode so far, in clock ticks (10 ms on Linux).
    pub fn cpu_ticks(&self) -> Result<u64> {
        cpu_ticks(self.pid())
    }

    /// How often it was put to sleep or set aside so far: what does not grow did not wake up.
    pub fn wakeups(&self) -> Result<u64> {
        Ok(status_field(self.pid(), "voluntary_ctxt_switches")?
            + status_field(self.pid(), "nonvoluntary_ctxt_switches")?)
    }

    /// The processes it forked, lowest number first.
    pub fn children(&self) -> Result<Vec<u32>> {
        children(self.pid())
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().try_into()?), signal)
            .with_context(|| format!("cannot send {signal} to the server"))
    }

    /// Ends it as a power cut would and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end by SIGTERM and waits; the exit status and how long it took.
    pub fn terminate(self) -> Result<(ExitStatus, Duration)> {
        self.end_by(Signal::SIGTERM)
    }

    /// Asks it to end by `signal` and waits at most five seconds; the exit status and how long it took.
    pub fn end_by(self, signal: Signal) -> Result<(ExitStatus, Duration)> {
        self.signal(signal)?;
        self.wait_for_end()
            .with_context(|| format!("after {signal}"))
    }

    /// Waits at most five seconds for its end; the exit status and how long that took.
    pub fn wait_for_end(mut self) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, start.elapsed()));
            }
            if start.elapsed() > Duration::from_secs(5) {
                bail!(
                    "the server did not end; it said:\n{}",
                    self.lines().join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in `… listening on ADDRESS:PORT for … WHAT …`.
fn port_for(lines: &[String], what: &str) -> Option<u16> {
    let (place, _) = lines.iter().find_map(|line| {
        let (place, services) = line.split_once("listening on ")?.1.split_once(" for ")?;
        services
            .split(' ')
            .any(|word| word == what)
            .then_some((place, services))
    })?;
    place.rsplit(':').next()?.parse().ok()
}

/// The processes that a process forked, lowest number first.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let pids = fs::read_dir("/proc")
        .context("cannot list /proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = u64::from(parent);
    // A process that ended meanwhile has no status any more.
    let mut children: Vec<u32> = pids
        .filter(|&pid| status_field(pid, "PPid").is_ok_and(|p| p == parent))
        .collect();
    children.sort_unstable();
    Ok(children)
}

/// A number from /proc/PID/status.
pub fn status_field(pid: u32, field: &str) -> Result<u64> {
    proc_field(pid, "status", field)
}

/// A number from a process's `file` in /proc, where it stands behind a name and a colon.
pub fn proc_field(pid: u32, file: &str, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path} has no {field}"))
}

/// The paths of a process's open files, as the kernel has them: with ` (deleted)` behind those that were removed.
pub fn open_files(pid: u32) -> Result<Vec<PathBuf>> {
    let directory = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {directory}"))?;
    // What was closed meanwhile has no link any more.
    Ok(entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect())
}

/// A process's open descriptors.
pub fn fd_count(pid: u32) -> Result<usize> {
    let directory = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&directory)
        .with_context(|| format!("cannot list {directory}"))?
        .count())
}

/// A process's CPU time in user and kernel mode so far, in clock ticks (10 ms on Linux).
pub fn cpu_ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in parentheses may contain anything; utime and stime are the 12th and 13th words after it.
    let words: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let tick = |at: usize| {
        words
            .get(at)
            .and_then(|w| w.parse::<u64>().ok())
            .with_context(|| format!("{path} is too short"))
    };
    Ok(tick(11)? + tick(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_what_they_are_for() {
        let lines = [
            "stowaway: exporting /srv for NFS (read-only, path handles)",
            "stowaway: listening on 127.0.0.1:111 for portmap",
            "stowaway: listening on [::1]:41234 for NFS and MOUNT",
        ]
        .map(String::from);
        assert_eq!(port_for(&lines, "NFS"), Some(41234));
        assert_eq!(port_for(&lines, "MOUNT"), Some(41234));
        assert_eq!(port_for(&lines, "portmap"), Some(111));
        assert_eq!(port_for(&lines[..2], "NFS"), None);
    }
}
