//! VMX files on file systems of their own.

use super::world::{Avahi, Process, World, ours};
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// As on ESXi: datastores are separate file systems, mounted on directories named by UUIDs, with symbolic links for their labels.
#[test]
fn virtual_machines_on_datastores_are_announced_once() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let volumes = scratch.path().join("volumes");
    let (first, second) = ("5f0c2d3e-1", "5f0c2d3e-2");
    for store in [first, second] {
        fs::create_dir_all(volumes.join(store))?;
    }
    symlink(first, volumes.join("datastore1"))?;
    symlink(second, volumes.join("backup"))?;
    let empty = scratch.path().join("empty");
    fs::create_dir_all(&empty)?;
    // A private mount namespace: only the responder sees these mounts.
    let script = "for store in \"$V\"/5f0c*; do mount -t tmpfs none \"$store\" || exit 1; done; \
        cd \"$V/5f0c2d3e-1\" && mkdir -p alpha folder/beta broken && \
        echo 'displayName = \"Alpha\"' > alpha/alpha.vmx && \
        echo 'displayName = \"Beta\"' > folder/beta/beta.vmx && \
        : > broken/empty.vmx && head -c 999 /dev/urandom > broken/broken.vmx && \
        mkdir ../5f0c2d3e-2/gamma && echo 'config.version = \"8\"' > ../5f0c2d3e-2/gamma/gamma.vmx && \
        exec \"$0\" \"$@\"";
    let inner = ours(&world.ours, "mdns")?;
    let mut command = Command::new("unshare");
    command
        .env("V", &volumes)
        .args(["--mount", "sh", "-c", script])
        .arg(inner.get_program())
        .args(inner.get_args())
        .args(["--name", "box", "--vms"])
        .arg(&volumes)
        .arg("--vms")
        .arg(&empty);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let responder = Process::logging(command)?;
    responder.wait_for_all(&[
        &format!("announcing 3 virtual machines below {}", volumes.display()),
        &format!("announcing 0 virtual machines below {}", empty.display()),
        "announced box.local",
    ])?;
    let seen = avahi.wait_for_output(
        &["avahi-browse", "-rtpk", "_vm._tcp"],
        &[
            "=;eth0;IPv4;Alpha;",
            "=;eth0;IPv4;Beta;",
            "=;eth0;IPv4;gamma;",
            "/folder/beta/beta.vmx",
        ],
    )?;
    let count = seen.lines().filter(|line| line.starts_with("=;eth0;IPv4;"));
    ensure!(count.count() == 3, "{seen}");
    responder.stop()
}
