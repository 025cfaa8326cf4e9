//! The image as a server: without rights, with nothing to write to, as 64 and as 32 bits.

use super::images;
use super::podman::Podman;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;
use xtask::clients::nfs::Client;
use xtask::machines::server::{Namespace, children, public_dir, root_for};
use xtask::setup::{self, Package};

/// Platforms that run on this machine.
const TAGS: [&str; 2] = ["amd64", "386"];
/// Who the image is.
const USER: &str = "65534";
const SAID: &str = "for NFS and MOUNT";
const NAME: &str = "files";

/// A network, a storage with the image in it, and a tree to serve.
struct Scene {
    podman: Podman,
    image: String,
    tree: TempDir,
}

impl Scene {
    fn new(tag: &str) -> Result<Self> {
        setup::need(&[Package::LIBNFS, Package::IPROUTE2])?;
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

    /// Starts a container as an administrator would who gives nothing away.
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
        self.listens(1)
    }

    /// Waits until it listens for the `count`th time.
    fn listens(&self, count: usize) -> Result<()> {
        self.podman.wait_for_line(NAME, SAID, count)
    }

    /// The handles of the export, as MNT gives it out, and of what is in it.
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

    /// What a program of libnfs prints about a path below the export.
    fn ask(&self, program: &str, path: &str) -> Result<String> {
        let url = format!("nfs://127.0.0.1/srv{path}?version=3&nfsport=2049&mountport=2049");
        setup::quietly(self.podman.command_inside(program).arg(url))
    }
}

/// A field of /proc/PID/status.
fn status(pid: &str, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.context("no such field")?.trim().to_owned())
}

#[test]
fn it_serves_as_nobody_without_rights_on_a_root_that_nobody_may_write() -> Result<()> {
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

        // That it was so, and not only asked for.
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
            .context("it has no root")?;
        ensure!(
            root[3].split(',').any(|option| option == "ro"),
            "{tag} may write to {root:?}"
        );
    }
    Ok(())
}

#[test]
fn handles_are_the_same_after_a_restart_and_in_another_container() -> Result<()> {
    if !root_for("handles over restarts of containers") {
        return Ok(());
    }
    let scene = Scene::new("latest")?;
    scene.start()?;
    let given = scene.handles()?;
    scene.podman.podman(&["restart", NAME])?;
    scene.listens(2)?;
    ensure!(
        scene.handles()? == given,
        "after a restart the handles are others"
    );
    scene.podman.podman(&["kill", NAME])?;
    scene.podman.podman(&["rm", "--force", NAME])?;
    scene.start()?;
    ensure!(
        scene.handles()? == given,
        "in another container the handles are others"
    );
    Ok(())
}

#[test]
fn it_ends_well_when_it_is_stopped() -> Result<()> {
    if !root_for("the end of a container") {
        return Ok(());
    }
    let scene = Scene::new("latest")?;
    scene.start()?;
    // What does not obey SIGTERM is killed after that, and its status is 137.
    scene.podman.podman(&["stop", "--time", "30", NAME])?;
    let status = scene.podman.inspect(NAME, "{{.State.ExitCode}}")?;
    ensure!(status == "0", "it ended with status {status}");
    Ok(())
}

#[test]
fn its_health_is_asked_of_the_file_itself() -> Result<()> {
    if !root_for("the health of a container") {
        return Ok(());
    }
    let scene = Scene::new("latest")?;
    let volume = format!("{}:/srv", scene.tree.path().display());
    // No systemd runs here that would ask now and then: it is asked by hand.
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
    scene.listens(1)?;
    let healthy = || scene.podman.podman(&["healthcheck", "run", NAME]);
    let told = || {
        let words = ["exec", NAME, "/stowaway", "check", "nfs", "--json"];
        scene.podman.podman(&words)
    };
    healthy().context("it is not well from the start")?;
    let said = told()?;
    ensure!(
        said == "{\"nfs\":{\"ok\":true,\"exports\":1}}\n",
        "it is told {said}"
    );

    // The server, not what watches over it.
    let pid: u32 = scene.podman.inspect(NAME, "{{.State.Pid}}")?.parse()?;
    let server = *children(pid)?.first().context("nothing serves")?;
    let server = Pid::from_raw(server.try_into()?);
    kill(server, Signal::SIGSTOP)?;
    ensure!(healthy().is_err(), "it is well though it hangs");
    kill(server, Signal::SIGCONT)?;
    healthy().context("it is not well again")?;

    fs::remove_dir_all(scene.tree.path().join("letters"))?;
    ensure!(healthy().is_err(), "it is well without its export");
    ensure!(told().is_err(), "of an export that is gone nothing is told");
    Ok(())
}

#[test]
fn the_archive_is_loaded_and_its_images_run() -> Result<()> {
    if !root_for("an archive in an engine") {
        return Ok(());
    }
    let podman = Podman::new(None)?;
    podman.load(&images()?.archive)?;
    for tag in TAGS.into_iter().chain(["latest"]) {
        let image = format!("stowaway:{tag}");
        let said = podman.run(&["--rm", &image, "--version"])?;
        let expected = format!("stowaway {}\n", env!("CARGO_PKG_VERSION"));
        ensure!(said == expected, "{image} says {said:?}");
    }
    Ok(())
}

#[test]
fn the_index_gives_each_machine_its_own() -> Result<()> {
    if !root_for("a choice by an engine") {
        return Ok(());
    }
    let podman = Podman::new(None)?;
    let layout = images()?.layout;
    let image = podman.pull(&layout, "latest", &[])?;
    let chosen = podman.inspect(&image, "{{.Architecture}}")?;
    ensure!(chosen == "amd64", "here podman chose {chosen}");
    let image = podman.pull(&layout, "latest", &["--arch", "386"])?;
    let chosen = podman.inspect(&image, "{{.Architecture}}")?;
    ensure!(chosen == "386", "for 386 podman chose {chosen}");
    Ok(())
}
