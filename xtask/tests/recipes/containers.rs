//! Containers: the compose file, and files of containers by SFTP.

use super::{LISTENING, Recipe, ensure_exported, install_script, on_host};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use xtask::build::{Arch, workspace_root};
use xtask::commands::image::description::Description;
use xtask::commands::image::{self, OutputPaths};
use xtask::machines::server::{Namespace, binary, root_for};
use xtask::machines::wait_for;
use xtask::setup::{self, PythonPackage, run_captured};

/// Time limit for a container to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// Configures podman in /etc for a host without systemd, with its images and containers below `directory`.
fn configure(directory: &Path) -> Result<()> {
    let path = |part: &str| directory.join(part).display().to_string();
    let containers = format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
         [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\ntmp_dir = \"{}\"\n",
        path("tmp")
    );
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        path("root"),
        path("run")
    );
    fs::create_dir_all("/etc/containers")?;
    fs::write("/etc/containers/containers.conf", containers)?;
    fs::write("/etc/containers/storage.conf", storage)?;
    Ok(())
}

fn podman(words: &[&str]) -> Result<String> {
    run_captured(Command::new("podman").args(words))
}

/// Removes all containers when dropped.
struct Containers;

impl Drop for Containers {
    fn drop(&mut self) {
        let _ = podman(&["rm", "--all", "--force", "--time", "0"]);
    }
}

/// Writes the archive of `cargo xtask image oci --arch x86_64`.
fn archive(directory: &Path) -> Result<String> {
    let file = fs::read(binary(Arch::X86_64)?)?;
    let paths = OutputPaths::in_directory(directory);
    image::write(&[(Arch::X86_64, file)], &Description::load()?, &paths)?;
    Ok(paths.archive.display().to_string())
}

/// Waits until the container `name` serves NFS.
fn wait_until_served(name: &str, port: u16) -> Result<()> {
    let check = [
        "exec",
        name,
        "/stowaway",
        "check",
        "nfs",
        "-n",
        &port.to_string(),
    ];
    let mut last = String::new();
    let served = wait_for(START_MAX, || match podman(&check) {
        Ok(_) => Ok(Some(())),
        Err(error) => {
            last = format!("{error:#}");
            Ok(None)
        }
    })?;
    served.with_context(|| format!("{last}; log: {:?}", podman(&["logs", name])))
}

#[test]
fn compose_file_serves_and_pods_are_read_by_sftp() -> Result<()> {
    if !root_for("containers") {
        return Ok(());
    }
    setup::install_packages(&["podman", "runc", "openssh-client"])?;
    let compose = PythonPackage::PODMAN_COMPOSE.path()?;
    let network = Namespace::new()?;
    on_host("containers", &network, |directory| {
        configure(directory)?;
        let _containers = Containers;
        let program = format!(
            "PYTHONPATH='{}' exec {} -m podman_compose \"$@\"",
            compose.display(),
            PythonPackage::PYTHON
        );
        install_script("/usr/local/bin/podman-compose", &program)?;
        // podman would run the health check by a systemd timer.
        let compose = fs::read_to_string(workspace_root().join("image/compose.yaml"))?;
        ensure!(compose.contains("interval: 30s"), "no health check");
        fs::create_dir(directory.join("image"))?;
        let without_timer = compose.replace("interval: 30s", "interval: disable");
        fs::write(directory.join("image/compose.yaml"), without_timer)?;
        let start = Recipe::load("compose")?;
        // The container's server may not listen when the last command runs, so that is repeated below.
        let start = start
            .with("cargo xtask image oci\n", "")?
            .with("target/stowaway/docker.tar", &archive(directory)?)?
            .with("podman exec files /stowaway check nfs\n", "")?;
        start.run(directory, "")?;
        wait_until_served("files", 2049)?;
        podman(&["healthcheck", "run", "files"])?;

        let client = Recipe::load("compose-client")?;
        let port = client
            .text()
            .split(',')
            .find_map(|option| option.strip_prefix("port="));
        let port: u16 = port.context("no port")?.parse()?;
        ensure!(client.text().contains(&format!("mountport={port},")));
        ensure!(port == 2049);
        ensure_exported("/srv", "hello.txt")?;

        Recipe::load("pod")?.run(directory, "get /srv/hello.txt first\n")?;
        ensure!(fs::read(directory.join("first"))? == b"hello\n");

        fs::write("/srv/other.txt", "other\n")?;
        let words = ["run", "--detach", "--name=db", "--network=host"];
        let more = ["--volume=/srv:/data:ro", "stowaway:latest"];
        let serve = ["nfs", "--export", "/data", "-n", "3049", "-p"];
        podman(&[&words[..], &more, &serve].concat())?;
        wait_until_served("db", 3049)?;
        let listed = Recipe::load("pod-of-others")?
            .run(directory, "get /data/other.txt second\nls -1 /\n")?;
        ensure!(fs::read(directory.join("second"))? == b"other\n");
        ensure!(
            listed.contains("/stowaway") && !listed.contains("/home"),
            "{listed}"
        );

        // podman derives the image's name from the path, which must be in lower case and is therefore relative.
        podman(&["rm", "--force", "--time", "0", "files"])?;
        let mut server = Recipe::load("readme-container")?
            .with("cargo xtask image oci && ", "")?
            .with("oci:target/stowaway/oci:", "oci:oci:")?
            .start(directory)?;
        server.wait_for(LISTENING)?;
        ensure_exported("/srv", "hello.txt")
    })
}
