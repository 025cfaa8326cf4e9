//! Objects that a file server must not open or enter: FIFOs, devices, sockets, procfs, sysfs and other mounted file systems.

use super::Scene;
use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Call, nfsstat3};
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for, users};

#[test]
fn special_files_are_listed_but_never_opened() -> Result<()> {
    for user in users() {
        let mut scene = Scene::new(user)?;
        let path = scene.directory.path().to_owned();
        let everyone = Mode::from_bits_truncate(0o666);
        mkfifo(&path.join("fifo"), everyone)?;
        let _socket = UnixListener::bind(path.join("socket"))?;
        let mut kinds = vec![("fifo", 7), ("socket", 6)];
        if root_for("devices") {
            // /dev/zero, whose reads never end, and a block device without a driver.
            mknod(&path.join("zero"), SFlag::S_IFCHR, everyone, makedev(1, 5))?;
            mknod(
                &path.join("block"),
                SFlag::S_IFBLK,
                everyone,
                makedev(240, 0),
            )?;
            kinds.extend([("zero", 4), ("block", 3)]);
        }
        let entries = scene.client.list(&scene.root)?;
        for (name, kind) in kinds {
            let start = Instant::now();
            let object = scene.client.lookup(&scene.root, name)?;
            ensure!(
                scene.client.attr(&object)?.type_ as u32 == kind,
                "{name} has another type than {kind}"
            );
            let listed = entries.iter().find(|entry| entry.name == name.as_bytes());
            ensure!(
                listed
                    .and_then(|entry| entry.attributes)
                    .is_some_and(|attributes| attributes[0] == kind),
                "{name} is listed as {listed:?}"
            );
            for count in [1, 4096, 1 << 20] {
                scene
                    .client
                    .expect_status(&Call::read(&object, 0, count), nfsstat3::NFS3ERR_INVAL)?;
            }
            let status = scene.client.status(&Call::commit(&object, 0, 0))?;
            ensure!(
                status != nfsstat3::NFS3_OK,
                "COMMIT of {name} was answered {status:?}"
            );
            ensure!(
                start.elapsed() < Duration::from_secs(1),
                "{name} took {:?}",
                start.elapsed()
            );
        }
        scene.check_alive()?;
    }
    Ok(())
}

#[test]
fn procfs_and_sysfs_are_not_exported() -> Result<()> {
    for path in ["/proc", "/proc/self", "/sys"] {
        let error = match Server::start(ServerOptions::serving(&[path.as_ref()])) {
            Ok(server) => anyhow::bail!("{path} is exported: {:?}", server.lines()),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            error.contains(path) && error.contains("exit status: 1"),
            "{path}: {error}"
        );
    }
    Ok(())
}

#[test]
fn mounts_inside_the_export_are_not_entered() -> Result<()> {
    if !root_for("mounting") {
        return Ok(());
    }
    let directory = public_dir()?;
    for name in ["tmpfs", "proc"] {
        fs::create_dir(directory.path().join(name))?;
    }
    fs::write(directory.path().join("small"), "small\n")?;
    // The mounts are visible to the server and its shell only.
    let script = r#"cd "$0" && mount -t tmpfs none tmpfs && mount -t proc none proc && echo secret >tmpfs/inside && exec "$@""#;
    let through = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        &directory.path().display().to_string(),
    ];
    let options = ServerOptions {
        wrapper: through.map(String::from).to_vec(),
        ..ServerOptions::serving(&[directory.path()])
    };
    let server = Server::start(options)?;
    let (mut client, root) = server.open(directory.path())?;
    for path in [
        "tmpfs/inside",
        "proc/self/environ",
        "proc/1/status",
        "proc/meminfo",
    ] {
        let found = client.walk(&root, path);
        ensure!(
            found
                .as_ref()
                .is_err_and(|e| e.downcast_ref::<nfsstat3>().is_some()),
            "{path}: {found:?}"
        );
    }
    // Objects beside the mount points are listed, and handles of the mount points show no mounted objects.
    let entries = client.list(&root)?;
    ensure!(
        entries.iter().any(|entry| entry.name == b"small"),
        "small is not listed: {entries:?}"
    );
    for entry in entries
        .iter()
        .filter(|entry| matches!(&entry.name[..], b"tmpfs" | b"proc"))
    {
        let Some(handle) = &entry.handle else {
            continue;
        };
        let inside = client.list(handle);
        let seen = inside.as_ref().map(|inside| {
            inside
                .iter()
                .filter(|e| !matches!(&e.name[..], b"." | b".."))
                .count()
        });
        ensure!(
            seen.as_ref().map_or(true, |&count| count == 0),
            "{} shows {inside:?}",
            entry.name.escape_ascii()
        );
    }
    let file = client.lookup(&root, "small")?;
    client.read(&file, 0, 10).context("the export itself")?;
    Ok(())
}
