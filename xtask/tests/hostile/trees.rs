//! File systems that a server must not export or enter: procfs, sysfs, and those mounted inside the export.

use anyhow::{Context, Result, ensure};
use std::fs;
use xtask::clients::nfs::nfsstat3;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for};

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
        if let Some(handle) = &entry.handle
            && let Ok(inside) = client.list(handle)
        {
            let is_dots = |name: &[u8]| matches!(name, b"." | b"..");
            let only_dots = inside.iter().all(|entry| is_dots(&entry.name));
            ensure!(only_dots, "{:?} shows {inside:?}", entry.name);
        }
    }
    let file = client.lookup(&root, "small")?;
    client.read(&file, 0, 10).context("the export itself")?;
    Ok(())
}
