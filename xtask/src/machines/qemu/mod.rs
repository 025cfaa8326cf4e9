//! `cargo xtask qemu MACHINE`: starts qemu/MACHINE.toml, with a shell on the terminal or with one command to run.
//!
//! A machine is data in qemu/MACHINE.toml: emulator, kernel, contents of the initramfs. This module builds a QEMU command line from
//! that and has no code for a particular machine.

pub mod bare;
mod console;
mod debian;
mod disk;
pub mod guest;
pub mod initramfs;
mod kernel;
pub mod linux;
pub mod tap;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::build::{self, Arch, workspace_root};
use crate::machines::nbd::Disk;
use crate::machines::port::Port;
use crate::machines::{server, toml_names};
use crate::setup;
pub use console::{watch, watch_ipxe};
pub use guest::Guest;

/// `cargo xtask qemu`
#[derive(clap::Args)]
pub struct Args {
    /// The name of a file in qemu/, without .toml
    machine: String,
    /// More arguments for the machine's kernel
    #[arg(long, default_value = "", conflicts_with = "command")]
    words: String,
    /// A shell command to run in the machine instead of a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// Starts the machine. With a command, exits with the exit code of that command.
pub fn main(args: Args) -> Result<()> {
    if args.command.is_empty() {
        return Machine::load(&args.machine)?.on_this_terminal(&args.words);
    }
    let answer = Guest::boot(&args.machine)?.run(&args.command.join(" "))?;
    std::io::stdout().write_all(&answer.text)?;
    if answer.code != 0 {
        std::process::exit(answer.code);
    }
    Ok(())
}

/// Downloads and builds everything that the machine needs, so that a later boot needs no network.
pub fn prepare(machine: &str) -> Result<()> {
    let machine = Machine::load(machine)?;
    if machine.bare {
        return setup::install_packages(machine.packages());
    }
    machine.system().map(drop)
}

/// The path of a machine's kernel, and its initramfs, for a boot without QEMU's -kernel.
pub fn system(machine: &str) -> Result<(PathBuf, Vec<u8>)> {
    Machine::load(machine)?.system()
}

/// Calls [`prepare`] for every machine in qemu/.
pub fn prepare_all() -> Result<()> {
    for name in toml_names(&workspace_root().join("qemu"))? {
        prepare(&name)?;
    }
    Ok(())
}

/// Returns the value of QEMU's -netdev that connects the network card to the TAP interface `name`.
pub fn tap(name: &str) -> String {
    format!("tap,ifname={name},script=no,downscript=no")
}

/// Debian packages that contain the emulator and the files of an initramfs.
const PACKAGES: [&str; 8] = [
    "qemu-system-x86",
    "busybox-static",
    "nfs-common",
    "e2fsprogs",
    "strace",
    "klibc-utils",
    "sqlite3",
    "nfs-kernel-server",
];

/// The contents of a machine's file, qemu/MACHINE.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    program: String,
    machine: String,
    cpu: String,
    memory_mib: u32,
    network: String,
    /// TCP ports of the machine that QEMU forwards from 127.0.0.1.
    #[serde(default)]
    forward: Vec<u16>,
    devices: Vec<String>,
    disk: Option<disk::DiskSection>,
    command_line: String,
    /// True to boot stowaway itself instead of a Linux kernel. If an initramfs is given, QEMU loads it as a module.
    #[serde(default)]
    bare: bool,
    /// The system to boot, in one of three forms. `kernel` and `initramfs`: a Debian kernel with this initramfs. `kernel` alone:
    /// stowaway is /init. `debian`: an initramfs made by Debian's mkinitramfs. All three are None for a bare machine.
    kernel: Option<KernelChoice>,
    initramfs: Option<Contents>,
    debian: Option<debian::DebianSection>,
    /// QEMU's arguments that replace `machine`, `cpu`, `memory_mib` and `devices`. See [`bare::Options::hardware`].
    #[serde(skip)]
    hardware: Option<String>,
    /// True if a reset restarts the machine. False: it ends QEMU with status 0.
    #[serde(skip)]
    may_reboot: bool,
    /// The FIFO that receives a copy of each frame of the network card.
    #[serde(skip)]
    frames: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelChoice {
    /// A Debian meta-package that depends on the newest kernel of its flavour.
    package: String,
    modules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    files: Vec<String>,
    /// Programs that `build::program` builds; installed in /usr/bin.
    #[serde(default)]
    programs: Vec<String>,
    /// Path of stowaway (x86_64) in the initramfs.
    stowaway: Option<PathBuf>,
    init: String,
}

impl Contents {
    /// The files of the initramfs: path on this host, path in the machine.
    fn files(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let same = |file: &String| (file.into(), file.into());
        let mut files: Vec<_> = self.files.iter().map(same).collect();
        for name in &self.programs {
            files.push((build::program(name)?, Path::new("/usr/bin").join(name)));
        }
        if let Some(place) = &self.stowaway {
            files.push((server::binary(Arch::X86_64)?, place.clone()));
        }
        Ok(files)
    }
}

/// A machine that is ready to start: the QEMU command, and what the host provides to the machine.
struct PreparedStart {
    command: Command,
    /// The server of the machine's disk; must be dropped only after the machine has ended.
    disk: Option<Disk>,
    /// Forwarded ports: port of the machine, port of 127.0.0.1.
    ports: Vec<(u16, Port)>,
}

impl Machine {
    fn load(name: &str) -> Result<Self> {
        let directory = workspace_root().join("qemu");
        let path = directory.join(name).with_extension("toml");
        if !path.is_file() {
            bail!(
                "unknown machine '{name}': {} contains {}",
                directory.display(),
                toml_names(&directory)?.join(", ")
            );
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{} does not describe a machine", path.display()))
    }

    /// Connects the network card to a listening Unix socket at `socket`.
    fn listen_at(&mut self, socket: &Path) {
        self.network = format!(
            "stream,id=net,server=on,addr.type=unix,addr.path={}",
            socket.display()
        );
    }

    /// Connects the network card to this backend, a value of QEMU's -netdev without an id. No ports are forwarded then.
    fn connect_to(&mut self, network: &str) {
        self.network = format!("{network},id=net");
        self.forward.clear();
    }

    /// QEMU's arguments for processor, memory and devices.
    fn hardware_arguments(&self) -> Vec<String> {
        if let Some(hardware) = &self.hardware {
            let words = hardware.split_whitespace().map(str::to_owned);
            return ["-accel", "tcg"]
                .map(str::to_owned)
                .into_iter()
                .chain(words)
                .collect();
        }
        let memory_mib = self.memory_mib.to_string();
        let mut arguments: Vec<_> = [
            "-machine",
            &self.machine,
            "-cpu",
            &self.cpu,
            "-m",
            &memory_mib,
        ]
        .map(str::to_owned)
        .into();
        for device in &self.devices {
            arguments.extend(["-device".to_owned(), device.clone()]);
        }
        arguments
    }

    /// The Debian packages that are needed to start the machine.
    const fn packages(&self) -> &'static [&'static str] {
        if self.bare {
            &["qemu-system-x86"]
        } else {
            &PACKAGES
        }
    }

    /// Returns the kernel's path and the initramfs of the machine; builds or downloads them if necessary.
    fn system(&self) -> Result<(PathBuf, Vec<u8>)> {
        setup::install_packages(self.packages())?;
        if self.bare {
            let file = build::build(Arch::X86_64)?;
            return Ok((file, Vec::new()));
        }
        match (&self.kernel, &self.initramfs, &self.debian) {
            (Some(kernel), Some(contents), None) => {
                let package = kernel::fetch(&kernel.package)?;
                let modules = package.modules(&kernel.modules)?;
                let archive = initramfs::archive(&contents.files()?, &modules, &contents.init)?;
                Ok((package.image, archive))
            }
            (Some(kernel), None, None) => {
                let package = kernel::fetch(&kernel.package)?;
                let file = fs::read(server::binary(Arch::X86_64)?)?;
                let mut archive = initramfs::of_own(&file)?;
                let modules = initramfs::of_modules(&package.modules(&kernel.modules)?)?;
                initramfs::append(&mut archive, &modules);
                Ok((package.image, archive))
            }
            (None, None, Some(debian)) => debian.build(),
            _ => bail!(
                "the machine's file must have either [kernel], optionally with [initramfs], or [debian]"
            ),
        }
    }

    /// Writes the initramfs, starts the disk's server and returns the QEMU command.
    fn start(&self, directory: &Path, more_boot_words: &str) -> Result<PreparedStart> {
        let (kernel, archive) = self.system()?;
        let words = format!("{} {more_boot_words}", self.command_line);
        self.start_with(directory, &kernel, &archive, &words)
    }

    /// As [`Self::start`], with another kernel, initramfs and kernel arguments.
    fn start_with(
        &self,
        directory: &Path,
        kernel: &Path,
        archive: &[u8],
        words: &str,
    ) -> Result<PreparedStart> {
        setup::install_packages(self.packages())?;
        let initramfs = directory.join("initramfs.cpio");
        fs::write(&initramfs, archive)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;

        let mut command = Command::new(&self.program);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        if !self.may_reboot {
            command.arg("-no-reboot");
        }
        command.arg("-kernel").arg(kernel);
        if !archive.is_empty() {
            command.arg("-initrd").arg(&initramfs);
        }
        command.args(["-append", words]);
        let mut network = self.network.clone();
        let mut ports = Vec::new();
        for &port in &self.forward {
            let host_port = Port::reserve()?;
            network += &format!(",hostfwd=tcp:127.0.0.1:{}-:{port}", host_port.number());
            ports.push((port, host_port));
        }
        command.args(["-netdev", &network]);
        if let Some(fifo) = &self.frames {
            let dump = format!("filter-dump,id=tap,netdev=net,file={}", fifo.display());
            command.args(["-object", &dump]);
        }
        let disk = self
            .disk
            .as_ref()
            .map(disk::DiskSection::create)
            .transpose()?;
        if let Some(disk) = &disk {
            let socket = disk.socket();
            command.arg("-blockdev").arg(format!(
                "driver=nbd,node-name=disk,server.type=unix,server.path={},cache.direct=on",
                socket.display()
            ));
        }
        command.args(self.hardware_arguments());
        Ok(PreparedStart {
            command,
            disk,
            ports,
        })
    }

    fn on_this_terminal(&self, more_boot_words: &str) -> Result<()> {
        let directory =
            tempfile::tempdir().context("cannot create a directory for the initramfs")?;
        let mut start = self.start(directory.path(), more_boot_words)?;
        for (port, host_port) in &start.ports {
            println!(
                "port {port} of the machine is port {} of 127.0.0.1",
                host_port.number()
            );
        }
        // Ctrl-A X ends QEMU; Ctrl-C is sent to the machine.
        start.command.args(["-serial", "mon:stdio"]);
        let status = start
            .command
            .status()
            .with_context(|| format!("cannot start {}", self.program))?;
        if !status.success() {
            bail!("{} ended with {status}", self.program);
        }
        Ok(())
    }
}

/// The directory target/qemu/`name`, kept until target/ is cleaned. If it is missing, `make` builds it in a temporary directory;
/// the rename makes it appear complete or not at all.
fn cached_directory(
    name: &str,
    waiting: &str,
    make: impl FnOnce(&Path) -> Result<PathBuf>,
) -> Result<PathBuf> {
    let all = workspace_root().join("target/qemu");
    let home = all.join(name);
    if !home.exists() {
        let _waiting = setup::progress(waiting);
        fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
        let work = tempfile::tempdir_in(&all)
            .with_context(|| format!("cannot create a directory in {}", all.display()))?;
        let moved = fs::rename(make(work.path())?, &home);
        // If another process has created the directory meanwhile, that one is used.
        if !home.exists() {
            moved.with_context(|| format!("cannot create {}", home.display()))?;
        }
    }
    Ok(home)
}

/// Unpacks all Debian packages in `debs` to `tree`.
fn unpack(debs: &Path, tree: &Path) -> Result<()> {
    for entry in fs::read_dir(debs)? {
        let deb = entry?.path();
        if deb.extension().is_some_and(|it| it == "deb") {
            setup::run_captured(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(tree))?;
        }
    }
    Ok(())
}
