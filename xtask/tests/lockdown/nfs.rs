//! NFS under a profile: changes, users, several loops.

use super::{Host, wrapper};
use crate::promises;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use xtask::clients::nfs::{Auth, How, Set, stable_how};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for};
use xtask::testing::{pattern, serve};

const NOBODY: u32 = 65534;
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

/// A file belongs to its creator. On a host without setfsuid, it belongs to the user that the server printed at its start.
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
    let owner = single.map_or(Ok(NOBODY), |(_, user)| user.parse())?;
    ensure!([0, NOBODY].contains(&owner), "{lines:#?}");
    let mut attempt = || -> Result<()> {
        client.auth = Auth::sys(b"client", NOBODY, NOBODY, &[NOBODY]);
        client.create(&root, "file", How::Guarded(Set::mode(0o644)))?;
        let found = fs::metadata(directory.path().join("file"))?.uid();
        ensure!(found == owner, "the file belongs to {found}");
        let secret = client.lookup(&root, "secret")?;
        let is_readable = client.read(&secret, 0, 6).is_ok();
        ensure!(is_readable == (owner == 0), "READ: {is_readable}");
        Ok(())
    };
    let result = attempt();
    with_output(&server, result)
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
