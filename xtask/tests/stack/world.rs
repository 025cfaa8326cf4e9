//! Two hosts connected by a cable: one without addresses, on which stowaway runs its own stack, and a Linux host.

use crate::mdns::world::Process;
use anyhow::{Context as _, Result, ensure};
use cases::random;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::build::{self, Arch};
use xtask::machines::cable::Cable;
use xtask::machines::server::{Namespace, ip, public_dir};
use xtask::setup;
use xtask::testing::pattern;

/// Time limit of every wait, for a busy host.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// File name of the Unix socket.
const SOCKET: &str = "socket";
/// Latency of each frame on the faulty cable.
const LATENCY: Duration = Duration::from_millis(1);
/// Size (bytes) of the exported file `first`.
const FILE_BYTES: usize = 20 << 20;

/// The link over which stowaway's stack sends frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// A packet socket on the interface `eth0`.
    Packet,
    /// A TAP interface, which a bridge connects to `eth0`.
    Tap,
    /// A Unix socket in the test's directory.
    Stream,
    /// A Unix socket that is connected to a faulty cable.
    Cable,
}

/// The two hosts, and the exported directory.
pub struct World {
    pub link: Link,
    pub ours: Namespace,
    /// The Linux host. Has 192.0.2.2, fd00::2 and 169.254.0.2, a link-local address that is never chosen automatically.
    pub theirs: Namespace,
    /// A directory for logs and sockets. The export is its subdirectory `files`.
    pub directory: TempDir,
    /// The cable of `Link::Cable`.
    cable: Option<Cable>,
}

/// Runs a shell script on a host. An error if the script fails.
pub fn shell(host: &Namespace, script: &str) -> Result<String> {
    setup::run_captured(host.command("sh").args(["-ec", script]))
}

/// The built file with all roles.
pub fn file() -> Result<PathBuf> {
    build::build(Arch::X86_64)
}

impl World {
    pub fn new(link: Link) -> Result<Self> {
        setup::install_packages(&[
            "iproute2",
            "libnfs-utils",
            "avahi-daemon",
            "avahi-utils",
            "dbus-daemon",
        ])?;
        let directory = public_dir()?;
        let (ours, theirs, cable) = match link {
            Link::Cable => {
                let (ours, theirs) = (Namespace::new()?, Namespace::new()?);
                let socket = directory.path().join(SOCKET);
                let cable = theirs.run(|| Cable::new("eth0", &socket, LATENCY, random::seed()))?;
                shell(
                    &theirs,
                    "ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up",
                )?;
                (ours, theirs, Some(cable))
            }
            _ => {
                let (ours, theirs) = Namespace::pair()?;
                shell(
                    &ours,
                    "ip addr flush dev eth0
                     for on in all default eth0; do echo 1 > /proc/sys/net/ipv6/conf/$on/disable_ipv6; done",
                )?;
                (ours, theirs, None)
            }
        };
        shell(
            &theirs,
            "ip addr add fd00::2/64 dev eth0 nodad
             ip addr add 169.254.0.2/16 dev eth0
             ip route add 224.0.0.0/4 dev eth0",
        )?;
        let files = directory.path().join("files");
        fs::create_dir(&files)?;
        fs::write(files.join("first"), pattern(1, 0, FILE_BYTES))?;
        let world = Self {
            link,
            ours,
            theirs,
            directory,
            cable,
        };
        if link == Link::Tap {
            shell(&world.ours, "ip tuntap add tap0 mode tap")?;
            shell(
                &world.ours,
                "ip link add br0 type bridge mcast_snooping 0
                 ip link set eth0 master br0
                 ip link set br0 up",
            )?;
            world.plug_tap()?;
        }
        Ok(world)
    }

    /// Sets the probability of each fault, in thousandths per frame: loss, delay, duplication, damage.
    pub fn set_faults(&self, per_mille: usize) -> Result<()> {
        let cable = self
            .cable
            .as_ref()
            .context("this world has no faulty cable")?;
        cable.set_faults(per_mille);
        Ok(())
    }

    /// Connects the TAP interface to the bridge.
    pub fn plug_tap(&self) -> Result<()> {
        shell(&self.ours, "ip link set tap0 master br0 up").map(drop)
    }

    /// The value of `--net` for the link.
    pub fn net(&self) -> String {
        match self.link {
            Link::Packet => "packet:eth0".into(),
            Link::Tap => "tap:tap0".into(),
            Link::Stream | Link::Cable => format!("stream:{}", self.socket().display()),
        }
    }

    /// Path of the Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// The exported directory.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// Starts a role over stowaway's own stack, with the host name `box`.
    pub fn start(&self, role: &str, words: &[&str]) -> Result<Process> {
        let mut command = self.ours.command(&file()?.to_string_lossy());
        command.args([role, "--net", &self.net(), "--name", "box"]);
        command.args(words);
        Process::logging(command)
    }

    /// Starts `serve` with the directory as its export.
    pub fn serve(&self, words: &[&str]) -> Result<Process> {
        let export = format!("{}:rw,no_root_squash", self.files().display());
        let first = ["--handles", "path", "--export", &export];
        self.start("serve", &[&first[..], words].concat())
    }

    /// Starts NFS only, at 192.0.2.1.
    pub fn start_nfs(&self) -> Result<Process> {
        self.start_nfs_within("unlimited")
    }

    /// As [`Self::start_nfs`], with a limit (KiB) on the address space, as for `ulimit -v`.
    pub fn start_nfs_within(&self, limit: &str) -> Result<Process> {
        let export = format!("{}:rw,no_root_squash", self.files().display());
        let mut command = self.ours.command("sh");
        command.args(["-c", "ulimit -v $0; exec \"$@\"", limit]);
        command.arg(file()?).args(["nfs", "--net", &self.net()]);
        command.args(["--ip", "192.0.2.1/24", "--export", &export]);
        Process::logging(command)
    }

    /// Reads and writes the file `first` at `address` by libnfs, and compares the contents.
    pub fn use_files(&self, address: &str) -> Result<()> {
        self.use_file(address, "first")
    }

    /// As [`Self::use_files`], for the file `name`.
    pub fn use_file(&self, address: &str, name: &str) -> Result<()> {
        let files = self.files();
        let query = "version=3&nfsport=2049&mountport=2049";
        let url = |name: &str| format!("nfs://{address}{}/{name}?{query}", files.display());
        let expected = sum_of(Command::new("cat").arg(files.join(name)))?;
        let read = sum_of(self.theirs.command("nfs-cat").arg(url(name)))?;
        ensure!(read == expected, "read {read} instead of {expected}");
        let mut copy = self.theirs.command("nfs-cp");
        setup::run_captured(copy.arg(files.join(name)).arg(url("second")))?;
        let written = sum_of(Command::new("cat").arg(files.join("second")))?;
        ensure!(written == expected, "wrote {written} instead of {expected}");
        fs::remove_file(files.join("second"))?;
        Ok(())
    }

    /// Checks that the host has no addresses except on loopback.
    pub fn ensure_host_has_none(&self) -> Result<()> {
        let all = shell(&self.ours, "ip -o addr show")?;
        let found = all.lines().find(|line| !line.contains(": lo "));
        ensure!(found.is_none(), "the host has an address: {found:?}");
        Ok(())
    }

    /// Sends a frame (in hexadecimal) from the Linux host.
    pub fn send(&self, frame: &str) -> Result<()> {
        setup::install_packages(&["python3"])?;
        let script = format!(
            "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0)); s.send(bytes.fromhex('{frame}'))"
        );
        setup::run_captured(self.theirs.command("python3").args(["-c", &script])).map(drop)
    }
}

/// The SHA-256 of a command's output, as sha256sum prints it.
pub fn sum_of(command: &mut Command) -> Result<String> {
    let mut source = command.stdout(Stdio::piped()).spawn()?;
    let pipe = source.stdout.take().context("the command has no stdout")?;
    let sum = Command::new("sha256sum").stdin(pipe).output()?;
    ensure!(
        source.wait()?.success() && sum.status.success(),
        "{command:?} failed"
    );
    Ok(String::from_utf8(sum.stdout)?)
}

/// Calls `look` until it returns a value, at most for [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "timeout after {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(100));
    }
}

/// A background program with its output in a file. Drop kills it.
pub struct Daemon {
    child: std::process::Child,
}

impl Daemon {
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let log = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `ip` in the namespace of a host.
pub fn ip_on(host: &Namespace, words: &str) -> Result<()> {
    ip(&format!("-n {} {words}", host.name()))
}
