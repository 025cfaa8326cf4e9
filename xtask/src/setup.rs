//! What this machine must have: programs and files from Debian packages, and a sign of life while one waits.
//!
//! What is missing is installed when we are root and asked for otherwise. Nothing is ever skipped silently.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;

use crate::build::workspace_root;

/// A Debian package, and how to see that it is there.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    name: &'static str,
    proof: Proof,
}

#[derive(Clone, Copy, Debug)]
enum Proof {
    Program(&'static str),
    File(&'static str),
}

impl Package {
    /// `nfs-ls`, `nfs-cat`, `nfs-cp`.
    pub const LIBNFS: Self = Self::program("libnfs-utils", "nfs-ls");
    /// `showmount`.
    pub const NFS_COMMON: Self = Self::program("nfs-common", "showmount");
    /// `rpcinfo`.
    pub const RPCBIND: Self = Self::program("rpcbind", "rpcinfo");
    /// The server that we are measured against.
    pub const GANESHA: Self = Self::program("nfs-ganesha", "ganesha.nfsd");
    /// Its back end for ordinary directories.
    pub const GANESHA_VFS: Self = Self::file(
        "nfs-ganesha-vfs",
        "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so",
    );
    /// OpenSSH's SFTP server, which ours is measured against.
    pub const SFTP_SERVER: Self = Self::file("openssh-sftp-server", "/usr/lib/openssh/sftp-server");
    /// Time zones.
    pub const TZDATA: Self = Self::file("tzdata", "/usr/share/zoneinfo/Europe/Berlin");
    /// `qemu-system-x86_64`.
    pub const QEMU: Self = Self::program("qemu-system-x86", "qemu-system-x86_64");
    /// A shell that needs no library, for guests.
    pub const BUSYBOX: Self = Self::program("busybox-static", "busybox");
    /// Looks into running programs.
    pub const GDB: Self = Self::program("gdb", "gdb");
    /// Tells where time goes.
    pub const PERF: Self = Self::program("linux-perf", "perf");
    /// `addr2line`.
    pub const BINUTILS: Self = Self::program("binutils", "addr2line");
    /// System calls, one per line.
    pub const STRACE: Self = Self::program("strace", "strace");
    /// `ip`.
    pub const IPROUTE2: Self = Self::program("iproute2", "ip");
    /// `ethtool`.
    pub const ETHTOOL: Self = Self::program("ethtool", "ethtool");
    /// `mount`.
    pub const MOUNT: Self = Self::program("mount", "mount");
    /// `nfsmount`, as it is in initial RAM disks.
    pub const KLIBC_UTILS: Self = Self::file("klibc-utils", "/usr/lib/klibc/bin/nfsmount");
    /// `mkfs.ext4`, `chattr`.
    pub const E2FSPROGS: Self = Self::program("e2fsprogs", "mkfs.ext4");
    /// `mkfs.xfs`.
    pub const XFSPROGS: Self = Self::program("xfsprogs", "mkfs.xfs");
    /// `mkfs.btrfs`, `btrfs`.
    pub const BTRFS_PROGS: Self = Self::program("btrfs-progs", "mkfs.btrfs");
    /// `ssh`, `sftp`, `scp`, `ssh-keygen`.
    pub const OPENSSH_CLIENT: Self = Self::program("openssh-client", "sftp");
    /// `sshd`.
    pub const OPENSSH_SERVER: Self = Self::program("openssh-server", "sshd");
    /// `dropbear`, `dropbearconvert`.
    pub const DROPBEAR: Self = Self::program("dropbear-bin", "dropbear");
    /// `sshfs`.
    pub const SSHFS: Self = Self::program("sshfs", "sshfs");
    /// `rclone`.
    pub const RCLONE: Self = Self::program("rclone", "rclone");
    /// `lftp`.
    pub const LFTP: Self = Self::program("lftp", "lftp");
    /// Makes ISO images.
    pub const XORRISO: Self = Self::program("xorriso", "xorriso");
    /// Makes others, and lists them.
    pub const GENISOIMAGE: Self = Self::program("genisoimage", "isoinfo");
    /// `mksquashfs`.
    pub const SQUASHFS_TOOLS: Self = Self::program("squashfs-tools", "mksquashfs");
    /// The multicast DNS that most have.
    pub const AVAHI: Self = Self::program("avahi-daemon", "avahi-daemon");
    /// `avahi-browse`, `avahi-resolve`.
    pub const AVAHI_UTILS: Self = Self::program("avahi-utils", "avahi-browse");
    /// What it is talked to by.
    pub const DBUS: Self = Self::program("dbus-daemon", "dbus-daemon");
    /// A server of DHCP, and a router's announcements.
    pub const DNSMASQ: Self = Self::program("dnsmasq-base", "dnsmasq");
    /// A server of DHCP whose leases may be as short as one likes.
    pub const UDHCPD: Self = Self::program("udhcpd", "udhcpd");
    /// A network of frames on a socket file.
    pub const PASST: Self = Self::program("passt", "passt");
    /// Python.
    pub const PYTHON: Self = Self::file("python3", "/usr/bin/python3");
    /// Kubernetes' types, and YAML.
    pub const PYTHON_KUBERNETES: Self = Self::file(
        "python3-kubernetes",
        "/usr/lib/python3/dist-packages/kubernetes",
    );
    /// Python's installer.
    pub const PIP: Self = Self::file("python3-pip", "/usr/lib/python3/dist-packages/pip");
    /// Runs containers.
    pub const PODMAN: Self = Self::program("podman", "podman");
    /// What podman starts them by.
    pub const RUNC: Self = Self::program("runc", "runc");
    /// Looks at images, copies them.
    pub const SKOPEO: Self = Self::program("skopeo", "skopeo");
    /// Unpacks OCI images.
    pub const UMOCI: Self = Self::program("umoci", "umoci");
    /// `systemd-analyze`.
    pub const SYSTEMD: Self = Self::program("systemd", "systemd-analyze");
    /// What programs need that call libnfs.
    pub const LIBNFS_DEV: Self = Self::file("libnfs-dev", "/usr/include/nfsc/libnfs.h");
    /// Runs programs of other processors.
    pub const QEMU_USER: Self = Self::program("qemu-user-static", "qemu-arm-static");
    /// A compiler for C++, which libFuzzer is written in.
    pub const CXX: Self = Self::program("g++", "c++");
    /// `cc -m32` with a C library: what the unit tests link with as i686.
    pub const GCC_MULTILIB: Self = Self::file("gcc-multilib", "/usr/include/asm");

    /// All of them.
    pub const ALL: [Self; 46] = [
        Self::LIBNFS,
        Self::NFS_COMMON,
        Self::RPCBIND,
        Self::GANESHA,
        Self::GANESHA_VFS,
        Self::SFTP_SERVER,
        Self::QEMU,
        Self::BUSYBOX,
        Self::GDB,
        Self::PERF,
        Self::BINUTILS,
        Self::STRACE,
        Self::IPROUTE2,
        Self::ETHTOOL,
        Self::MOUNT,
        Self::KLIBC_UTILS,
        Self::E2FSPROGS,
        Self::XFSPROGS,
        Self::BTRFS_PROGS,
        Self::OPENSSH_CLIENT,
        Self::OPENSSH_SERVER,
        Self::DROPBEAR,
        Self::SSHFS,
        Self::RCLONE,
        Self::LFTP,
        Self::XORRISO,
        Self::GENISOIMAGE,
        Self::SQUASHFS_TOOLS,
        Self::AVAHI,
        Self::AVAHI_UTILS,
        Self::DBUS,
        Self::DNSMASQ,
        Self::UDHCPD,
        Self::PASST,
        Self::PYTHON,
        Self::PYTHON_KUBERNETES,
        Self::PIP,
        Self::PODMAN,
        Self::RUNC,
        Self::SKOPEO,
        Self::UMOCI,
        Self::SYSTEMD,
        Self::LIBNFS_DEV,
        Self::QEMU_USER,
        Self::CXX,
        Self::GCC_MULTILIB,
    ];

    /// A package that is there when `program` is on the path, or in an sbin directory.
    pub const fn program(name: &'static str, program: &'static str) -> Self {
        Self {
            name,
            proof: Proof::Program(program),
        }
    }

    /// A package that is there when `file` exists.
    pub const fn file(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            proof: Proof::File(file),
        }
    }

    fn is_there(&self) -> bool {
        match self.proof {
            Proof::Program(program) => {
                which::which(program).is_ok()
                    || ["/usr/sbin", "/sbin"]
                        .iter()
                        .any(|dir| Path::new(dir).join(program).exists())
            }
            Proof::File(file) => Path::new(file).exists(),
        }
    }
}

/// Sees to it that every one of `packages` is there: installs them as root, else says what to type.
pub fn need(packages: &[Package]) -> Result<()> {
    // apt-get waits for nobody.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let names = to_install(
        packages,
        nix::unistd::geteuid().is_root(),
        which::which("apt-get").is_ok(),
    )?;
    if names.is_empty() {
        return Ok(());
    }
    let _waiting = progress(&format!("installing {}", names.join(" ")));
    let _quiet = NoServices::new()?;
    // A machine that never asked its mirror knows no package.
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &*names].concat())?;
    match packages.iter().find(|package| !package.is_there()) {
        Some(package) => bail!(
            "{} is installed, yet {:?} is not there",
            package.name,
            package.proof
        ),
        None => Ok(()),
    }
}

/// The packages that are missing, when we may install them; else the error is what the user can do.
fn to_install(packages: &[Package], is_root: bool, has_apt: bool) -> Result<Vec<&'static str>> {
    let missing = packages.iter().filter(|package| !package.is_there());
    let names: Vec<&str> = missing.map(|package| package.name).collect();
    let list = names.join(" ");
    if names.is_empty() || (is_root && has_apt) {
        Ok(names)
    } else if has_apt {
        bail!("missing: {list}. Type: sudo apt-get install --no-install-recommends {list}")
    } else {
        bail!(
            "missing: {list} (Debian's names), and there is no apt-get: install it with this system's tool"
        )
    }
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "Acquire::Retries=3"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    quietly(&mut command)?;
    Ok(())
}

/// Runs a program to its end and returns what it printed; when it fails, the error is what it said.
pub fn quietly(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{command:?} failed ({}):\n{}",
            output.status,
            said.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A package of Python's, in a directory of its own below target/.
#[derive(Clone, Copy, Debug)]
pub struct PythonPackage {
    name: &'static str,
    version: &'static str,
}

impl PythonPackage {
    /// Debian's interpreter, which every user can start.
    pub const PYTHON: &str = "/usr/bin/python3";

    /// SSH and SFTP.
    pub const PARAMIKO: Self = Self {
        name: "paramiko",
        version: "4.0.0",
    };
    /// Multicast DNS.
    pub const ZEROCONF: Self = Self {
        name: "zeroconf",
        version: "0.148.0",
    };

    /// All of them.
    pub const ALL: [Self; 2] = [Self::PARAMIKO, Self::ZEROCONF];

    /// The directory to name in PYTHONPATH; pip fills it when it is not there yet.
    pub fn path(self) -> Result<PathBuf> {
        let target = workspace_root().join("target");
        let path = target.join(format!("{}-{}", self.name, self.version));
        if path.exists() {
            return Ok(path);
        }
        need(&[Package::PYTHON, Package::PIP])?;
        let _waiting = progress(&format!("installing {}", self.name));
        // Beside it first: what is there is whole.
        let fresh = tempfile::tempdir_in(target)?;
        quietly(
            Command::new(Self::PYTHON)
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(fresh.path())
                .arg(format!("{}=={}", self.name, self.version)),
        )?;
        fs::rename(fresh.keep(), &path)?;
        Ok(path)
    }
}

/// apt-get with package lists of its own: it works for every user and leaves the machine as it was.
pub struct PrivateApt {
    options: Vec<String>,
}

impl PrivateApt {
    /// Keeps its lists in `dir` and fetches them again.
    pub fn new(dir: &Path) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let options = [
            format!("-oDir::State={}/state", dir.display()),
            format!("-oDir::Cache={}/cache", dir.display()),
            // Root's apt would fetch as a user who cannot enter a home directory.
            "-oAPT::Sandbox::User=root".to_owned(),
            "-oAcquire::Retries=3".to_owned(),
        ];
        let apt = Self {
            options: options.into(),
        };
        // One broken source among several is not our business; if it was ours, the download will say so.
        if let Err(why) = quietly(apt.command("apt-get").arg("update")) {
            eprintln!("{why:#}");
        }
        Ok(apt)
    }

    /// Downloads the .deb files of `packages` into a directory.
    pub fn download(&self, packages: &[&str], into: &Path) -> Result<()> {
        quietly(
            self.command("apt-get")
                .current_dir(into)
                .arg("download")
                .args(packages),
        )?;
        Ok(())
    }

    /// Downloads the .deb files of `packages` and of all that they depend on, as for a machine that has nothing.
    pub fn download_all(&self, packages: &[&str], into: &Path) -> Result<()> {
        let mut apt = self.command("apt-get");
        apt.arg(format!("-oDir::Cache::archives={}", into.display()))
            .arg("-oDir::State::status=/dev/null")
            .args(["-q", "--yes", "--no-install-recommends", "--download-only"])
            .arg("install")
            .args(packages);
        fs::create_dir_all(into.join("partial"))
            .with_context(|| format!("cannot make {}", into.display()))?;
        quietly(&mut apt)?;
        Ok(())
    }

    /// The package with a name like `prefix…` that `package` depends on.
    pub fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let list = quietly(
            self.command("apt-cache")
                .args(["depends", "--important", package]),
        )?;
        list.lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .with_context(|| format!("Debian's {package} depends on no {prefix}…"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// Keeps packages from starting their services while they are installed: rpcbind would take port 111 from us.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn new() -> Result<Self> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY);
        match file {
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n")
                    .with_context(|| format!("cannot write {POLICY}"))?;
                Ok(Self { ours: true })
            }
            // Somebody else's policy stands.
            Err(_) => Ok(Self { ours: false }),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// A sign of life on stderr: a spinner on a terminal, one line elsewhere. Goes away when dropped.
pub struct Progress {
    bar: ProgressBar,
}

/// Says that `message` is being done.
pub fn progress(message: &str) -> Progress {
    if !std::io::stderr().is_terminal() {
        eprintln!("{message} …");
    }
    let bar = ProgressBar::new_spinner().with_message(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    Progress { bar }
}

impl Progress {
    /// Shows another message, on a terminal only.
    pub fn say(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// Prints a line that stays.
    pub fn println(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Ends it; dropping does the same.
    pub fn done(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Package = Package::program("dash", "sh");
    const MISSING: Package = Package::program("no-such-package", "no-such-program");
    const NO_FILE: Package = Package::file("no-such-file", "/no/such/file");

    #[test]
    fn what_is_there_is_not_installed() -> Result<()> {
        assert_eq!(to_install(&[HERE], false, false)?, [""; 0]);
        let names = to_install(&[HERE, MISSING, NO_FILE], true, true)?;
        assert_eq!(names, ["no-such-package", "no-such-file"]);
        Ok(())
    }

    #[test]
    fn who_may_not_install_is_told_what_to_type() {
        let told = to_install(&[HERE, MISSING], false, true)
            .unwrap_err()
            .to_string();
        assert!(
            told.ends_with("apt-get install --no-install-recommends no-such-package"),
            "{told}"
        );
        let told = to_install(&[MISSING], true, false).unwrap_err().to_string();
        assert!(told.contains("no-such-package"), "{told}");
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let mut failing = Command::new("sh");
        let why = quietly(failing.args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(why.to_string().contains("no luck"), "{why}");
    }
}
