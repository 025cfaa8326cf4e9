//! Sessions of `nfs`, `serve` and `check`.

use super::{Log, POORER, compare, filled};
use crate::promises::change_everything;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use xtask::build::Arch;
use xtask::clients::nfs::{Auth, Call, Client, How, Set, nfsstat3, stable_how};
use xtask::machines::iso::{ROCK_RIDGE, image};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, binary, public_dir, root_for};

const NOBODY: u32 = 65534;

/// Sends every kind of request, as root and as another user.
fn request_everything(client: &mut Client, root: &[u8]) -> Result<()> {
    let sub = client.lookup(root, "sub")?;
    let link = client.lookup(root, "link")?;
    let large = client.lookup(&sub, "large")?;
    client.attr(&large)?;
    client.read_link(&link)?;
    client.read(&large, 0, 4096)?;
    client.read(&large, 4096, 1 << 20)?;
    client.list(root)?;
    client.page(&Call::read_dir(root, 0, [0; 8], 4096))?;
    let calls = [
        Call::access(&large, 0x3f),
        Call::fs_stat(root),
        Call::fs_info(root),
        Call::path_conf(root),
        Call::commit(&large, 0, 0),
    ];
    for call in calls {
        client.expect_status(&call, nfsstat3::NFS3_OK)?;
    }
    for uid in [0, NOBODY] {
        client.auth = Auth::sys(b"client", uid, uid, &[uid]);
        change_everything(client, root).with_context(|| format!("as user {uid}"))?;
    }
    // WRITEs that are spliced, and that fill the page cache.
    let file = client.create(root, "written", How::Unchecked(Set::mode(0o644)))?;
    let data = vec![7; 3 << 20];
    client.write_all(&file, 0, stable_how::UNSTABLE, &data, 1 << 20)?;
    client.commit(&file, 0, 0)?;
    client.remove(root, "written")?;
    client.call(&Call::exports())?;
    client.call(&Call::unmount_all())?;
    Ok(())
}

/// A session with a server that strace started.
fn session(log: &Log, options: ServerOptions) -> Result<()> {
    let directory = public_dir()?;
    filled(directory.path())?;
    let server = Server::start(ServerOptions {
        exports: vec![format!("{}:rw,no_root_squash", directory.path().display())],
        wrapper: log.wrapper(),
        ..options
    })?;
    let attempt = || -> Result<()> {
        let (mut client, root) = server.open(directory.path())?;
        request_everything(&mut client, &root)
    };
    let result = attempt();
    // The started process is strace, whose child is the server. strace ends with the server.
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        for child in server.children()? {
            kill(Pid::from_raw(child.try_into()?), signal)?;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    server.wait_for_end()?;
    result
}

/// Architectures that run under a log's profile.
fn arches(log: &Log) -> &'static [Arch] {
    match log.profile {
        None => &[Arch::X86_64, Arch::I686],
        Some(_) => &[Arch::X86_64],
    }
}

#[test]
fn calls_of_nfs_are_listed() -> Result<()> {
    compare(&["nfs"], &POORER, |log| {
        let mut results = Vec::new();
        for &arch in arches(log) {
            for handles in ["kernel", "path"] {
                let options = ServerOptions {
                    arch,
                    arguments: ["--handles", handles].map(String::from).into(),
                    ..ServerOptions::default()
                };
                results.push(session(log, options));
            }
            let options = ServerOptions {
                arch,
                ..ServerOptions::default()
            };
            results.push(session(log, options));
        }
        if log.profile.is_none() && root_for("network namespaces") {
            results.push(super::flags::run(log, "nfs"));
        }
        results.into_iter().collect()
    })
}

#[test]
fn calls_of_http_are_listed() -> Result<()> {
    compare(&["http"], &[], |log| super::flags::run(log, "http"))
}

#[test]
fn calls_of_boot_are_listed() -> Result<()> {
    compare(&["boot"], &[], |log| super::flags::run(log, "boot"))
}

#[test]
fn calls_of_serve_are_listed() -> Result<()> {
    compare(&["serve"], &POORER, |log| {
        if log.profile.is_some() {
            // Where nfs cannot start, serve would start it again and again.
            session(log, ServerOptions::default())?;
        }
        for &arch in arches(log) {
            session(
                log,
                ServerOptions {
                    arch,
                    role: "serve",
                    ..ServerOptions::default()
                },
            )?;
        }
        if log.profile.is_none() && root_for("network namespaces") {
            super::mdns::serve(log)?;
            super::flags::run(log, "serve")?;
        }
        // Servers with several loops need a fixed port.
        let port = Port::reserve()?;
        session(
            log,
            ServerOptions {
                role: "serve",
                port: port.number(),
                arguments: ["--loops", "2"].map(Into::into).to_vec(),
                ..ServerOptions::default()
            },
        )
    })
}

/// Runs a command of ours under strace to its end.
fn run(log: &Log, words: &[&str]) -> Result<()> {
    for &arch in arches(log) {
        let wrapper = log.wrapper();
        let (program, arguments) = wrapper.split_first().context("no wrapper")?;
        let mut command = Command::new(program);
        command.args(arguments).arg(binary(arch)?).args(words);
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{words:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn calls_of_check_are_listed() -> Result<()> {
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    let port = server.nfs_port.to_string();
    compare(&["check"], &POORER, |log| {
        run(log, &["check", "nfs", "-n", &port])?;
        run(
            log,
            &[
                "check",
                "all",
                "-n",
                &port,
                "-m",
                &port,
                "-l",
                "127.0.0.1",
                "--json",
            ],
        )?;
        super::flags::run(log, "check")
    })
}

#[test]
fn calls_of_ls_and_cat_are_listed() -> Result<()> {
    let tree = public_dir()?;
    filled(tree.path())?;
    let (_directory, path) = image(ROCK_RIDGE[0], &tree.path().join("sub"))?;
    let path = path.display().to_string();
    compare(&["ls", "cat"], &POORER, |log| {
        run(log, &["ls", &path])?;
        run(log, &["ls", &tree.path().display().to_string()])?;
        run(log, &["cat", &format!("{path}/large")])?;
        for role in ["ls", "cat"] {
            super::flags::run(log, role)?;
        }
        Ok(())
    })
}

/// Roles that serve nothing. `status` asks a server, and one that hangs.
#[test]
fn calls_of_tools_are_listed() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    let stopped = Pid::from_raw(server.pid().try_into()?);
    let roles = ["completion", "probe", "status", "install", "uninstall"];
    compare(&roles, &[], |log| {
        for role in roles {
            super::flags::run(log, role)?;
        }
        kill(stopped, Signal::SIGSTOP)?;
        let asked = super::flags::run(log, "status");
        kill(stopped, Signal::SIGCONT)?;
        asked?;
        find_holder(log, &directory.path().join("pid"))?;
        install(log)
    })
}

/// Asks for the process that holds a PID file: this one.
fn find_holder(log: &Log, path: &Path) -> Result<()> {
    let mut file = fs::File::create(path)?;
    file.lock()?;
    writeln!(file, "{}", std::process::id())?;
    let wrapper = log.wrapper();
    let (program, arguments) = wrapper.split_first().context("no wrapper")?;
    let mut command = Command::new(program);
    command.args(arguments).arg(binary(Arch::X86_64)?);
    let output = command.args(["status", "--pid-file"]).arg(path).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// Installs into a tree of busybox' init, and removes that again.
fn install(log: &Log) -> Result<()> {
    let root = public_dir()?;
    for name in ["etc/init.d", "usr/sbin"] {
        fs::create_dir_all(root.path().join(name))?;
    }
    fs::write(
        root.path().join("etc/inittab"),
        "::sysinit:/etc/init.d/rcS\n",
    )?;
    fs::write(root.path().join("etc/init.d/rcS"), "#!/bin/sh\n")?;
    fs::copy(binary(Arch::X86_64)?, root.path().join("stowaway"))?;
    for role in ["install", "uninstall"] {
        let wrapper = log.wrapper();
        let (program, arguments) = wrapper.split_first().context("no wrapper")?;
        let mut command = Command::new(program);
        command.args(arguments).arg("chroot").arg(root.path());
        // Both fail: there is no shell.
        command.args([
            "/stowaway",
            role,
            "--for",
            "busybox",
            "--links",
            "/usr/sbin",
        ]);
        command.stdin(Stdio::null()).output()?;
    }
    Ok(())
}
