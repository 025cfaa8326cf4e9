//! A machine that a test drives: it boots once, then runs one shell script after the other.
//!
//! Scripts and what they print travel over a virtio-serial port, which echoes and changes nothing. The kernel's console
//! goes to a file of its own, whose end is shown when something fails.

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

use super::{Machine, Start};
use crate::machines::nbd::Disk;
use crate::machines::port::Port;
use crate::setup;

const BOOT_MAX: Duration = Duration::from_secs(120);
const SCRIPT_MAX: Duration = Duration::from_secs(180);
const LINES_SHOWN: usize = 20;

/// A running machine. Dropping it switches it off; it also ends by itself when nobody holds its control port.
pub struct Guest {
    qemu: Child,
    control: UnixStream,
    scripts_count: u32,
    disk: Option<Disk>,
    ports: Vec<(u16, Port)>,
    /// Holds the initramfs and the console's text.
    directory: TempDir,
}

/// What a script left.
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stdout and stderr, in the order of writing.
    pub text: Vec<u8>,
}

impl Guest {
    /// Boots qemu/`machine`.toml in the caller's network namespace and waits until it takes scripts.
    pub fn boot(machine: &str) -> Result<Self> {
        Self::start(&Machine::load(machine)?)
    }

    /// The same, but its network is what listens at the socket file `socket`.
    pub fn boot_listening(machine: &str, socket: &Path) -> Result<Self> {
        let mut machine = Machine::load(machine)?;
        machine.listen_at(socket);
        Self::start(&machine)
    }

    /// The same, but its network is this, as QEMU's -netdev has it without an id.
    pub fn boot_on(machine: &str, network: &str) -> Result<Self> {
        let mut machine = Machine::load(machine)?;
        machine.connect_to(network);
        Self::start(&machine)
    }

    fn start(machine: &Machine) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the guest")?;
        let Start {
            mut command,
            disk,
            ports,
        } = machine.start(directory.path(), "control", None)?;
        let _waiting = setup::progress("booting a guest");
        let (control, far_end) = UnixStream::pair().context("cannot make a socket pair")?;
        // QEMU finds its end of the control port as descriptor 0.
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
            .context("cannot write in the guest's directory")?;
        let qemu = command
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {}", machine.program))?;
        // It holds the far end of the control port: with it gone, a QEMU that dies ends the conversation.
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

    /// Runs a shell script and waits for its end, whatever its exit code.
    pub fn run(&mut self, script: &str) -> Result<Answer> {
        self.scripts_count += 1;
        // No output can end with it by chance: it is new for every script.
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

    /// Runs a shell script that must end with 0 and print UTF-8.
    pub fn sh(&mut self, script: &str) -> Result<String> {
        let answer = self.run(script)?;
        let text = String::from_utf8_lossy(&answer.text).into_owned();
        ensure!(
            answer.code == 0,
            "in the guest, exit code {}:\n{script}\nprinted:\n{text}",
            answer.code
        );
        Ok(text)
    }

    /// The machine's disk, which lives in this process.
    pub fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("this machine has no disk")
    }

    /// Where a port of the machine is reached.
    pub fn port(&self, port: u16) -> Result<SocketAddr> {
        let forwarded = self.ports.iter().find(|(of, _)| *of == port);
        let (_, own) =
            forwarded.with_context(|| format!("this machine's port {port} is not forwarded"))?;
        Ok((Ipv4Addr::LOCALHOST, own.number()).into())
    }

    /// Reads until `found` makes something of all that came.
    fn read_until<T>(
        &mut self,
        time_max: Duration,
        found: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + time_max;
        let mut text = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let so_far = || format!("it printed:\n{}", last_lines(&text));
            if left.is_zero() {
                bail!("no end within {time_max:?}; {}", so_far());
            }
            self.control.set_read_timeout(Some(left))?;
            match self.control.read(&mut buffer) {
                Ok(0) => bail!("QEMU is gone; {}", so_far()),
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

    /// Adds what was asked of the guest, and the last that its kernel and QEMU said. A guest that did not answer is
    /// switched off: nobody waits for it a second time.
    fn explain(&mut self, error: anyhow::Error, script: &str) -> anyhow::Error {
        let said = |file: &str| {
            last_lines(&fs::read(self.directory.path().join(file)).unwrap_or_default())
        };
        let (console, errors) = (said("console"), said("errors"));
        // It may be gone already.
        let _ = self.qemu.kill();
        error.context(format!(
            "the guest failed at:\n{script}\nits console:\n{console}\nQEMU:\n{errors}"
        ))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The answer, if `text` ends with "MARK CODE\n".
fn split_end(text: &[u8], mark: &str) -> Option<Answer> {
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
    Some(Answer {
        code,
        text: text[..at].to_vec(),
    })
}

/// The end of what was said.
pub(super) fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_own_mark_only() {
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
