//! The machine of qemu/bare.toml: stowaway without an operating system. Tests read its console, reach its NFS server through a
//! forwarded port, and can inject code through QEMU's gdb stub.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::{Machine, PreparedStart, initramfs};
use crate::machines::port::Port;
use crate::machines::wait_for;
use crate::setup;

/// Time limit of every wait for the machine. Generous, because emulation on a busy host is slow.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Port of the machine's NFS server.
const NFS_PORT: u16 = 2049;
/// Port of the machine's SFTP server, if it runs one. See [`Bare::sftp`].
pub const SFTP_PORT: u16 = 2222;

/// Ports of 127.0.0.1 that forward to a machine.
pub struct Forwarded {
    pub nfs: u16,
    pub sftp: u16,
}

/// Runs the machine on this terminal until it ends, with additional boot arguments and additional arguments for QEMU (`more`).
/// Calls `report_ports` before.
pub fn on_this_terminal(
    boot_arguments: &str,
    more: &[&str],
    report_ports: impl FnOnce(Forwarded),
) -> Result<()> {
    run_on_this_terminal("bare", boot_arguments, more, report_ports)
}

/// As [`on_this_terminal`], for qemu/`machine`.toml.
pub(super) fn run_on_this_terminal(
    machine: &str,
    boot_arguments: &str,
    more: &[&str],
    report_ports: impl FnOnce(Forwarded),
) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot create a directory for the machine")?;
    let mut start = Machine::load(machine)?.start(directory.path(), boot_arguments)?;
    let forwarded = |machine_port| {
        let mut ports = start.ports.iter();
        let found = ports.find(|(port, _)| *port == machine_port);
        let (_, port) = found.with_context(|| format!("port {machine_port} is not forwarded"))?;
        anyhow::Ok(port.number())
    };
    report_ports(Forwarded {
        nfs: forwarded(NFS_PORT)?,
        sftp: forwarded(SFTP_PORT)?,
    });
    let command = start.command.args(["-serial", "mon:stdio"]).args(more);
    let status = command.status().context("cannot start QEMU")?;
    ensure!(status.success(), "the machine ended with {status}");
    Ok(())
}

/// Start options of a [`Bare`] machine.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Boot arguments in addition to those of the machine's file.
    pub boot_arguments: &'a str,
    /// A file that QEMU loads into memory as a module (`-initrd`).
    pub module: Option<&'a Path>,
    /// Arguments for QEMU in addition to those of the machine's file.
    pub more: &'a [&'a str],
    /// The stowaway executable to boot. None: the built one.
    pub file: Option<&'a Path>,
    /// Boots qemu/linux.toml, with Linux as the kernel. The value is a cpio archive that is appended to the initramfs.
    pub linux: Option<&'a [u8]>,
    /// The backend of the network card, a value of QEMU's -netdev without an id, opened in the calling thread's network namespace.
    /// None: QEMU's user network.
    pub network: Option<&'a str>,
    /// True if QEMU opens a gdb stub, which [`Bare::plant`] needs.
    pub has_stub: bool,
    /// QEMU's arguments, separated by spaces, in place of the machine, processor, memory and devices of the machine's file. The
    /// network's id is `net`.
    pub hardware: Option<&'a str>,
    /// True if a reset restarts the machine, to show reboot loops. False: a reset ends QEMU with status 0.
    pub may_reboot: bool,
}

/// A running machine. Drop kills QEMU.
pub struct Bare {
    qemu: Child,
    directory: TempDir,
    /// The port of 127.0.0.1 that forwards to the machine's NFS server. With [`Options::network`], the port of the server itself.
    pub port: u16,
    /// Forwarded ports: port of the machine, port of 127.0.0.1.
    ports: Vec<(u16, Port)>,
    /// Time at which QEMU was started.
    pub started_at: Instant,
}

impl Bare {
    /// Starts the machine with additional boot arguments, an optional module, additional arguments for QEMU (`more`), and a gdb
    /// stub.
    pub fn boot(boot_arguments: &str, module: Option<&Path>, more: &[&str]) -> Result<Self> {
        Self::start(Options {
            boot_arguments,
            module,
            more,
            has_stub: true,
            ..Options::default()
        })
    }

    pub fn start(options: Options<'_>) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot create a directory for the machine")?;
        let name = if options.linux.is_some() {
            "linux"
        } else {
            "bare"
        };
        let mut machine = Machine::load(name)?;
        if let Some(network) = options.network {
            machine.connect_to(network);
        }
        machine.hardware = options.hardware.map(str::to_owned);
        machine.may_reboot = options.may_reboot;
        let (file, mut module) = match options.file {
            Some(file) => (file.to_owned(), Vec::new()),
            None => machine.system()?,
        };
        if let Some(archive) = options.linux {
            initramfs::append(&mut module, archive);
        }
        if let Some(path) = options.module {
            module = fs::read(path)?;
        }
        let boot_arguments = format!("{} {}", machine.command_line, options.boot_arguments);
        let started = machine.start_with(directory.path(), &file, &module, &boot_arguments)?;
        let PreparedStart {
            mut command, ports, ..
        } = started;
        let port = ports.first().map(|(_, port)| port.number());
        let path = |name: &str| directory.path().join(name).display().to_string();
        let monitor = format!("unix:{},server=on,wait=off", path("monitor"));
        command
            .args(["-serial", &format!("file:{}", path("console"))])
            .args(["-monitor", &monitor])
            .stdin(Stdio::null());
        if options.has_stub {
            let stub = format!("socket,id=gdb,server=on,wait=off,path={}", path("gdb"));
            command.args(["-chardev", &stub, "-gdb", "chardev:gdb"]);
        }
        let started_at = Instant::now();
        let qemu = command.args(options.more).spawn();
        Ok(Self {
            qemu: qemu.context("cannot start QEMU")?,
            directory,
            port: port.unwrap_or(NFS_PORT),
            ports,
            started_at,
        })
    }

    /// The process id of QEMU.
    pub fn pid(&self) -> u32 {
        self.qemu.id()
    }

    /// Sends a command to QEMU's monitor and returns the output, including the prompts.
    pub fn monitor(&self, command: &str) -> Result<String> {
        /// The monitor's prompt, printed when the monitor is ready for a command.
        const PROMPT: &str = "(qemu) ";
        let mut monitor = UnixStream::connect(self.path("monitor"))
            .context("cannot connect to QEMU's monitor")?;
        monitor.set_read_timeout(Some(TIME_MAX))?;
        writeln!(monitor, "{command}")?;
        let (mut output, mut buffer) = (String::new(), [0; 4096]);
        // The first prompt precedes the command, the second follows its output.
        while output.matches(PROMPT).count() < 2 {
            let count = monitor
                .read(&mut buffer)
                .context("QEMU's monitor did not reply")?;
            ensure!(count > 0, "QEMU closed its monitor");
            output += &String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
        }
        Ok(output)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the console output since the start.
    pub fn console(&self) -> String {
        let said = fs::read(self.path("console")).unwrap_or_default();
        String::from_utf8_lossy(&said).replace('\r', "")
    }

    /// Waits for a complete console line that contains `part`.
    pub fn wait_for_line(&mut self, part: &str) -> Result<String> {
        let found = wait_for(TIME_MAX, || {
            let has_ended = self.qemu.try_wait()?.is_some();
            let said = self.console();
            let mut whole = said
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let line = whole.find(|line| line.contains(part));
            ensure!(line.is_some() || !has_ended, "the machine has ended");
            Ok(line.map(|line| line.trim_end().to_owned()))
        });
        let found = found.with_context(|| format!("console:\n{}", self.console()))?;
        found.with_context(|| format!("no line with '{part}'; console:\n{}", self.console()))
    }

    /// Waits for `time` or until the machine has ended. Returns true if the machine has ended.
    pub fn ends_within(&mut self, time: Duration) -> Result<bool> {
        let ended = wait_for(time, || Ok(self.qemu.try_wait()?))?;
        Ok(ended.is_some())
    }

    /// Waits until the machine has switched itself off. Returns the exit status of QEMU.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let ended = wait_for(TIME_MAX, || Ok(self.qemu.try_wait()?))?;
        ended.with_context(|| {
            format!(
                "the machine did not end within {TIME_MAX:?}; console:\n{}",
                self.console()
            )
        })
    }

    /// The libnfs URL of `path` on this machine.
    pub fn url(&self, path: &str) -> String {
        let port = self.port;
        format!("nfs://127.0.0.1{path}?version=3&nfsport={port}&mountport={port}")
    }

    /// The port of this host that is forwarded to [`SFTP_PORT`].
    pub fn sftp_port(&self) -> Result<u16> {
        let mut ports = self.ports.iter();
        let forwarded = ports.find(|(machine_port, _)| *machine_port == SFTP_PORT);
        let (_, port) = forwarded.context("the port of SFTP is not forwarded")?;
        Ok(port.number())
    }

    /// Runs `commands` by OpenSSH's sftp against [`SFTP_PORT`], with `directory` as the working directory. Returns the output
    /// without the echoed commands.
    pub fn sftp(&self, directory: &Path, commands: &str) -> Result<String> {
        setup::install_packages(&["openssh-client", "busybox-static"])?;
        let port = self.sftp_port()?;
        let batch = self.path("batch");
        fs::write(&batch, commands)?;
        let server = format!("busybox nc 127.0.0.1 {port}");
        let mut sftp = Command::new("timeout");
        sftp.args(["120", "sftp", "-D", &server, "-b"]).arg(batch);
        let said = setup::run_captured(sftp.current_dir(directory));
        let said = said
            .with_context(|| format!("sftp failed; console of the machine:\n{}", self.console()))?;
        let lines = said.lines().filter(|line| !line.starts_with("sftp> "));
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }

    /// Writes `code` at the current instruction pointer, so that the machine executes it next.
    pub fn plant(&self, code: &[u8]) -> Result<()> {
        /// Index of the instruction pointer in the stub's register list, where each register has eight bytes.
        const RIP: usize = 16;
        let mut stub = Stub(
            UnixStream::connect(self.path("gdb")).context("cannot connect to QEMU's gdb stub")?,
        );
        stub.0.set_read_timeout(Some(TIME_MAX))?;
        let registers = stub.ask("g")?;
        let digits = registers
            .get(RIP * 16..RIP * 16 + 16)
            .context("the gdb stub returned too few registers")?;
        let rip = u64::from_str_radix(digits, 16)?.swap_bytes();
        let bytes: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = stub.ask(&format!("M{rip:x},{:x}:{bytes}", code.len()))?;
        ensure!(
            answer == "OK",
            "the gdb stub did not write the code: {answer}"
        );
        // Detach (D) resumes the machine. If it waits for an event in `hlt`, the incoming connection wakes it, and the code runs.
        stub.ask("D")?;
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// A client of GDB's remote protocol. A packet is `$`, payload, `#`, checksum.
struct Stub(UnixStream);

impl Stub {
    fn ask(&mut self, packet: &str) -> Result<String> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}")?;
        loop {
            let answer = self.answer()?;
            // The machine that D resumes can end before this acknowledgement (EPIPE). After any other packet, the next one fails.
            let _ = self.0.write_all(b"+");
            // A packet that starts with T is a stop reply, which the stub sends unasked; it is skipped.
            if !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    /// Reads the next packet. A `+` before it acknowledges our packet.
    fn answer(&mut self) -> Result<String> {
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"#") {
            if self.0.read(&mut byte)? == 0 {
                bail!("the gdb stub closed the connection");
            }
            answer.extend(byte);
        }
        self.0.read_exact(&mut [0; 2])?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (_, text) = answer
            .split_once('$')
            .context("the gdb stub sent no packet")?;
        Ok(text.trim_end_matches('#').to_owned())
    }
}
