//! qemu/bare.toml: our own file as a machine without an operating system. Its console is watched, its NFS server is reached through a
//! port of loopback, and by QEMU's stub for gdb its code can be made to do what it never does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::{Machine, Start, initramfs};
use crate::machines::port::Port;
use crate::machines::wait_for;
use crate::setup::{self, Package};

/// Under emulation, on a host that is busy.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Where its NFS server listens.
const NFS_PORT: u16 = 2049;
/// Where SFTP may listen, to be reached by [`Bare::sftp`].
pub const SFTP_PORT: u16 = 2222;

/// Runs it on this terminal until it ends, with more boot arguments and arguments of QEMU. `tell` says how it is reached: by this
/// port of 127.0.0.1.
pub fn on_this_terminal(words: &str, more: &[&str], tell: impl FnOnce(u16)) -> Result<()> {
    run_on_this_terminal("bare", words, more, tell)
}

/// The same of qemu/`machine`.toml.
pub(super) fn run_on_this_terminal(
    machine: &str,
    words: &str,
    more: &[&str],
    tell: impl FnOnce(u16),
) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory for the machine")?;
    let mut start = Machine::load(machine)?.start(directory.path(), words, None)?;
    let (_, port) = start.ports.first().context("no port is forwarded")?;
    tell(port.number());
    let command = start.command.args(["-serial", "mon:stdio"]).args(more);
    let status = command.status().context("cannot start QEMU")?;
    ensure!(status.success(), "the machine ended with {status}");
    Ok(())
}

/// How a machine is started.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// More boot arguments.
    pub words: &'a str,
    /// What QEMU puts into its memory beside the file.
    pub module: Option<&'a Path>,
    /// More arguments of QEMU.
    pub more: &'a [&'a str],
    /// Another file than the one that is built.
    pub file: Option<&'a Path>,
    /// Linux is beneath it, as in qemu/linux.toml; this follows the initramfs.
    pub linux: Option<&'a [u8]>,
    /// What its card is connected to, as QEMU's -netdev has it without an id, in the network namespace of the thread that starts it;
    /// else QEMU's own network.
    pub network: Option<&'a str>,
    /// QEMU listens to a debugger, as [`Bare::plant`] needs it.
    pub has_stub: bool,
}

/// A machine that was started.
pub struct Bare {
    qemu: Child,
    directory: TempDir,
    /// The port of 127.0.0.1 that leads to the machine's NFS server; elsewhere than in QEMU's network that of the server.
    pub port: u16,
    /// Ports of the machine, and those of 127.0.0.1 that lead there.
    ports: Vec<(u16, Port)>,
    /// When QEMU was started.
    pub began: Instant,
}

impl Bare {
    /// Starts it with more boot arguments, a module if there is one, and more arguments of QEMU.
    pub fn boot(words: &str, module: Option<&Path>, more: &[&str]) -> Result<Self> {
        Self::start(Options {
            words,
            module,
            more,
            has_stub: true,
            ..Options::default()
        })
    }

    /// Starts it.
    pub fn start(options: Options<'_>) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the machine")?;
        let name = if options.linux.is_some() {
            "linux"
        } else {
            "bare"
        };
        let mut machine = Machine::load(name)?;
        if let Some(network) = options.network {
            machine.connect_to(network);
        }
        let (file, mut module) = match options.file {
            Some(file) => (file.to_owned(), Vec::new()),
            None => machine.system()?,
        };
        if let Some(archive) = options.linux {
            initramfs::append(&mut module, archive);
        }
        if let Some(place) = options.module {
            module = fs::read(place)?;
        }
        let words = format!("{} {}", machine.command_line, options.words);
        let started = machine.start_with(directory.path(), &file, &module, &words)?;
        let Start {
            mut command, ports, ..
        } = started;
        let port = ports.first().map(|(_, port)| port.number());
        let place = |name: &str| directory.path().join(name).display().to_string();
        let monitor = format!("unix:{},server=on,wait=off", place("monitor"));
        command
            .args(["-serial", &format!("file:{}", place("console"))])
            .args(["-monitor", &monitor])
            .stdin(Stdio::null());
        if options.has_stub {
            let stub = format!("socket,id=gdb,server=on,wait=off,path={}", place("gdb"));
            command.args(["-chardev", &stub, "-gdb", "chardev:gdb"]);
        }
        let began = Instant::now();
        let qemu = command.args(options.more).spawn();
        Ok(Self {
            qemu: qemu.context("cannot start QEMU")?,
            directory,
            port: port.unwrap_or(NFS_PORT),
            ports,
            began,
        })
    }

    /// The process of QEMU.
    pub fn pid(&self) -> u32 {
        self.qemu.id()
    }

    /// Gives QEMU a command of its monitor, and waits until it is done.
    pub fn monitor(&self, command: &str) -> Result<String> {
        /// What it says when it takes a command.
        const PROMPT: &str = "(qemu) ";
        let mut monitor = UnixStream::connect(self.place("monitor")).context("no monitor")?;
        monitor.set_read_timeout(Some(TIME_MAX))?;
        writeln!(monitor, "{command}")?;
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        // Once before the command, and once behind what it says.
        while said.matches(PROMPT).count() < 2 {
            let count = monitor.read(&mut buffer).context("the monitor is silent")?;
            ensure!(count > 0, "QEMU is gone");
            said += &String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
        }
        Ok(said)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What its console said.
    pub fn said(&self) -> String {
        let said = fs::read(self.place("console")).unwrap_or_default();
        String::from_utf8_lossy(&said).replace('\r', "")
    }

    /// Waits for a line with this in it.
    pub fn wait_for_line(&mut self, part: &str) -> Result<String> {
        let found = wait_for(TIME_MAX, || {
            let has_ended = self.qemu.try_wait()?.is_some();
            let said = self.said();
            let mut whole = said
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let line = whole.find(|line| line.contains(part));
            ensure!(line.is_some() || !has_ended, "it has ended");
            Ok(line.map(|line| line.trim_end().to_owned()))
        });
        let found = found.with_context(|| format!("its console:\n{}", self.said()))?;
        found.with_context(|| format!("no line with '{part}'; its console:\n{}", self.said()))
    }

    /// Waits until it has switched itself off; what QEMU exits with.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let ended = wait_for(TIME_MAX, || Ok(self.qemu.try_wait()?))?;
        ended.with_context(|| format!("it does not end; its console:\n{}", self.said()))
    }

    /// Where libnfs finds `path` of it.
    pub fn url(&self, path: &str) -> String {
        let port = self.port;
        format!("nfs://127.0.0.1{path}?version=3&nfsport={port}&mountport={port}")
    }

    /// Runs commands of OpenSSH's sftp over its port [`SFTP_PORT`], in this directory; what they print, without themselves.
    pub fn sftp(&self, directory: &Path, commands: &str) -> Result<String> {
        setup::need(&[Package::OPENSSH_CLIENT, Package::BUSYBOX])?;
        let forwarded = self.ports.iter().find(|(of, _)| *of == SFTP_PORT);
        let (_, port) = forwarded.context("the port of SFTP is not forwarded")?;
        let batch = self.place("batch");
        fs::write(&batch, commands)?;
        let server = format!("busybox nc 127.0.0.1 {}", port.number());
        let mut sftp = Command::new("timeout");
        sftp.args(["120", "sftp", "-D", &server, "-b"]).arg(batch);
        let said = setup::quietly(sftp.current_dir(directory));
        let said = said.with_context(|| format!("its console:\n{}", self.said()))?;
        let lines = said.lines().filter(|line| !line.starts_with("sftp> "));
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }

    /// Has it run `code` next, wherever it is.
    pub fn plant(&self, code: &[u8]) -> Result<()> {
        /// The number of the instruction pointer among the registers, which have eight bytes each.
        const RIP: usize = 16;
        let mut stub = Stub(UnixStream::connect(self.place("gdb")).context("no stub for gdb")?);
        stub.0.set_read_timeout(Some(TIME_MAX))?;
        let registers = stub.ask("g")?;
        let digits = registers
            .get(RIP * 16..RIP * 16 + 16)
            .context("no registers")?;
        let rip = u64::from_str_radix(digits, 16)?.swap_bytes();
        let bytes: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = stub.ask(&format!("M{rip:x},{:x}:{bytes}", code.len()))?;
        ensure!(answer == "OK", "the stub wrote nothing: {answer}");
        // Let go of, it goes on; a connection wakes it.
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

/// GDB's remote protocol: `$`, a packet, `#`, its sum.
struct Stub(UnixStream);

impl Stub {
    fn ask(&mut self, packet: &str) -> Result<String> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}")?;
        loop {
            let answer = self.answer()?;
            self.0.write_all(b"+")?;
            // That the machine has stopped is told without being asked for.
            if !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    /// The next packet; before it, a plus may say that ours came.
    fn answer(&mut self) -> Result<String> {
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"#") {
            if self.0.read(&mut byte)? == 0 {
                bail!("the stub hung up");
            }
            answer.extend(byte);
        }
        self.0.read_exact(&mut [0; 2])?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (_, text) = answer.split_once('$').context("no packet")?;
        Ok(text.trim_end_matches('#').to_owned())
    }
}
