//! A host that has no address, with a stack of ours on it, and another host at the other end of its cable.

use crate::mdns::world::Running;
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
use xtask::setup::{self, Package};
use xtask::testing::pattern;

/// How long anything may take on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The socket file's name.
const SOCKET: &str = "socket";
/// How long a frame takes on a cable that can have faults.
const LATENCY: Duration = Duration::from_millis(1);
/// Bytes of the file that is served.
const FILE_BYTES: usize = 20 << 20;

/// What carries the frames of our stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// The interface at the end of the cable.
    Packet,
    /// A TAP interface that a bridge joins to it.
    Tap,
    /// A socket file in the directory of the test.
    Stream,
    /// A socket file at the end of a cable that can have faults.
    Cable,
}

/// Two hosts, and what ours serves.
pub struct World {
    pub link: Link,
    pub ours: Namespace,
    /// It has 192.0.2.2, fd00::2 and, of the addresses that nobody takes by itself, 169.254.0.2.
    pub theirs: Namespace,
    /// What is served is in its directory `files`.
    pub place: TempDir,
    /// That of `Link::Cable`.
    cable: Option<Cable>,
}

/// Runs `script` on a host.
pub fn shell(host: &Namespace, script: &str) -> Result<String> {
    setup::quietly(host.command("sh").args(["-ec", script]))
}

/// The file with all that ours can be.
pub fn file() -> Result<PathBuf> {
    build::build(Arch::X86_64)
}

impl World {
    pub fn new(link: Link) -> Result<Self> {
        setup::need(&[
            Package::IPROUTE2,
            Package::LIBNFS,
            Package::AVAHI,
            Package::AVAHI_UTILS,
            Package::DBUS,
        ])?;
        let place = public_dir()?;
        let (ours, theirs, cable) = match link {
            Link::Cable => {
                let (ours, theirs) = (Namespace::new()?, Namespace::new()?);
                let socket = place.path().join(SOCKET);
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
        let files = place.path().join("files");
        fs::create_dir(&files)?;
        fs::write(files.join("first"), pattern(1, 0, FILE_BYTES))?;
        let world = Self {
            link,
            ours,
            theirs,
            place,
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

    /// From now on, of a thousand frames so many are lost, delayed, repeated, damaged: each.
    pub fn set_faults(&self, per_mille: usize) -> Result<()> {
        let cable = self.cable.as_ref().context("no cable of this kind")?;
        cable.set_faults(per_mille);
        Ok(())
    }

    /// Joins the TAP interface to the bridge.
    pub fn plug_tap(&self) -> Result<()> {
        shell(&self.ours, "ip link set tap0 master br0 up").map(drop)
    }

    /// As `--net` names what carries the frames.
    pub fn net(&self) -> String {
        match self.link {
            Link::Packet => "packet:eth0".into(),
            Link::Tap => "tap:tap0".into(),
            Link::Stream | Link::Cable => format!("stream:{}", self.socket().display()),
        }
    }

    /// The socket file.
    pub fn socket(&self) -> PathBuf {
        self.place.path().join(SOCKET)
    }

    /// The directory that is served.
    pub fn files(&self) -> PathBuf {
        self.place.path().join("files")
    }

    /// Starts a role of ours over its own stack, which is called `box`.
    pub fn start(&self, role: &str, words: &[&str]) -> Result<Running> {
        let mut command = self.ours.command(&file()?.to_string_lossy());
        command.args([role, "--net", &self.net(), "--name", "box"]);
        command.args(words);
        Running::logging(command)
    }

    /// The same for all that is served of the directory.
    pub fn serve(&self, words: &[&str]) -> Result<Running> {
        let export = format!("{}:rw,no_root_squash", self.files().display());
        let first = ["--handles", "path", "--export", &export];
        self.start("serve", &[&first[..], words].concat())
    }

    /// NFS alone, at 192.0.2.1.
    pub fn start_nfs(&self) -> Result<Running> {
        self.start_nfs_within("unlimited")
    }

    /// The same with this limit of address space in KiB, as ulimit takes it.
    pub fn start_nfs_within(&self, limit: &str) -> Result<Running> {
        let export = format!("{}:rw,no_root_squash", self.files().display());
        let mut command = self.ours.command("sh");
        command.args(["-c", "ulimit -v $0; exec \"$@\"", limit]);
        command.arg(file()?).args(["nfs", "--net", &self.net()]);
        command.args(["--ip", "192.0.2.1/24", "--export", &export]);
        Running::logging(command)
    }

    /// libnfs reads and writes at this address, and the bytes are the same.
    pub fn use_files(&self, address: &str) -> Result<()> {
        self.use_file(address, "first")
    }

    /// The same of one file.
    pub fn use_file(&self, address: &str, name: &str) -> Result<()> {
        let files = self.files();
        let query = "version=3&nfsport=2049&mountport=2049";
        let url = |name: &str| format!("nfs://{address}{}/{name}?{query}", files.display());
        let expected = sum_of(Command::new("cat").arg(files.join(name)))?;
        let read = sum_of(self.theirs.command("nfs-cat").arg(url(name)))?;
        ensure!(read == expected, "read {read} instead of {expected}");
        let mut copy = self.theirs.command("nfs-cp");
        setup::quietly(copy.arg(files.join(name)).arg(url("second")))?;
        let written = sum_of(Command::new("cat").arg(files.join("second")))?;
        ensure!(written == expected, "wrote {written} instead of {expected}");
        fs::remove_file(files.join("second"))?;
        Ok(())
    }

    /// The host has no address but that of loopback.
    pub fn ensure_host_has_none(&self) -> Result<()> {
        let all = shell(&self.ours, "ip -o addr show")?;
        let found = all.lines().find(|line| !line.contains(": lo "));
        ensure!(found.is_none(), "{found:?}");
        Ok(())
    }

    /// Sends a frame from the other host, in hexadecimal.
    pub fn send(&self, frame: &str) -> Result<()> {
        setup::need(&[Package::PYTHON])?;
        let script = format!(
            "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0)); s.send(bytes.fromhex('{frame}'))"
        );
        setup::quietly(self.theirs.command("python3").args(["-c", &script])).map(drop)
    }
}

/// The SHA-256 of what a command prints.
pub fn sum_of(command: &mut Command) -> Result<String> {
    let mut source = command.stdout(Stdio::piped()).spawn()?;
    let pipe = source.stdout.take().context("no pipe")?;
    let sum = Command::new("sha256sum").stdin(pipe).output()?;
    ensure!(
        source.wait()?.success() && sum.status.success(),
        "{command:?} failed"
    );
    Ok(String::from_utf8(sum.stdout)?)
}

/// Waits until `look` finds something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(100));
    }
}

/// A program of others that goes on, with its output in a file, until it is dropped.
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

/// Runs `ip` on a host.
pub fn ip_on(host: &Namespace, words: &str) -> Result<()> {
    ip(&format!("-n {} {words}", host.name()))
}
