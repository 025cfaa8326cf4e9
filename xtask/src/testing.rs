//! Fixture of most server tests: an exported directory, a running server, a connected client and the root handle.

use std::fs;
use std::marker::PhantomData;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempDir;

use crate::build::{Arch, workspace_root};
use crate::clients::nfs::{Client, How, Set, stable_how};
pub use crate::machines::pattern;
use crate::machines::server::{Server, ServerOptions, public_dir, users};

/// The files that a test suite exports.
pub trait Sample {
    /// The export's options, as in `--export DIR:OPTIONS`.
    const OPTIONS: &str;

    /// Creates the suite's files in the exported directory.
    fn fill(directory: &Path) -> Result<()>;

    /// Checks that a new client can read the suite's files, starting from the root handle.
    fn check(client: &mut Client, root: &[u8]) -> Result<()>;
}

/// A running server, its exported directory, a connected client and the root handle.
pub struct Scene<S> {
    // `server` is declared before `directory` because fields are dropped in this order: the server must end before its directory is
    // removed.
    pub server: Server,
    pub client: Client,
    pub root: Vec<u8>,
    pub directory: TempDir,
    sample: PhantomData<S>,
}

impl<S: Sample> Scene<S> {
    /// Serves the suite's files from a server with UID `user`. None: the user of this process.
    pub fn new(user: Option<u32>) -> Result<Self> {
        Self::with_options(
            S::OPTIONS,
            ServerOptions {
                user,
                ..ServerOptions::default()
            },
        )
    }

    /// Serves the suite's files with these options. The server's user owns the directory.
    pub fn with_options(export_options: &str, options: ServerOptions) -> Result<Self> {
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

    /// Runs `test` for each native architecture with a server of each user ([`users`]), to cover kernel handles and path handles.
    pub fn for_each_server(test: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        for arch in Arch::NATIVE {
            for user in users() {
                let options = ServerOptions {
                    arch,
                    user,
                    ..ServerOptions::default()
                };
                let mut scene = Self::with_options(S::OPTIONS, options)?;
                test(&mut scene).with_context(|| {
                    let lines = scene.server.lines();
                    format!(
                        "built for {arch:?}, run as user {user:?}; the server printed {lines:#?}"
                    )
                })?;
            }
        }
        Ok(())
    }

    /// The path of `name` in the exported directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Creates a file with `data` through the server and returns its handle.
    pub fn create_file(&mut self, name: &str, data: &[u8]) -> Result<Vec<u8>> {
        create_file(&mut self.client, &self.root, name, data)
    }

    /// Sends MNT for a path below the exported directory (empty: the directory itself) and returns the handle.
    pub fn mount(&self, below: &str) -> Result<Vec<u8>> {
        let path = match below {
            "" => self.directory.path().to_owned(),
            _ => self.path(below),
        };
        Client::connect(self.server.mount())?.mount(&path.display().to_string())
    }

    /// Checks that the server still runs and answers a new client.
    pub fn check_alive(&mut self) -> Result<()> {
        check_alive::<S>(&mut self.server, self.directory.path())
    }
}

/// Serves only `directory`; all other options are those of `options`. Returns the server, a connected client and the root handle.
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

/// Creates a file with `data` in `dir` and returns its handle.
pub fn create_file(client: &mut Client, dir: &[u8], name: &str, data: &[u8]) -> Result<Vec<u8>> {
    let file = client
        .create(dir, name, How::Guarded(Set::mode(0o644)))
        .with_context(|| format!("cannot create {name}"))?;
    if !data.is_empty() {
        client.write_all(&file, 0, stable_how::FILE_SYNC, data, 1 << 20)?;
    }
    Ok(file)
}

/// Checks that the server of `directory` still runs and answers a new client.
pub fn check_alive<S: Sample>(server: &mut Server, directory: &Path) -> Result<()> {
    ensure!(
        server.is_alive()?,
        "the server exited; its output was {:#?}",
        server.lines()
    );
    let (mut client, root) = server.open(directory)?;
    S::check(&mut client, &root)
}

/// Checks that the file starts with the first `len` bytes of `pattern` with seed 1.
pub fn check_pattern(path: &Path, len: u64) -> Result<()> {
    let bytes = fs::read(path)?;
    let wrong = bytes
        .iter()
        .zip(pattern(1, 0, len as usize))
        .position(|(a, b)| *a != b);
    ensure!(
        bytes.len() as u64 >= len && wrong.is_none(),
        "{}: {} bytes, {len} expected; first wrong byte at {wrong:?}",
        path.display(),
        bytes.len()
    );
    Ok(())
}

/// Calls `disturb` repeatedly on another thread while `work` runs.
pub fn run_while_disturbed<T>(
    mut disturb: impl FnMut() -> Result<()> + Send,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
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

/// Swaps the two names atomically (RENAME_EXCHANGE).
pub fn swap_names(one: &Path, two: &Path) -> Result<()> {
    let how = RenameFlags::RENAME_EXCHANGE;
    Ok(renameat2(AT_FDCWD, one, AT_FDCWD, two, how)?)
}

/// Returns true if STOWAWAY_FULL is set. Tests then run in their long form.
pub fn is_full_run() -> bool {
    std::env::var_os("STOWAWAY_FULL").is_some()
}

/// The number between `before` and `after` in the only row of image/doc/promises.md that has such a number.
pub fn promised(before: &str, after: &str) -> Result<u64> {
    let page = fs::read_to_string(workspace_root().join("image/doc/promises.md"))?;
    let number = |row: &str| {
        let mut rests = row
            .match_indices(before)
            .filter_map(|(at, _)| row.get(at + before.len()..));
        rests.find_map(|rest| rest.split_once(after)?.0.replace(',', "").parse().ok())
    };
    match page.lines().filter_map(number).collect::<Vec<u64>>()[..] {
        [only] => Ok(only),
        ref all => bail!(
            "promises.md has {} rows with '{before}NUMBER{after}'",
            all.len()
        ),
    }
}
