//! Sessions of the shipped file with each flag of `--help`, one or several at a time.

use super::{Log, filled};
use crate::mdns::world::{Process, World};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::nfs::Client;
use xtask::clients::sftp::{Sftp, SftpOptions};
use xtask::machines::iso::{ROCK_RIDGE, write_image};
use xtask::machines::port::Port;
use xtask::machines::server::{binary, public_dir, root_for};

/// The sessions: role, arguments, and a part of the line after which the program is used and stopped.
fn sessions() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let lines = include_str!("sessions.txt").lines();
    let rows = lines.filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| {
        let (command, line) = row.split_once(" ->")?;
        let (role, words) = command.split_once(' ')?;
        Some((role, words, line.trim_start()))
    })
}

/// Flags that syscalls.md excludes.
const EXCLUDED: [&str; 1] = ["--net"];

/// Makes the files that the arguments name.
fn prepare(scratch: &Path) -> Result<()> {
    let path = scratch.display();
    for name in ["files", "services", "machines", "machines/one"] {
        fs::create_dir(scratch.join(name))?;
    }
    let files = scratch.join("files");
    filled(&files)?;
    write_image(ROCK_RIDGE[0], &files.join("sub"), &files.join("image.iso"))?;
    let service = "<service-group><name>Web</name><service><type>_http._tcp</type><port>80</port></service></service-group>";
    for (name, text) in [
        (
            "exports",
            format!("{path}/files 127.0.0.1(rw,insecure,isos)\n"),
        ),
        ("hosts", "192.0.2.7 printer.local\n".to_owned()),
        ("services/web.service", service.to_owned()),
        (
            "services/shell.dnssd",
            "[Service]\nName=Shell\nType=_ssh._tcp\nPort=22\n".to_owned(),
        ),
        ("machines/one/one.vmx", "displayName = \"one\"\n".to_owned()),
    ] {
        fs::write(scratch.join(name), text)?;
    }
    Ok(())
}

/// Runs all sessions of `role`.
pub(super) fn run(log: &Log, role: &str) -> Result<()> {
    let scratch = public_dir()?;
    prepare(scratch.path())?;
    let has_link = ["mdns", "browse", "resolve", "publish"].contains(&role);
    let world = World::shipped(log.wrapper())?;
    let responder = match role {
        "browse" | "resolve" => Some(Process::responder(
            &world.theirs,
            &["--name", "box", "--service", "Files,_sftp-ssh._tcp,22"],
        )?),
        _ => None,
    };
    if let Some(responder) = &responder {
        responder.wait_for("announced box.local")?;
    }
    for (_, words, line) in sessions().filter(|(of, ..)| *of == role) {
        // The command needs calls of its own.
        if log.kills && words.contains("--exec") {
            continue;
        }
        let at = format!("{role} {words}");
        let ports: Vec<Port> = words
            .matches('%')
            .map(|_| Port::reserve())
            .collect::<Result<_>>()?;
        let mut numbers = ports.iter().map(|port| port.number().to_string());
        let words: String = words.replace('@', &scratch.path().display().to_string());
        let words: Vec<String> = words
            .split(' ')
            .map(|word| match word.split_once('%') {
                Some((before, _)) => format!("{before}{}", numbers.next().unwrap_or_default()),
                None => word.to_owned(),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if line == "SFTP" {
            talk(log, &words).context(at)?;
            continue;
        }
        // Multicast DNS needs the link; a client of this process reaches programs of its own namespace only.
        let process = if has_link || words.contains(&"--hosts") {
            world.start(role, &words)?
        } else {
            let wrapper = log.wrapper();
            let (program, arguments) = wrapper.split_first().context("no wrapper")?;
            let mut command = Command::new(program);
            command
                .args(arguments)
                .arg(binary(Arch::X86_64)?)
                .arg(role)
                .args(&words);
            Process::logging(command)?
        };
        if line.is_empty() {
            process.wait().context(at)?;
            continue;
        }
        // The processes of `serve` begin to listen in any order.
        let lines = [line, "for NFS"];
        let lines = &lines[..1 + usize::from(role == "serve")];
        process.wait_for_all(lines).with_context(|| at.clone())?;
        visit(&words, scratch.path()).context(at)?;
        let pid_file = scratch.path().join("pid");
        let daemon = fs::read_to_string(&pid_file).unwrap_or_default();
        for signal in [Signal::SIGHUP, Signal::SIGTERM] {
            if let Ok(pid) = daemon.trim().parse() {
                kill(Pid::from_raw(pid), signal)?;
            } else {
                process.signal_children(signal)?;
            }
            sleep(Duration::from_millis(300));
        }
        process.wait()?;
        let _ = fs::remove_file(pid_file);
    }
    Ok(())
}

/// Uses a server with these arguments.
fn visit(words: &[&str], scratch: &Path) -> Result<()> {
    let value = |flag| words.iter().skip_while(move |word| **word != flag).nth(1);
    if let Some(place) = value("--listen") {
        // INIT, and REALPATH of an empty path.
        let requests = b"\0\0\0\x05\x01\0\0\0\x03\0\0\0\x09\x10\0\0\0\x01\0\0\0\0";
        let reply = &mut [0; 4096];
        if place.starts_with('/') {
            let mut stream = UnixStream::connect(place)?;
            stream.write_all(requests)?;
            ensure!(stream.read(reply)? > 9, "no VERSION");
        } else {
            let mut stream = std::net::TcpStream::connect(place)?;
            stream.write_all(requests)?;
            ensure!(stream.read(reply)? > 9, "no VERSION");
        }
    }
    if value("--loaders").is_some() {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.send_to(b"\0\x01sub/large\0octet\0blksize\08192\0", "127.0.0.1:69")?;
        let reply = &mut [0; 9000];
        let (_, server) = socket.recv_from(reply)?;
        socket.send_to(b"\0\x04\0\0", server)?;
        ensure!(socket.recv(reply)? == 8196, "no block");
        socket.send_to(b"\0\x05\0\0\0", server)?;
    }
    if let Some(place) = value("--http") {
        let place = match place.contains(':') {
            true => (*place).to_owned(),
            false => format!("127.0.0.1:{place}"),
        };
        let top = match words.contains(&"--http-root") {
            true => String::new(),
            false => scratch.join("files").display().to_string(),
        };
        for path in ["/", "/sub/large", "/image.iso/large", "/none"] {
            let mut stream = std::net::TcpStream::connect(&place)?;
            // The byte after the request makes the server end its sending direction before it closes.
            write!(stream, "GET {top}{path} HTTP/1.0\r\n\r\n.")?;
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply)?;
            let status = if path == "/none" { "404" } else { "200" };
            let start = format!("HTTP/1.1 {status} ");
            ensure!(reply.starts_with(start.as_bytes()), "{top}{path}");
        }
    }
    let Some(port) = value("-n").filter(|port| **port != "4049") else {
        return Ok(());
    };
    let at: SocketAddr = ([127, 0, 0, 1], port.parse()?).into();
    let at_mount = match value("-m") {
        Some(port) => ([127, 0, 0, 1], port.parse()?).into(),
        None => at,
    };
    let files = scratch.join("files").display().to_string();
    let image = format!("{files}/image.iso");
    let holds_images = words
        .iter()
        .any(|word| word.contains("isos") || word.contains("exports"));
    for path in [&files, &image]
        .into_iter()
        .take(1 + usize::from(holds_images))
    {
        let root = Client::connect(at_mount)?.mount(path)?;
        let mut client = Client::connect(at)?;
        client.list(&root)?;
        let large = match path == &image {
            true => client.lookup(&root, "large")?,
            false => {
                let sub = client.lookup(&root, "sub")?;
                client.lookup(&sub, "large")?
            }
        };
        client.read(&large, 0, 4096)?;
        client.read(&large, 4096, 1 << 20)?;
    }
    Ok(())
}

/// An SFTP session over pipes.
fn talk(log: &Log, words: &[&str]) -> Result<()> {
    let options = SftpOptions {
        wrapper: log.wrapper(),
        ..SftpOptions::default()
    };
    let mut client = Sftp::start(&options.with_arguments(words))?;
    client.real_path(".")?;
    client.list(".")?;
    client.read_file("sub/large")?;
    // Refused by -R, or not among the requests of -p.
    let _ = client.create("new");
    client.finish().map(drop)
}

/// The flags that a `--help` names.
fn flags_of(help: &str) -> impl Iterator<Item = &str> {
    let rows = help.lines().filter_map(|line| line.strip_prefix("  -"));
    let rows = rows.map(|row| row.split('\t').next().unwrap_or_default());
    rows.flat_map(|row| row.split([' ', ',']).enumerate())
        .filter_map(|(at, word)| match at {
            0 => Some(word),
            _ => word.strip_prefix('-'),
        })
}

/// Under a filter of the published list that kills, each of the sessions works.
#[test]
fn no_session_needs_an_unlisted_call() -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    let mut log = Log::new(None)?;
    log.kills = true;
    let roles: BTreeSet<&str> = sessions().map(|(role, ..)| role).collect();
    ensure!(sessions().count() > 42 && roles.len() == 17, "{roles:?}");
    for role in roles {
        run(&log, role)?;
    }
    for entry in fs::read_dir(log.directory.path())? {
        let text = fs::read_to_string(entry?.path())?;
        // `install` becomes a shell, which needs other calls.
        let lines = text.lines();
        let own = lines.take_while(|line| !line.contains("execve(\"/bin/sh\""));
        let lines: Vec<&str> = own.collect();
        let killed = lines
            .iter()
            .position(|line| line.contains("killed by SIGSYS"));
        let before = killed.map(|at| &lines[at.saturating_sub(5)..=at]);
        ensure!(before.is_none(), "{}: {before:#?}", lines[0]);
    }
    Ok(())
}

#[test]
fn each_flag_of_the_help_has_a_session() -> Result<()> {
    for role in [
        "nfs",
        "http",
        "boot",
        "mdns",
        "browse",
        "resolve",
        "publish",
        "sftp-server",
        "check",
    ] {
        let help = Command::new(binary(Arch::X86_64)?)
            .args([role, "--help"])
            .output()?;
        let help = String::from_utf8(help.stdout)?;
        let sessions: Vec<&str> = sessions()
            .filter(|(of, ..)| *of == role || role == "nfs" && *of == "serve")
            .flat_map(|(_, words, _)| words.split_whitespace())
            .collect();
        let missing: Vec<String> = flags_of(&help)
            .map(|flag| format!("-{flag}"))
            .filter(|flag| !EXCLUDED.contains(&flag.as_str()) && !sessions.contains(&flag.as_str()))
            .collect();
        ensure!(
            help.contains("\n  -") && missing.is_empty(),
            "{role}: no session has {missing:?}"
        );
    }
    Ok(())
}
