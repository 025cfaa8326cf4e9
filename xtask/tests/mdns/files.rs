//! Service files and VMX files: their number, symbolic links to them, and their interfaces.

use super::world::{Avahi, Process, World, ours};
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Number of service files. Above 256, so that an index of 8 bits would overflow.
const COUNT: usize = 300;

/// Text of a service file (avahi.service) with one service `name`; `attribute` is added to its `service` element.
fn group(name: &str, attribute: &str) -> String {
    format!(
        "<service-group><name>{name}</name><service{attribute}><type>_http._tcp</type><port>80</port></service></service-group>\n"
    )
}

#[test]
fn service_files_and_symlinks_are_read() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let dir = scratch.path().join("services");
    fs::create_dir_all(&dir)?;
    for number in 0..COUNT {
        fs::write(
            dir.join(format!("{number}.service")),
            group(&format!("Many-{number}-"), ""),
        )?;
    }
    // NixOS and GNU stow install configuration files as symbolic links.
    let store = scratch.path().join("store");
    fs::create_dir_all(&store)?;
    fs::write(store.join("absolute"), group("Absolute", ""))?;
    fs::write(store.join("relative"), group("Relative", ""))?;
    symlink(store.join("absolute"), dir.join("absolute.service"))?;
    symlink(Path::new("../store/relative"), dir.join("relative.service"))?;
    symlink(Path::new("gone"), dir.join("gone.service"))?;
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let responder = world.announce(&["--name", "box", "--services", &dir.to_string_lossy()])?;
    let message = responder.wait_for("left out")?;
    let expect = "/gone.service: does not exist; check the path";
    ensure!(message.ends_with(expect), "{message}");
    responder.wait_for("announced box.local")?;
    let names: Vec<_> = (0..COUNT)
        .map(|number| format!("IPv4;Many-{number}-;"))
        .collect();
    let mut seen: Vec<_> = names.iter().map(String::as_str).collect();
    seen.extend(["IPv4;Absolute;", "IPv4;Relative;"]);
    avahi.wait_for_output(&["avahi-browse", "-tpk", "_http._tcp"], &seen)?;
    responder.stop()
}

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

/// A service of an interface that leads elsewhere is not announced here.
#[test]
fn service_of_one_interface_is_announced_there() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    for words in [
        &[
            "link", "add", "eth1", "type", "veth", "peer", "name", "eth2",
        ][..],
        &["link", "set", "eth1", "up"],
        &["link", "set", "eth2", "up"],
        &["address", "add", "198.51.100.1/24", "dev", "eth1"],
    ] {
        let status = world.ours.command("ip").args(words).status()?;
        ensure!(status.success(), "ip {words:?}: {status}");
    }
    let dir = scratch.path().join("services");
    fs::create_dir_all(&dir)?;
    for interface in ["eth0", "eth1"] {
        let text = group(
            &format!("File {interface}"),
            &format!(" interface=\"{interface}\""),
        );
        fs::write(dir.join(format!("{interface}.service")), text)?;
    }
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let responder = world.announce(&[
        "--name",
        "box",
        "--deny",
        "eth2",
        "--service",
        "Here,_http._tcp,80,interface=eth0",
        "--service",
        "There,_http._tcp,80,interface=eth1",
        "--services",
        &dir.to_string_lossy(),
    ])?;
    responder.wait_for("announced box.local")?;
    let browse = ["avahi-browse", "-tpk", "_http._tcp"];
    let seen = avahi.wait_for_output(&browse, &["IPv4;Here;", r"IPv4;File\032eth0;"])?;
    ensure!(!seen.contains("There") && !seen.contains("eth1"), "{seen}");
    responder.stop()
}
