//! What people read: one plain line for each mistake, help that fits a terminal, events, and traces made readable.

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::clients::nfs::{Client, nfsstat3};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, binary, public_dir, root_for};

const USAGE: i32 = 2;
const FAILED: i32 = 1;

/// Runs the file to its end, which must come within five seconds.
fn run(words: &[&str]) -> Result<Output> {
    let mut child = Command::new(binary(Arch::X86_64)?)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > Duration::from_secs(5) {
            child.kill()?;
            let output = child.wait_with_output()?;
            anyhow::bail!(
                "stowaway {words:?} did not end; it said {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        sleep(Duration::from_millis(5));
    }
    Ok(child.wait_with_output()?)
}

/// The words lead to one line on stderr that contains all `parts`, nothing on stdout, and this exit code.
fn complains(words: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    let output = run(words)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(code),
        "stowaway {words:?} ended with {} instead of {code}: {said}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "stowaway {words:?} printed {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    ensure!(
        said.lines().count() == 1 && said.ends_with('\n'),
        "stowaway {words:?} did not say one line:\n{said}"
    );
    ensure!(
        said.starts_with("stowaway: "),
        "stowaway {words:?} said {said}"
    );
    for part in parts {
        ensure!(
            said.contains(part),
            "stowaway {words:?} does not mention '{part}': {said}"
        );
    }
    Ok(())
}

#[test]
fn wrong_usage_is_one_line_and_two() -> Result<()> {
    let directory = public_dir()?;
    let good = directory.path().display().to_string();
    let unknown_option = format!("{good}:wibble");
    let long_path = format!("/{}", "x".repeat(107));
    let cases: [(&[&str], &str); 30] = [
        (&["wibble"], "wibble"),
        (&["nfs"], "--export"),
        (&["nfs", "-p"], "--export"),
        (&["nfs", "--export"], "--export"),
        (&["nfs", "--export", ""], "an export"),
        (&["nfs", "--export", &unknown_option], "wibble"),
        (&["nfs", "--isos"], "--isos: name a directory"),
        (&["nfs", "--isos", &unknown_option], "wibble"),
        (&["nfs", "--export", &good, "--wibble"], "--wibble"),
        (&["nfs", "--export", &good, "-x"], "-x"),
        (&["nfs", "--export", &good, "-n", "99999"], "99999"),
        (&["nfs", "--export", &good, "-n", "abc"], "abc"),
        (&["nfs", "--export", &good, "-m", "-1"], "-1"),
        (&["nfs", "--export", &good, "-n"], "-n"),
        (&["nfs", "--export", &good, "-l", "nowhere"], "nowhere"),
        (&["nfs", "--export", &good, "--handles", "wibble"], "wibble"),
        (&["sftp-server", "-x"], "-x"),
        (&["sftp-server", "-Rx"], "-Rx"),
        (&["sftp-server", "-l", "LOUD"], "LOUD"),
        (&["sftp-server", "-f", "LOCAL8"], "LOCAL8"),
        (&["sftp-server", "-P", "open,wibble"], "requests"),
        (&["sftp-server", "-Q", "wibble"], "requests"),
        (&["sftp-server", "-u", "999"], "999"),
        (&["sftp-server", "--at", "/data"], "--jail"),
        (
            &["sftp-server", "--listen", "0.0.0.0:0"],
            "--i-trust-this-network",
        ),
        (&["sftp-server", "--listen", &long_path], "107 bytes"),
        (&["check"], "name nfs or all"),
        (&["check", "wibble"], "wibble: name nfs or all"),
        (&["check", "nfs", "--wibble"], "--wibble"),
        (&["check", "all", "-n", "99999"], "-n 99999"),
    ];
    for (words, part) in cases {
        complains(words, USAGE, &[part])?;
    }
    Ok(())
}

#[test]
fn failures_at_the_start_are_one_line_and_one() -> Result<()> {
    let directory = public_dir()?;
    let good = directory.path().display().to_string();
    let file = directory.path().join("a file");
    fs::write(&file, "")?;
    let (file, missing) = (
        file.display().to_string(),
        directory.path().join("missing").display().to_string(),
    );
    complains(
        &["nfs", "--export", &missing, "-p", "-n", "0"],
        FAILED,
        &[&missing],
    )?;
    complains(
        &["nfs", "--export", &file, "-p", "-n", "0"],
        FAILED,
        &[&file, "directory"],
    )?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    complains(
        &[
            "nfs",
            "--export",
            &good,
            "-p",
            "-l",
            "127.0.0.1",
            "-n",
            &port,
        ],
        FAILED,
        &[&port, "use"],
    )?;
    let log = directory
        .path()
        .join("no such directory/log")
        .display()
        .to_string();
    complains(
        &["nfs", "--export", &good, "-p", "-n", "0", "--log", &log],
        FAILED,
        &[&log],
    )?;
    complains(
        &["nfs", "--export", &good, "--export", &good, "-p", "-n", "0"],
        FAILED,
        &[&good],
    )?;
    if root_for("kernel handles") {
        let key = directory
            .path()
            .join("no such directory/key")
            .display()
            .to_string();
        complains(
            &[
                "nfs",
                "--export",
                &good,
                "-p",
                "-n",
                "0",
                "--key-file",
                &key,
            ],
            FAILED,
            &[&key],
        )?;
    }
    // An address of documentation: no machine has it.
    complains(
        &["nfs", "--export", &good, "-p", "-l", "192.0.2.1", "-n", "0"],
        FAILED,
        &["192.0.2.1"],
    )
}

#[test]
fn help_and_version_go_to_stdout_and_fit_a_terminal() -> Result<()> {
    for words in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["nfs", "--help"],
        &["nfs", "-h"],
        &["serve", "--help"],
        &["check", "--help"],
        &["check", "nfs", "-h"],
    ] {
        let output = run(words)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success() && output.stderr.is_empty(),
            "stowaway {words:?} ended with {}",
            output.status
        );
        ensure!(
            text.contains("stowaway") && text.ends_with('\n'),
            "stowaway {words:?} printed {text:?}"
        );
        let widest = text
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or_default();
        ensure!(
            text.lines().count() <= 24 && widest <= 80,
            "stowaway {words:?} prints {} lines of {widest}",
            text.lines().count()
        );
    }
    for words in [&["--version"][..], &["nfs", "--version"]] {
        let output = run(words)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success() && text == format!("stowaway {}\n", env!("CARGO_PKG_VERSION")),
            "stowaway {words:?} printed {text:?}"
        );
    }
    Ok(())
}

#[test]
fn called_unfsd_it_is_the_nfs_role() -> Result<()> {
    let directory = public_dir()?;
    let mut command = Command::new(binary(Arch::X86_64)?);
    command
        .arg0("/sbin/unfsd")
        .args([
            "-n",
            "0",
            "-l",
            "127.0.0.1",
            "-p",
            "--handles",
            "path",
            "--export",
        ])
        .arg(directory.path());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    let listening = lines
        .map_while(Result::ok)
        .find(|line| line.contains("listening on 127.0.0.1:"));
    child.kill()?;
    child.wait()?;
    listening.context("unfsd does not listen").map(drop)
}

#[test]
fn asking_for_what_is_not_exported_is_refused_and_told() -> Result<()> {
    let directory = public_dir()?;
    fs::create_dir(directory.path().join("exported"))?;
    let server = Server::start(ServerOptions::serving(&[&directory
        .path()
        .join("exported")]))?;
    let mut client = Client::connect(server.mount())?;
    let inside = directory
        .path()
        .join("exported/missing")
        .display()
        .to_string();
    let above = directory.path().display().to_string();
    for path in [
        above.as_str(),
        &inside,
        "/",
        "",
        "relative",
        "/no such export",
        "/etc",
    ] {
        let error = client
            .mount(path)
            .err()
            .with_context(|| format!("{path:?} was mounted"))?;
        let status = error.downcast_ref::<nfsstat3>();
        ensure!(
            matches!(
                status,
                Some(&nfsstat3::NFS3ERR_ACCES | &nfsstat3::NFS3ERR_NOENT)
            ),
            "MNT of {path:?}: {error:?}"
        );
    }
    server.wait_for_line("/no such export", Duration::from_secs(1))?;
    // However often it is asked for.
    let before = server.lines().len();
    for _ in 0..1000 {
        ensure!(client.mount("/no such export").is_err());
    }
    sleep(Duration::from_millis(200));
    let more = server.lines().len() - before;
    ensure!(more < 20, "a thousand equal requests made {more} lines");
    Ok(())
}

#[test]
fn control_bytes_of_peers_are_escaped() -> Result<()> {
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    let refused =
        Client::connect(server.mount())?.mount("/evil\n\r\t\x1b[31mred\x07\u{7f}\u{9b}end");
    ensure!(refused.is_err());
    server.wait_for_line("evil", Duration::from_secs(1))?;
    // Time for a second line, if the first was broken.
    sleep(Duration::from_millis(100));
    let lines = server.lines();
    let about: Vec<_> = lines
        .iter()
        .skip_while(|line| !line.contains("evil"))
        .collect();
    ensure!(
        about.len() == 1 && about[0].contains("end"),
        "one request made {about:#?}"
    );
    ensure!(
        about[0].bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "raw bytes in {about:?}"
    );
    Ok(())
}

#[test]
fn traces_become_lines_with_the_debug_file_of_their_build_only() -> Result<()> {
    let directory = public_dir()?;
    let trace = directory.path().join("trace").display().to_string();
    let server = Server::start(ServerOptions {
        arguments: vec!["--log".into(), trace.clone()],
        ..ServerOptions::serving(&[directory.path()])
    })?;
    let (mut client, root) = server.open(directory.path())?;
    client.attr(&root)?;
    server.terminate()?;

    let decode = |arch: Arch| {
        binary(arch)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command
            .args(["log", &trace, "--arch", arch.name()])
            .output()
            .context("cannot start xtask")
    };
    let good = decode(Arch::X86_64)?;
    ensure!(
        good.status.success() && !good.stdout.is_empty(),
        "xtask log: {good:?}"
    );
    let other = decode(Arch::I686)?;
    ensure!(
        !other.status.success() && other.stdout.is_empty(),
        "another build's debug file was taken: {other:?}"
    );
    Ok(())
}

/// What is read a moment later is all there; what nobody reads keeps the server from nothing.
#[test]
fn who_reads_late_misses_nothing_and_who_never_does_is_not_waited_for() -> Result<()> {
    for is_read in [true, false] {
        let directory = public_dir()?;
        let port = Port::reserve()?;
        let (mut reader, mut writer) = std::io::pipe()?;
        // It is full.
        let len = fcntl(writer.as_fd(), FcntlArg::F_SETPIPE_SZ(4096))?;
        writer.write_all(&vec![b'\n'; usize::try_from(len)?])?;
        let mut child = Command::new(binary(Arch::X86_64)?)
            .args(["nfs", "-p", "-l", "127.0.0.1", "--handles", "path"])
            .args(["-n", &port.number().to_string(), "--export"])
            .arg(directory.path())
            .stderr(writer)
            .spawn()?;
        if is_read {
            sleep(Duration::from_millis(50));
            let mut said = Vec::new();
            let lines = BufReader::new(&mut reader).lines().map_while(Result::ok);
            for line in lines.filter(|line| !line.is_empty()) {
                let is_last = line.contains("listening on");
                said.push(line);
                if is_last {
                    break;
                }
            }
            ensure!(said.len() == 3 && said[0].contains("exporting"), "{said:?}");
        }
        let server = ([127, 0, 0, 1], port.number()).into();
        let end = Instant::now() + Duration::from_secs(60);
        let mut client = loop {
            match Client::connect(server) {
                Ok(client) => break client,
                Err(e) if Instant::now() > end => return Err(e),
                Err(_) => sleep(Duration::from_millis(5)),
            }
        };
        // Each of these is worth a line, until there were many of them.
        for _ in 0..100 {
            ensure!(client.mount("/no such export").is_err());
        }
        client.mount(&directory.path().display().to_string())?;
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
