//! SSH daemons for tests: on a free port of loopback, with new keys, and with the file under test as their SFTP server. Needs root.
//!
//! dropbear has a fixed path for the SFTP server, and both daemons need accounts. So each daemon runs in its own mount namespace,
//! where bind mounts replace Debian's server and the files of accounts in /etc; the host's files stay unchanged.

use crate::machines::mounts;
use crate::machines::port::Port;
use crate::machines::server::public_dir;
use crate::machines::{on_thread, wait_for};
use crate::setup;
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

/// The SSH implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// `sshd`, which connects the SFTP server by a socket pair.
    OpenSsh,
    /// `dropbear`, which connects the SFTP server by pipes.
    Dropbear,
}

/// The account for all sessions. Its group has the same name.
pub const USER: &str = "guest";
/// UID and GID of the account.
pub const USER_ID: u32 = 4242;

/// The path from which dropbear starts the SFTP server; Debian's sshd uses it too.
pub const SFTP_SERVER: &str = "/usr/lib/sftp-server";

/// Time limit for a daemon to answer, and for its sessions to end.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A running daemon. Drop kills the daemon and all its sessions.
pub struct Daemon {
    port: Port,
    child: Child,
    private: TempDir,
}

impl Daemon {
    /// Starts a daemon that execs `server` for the SFTP subsystem, and waits until it listens.
    pub fn start(kind: Implementation, server: &Path) -> Result<Self> {
        Self::start_for(kind, server, "/bin/sh", "")
    }

    /// As [`Self::start`], with the login shell `shell` for the account. sshd appends `options` to the server's command line.
    pub fn start_for(
        kind: Implementation,
        server: &Path,
        shell: &str,
        options: &str,
    ) -> Result<Self> {
        setup::install_packages(&[
            "mount",
            "openssh-client",
            "openssh-server",
            "openssh-sftp-server",
            "dropbear-bin",
        ])?;
        let private = public_dir()?;
        let dir = private.path();
        accounts(dir, shell)?;
        keys(dir)?;
        let port = Port::reserve()?;
        let mut child = spawn(kind, server, options, dir, port.number())?;
        if !is_listening(kind, port.number(), &mut child)? {
            child.kill()?;
            child.wait()?;
            bail!("{kind:?} did not listen; stderr:\n{}", read_log(dir));
        }
        client_files(dir, port.number())?;
        Ok(Self {
            port,
            child,
            private,
        })
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The user's home directory, in which every session starts. It has the same path inside and outside the daemon's mounts.
    pub fn home(&self) -> PathBuf {
        self.private.path().join("home")
    }

    /// An ssh_config for `-F`, with which OpenSSH's clients reach the daemon under any host name.
    pub fn config(&self) -> PathBuf {
        self.private.path().join("config")
    }

    /// The user's private key.
    pub fn key(&self) -> PathBuf {
        self.private.path().join("key")
    }

    /// A known_hosts file with the daemon's host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.private.path().join("known_hosts")
    }

    /// Returns all stderr output of the daemon.
    pub fn log(&self) -> String {
        read_log(self.private.path())
    }

    /// Waits until every session has ended, and with it the SFTP server of the session.
    pub fn wait_until_idle(&self) -> Result<()> {
        let idle = wait_for(WAIT_MAX, || Ok(self.sessions()?.is_empty().then_some(())))?;
        idle.with_context(|| {
            let names: Vec<_> = self
                .sessions()
                .unwrap_or_default()
                .iter()
                .map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")))
                .collect();
            format!("sessions still running after {WAIT_MAX:?}: {names:?}")
        })
    }

    /// All processes in the daemon's mount namespace, except the daemon.
    fn sessions(&self) -> Result<Vec<Pid>> {
        let mounts = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt"));
        let daemon = self.child.id();
        let ours = mounts(daemon).context("the daemon has ended")?;
        let mut sessions = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            // `mounts` fails for a process that has just ended, because it has no mount namespace.
            if pid != daemon && mounts(pid).is_ok_and(|theirs| theirs == ours) {
                sessions.push(Pid::from_raw(pid.try_into()?));
            }
        }
        Ok(sessions)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // kill fails for a session that has ended meanwhile.
        for session in self.sessions().unwrap_or_default() {
            let _ = kill(session, Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// Writes the account files for the daemon and creates the user's home.
fn accounts(dir: &Path, shell: &str) -> Result<()> {
    let home = dir.join("home");
    let passwd = format!(
        "root:x:0:0:root:/nowhere:/bin/sh\n\
         sshd:x:74:74:privilege separation:/run/sshd:/bin/sh\n\
         {USER}:x:{USER_ID}:{USER_ID}:a guest:{}:{shell}\n",
        home.display()
    );
    fs::write(dir.join("passwd"), passwd)?;
    let group = format!("root:x:0:\nsshd:x:74:\n{USER}:x:{USER_ID}:\n");
    fs::write(dir.join("group"), group)?;
    // dropbear rejects an account if its login shell is not in /etc/shells.
    fs::write(dir.join("shells"), format!("{shell}\n"))?;
    // "*" matches no password; "!" would lock the account.
    let shadow = format!("{USER}:*:20000:0:99999:7:::\n");
    fs::write(dir.join("shadow"), shadow)?;
    fs::set_permissions(dir.join("shadow"), Permissions::from_mode(0o600))?;
    fs::create_dir(&home)?;
    chown(&home, Some(USER_ID), Some(USER_ID))?;
    Ok(())
}

/// Makes the user's key pair with authorized_keys, and the daemon's host keys in OpenSSH's and in dropbear's format.
fn keys(dir: &Path) -> Result<()> {
    let make = |kind: &str, name: &str| {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "for a test", "-t", kind, "-f"]);
        setup::run_captured(command.arg(dir.join(name)))
    };
    make("ed25519", "key")?;
    // dropbear 2022 crashes if a client offers RSA and no RSA host key exists.
    for kind in ["ed25519", "rsa"] {
        make(kind, kind)?;
        setup::run_captured(
            Command::new("dropbearconvert")
                .args(["openssh", "dropbear"])
                .arg(dir.join(kind))
                .arg(dir.join(format!("{kind}.dropbear"))),
        )?;
    }
    let ssh = dir.join("home/.ssh");
    let authorized = ssh.join("authorized_keys");
    fs::create_dir(&ssh)?;
    fs::copy(dir.join("key.pub"), &authorized)?;
    for (path, mode) in [(&ssh, 0o700), (&authorized, 0o600)] {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        chown(path, Some(USER_ID), Some(USER_ID))?;
    }
    Ok(())
}

/// Writes known_hosts and the ssh_config for clients.
fn client_files(dir: &Path, port: u16) -> Result<()> {
    let mut hosts = String::new();
    for kind in ["ed25519", "rsa"] {
        let public = fs::read_to_string(dir.join(format!("{kind}.pub")))?;
        hosts.push_str(&format!("[127.0.0.1]:{port} {public}"));
    }
    fs::write(dir.join("known_hosts"), hosts)?;
    // The first cipher has hardware support. The second one is for dropbear, which supports it.
    let config = format!(
        "Ciphers aes128-gcm@openssh.com,chacha20-poly1305@openssh.com\n\
         HostName 127.0.0.1\nPort {port}\nUser {USER}\nIdentityFile {dir}/key\nIdentitiesOnly yes\n\
         UserKnownHostsFile {dir}/known_hosts\nGlobalKnownHostsFile none\n\
         StrictHostKeyChecking yes\nBatchMode yes\nLogLevel ERROR\n",
        dir = dir.display()
    );
    fs::write(dir.join("config"), config)?;
    Ok(())
}

/// Starts the daemon on a thread with a new mount namespace, which the daemon inherits.
fn spawn(
    kind: Implementation,
    server: &Path,
    options: &str,
    dir: &Path,
    port: u16,
) -> Result<Child> {
    let log = File::create(dir.join("log"))?;
    let mut command = match kind {
        Implementation::OpenSsh => sshd(options, dir, port)?,
        Implementation::Dropbear => dropbear(dir, port),
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    on_thread(|| {
        mounts::enter_private_namespace()?;
        let mount = |words: &[&str], from: &Path, to: &str| {
            setup::run_captured(Command::new("mount").args(words).arg(from).arg(to))
        };
        mount(&["--bind"], server, SFTP_SERVER)?;
        for name in ["passwd", "group", "shadow", "shells"] {
            mount(&["--bind"], &dir.join(name), &format!("/etc/{name}"))?;
        }
        mount(
            &["-t", "tmpfs", "-o", "mode=755"],
            Path::new("tmpfs"),
            "/run",
        )?;
        // sshd requires this directory to be empty and owned by root.
        fs::create_dir("/run/sshd")?;
        command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))
    })
}

fn sshd(options: &str, dir: &Path, port: u16) -> Result<Command> {
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {dir}/ed25519\nHostKey {dir}/rsa\n\
         PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         Subsystem sftp {SFTP_SERVER} {options}\n",
        dir = dir.display()
    );
    let path = dir.join("sshd_config");
    fs::write(&path, config)?;
    // sshd needs an absolute path because it re-executes itself.
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(path);
    Ok(command)
}

fn dropbear(dir: &Path, port: u16) -> Command {
    let mut command = Command::new("/usr/sbin/dropbear");
    // -F: in the foreground; -E: log to stderr; -s: no passwords.
    command.args(["-F", "-E", "-s", "-p", &format!("127.0.0.1:{port}")]);
    for kind in ["ed25519", "rsa"] {
        command.arg("-r").arg(dir.join(format!("{kind}.dropbear")));
    }
    command.arg("-P").arg(dir.join("pid"));
    command
}

/// Waits for the daemon's banner. Returns false if the daemon has ended or another program answers.
fn is_listening(kind: Implementation, port: u16, child: &mut Child) -> Result<bool> {
    let banner: &[u8] = match kind {
        Implementation::OpenSsh => b"SSH-2.0-OpenSSH_",
        Implementation::Dropbear => b"SSH-2.0-dropbear",
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
