//! The server in the background, started from busybox ash in a directory tree that has nothing else: it leaves its terminal, locks
//! its pid file, writes its log, reads exports again and stops.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::nfs::Client;
use xtask::machines::port::Port;
use xtask::machines::server::{binary, public_dir, root_for};
use xtask::setup;

/// Size (bytes) at which a log gets another name.
const LOG_BYTES_MAX: usize = 1 << 20;

/// A tree with busybox, the executable, /dev/null and an exported directory.
struct Host {
    tree: TempDir,
    port: Port,
}

impl Host {
    fn new() -> Result<Self> {
        setup::install_packages(&["busybox-static"])?;
        let tree = public_dir()?;
        for dir in ["bin", "sbin", "etc", "dev", "run", "var", "srv", "data"] {
            fs::create_dir(tree.path().join(dir))?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
        let busybox = busybox.iter().find(|path| path.exists());
        fs::copy(
            busybox.context("no busybox")?,
            tree.path().join("bin/busybox"),
        )?;
        fs::copy(binary(Arch::X86_64)?, tree.path().join("sbin/stowaway"))?;
        mknod(
            &tree.path().join("dev/null"),
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(1, 3),
        )?;
        let host = Self {
            tree,
            port: Port::reserve()?,
        };
        host.export("/srv")?;
        Ok(host)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.path().join(path)
    }

    /// Writes /etc/exports with one export.
    fn export(&self, path: &str) -> Result<()> {
        fs::write(
            self.path("etc/exports"),
            format!("{path} 127.0.0.1(rw,insecure)\n"),
        )?;
        Ok(())
    }

    /// Runs `command` by busybox ash in the tree, on a terminal that is closed when the command has ended.
    fn run(&self, command: &str) -> Result<Output> {
        let inside = format!(
            "chroot {} /bin/busybox ash -c '{command}'",
            self.tree.path().display()
        );
        Command::new("script")
            .args(["-qec", &inside, "/dev/null"])
            .output()
            .context("cannot start script(1)")
    }

    /// Starts a server in the background with `words`, and waits until the command has ended.
    fn start(&self, words: &str) -> Result<String> {
        let port = self.port.number();
        let command = format!("{words} -p -n {port} -l 127.0.0.1 --handles path");
        let output = self.run(&command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{command}: {text}");
        ensure!(text.contains("listening on 127.0.0.1:"), "{text}");
        Ok(text)
    }

    fn client(&self) -> Result<Client> {
        Client::connect(([127, 0, 0, 1], self.port.number()).into())
    }

    /// Waits until a client can, or cannot, mount `path`.
    fn wait_for_mount(&self, path: &str, can: bool) -> Result<()> {
        let start = Instant::now();
        while self.client()?.mount(path).is_ok() != can {
            ensure!(
                start.elapsed() < Duration::from_secs(5),
                "mounting {path} must be {can}"
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The process of the pid file. `None`: the file is empty.
    fn pid(&self) -> Result<Option<Pid>> {
        let text = fs::read_to_string(self.path("run/nfs.pid"))?;
        let number = text.trim();
        Ok(match number {
            "" => None,
            _ => Some(Pid::from_raw(number.parse()?)),
        })
    }

    /// Sends SIGTERM to the process of the pid file, and waits until it has ended.
    fn stop(&self) -> Result<()> {
        let pid = self.pid()?.context("the pid file is empty")?;
        kill(pid, Signal::SIGTERM)?;
        let start = Instant::now();
        while self.client().is_ok() || self.pid()?.is_some() {
            ensure!(
                start.elapsed() < Duration::from_secs(5),
                "the server has not ended"
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

#[test]
fn daemon_of_busybox_ash_logs_reloads_and_stops() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    for role in ["nfs", "serve --no-mdns", "serve --no-mdns --loops 2"] {
        host.export("/srv")?;
        let words = format!("stowaway {role} -D -i /run/nfs.pid --log /var/log");
        host.start(&words)?;
        // The terminal is closed by now.
        host.wait_for_mount("/srv", true)?;
        let pid = host.pid()?.context("the pid file is empty")?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        // Session and terminal, fields 6 and 7 of proc(5).
        ensure!(fields[4] == pid.to_string() && fields[5] == "0", "{stat}");

        let port = host.port.number();
        let second = host.run(&format!("{words} -p -n {port} -l 127.0.0.1"))?;
        let text = String::from_utf8_lossy(&second.stdout).into_owned();
        ensure!(
            second.status.code() == Some(1) && text.contains("a running server has locked it"),
            "{text}"
        );

        host.export("/data")?;
        kill(pid, Signal::SIGHUP)?;
        host.wait_for_mount("/data", true)?;
        host.wait_for_mount("/srv", false)?;
        // Read at the end: a loop may answer MNT before another one has reported the export.
        host.stop()?;
        let log = fs::read_to_string(host.path("var/log"))?;
        for part in [
            "exporting /srv",
            "listening on",
            "sandbox: ",
            "mounted /srv",
            "no longer exporting /srv",
            "exporting /data",
            "stowaway: stopping\n",
        ] {
            ensure!(log.contains(part), "no {part:?} in {log}");
        }
        fs::remove_file(host.path("var/log"))?;
    }
    Ok(())
}

/// The file system of the start directory can then be unmounted.
#[test]
fn daemon_leaves_its_start_directory_and_finds_relative_paths() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    for role in ["nfs", "serve --no-mdns"] {
        host.start(&format!(
            "cd /var; stowaway {role} -D -i ../run/nfs.pid --log log -e ../etc/exports"
        ))?;
        host.wait_for_mount("/srv", true)?;
        let pid = host.pid()?.context("the pid file is empty")?;
        let directory = fs::read_link(format!("/proc/{pid}/cwd"))?;
        ensure!(directory == host.tree.path(), "{}", directory.display());
        fs::rename(host.path("var/log"), host.path("var/log.1"))?;
        host.export("/data")?;
        kill(pid, Signal::SIGHUP)?;
        host.wait_for_mount("/data", true)?;
        host.stop()?;
        let log = fs::read_to_string(host.path("var/log"))?;
        ensure!(log.contains("mounted /data"), "{log}");
        fs::remove_file(host.path("var/log"))?;
        host.export("/srv")?;
    }
    Ok(())
}

#[test]
fn unfsd_runs_in_the_background_unless_told_otherwise() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    symlink("stowaway", host.path("sbin/unfsd"))?;
    host.start("unfsd -i /run/nfs.pid")?;
    host.wait_for_mount("/srv", true)?;
    host.stop()?;
    // As unfsd of init scripts is started: TCP only, one user.
    host.start("unfsd -t -s -e /etc/exports -i /run/nfs.pid")?;
    host.wait_for_mount("/srv", true)?;
    host.stop()
}

#[test]
fn failure_to_start_is_shown_on_the_terminal() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    for (words, part) in [
        (
            "--export /dev/null",
            "cannot export /dev/null: neither a directory",
        ),
        ("-e /etc/none", "cannot read /etc/none: does not exist"),
        (
            "--log /none/log",
            "cannot write the log /none/log: does not exist",
        ),
        (
            "-i /none/pid",
            "cannot use the pid file /none/pid: does not exist",
        ),
        ("-i /run/link", "cannot use the pid file /run/link"),
    ] {
        let _ = symlink("other", host.path("run/link"));
        for role in ["nfs", "serve --no-mdns"] {
            let output = host.run(&format!("stowaway {role} -D -p -n 0 {words}"))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(
                output.status.code() == Some(1) && text.contains(part),
                "{role} {words}: {}, {text}",
                output.status
            );
        }
    }
    fs::remove_file(host.path("dev/null"))?;
    let output = host.run("stowaway nfs -D -p -n 0 --export /srv")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains("without /dev/null: does not exist"), "{text}");
    Ok(())
}

/// A file of the server that became descriptor 0 would be closed when the server leaves its terminal.
#[test]
fn daemon_without_standard_streams_keeps_pid_file() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    let port = host.port.number();
    let output = host.run(&format!(
        "stowaway nfs -D -i /run/nfs.pid -p -n {port} -l 127.0.0.1 --handles path <&- >&-"
    ))?;
    ensure!(output.status.success(), "{output:?}");
    host.wait_for_mount("/srv", true)?;
    host.pid()?.context("the pid file is empty")?;
    host.stop()
}

/// The command ends once the server listens, although its only export is missing.
#[test]
fn missing_export_does_not_keep_the_terminal() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    for (role, name) in [("nfs", "/first"), ("serve --no-mdns", "/second")] {
        let words = format!("stowaway {role} -D -i /run/nfs.pid --export {name}");
        let text = host.start(&words)?;
        ensure!(text.contains(&format!("waiting for {name}")), "{text}");
        fs::create_dir(host.path(name.trim_start_matches('/')))?;
        host.wait_for_mount(name, true)?;
        host.stop()?;
    }
    Ok(())
}

#[test]
fn full_log_gets_another_name() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    fs::write(host.path("var/log"), vec![b'x'; LOG_BYTES_MAX])?;
    for _ in 0..2 {
        host.start("stowaway serve --no-mdns --loops 2 -D -i /run/nfs.pid --log /var/log")?;
        for _ in 0..8 {
            host.wait_for_mount("/srv", true)?;
        }
        host.stop()?;
        let [log, former] = ["var/log", "var/log.1"].map(|path| fs::read(host.path(path)));
        let (log, former) = (log?, former?);
        ensure!(
            former.len() >= LOG_BYTES_MAX
                && former[..LOG_BYTES_MAX].iter().all(|byte| *byte == b'x')
        );
        ensure!(
            log.starts_with(b"20") && log.len() < 10_000,
            "the log has {} bytes",
            log.len()
        );
    }
    Ok(())
}

#[test]
fn messages_go_to_a_logger_by_udp() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new()?;
    let logger = UdpSocket::bind("127.0.0.1:0")?;
    logger.set_read_timeout(Some(Duration::from_secs(5)))?;
    let at = logger.local_addr()?;
    host.start(&format!("stowaway nfs -D -i /run/nfs.pid --log {at}"))?;
    host.wait_for_mount("/srv", true)?;
    let (mut bytes, mut log) = ([0; 1024], String::new());
    while !log.contains("mounted /srv") {
        let len = logger.recv(&mut bytes)?;
        ensure!(bytes.starts_with(b"<30>"), "after {log}");
        log += &String::from_utf8_lossy(&bytes[..len]);
    }
    for part in ["exporting /srv", "listening on", "sandbox: "] {
        ensure!(log.contains(part), "no {part:?} in {log}");
    }
    host.stop()
}
