//! A guest that a test controls: it boots once, then runs shell scripts one after another.
//!
//! Scripts and their output go through a virtio-serial port, which does not echo or alter bytes. The kernel's console goes to a
//! file, whose last lines appear in error messages.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::tap::Tap;
use super::{Machine, PreparedStart};
use crate::machines::nbd::Disk;
use crate::machines::port::Port;
use crate::setup;

const BOOT_MAX: Duration = Duration::from_secs(120);
const SCRIPT_MAX: Duration = Duration::from_secs(180);
const LINES_SHOWN: usize = 20;

/// A running guest. Drop kills QEMU; the guest also switches itself off when its control port is closed.
pub struct Guest {
    qemu: Child,
    control: UnixStream,
    scripts_count: u32,
    disk: Option<Disk>,
    ports: Vec<(u16, Port)>,
    /// A directory with the initramfs, the console output and QEMU's stderr.
    directory: TempDir,
}

/// The result of a script.
pub struct ScriptResult {
    /// Exit code of the script.
    pub code: i32,
    /// Output on stdout and stderr, interleaved as written.
    pub text: Vec<u8>,
}

impl Guest {
    /// Boots qemu/`machine`.toml in the caller's network namespace and waits until the guest is ready for scripts.
    pub fn boot(machine: &str) -> Result<Self> {
        Self::start(&Machine::load(machine)?)
    }

    /// As [`Self::boot`], with a tap on the network card.
    pub fn boot_tapped(machine: &str) -> Result<(Self, Tap)> {
        let (mut machine, tap) = (Machine::load(machine)?, Tap::create()?);
        machine.frames = Some(tap.fifo());
        Ok((Self::start(&machine)?, tap))
    }

    /// As [`Self::boot`], but the guest's network card listens on the Unix socket `socket`, to which the other end of the cable
    /// connects.
    pub fn boot_listening(machine: &str, socket: &Path) -> Result<Self> {
        let mut machine = Machine::load(machine)?;
        machine.listen_at(socket);
        Self::start(&machine)
    }

    /// As [`Self::boot`], but with this network backend: a value of QEMU's -netdev without an id.
    pub fn boot_on(machine: &str, network: &str) -> Result<Self> {
        let mut machine = Machine::load(machine)?;
        machine.connect_to(network);
        Self::start(&machine)
    }

    fn start(machine: &Machine) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot create a directory for the guest")?;
        let PreparedStart {
            mut command,
            disk,
            ports,
        } = machine.start(directory.path(), "control")?;
        let _waiting = setup::progress("booting a guest");
        let (control, far_end) = UnixStream::pair().context("cannot make a socket pair")?;
        // QEMU inherits its end of the control socket as descriptor 0.
        command.stdin(OwnedFd::from(far_end)).stdout(Stdio::null());
        command.args([
            "-chardev",
            "socket,id=control,fd=0",
            "-device",
            "virtserialport,chardev=control",
        ]);
        let console = directory.path().join("console");
        command
            .arg("-serial")
            .arg(format!("file:{}", console.display()));
        let errors = fs::File::create(directory.path().join("errors"))
            .context("cannot create a file for QEMU's stderr")?;
        let qemu = command
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {}", machine.program))?;
        // Closes this process's copy of the far end (in `command`), so that `control` reads end of file when QEMU ends.
        drop(command);
        let mut guest = Self {
            qemu,
            control,
            scripts_count: 0,
            disk,
            ports,
            directory,
        };
        guest
            .read_until(BOOT_MAX, |text| text.ends_with(b"ready\n").then_some(()))
            .map_err(|e| guest.explain(e, "boot"))?;
        Ok(guest)
    }

    /// Runs a shell script and returns its output and exit code.
    pub fn run(&mut self, script: &str) -> Result<ScriptResult> {
        self.scripts_count += 1;
        // The mark is unique per script, so output cannot contain it by chance.
        let mark = format!(
            "end-of-script-{}-{}",
            std::process::id(),
            self.scripts_count
        );
        let request = format!("{} {mark}\n{script}", script.len());
        self.control
            .write_all(request.as_bytes())
            .map_err(|e| self.explain(e.into(), script))?;
        self.read_until(SCRIPT_MAX, |text| split_end(text, &mark))
            .map_err(|e| self.explain(e, script))
    }

    /// Runs a shell script and returns its output. An exit code other than 0 is an error.
    pub fn run_ok(&mut self, script: &str) -> Result<String> {
        let answer = self.run(script)?;
        let text = String::from_utf8_lossy(&answer.text).into_owned();
        ensure!(
            answer.code == 0,
            "a script in the guest exited with code {}:\n{script}\nprinted:\n{text}",
            answer.code
        );
        Ok(text)
    }

    /// The process id of QEMU.
    pub fn pid(&self) -> u32 {
        self.qemu.id()
    }

    /// The disk of the machine, served by this process.
    pub fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("this machine has no disk")
    }

    /// The address of 127.0.0.1 that forwards to `port` of the machine.
    pub fn port(&self, port: u16) -> Result<SocketAddr> {
        let forwarded = self
            .ports
            .iter()
            .find(|(machine_port, _)| *machine_port == port);
        let (_, host_port) =
            forwarded.with_context(|| format!("this machine's port {port} is not forwarded"))?;
        Ok((Ipv4Addr::LOCALHOST, host_port.number()).into())
    }

    /// Reads from the control port until `found` returns a value for all text received.
    fn read_until<T>(
        &mut self,
        time_max: Duration,
        found: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + time_max;
        let mut text = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            let remaining = end.saturating_duration_since(Instant::now());
            let so_far = || format!("output:\n{}", last_lines(&text));
            if remaining.is_zero() {
                bail!("the script did not end within {time_max:?}; {}", so_far());
            }
            self.control.set_read_timeout(Some(remaining))?;
            match self.control.read(&mut buffer) {
                Ok(0) => bail!("QEMU closed the control port; {}", so_far()),
                Ok(count) => text.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error).with_context(so_far),
            }
            if let Some(value) = found(&text) {
                return Ok(value);
            }
        }
    }

    /// Adds the script, and the last lines of the console and of QEMU's stderr, to an error. Also kills QEMU, so that no later call
    /// waits for a reply.
    fn explain(&mut self, error: anyhow::Error, script: &str) -> anyhow::Error {
        let tail_of = |file: &str| {
            last_lines(&fs::read(self.directory.path().join(file)).unwrap_or_default())
        };
        let (console, errors) = (tail_of("console"), tail_of("errors"));
        // QEMU may have ended already.
        let _ = self.qemu.kill();
        error.context(format!(
            "the guest failed at:\n{script}\nconsole:\n{console}\nQEMU:\n{errors}"
        ))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // kill and wait fail only if QEMU has already ended.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Returns output and exit code if `text` ends with `MARK CODE` and a newline. Returns None otherwise: the script still runs.
fn split_end(text: &[u8], mark: &str) -> Option<ScriptResult> {
    let line = text.strip_suffix(b"\n")?;
    let start = line.len().saturating_sub(mark.len() + " 255".len());
    let at = start
        + line[start..]
            .windows(mark.len())
            .position(|window| window == mark.as_bytes())?;
    let code = std::str::from_utf8(&line[at + mark.len()..])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(ScriptResult {
        code,
        text: text[..at].to_vec(),
    })
}

/// The last `LINES_SHOWN` lines of `text`.
pub(super) fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_ends_only_at_a_complete_end_line() {
        let answer = split_end(b"no newline\0end-7 3\n", "end-7").unwrap();
        assert_eq!(
            (answer.code, answer.text.as_slice()),
            (3, b"no newline\0".as_slice())
        );
        assert_eq!(split_end(b"end-7 0\n", "end-7").unwrap().text, b"");
        for unfinished in [
            &b"end-7 3"[..],
            b"end-7 \n",
            b"end-6 3\n",
            b"\n",
            b"",
            b"end-7 0\nmore\n",
        ] {
            assert!(split_end(unfinished, "end-7").is_none());
        }
    }
}
