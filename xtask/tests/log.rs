//! The log of a server: time and level of its lines, JSON, what logrotate and rsyslog make of it, a full disk, the limit of its size.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::nfs::Client;
use xtask::machines::port::Port;
use xtask::machines::server::{binary, message, public_dir, root_for};
use xtask::machines::wait_for;
use xtask::setup;

/// Longest wait for a line.
const PATIENCE: Duration = Duration::from_secs(10);
/// Size (bytes) at which a log gets another name.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// A server of an empty directory. Drop kills it.
struct Server {
    child: Child,
    port: Port,
    dir: TempDir,
}

impl Server {
    /// Starts `words` after the name of the program, by the command `before` that ends with the program; standard error is the file
    /// `stderr`.
    fn start(before: &[&str], words: &str) -> Result<Self> {
        let (dir, port) = (public_dir()?, Port::reserve()?);
        let file = binary(Arch::X86_64)?.display().to_string();
        let words = words.replace('@', &dir.path().display().to_string());
        let number = port.number().to_string();
        let mut all: Vec<&str> = [before, &[&*file]].concat();
        all.extend(words.split_whitespace());
        let child = Command::new(all[0])
            .args(&all[1..])
            .args(["-p", "-l", "127.0.0.1", "--handles", "path", "-n", &number])
            .arg("--export")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.path().join("stderr"))?)
            .spawn()?;
        Ok(Self { child, port, dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until the file `name` has a line with `part`, and returns all lines.
    fn wait_for_line(&self, name: &str, part: &str) -> Result<Vec<String>> {
        let read = || fs::read_to_string(self.path(name)).unwrap_or_default();
        let found = wait_for(PATIENCE, || Ok(read().contains(part).then_some(())))?;
        found.with_context(|| format!("no {part:?} in {name}:\n{}", read()))?;
        Ok(read().lines().map(str::to_owned).collect())
    }

    /// Asks for an export that does not exist, which the server reports.
    fn be_refused(&self, path: &str) -> Result<()> {
        let mut client = Client::connect(([127, 0, 0, 1], self.port.number()).into())?;
        ensure!(client.mount(path).is_err());
        Ok(())
    }

    /// Asks ten times for an export with a long name, from an address of its own: the rate limit is for each address.
    fn be_refused_by_udp(&self, number: u32) -> Result<()> {
        let mut call = Vec::new();
        for word in [7, 0, 2, 100_005, 3, 1, 0, 0, 0, 0, 1000] {
            call.extend(u32::to_be_bytes(word));
        }
        call.extend([b'x'; 1000]);
        let [_, a, b, c] = u32::to_be_bytes(number + 2);
        let socket = UdpSocket::bind((Ipv4Addr::new(127, a, b, c), 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        for _ in 0..10 {
            socket.send_to(&call, (Ipv4Addr::LOCALHOST, self.port.number()))?;
            socket.recv(&mut [0; 64])?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.signal(Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

#[test]
fn lines_have_time_and_level() -> Result<()> {
    for (zone, suffix) in [("TZ=UTC0", "Z"), ("TZ=XYZ-5:30", "+05:30")] {
        let server = Server::start(&["env", zone], "serve --no-mdns --log-level debug")?;
        server.wait_for_line("stderr", "listening on")?;
        server.be_refused("/none")?;
        server.wait_for_line("stderr", "may not mount /none")?;
        let lines = server.wait_for_line("stderr", "has disconnected")?;
        ensure!(lines.iter().any(|line| line.contains("has connected")));
        for line in &lines {
            let (time, rest) = line.split_once(' ').context("one word")?;
            let level = match (line.contains("may not mount"), line.contains("connected")) {
                (true, _) => "warn stowaway: 127.0.0.1 ",
                (_, true) => "debug stowaway: 127.0.0.1 ",
                _ => "info stowaway: ",
            };
            let is_time = time.len() == 19 + suffix.len() && time.ends_with(suffix);
            ensure!(is_time && rest.starts_with(level), "{line}");
            ensure!(message(line).starts_with("stowaway: "), "{line}");
        }
    }
    let server = Server::start(&[], "nfs --log-level error")?;
    wait_for(PATIENCE, || Ok(server.be_refused("/none").ok()))?;
    ensure!(fs::read(server.path("stderr"))?.is_empty());
    Ok(())
}

#[test]
fn json_lines_are_objects_with_stable_keys() -> Result<()> {
    let server = Server::start(&[], "serve --no-mdns --log-format json")?;
    server.wait_for_line("stderr", "listening on")?;
    server.be_refused("/a \"quoted\\ name\x01")?;
    let lines = server.wait_for_line("stderr", "may not mount")?;
    for line in &lines {
        let line: serde_json::Value = serde_json::from_str(line)?;
        for key in ["time", "level", "role", "message"] {
            ensure!(line[key].is_string() && line["pid"].is_u64(), "{line}");
        }
        if line["level"] == "warn" && line["peer"] == "127.0.0.1" {
            ensure!(line["about"] == r#"/a "quoted\ name\001"#, "{line}");
            ensure!(line["role"] == "nfs", "{line}");
            return Ok(());
        }
    }
    anyhow::bail!("no line about the client in {lines:#?}")
}

/// Standard error that is the journal: priorities instead of times, in each process of the server.
#[test]
fn journal_lines_begin_with_their_priority() -> Result<()> {
    for (format, start) in [("text", ""), ("json", "{\"time\":")] {
        for (file, is_journal) in [("/proc/self/fd/2", true), ("/dev/null", false)] {
            let set = format!("export JOURNAL_STREAM=$(stat -Lc %d:%i {file}); exec \"$@\"");
            let words = format!("serve --no-mdns --log-format {format}");
            let server = Server::start(&["sh", "-c", &set, "sh"], &words)?;
            server.wait_for_line("stderr", "listening on")?;
            server.be_refused("/none")?;
            for line in server.wait_for_line("stderr", "may not mount /none")? {
                let priority = match line.contains("may not mount") {
                    true => format!("<4>{start}"),
                    false => format!("<6>{start}"),
                };
                ensure!(line.starts_with(&priority) == is_journal, "{line}");
                ensure!(!is_journal || !line.contains("stowaway: "), "{line}");
            }
        }
    }
    Ok(())
}

/// SIGHUP when the file cannot be opened: each process says so in the file that it still has.
#[test]
fn log_that_cannot_be_opened_again_is_reported() -> Result<()> {
    let server = Server::start(&[], "serve --no-mdns --log @/log")?;
    server.wait_for_line("log", "listening on")?;
    fs::rename(server.path("log"), server.path("old"))?;
    fs::create_dir(server.path("log"))?;
    server.signal(Signal::SIGHUP)?;
    let path = server.path("log");
    let message = format!("cannot open the log again {}: is a dir", path.display());
    server.wait_for_line("old", &message)?;
    server.be_refused("/none")?;
    server.wait_for_line("old", "may not mount /none")?;
    Ok(())
}

/// `-`, /dev/stdout and a link to it are standard output, for both logs, without /dev.
#[test]
fn logs_may_be_standard_streams_and_links() -> Result<()> {
    for name in ["-", "/dev/stdout", "/dev/stderr", "@/link"] {
        // The link is made before the server starts.
        let script = "for log; do case $log in */link) ln -s /dev/stdout \"$log\";; esac; done 2>/dev/null; exec \"$@\" >&2";
        let words = format!("serve --no-mdns --http 127.0.0.1:0 --log {name} --access-log {name}");
        let server = Server::start(&["sh", "-c", script, "sh"], &words)?;
        let lines = server.wait_for_line("stderr", "for HTTP")?;
        let line = lines.iter().find(|line| line.contains("for HTTP"));
        let (_, at) = line
            .and_then(|line| line.split_once("http://"))
            .context(name)?;
        let (at, _) = at.split_once('/').context("no path")?;
        let mut client = std::net::TcpStream::connect(at)?;
        client.write_all(b"GET /none HTTP/1.0\r\n\r\n")?;
        server.wait_for_line("stderr", "\"GET /none HTTP/1.0\" 404")?;
    }
    Ok(())
}

/// A logger that takes a stream gets lines that end with NUL; one that starts again, also of the other kind, gets the next line. The
/// server says once that there is none.
#[test]
fn logger_may_take_a_stream_and_start_again() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let root = public_dir()?;
    for name in ["dev", "srv"] {
        fs::create_dir(root.path().join(name))?;
    }
    fs::copy(binary(Arch::X86_64)?, root.path().join("stowaway"))?;
    let (socket, port) = (root.path().join("dev/log"), Port::reserve()?);
    let number = port.number().to_string();
    let errors = root.path().join("errors");
    let server = Command::new("chroot")
        .arg(root.path())
        .args([
            "/stowaway",
            "nfs",
            "--export",
            "/srv",
            "-p",
            "--log",
            "syslog",
        ])
        .args(["-l", "127.0.0.1", "--handles", "path", "-n", &number])
        .stderr(fs::File::create(&errors)?)
        .spawn()?;
    let server = Ended(server);
    let refused = || {
        let mut client = Client::connect(([127, 0, 0, 1], port.number()).into())?;
        ensure!(client.mount("/none").is_err());
        Ok(())
    };
    wait_for(PATIENCE, || Ok(refused().ok()))?.context("the server does not start")?;
    let tag = format!("stowaway[{}]: 127.0.0.1 may not mount", server.0.id());
    for _ in 0..2 {
        let listener = UnixListener::bind(&socket)?;
        refused()?;
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = [0; 512];
        let len = stream.read(&mut line)?;
        let line = String::from_utf8_lossy(&line[..len]);
        ensure!(
            line.starts_with("<28>") && line.contains(&tag) && line.ends_with('\0'),
            "{line:?}"
        );
        drop((stream, listener));
        fs::remove_file(&socket)?;
        refused()?;
        let datagrams = UnixDatagram::bind(&socket)?;
        datagrams.set_read_timeout(Some(PATIENCE))?;
        refused()?;
        let mut line = [0; 512];
        let len = datagrams.recv(&mut line)?;
        let line = String::from_utf8_lossy(&line[..len]);
        ensure!(
            line.contains(&tag) && line.ends_with("/none: not exported"),
            "{line:?}"
        );
        fs::remove_file(&socket)?;
    }
    let lost = fs::read_to_string(&errors)?;
    let message = "stowaway: cannot write the log /dev/log: no logger reads it\n";
    // At the start, and after each of two streams that ended.
    ensure!(lost == message.repeat(3), "{lost}");
    Ok(())
}

/// After logrotate, each process of the server writes to the new file.
#[test]
fn logrotate_moves_the_log_of_all_processes() -> Result<()> {
    setup::install_packages(&["logrotate"])?;
    let server = Server::start(
        &[],
        "serve --loops 2 --no-mdns --http 127.0.0.1:0 --log @/log -i @/pid",
    )?;
    server.wait_for_line("log", "for HTTP")?;
    let dir = server.dir.path().display();
    let rules = format!(
        "{dir}/log {{\n rotate 3\n su root root\n postrotate\n kill -HUP $(cat {dir}/pid)\n endscript\n}}\n"
    );
    let rules_path = server.path("rules");
    fs::write(&rules_path, rules)?;
    let rotated = Command::new("logrotate")
        .args(["--force", "--state"])
        .args([&server.path("state"), &rules_path])
        .output()?;
    ensure!(rotated.status.success(), "{rotated:?}");
    server.wait_for_line("log.1", "listening on")?;
    let new = server.path("log");
    let processes = descendants(server.child.id())?;
    ensure!(processes.len() == 4, "{processes:?}");
    for process in processes {
        let log = format!("/proc/{process}/fd/2");
        let is_new = || Ok(fs::read_link(&log).is_ok_and(|at| at == new).then_some(()));
        wait_for(PATIENCE, is_new)?.with_context(|| format!("{process} has the old log"))?;
    }
    server.be_refused("/none")?;
    server.wait_for_line("log", "may not mount /none")?;
    Ok(())
}

/// A process and its children.
fn descendants(process: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    let children = children.split_whitespace().map(str::parse);
    let mut all = children.collect::<Result<Vec<u32>, _>>()?;
    all.push(process);
    Ok(all)
}

/// rsyslog finds priority, tag, PID, time and host of lines by UDP, and priority, tag and PID of those by /dev/log.
#[test]
fn rsyslog_parses_lines_by_udp_and_socket() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    setup::install_packages(&["rsyslog"])?;
    let (logger, port) = (public_dir()?, Port::reserve()?);
    let dir = logger.path().display();
    for name in ["dev", "srv"] {
        fs::create_dir(logger.path().join(name))?;
    }
    fs::copy(binary(Arch::X86_64)?, logger.path().join("stowaway"))?;
    let rules = format!(
        "module(load=\"imudp\")\nmodule(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{}\")\ninput(type=\"imuxsock\" Socket=\"{dir}/dev/log\")\n\
         template(name=\"parts\" type=\"string\" string=\"%pri-text%|%programname%|%procid%|%hostname%|%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{dir}/lines\" template=\"parts\")\n",
        port.number()
    );
    fs::write(logger.path().join("rules"), rules)?;
    let mut rsyslog = Command::new("rsyslogd");
    rsyslog.args([
        "-n",
        "-i",
        &format!("{dir}/pid"),
        "-f",
        &format!("{dir}/rules"),
    ]);
    let _rsyslog = Ended(rsyslog.stderr(Stdio::null()).spawn()?);
    let socket = logger.path().join("dev/log");
    wait_for(PATIENCE, || Ok(socket.exists().then_some(())))?.context("no /dev/log")?;
    let own = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let own = own.trim();
    for (log, count) in [
        (format!("syslog:127.0.0.1:{}", port.number()), 1),
        ("syslog".to_owned(), 2),
    ] {
        let mut server = Command::new("chroot");
        server
            .arg(logger.path())
            .args(["/stowaway", "nfs", "--export", "/srv:rw", "-p"]);
        server.args(["-l", "127.0.0.1", "-n", "0", "--log", &log]);
        let server = Ended(server.spawn()?);
        let parts = format!("|stowaway|{}|", server.0.id());
        let read = || fs::read_to_string(logger.path().join("lines")).unwrap_or_default();
        let found = wait_for(PATIENCE, || {
            let text = read();
            let lines = text.lines().filter(|line| line.contains(&parts));
            let has = |start: &str, part: &str| {
                lines
                    .clone()
                    .any(|line| line.starts_with(start) && line.contains(part))
            };
            let is_all =
                has("daemon.info|", "listening on") && has("daemon.warning|", "all hosts may");
            Ok((is_all && (count > 1 || has("daemon", &format!("|{own}|")))).then_some(()))
        })?;
        found.with_context(|| format!("{log}: no lines with {parts}:\n{}", read()))?;
    }
    Ok(())
}

/// A child process that is ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A full disk is reported to standard error once until a line is written again.
#[test]
fn full_disk_is_reported_once() -> Result<()> {
    if !root_for("a tmpfs") {
        return Ok(());
    }
    let dir = public_dir()?;
    let at = dir.path().display().to_string();
    let mount = format!("mount -t tmpfs -o size=16k none {at} && exec \"$@\"");
    let before = ["unshare", "-m", "sh", "-c", &mount, "sh"];
    let server = Server::start(&before, &format!("nfs --log {at}/log"))?;
    // The tmpfs is in the mount namespace of the server.
    let inside = PathBuf::from(format!("/proc/{}/root{at}", server.child.id()));
    let is_ready = || Ok(server.be_refused("/none").ok());
    wait_for(PATIENCE, is_ready)?.context("the server does not start")?;
    for round in 1..=2 {
        fill(&inside.join("full"))?;
        server.be_refused_by_udp(round)?;
        let lines = server.wait_for_line("stderr", "/log: the disk is full")?;
        ensure!(lines.len() == round as usize, "{lines:#?}");
        fs::remove_file(inside.join("full"))?;
        server.be_refused("/written")?;
    }
    ensure!(fs::read_to_string(inside.join("log"))?.contains("/written"));
    Ok(())
}

/// Writes until the disk is full.
fn fill(path: &Path) -> Result<()> {
    let mut file = fs::File::create(path)?;
    while file.write_all(&[0; 512]).is_ok() {}
    Ok(())
}

/// STOWAWAY_FULL writes 1 GB.
#[test]
fn log_never_exceeds_its_limit() -> Result<()> {
    let server = Server::start(&[], "nfs --log @/log")?;
    server.wait_for_line("log", "listening on")?;
    let count = match std::env::var_os("STOWAWAY_FULL") {
        Some(_) => 2_000_000,
        None => 10_000,
    };
    for number in 0..count / 10 {
        server.be_refused_by_udp(number)?;
        let sizes =
            ["log", "log.1"].map(|name| fs::metadata(server.path(name)).map_or(0, |it| it.len()));
        ensure!(
            sizes.iter().all(|size| *size < LOG_BYTES_MAX + 1024),
            "{sizes:?}"
        );
    }
    ensure!(fs::metadata(server.path("log.1"))?.len() >= LOG_BYTES_MAX);
    Ok(())
}
