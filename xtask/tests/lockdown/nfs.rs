//! NFS under a profile: changes, users, several loops.

use super::{Host, probe, wrapper};
use crate::promises;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::nfs::{Auth, How, Set, stable_how};
use xtask::machines::lockdown::Profile;
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for, status_field};
use xtask::machines::wait_for;
use xtask::testing::{pattern, serve};

const NOBODY: u32 = 65534;
/// Time limit for a server to read its exports again.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bits of ACCESS.
const READ: u32 = 0x01;
const EXECUTE: u32 = 0x20;
const ALL_ACCESS: u32 = 0x3f;
/// Length (bytes) of a file that needs several WRITE and READ calls, which are large enough for splice and sendfile.
const LEN: usize = 3_000_017;

fn options(host: Host) -> ServerOptions {
    ServerOptions {
        arch: host.arch,
        wrapper: wrapper(host.profile),
        ..ServerOptions::default()
    }
}

/// Adds the output of `server` to an error.
fn with_output<T>(server: &Server, result: Result<T>) -> Result<T> {
    result.with_context(|| format!("the server printed {:#?}", server.lines()))
}

pub(super) fn nfs_changes_reach_the_disk(host: Host) -> Result<()> {
    let directory = public_dir()?;
    let (server, mut client, root) = serve(directory.path(), "rw,no_root_squash", options(host))?;
    let mut attempt = || -> Result<()> {
        promises::change_everything(&mut client, &root)?;
        let data = pattern(1, 0, LEN);
        for (name, stable, part) in [
            ("synced", stable_how::FILE_SYNC, 32 << 10),
            ("unstable", stable_how::UNSTABLE, 1 << 20),
        ] {
            let file = client.create(&root, name, How::Guarded(Set::mode(0o640)))?;
            client.write_all(&file, 0, stable, &data, part)?;
            client.commit(&file, 0, 0)?;
            ensure!(fs::read(directory.path().join(name))? == data, "{name}");
            for part in [32 << 10, 1 << 20] {
                let (read, _) = client.read(&file, 4096, part)?;
                ensure!(read == &data[4096..4096 + part as usize], "READ of {name}");
            }
        }
        let mut names: Vec<_> = client
            .list(&root)?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.sort_unstable();
        let mut expected = [".", "..", "synced", "unstable"].map(|name| name.as_bytes().to_vec());
        expected.sort_unstable();
        ensure!(names == expected, "{names:?}");
        let mode = fs::metadata(directory.path().join("synced"))?.mode();
        ensure!(mode & 0o777 == 0o640, "the mode is {mode:o}");
        client.rename(&root, "synced", &root, "renamed")?;
        client.remove(&root, "unstable")?;
        ensure!(fs::read(directory.path().join("renamed"))? == data);
        Ok(())
    };
    let result = attempt();
    with_output(&server, result)
}

/// A file belongs to its creator. On a host without setfsuid, it belongs to root, as the server warned at its start.
pub(super) fn nfs_files_belong_to_their_users(host: Host) -> Result<()> {
    if !root_for("other users") {
        return Ok(());
    }
    let directory = public_dir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    chown(&secret, Some(1), Some(1))?;
    let (server, mut client, root) = serve(directory.path(), "rw,no_root_squash", options(host))?;
    let lines = server.lines();
    let single = lines
        .iter()
        .find_map(|line| line.split_once("every client accesses files as user "));
    let is_root = single.is_some();
    let owner = if is_root { 0 } else { NOBODY };
    let warning = "0: this host has no setfsuid, and all exports say no_root_squash";
    let is_said = single.is_none_or(|(_, user)| user == warning);
    let lacks = Profile::load(host.profile)?.refuses("setfsuid");
    ensure!(is_root == lacks && is_said, "{lines:#?}");
    let mut attempt = || -> Result<()> {
        client.auth = Auth::sys(b"client", NOBODY, NOBODY, &[NOBODY]);
        let granted = client.access(&root, ALL_ACCESS)?;
        ensure!(granted == ALL_ACCESS & !EXECUTE, "ACCESS: {granted:x}");
        client.create(&root, "file", How::Guarded(Set::mode(0o644)))?;
        let found = fs::metadata(directory.path().join("file"))?.uid();
        ensure!(found == owner, "the file belongs to {found}");
        let secret = client.lookup(&root, "secret")?;
        let granted = client.access(&secret, READ)?;
        let is_readable = client.read(&secret, 0, 6).is_ok();
        ensure!((granted != 0) == is_readable, "ACCESS: {granted:x}");
        ensure!(is_readable == (owner == 0), "READ: {is_readable}");
        Ok(())
    };
    let result = attempt();
    with_output(&server, result)
}

/// With `all_squash`, no client reads a file of mode 0600 of root. On a host without setfsuid, the server's process is the anonymous user.
pub(super) fn nfs_squashes_everybody(host: Host) -> Result<()> {
    if !root_for("other users") {
        return Ok(());
    }
    let directory = public_dir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    for (name, mode) in [("secret", 0o600), ("public", 0o644)] {
        let path = directory.path().join(name);
        fs::write(&path, "secret")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let lacks = Profile::load(host.profile)?.refuses("setfsuid");
    for role in ["nfs", "serve"] {
        let port = Port::reserve()?;
        let more: &[&str] = if role == "serve" {
            &["--no-mdns", "--loops", "2"]
        } else {
            &[]
        };
        let options = ServerOptions {
            role,
            port: port.number(),
            arguments: more.iter().map(ToString::to_string).collect(),
            ..options(host)
        };
        let (server, mut client, root) = serve(directory.path(), "rw,all_squash", options)?;
        let mut attempt = || -> Result<()> {
            for caller in [0, 1000] {
                client.auth = Auth::sys(b"client", caller, caller, &[]);
                let secret = client.lookup(&root, "secret")?;
                let granted = client.access(&secret, ALL_ACCESS)?;
                ensure!(granted == 0, "ACCESS by {caller}: {granted:x}");
                ensure!(client.read(&secret, 0, 6).is_err(), "READ by {caller}");
                let public = client.lookup(&root, "public")?;
                ensure!(
                    client.read(&public, 0, 6)?.0 == b"secret",
                    "READ by {caller}"
                );
                let name = format!("{role} {caller}");
                client.create(&root, &name, How::Guarded(Set::mode(0o644)))?;
                let found = fs::metadata(directory.path().join(&name))?.uid();
                ensure!(found == NOBODY, "{name} belongs to {found}");
            }
            if role == "nfs" {
                let user = status_field(server.pid(), "Uid")?;
                ensure!((user != 0) == lacks, "the process belongs to {user}");
            }
            Ok(())
        };
        let result = attempt();
        with_output(&server, result)?;
    }
    Ok(())
}

/// Without setfsuid a server of root has one user: it refuses exports of two, at its start and at SIGHUP.
#[test]
fn server_without_setfsuid_serves_one_user() -> Result<()> {
    if !root_for("other users") {
        return Ok(());
    }
    for profile in ["gvisor", "freebsd-linuxulator"] {
        let host = Host {
            profile,
            arch: Arch::X86_64,
        };
        let (one, other) = (public_dir()?, public_dir()?);
        let file = one.path().join("exports");
        let [one, other] = [&one, &other].map(|dir| dir.path().display().to_string());
        let both = [
            format!("{one}:no_root_squash"),
            format!("{other}:anonuid=7"),
        ];
        let arguments = [
            "nfs", "-p", "-n", "0", "--export", &both[0], "--export", &both[1],
        ];
        let output = probe::run(profile, host.arch, &arguments)?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1)
                && text.contains(&format!("{one} and {other}: this host has no setfsuid"))
                && text.lines().count() == 1,
            "{profile}: {output:?}"
        );
        let write = |options: &str| fs::write(&file, format!("{one} *({options})\n"));
        write("anonuid=7")?;
        let server = Server::start(ServerOptions {
            arguments: vec!["-e".into(), file.display().to_string()],
            ..options(host)
        })?;
        let hang_up = |options: &str, part: &str| -> Result<()> {
            write(options)?;
            let count = || {
                server
                    .lines()
                    .iter()
                    .filter(|line| line.contains(part))
                    .count()
            };
            let before = count();
            server.signal(Signal::SIGHUP)?;
            let found = wait_for(PATIENCE, || Ok((count() > before).then_some(())))?;
            found.with_context(|| format!("{profile}: {:#?}", server.lines()))
        };
        for refused in ["anonuid=8", "ro", "anonuid=7,anongid=7", "no_root_squash"] {
            hang_up(refused, "the server has one user")?;
        }
        hang_up("anonuid=7,rw,insecure", &format!("exporting {one}"))?;
        with_output(&server, server.open(one.as_ref()).map(drop))?;
    }
    Ok(())
}

pub(super) fn nfs_loops_serve_and_stop(host: Host) -> Result<()> {
    let directory = public_dir()?;
    let port = Port::reserve()?;
    let options = ServerOptions {
        role: "serve",
        port: port.number(),
        arguments: ["--no-mdns", "--loops", "2"].map(Into::into).into(),
        ..options(host)
    };
    let (server, _, root) = serve(directory.path(), "rw,no_root_squash", options)?;
    let attempt = || -> Result<()> {
        for number in 0..8 {
            let name = format!("file {number}");
            let (mut client, _) = server.open(directory.path())?;
            let file = client.create(&root, &name, How::Guarded(Set::mode(0o644)))?;
            client.write(&file, 0, stable_how::UNSTABLE, b"data")?;
            client.commit(&file, 0, 0)?;
        }
        Ok(())
    };
    with_output(&server, attempt())?;
    let (status, _) = server.terminate()?;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}
