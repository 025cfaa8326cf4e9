//! `cargo xtask run`: builds, serves a directory and says what to type on each kind of client.
//!
//! The server's own lines go through to stderr. Ctrl-C ends the server first, then us.

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
use crate::machines::{ext4, iso, qemu};

/// `cargo xtask run`
#[derive(clap::Args)]
pub struct Args {
    /// The directory to serve; a small sample when absent
    dir: Option<PathBuf>,
    /// The port for NFS and MOUNT [default: 2049, or any when that is taken]
    #[arg(short = 'n', value_name = "PORT")]
    port: Option<u16>,
    /// Let clients write, each as the directory's owner; with --vm into files in memory, with --vm=linux into the copy
    #[arg(long)]
    rw: bool,
    /// Boot the same file in QEMU, without an operating system or with Linux; the directory becomes the image of a disk
    #[arg(long, conflicts_with = "port", require_equals = true, num_args = 0..=1, default_missing_value = "bare")]
    vm: Option<Vm>,
}

/// What is beneath the file in a machine of its own.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Vm {
    /// No operating system
    Bare,
    /// Debian's kernel
    Linux,
}

impl Args {
    /// Whether a machine is asked for, which the workshop boots.
    pub const fn is_vm(&self) -> bool {
        self.vm.is_some()
    }
}

/// Where every client looks.
const NFS_PORT: u16 = 2049;
/// How long the server may take until it says where it listens.
const START_MAX: Duration = Duration::from_secs(5);

/// Serves until Ctrl-C, SIGTERM or the server's own end.
pub fn main(args: Args) -> Result<()> {
    let dir = match args.dir {
        Some(dir) => dir
            .canonicalize()
            .with_context(|| format!("cannot serve {}: check the path", dir.display()))?,
        None => sample()?,
    };
    if !dir.is_dir() {
        bail!("cannot serve {}: it is not a directory", dir.display());
    }
    #[cfg(feature = "workshop")]
    if let Some(vm) = args.vm {
        return in_a_machine(vm, &dir, args.rw);
    }
    let program = build::build(Arch::X86_64)?;
    let port = match args.port {
        // What is announced has to be known.
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
    // From here on signals wait until we ask for them. The server was started before and is not concerned.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD]);
    signals.thread_block().context("cannot hold back signals")?;
    let lines = forward(&mut server)?;
    if let Some(place) = Place::from(&lines, dir, args.rw) {
        println!("{}", place.advice());
    }
    wait(server, &signals)
}

/// Boots a machine with a disk that has the directory's files: in an image of ISO 9660, or with Linux in one of ext4.
#[cfg(feature = "workshop")]
fn in_a_machine(vm: Vm, dir: &Path, rw: bool) -> Result<()> {
    let tell = |port: u16| {
        println!("what is in {} is /vda there, also for", dir.display());
        println!("  nfs-ls 'nfs://127.0.0.1/vda?version=3&nfsport={port}&mountport={port}'");
        println!(
            "  mount -t nfs -o vers=3,proto=tcp,port={port},mountport={port},nolock 127.0.0.1:/vda /mnt"
        );
        println!("Ctrl-A X ends the machine; what it says:");
    };
    let drive = |place: &Path, options: &str| {
        let place = place.display();
        format!("if=none,id=disk,format=raw,{options}file={place}")
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
            qemu::bare::on_this_terminal(words, &disk, tell)
        }
        Vm::Linux => {
            let image = ext4::image(dir)?;
            let words = if rw { "export=/vda:rw" } else { "export=/vda" };
            let drive = drive(image.path(), "");
            let disk = ["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"];
            qemu::linux::on_this_terminal(words, &disk, tell)
        }
    }
}

/// Waits for a reason to end, and ends the server with us.
fn wait(mut server: Child, signals: &SigSet) -> Result<()> {
    loop {
        // It may have ended before we held SIGCHLD back.
        if let Some(status) = server.try_wait()? {
            if !status.success() {
                bail!("the server ended ({status}); what it said is above");
            }
            return Ok(());
        }
        match signals.wait().context("cannot wait for signals")? {
            Signal::SIGCHLD => {}
            _ => {
                // A terminal's Ctrl-C reaches the server, too; being asked twice does no harm.
                let _ = kill(Pid::from_raw(server.id().try_into()?), Signal::SIGTERM);
            }
        }
    }
}

/// The server's lines, which also go to our stderr.
fn forward(server: &mut Child) -> Result<Receiver<String>> {
    let stderr = server.stderr.take().context("the server has no stderr")?;
    let (sender, receiver): (Sender<String>, _) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            eprintln!("{line}");
            // Nobody listens once the advice is given.
            let _ = sender.send(line);
        }
    });
    Ok(receiver)
}

/// What a client must know.
struct Place {
    host: String,
    dir: PathBuf,
    /// Whether they may write.
    rw: bool,
    port: u16,
    /// Whether clients can ask port 111 for the other port.
    portmap: bool,
}

impl Place {
    /// Reads it from what the server says. None: it ended, and has said why.
    fn from(lines: &Receiver<String>, dir: PathBuf, rw: bool) -> Option<Self> {
        let end = Instant::now() + START_MAX;
        let mut port = None;
        loop {
            let line = lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
                .ok()?;
            if let Some((address, services)) = listening(&line)
                && services.contains("NFS")
            {
                port = address.rsplit(':').next()?.parse().ok();
            }
            // About portmap it says something in any case, and last.
            if line.contains("portmap") {
                let portmap = listening(&line).is_some();
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
                "  macOS    mkdir -p /tmp/mnt && mount_nfs -o {mode},vers=3,nolocks{ports} {source} /tmp/mnt"
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
                "  Windows and ESXi take no port: they ask port 111, which this server could not have.".to_owned(),
            );
            lines.push("           Run it as root where port 111 is free.".to_owned());
        }
        lines.push("To list it without mounting (package libnfs-utils):".to_owned());
        lines.push(format!(
            "  nfs-ls {}",
            quoted(&format!("nfs://{host}{dir}{query}"))
        ));
        if *portmap && *port != NFS_PORT {
            lines.push(format!(
                "Port {NFS_PORT} is taken: clients learn {port} from the portmapper on port 111."
            ));
        }
        lines.push("To see it announced (package avahi-utils):".to_owned());
        lines.push("  avahi-browse -rt _nfs._tcp".to_owned());
        lines.push("Ctrl-C ends it.".to_owned());
        lines.join("\n")
    }
}

/// Address and services in `… listening on ADDRESS for SERVICES`.
fn listening(line: &str) -> Option<(&str, &str)> {
    line.split_once("listening on ")?.1.split_once(" for ")
}

/// Our address as others see it: that of the way out. Nothing is sent.
fn host() -> String {
    let ask = || -> std::io::Result<String> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // An address for documentation, so that it is nobody's.
        socket.connect("192.0.2.1:9")?;
        Ok(socket.local_addr()?.ip().to_string())
    };
    ask().unwrap_or_else(|_| "127.0.0.1".to_owned())
}

/// A port that nobody has right now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("0.0.0.0", 0)).context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// For a shell: in quotes when a character might mean something to it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/:._-+@,=".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A small tree to look at: text, a directory, a symbolic link, a large file without blocks.
fn sample() -> Result<PathBuf> {
    let dir = workspace_root().join("target/sample");
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
        fs::File::create(dir.join("sparse-5-gib"))?.set_len(5 << 30)?;
        Ok(())
    };
    fill().with_context(|| format!("cannot make the sample in {}", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The advice after the server said these lines.
    fn advice(dir: &str, said: &[&str]) -> Option<String> {
        let (sender, receiver) = channel();
        said.iter()
            .for_each(|line| sender.send((*line).to_owned()).unwrap());
        let place = Place::from(&receiver, PathBuf::from(dir), false)?;
        Some(
            Place {
                host: "10.0.0.5".to_owned(),
                ..place
            }
            .advice(),
        )
    }

    #[test]
    fn with_portmap_no_client_names_a_port() {
        let said = [
            "stowaway: listening on [::]:2049 for NFS and MOUNT",
            "stowaway: listening on [::]:111 for portmap",
        ];
        let advice = advice("/srv/iso", &said).unwrap();
        assert!(advice.contains("mount -t nfs -o ro,nolock,vers=3 10.0.0.5:/srv/iso /mnt"));
        assert!(advice.contains(r"mount -o anon,nolock \\10.0.0.5\srv\iso Z:"));
        assert!(advice.contains("esxcli storage nfs add -r -H 10.0.0.5 -s /srv/iso -v stowaway"));
        assert!(!advice.contains("port="));
    }

    #[test]
    fn without_portmap_the_ports_are_named_and_the_portless_clients_too() {
        let said = [
            "stowaway: listening on 0.0.0.0:40001 for NFS and MOUNT",
            "stowaway: no portmap service: not allowed",
        ];
        let advice = advice("/srv/my files", &said).unwrap();
        assert!(advice.contains(
            "-o ro,nolock,vers=3,proto=tcp,port=40001,mountport=40001 '10.0.0.5:/srv/my files' /mnt"
        ));
        assert!(
            advice.contains("nfs-ls 'nfs://10.0.0.5/srv/my files?nfsport=40001&mountport=40001'")
        );
        assert!(advice.contains("Windows and ESXi take no port"));
    }

    #[test]
    fn a_server_that_ended_gives_no_advice() {
        assert_eq!(
            advice("/srv", &["stowaway: cannot listen on port 2049: in use"]),
            None
        );
    }
}
