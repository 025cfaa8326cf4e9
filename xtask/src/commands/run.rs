//! `cargo xtask run`: builds stowaway, serves a directory and prints the mount command for each kind of client.
//!
//! The server's stderr is copied to ours. Ctrl-C ends the server first, then xtask.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
#[cfg(feature = "workshop")]
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

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
/// Time limit for the server to print its listening addresses.
const START_MAX: Duration = Duration::from_secs(5);

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
        // The mount commands that we print need the port number, so we choose the port, not the kernel.
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
    let mut server = Command::new(&program)
        .arg("serve")
        .arg("--export")
        .arg(&export)
        .args(["-n", &port.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    // From here on, signals stay pending until `wait` accepts them. The server was spawned before and does not inherit this mask.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD]);
    signals.thread_block().context("cannot block signals")?;
    let lines = forward_stderr(&mut server)?;
    if let Some(share) = Share::from_server(&lines, dir, args.rw) {
        println!("{}", share.advice());
    }
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
            println!(
                "  mount -t nfs -o vers=3,proto=tcp,port={port},mountport={port},nolock 127.0.0.1:{export} /mnt"
            );
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

/// Starts a thread that copies the server's stderr to ours; returns its lines.
fn forward_stderr(server: &mut Child) -> Result<Receiver<String>> {
    let stderr = server.stderr.take().context("the server has no stderr")?;
    let (sender, receiver): (Sender<String>, _) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            eprintln!("{line}");
            // `send` fails once the mount commands have been printed, because the receiver is dropped then.
            let _ = sender.send(line);
        }
    });
    Ok(receiver)
}

/// Information that a client needs to mount the export.
struct Share {
    host: String,
    dir: PathBuf,
    /// True if clients may write.
    rw: bool,
    port: u16,
    /// True if the server's portmapper listens on port 111, where clients ask for the NFS port.
    portmap: bool,
}

impl Share {
    /// Reads the ports from the server's output. None if the server exited, after printing its error, or did not print its
    /// ports within `START_MAX`.
    fn from_server(lines: &Receiver<String>, dir: PathBuf, rw: bool) -> Option<Self> {
        let end = Instant::now() + START_MAX;
        let mut port = None;
        loop {
            let line = lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
                .ok()?;
            if let Some((address, services)) = parse_listening(&line)
                && services.contains("NFS")
            {
                port = address.rsplit(':').next()?.parse().ok();
            }
            // The server always prints a line about portmap, as the last one.
            if line.contains("portmap") {
                let portmap = parse_listening(&line).is_some();
                return Some(Self {
                    host: host(),
                    dir,
                    rw,
                    port: port?,
                    portmap,
                });
            }
        }
    }

    fn advice(&self) -> String {
        let Self {
            host,
            dir,
            rw,
            port,
            portmap,
        } = self;
        let mode = if *rw { "rw" } else { "ro" };
        let dir = dir.display().to_string();
        let source = quoted(&format!("{host}:{dir}"));
        let ports = if *portmap {
            String::new()
        } else {
            format!(",proto=tcp,port={port},mountport={port}")
        };
        let query = if *portmap {
            String::new()
        } else {
            format!("?nfsport={port}&mountport={port}")
        };
        let mut lines = vec![
            String::new(),
            "On a client, as root:".to_owned(),
            format!("  Linux    mount -t nfs -o {mode},nolock,vers=3{ports} {source} /mnt"),
            format!(
                "  macOS    mkdir -p /tmp/mnt && mount_nfs -o {mode},vers=3,locallocks,resvport{ports} {source} /tmp/mnt"
            ),
        ];
        if *portmap {
            let share = dir.replace('/', "\\");
            lines.push(format!("  Windows  mount -o anon,nolock \\\\{host}{share} Z:      (feature: Client for NFS)"));
            lines.push(format!(
                "  ESXi     esxcli storage nfs add {}-H {host} -s {} -v stowaway",
                if *rw { "" } else { "-r " },
                quoted(&dir)
            ));
        } else {
            lines.push(
                "  Windows and ESXi accept no port option and ask the portmapper on port 111, where this server cannot listen."
                    .to_owned(),
            );
            lines.push("           Run as root on a host where port 111 is free.".to_owned());
        }
        lines.push("To list the files without mounting (package libnfs-utils):".to_owned());
        lines.push(format!(
            "  nfs-ls {}",
            quoted(&format!("nfs://{host}{dir}{query}"))
        ));
        if *portmap && *port != NFS_PORT {
            lines.push(format!(
                "Port {NFS_PORT} is in use: clients learn port {port} from the portmapper on port 111."
            ));
        }
        lines.push("To see the mDNS announcement (package avahi-utils):".to_owned());
        lines.push("  avahi-browse -rt _nfs._tcp".to_owned());
        lines.push("Ctrl-C ends the server.".to_owned());
        lines.join("\n")
    }
}

/// Parses `… listening on ADDRESS for SERVICES` into address and services.
fn parse_listening(line: &str) -> Option<(&str, &str)> {
    line.split_once("listening on ")?.1.split_once(" for ")
}

/// The source address that the kernel uses towards the default route. connect(2) on UDP sends no packet.
fn host() -> String {
    let source_address = || -> std::io::Result<String> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // TEST-NET-1, reserved for documentation (RFC 5737): routed like any public address, used by no host.
        socket.connect("192.0.2.1:9")?;
        Ok(socket.local_addr()?.ip().to_string())
    };
    source_address().unwrap_or_else(|_| "127.0.0.1".to_owned())
}

/// A TCP port that is unused at the moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("0.0.0.0", 0)).context("cannot find a free TCP port")?;
    Ok(listener.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// Quotes `text` for a shell if it contains a character that may be special.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/:._-+@,=".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the advice that is printed if the server writes `lines` to stderr.
    fn advice(dir: &str, lines: &[&str]) -> Option<String> {
        let (sender, receiver) = channel();
        lines
            .iter()
            .for_each(|line| sender.send((*line).to_owned()).unwrap());
        let share = Share::from_server(&receiver, PathBuf::from(dir), false)?;
        Some(
            Share {
                host: "10.0.0.5".to_owned(),
                ..share
            }
            .advice(),
        )
    }

    #[test]
    fn with_portmap_commands_name_no_port() {
        let lines = [
            "stowaway: listening on [::]:2049 for NFS and MOUNT",
            "stowaway: listening on [::]:111 for portmap",
        ];
        let advice = advice("/srv/iso", &lines).unwrap();
        assert!(advice.contains("mount -t nfs -o ro,nolock,vers=3 10.0.0.5:/srv/iso /mnt"));
        assert!(advice.contains(r"mount -o anon,nolock \\10.0.0.5\srv\iso Z:"));
        assert!(advice.contains("esxcli storage nfs add -r -H 10.0.0.5 -s /srv/iso -v stowaway"));
        assert!(!advice.contains("port="));
    }

    #[test]
    fn without_portmap_commands_name_the_ports() {
        let lines = [
            "stowaway: listening on 0.0.0.0:40001 for NFS and MOUNT",
            "stowaway: no portmap service: not allowed",
        ];
        let advice = advice("/srv/my files", &lines).unwrap();
        assert!(advice.contains(
            "-o ro,nolock,vers=3,proto=tcp,port=40001,mountport=40001 '10.0.0.5:/srv/my files' /mnt"
        ));
        assert!(
            advice.contains("nfs-ls 'nfs://10.0.0.5/srv/my files?nfsport=40001&mountport=40001'")
        );
        assert!(advice.contains("Windows and ESXi accept no port"));
    }

    #[test]
    fn exited_server_gives_no_advice() {
        assert_eq!(
            advice("/srv", &["stowaway: cannot listen on port 2049: in use"]),
            None
        );
    }
}
