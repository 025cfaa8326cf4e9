//! SSH daemons of a test's own: on a free port of loopback, with keys made for the run, and the file under test as their
//! sftp-server. Needs root.
//!
//! dropbear knows one path for the server, and both want accounts. So a daemon has mounts of its own: there the file lies over
//! Debian's server, and a few accounts over the machine's, which stays as it is.

use crate::machines::mounts;
use crate::machines::port::Port;
use crate::machines::server::public_dir;
use crate::machines::wait_for;
use crate::setup::{self, Package};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whose daemon it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `sshd`, which talks to the server over a socketpair.
    OpenSsh,
    /// `dropbear`, which talks to it over pipes.
    Dropbear,
}

/// The account that everybody logs in to, with a group of the same name.
pub const USER: &str = "guest";
/// Its number and its group's.
pub const USER_ID: u32 = 4242;

/// Where dropbear looks for the server, and Debian's sshd too.
pub const SFTP_SERVER: &str = "/usr/lib/sftp-server";

/// How long a daemon may take to answer, and its sessions to end.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A running daemon. Dropping it ends it and all its sessions.
pub struct Daemon {
    port: Port,
    child: Child,
    private: TempDir,
}

impl Daemon {
    /// Starts a daemon that execs `server` for who asks for SFTP, and waits until it listens.
    pub fn start(kind: Kind, server: &Path) -> Result<Self> {
        Self::start_for(kind, server, "/bin/sh", "")
    }

    /// The same for an account with this login shell; sshd has options of the server behind its path.
    pub fn start_for(kind: Kind, server: &Path, shell: &str, options: &str) -> Result<Self> {
        setup::need(&[
            Package::MOUNT,
            Package::OPENSSH_CLIENT,
            Package::OPENSSH_SERVER,
            Package::SFTP_SERVER,
            Package::DROPBEAR,
        ])?;
        let private = public_dir()?;
        let place = private.path();
        accounts(place, shell)?;
        keys(place)?;
        let port = Port::reserve()?;
        let mut child = spawn(kind, server, options, place, port.number())?;
        if !answers(kind, port.number(), &mut child)? {
            child.kill()?;
            child.wait()?;
            bail!("{kind:?} did not listen; it said:\n{}", said(place));
        }
        client_files(place, port.number())?;
        Ok(Self {
            port,
            child,
            private,
        })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The user's home, where every session begins: the same path inside and outside.
    pub fn home(&self) -> PathBuf {
        self.private.path().join("home")
    }

    /// For `-F`: with it, OpenSSH's programs reach the daemon under any name.
    pub fn config(&self) -> PathBuf {
        self.private.path().join("config")
    }

    /// The user's private key.
    pub fn key(&self) -> PathBuf {
        self.private.path().join("key")
    }

    /// A file with the daemon's host keys, in OpenSSH's form.
    pub fn known_hosts(&self) -> PathBuf {
        self.private.path().join("known_hosts")
    }

    /// What the daemon wrote so far.
    pub fn said(&self) -> String {
        said(self.private.path())
    }

    /// Waits until every session has ended, and with it the server that was started for it.
    pub fn wait_until_idle(&self) -> Result<()> {
        let idle = wait_for(WAIT_MAX, || Ok(self.sessions()?.is_empty().then_some(())))?;
        idle.with_context(|| {
            let names: Vec<_> = self
                .sessions()
                .unwrap_or_default()
                .iter()
                .map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")))
                .collect();
            format!("still there after {WAIT_MAX:?}: {names:?}")
        })
    }

    /// Every process with the daemon's mounts, but not the daemon.
    fn sessions(&self) -> Result<Vec<Pid>> {
        let mounts = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt"));
        let daemon = self.child.id();
        let ours = mounts(daemon).context("the daemon is gone")?;
        let mut sessions = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            // One that has just ended has no mounts any more.
            if pid != daemon && mounts(pid).is_ok_and(|theirs| theirs == ours) {
                sessions.push(Pid::from_raw(pid.try_into()?));
            }
        }
        Ok(sessions)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Who ended meanwhile cannot be killed, which is what is wanted.
        for session in self.sessions().unwrap_or_default() {
            let _ = kill(session, Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(place: &Path) -> String {
    fs::read_to_string(place.join("log")).unwrap_or_default()
}

/// The accounts that exist for the daemon, and the user's home.
fn accounts(place: &Path, shell: &str) -> Result<()> {
    let home = place.join("home");
    let passwd = format!(
        "root:x:0:0:root:/nowhere:/bin/sh\n\
         sshd:x:74:74:privilege separation:/run/sshd:/bin/sh\n\
         {USER}:x:{USER_ID}:{USER_ID}:a guest:{}:{shell}\n",
        home.display()
    );
    fs::write(place.join("passwd"), passwd)?;
    let group = format!("root:x:0:\nsshd:x:74:\n{USER}:x:{USER_ID}:\n");
    fs::write(place.join("group"), group)?;
    // dropbear wants the shell to be one of these.
    fs::write(place.join("shells"), format!("{shell}\n"))?;
    // A password that nothing matches; "!" would lock the account.
    let shadow = format!("{USER}:*:20000:0:99999:7:::\n");
    fs::write(place.join("shadow"), shadow)?;
    fs::set_permissions(place.join("shadow"), Permissions::from_mode(0o600))?;
    fs::create_dir(&home)?;
    chown(&home, Some(USER_ID), Some(USER_ID))?;
    Ok(())
}

/// The user's key, which the user's account knows, and the daemon's own in both forms.
fn keys(place: &Path) -> Result<()> {
    let make = |kind: &str, name: &str| {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "for a test", "-t", kind, "-f"]);
        setup::quietly(command.arg(place.join(name)))
    };
    make("ed25519", "key")?;
    // dropbear 2022 dies when a client offers RSA and it has no such key.
    for kind in ["ed25519", "rsa"] {
        make(kind, kind)?;
        setup::quietly(
            Command::new("dropbearconvert")
                .args(["openssh", "dropbear"])
                .arg(place.join(kind))
                .arg(place.join(format!("{kind}.dropbear"))),
        )?;
    }
    let ssh = place.join("home/.ssh");
    let authorized = ssh.join("authorized_keys");
    fs::create_dir(&ssh)?;
    fs::copy(place.join("key.pub"), &authorized)?;
    for (path, mode) in [(&ssh, 0o700), (&authorized, 0o600)] {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        chown(path, Some(USER_ID), Some(USER_ID))?;
    }
    Ok(())
}

/// What clients need to know.
fn client_files(place: &Path, port: u16) -> Result<()> {
    let mut hosts = String::new();
    for kind in ["ed25519", "rsa"] {
        let public = fs::read_to_string(place.join(format!("{kind}.pub")))?;
        hosts.push_str(&format!("[127.0.0.1]:{port} {public}"));
    }
    fs::write(place.join("known_hosts"), hosts)?;
    // The first cipher is the one that processors help with. dropbear has the second.
    let config = format!(
        "Ciphers aes128-gcm@openssh.com,chacha20-poly1305@openssh.com\n\
         HostName 127.0.0.1\nPort {port}\nUser {USER}\nIdentityFile {place}/key\nIdentitiesOnly yes\n\
         UserKnownHostsFile {place}/known_hosts\nGlobalKnownHostsFile none\n\
         StrictHostKeyChecking yes\nBatchMode yes\nLogLevel ERROR\n",
        place = place.display()
    );
    fs::write(place.join("config"), config)?;
    Ok(())
}

/// Starts the daemon on a thread with mounts of its own, which the daemon then has.
fn spawn(kind: Kind, server: &Path, options: &str, place: &Path, port: u16) -> Result<Child> {
    let log = File::create(place.join("log"))?;
    let mut command = match kind {
        Kind::OpenSsh => sshd(options, place, port)?,
        Kind::Dropbear => dropbear(place, port),
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            mounts::leave()?;
            let mount = |words: &[&str], from: &Path, to: &str| {
                setup::quietly(Command::new("mount").args(words).arg(from).arg(to))
            };
            mount(&["--bind"], server, SFTP_SERVER)?;
            for name in ["passwd", "group", "shadow", "shells"] {
                mount(&["--bind"], &place.join(name), &format!("/etc/{name}"))?;
            }
            mount(
                &["-t", "tmpfs", "-o", "mode=755"],
                Path::new("tmpfs"),
                "/run",
            )?;
            // sshd wants it to be empty and root's.
            fs::create_dir("/run/sshd")?;
            command
                .spawn()
                .with_context(|| format!("cannot start {command:?}"))
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn sshd(options: &str, place: &Path, port: u16) -> Result<Command> {
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {place}/ed25519\nHostKey {place}/rsa\n\
         PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         Subsystem sftp {SFTP_SERVER} {options}\n",
        place = place.display()
    );
    let path = place.join("sshd_config");
    fs::write(&path, config)?;
    // It insists on an absolute path, for it starts itself again.
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(path);
    Ok(command)
}

fn dropbear(place: &Path, port: u16) -> Command {
    let mut command = Command::new("/usr/sbin/dropbear");
    // In the foreground, messages on stderr, no passwords.
    command.args(["-F", "-E", "-s", "-p", &format!("127.0.0.1:{port}")]);
    for kind in ["ed25519", "rsa"] {
        command
            .arg("-r")
            .arg(place.join(format!("{kind}.dropbear")));
    }
    command.arg("-P").arg(place.join("pid"));
    command
}

/// Waits for the daemon's greeting; false when it ended, or somebody else greets.
fn answers(kind: Kind, port: u16, child: &mut Child) -> Result<bool> {
    let banner: &[u8] = match kind {
        Kind::OpenSsh => b"SSH-2.0-OpenSSH_",
        Kind::Dropbear => b"SSH-2.0-dropbear",
    };
    let start = Instant::now();
    while start.elapsed() < WAIT_MAX && child.try_wait()?.is_none() {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            sleep(Duration::from_millis(5));
            continue;
        };
        stream.set_read_timeout(Some(WAIT_MAX))?;
        let mut greeting = vec![0; banner.len()];
        stream.read_exact(&mut greeting)?;
        return Ok(greeting == banner);
    }
    Ok(false)
}
