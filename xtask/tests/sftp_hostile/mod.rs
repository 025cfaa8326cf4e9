//! Hostile or broken SFTP clients: the server must answer according to the protocol or end the session, and nothing else.
//!
//! One module per kind of hostility. STOWAWAY_FULL=1 runs more iterations; STOWAWAY_SEED=N replays a seed.

mod contents;
mod handles;
mod jail;
mod log;
mod mutations;
mod pipelines;
mod races;
mod rows;
mod system;

pub(crate) use jail::JailTree;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use walkdir::WalkDir;
use xtask::build::Arch;
use xtask::clients::sftp::{Request, Sftp, SftpOptions, Status};
use xtask::machines::server::public_dir;
use xtask::testing::is_full_run;

/// A server and its directory.
struct Scene {
    // The client and its server end before `directory` is dropped.
    client: Sftp,
    directory: TempDir,
}

impl Scene {
    /// A server in a sample directory, with or without a jail.
    fn new(jailed: bool) -> Result<Self> {
        Self::with_options(|path| SftpOptions::serving(path, jailed))
    }

    /// A server in a sample directory, without a jail.
    fn unjailed() -> Result<Self> {
        Self::new(false)
    }

    fn with_options(options: impl FnOnce(&Path) -> SftpOptions) -> Result<Self> {
        let directory = sample()?;
        let client = Sftp::start(&options(directory.path()))?;
        Ok(Self { client, directory })
    }

    /// Runs `test` without a jail, in a jail, and with the i686 build.
    fn for_each_server(test: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        for (jailed, arch) in [
            (false, Arch::X86_64),
            (true, Arch::X86_64),
            (false, Arch::I686),
        ] {
            let mut scene =
                Self::with_options(|path| SftpOptions::serving(path, jailed).with_arch(arch))?;
            test(&mut scene).with_context(|| {
                let lines = scene.client.process.lines();
                format!("as {arch:?}, in a jail: {jailed}; the server said {lines:#?}")
            })?;
            scene.check_alive()?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Checks that the session still works, and that `small` is unchanged.
    fn check_alive(&mut self) -> Result<()> {
        ensure!(
            self.client.read_file("small")? == b"small\n",
            "small has changed"
        );
        Ok(())
    }

    /// Checks that the request gets one of the `expected` statuses.
    fn expect_status(&mut self, request: &Request<'_>, expected: &[Status]) -> Result<Status> {
        let status = self.client.error_status(request)?.unwrap_or(Status::OK);
        ensure!(
            expected.contains(&status),
            "{request:?} was answered {status:?} instead of one of {expected:?}"
        );
        Ok(status)
    }
}

/// Data of a READ of `small`.
const SMALL: Option<&[u8]> = Some(b"small\n");

/// A directory with `small` (six bytes), `other`, `large` (200,000 bytes), `link` to `small`, `sub/inner` and `empty`.
fn sample() -> Result<TempDir> {
    let directory = public_dir()?;
    fill(directory.path())?;
    Ok(directory)
}

/// Replaces the contents of a directory by the sample.
fn refill(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    fill(path)
}

/// Changes the owner of everything in a directory to `user`.
fn set_owner(path: &Path, user: Option<u32>) -> Result<()> {
    for entry in WalkDir::new(path) {
        lchown(entry?.path(), user, user)?;
    }
    Ok(())
}

fn fill(path: &Path) -> Result<()> {
    fs::create_dir(path.join("sub")).context("cannot make the sample")?;
    fs::write(path.join("sub/inner"), "inner\n")?;
    fs::create_dir(path.join("empty"))?;
    fs::write(path.join("small"), "small\n")?;
    fs::write(path.join("other"), "other\n")?;
    fs::write(path.join("large"), vec![b'x'; 200_000])?;
    symlink("small", path.join("link"))?;
    Ok(())
}

/// Metadata of an object, and its contents or its target.
#[derive(Debug, PartialEq, Eq)]
struct ObjectState {
    mode: u32,
    size: u64,
    links: u64,
    owner: (u32, u32),
    changed: (i64, i64),
    content: Vec<u8>,
}

/// Records all objects in a directory.
fn snapshot(path: &Path) -> Result<BTreeMap<PathBuf, ObjectState>> {
    let mut all = BTreeMap::new();
    for entry in WalkDir::new(path) {
        let entry = entry?;
        let meta = fs::symlink_metadata(entry.path())?;
        let content = if meta.is_file() {
            fs::read(entry.path())?
        } else if meta.is_symlink() {
            fs::read_link(entry.path())?
                .into_os_string()
                .into_encoded_bytes()
        } else {
            Vec::new()
        };
        let seen = ObjectState {
            mode: meta.mode(),
            size: meta.size(),
            links: meta.nlink(),
            owner: (meta.uid(), meta.gid()),
            changed: (meta.mtime(), meta.mtime_nsec()),
            content,
        };
        all.insert(entry.path().strip_prefix(path)?.to_path_buf(), seen);
    }
    Ok(all)
}

/// Checks that the objects in `path` are those of `before`.
fn ensure_unchanged(path: &Path, before: &BTreeMap<PathBuf, ObjectState>, by: &str) -> Result<()> {
    let now = snapshot(path)?;
    for (name, seen) in &now {
        let old = before.get(name);
        ensure!(
            old == Some(seen),
            "{by} changed {} from {old:?} to {seen:?}",
            name.display()
        );
    }
    let gone = before.keys().find(|name| !now.contains_key(*name));
    ensure!(gone.is_none(), "{by} removed {gone:?}");
    Ok(())
}
