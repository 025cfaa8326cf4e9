//! Log lines are the same as those of OpenSSH's server, at every level from QUIET to VERBOSE.

use super::{REFERENCE, Remote, batch_file, create_file};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use xtask::build::Arch;
use xtask::clients::sftp::{Attrs, Program, Request, Sftp, SftpOptions, open};
use xtask::machines::server::{public_dir, root_for};
use xtask::machines::sshd::{Daemon, Implementation};
use xtask::setup;

/// Log lines of a session in a directory of its own, whose path is replaced by `DIRECTORY`. `ask` sends the requests.
fn run_with_log(
    program: Program,
    arguments: &[&str],
    variables: &[(&str, &str)],
    send_requests: impl Fn(&mut Sftp) -> Result<()>,
) -> Result<Vec<String>> {
    let directory = public_dir()?;
    let user = user()?;
    let environment = [("PATH", "/usr/bin:/bin"), ("LOGNAME", &user)]
        .into_iter()
        .chain(variables.iter().copied())
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let options = SftpOptions {
        program,
        environment: Some(environment.collect()),
        ..SftpOptions::in_directory(directory.path())
    };
    let mut client = Sftp::start(&options.with_arguments(&["-e"]).with_arguments(arguments))?;
    send_requests(&mut client)?;
    let (_, ended) = client.finish()?;
    ensure!(ended.code() == Some(0), "{ended:?}");
    let path = directory.path().display().to_string();
    let line = |line: &String| plain(line).replace(&path, "DIRECTORY");
    Ok(ended.lines.iter().map(line).collect())
}

/// Strips what differs by design: our prefix, and OpenSSH's carriage return.
fn plain(line: &str) -> &str {
    let line = line.strip_prefix("stowaway: ").unwrap_or(line);
    line.trim_end_matches('\r')
}

/// The current user's name, as sshd sets LOGNAME.
fn user() -> Result<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current())?;
    Ok(user.context("the current UID is not in passwd")?.name)
}

/// Checks that both servers log the same lines for a session, and returns them.
fn ensure_same_lines(
    arguments: &[&str],
    variables: &[(&str, &str)],
    send_requests: impl Fn(&mut Sftp) -> Result<()>,
) -> Result<Vec<String>> {
    setup::install_packages(&["openssh-sftp-server", "tzdata"])?;
    let ours = SftpOptions::default().program;
    let ours = run_with_log(ours, arguments, variables, &send_requests)?;
    let theirs = run_with_log(
        Program::Other(REFERENCE.into()),
        arguments,
        variables,
        &send_requests,
    )?;
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        ensure!(
            ours == theirs,
            "line {number} differs from OpenSSH's:\n{ours}\n{theirs}"
        );
    }
    ensure!(
        ours.len() == theirs.len(),
        "{} lines instead of {}: {:?}",
        ours.len(),
        theirs.len(),
        ours.last()
    );
    Ok(ours)
}

/// About a hundred requests that succeed or fail, by path and by handle, with valid and invalid handles.
fn send_many_requests(client: &mut Sftp) -> Result<()> {
    const CREATE: u32 = open::WRITE | open::CREATE;
    let file = client.open(
        "file",
        open::READ | CREATE | open::TRUNCATE,
        Attrs::mode(0o100_600),
    )?;
    let copy = client.open(
        "copy",
        CREATE | open::APPEND | open::EXCLUSIVE,
        Attrs::default(),
    )?;
    let dir = client.open_dir(".")?;
    let large = vec![7; 200_000];
    let all = Attrs {
        size: Some(250_000),
        owner: Some((
            nix::unistd::getuid().as_raw(),
            nix::unistd::getgid().as_raw(),
        )),
        mode: Some(0o100_644),
        times: Some((5, 100_000_000)),
        extended: Vec::new(),
    };
    let with_mode = |times| Attrs {
        times: Some((0, times)),
        mode: Some(0o5),
        ..Attrs::default()
    };
    let (name, gone) = (user()?, [0xff; 4]);
    let long = [b'l'; 200];
    let odd = b"q\"u%s$#\\o \x01\x1b\xc3\xa9\x7f".as_slice();
    for request in [
        Request::Write(&file, 0, b"hello"),
        Request::Write(&file, 5, &large),
        Request::Read(&file, 0, 3),
        Request::Read(&file, 1, 190_000),
        Request::Read(&file, 300_000, 10),
        Request::FStat(&file),
        Request::FSetStat(&file, all.clone()),
        Request::FSync(&file),
        Request::FStatVfs(&file),
        Request::CopyData {
            from: &file,
            offset: 1,
            len: 70_000,
            to: &copy,
            to_offset: 0,
        },
        Request::copy(&file, &file),
        Request::ReadDir(&dir),
        Request::ReadDir(&dir),
        Request::Close(&dir),
        Request::Close(&dir),
        Request::Close(&copy),
        Request::Close(&copy),
        Request::Close(&gone),
        Request::FSetStat(&copy, all.clone()),
        Request::FSync(&copy),
        Request::FStat(&copy),
        Request::Read(&copy, 0, 1),
        Request::Write(&copy, 0, b"lost"),
        Request::Open(b"none", open::READ, Attrs::default()),
        Request::Open(b"file", CREATE | open::EXCLUSIVE, Attrs::mode(0)),
        Request::Open(b"file", 0, Attrs::default()),
        Request::OpenDir(b"none"),
        Request::OpenDir(b"."),
        Request::MkDir(b"dir", Attrs::default()),
        Request::MkDir(b"dir", Attrs::mode(0o41_777)),
        Request::MkDir(b"dir/sub", Attrs::mode(0o750)),
        Request::RmDir(b"dir/sub"),
        Request::RmDir(b"none"),
        Request::Stat(b"file"),
        Request::Stat(odd),
        Request::Stat(&long),
        Request::LStat(b"file"),
        Request::LStat(b"none/x"),
        Request::RealPath(b"."),
        Request::RealPath(b"./dir/"),
        Request::RealPath(b"none/none"),
        Request::SetStat(b"file", all),
        Request::SetStat(b"file", Attrs::default()),
        Request::SetStat(b"none", with_mode(1_700_000_000)),
        Request::SetStat(b"file", with_mode(1_720_000_000)),
        Request::SetStat(b"file", Attrs::mode(0o6755)),
        Request::SetStat(b"file", Attrs::size(12_345_678)),
        Request::Rename(b"file", b"file 2"),
        Request::Rename(b"file 2", b"copy"),
        Request::Rename(b"none", odd),
        Request::PosixRename(b"file 2", b"file"),
        Request::PosixRename(b"none", b"file"),
        Request::SymLink(b"to/none", b"link"),
        Request::SymLink(b"file", b"link"),
        Request::ReadLink(b"link"),
        Request::ReadLink(b"file"),
        Request::LSetStat(b"link", Attrs::times(1, 2_000_000_000)),
        Request::LSetStat(b"none", Attrs::times(1, 2)),
        Request::HardLink(b"file", b"hard"),
        Request::HardLink(b"file", b"hard"),
        Request::StatVfs(b"."),
        Request::StatVfs(b"none"),
        Request::Limits,
        Request::ExpandPath(b"~"),
        Request::ExpandPath(b"~/file"),
        Request::ExpandPath(b"dir"),
        Request::ExpandPath(b"/none"),
        Request::HomeDirectory(name.as_bytes()),
        Request::Remove(b"hard"),
        Request::Remove(b"none"),
        Request::Remove(odd),
        Request::Open(b"dir/left", CREATE, Attrs::mode(0o644)),
    ] {
        client.exchange(&request)?;
    }
    Ok(())
}

#[test]
fn log_lines_agree_with_openssh_at_each_level() -> Result<()> {
    let from = ("SSH_CONNECTION", "2001:db8::7 50123 2001:db8::1 22");
    for (level, line_count) in [("QUIET", 0), ("ERROR", 0), ("INFO", 70), ("VERBOSE", 90)] {
        for tz in ["UTC0", "Europe/Dublin", "Pacific/Chatham"] {
            let lines = ensure_same_lines(&["-l", level], &[from, ("TZ", tz)], send_many_requests)
                .with_context(|| format!("at {level}, in {tz}"))?;
            ensure!(
                lines.len() >= line_count && lines.is_empty() == (line_count == 0),
                "{} lines at {level}",
                lines.len()
            );
        }
    }
    Ok(())
}

#[test]
fn refusals_are_logged_like_openssh() -> Result<()> {
    // Our own extensions, which every list of -p here permits: OpenSSH's server does not know them and logs no refusal for them.
    const OURS: &str = "check-file,space-available,vendor-id";
    let listed = format!("open,close,opendir,readdir,stat,setstat,{OURS}");
    let fewer = format!("stat,open,opendir,mkdir,{OURS}");
    for arguments in [
        &["-R"][..],
        &["-P", "remove,stat,read,close,limits,posix-rename"],
        &["-p", &listed],
        &["-R", "-P", "stat,mkdir", "-p", &fewer],
    ] {
        for level in ["INFO", "VERBOSE"] {
            let arguments = [arguments, &["-l", level]].concat();
            let lines = ensure_same_lines(&arguments, &[], |client| {
                for request in [
                    Request::MkDir(b"dir", Attrs::mode(0o700)),
                    Request::OpenDir(b"."),
                    Request::Open(b"none", open::READ, Attrs::default()),
                    Request::Open(b"none", open::WRITE, Attrs::default()),
                    Request::Open(b"none", open::READ | open::CREATE, Attrs::mode(0o600)),
                    Request::Stat(b"none"),
                    Request::LStat(b"none"),
                    Request::SetStat(b"none", Attrs::mode(0o600)),
                    Request::Remove(b"none"),
                    Request::PosixRename(b"none", b"there"),
                    Request::StatVfs(b"none"),
                    Request::Limits,
                ] {
                    client.exchange(&request)?;
                }
                Ok(())
            })
            .with_context(|| format!("with {arguments:?}"))?;
            let refusals = lines.iter().filter(|line| line.starts_with("Refusing "));
            ensure!((refusals.count() > 0) == (level == "VERBOSE"), "{lines:?}");
        }
    }
    Ok(())
}

#[test]
fn session_log_names_user_and_address() -> Result<()> {
    if !root_for("daemons") {
        return Ok(());
    }
    let file = public_dir()?;
    let ours = super::server(Arch::X86_64, &file.path().join("sftp-server"))?;
    let mut logs = Vec::new();
    for server in [ours, PathBuf::from(REFERENCE)] {
        let log = through_sshd(&server).with_context(|| format!("by {}", server.display()))?;
        logs.push(log);
    }
    ensure!(logs[0] == logs[1], "{logs:#?}");
    let all = logs[0].join("\n");
    for part in [
        "session opened for local user guest from [127.0.0.1]",
        "open \"HOME/file\" flags WRITE,CREATE,TRUNCATE mode 0600",
        "close \"HOME/file\" bytes read 0 written 300000",
        "close \"HOME/file\" bytes read 300000 written 0",
        "sent status No such file",
        "remove name \"HOME/none\"",
        "session closed for local user guest from [127.0.0.1]",
    ] {
        ensure!(all.contains(part), "no line has {part}:\n{all}");
    }
    Ok(())
}

/// Log lines of a server in a session of OpenSSH's client through sshd; the path of its home is replaced by `HOME`.
fn through_sshd(server: &Path) -> Result<Vec<String>> {
    let remote = Remote {
        daemon: Daemon::start_for(
            Implementation::OpenSsh,
            server,
            "/bin/sh",
            "-e -l INFO 2>>log",
        )?,
        client_dir: public_dir()?,
        _file: public_dir()?,
    };
    create_file(&remote.client_dir().join("file"), 50, 300_000)?;
    fs::set_permissions(
        remote.client_dir().join("file"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )?;
    let commands = "put file\nget file back\nls -l\nmkdir dir\nchmod 711 dir\n-rm none\nln -s file link\nrename link renamed\n";
    let mut sftp = remote.openssh("sftp");
    sftp.arg("-b")
        .arg(batch_file(remote.client_dir(), commands)?);
    let ended = sftp.arg("x").output()?;
    ensure!(ended.status.success(), "{ended:?}");
    remote.daemon.wait_until_idle()?;
    let home = remote.server_dir().display().to_string();
    let log = fs::read_to_string(remote.server_dir().join("log"))?;
    let lines = log.lines().map(|line| plain(line).replace(&home, "HOME"));
    Ok(lines.collect())
}
