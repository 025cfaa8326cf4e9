//! `cargo xtask run`: builds stowaway and serves a directory. The server prints the mount command for each kind of client.
//!
//! Ctrl-C ends the server first, then xtask.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
#[cfg(feature = "workshop")]
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::build::{self, Arch, workspace_root};
#[cfg(feature = "workshop")]
use crate::machines::qemu::bare::{Forwarded, SFTP_PORT};
#[cfg(feature = "workshop")]
use crate::machines::{ext4, iso, qemu};

/// `cargo xtask run`
#[derive(clap::Args)]
pub struct Args {
    /// The directory to serve [default: a small sample tree]
    dir: Option<PathBuf>,
    /// The port for NFS and MOUNT [default: 2049, or any free port if 2049 is in use]
    #[arg(short = 'n', value_name = "PORT")]
    port: Option<u16>,
    /// Export read-write, with every client mapped to the directory's owner; with --vm=bare, clients can write to a RAM
    /// file system (/ram), with --vm=linux to the copy of the directory
    #[arg(long)]
    rw: bool,
    /// Boot stowaway in QEMU, without an operating system or with Linux; a disk image holds a copy of the directory
    #[arg(long, conflicts_with = "port", require_equals = true, num_args = 0..=1, default_missing_value = "bare")]
    vm: Option<Vm>,
}

/// System that stowaway runs on in the virtual machine.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Vm {
    /// No operating system
    Bare,
    /// Debian's Linux kernel
    Linux,
}

impl Args {
    /// Returns true for `--vm`, which only the program `workshop` implements.
    pub const fn is_vm(&self) -> bool {
        self.vm.is_some()
    }
}

/// The NFS port that clients use by default.
const NFS_PORT: u16 = 2049;

/// Serves until Ctrl-C or SIGTERM, or until the server exits.
pub fn main(args: Args) -> Result<()> {
    let for_image = args.is_vm();
    let dir = match args.dir {
        Some(dir) => dir
            .canonicalize()
            .with_context(|| format!("cannot serve {}: check the path", dir.display()))?,
        None => sample(for_image)?,
    };
    if !dir.is_dir() {
        bail!("cannot serve {}: not a directory", dir.display());
    }
    #[cfg(feature = "workshop")]
    if let Some(vm) = args.vm {
        return run_vm(vm, &dir, args.rw);
    }
    let program = build::build(Arch::X86_64)?;
    let port = match args.port {
        // `serve` announces no port that the kernel chooses, so we choose one.
        Some(0) => free_port()?,
        Some(port) => port,
        None if is_free(NFS_PORT) => NFS_PORT,
        None => free_port()?,
    };
    let mut export = dir.clone().into_os_string();
    if args.rw {
        let owner = fs::metadata(&dir)?;
        export.push(format!(
            ":rw,all_squash,anonuid={},anongid={}",
            owner.uid(),
            owner.gid()
        ));
    }
    let server = Command::new(&program)
        .arg("serve")
        .arg("--export")
        .arg(&export)
        .args(["-n", &port.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    // From here on, signals stay pending until `wait` accepts them. The server was spawned before and does not inherit this mask.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD]);
    signals.thread_block().context("cannot block signals")?;
    wait(server, &signals)
}

/// Boots a virtual machine whose disk holds a copy of the directory: an ISO 9660 image (`Vm::Bare`) or ext4 (`Vm::Linux`).
#[cfg(feature = "workshop")]
fn run_vm(vm: Vm, dir: &Path, rw: bool) -> Result<()> {
    let print_advice = |ports: Forwarded| {
        let Forwarded { nfs: port, sftp } = ports;
        println!("The machine exports a copy of {} as /vda:", dir.display());
        let mut exports = vec!["/vda"];
        if rw && vm == Vm::Bare {
            println!("and files in memory, for writing, as /ram:");
            exports.push("/ram");
        }
        for export in exports {
            println!(
                "  nfs-ls 'nfs://127.0.0.1{export}?version=3&nfsport={port}&mountport={port}'"
            );
            println!("  mount -t nfs -o port={port} 127.0.0.1:{export} /mnt");
        }
        println!("Its port {SFTP_PORT} (SFTP without SSH) is port {sftp} of 127.0.0.1:");
        println!("  sftp -D 'nc 127.0.0.1 {sftp}'");
        println!("Ctrl-A X ends the machine. Its console:");
    };
    let sftp = format!("sftp=0.0.0.0:{SFTP_PORT}");
    let drive = |image: &Path, options: &str| {
        let image = image.display();
        format!("if=none,id=disk,format=raw,{options}file={image}")
    };
    match vm {
        Vm::Bare => {
            let (_directory, image) = iso::image(iso::ROCK_RIDGE[0], dir)?;
            let words = if rw {
                "export=/vda export=/ram:rw"
            } else {
                "export=/vda"
            };
            let drive = drive(&image, "readonly=on,");
            let disk = ["-drive", &drive, "-device", "virtio-blk-device,drive=disk"];
            qemu::bare::on_this_terminal(&format!("{words} {sftp}"), &disk, print_advice)
        }
        Vm::Linux => {
            let image = ext4::image(dir)?;
            let words = if rw { "export=/vda:rw" } else { "export=/vda" };
            let drive = drive(image.path(), "");
            let disk = ["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"];
            qemu::linux::on_this_terminal(&format!("{words} {sftp}"), &disk, print_advice)
        }
    }
}

/// Waits until the server exits. On SIGINT or SIGTERM, sends the server SIGTERM.
fn wait(mut server: Child, signals: &SigSet) -> Result<()> {
    loop {
        // Checks the server before each wait, because a SIGCHLD that arrived before we blocked signals is lost.
        if let Some(status) = server.try_wait()? {
            if !status.success() {
                bail!("the server exited with {status}; its output is above");
            }
            return Ok(());
        }
        match signals.wait().context("cannot wait for signals")? {
            Signal::SIGCHLD => {}
            _ => {
                // On a terminal, Ctrl-C signals the server as well. A second signal is harmless.
                let _ = kill(Pid::from_raw(server.id().try_into()?), Signal::SIGTERM);
            }
        }
    }
}

/// A TCP port that is unused at the moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("0.0.0.0", 0)).context("cannot find a free TCP port")?;
    Ok(listener.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// Creates a small tree to export: text files, a directory, a symbolic link, and a sparse file of 5 GiB unless the tree is `for_image`,
/// which would contain all its zeros.
fn sample(for_image: bool) -> Result<PathBuf> {
    let name = if for_image { "sample-image" } else { "sample" };
    let dir = workspace_root().join("target").join(name);
    let fill = || -> Result<()> {
        fs::create_dir_all(dir.join("letters"))?;
        fs::write(
            dir.join("hello.txt"),
            "This file came over NFS from one static file without a libc.\n",
        )?;
        for letter in 'a'..='z' {
            fs::write(
                dir.join("letters").join(format!("{letter}.txt")),
                format!("{letter}\n"),
            )?;
        }
        let link = dir.join("first-letter");
        if !link.is_symlink() {
            std::os::unix::fs::symlink("letters/a.txt", link)?;
        }
        if !for_image {
            fs::File::create(dir.join("sparse-5-gib"))?.set_len(5 << 30)?;
        }
        Ok(())
    };
    fill().with_context(|| format!("cannot create the sample tree in {}", dir.display()))?;
    Ok(dir)
}
