//! Containers: the compose file, and files of containers by SFTP.

use super::{LISTENING, Recipe, ensure_exported, install_script, on_host};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use xtask::build::{Arch, workspace_root};
use xtask::commands::image::description::Description;
use xtask::commands::image::{self, OutputPaths};
use xtask::machines::server::{Namespace, binary, root_for, status_field};
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
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\nrootless_storage_path = \"{0}\"\n",
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

/// Installs podman-compose with the Python modules in `modules`, and writes image/compose.yaml below `directory`.
fn install_compose(modules: &Path, directory: &Path) -> Result<()> {
    let program = format!(
        "PYTHONPATH='{}' exec {} -m podman_compose \"$@\"",
        modules.display(),
        PythonPackage::PYTHON
    );
    install_script("/usr/local/bin/podman-compose", &program)?;
    // podman would run the health check by a systemd timer.
    let compose = fs::read_to_string(workspace_root().join("image/compose.yaml"))?;
    ensure!(compose.contains("interval: 30s"), "no health check");
    fs::create_dir(directory.join("image"))?;
    let without_timer = compose.replace("interval: 30s", "interval: disable");
    Ok(fs::write(
        directory.join("image/compose.yaml"),
        without_timer,
    )?)
}

/// The commands that start the compose file. The check at their end is left out, because it fails while the server starts.
fn start(directory: &Path) -> Result<Recipe> {
    Recipe::load("compose")?
        .with("cargo xtask image oci\n", "")?
        .with("target/stowaway/docker.tar", &archive(directory)?)?
        .with("podman exec files /stowaway check nfs\n", "")
}

/// A user without rights, with a home directory.
struct User {
    home: PathBuf,
}

impl User {
    const NAME: &str = "stowaway-test";

    fn new(directory: &Path) -> Result<Self> {
        let home = directory.join("home");
        run_captured(
            Command::new("useradd")
                .args(["--create-home", "--home-dir"])
                .arg(&home)
                .arg(Self::NAME),
        )?;
        for path in ["/etc/subuid", "/etc/subgid"] {
            fs::write(path, format!("{}:100000:65536\n", Self::NAME))?;
        }
        configure(&home)?;
        Ok(Self { home })
    }

    /// Runs a shell command in `directory` as this user.
    fn run(&self, line: &str, directory: &Path) -> Result<String> {
        let mut su = Command::new("su");
        su.args([Self::NAME, "-c", line]).current_dir(directory);
        run_captured(su.env("XDG_RUNTIME_DIR", &self.home))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // `podman system migrate` ends the process that keeps the user's namespaces.
        let _ = self.run(
            "podman rm --all --force --time 0; podman system migrate",
            &self.home,
        );
    }
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
fn compose_file_serves_nfs_and_sftp() -> Result<()> {
    if !root_for("containers") {
        return Ok(());
    }
    setup::install_packages(&["podman", "runc", "openssh-client"])?;
    let compose = PythonPackage::PODMAN_COMPOSE.path()?;
    let network = Namespace::new()?;
    on_host("containers", &network, |directory| {
        configure(directory)?;
        let _containers = Containers;
        install_compose(&compose, directory)?;
        let start = start(directory)?;
        start.run(directory, "")?;
        wait_until_served("files", 2049)?;
        podman(&["healthcheck", "run", "files"])?;

        let client = Recipe::load("compose-client")?;
        // Port 2049 is the one that clients know.
        ensure!(client.text().trim() == "mount -t nfs 192.0.2.1:/srv /mnt");
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

#[test]
fn user_without_rights_starts_the_compose_file() -> Result<()> {
    if !root_for("containers") {
        return Ok(());
    }
    setup::install_packages(&["podman", "runc", "uidmap"])?;
    let compose = PythonPackage::PODMAN_COMPOSE.path()?;
    on_host("containers", &Namespace::new()?, |directory| {
        // The checkout may be where other users cannot read.
        let modules = directory.join("modules");
        run_captured(Command::new("cp").arg("-r").arg(&compose).arg(&modules))?;
        run_captured(Command::new("chmod").args(["-R", "a+rX"]).arg(&modules))?;
        install_compose(&modules, directory)?;
        let user = User::new(directory)?;
        user.run(start(directory)?.text(), directory)?;
        let mut last = Ok(());
        let served = wait_for(START_MAX, || {
            last = ensure_exported("/srv", "hello.txt");
            Ok(last.is_ok().then_some(()))
        })?;
        let log = || {
            user.run("podman logs files 2>&1", directory)
                .unwrap_or_default()
        };
        served.map_or(last, Ok).with_context(log)?;
        let checked = user.run("podman exec files /stowaway check nfs", directory)?;
        ensure!(checked.contains("exports: 1"), "{checked}");
        // The server is a process of the user, without capabilities on the host.
        let owner = user.run("podman inspect -f '{{.State.Pid}}' files", directory)?;
        let uid = status_field(owner.trim().parse()?, "Uid")?;
        ensure!(uid >= 100_000, "the server runs as {uid}");
        Ok(())
    })
}
