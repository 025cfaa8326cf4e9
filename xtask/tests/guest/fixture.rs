//! A server with a writable export, the exported directory, and the guest's mount of the export.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use xtask::build;
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions};

use crate::world::World;

/// The file system of the exported directory.
#[derive(Clone, Copy)]
pub enum Storage {
    /// The file system of temporary files, with the real cost of fsync.
    Disk,
    /// tmpfs, for tests of the protocol that do not need a disk.
    Memory,
}

/// A server and its exported directory. Drop ends the server.
pub struct Fixture {
    options: ServerOptions,
    /// The version by which the guest mounts.
    version: &'static str,
    server: Option<Server>,
    /// The directory that contains the export.
    directory: PathBuf,
    /// Removes a directory that the fixture has made.
    _temporary: Option<TempDir>,
    /// Reserves the port, so that a restarted server has the same one.
    _port: Port,
}

impl Fixture {
    /// Starts a server with `handles` ("kernel" or "path") and no_root_squash.
    pub fn new(world: &World, handles: &str, storage: Storage) -> Result<Self> {
        Self::with_role(world, "nfs", handles, "1", storage)
    }

    /// As [`Self::new`], with `role` "nfs" (a single process) or "serve" (a supervisor of this number of loops).
    pub fn with_role(
        world: &World,
        role: &'static str,
        handles: &str,
        loops: &str,
        storage: Storage,
    ) -> Result<Self> {
        let mut arguments = vec!["--handles".into(), handles.into()];
        if role == "serve" {
            arguments.extend(["--no-mdns", "--loops", loops].map(Into::into));
        }
        Self::with_options(
            world,
            storage,
            ServerOptions {
                role,
                arguments,
                ..ServerOptions::default()
            },
        )
    }

    /// As [`Self::with_role`], mounted by version 4.1.
    pub fn over_4_1(
        world: &World,
        role: &'static str,
        handles: &str,
        loops: &str,
        storage: Storage,
    ) -> Result<Self> {
        let mut fixture = Self::with_role(world, role, handles, loops, storage)?;
        fixture.version = "4.1";
        Ok(fixture)
    }

    /// Starts a server with `options`, to which port, export and key file are added.
    pub fn with_options(world: &World, storage: Storage, options: ServerOptions) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let mode = fs::Permissions::from_mode(0o755);
        builder.prefix("stowaway-").permissions(mode);
        let directory = match storage {
            Storage::Disk => builder.tempdir(),
            Storage::Memory => builder.tempdir_in("/dev/shm"),
        }
        .context("cannot create the directory to export")?;
        let export = directory.path().join("export");
        open_directory(&export)?;
        if let Some(id) = options.user {
            std::os::unix::fs::chown(&export, Some(id), Some(id))?;
        }
        let mut fixture = Self::existing(world, directory.path(), options)?;
        fixture._temporary = Some(directory);
        Ok(fixture)
    }

    /// As [`Self::with_options`], for the existing directory `parent`/export.
    pub fn existing(world: &World, parent: &Path, options: ServerOptions) -> Result<Self> {
        let port = world.reserve()?;
        let mut fixture = Self {
            options: ServerOptions {
                port: port.number(),
                exports: vec![format!(
                    "{}:rw,no_root_squash",
                    parent.join("export").display()
                )],
                key_file: Some(parent.join("key")),
                ..options
            },
            version: "3",
            server: None,
            directory: parent.to_owned(),
            _temporary: None,
            _port: port,
        };
        fixture.start(world)?;
        Ok(fixture)
    }

    /// Starts the server, also again after [`Self::kill`], on the same port.
    pub fn start(&mut self, world: &World) -> Result<()> {
        world.wait_for_port(self.options.port)?;
        self.server = Some(world.serve(self.options.clone())?);
        Ok(())
    }

    /// Kills the server by SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("no server runs")?.kill()
    }

    /// Kills one of the supervisor's children, which the supervisor restarts.
    pub fn kill_child(&self) -> Result<()> {
        let server = self.server.as_ref().context("no supervisor runs")?;
        let children = server.children()?;
        let child = fastrand::choice(children).context("the supervisor has no child")?;
        kill(Pid::from_raw(child.try_into()?), Signal::SIGKILL).context("cannot kill the server")
    }

    /// The version of NFS by which the guest mounts.
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// The exported directory.
    pub fn export(&self) -> PathBuf {
        self.directory.join("export")
    }

    /// Creates a directory next to the export, on the same file system.
    pub fn create_sibling(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        open_directory(&path)?;
        Ok(path)
    }

    /// The shell command with which the guest mounts the export of `address` at `at`.
    pub fn mount(&self, address: &str, at: &str) -> String {
        let (export, port) = (self.export(), self.options.port);
        let more = match self.version {
            "3" => format!("nolock,mountport={port}"),
            _ => "nconnect=4".into(),
        };
        format!(
            "mkdir -p {at}; mount -o rw,nosharecache,vers={},proto=tcp,port={port},{more} {address}:{} {at}",
            self.version,
            export.display(),
        )
    }

    /// Mounts the export in the guest, runs a script in it that must succeed, and unmounts the export.
    pub fn run_ok(&self, world: &mut World, script: &str) -> Result<String> {
        let mount = self.mount(HOST, "/mnt/1");
        world.guest.run_ok(&format!(
            "set -e; {mount}; trap 'cd /; umount /mnt/1' EXIT; cd /mnt/1\n{script}"
        ))
    }
}

/// Creates a directory with mode 0755, whatever the umask is.
fn open_directory(path: &Path) -> Result<()> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot create {}", path.display()))
}

/// The address at which the guest reaches the host.
pub const HOST: &str = "10.0.2.2";

/// Runs `exercise`, which is also in the guest, on the host. An exit code other than 0 is an error.
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

/// For each of two texts, up to ten lines that the other text does not have.
pub fn differences(ours: &str, theirs: &str) -> String {
    let only = |text: &str, compared: &str| {
        let known: std::collections::BTreeSet<&str> = compared.lines().collect();
        let lines = text.lines().filter(|line| !known.contains(line));
        lines.take(10).collect::<Vec<_>>().join("\n")
    };
    format!(
        "only in the first:\n{}\nonly in the second:\n{}",
        only(ours, theirs),
        only(theirs, ours)
    )
}
