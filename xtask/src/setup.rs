//! The Debian and Python packages that xtask needs on this machine, and the progress spinner.
//!
//! As root, missing packages are installed by apt-get; other users get an error with the command to run. Nothing is ever skipped
//! silently.

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

/// A Debian package, and the program or file that proves that the package is installed.
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
    /// Provides `nfs-ls`, `nfs-cat`, `nfs-cp`.
    pub const LIBNFS: Self = Self::program("libnfs-utils", "nfs-ls");
    /// Provides `showmount`.
    pub const NFS_COMMON: Self = Self::program("nfs-common", "showmount");
    /// Provides `rpcinfo`.
    pub const RPCBIND: Self = Self::program("rpcbind", "rpcinfo");
    /// NFS server; the benchmarks compare stowaway with it.
    pub const GANESHA: Self = Self::program("nfs-ganesha", "ganesha.nfsd");
    /// nfs-ganesha's back end for ordinary directories (FSAL_VFS).
    pub const GANESHA_VFS: Self = Self::file(
        "nfs-ganesha-vfs",
        "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so",
    );
    /// OpenSSH's SFTP server; the benchmarks compare stowaway with it.
    pub const SFTP_SERVER: Self = Self::file("openssh-sftp-server", "/usr/lib/openssh/sftp-server");
    /// Time zone database.
    pub const TZDATA: Self = Self::file("tzdata", "/usr/share/zoneinfo/Europe/Berlin");
    /// Provides `qemu-system-x86_64`.
    pub const QEMU: Self = Self::program("qemu-system-x86", "qemu-system-x86_64");
    /// Statically linked shell and tools for virtual machines.
    pub const BUSYBOX: Self = Self::program("busybox-static", "busybox");
    /// The debugger GDB.
    pub const GDB: Self = Self::program("gdb", "gdb");
    /// The profiler perf.
    pub const PERF: Self = Self::program("linux-perf", "perf");
    /// Provides `addr2line`.
    pub const BINUTILS: Self = Self::program("binutils", "addr2line");
    /// Provides `strace`, which prints the system calls of a process.
    pub const STRACE: Self = Self::program("strace", "strace");
    /// Provides `ip`.
    pub const IPROUTE2: Self = Self::program("iproute2", "ip");
    /// Provides `mandoc`, which checks man pages.
    pub const MANDOC: Self = Self::program("mandoc", "mandoc");
    /// Provides `ethtool`.
    pub const ETHTOOL: Self = Self::program("ethtool", "ethtool");
    /// Provides `mount`.
    pub const MOUNT: Self = Self::program("mount", "mount");
    /// Provides `nfsmount`, the NFS mount program of Debian's initramfs.
    pub const KLIBC_UTILS: Self = Self::file("klibc-utils", "/usr/lib/klibc/bin/nfsmount");
    /// Provides `mkfs.ext4`, `chattr`.
    pub const E2FSPROGS: Self = Self::program("e2fsprogs", "mkfs.ext4");
    /// Provides `mkfs.xfs`.
    pub const XFSPROGS: Self = Self::program("xfsprogs", "mkfs.xfs");
    /// Provides `mkfs.btrfs`, `btrfs`.
    pub const BTRFS_PROGS: Self = Self::program("btrfs-progs", "mkfs.btrfs");
    /// Provides `ssh`, `sftp`, `scp`, `ssh-keygen`.
    pub const OPENSSH_CLIENT: Self = Self::program("openssh-client", "sftp");
    /// Provides `sshd`.
    pub const OPENSSH_SERVER: Self = Self::program("openssh-server", "sshd");
    /// Provides `dropbear`, `dropbearconvert`.
    pub const DROPBEAR: Self = Self::program("dropbear-bin", "dropbear");
    /// Provides `sshfs`.
    pub const SSHFS: Self = Self::program("sshfs", "sshfs");
    /// Provides `rclone`.
    pub const RCLONE: Self = Self::program("rclone", "rclone");
    /// Provides `lftp`.
    pub const LFTP: Self = Self::program("lftp", "lftp");
    /// Provides `xorriso`, which makes ISO images.
    pub const XORRISO: Self = Self::program("xorriso", "xorriso");
    /// Provides `genisoimage` and `isoinfo`, which make and list ISO images.
    pub const GENISOIMAGE: Self = Self::program("genisoimage", "isoinfo");
    /// Provides `mksquashfs`.
    pub const SQUASHFS_TOOLS: Self = Self::program("squashfs-tools", "mksquashfs");
    /// The multicast DNS responder of most Linux distributions.
    pub const AVAHI: Self = Self::program("avahi-daemon", "avahi-daemon");
    /// Provides `avahi-browse`, `avahi-resolve`.
    pub const AVAHI_UTILS: Self = Self::program("avahi-utils", "avahi-browse");
    /// The bus by which `avahi-browse` and the other tools talk to avahi-daemon.
    pub const DBUS: Self = Self::program("dbus-daemon", "dbus-daemon");
    /// DHCP server; also sends IPv6 router advertisements.
    pub const DNSMASQ: Self = Self::program("dnsmasq-base", "dnsmasq");
    /// DHCP server without a minimum lease time.
    pub const UDHCPD: Self = Self::program("udhcpd", "udhcpd");
    /// ISC's DHCP server.
    pub const DHCPD: Self = Self::program("isc-dhcp-server", "dhcpd");
    /// A daemon that sends router advertisements.
    pub const RADVD: Self = Self::program("radvd", "radvd");
    /// User-mode network stack that exchanges Ethernet frames over a Unix socket.
    pub const PASST: Self = Self::program("passt", "passt");
    /// Python 3.
    pub const PYTHON: Self = Self::file("python3", "/usr/bin/python3");
    /// Python module with the Kubernetes API types; depends on the YAML module.
    pub const PYTHON_KUBERNETES: Self = Self::file(
        "python3-kubernetes",
        "/usr/lib/python3/dist-packages/kubernetes",
    );
    /// Provides pip, which installs Python packages.
    pub const PIP: Self = Self::file("python3-pip", "/usr/lib/python3/dist-packages/pip");
    /// Provides `podman`, which runs containers.
    pub const PODMAN: Self = Self::program("podman", "podman");
    /// The OCI runtime that podman starts containers with.
    pub const RUNC: Self = Self::program("runc", "runc");
    /// Provides `skopeo`, which inspects and copies container images.
    pub const SKOPEO: Self = Self::program("skopeo", "skopeo");
    /// Provides `umoci`, which unpacks OCI images.
    pub const UMOCI: Self = Self::program("umoci", "umoci");
    /// Provides `systemd-analyze`.
    pub const SYSTEMD: Self = Self::program("systemd", "systemd-analyze");
    /// Header and library to compile programs against libnfs.
    pub const LIBNFS_DEV: Self = Self::file("libnfs-dev", "/usr/include/nfsc/libnfs.h");
    /// Provides QEMU's user emulation, which runs programs of other processor architectures.
    pub const QEMU_USER: Self = Self::program("qemu-user-static", "qemu-arm-static");
    /// C++ compiler, to build libFuzzer.
    pub const CXX: Self = Self::program("g++", "c++");
    /// Provides `cc -m32` and a 32-bit C library, to link the i686 unit tests.
    pub const GCC_MULTILIB: Self = Self::file("gcc-multilib", "/usr/include/asm");

    /// Packages that `cargo xtask test` installs before the tests.
    pub const ALL: [Self; 50] = [
        Self::TZDATA,
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
        Self::MANDOC,
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
        Self::DHCPD,
        Self::RADVD,
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

    /// Describes a package that counts as installed if `program` is on PATH or in an sbin directory.
    pub const fn program(name: &'static str, program: &'static str) -> Self {
        Self {
            name,
            proof: Proof::Program(program),
        }
    }

    /// Describes a package that counts as installed if `file` exists.
    pub const fn file(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            proof: Proof::File(file),
        }
    }

    fn is_installed(&self) -> bool {
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

/// Installs the missing ones of `packages` as root. Other users get an error with the command to run.
pub fn install_packages(packages: &[Package]) -> Result<()> {
    // apt-get fails instead of waiting if another apt-get holds its lock.
    static APT: Mutex<()> = Mutex::new(());
    let _guard = APT.lock().unwrap_or_else(PoisonError::into_inner);
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
    // apt-get install finds no package if the machine has no package lists, as in a fresh container image.
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &*names].concat())?;
    match packages.iter().find(|package| !package.is_installed()) {
        Some(package) => bail!(
            "package {} was installed, but {:?} is missing",
            package.name,
            package.proof
        ),
        None => Ok(()),
    }
}

/// Returns the names of the missing packages. If some are missing and this user cannot install packages, the error says what to do.
fn to_install(packages: &[Package], is_root: bool, has_apt: bool) -> Result<Vec<&'static str>> {
    let missing = packages.iter().filter(|package| !package.is_installed());
    let names: Vec<&str> = missing.map(|package| package.name).collect();
    let list = names.join(" ");
    if names.is_empty() || (is_root && has_apt) {
        Ok(names)
    } else if has_apt {
        bail!("missing packages: {list}. Run: sudo apt-get install --no-install-recommends {list}")
    } else {
        bail!(
            "missing packages: {list} (Debian's names); no apt-get found: use this system's package manager"
        )
    }
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "Acquire::Retries=3"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run_captured(&mut command)?;
    Ok(())
}

/// Runs a program and returns its stdout. If the program fails, the error contains its stderr.
pub fn run_captured(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{command:?} failed ({}):\n{}",
            output.status,
            stderr.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A package from PyPI, installed into its own directory under target/.
#[derive(Clone, Copy, Debug)]
pub struct PythonPackage {
    name: &'static str,
    version: &'static str,
}

impl PythonPackage {
    /// Debian's interpreter, which every user may execute.
    pub const PYTHON: &str = "/usr/bin/python3";

    /// paramiko, an SSH and SFTP client.
    pub const PARAMIKO: Self = Self {
        name: "paramiko",
        version: "4.0.0",
    };
    /// zeroconf, a multicast DNS responder and browser.
    pub const ZEROCONF: Self = Self {
        name: "zeroconf",
        version: "0.148.0",
    };

    /// Every package.
    pub const ALL: [Self; 2] = [Self::PARAMIKO, Self::ZEROCONF];

    /// Returns the directory for PYTHONPATH; on first use, pip installs the package there.
    pub fn path(self) -> Result<PathBuf> {
        let target = workspace_root().join("target");
        let path = target.join(format!("{}-{}", self.name, self.version));
        if path.exists() {
            return Ok(path);
        }
        install_packages(&[Package::PYTHON, Package::PIP])?;
        let _waiting = progress(&format!("installing {}", self.name));
        // pip installs into a temporary directory, which is then renamed, so that an interrupted install leaves no partial
        // directory at `path`.
        let fresh = tempfile::tempdir_in(target)?;
        run_captured(
            Command::new(Self::PYTHON)
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(fresh.path())
                .arg(format!("{}=={}", self.name, self.version)),
        )?;
        fs::rename(fresh.keep(), &path)?;
        Ok(path)
    }
}

/// apt-get with private package lists: works without root and does not change the system's apt state.
pub struct PrivateApt {
    options: Vec<String>,
}

impl PrivateApt {
    /// Keeps the package lists in `dir` and updates them.
    pub fn new(dir: &Path) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let options = [
            format!("-oDir::State={}/state", dir.display()),
            format!("-oDir::Cache={}/cache", dir.display()),
            // As root, apt downloads as the user _apt, which has no access to a home directory.
            "-oAPT::Sandbox::User=root".to_owned(),
            "-oAcquire::Retries=3".to_owned(),
        ];
        let apt = Self {
            options: options.into(),
        };
        // An error is not fatal, because the update of a repository that we do not need may have failed. If the update of ours
        // failed, the download fails later.
        if let Err(why) = run_captured(apt.command("apt-get").arg("update")) {
            eprintln!("{why:#}");
        }
        Ok(apt)
    }

    /// Downloads the .deb files of `packages` into a directory.
    pub fn download(&self, packages: &[&str], into: &Path) -> Result<()> {
        run_captured(
            self.command("apt-get")
                .current_dir(into)
                .arg("download")
                .args(packages),
        )?;
        Ok(())
    }

    /// Downloads the .deb files of `packages` and of all their dependencies, as if no package were installed.
    pub fn download_all(&self, packages: &[&str], into: &Path) -> Result<()> {
        let mut apt = self.command("apt-get");
        apt.arg(format!("-oDir::Cache::archives={}", into.display()))
            .arg("-oDir::State::status=/dev/null")
            .args(["-q", "--yes", "--no-install-recommends", "--download-only"])
            .arg("install")
            .args(packages);
        fs::create_dir_all(into.join("partial"))
            .with_context(|| format!("cannot make {}", into.display()))?;
        run_captured(&mut apt)?;
        Ok(())
    }

    /// The first dependency of `package` whose name starts with `prefix`.
    pub fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let list =
            run_captured(
                self.command("apt-cache")
                    .args(["depends", "--important", package]),
            )?;
        list.lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .with_context(|| {
                format!("Debian's package {package} has no dependency named {prefix}…")
            })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// While this exists, installed packages do not start their services: rpcbind would occupy port 111, which tests need.
struct NoServices {
    /// True if we created the policy file and have to remove it.
    is_ours: bool,
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
                Ok(Self { is_ours: true })
            }
            // The machine already has a policy file, which is kept.
            Err(_) => Ok(Self { is_ours: false }),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Progress display on stderr: a spinner on a terminal, otherwise one line. Dropping it clears the spinner.
pub struct Progress {
    bar: ProgressBar,
}

/// Starts a progress display with `message`.
pub fn progress(message: &str) -> Progress {
    if !std::io::stderr().is_terminal() {
        eprintln!("{message} …");
    }
    let bar = ProgressBar::new_spinner().with_message(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    Progress { bar }
}

impl Progress {
    /// Replaces the spinner's message. Prints nothing if stderr is not a terminal.
    pub fn set_message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// Prints a permanent line above the spinner.
    pub fn println(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Clears the display, as dropping it does.
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

    const INSTALLED: Package = Package::program("dash", "sh");
    const MISSING: Package = Package::program("no-such-package", "no-such-program");
    const NO_FILE: Package = Package::file("no-such-file", "/no/such/file");

    #[test]
    fn installed_packages_are_not_installed_again() -> Result<()> {
        assert_eq!(to_install(&[INSTALLED], false, false)?, [""; 0]);
        let names = to_install(&[INSTALLED, MISSING, NO_FILE], true, true)?;
        assert_eq!(names, ["no-such-package", "no-such-file"]);
        Ok(())
    }

    #[test]
    fn without_root_error_names_the_command() {
        let error = to_install(&[INSTALLED, MISSING], false, true)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("apt-get install --no-install-recommends no-such-package"),
            "{error}"
        );
        let error = to_install(&[MISSING], true, false).unwrap_err().to_string();
        assert!(error.contains("no-such-package"), "{error}");
    }

    #[test]
    fn failed_program_error_contains_stderr() {
        let mut failing = Command::new("sh");
        let why = run_captured(failing.args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(why.to_string().contains("no luck"), "{why}");
    }
}
