//! The image as a server: without capabilities, with a read-only root, as x86_64 and as i686.

use super::images;
use super::podman::Podman;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;
use xtask::clients::nfs::Client;
use xtask::machines::server::{Namespace, children, public_dir, root_for};
use xtask::setup;

/// Image tags of the platforms that this machine can run.
const TAGS: [&str; 2] = ["amd64", "386"];
/// The UID as which the image runs the server.
const USER: &str = "65534";
const LISTENING: &str = "for NFS and MOUNT";
const NAME: &str = "files";

/// A podman instance with a network, the image, and a tree to export.
struct Scene {
    podman: Podman,
    image: String,
    tree: TempDir,
}

impl Scene {
    fn new(tag: &str) -> Result<Self> {
        setup::install_packages(&["libnfs-utils", "iproute2"])?;
        let podman = Podman::new(Some(Namespace::new()?))?;
        let image = podman.pull(&images()?.layout, tag, &[])?;
        let tree = public_dir()?;
        fs::create_dir_all(tree.path().join("letters/b"))?;
        fs::write(tree.path().join("letters/a.txt"), "a letter\n")?;
        fs::write(tree.path().join("letters/b/c.txt"), vec![b'c'; 100_000])?;
        Ok(Self {
            podman,
            image,
            tree,
        })
    }

    /// Starts a container with as few privileges as possible.
    fn start(&self) -> Result<()> {
        let volume = format!("{}:/srv:ro", self.tree.path().display());
        self.podman.run(&[
            "--detach",
            "--name",
            NAME,
            "--read-only",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
            "--volume",
            &volume,
            &self.image,
        ])?;
        self.wait_until_listening(1)
    }

    /// Waits until the server's log has the line about listening for the `count`th time.
    fn wait_until_listening(&self, count: usize) -> Result<()> {
        self.podman.wait_for_line(NAME, LISTENING, count)
    }

    /// The handles of the export's root (by MNT) and of its files (by LOOKUP).
    fn handles(&self) -> Result<Vec<Vec<u8>>> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 2049));
        self.podman.inside(|| {
            let root = Client::connect(server)?.mount("/srv")?;
            let mut client = Client::connect(server)?;
            let mut handles = vec![root.clone()];
            for path in ["letters", "letters/a.txt", "letters/b/c.txt"] {
                handles.push(client.walk(&root, path)?);
            }
            Ok(handles)
        })
    }

    /// The output of a libnfs program for `path` in the export.
    fn ask(&self, program: &str, path: &str) -> Result<String> {
        let url = format!("nfs://127.0.0.1/srv{path}?version=3&nfsport=2049&mountport=2049");
        setup::run_captured(self.podman.command_inside(program).arg(url))
    }
}

/// A field of /proc/PID/status.
fn status(pid: &str, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value
        .context("the status file has no such field")?
        .trim()
        .to_owned())
}

#[test]
fn container_serves_unprivileged_on_read_only_root() -> Result<()> {
    if !root_for("an image in a container") {
        return Ok(());
    }
    for tag in TAGS {
        let scene = Scene::new(tag)?;
        scene.start()?;
        let listed = scene.ask("nfs-ls", "/letters")?;
        let mut names: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        names.sort_unstable();
        ensure!(names == ["a.txt", "b"], "{tag} lists {listed}");
        let read = scene.ask("nfs-cat", "/letters/a.txt")?;
        ensure!(read == "a letter\n", "{tag} reads {read:?}");
        let read = scene.ask("nfs-cat", "/letters/b/c.txt")?;
        ensure!(
            read.len() == 100_000 && read.bytes().all(|byte| byte == b'c'),
            "{tag} reads {} bytes",
            read.len()
        );

        // Reads from /proc whether the settings took effect.
        let pid = scene.podman.inspect(NAME, "{{.State.Pid}}")?;
        let user = status(&pid, "Uid")?;
        ensure!(
            user.split_whitespace().all(|id| id == USER),
            "{tag} runs as {user}"
        );
        for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
            let rights = status(&pid, set)?;
            ensure!(rights == "0000000000000000", "{tag} has {set} {rights}");
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .rfind(|words| words[1] == "/")
            .context("the container has no root mount")?;
        ensure!(
            root[3].split(',').any(|option| option == "ro"),
            "{tag} may write to {root:?}"
        );

        // nfs-ls and nfs-cat each mount once.
        let status = ["exec", NAME, "/stowaway", "status", "--json"];
        let figures: Value = serde_json::from_str(&scene.podman.podman(&status)?)?;
        let calls = figures["servers"][0]["calls"].as_array();
        let mounts = calls
            .into_iter()
            .flatten()
            .find(|call| call["procedure"] == "mnt");
        ensure!(
            mounts.is_some_and(|mounts| mounts["calls"] == 3),
            "{tag} tells {figures:#}"
        );
    }
    Ok(())
}

#[test]
fn handles_survive_container_restart_and_replacement() -> Result<()> {
    if !root_for("handles over restarts of containers") {
        return Ok(());
    }
    let scene = Scene::new("latest")?;
    scene.start()?;
    let given = scene.handles()?;
    scene.podman.podman(&["restart", NAME])?;
    scene.wait_until_listening(2)?;
    ensure!(
        scene.handles()? == given,
        "the handles changed after a restart"
    );
    scene.podman.podman(&["kill", NAME])?;
    scene.podman.podman(&["rm", "--force", NAME])?;
    scene.start()?;
    ensure!(
        scene.handles()? == given,
        "the handles changed in a new container"
    );
    Ok(())
}

#[test]
fn stopped_container_exits_with_zero() -> Result<()> {
    if !root_for("the end of a container") {
        return Ok(());
    }
    let scene = Scene::new("latest")?;
    scene.start()?;
    // If the process does not end after SIGTERM, podman kills it, and the exit code is 137.
    scene.podman.podman(&["stop", "--time", "30", NAME])?;
    let status = scene.podman.inspect(NAME, "{{.State.ExitCode}}")?;
    ensure!(status == "0", "the container ended with status {status}");
    Ok(())
}

#[test]
fn health_check_detects_hang_and_removed_export() -> Result<()> {
    if !root_for("the health of a container") {
        return Ok(());
    }
    let scene = Scene::new("latest")?;
    let volume = format!("{}:/srv", scene.tree.path().display());
    // podman would run the health check by a systemd timer. This test runs it explicitly.
    scene.podman.run(&[
        "--detach",
        "--name",
        NAME,
        "--read-only",
        "--cap-drop=all",
        "--health-cmd",
        r#"["/stowaway","check","all"]"#,
        "--health-interval=disable",
        "--volume",
        &volume,
        &scene.image,
        "serve",
        "--export",
        "/srv/letters",
    ])?;
    scene.wait_until_listening(1)?;
    let healthy = || scene.podman.podman(&["healthcheck", "run", NAME]);
    let check = || {
        let words = ["exec", NAME, "/stowaway", "check", "nfs", "--json"];
        scene.podman.podman(&words)
    };
    healthy().context("the container is not healthy after its start")?;
    let json = check()?;
    ensure!(
        json == "{\"nfs\":{\"ok\":true,\"exports\":1}}\n",
        "check printed {json}"
    );

    // The container's process is the supervisor. The test stops its child, which serves the clients.
    let pid: u32 = scene.podman.inspect(NAME, "{{.State.Pid}}")?.parse()?;
    let server = *children(pid)?
        .first()
        .context("the supervisor has no child")?;
    let server = Pid::from_raw(server.try_into()?);
    kill(server, Signal::SIGSTOP)?;
    ensure!(
        healthy().is_err(),
        "the container is healthy although its server is stopped"
    );
    kill(server, Signal::SIGCONT)?;
    healthy().context("the container is not healthy after its server continued")?;

    fs::remove_dir_all(scene.tree.path().join("letters"))?;
    ensure!(
        healthy().is_err(),
        "the container is healthy without its export"
    );
    ensure!(check().is_err(), "check succeeds for a removed export");
    Ok(())
}

#[test]
fn images_of_the_archive_run() -> Result<()> {
    if !root_for("an archive in an engine") {
        return Ok(());
    }
    let podman = Podman::new(None)?;
    podman.load(&images()?.archive)?;
    for tag in TAGS.into_iter().chain(["latest"]) {
        let image = format!("stowaway:{tag}");
        let output = podman.run(&["--rm", &image, "--version"])?;
        let expected = format!("stowaway {}\n", env!("CARGO_PKG_VERSION"));
        ensure!(output.starts_with(&expected), "{image} prints {output:?}");
    }
    Ok(())
}
