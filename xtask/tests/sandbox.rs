//! The sandbox of each role: a call that a request handler does not contain is refused, and the status of the process says so.

use crate::mdns::world::{Process, World};
use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use std::fs::{self, read_to_string};
use std::os::unix::fs::PermissionsExt as _;
use std::thread::spawn;
use std::time::Duration;
use xtask::clients::sftp::{Sftp, SftpOptions};
use xtask::machines::planted::{Planted, Traced};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for};
use xtask::machines::wait_for;
use xtask::testing::serve;

/// A file that no role serves.
const SECRET: &str = "/etc/shadow";
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls of a process that has received a request, or is about to reply.
const HANDLING: [i64; 4] = [
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_write,
];

/// Results of planted calls.
struct Results {
    open: Result<i64, Errno>,
    open_at: Result<i64, Errno>,
    open_below: Result<i64, Errno>,
    connect: Result<i64, Errno>,
    run: Result<i64, Errno>,
    fork: Result<i64, Errno>,
}

impl Results {
    /// Plants each call once. Descriptor 0 stands for any open descriptor.
    fn of(process: &Traced) -> Result<Self> {
        let plant = |planted| process.plant(&HANDLING, planted);
        Ok(Self {
            open: plant(Planted::Open(SECRET))?,
            open_at: plant(Planted::OpenAt(SECRET))?,
            open_below: plant(Planted::OpenBelow(0, SECRET))?,
            connect: plant(Planted::Connect(0))?,
            run: plant(Planted::Run("/bin/sh"))?,
            fork: plant(Planted::Fork)?,
        })
    }

    /// Checks the calls that no role needs: they fail as if the kernel lacked them.
    fn check(&self) -> Result<()> {
        for (name, result) in [
            ("open", self.open),
            ("connect", self.connect),
            ("execve", self.run),
        ] {
            ensure!(result == Err(Errno::ENOSYS), "{name}: {result:?}");
        }
        Ok(())
    }

    /// Checks that the role makes no child process.
    fn check_child(&self) -> Result<()> {
        ensure!(self.fork == Err(Errno::ENOSYS), "clone: {:?}", self.fork);
        Ok(())
    }

    /// Also checks openat: AT_FDCWD is refused, and with `is_landlocked` each file outside.
    fn check_files(&self, is_landlocked: bool) -> Result<()> {
        self.check()?;
        ensure!(self.open_at == Err(Errno::ENOSYS), "{:?}", self.open_at);
        let is_refused = self.open_below == Err(Errno::EACCES);
        ensure!(is_refused == is_landlocked, "{:?}", self.open_below);
        Ok(())
    }
}

/// A field of /proc/PID/status.
fn status(pid: u32, field: &str) -> Result<String> {
    let text = read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    Ok(value.context("no such field")?.to_owned())
}

/// Checks the status of a process that keeps these capabilities, as far as it had them.
fn check_status(pid: u32, capabilities: u64) -> Result<()> {
    let own = u64::from_str_radix(&status(std::process::id(), "CapEff")?, 16)?;
    let capabilities = capabilities & own;
    for (field, expected) in [
        ("Seccomp", "2".to_owned()),
        ("NoNewPrivs", "1".to_owned()),
        ("CapEff", format!("{capabilities:016x}")),
        ("CapPrm", format!("{capabilities:016x}")),
    ] {
        let value = status(pid, field)?;
        ensure!(value == expected, "{field} is {value}, not {expected}");
    }
    Ok(())
}

/// CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID, MKNOD.
const ACT: u64 = 0x0800_00df;

fn nfs_is_confined(handles: &str, line: &str, is_landlocked: bool) -> Result<()> {
    if !root_for("capabilities") {
        return Ok(());
    }
    let directory = public_dir()?;
    fs::write(directory.path().join("file"), "data")?;
    let options = ServerOptions {
        arguments: vec!["--handles".into(), handles.into()],
        ..ServerOptions::default()
    };
    let (server, mut client, root) = serve(directory.path(), "rw", options)?;
    server.wait_for_line(line, PATIENCE)?;
    check_status(server.pid(), ACT)?;
    let process = Traced::attach(server.pid())?;
    let asking = spawn(move || -> Result<_> {
        for _ in 0..20 {
            client.attr(&root)?;
        }
        Ok((client, root))
    });
    let results = Results::of(&process)?;
    results.check_files(is_landlocked)?;
    results.check_child()?;
    drop(process);
    let (mut client, root) = asking.join().expect("no panic")?;
    // The server still serves.
    let file = client.lookup(&root, "file")?;
    ensure!(client.read(&file, 0, 4)?.0 == b"data");
    Ok(())
}

#[test]
fn nfs_with_kernel_handles_needs_system_calls_only() -> Result<()> {
    // openat of an absolute path with any descriptor is allowed, and CAP_DAC_READ_SEARCH kept.
    nfs_is_confined("kernel", "sandbox: nfs: needed system calls only", false)
}

#[test]
fn nfs_with_path_handles_opens_only_its_exports() -> Result<()> {
    nfs_is_confined(
        "path",
        "sandbox: nfs: needed system calls and files only",
        true,
    )
}

fn sftp_is_confined(options: &SftpOptions) -> Result<Results> {
    let mut client = Sftp::start(options)?;
    client.stat(".")?;
    let pid = client.process.pid();
    ensure!(status(pid, "Seccomp")? == "2" && status(pid, "NoNewPrivs")? == "1");
    let process = Traced::attach(pid)?;
    let asking = spawn(move || -> Result<_> {
        for _ in 0..10 {
            client.stat(".")?;
        }
        Ok(client)
    });
    let results = Results::of(&process)?;
    drop(process);
    asking.join().expect("no panic")?.finish()?;
    results.check()?;
    results.check_child()?;
    Ok(results)
}

#[test]
fn sftp_session_makes_no_other_calls() -> Result<()> {
    // Without a jail, the session opens each file that its user may open.
    let tree = public_dir()?;
    let results = sftp_is_confined(&SftpOptions::in_directory(tree.path()))?;
    ensure!(!root_for("reading /etc/shadow") || results.open_at.is_ok());
    Ok(())
}

#[test]
fn jailed_sftp_session_opens_nothing_outside() -> Result<()> {
    let tree = public_dir()?;
    let results = sftp_is_confined(&SftpOptions::jailed(tree.path()))?;
    for result in [results.open_at, results.open_below] {
        ensure!(result == Err(Errno::EACCES), "{result:?}");
    }
    Ok(())
}

#[test]
fn mdns_opens_only_the_kernels_lists() -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    let world = World::new()?;
    let ours = world.announce(&["--name", "ours", "--service", "site,_http._tcp,80"])?;
    ours.wait_for("announced ours.local")?;
    let pid = ours.pid().as_raw().unsigned_abs();
    // DAC_READ_SEARCH, for files of services that it may read again.
    check_status(pid, 1 << 2)?;
    let process = Traced::attach(pid)?;
    let asking = Process::browser(&world.theirs, &["-r", "_http._tcp"])?;
    Results::of(&process)?.check_files(true)?;
    drop(process);
    asking.wait_for("site")?;
    Ok(())
}

#[test]
fn browse_opens_only_the_kernels_lists() -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    let world = World::new()?;
    let watch = world.browse(&["-r", "_http._tcp"])?;
    let pid = watch.pid().as_raw().unsigned_abs();
    let is_confined = || Ok((status(pid, "Seccomp")? == "2").then_some(()));
    wait_for(PATIENCE, is_confined)?.context("no filter")?;
    let process = Traced::attach(pid)?;
    let theirs = Process::responder(&world.theirs, &["--service", "site,_http._tcp,80"])?;
    Results::of(&process)?.check_files(true)?;
    drop(process);
    watch.wait_for("site")?;
    theirs.stop()
}

#[test]
fn each_process_of_serve_is_confined() -> Result<()> {
    if !root_for("capabilities") {
        return Ok(());
    }
    let directory = public_dir()?;
    let server = Server::start(ServerOptions {
        role: "serve",
        exports: vec![directory.path().display().to_string()],
        arguments: [
            "--loops",
            "1",
            "--sftp",
            "127.0.0.1:0",
            "--name",
            "sandboxed",
        ]
        .map(String::from)
        .into(),
        ..ServerOptions::default()
    })?;
    let count = || Ok(Some(server.children()?).filter(|children| children.len() == 2));
    let children = wait_for(PATIENCE, count)?.context("not two children")?;
    for (pid, capabilities) in children.into_iter().zip([ACT, ACT | 1 << 24]) {
        let is_confined = || Ok((status(pid, "Seccomp")? == "2").then_some(()));
        wait_for(PATIENCE, is_confined)?.context("no filter")?;
        check_status(pid, capabilities)?;
    }
    Ok(())
}

/// Landlock refuses a directory that took the place of an exported one. The supervisor starts the process again at SIGHUP.
#[test]
fn replaced_export_is_served_after_a_reload() -> Result<()> {
    let (directory, port) = (public_dir()?, Port::reserve()?);
    let (export, other) = (
        directory.path().join("export"),
        directory.path().join("other"),
    );
    for (path, name) in [(&export, "old"), (&other, "new")] {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        fs::write(path.join(name), name)?;
    }
    let server = Server::start(ServerOptions {
        role: "serve",
        exports: vec![export.display().to_string()],
        arguments: ["--no-mdns", "--loops", "1", "--handles", "path"]
            .map(String::from)
            .into(),
        port: port.number(),
        ..ServerOptions::default()
    })?;
    server.wait_for_line("sandbox: nfs: needed system calls", PATIENCE)?;
    let (mut client, root) = server.open(&export)?;
    client.lookup(&root, "old")?;
    fs::rename(&export, directory.path().join("former"))?;
    fs::rename(&other, &export)?;
    server.signal(Signal::SIGHUP)?;
    let found = wait_for(PATIENCE, || {
        let opened = server.open(&export);
        Ok(opened
            .and_then(|(mut client, root)| client.lookup(&root, "new"))
            .ok())
    })?;
    found.with_context(|| format!("not served: {:#?}", server.lines()))?;
    // A missing export does not end the process, which serves it once it is back.
    fs::rename(&export, &other)?;
    server.signal(Signal::SIGHUP)?;
    server.wait_for_line("not exist", PATIENCE)?;
    fs::rename(directory.path().join("former"), &export)?;
    let found = wait_for(PATIENCE, || {
        let opened = server.open(&export);
        Ok(opened
            .and_then(|(mut client, root)| client.lookup(&root, "old"))
            .ok())
    })?;
    found.with_context(|| format!("not served: {:#?}", server.lines()))?;
    Ok(())
}
