//! What most tests of the server begin with: a directory, a server of it, a connection and the handle of its root.

use std::fs;
use std::marker::PhantomData;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempDir;

use crate::build::Arch;
use crate::clients::nfs::{Client, How, Set, stable_how};
use crate::machines::server::{Server, ServerOptions, public_dir, users};

/// What a suite serves.
pub trait Sample {
    /// The options of the export.
    const OPTIONS: &str;

    /// Fills the directory.
    fn fill(directory: &Path) -> Result<()>;

    /// A new client, with the handle of the root, gets what it should.
    fn check(client: &mut Client, root: &[u8]) -> Result<()>;
}

/// A server, its export, a connection and the root's handle.
pub struct Scene<S> {
    // The server goes before its directory.
    pub server: Server,
    pub client: Client,
    pub root: Vec<u8>,
    pub directory: TempDir,
    sample: PhantomData<S>,
}

impl<S: Sample> Scene<S> {
    /// Serves the suite's sample as this user.
    pub fn new(user: Option<u32>) -> Result<Self> {
        Self::with(
            S::OPTIONS,
            ServerOptions {
                user,
                ..ServerOptions::default()
            },
        )
    }

    /// Serves it with these options. The directory belongs to the server's user.
    pub fn with(export_options: &str, options: ServerOptions) -> Result<Self> {
        let directory = public_dir()?;
        S::fill(directory.path())?;
        chown(directory.path(), options.user, options.user)?;
        let (server, client, root) = serve(directory.path(), export_options, options)?;
        Ok(Self {
            server,
            client,
            root,
            directory,
            sample: PhantomData,
        })
    }

    /// Runs `test` for each processor and each kind of handle.
    pub fn each(test: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        for arch in Arch::NATIVE {
            for user in users() {
                let options = ServerOptions {
                    arch,
                    user,
                    ..ServerOptions::default()
                };
                let mut scene = Self::with(S::OPTIONS, options)?;
                test(&mut scene).with_context(|| {
                    let said = scene.server.lines();
                    format!("as {arch:?} and user {user:?}; the server said {said:#?}")
                })?;
            }
        }
        Ok(())
    }

    /// A place in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new file with `data`, by way of the server.
    pub fn make(&mut self, name: &str, data: &[u8]) -> Result<Vec<u8>> {
        make(&mut self.client, &self.root, name, data)
    }

    /// MNT of a path below the directory, or of that itself.
    pub fn mount(&self, below: &str) -> Result<Vec<u8>> {
        let path = match below {
            "" => self.directory.path().to_owned(),
            _ => self.path(below),
        };
        Client::connect(self.server.mount())?.mount(&path.display().to_string())
    }

    /// The server still runs and answers a new client.
    pub fn is_well(&mut self) -> Result<()> {
        is_well::<S>(&mut self.server, self.directory.path())
    }
}

/// Serves `directory` on free ports of loopback: the server, a connection and the root's handle.
pub fn serve(
    directory: &Path,
    export_options: &str,
    options: ServerOptions,
) -> Result<(Server, Client, Vec<u8>)> {
    let colon = if export_options.is_empty() { "" } else { ":" };
    let export = format!("{}{colon}{export_options}", directory.display());
    let server = Server::start(ServerOptions {
        exports: vec![export],
        ..options
    })?;
    let (client, root) = server.open(directory)?;
    Ok((server, client, root))
}

/// A new file with `data`.
pub fn make(client: &mut Client, dir: &[u8], name: &str, data: &[u8]) -> Result<Vec<u8>> {
    let file = client
        .create(dir, name, How::Guarded(Set::mode(0o644)))
        .with_context(|| format!("cannot create {name}"))?;
    if !data.is_empty() {
        client.write_all(&file, 0, stable_how::FILE_SYNC, data, 1 << 20)?;
    }
    Ok(file)
}

/// A server of this directory still runs and answers a new client.
pub fn is_well<S: Sample>(server: &mut Server, directory: &Path) -> Result<()> {
    ensure!(
        server.is_alive()?,
        "the server ended; it said {:#?}",
        server.lines()
    );
    let (mut client, root) = server.open(directory)?;
    S::check(&mut client, &root)
}

/// Bytes that differ at every place that could be mistaken for another; `seed` tells files apart.
pub fn pattern(seed: u8, from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)).wrapping_mul(0x9d) as u8 ^ seed)
        .collect()
}

/// The first `len` bytes of the file are those of the pattern of 1.
pub fn holds(path: &Path, len: u64) -> Result<()> {
    let bytes = fs::read(path)?;
    let wrong = bytes
        .iter()
        .zip(pattern(1, 0, len as usize))
        .position(|(a, b)| *a != b);
    ensure!(
        bytes.len() as u64 >= len && wrong.is_none(),
        "{} of {len} bytes are there, the first wrong one at {wrong:?}",
        bytes.len()
    );
    Ok(())
}

/// Repeats `disturb` on a thread while `work` runs.
pub fn meanwhile(
    mut disturb: impl FnMut() -> Result<()> + Send,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let disturbing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                disturb()?;
            }
            Ok(())
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        disturbing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .and(result)
    })
}

/// Each of the two gets the other's name at one moment.
pub fn exchange(one: &Path, two: &Path) -> Result<()> {
    let how = RenameFlags::RENAME_EXCHANGE;
    Ok(renameat2(AT_FDCWD, one, AT_FDCWD, two, how)?)
}

/// Whether the long forms are asked for: STOWAWAY_FULL=1.
pub fn full() -> bool {
    std::env::var_os("STOWAWAY_FULL").is_some()
}
