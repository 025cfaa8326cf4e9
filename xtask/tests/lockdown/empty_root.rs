//! A root directory with the executable only: no /dev, no /proc, no /etc. The user is 65534.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::nfs::{Client, How, Set, stable_how};
use xtask::machines::port::Port;
use xtask::machines::server::{binary, public_dir, root_for};
use xtask::testing::pattern;

const USER: u32 = 65534;
const LEN: usize = 300_007;

/// The directory, with an empty directory `srv` of the user.
struct Root(TempDir);

impl Root {
    fn new() -> Result<Self> {
        let root = public_dir()?;
        fs::set_permissions(root.path(), Permissions::from_mode(0o755))?;
        fs::copy(binary(Arch::X86_64)?, root.path().join("stowaway"))?;
        fs::create_dir(root.path().join("srv"))?;
        chown(root.path().join("srv"), Some(USER), Some(USER))?;
        Ok(Self(root))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={USER}:{USER}"));
        command.arg("--groups=").arg(self.0.path()).arg("/stowaway");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.command(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(output)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.0.path().join("srv").join(name))?)
    }
}

/// Waits until the server accepts connections.
fn connect(server: &mut Child, port: u16) -> Result<Client> {
    let start = Instant::now();
    loop {
        if let Ok(client) = Client::connect(([127, 0, 0, 1], port).into()) {
            return Ok(client);
        }
        ensure!(server.try_wait()?.is_none(), "the server has ended");
        ensure!(start.elapsed() < Duration::from_secs(10), "no answer");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn help_and_probe_work_in_an_empty_root() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let root = Root::new()?;
    let help = root.run(&["--help"])?;
    ensure!(help.stdout.starts_with(b"usage: stowaway ROLE"), "{help:?}");
    let report = String::from_utf8(root.run(&["probe"])?.stdout)?;
    for line in [
        "host user: 65534\n",
        "path /proc/self/fd: missing\n",
        "path /dev/urandom: missing\n",
        "role sftp-server: works\n",
    ] {
        ensure!(report.contains(line), "{line:?} is not in {report}");
    }
    ensure!(
        report.contains("role nfs: works, without kernel handles")
            && report.contains("without users"),
        "{report}"
    );
    Ok(())
}

#[test]
fn nfs_serves_an_empty_root() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let (root, port) = (Root::new()?, Port::reserve()?);
    let number = port.number().to_string();
    for role in [&["nfs"][..], &["serve", "--no-mdns", "--loops", "2"]] {
        let mut command = root.command(role);
        command.args([
            "-p",
            "-n",
            &number,
            "-l",
            "127.0.0.1",
            "--export",
            "/srv:rw",
        ]);
        let mut server = command.stderr(Stdio::piped()).spawn()?;
        let attempt = || -> Result<()> {
            let mut client = connect(&mut server, port.number())?;
            let top = client.mount("/srv")?;
            let data = pattern(1, 0, LEN);
            let file = client.create(&top, role[0], How::Guarded(Set::mode(0o644)))?;
            client.write_all(&file, 0, stable_how::FILE_SYNC, &data, 32 << 10)?;
            ensure!(root.read(role[0])? == data, "{role:?}");
            let (read, _) = client.read(&file, 7, 4096)?;
            ensure!(read == &data[7..7 + 4096], "READ");
            Ok(())
        };
        let mut attempt = attempt;
        let result = attempt();
        kill(Pid::from_raw(server.id().try_into()?), Signal::SIGTERM)?;
        let output = server.wait_with_output()?;
        result.with_context(|| format!("{output:?}"))?;
        ensure!(output.status.success(), "{output:?}");
    }
    Ok(())
}
