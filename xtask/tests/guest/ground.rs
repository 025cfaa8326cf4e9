//! A server that writes, the directory that it exports, and the guest's mount of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use xtask::build;
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions};

use crate::world::World;

/// Where the exported directory lies.
#[derive(Clone, Copy)]
pub enum Place {
    /// Where temporary files lie: what is made stable costs what it costs there.
    Disk,
    /// In memory, for what is about the protocol and not about the disk.
    Memory,
}

/// Dropped, it ends the server.
pub struct Ground {
    options: ServerOptions,
    server: Option<Server>,
    directory: TempDir,
    /// The next server is to be found where this one was.
    _port: Port,
}

impl Ground {
    /// Starts a server with `handles`, "kernel" or "path", that lets root be root.
    pub fn new(world: &World, handles: &str, place: Place) -> Result<Self> {
        Self::of(world, "nfs", handles, place)
    }

    /// The same by itself, as "nfs", or under a supervisor, as "serve".
    pub fn of(world: &World, role: &'static str, handles: &str, place: Place) -> Result<Self> {
        let mut arguments = vec!["--handles".into(), handles.into()];
        if role == "serve" {
            arguments.push("--no-mdns".into());
        }
        Self::with(
            world,
            place,
            ServerOptions {
                role,
                arguments,
                ..ServerOptions::default()
            },
        )
    }

    /// Starts a server with more wishes than that; the export and the key are added.
    pub fn with(world: &World, place: Place, options: ServerOptions) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let mode = fs::Permissions::from_mode(0o755);
        builder.prefix("stowaway-").permissions(mode);
        let directory = match place {
            Place::Disk => builder.tempdir(),
            Place::Memory => builder.tempdir_in("/dev/shm"),
        }
        .context("cannot make a directory to export")?;
        let export = directory.path().join("export");
        open_directory(&export)?;
        if let Some(id) = options.user {
            std::os::unix::fs::chown(&export, Some(id), Some(id))?;
        }
        let port = Port::reserve()?;
        let mut ground = Self {
            options: ServerOptions {
                port: port.number(),
                exports: vec![format!("{}:rw,no_root_squash", export.display())],
                key_file: Some(directory.path().join("key")),
                ..options
            },
            server: None,
            directory,
            _port: port,
        };
        ground.start(world)?;
        Ok(ground)
    }

    /// Starts the server again, at the port that the guest knows.
    pub fn start(&mut self, world: &World) -> Result<()> {
        self.server = Some(world.serve(self.options.clone())?);
        Ok(())
    }

    /// Ends the server as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("no server runs")?.kill()
    }

    /// Kills the server that a supervisor has started, and will start again.
    pub fn kill_child(&self) -> Result<()> {
        let server = self.server.as_ref().context("no supervisor runs")?;
        let [child] = server.children()?[..] else {
            bail!("the supervisor has other children than one server");
        };
        kill(Pid::from_raw(child.try_into()?), Signal::SIGKILL).context("cannot kill the server")
    }

    /// The exported directory.
    pub fn export(&self) -> PathBuf {
        self.directory.path().join("export")
    }

    /// Another directory on the same file system, which is not exported.
    pub fn beside(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        open_directory(&path)?;
        Ok(path)
    }

    /// The command that mounts the export at `at`, from `address`.
    pub fn mount(&self, address: &str, at: &str) -> String {
        format!(
            "mkdir -p {at}; mount -o rw,nolock,nosharecache,vers=3,proto=tcp,port={port},mountport={port} {address}:{} {at}",
            self.export().display(),
            port = self.options.port,
        )
    }

    /// Mounts the export in the guest, runs a script there that must succeed, and unmounts.
    pub fn sh(&self, world: &mut World, script: &str) -> Result<String> {
        let mount = self.mount(HOST, "/mnt/1");
        world.guest.sh(&format!(
            "set -e; {mount}; trap 'cd /; umount /mnt/1' EXIT; cd /mnt/1\n{script}"
        ))
    }
}

/// Makes a directory that everybody may enter, whatever the mask is.
fn open_directory(path: &Path) -> Result<()> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot make {}", path.display()))
}

/// The host as the guest sees it.
pub const HOST: &str = "10.0.2.2";

/// Runs the program of the guest on the host; it must succeed.
pub fn exercise(words: &[&str], directory: &Path) -> Result<String> {
    let output = Command::new(build::program("exercise")?)
        .args(words)
        .current_dir(directory)
        .output()?;
    ensure!(
        output.status.success(),
        "exercise {words:?} on the host: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The first few lines that only one of two texts has.
pub fn differences(ours: &str, theirs: &str) -> String {
    let only = |these: &str, those: &str| {
        let those: std::collections::BTreeSet<&str> = those.lines().collect();
        let lines = these.lines().filter(|line| !those.contains(line));
        lines.take(10).collect::<Vec<_>>().join("\n")
    };
    format!(
        "only the first has:\n{}\nonly the second has:\n{}",
        only(ours, theirs),
        only(theirs, ours)
    )
}
