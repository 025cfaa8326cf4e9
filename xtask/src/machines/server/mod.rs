//! A running stowaway, started by a test, a benchmark or `run`: its ports, its stderr, its resource use, and its end.
//!
//! Runs the file that `build` makes, or the file named by the environment variable STOWAWAY_BIN.

pub mod emulation;
mod namespace;
mod process;

pub use emulation::{emulated, runnable};
pub use namespace::{Namespace, ip};
pub(crate) use process::Lines;
pub use process::{Process, message};

use crate::build::{self, Arch};
use crate::clients::nfs::Client;
use crate::machines::lockdown::calls;
use crate::machines::wait_for;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time limit for a server to listen. It first syncs its key to a disk that may be busy.
const START_MAX: Duration = Duration::from_secs(60);
/// Time limit for a server to end.
const END_MAX: Duration = Duration::from_secs(5);

/// Start options of a server. By default the server has no exports, listens on free ports of loopback, and does not serve portmap.
#[derive(Clone)]
pub struct ServerOptions {
    /// The architecture of the built file.
    pub arch: Arch,
    /// The file to start instead of the built one.
    pub file: Option<PathBuf>,
    /// The role: `nfs`, or `serve` for a server with its supervisor.
    pub role: &'static str,
    /// Exports, each as `DIR[:opts]`.
    pub exports: Vec<String>,
    /// The address for `-l`.
    pub address: Ipv4Addr,
    /// The NFS port for `-n`; 0 picks a free one.
    pub port: u16,
    /// The MOUNT port for `-m`. None: MOUNT is served on the NFS port.
    pub mount_port: Option<u16>,
    /// True to serve portmap, too, on port 111.
    pub portmap: bool,
    /// The key file of kernel handles, in a directory that also keeps the records of clients. None: a new one for each server.
    pub key_file: Option<PathBuf>,
    /// UID and GID to start the server with; it then has no key file. None: the user of this process.
    pub user: Option<u32>,
    /// Additional arguments, which follow all others.
    pub arguments: Vec<String>,
    /// A command that precedes the server's and execs it, e.g. `ip netns exec NAME`.
    pub wrapper: Vec<String>,
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
            wrapper: Vec::new(),
        }
    }
}

impl ServerOptions {
    /// Options to export `directories` on free ports of loopback, without portmap.
    pub fn serving(directories: &[&Path]) -> Self {
        Self {
            exports: directories
                .iter()
                .map(|d| d.display().to_string())
                .collect(),
            ..Self::default()
        }
    }

    /// The command line. `private` is a directory that only this server uses.
    fn command(&self, private: &Path) -> Result<Command> {
        let made = |make: fn(Arch) -> Result<PathBuf>| match &self.file {
            Some(file) => Ok(file.clone()),
            None => make(self.arch),
        };
        let file = match self.user {
            // Another user may not be able to enter the project's directory, so the file is copied.
            Some(_) => emulation::copy(&made(binary)?, &private.join("stowaway"), self.arch)?,
            None => made(runnable)?,
        };
        let mut words = self.wrapper.clone();
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
            // Records of clients are kept beside the key, so that a later test on the same port does not wait for these clients.
            let key_file = self.key_file.clone().unwrap_or_else(|| private.join("key"));
            let state = key_file
                .parent()
                .context("a key file without a directory")?;
            words.extend(["--state-dir".into(), state.display().to_string()]);
            words.extend(["--key-file".into(), key_file.display().to_string()]);
        }
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        Ok(command)
    }
}

/// The built file for `arch`, or a script that starts it, see [`calls::watched`]. Builds at most once per process.
pub fn binary(arch: Arch) -> Result<PathBuf> {
    static BUILT: Mutex<Vec<(Arch, PathBuf)>> = Mutex::new(Vec::new());
    if let Some(path) = std::env::var_os("STOWAWAY_BIN") {
        return Ok(path.into());
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = built.iter().find(|(a, _)| *a == arch) {
        return Ok(path.clone());
    }
    let path = calls::watched(build::build(arch)?)?;
    built.push((arch, path.clone()));
    Ok(path)
}

/// Creates a temporary directory that every user may enter and read.
pub fn public_dir() -> Result<TempDir> {
    let permissions = fs::Permissions::from_mode(0o755);
    tempfile::Builder::new()
        .prefix("stowaway-")
        .permissions(permissions)
        .tempdir()
        .context("cannot create a directory for temporary files")
}

/// Returns true if the process runs as root. If not, prints that `what` is SKIPPED.
pub fn root_for(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {what} (needs root)");
    }
    root
}

/// UIDs with which tests start servers, to cover both kinds of handles: root (None), which uses kernel handles, and UID 65534, which
/// uses path handles. Without root, only the current user (None).
pub fn users() -> Vec<Option<u32>> {
    const NOBODY: u32 = 65534;
    if root_for("kernel handles") {
        vec![None, Some(NOBODY)]
    } else {
        vec![None]
    }
}

/// A running server. Drop kills it.
pub struct Server {
    /// Port on which the server listens for NFS.
    pub nfs_port: u16,
    /// Port of MOUNT; the same as `nfs_port` unless `-m` is given.
    pub mount_port: u16,
    address: Ipv4Addr,
    process: Process,
    /// The directory that contains the default key file or, for another user, the copy of the executable.
    _private: TempDir,
}

impl Server {
    /// Starts the server and waits until it listens.
    pub fn start(options: ServerOptions) -> Result<Self> {
        let private = public_dir()?;
        let mut command = options.command(private.path())?;
        let mut process = Process::start(&mut command)?;
        let ready = process.stderr.wait(START_MAX, |lines| {
            // Version 4.1 alone: neither MOUNT nor portmap.
            if let Some(port) = port_for(lines, "4.1") {
                return Some((port, port));
            }
            let portmap_known =
                !options.portmap || lines.iter().any(|line| line.contains("portmap"));
            Some((port_for(lines, "NFS")?, port_for(lines, "MOUNT")?)).filter(|_| portmap_known)
        });
        let Some((nfs_port, mount_port)) = ready else {
            // The server may have ended already; its exit status is part of the error.
            let _ = process.child.kill();
            let status = process.child.wait()?;
            bail!(
                "{command:?} did not listen within {START_MAX:?} ({status}); stderr:\n{}",
                process.lines().join("\n")
            );
        };
        Ok(Self {
            nfs_port,
            mount_port,
            address: options.address,
            process,
            _private: private,
        })
    }

    /// The address on which the server listens for NFS.
    pub fn nfs(&self) -> SocketAddr {
        (self.address, self.nfs_port).into()
    }

    /// The address on which the server listens for MOUNT.
    pub fn mount(&self) -> SocketAddr {
        (self.address, self.mount_port).into()
    }

    /// Opens a connection to NFS.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.nfs())
    }

    /// Opens a connection to NFS and mounts `export`. Returns the root's handle too.
    pub fn open(&self, export: &Path) -> Result<(Client, Vec<u8>)> {
        let root = Client::connect(self.mount())?.mount(&export.display().to_string())?;
        Ok((self.connect()?, root))
    }

    /// Kills the server and the loops of `serve` by SIGKILL, and waits until no port of theirs is open.
    pub fn kill(self) -> Result<()> {
        let loops = self.children()?;
        self.end_by(Signal::SIGKILL)?;
        for &pid in &loops {
            // A loop ends by itself, too, when its supervisor has ended.
            let _ = kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL);
        }
        // A zombie whose other threads run, for example in fsync(2), still listens.
        let is_running = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            let has_ended =
                |status: &str| status.contains("\nState:\tZ") && status.contains("\nThreads:\t1\n");
            status.is_ok_and(|status| !has_ended(&status))
        };
        let ended = || Ok((!loops.iter().any(is_running)).then_some(()));
        wait_for(END_MAX, ended)?.context("loops of a killed server do not end")
    }

    /// Ends the server by SIGTERM. Returns the exit status and the time it took; an error after five seconds.
    pub fn terminate(self) -> Result<(ExitStatus, Duration)> {
        self.end_by(Signal::SIGTERM)
    }

    /// Sends `signal` and waits for the end. Returns the exit status and the time it took; an error after five seconds.
    pub fn end_by(self, signal: Signal) -> Result<(ExitStatus, Duration)> {
        self.signal(signal)?;
        self.wait_for_end()
            .with_context(|| format!("after {signal}"))
    }

    /// Waits for the end. Returns the exit status and the time it took; an error after five seconds.
    pub fn wait_for_end(mut self) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        let status = self.process.wait(END_MAX)?;
        Ok((status, start.elapsed()))
    }
}

impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The port in a line `… listening on ADDRESS:PORT for … WHAT …`.
fn port_for(lines: &[String], what: &str) -> Option<u16> {
    let (address, _) = lines.iter().find_map(|line| {
        let (address, services) = line.split_once("listening on ")?.1.split_once(" for ")?;
        services
            .split(' ')
            .any(|word| word == what)
            .then_some((address, services))
    })?;
    address.rsplit(':').next()?.parse().ok()
}

/// The process ids of the children of `parent`, in ascending order.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let pids = fs::read_dir("/proc")
        .context("cannot list /proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = u64::from(parent);
    // A process that has ended meanwhile has no status file.
    let mut children: Vec<u32> = pids
        .filter(|&pid| status_field(pid, "PPid").is_ok_and(|p| p == parent))
        .collect();
    children.sort_unstable();
    Ok(children)
}

/// Returns the number in the line `FIELD: NUMBER` of /proc/`pid`/status.
pub fn status_field(pid: u32, field: &str) -> Result<u64> {
    proc_field(pid, "status", field)
}

/// Returns the number in the line `FIELD: NUMBER` of /proc/`pid`/`file`.
pub fn proc_field(pid: u32, file: &str, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path} has no {field}"))
}

/// The paths of a process's open files, as the kernel reports them: ` (deleted)` follows the path of an unlinked file.
pub fn open_files(pid: u32) -> Result<Vec<PathBuf>> {
    let directory = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {directory}"))?;
    // A descriptor closed meanwhile has no link.
    Ok(entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect())
}

/// The number of open descriptors of a process.
pub fn fd_count(pid: u32) -> Result<usize> {
    let directory = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&directory)
        .with_context(|| format!("cannot list {directory}"))?
        .count())
}

/// A process's CPU time in user and kernel mode, in clock ticks (10 ms on Linux).
pub fn cpu_ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The process name in parentheses may contain any character; utime and stime are the 12th and 13th words after it.
    let words: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let tick = |index: usize| {
        words
            .get(index)
            .and_then(|w| w.parse::<u64>().ok())
            .with_context(|| format!("{path} is too short"))
    };
    Ok(tick(11)? + tick(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_service_name() {
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
