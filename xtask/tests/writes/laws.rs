//! The laws of NFS that the built server shares with the engines: the table is in the crate `cases`.

use super::{Scene, WRITABLE, is_as_on_the_host};
use anyhow::{Context, Result, ensure};
use cases::laws::{self, Case, Peer, big_byte, many};
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::nfs::{Client, first_xid, record};
use xtask::machines::server::{ServerOptions, users};

/// Size (bytes) of the file `big`: more than the largest READ, and not a multiple of four.
const BIG_LEN: usize = (2 << 20) + 3;

/// A server, and the directory of one case.
struct BuiltServer<'a> {
    scene: &'a mut Scene,
    path: PathBuf,
    saved: Vec<String>,
}

/// Creates the objects of a case, owned by `user`.
pub(crate) fn fill(directory: &Path, user: Option<u32>) -> Result<()> {
    let path = |name: &str| directory.join(name);
    for name in ["dir", "empty", "many"] {
        fs::create_dir_all(path(name))?;
    }
    fs::write(path("hello"), "hello world")?;
    fs::write(path("big"), (0..BIG_LEN).map(big_byte).collect::<Vec<_>>())?;
    fs::write(path("dir/inner"), "inner")?;
    symlink("/etc/passwd", path("link"))?;
    mkfifo(
        &path("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o644),
    )?;
    for name in many() {
        fs::write(path("many").join(name), "")?;
    }
    for entry in walkdir::WalkDir::new(directory) {
        lchown(entry?.path(), user, user)?;
    }
    Ok(())
}

impl BuiltServer<'_> {
    /// The host's view of the case's objects.
    fn state(&self) -> Result<Vec<String>> {
        let entries = walkdir::WalkDir::new(&self.path).sort_by_file_name();
        let describe = |entry: walkdir::Result<walkdir::DirEntry>| {
            let entry = entry?;
            let meta = entry.metadata()?;
            let (mode, size, links) = (meta.mode(), meta.size(), meta.nlink());
            let mtime = (meta.mtime(), meta.mtime_nsec());
            let ctime = (meta.ctime(), meta.ctime_nsec());
            let path = entry.path().display().to_string();
            Ok(format!(
                "{path} {mode:o} {size} {links} {mtime:?} {ctime:?}"
            ))
        };
        let mut state: Vec<String> = entries.into_iter().map(describe).collect::<Result<_>>()?;
        // A name with `..` that the server accepted would appear beside the directory of the case.
        for entry in fs::read_dir(self.scene.directory.path())? {
            state.push(entry?.path().display().to_string());
        }
        Ok(state)
    }
}

impl laws::Server for BuiltServer<'_> {
    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let client = &mut self.scene.client;
        client.send(&record(message))?;
        Ok(client.receive()?.context("closed")?.to_vec())
    }

    fn reconnect(&mut self) -> Result<()> {
        self.scene.client.reset_at_close()?;
        self.scene.client = self.scene.server.connect()?;
        Ok(())
    }

    fn tick(&mut self) {
        sleep(Duration::from_millis(12));
    }

    fn save(&mut self) -> Result<()> {
        self.saved = self.state()?;
        Ok(())
    }

    fn is_as_saved(&mut self) -> Result<bool> {
        Ok(self.state()? == self.saved)
    }

    fn check(&mut self) -> Result<()> {
        // The listing, which changes the atime of directories, ends before attributes are compared.
        let entries = walkdir::WalkDir::new(&self.path).into_iter();
        let paths: Vec<PathBuf> = entries
            .filter_entry(|entry| {
                !entry
                    .path()
                    .parent()
                    .is_some_and(|dir| dir.ends_with("many"))
            })
            .map(|entry| Ok(entry?.into_path()))
            .collect::<Result<_>>()?;
        let mut client = self.scene.server.connect()?;
        for path in paths {
            let below = path.strip_prefix(self.scene.directory.path())?;
            let handle = below.iter().try_fold(self.scene.root.clone(), |dir, name| {
                look_up(&mut client, &dir, name.as_encoded_bytes())
            });
            is_as_on_the_host(&client.attr(&handle?)?, &path)?;
        }
        Ok(())
    }
}

fn look_up(client: &mut Client, dir: &[u8], name: &[u8]) -> Result<Vec<u8>> {
    let call = xtask::clients::nfs::Call::lookup(dir, name);
    Ok(client.answer(&call)?.ok()?.handle)
}

/// Runs each case in a directory of its own, on a server of each architecture and user.
fn check(export_options: &str, cases: impl Fn() -> Vec<Case>) -> Result<()> {
    for arch in Arch::NATIVE {
        for user in users() {
            let options = ServerOptions {
                arch,
                user,
                ..ServerOptions::default()
            };
            let mut scene = Scene::with_options(export_options, options)?;
            let mut failed = Vec::new();
            for (number, (name, case)) in cases().into_iter().enumerate() {
                let path = scene.path(&number.to_string());
                fill(&path, user)?;
                let root = scene.root.clone();
                let top = scene.client.lookup(&root, &number.to_string())?;
                let mut server = BuiltServer {
                    scene: &mut scene,
                    path,
                    saved: Vec::new(),
                };
                let mut peer = Peer::new(&mut server, root, first_xid());
                peer.top = top;
                peer.is_privileged = user.is_none() && nix::unistd::geteuid().is_root();
                if let Err(error) = case(&mut peer) {
                    failed.push(format!("{name}: {error:#}"));
                }
            }
            let lines = scene.server.lines();
            ensure!(
                failed.is_empty(),
                "{arch:?}, user {user:?}: {failed:#?}, {lines:#?}"
            );
            ensure!(scene.server.is_alive()?, "the server ended: {lines:#?}");
        }
    }
    Ok(())
}

#[test]
fn laws_of_writable_exports_hold() -> Result<()> {
    check(WRITABLE, || laws::writable().collect())
}

#[test]
fn laws_of_read_only_exports_hold() -> Result<()> {
    check("no_root_squash", || laws::read_only().collect())
}
