//! Properties of the built file: static, within its size budget, no writable code, and only the system calls that
//! qemu/hosts/minimal.toml lists.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use xtask::build::loader::{Headers, PF_R, PF_W, PF_X, PT_LOAD, load};
use xtask::build::{Arch, workspace_root};
use xtask::clients::nfs::{
    Auth, Call, Client, How, Set, SetTime, mknoddata3, nfsstat3, stable_how,
};
use xtask::machines::lockdown::Profile;
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, binary, public_dir};
use xtask::setup;

const PAGE: u64 = 4096;
const LOWEST: u64 = 0x20_0000;
const NOBODY: u32 = 65534;

#[test]
fn segments_are_three_and_share_no_page() -> Result<()> {
    for arch in [Arch::X86_64, Arch::I686] {
        let file = fs::read(binary(arch)?)?;
        // Fails for shared pages, writable code, an executable stack, and an interpreter or a dynamic section.
        load(&file, PAGE).with_context(|| format!("the file for {arch:?}"))?;
        let headers = Headers::read(&file)?;
        let loaded: Vec<_> = headers.of_kind(PT_LOAD).collect();
        let flags: Vec<u64> = loaded.iter().map(|it| it.flags.value).collect();
        ensure!(
            flags == [PF_R, PF_R | PF_X, PF_R | PF_W],
            "the loaded segments have the flags {flags:?}"
        );
        let lowest = loaded[0].address.value;
        ensure!(lowest == LOWEST, "the lowest address is {lowest:#x}");
    }
    Ok(())
}

#[test]
fn file_is_within_its_size_budget() -> Result<()> {
    let path = workspace_root().join("image/size.toml");
    let budgets =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let budgets: toml::Table = budgets
        .parse()
        .with_context(|| format!("cannot parse {}", path.display()))?;
    for arch in [Arch::X86_64, Arch::I686] {
        let budget = budgets
            .get(arch.name())
            .and_then(|arch| arch.get("file")?.as_integer());
        let budget =
            budget.with_context(|| format!("{} has no budget for {arch:?}", path.display()))?;
        let size = fs::metadata(binary(arch)?)?.len();
        ensure!(
            size <= budget.try_into()?,
            "the file for {arch:?} has {size} bytes, more than its budget of {budget}"
        );
    }
    Ok(())
}

#[test]
fn file_contains_no_builder_paths() -> Result<()> {
    let home = std::env::var("HOME").unwrap_or_default();
    let project = workspace_root().display().to_string();
    let paths =
        [&home, &project, "/home", "/root", ".cargo", ".rustup"].map(|path| format!("{path}/"));
    for arch in [Arch::X86_64, Arch::I686] {
        let file = fs::read(binary(arch)?)?;
        let text = String::from_utf8_lossy(&file);
        for path in paths.iter().filter(|path| *path != "/") {
            ensure!(
                !text.contains(path),
                "the file for {arch:?} contains {path}"
            );
        }
    }
    Ok(())
}

/// Names that strace prints and that are no system calls: parts of socketcall on i686, and cachestat if strace does not know it.
const OTHER_NAMES: [&str; 3] = ["recv", "send", "syscall_0x1c3"];

/// Makes every kind of change in a directory, and removes everything again.
pub(crate) fn change_everything(client: &mut Client, root: &[u8]) -> Result<()> {
    let file = client.create(root, "new", How::Guarded(Set::mode(0o640)))?;
    client.write(&file, 0, stable_how::UNSTABLE, &[7; 100_000])?;
    client.commit(&file, 0, 0)?;
    client.write(&file, 5, stable_how::FILE_SYNC, b"synced")?;
    let set = Set {
        mode: Some(0o600),
        size: Some(10),
        atime: SetTime::Client(1, 2),
        mtime: SetTime::Server,
        ..Set::default()
    };
    client.set_attr(&file, set)?;
    if client.auth.caller().is_some_and(|caller| caller.uid == 0) {
        let gid = Some(NOBODY);
        client.set_attr(
            &file,
            Set {
                gid,
                ..Set::default()
            },
        )?;
    }
    client.link(&file, root, "link to it")?;
    let dir = client.mkdir(root, "new dir", Set::mode(0o755))?;
    client.symlink(&dir, "symlink", "target")?;
    client.mknod(&dir, "fifo", mknoddata3::NF3FIFO(Set::mode(0o600).into()))?;
    client.rename(root, "new", &dir, "renamed")?;
    for name in ["symlink", "fifo", "renamed"] {
        client.remove(&dir, name)?;
    }
    client.remove(root, "link to it")?;
    client.rmdir(root, "new dir")
}

/// Runs a session under strace and returns the names of all system calls.
fn calls(options: ServerOptions) -> Result<BTreeSet<String>> {
    let directory = public_dir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
    fs::create_dir(directory.path().join("sub"))?;
    fs::write(directory.path().join("sub/large"), vec![0; 2 << 20])?;
    std::os::unix::fs::symlink("sub", directory.path().join("link"))?;
    let trace = directory.path().join("trace");
    let through = ["strace", "-f", "-qq", "-o", &trace.display().to_string()]
        .map(String::from)
        .to_vec();
    let exports = vec![format!("{}:rw,no_root_squash", directory.path().display())];
    let server = Server::start(ServerOptions {
        exports,
        wrapper: through,
        ..options
    })?;

    // A session with every kind of request.
    let (mut client, root) = server.open(directory.path())?;
    let sub = client.lookup(&root, "sub")?;
    let link = client.lookup(&root, "link")?;
    let large = client.lookup(&sub, "large")?;
    client.attr(&large)?;
    client.read_link(&link)?;
    client.read(&large, 0, 4096)?;
    client.read(&large, 4096, 1 << 20)?;
    client.list(&root)?;
    client.page(&Call::read_dir(&root, 0, [0; 8], 4096))?;
    let calls = [
        Call::access(&large, 0x3f),
        Call::fs_stat(&root),
        Call::fs_info(&root),
        Call::path_conf(&root),
        Call::commit(&large, 0, 0),
    ];
    for call in calls {
        client.expect_status(&call, nfsstat3::NFS3_OK)?;
    }
    for uid in [0, NOBODY] {
        client.auth = Auth::sys(b"client", uid, uid, &[uid]);
        change_everything(&mut client, &root).with_context(|| format!("as user {uid}"))?;
    }
    client.call(&Call::exports())?;
    client.call(&Call::unmount_all())?;
    drop(client);

    // The started process is strace, whose child is the server. strace ends with the server.
    for child in server.children()? {
        kill(Pid::from_raw(child.try_into()?), Signal::SIGTERM)?;
    }
    server.wait_for_end()?;
    let text = fs::read_to_string(&trace).context("strace wrote nothing")?;
    // Lines are `1234  openat(AT_FDCWD, …) = 3`. Lines about signals and exits do not match.
    let name = |line: &str| {
        line.split_once(char::is_whitespace)
            .and_then(|(_, call)| Some(call.trim_start().split_once('(')?.0.to_owned()))
    };
    let names: BTreeSet<String> = text
        .lines()
        .filter_map(name)
        .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect();
    ensure!(names.contains("execve"), "the trace has no execve:\n{text}");
    Ok(names)
}

#[test]
fn system_calls_are_on_the_list() -> Result<()> {
    setup::install_packages(&["strace"])?;
    let minimal = Profile::load("minimal")?;
    let mut listed = minimal.allowed_names("serve");
    listed.extend(OTHER_NAMES);
    let mut used = BTreeSet::new();
    for arch in [Arch::X86_64, Arch::I686] {
        for role in ["nfs", "serve"] {
            let path_handles = vec!["--handles".into(), "path".into()];
            for arguments in [Vec::new(), path_handles] {
                used.extend(calls(ServerOptions {
                    arch,
                    role,
                    arguments,
                    ..ServerOptions::default()
                })?);
            }
        }
    }
    // Servers with several loops need a fixed port.
    let port = Port::reserve()?;
    used.extend(calls(ServerOptions {
        role: "serve",
        port: port.number(),
        arguments: ["--loops", "2"].map(Into::into).to_vec(),
        ..ServerOptions::default()
    })?);
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    let new: Vec<_> = used.difference(&listed).collect();
    ensure!(
        new.is_empty(),
        "the server used system calls that qemu/hosts/minimal.toml does not list: {new:?}"
    );
    Ok(())
}
