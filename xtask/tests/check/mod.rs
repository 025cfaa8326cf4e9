//! `stowaway check` against stowaway servers, working and failing, and against other servers.

mod strangers;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::machines::server::{
    Namespace, Server, ServerOptions, binary, public_dir, root_for, status_field, users,
};
use xtask::setup;

/// Time limit of a check. The timeout of the program is 3 s; the other 2 s are for a busy host.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Runs a check. Returns an error if the check takes longer than [`TIME_MAX`].
fn run(mut command: Command) -> Result<Output> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        start.elapsed() < TIME_MAX,
        "{command:?} took {:?}",
        start.elapsed()
    );
    Ok(output)
}

fn check(arch: Arch, words: &[&str], more: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary(arch)?);
    command.arg("check").args(words).args(more);
    Ok(command)
}

/// Ensures that `stowaway check` reports `count` exports, in plain text and in JSON. Runs the x86_64 and the i686 file.
fn ensure_serves(words: &[&str], count: usize, endpoint: &str) -> Result<()> {
    for arch in Arch::NATIVE {
        let plain = run(check(arch, words, &[])?)?;
        let json_run = run(check(arch, words, &["--json"])?)?;
        ensure!(
            plain.status.success() && json_run.status.success(),
            "{} {words:?}: {plain:?} {json_run:?}",
            arch.name()
        );
        let line = String::from_utf8(plain.stdout)?;
        ensure!(
            line == format!("nfs: {endpoint} serves, exports: {count}\n"),
            "{words:?}: {line}"
        );
        ensure!(
            line_of_json(json_run.stdout)? == json!({"nfs": {"ok": true, "exports": count}}),
            "{words:?}"
        );
        ensure!(plain.stderr.is_empty() && json_run.stderr.is_empty());
    }
    Ok(())
}

/// Ensures that `stowaway check` reports one line with the failing address or export (`about`) and the reason (`why`), and the same
/// in JSON. Runs the x86_64 and the i686 file.
fn fails(words: &[&str], about: &str, why: &str) -> Result<()> {
    let runs: Vec<_> = thread::scope(|scope| {
        let start = |arch, more: &'static [&str]| {
            scope.spawn(move || check(arch, words, more).and_then(run))
        };
        let started = Arch::NATIVE.map(|arch| (start(arch, &[]), start(arch, &["--json"])));
        let join = |run: thread::ScopedJoinHandle<'_, Result<Output>>| {
            run.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        started
            .map(|(plain, json_run)| (join(plain), join(json_run)))
            .into_iter()
            .collect()
    });
    for (plain, json_run) in runs {
        let (plain, json_run) = (plain?, json_run?);
        let line = String::from_utf8(plain.stderr)?;
        ensure!(
            plain.status.code() == Some(1) && json_run.status.code() == Some(1),
            "{words:?}: {} {}: {line}",
            plain.status,
            json_run.status
        );
        ensure!(
            line.lines().count() == 1 && line.ends_with('\n') && plain.stdout.is_empty(),
            "{words:?}: {line}"
        );
        let reason = line
            .trim_end()
            .strip_prefix(&format!("stowaway: nfs fails at {about}: "));
        let reason = reason.with_context(|| format!("{words:?} is not about {about}: {line}"))?;
        ensure!(
            reason.contains(why),
            "{words:?} does not say '{why}': {line}"
        );
        ensure!(json_run.stderr.is_empty());
        let json = line_of_json(json_run.stdout)?;
        // A reader of JSON gets the path itself.
        let path = about.replace("\\n", "\n").replace("\\\\", "\\");
        ensure!(
            json == json!({"nfs": {"ok": false, "about": path, "why": reason}}),
            "{words:?}: JSON {json} differs from {line}"
        );
    }
    Ok(())
}

fn line_of_json(stdout: Vec<u8>) -> Result<Value> {
    let text = String::from_utf8(stdout)?;
    ensure!(
        text.ends_with('\n') && text.lines().count() == 1,
        "the output is not a single line: {text}"
    );
    Ok(serde_json::from_str(&text)?)
}

#[test]
fn check_finds_exports_at_each_address_and_port() -> Result<()> {
    let (one, other) = (public_dir()?, public_dir()?);
    let image = one.path().join("a.iso");
    fs::write(other.path().join("file"), "content")?;
    setup::install_packages(&["xorriso"])?;
    setup::run_captured(
        Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-o"])
            .arg(&image)
            .arg(other.path()),
    )?;
    for user in users() {
        for (role, address, mount_port) in [
            ("nfs", "127.0.0.1", None),
            ("serve", "127.0.0.1", Some(0)),
            ("nfs", "::1", Some(0)),
            ("serve", "::1", None),
        ] {
            let server = Server::start(ServerOptions {
                role,
                user,
                mount_port,
                arguments: vec!["-l".into(), address.into()],
                ..ServerOptions::serving(&[one.path(), other.path(), &image])
            })?;
            let (port, mount) = (server.nfs_port.to_string(), server.mount_port.to_string());
            let mut words = vec!["nfs", "-l", address, "-n", &port];
            if port != mount {
                words.extend(["-m", &mount]);
            }
            let endpoint = match address {
                "::1" => format!("[::1]:{port}"),
                _ => format!("{address}:{port}"),
            };
            ensure_serves(&words, 3, &endpoint).with_context(|| format!("{role} as {user:?}"))?;
            words[2] = if address == "::1" { "::" } else { "0.0.0.0" };
            ensure_serves(&words, 3, &endpoint)?;
        }
    }
    Ok(())
}

/// Ensures that a check with these arguments, separated by spaces, exits with `code` and prints `expect` on standard output, then
/// standard error.
fn ensure_prints(network: &Namespace, words: &str, code: i32, expect: &str) -> Result<()> {
    let program = binary(Arch::X86_64)?.display().to_string();
    let mut command = network.command(&program);
    command.arg("check").args(words.split(' '));
    let output = run(command)?;
    let printed = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(
        output.status.code() == Some(code) && printed == expect,
        "{words}: {}: {printed}",
        output.status
    );
    Ok(())
}

/// Checks of a host without servers.
fn fails_without_servers(network: &Namespace) -> Result<()> {
    for (words, expect) in [
        (
            "mdns",
            "stowaway: mdns fails at 127.0.0.1: not served; no responder uses UDP port 5353, or none answers\n",
        ),
        (
            "sftp",
            "stowaway: sftp fails at 127.0.0.1:2222: cannot connect; start the server, or see --sftp\n",
        ),
        (
            "http",
            "stowaway: http fails at 127.0.0.1:80: cannot connect; start the server, or see --http\n",
        ),
        (
            "all",
            "mdns: not served\nsftp: not served\n\
             stowaway: nfs fails at 127.0.0.1:2049: cannot connect; start the server, or see -n, -m and -l\n",
        ),
    ] {
        ensure_prints(network, words, 1, expect)?;
    }
    Ok(())
}

/// Checks of a server whose processes are stopped: each protocol is named.
fn fails_while_stopped(network: &Namespace, server: &Server) -> Result<()> {
    let signal_all = |signal| -> Result<()> {
        for pid in server.children()? {
            kill(Pid::from_raw(pid.try_into()?), signal)?;
        }
        Ok(())
    };
    signal_all(Signal::SIGSTOP)?;
    let silent = "no answer within 3 s; check the server's disks, load and firewall";
    let stopped = format!(
        "stowaway: nfs fails at 127.0.0.1:2049: {silent}\n\
         stowaway: mdns fails at 127.0.0.1: not announced (no answer within 3 s; see the log of mdns)\n\
         stowaway: sftp fails at 127.0.0.1:2222: {silent}\n"
    );
    ensure_prints(network, "all", 1, &stopped)?;
    let silent_http = format!("stowaway: http fails at 127.0.0.1:80: {silent}\n");
    ensure_prints(network, "http", 1, &silent_http)?;
    signal_all(Signal::SIGCONT)
}

/// Ensures that the server logs the mount by 192.0.2.2, and none by its own host's address `own`.
fn ensure_own_calls_are_not_logged(server: &Server, own: &str) -> Result<()> {
    server.wait_for_line("192.0.2.2 mounted", TIME_MAX)?;
    let (lines, own) = (server.lines(), format!("{own} mounted"));
    ensure!(!lines.iter().any(|line| line.contains(&own)), "{lines:?}");
    Ok(())
}

#[test]
fn all_checks_each_protocol_without_being_logged() -> Result<()> {
    if !root_for("the port of NFS") {
        return Ok(());
    }
    setup::install_packages(&["iproute2"])?;
    let ((network, other), directory) = (Namespace::pair()?, public_dir()?);
    fails_without_servers(&network)?;
    let start = |more: &[&str]| {
        Server::start(ServerOptions {
            role: "serve",
            address: Ipv4Addr::UNSPECIFIED,
            port: 2049,
            wrapper: network.enter(),
            exports: vec![format!("{}:secure", directory.path().display())],
            arguments: more.iter().map(ToString::to_string).collect(),
            ..ServerOptions::default()
        })
    };
    let server = start(&["--name", "box", "--sftp", "127.0.0.1:2222", "--http", "80"])?;
    let nfs = "nfs: 127.0.0.1:2049 serves, exports: 1\n";
    let (mdns, sftp) = (
        "mdns: box.local is announced\n",
        "sftp: 127.0.0.1:2222 serves SFTP\n",
    );
    let far =
        "nfs: 192.0.2.1:2049 serves, exports: 1\nmdns: box.local is announced\nsftp: not served\n";
    for (network, words, expect) in [
        (&network, "all", [nfs, mdns, sftp].concat().as_str()),
        (&network, "mdns", mdns),
        (&network, "sftp -s 127.0.0.1:2222", sftp),
        (&network, "http", "http: 127.0.0.1:80 serves HTTP\n"),
        (
            &network,
            "all --json",
            "{\"nfs\":{\"ok\":true,\"exports\":1},\"mdns\":{\"ok\":true,\"name\":\"box.local\"},\
             \"sftp\":{\"ok\":true,\"at\":\"127.0.0.1:2222\"}}\n",
        ),
        // Calls from another host are logged.
        (&other, "all 192.0.2.1", far),
    ] {
        ensure_prints(network, words, 0, expect)?;
    }
    ensure_own_calls_are_not_logged(&server, "127.0.0.1")?;
    fails_while_stopped(&network, &server)?;
    server.terminate()?;
    // A server at one address, which a check of this host calls from that address.
    let server = start(&["--no-mdns", "-l", "192.0.2.1"])?;
    for network in [&network, &other] {
        let expect = "nfs: 192.0.2.1:2049 serves, exports: 1\n";
        ensure_prints(network, "nfs 192.0.2.1", 0, expect)?;
    }
    ensure_own_calls_are_not_logged(&server, "192.0.2.1")
}

#[test]
fn stopped_server_fails_and_continued_server_passes() -> Result<()> {
    let (one, other) = (public_dir()?, public_dir()?);
    for role in ["nfs", "serve"] {
        let server = Server::start(ServerOptions {
            role,
            ..ServerOptions::serving(&[one.path(), other.path()])
        })?;
        let hanging = server.children()?.first().copied();
        let hanging = Pid::from_raw(hanging.unwrap_or_else(|| server.pid()).try_into()?);
        let (port, endpoint) = (server.nfs_port.to_string(), server.nfs().to_string());
        let words = ["nfs", "-n", &port];
        ensure_serves(&words, 2, &endpoint)?;
        kill(hanging, Signal::SIGSTOP)?;
        fails(&words, &endpoint, "no answer within 3 s")?;
        kill(hanging, Signal::SIGCONT)?;
        ensure_serves(&words, 2, &endpoint)?;
    }
    Ok(())
}

#[test]
fn removed_export_is_named_in_text_and_json() -> Result<()> {
    for user in users() {
        let (here, parent) = (public_dir()?, public_dir()?);
        let gone = parent.path().join("a \"gone\" \\ \u{e9}\n one");
        fs::create_dir(&gone)?;
        let server = Server::start(ServerOptions {
            user,
            ..ServerOptions::serving(&[here.path(), &gone])
        })?;
        let (port, endpoint) = (server.nfs_port.to_string(), server.nfs().to_string());
        let words = ["nfs", "-n", &port];
        ensure_serves(&words, 2, &endpoint)?;
        fs::remove_dir(&gone)?;
        let about = format!("{}/a \"gone\" \\\\ \u{e9}\\n one", parent.path().display());
        fails(&words, &about, "the server cannot access the export")?;
    }
    Ok(())
}

#[test]
fn thousand_exports_need_no_extra_idle_memory() -> Result<()> {
    const COUNT: usize = 1000;
    /// Anonymous memory: about 200 bytes for each export and its hosts. How much of the file is resident depends on the page cache.
    const IDLE_MAX_KIB: u64 = 680;
    let parent = public_dir()?;
    let paths: Vec<_> = (0..COUNT)
        .map(|number| parent.path().join(format!("of customer {number}")))
        .collect();
    for path in &paths {
        fs::create_dir(path)?;
        fs::write(path.join("file"), path.as_os_str().as_encoded_bytes())?;
    }
    for user in users() {
        let server = Server::start(ServerOptions {
            user,
            exports: paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            ..ServerOptions::default()
        })?;
        let idle = status_field(server.pid(), "RssAnon")?;
        ensure!(
            idle <= IDLE_MAX_KIB,
            "{idle} KiB anonymous memory when idle as {user:?}"
        );
        let (port, endpoint) = (server.nfs_port.to_string(), server.nfs().to_string());
        ensure_serves(&["nfs", "-n", &port], COUNT, &endpoint)?;
        for path in [&paths[0], &paths[31], &paths[32], &paths[COUNT - 1]] {
            let (mut client, root) = server.open(path)?;
            let file = client.lookup(&root, "file")?;
            let content = client.read(&file, 0, 4096)?.0;
            ensure!(content == path.as_os_str().as_encoded_bytes(), "{path:?}");
        }
    }
    Ok(())
}

#[test]
fn refused_connection_is_reported_at_once() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (port, endpoint) = (
        listener.local_addr()?.port().to_string(),
        listener.local_addr()?.to_string(),
    );
    drop(listener);
    let start = Instant::now();
    fails(&["nfs", "-n", &port], &endpoint, "cannot connect")?;
    ensure!(start.elapsed() < Duration::from_secs(2));
    // If nothing listens on a separate MOUNT port, the check must name that port.
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    let nfs_port = server.nfs_port.to_string();
    fails(
        &["nfs", "-n", &nfs_port, "-m", &port],
        &endpoint,
        "cannot connect",
    )
}
