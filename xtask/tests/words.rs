//! Text for users: one plain line per error, help that fits a terminal, events, and decoded traces.

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
use xtask::build::{self, Arch};
use xtask::clients::nfs::{Client, nfsstat3};
use xtask::machines::port::Port;
use xtask::machines::server::{
    Namespace, Server, ServerOptions, binary, message, public_dir, root_for,
};
use xtask::setup;

const USAGE: i32 = 2;
const FAILED: i32 = 1;

/// Runs the built file, which must end within five seconds.
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
                "stowaway {words:?} did not end within 5 s; stderr: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        sleep(Duration::from_millis(5));
    }
    Ok(child.wait_with_output()?)
}

/// Runs the built file with these arguments. It must print one line with all of `parts` on stderr, nothing on stdout, and exit with
/// `code`.
fn ensure_error(words: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    let output = run(words)?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(code),
        "stowaway {words:?} ended with {} instead of {code}: {stderr}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "stowaway {words:?} printed {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    ensure!(
        stderr.lines().count() == 1 && stderr.ends_with('\n'),
        "stowaway {words:?} did not print exactly one line:\n{stderr}"
    );
    ensure!(
        message(&stderr).starts_with("stowaway: "),
        "stowaway {words:?} printed {stderr}"
    );
    for part in parts {
        ensure!(
            stderr.contains(part),
            "stowaway {words:?} does not mention '{part}': {stderr}"
        );
    }
    Ok(())
}

/// Wrong words, in the form of a shell, and a part of the message. GOOD is a directory, LONG a path of 108 bytes.
const WRONG: &str = "\
wibble => wibble
nfs -e '' => : missing file of exports (-e): a path
nfs -p -e => -e
nfs --export => : missing export (--export): DIR[:OPTION,...]
nfs --export '' => : missing export (--export): DIR
nfs --export GOOD:wibble => wibble
nfs --isos => : missing export (--isos): DIR
nfs --isos GOOD:wibble => wibble
boot GOOD --append debian => : invalid words debian (--append): PATTERN=ARGUMENTS
boot GOOD --append =quiet => : invalid words =quiet (--append)
boot GOOD --append debian= => : invalid words debian= (--append)
nfs --export GOOD --wibble => --wibble
nfs --export GOOD -x => -x
nfs --export GOOD -n 99999 => : invalid port 99999 (-n): a number
nfs --export GOOD -nabc => : invalid port abc (-n): a number
nfs --export GOOD -m -1 => -1
nfs --export GOOD -n => -n
nfs --export GOOD -l nowhere => : invalid address nowhere (-l): numeric
nfs --export GOOD --handles=wibble => : invalid handles wibble (--handles): one of kernel, path
sftp-server -x => -x
sftp-server -Rx => -Rx
sftp-server -l LOUD => : invalid log level LOUD (-l): QUIET, ERROR,
sftp-server -f LOCAL8 => : invalid log facility LOCAL8 (-f): DAEMON,
sftp-server -P open,wibble => requests
sftp-server -Q wibble => requests
sftp-server -u 999 => : invalid umask 999 (-u): octal
browse . => : invalid type .: one, such as
browse --jobs 99 _ssh._tcp => : invalid number 99 (--jobs): from 1 to 64
browse => : a type, or -a, is missing;
resolve -n => : missing host: such as box.local
publish -a a.b 1.2.3.4 => : invalid host name a.b (-a): it must end
publish -a box.local x => : invalid address x: numeric
mdns --ttl 0 => : invalid number of seconds 0 (--ttl): from 1
nfs --net x => : invalid network x (--net): kernel, packet
sftp-server --at /data => --jail
sftp-server --listen 0.0.0.0:0 => --i-trust-this-network
sftp-server --listen LONG => 107 bytes
sftp-server -u => : missing umask (-u): octal
sftp-server -u -1 => : invalid umask -1 (-u)
sftp-server -d => : missing directory (-d): a path
sftp-server -p , => : invalid requests , (-p)
sftp-server --jail '' => : missing directory (--jail)
sftp-server --listen x => : invalid address x (--listen)
sftp-server --listen [::]:0 => --i-trust-this-network
sftp-server --\u{1b}[2J => unknown option --\\033[2J;
http GOOD 8080 => : a port is no directory; write --http 8080
http GOOD :8080 => write --http :8080
http 192.0.2.1:8080 => write --http 192.0.2.1:8080
http GOOD --http x:1 => : invalid address x:1 (--http): PORT or ADDRESS:PORT
nfs GOOD 2049 => : a port is no directory; write -n 2049
serve GOOD 2049 => : a port is no directory; write -n 2049
check => cannot check: choose one of nfs, mdns, sftp, http, all
check wibble => cannot check wibble: choose one of nfs, mdns, sftp, http, all
check nfs 192.0.2.1 192.0.2.2 => : invalid host 192.0.2.2:
check sftp -s 2222 => : invalid address 2222 (-s): ADDRESS:PORT
check nfs --wibble => --wibble
check all -n 99999 => : invalid port 99999 (-n): a number
";

#[test]
fn wrong_usage_prints_one_line_and_exits_two() -> Result<()> {
    let directory = public_dir()?;
    let good = directory.path().display().to_string();
    let long = format!("/{}", "x".repeat(107));
    for row in WRONG.lines() {
        let (words, part) = row.split_once(" => ").context(row)?;
        let words = words.replace("GOOD", &good).replace("LONG", &long);
        let words = shlex::split(&words).context(row)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        ensure_error(&words, USAGE, &[part])?;
    }
    Ok(())
}

/// Runs `command`, which must exit with `code` and print `expect` on stderr, and nothing on stdout.
fn ensure_stderr(command: &mut Command, code: i32, expect: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(code) && output.stdout.is_empty() && stderr == expect,
        "{command:?}: {}: {stderr}",
        output.status
    );
    Ok(())
}

#[test]
fn without_a_role_first_steps_are_printed() -> Result<()> {
    let program = binary(Arch::X86_64)?;
    let steps = "\
stowaway: serves files over NFS and SFTP and announces them by mDNS; try
  stowaway nfs /srv           # exports /srv, read-only
  stowaway check nfs          # tests that server
  stowaway browse -at         # lists the services of the network
stowaway --help lists the roles, stowaway ROLE --help its options
";
    ensure_stderr(&mut Command::new(&program), USAGE, steps)?;
    ensure_stderr(Command::new(&program).arg(""), USAGE, steps)?;
    let no_role = |name| format!("stowaway: there is no role {name}: see stowaway --help\n");
    for words in [&[][..], &["--export", "/srv"]] {
        let link = |command: &mut Command| ensure_stderr(command, USAGE, &no_role("foo"));
        link(Command::new(&program).arg0("/usr/bin/foo").args(words))?;
    }
    let mut command = Command::new(&program);
    ensure_stderr(command.arg("--export"), USAGE, &no_role("--export"))?;
    let mut command = Command::new(&program);
    ensure_stderr(command.arg0("foo").arg("wibble"), USAGE, &no_role("wibble"))?;
    for (word, meant) in [
        ("sftp", "sftp-server"),
        ("nfsd", "nfs"),
        ("browser", "browse"),
        ("mdsn", "mdns"),
        ("/srv", "stowaway nfs /srv"),
    ] {
        let expect = format!(
            "stowaway: there is no role {word}; did you mean {meant}? See stowaway --help\n"
        );
        ensure_stderr(Command::new(&program).arg(word), USAGE, &expect)?;
    }
    Ok(())
}

#[test]
fn same_fsid_twice_names_the_other_export() -> Result<()> {
    let directories = [public_dir()?, public_dir()?];
    let [first, second] = directories.each_ref().map(|directory| directory.path());
    let server = Server::start(ServerOptions {
        arguments: directories
            .iter()
            .flat_map(|directory| {
                let export = format!("{}:fsid=7", directory.path().display());
                ["--export".into(), export]
            })
            .collect(),
        ..ServerOptions::serving(&[])
    })?;
    let expected = format!(
        "cannot export {}, the same as {}: already exported",
        second.display(),
        first.display()
    );
    let lines = server.lines().join("\n");
    ensure!(lines.contains(&expected), "{lines}");
    // The first one is served.
    server.open(first)?;
    Ok(())
}

#[test]
fn unknown_option_names_role_and_nearest_option() -> Result<()> {
    for (words, nearest) in [
        ("nfs --exprot=/srv", "--export"),
        ("serve --no-mdsn", "--no-mdns"),
        ("serve --exports", "--export"),
        ("nfs --hanldes", "--handles"),
        ("sftp-server --listne", "--listen"),
        ("mdns --serivce", "--service"),
        ("browse --resolv", "--resolve"),
        ("resolve --interfaec", "--interface"),
        ("check nfs --jason", "--json"),
        ("probe --jason", "--json"),
        ("status --wach", "--watch"),
        ("publish --subtyp", "--subtype"),
        ("nfs --port", "-n"),
        ("serve --bind", "-l"),
        ("nfs -o", "DIR:OPTION,..."),
        ("unfsd -v", "--version"),
        ("nfs --wibble", ""),
        ("sftp-server -x", ""),
        ("mdns --wibble", ""),
        ("browse --wibble", ""),
        ("resolve --wibble", ""),
        ("check nfs --wibble", ""),
        ("publish --wibble", ""),
        ("ls --wibble", ""),
        ("cat --wibble", ""),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let (role, option) = (words[0], words[words.len() - 1]);
        let advice = match nearest {
            "" => "; see".to_owned(),
            _ => format!("; did you mean {nearest}? See"),
        };
        let line =
            format!("stowaway: {role}: unknown option {option}{advice} stowaway {role} --help\n");
        ensure_stderr(
            Command::new(binary(Arch::X86_64)?).args(words),
            USAGE,
            &line,
        )?;
    }
    Ok(())
}

#[test]
fn positional_argument_is_an_export() -> Result<()> {
    for role in ["nfs", "serve"] {
        let directory = public_dir()?;
        let mut command = Command::new(binary(Arch::X86_64)?);
        command.args([role, "-p", "-l", "127.0.0.1", "-n", "0"]);
        let mut child = command
            .arg(directory.path())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("the server has no stderr")?;
        let expect = format!("exporting {}: read-only", directory.path().display());
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let exported = lines.any(|line| line.contains(&expect));
        child.kill()?;
        child.wait()?;
        ensure!(
            exported,
            "{role} does not export {}",
            directory.path().display()
        );
    }
    Ok(())
}

#[test]
fn listening_removes_sockets_but_no_other_file() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path().join("file");
    fs::write(&path, "content")?;
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link)?;
    for path in [&path, &link] {
        let name = path.display().to_string();
        let words = ["sftp-server", "--listen", &name];
        ensure_error(&words, FAILED, &[&name, "exists and is no socket"])?;
        ensure!(fs::read(path)? == b"content");
    }
    Ok(())
}

#[test]
fn without_a_network_browse_and_check_fail() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    setup::install_packages(&["iproute2"])?;
    let network = Namespace::new()?;
    let program = binary(Arch::X86_64)?.display().to_string();
    let line = "stowaway: no interface is up\n";
    let mut command = network.command(&program);
    ensure_stderr(command.args(["browse", "-at"]), FAILED, line)?;
    for (address, shown) in [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]")] {
        let line = format!(
            "stowaway: nfs fails at {shown}:2049: network unreachable: no route to the address; see -l\n"
        );
        let mut command = network.command(&program);
        ensure_stderr(command.args(["check", "nfs", "-l", address]), FAILED, &line)?;
    }
    Ok(())
}

#[test]
fn failed_start_prints_one_line_and_exits_one() -> Result<()> {
    let directory = public_dir()?;
    let good = directory.path().display().to_string();
    let file = format!("{good}/file");
    fs::write(&file, "")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    let missing = format!("{good}/no_such_directory/x");
    let has_key = root_for("kernel handles");
    for (words, parts) in [
        (format!("{file}/below -n 0"), [&*file, "below"]),
        (format!("{file} -n 0"), [&file, "directory"]),
        (format!("{good} -l 127.0.0.1 -n {port}"), [&port, "use"]),
        (format!("{good} -n 0 --log {missing}"), [&missing, ""]),
        // An address reserved for documentation, which no host has.
        (format!("{good} -l 192.0.2.1 -n 0"), ["192.0.2.1", ""]),
        (format!("{good} -n 0 --key-file {missing}"), [&missing, ""]),
    ] {
        if has_key || !words.contains("--key-file") {
            let words = format!("nfs -p --export {words}");
            let words: Vec<&str> = words.split(' ').collect();
            ensure_error(&words, FAILED, &parts)?;
        }
    }
    Ok(())
}

#[test]
fn help_and_version_fit_a_terminal() -> Result<()> {
    for words in [
        "--help",
        "-h",
        "help",
        "nfs --help",
        "nfs -h",
        "serve --help",
        "check --help",
        "check nfs -h",
        "probe --help",
        "status --help",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = run(&words)?;
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
    let version = format!(
        "stowaway {}\ncommit {}\nprocessor x86_64\nroles nfs unfsd serve sftp-server ",
        env!("CARGO_PKG_VERSION"),
        build::commit()
    );
    for words in [
        &["--version"][..],
        &["-V"],
        &["-v"],
        &["nfs", "--version"],
        &["avahi-browse", "-V"],
    ] {
        let output = run(words)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success() && text.starts_with(&version) && text.lines().count() == 4,
            "stowaway {words:?} printed {text:?}"
        );
    }
    Ok(())
}

#[test]
fn name_unfsd_selects_the_nfs_role() -> Result<()> {
    let directory = public_dir()?;
    let mut command = Command::new(binary(Arch::X86_64)?);
    command
        .arg0("/sbin/unfsd")
        .args("-d -n 0 -l 127.0.0.1 -p --handles path --export".split(' '))
        .arg(directory.path());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stderr.take().context("the server has no stderr")?).lines();
    let listening = lines
        .map_while(Result::ok)
        .find(|line| line.contains("listening on 127.0.0.1:"));
    child.kill()?;
    child.wait()?;
    listening.context("unfsd does not listen").map(drop)
}

#[test]
fn unexported_path_is_refused_and_logged() -> Result<()> {
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
            .with_context(|| format!("{path:?} was mounted although it is not exported"))?;
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
    // A thousand equal requests must not print a line each.
    let before = server.lines().len();
    for _ in 0..1000 {
        ensure!(client.mount("/no such export").is_err());
    }
    sleep(Duration::from_millis(200));
    let more = server.lines().len() - before;
    ensure!(more < 20, "a thousand equal requests printed {more} lines");
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
    // Wait for a second line, which would be printed if the first was broken by a line feed.
    sleep(Duration::from_millis(100));
    let lines = server.lines();
    let about: Vec<_> = lines
        .iter()
        .skip_while(|line| !line.contains("evil"))
        .collect();
    ensure!(
        about.len() == 1 && about[0].contains("end"),
        "one request printed several lines: {about:#?}"
    );
    ensure!(
        about[0].bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "the line has unescaped bytes: {about:?}"
    );
    Ok(())
}

#[test]
fn traces_decode_only_with_their_builds_debug_file() -> Result<()> {
    let directory = public_dir()?;
    let trace = directory.path().join("trace").display().to_string();
    let server = Server::start(ServerOptions {
        arguments: vec!["--trace".into(), trace.clone()],
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
    let text = String::from_utf8_lossy(&good.stdout);
    ensure!(
        good.status.success() && text.contains("exporting "),
        "xtask log: {good:?}"
    );
    let other = decode(Arch::I686)?;
    ensure!(
        !other.status.success() && other.stdout.is_empty(),
        "xtask log accepted the debug file of another build: {other:?}"
    );
    let frames = fs::read(&trace)?;
    let (id, rest) = frames.split_at_checked(8).context("no build ID")?;
    fs::write(&trace, [id, &[0xff; 64], rest].concat())?;
    let malformed = decode(Arch::X86_64)?;
    let message = String::from_utf8_lossy(&malformed.stderr);
    ensure!(message.contains("a malformed frame"), "{malformed:?}");
    Ok(())
}

/// With a full stderr pipe, lines are kept until a reader drains the pipe. Without a reader, the server still answers.
#[test]
fn full_stderr_pipe_never_blocks_or_loses() -> Result<()> {
    for is_read in [true, false] {
        let directory = public_dir()?;
        let port = Port::reserve()?;
        let (mut reader, mut writer) = std::io::pipe()?;
        // Fills the pipe, so that further writes would block.
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
            let mut received = Vec::new();
            let lines = BufReader::new(&mut reader).lines().map_while(Result::ok);
            for line in lines.filter(|line| !line.is_empty()) {
                let is_last = line.contains("listening on");
                received.push(line);
                if is_last {
                    break;
                }
            }
            ensure!(
                received.len() == 3 && received[0].contains("exporting"),
                "{received:?}"
            );
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
        // Each of these requests prints a line, up to the rate limit.
        for _ in 0..100 {
            ensure!(client.mount("/no such export").is_err());
        }
        client.mount(&directory.path().display().to_string())?;
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
