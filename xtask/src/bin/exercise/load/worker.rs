//! A worker: performs random operations in its own directory, one at a time, and applies each success to its model.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Args;
use super::clock::Clock;
use super::model::{Model, Node};

/// Maximum number of paths per worker.
const NAMES_MAX: usize = 60;
/// Length (bytes) above which a file is removed instead of appended to. Random offsets and new lengths are below half of it.
const FILE_MAX: usize = 256 * 1024;

/// Performs random operations and records the expected tree.
pub struct Worker<'a> {
    home: PathBuf,
    name: String,
    stay: bool,
    replies_kept: bool,
    random: Rng,
    model: Model,
    names_made: u64,
    log: &'a File,
    clock: &'a Clock,
    done: BTreeMap<&'static str, u64>,
    /// Number of operations, by kind, that failed because they had been carried out before a kill.
    repeated: BTreeMap<&'static str, u64>,
}

impl<'a> Worker<'a> {
    /// Creates the worker and its directory.
    pub fn new(
        args: &Args,
        number: u64,
        seed: u64,
        log: &'a File,
        clock: &'a Clock,
    ) -> Result<Self> {
        let name = format!("worker-{number}");
        let home = args.directory.join(&name);
        fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
        Ok(Self {
            stay: args.stay,
            replies_kept: args.replies_kept,
            home,
            name,
            random: Rng::with_seed(seed.wrapping_add(number)),
            model: Model::default(),
            names_made: 0,
            log,
            clock,
            done: BTreeMap::new(),
            repeated: BTreeMap::new(),
        })
    }

    /// The manifest lines of all objects that must exist.
    pub fn manifest(&self) -> Vec<String> {
        self.model.lines(&self.name)
    }

    /// A line with the numbers of operations, by kind: those that succeeded, and those in `repeated`.
    pub fn summary(&self) -> String {
        format!("done {:?}, already done {:?}", self.done, self.repeated)
    }

    /// Performs one random operation.
    pub fn step(&mut self) -> Result<()> {
        let full = self.model.count() >= NAMES_MAX;
        match self.random.u32(..100) {
            0..10 if !full => self.create(),
            10..14 if !full => self.make_directory(),
            14..18 if !full => self.make_symlink(),
            18..22 if !full => self.make_link(),
            22..25 if !full => self.make_fifo(),
            25..33 => self.append(),
            33..43 => self.overwrite(),
            43..50 => self.overwrite_past_the_cache(),
            50..55 => self.write_in_pieces(),
            55..60 => self.truncate(),
            60..63 => self.change_mode(),
            63..70 => self.read_back(),
            70..80 => self.rename(),
            80..85 => self.replace(),
            85..88 => self.remove_directory(),
            _ => self.remove(),
        }
    }

    fn full_path(&self, path: &str) -> PathBuf {
        self.home.join(path)
    }

    /// Performs an operation and logs its outcome. Returns true if `act` succeeded, false if it failed with `already`.
    ///
    /// `already` is the errno of a retransmitted request that had been carried out before. It is accepted only if the server was
    /// killed during the call, so that the first reply was lost, and never with `replies_kept`. All other errors are returned.
    fn act(
        &mut self,
        what: &'static str,
        path: &str,
        already: Option<Errno>,
        act: impl FnOnce() -> io::Result<()>,
    ) -> Result<bool> {
        let already = already.filter(|_| !self.replies_kept);
        let start = self.clock.now()?;
        let outcome = act();
        let end = self.clock.now()?;
        let (counts, word) = match outcome {
            Ok(()) => (&mut self.done, "done"),
            Err(error) => {
                let expected = already.map(|errno| errno as i32);
                if expected.is_none() || error.raw_os_error() != expected || !start.saw_kill(end) {
                    return Err(error).with_context(|| {
                        format!("{} {what} {path}, from {start:?} to {end:?}", self.name)
                    });
                }
                (&mut self.repeated, "already done")
            }
        };
        *counts.entry(what).or_default() += 1;
        let mut log = self.log;
        log.write_all(format!("{} {what} {path} {word}\n", self.name).as_bytes())?;
        Ok(word == "done")
    }

    /// A path that was never used before, in a random directory.
    fn new_path(&mut self) -> String {
        self.names_made += 1;
        let directories = self.model.paths(|node| *node == Node::Directory);
        match self.random.choice(directories) {
            Some(directory) if self.random.bool() && directory.len() < 100 => {
                format!("{directory}/{}", self.names_made)
            }
            _ => self.names_made.to_string(),
        }
    }

    /// A new path to which the object at `path` may be renamed or linked.
    ///
    /// A directory stays in its parent. If the reply to its move is lost, the Linux client knows the directory by two paths, and
    /// finds the new one only while no other process moves anything between directories. Otherwise the client returns ESTALE
    /// without asking the server.
    fn new_path_for(&mut self, path: &str) -> String {
        if !self.stay && self.model.get(path) != Some(&Node::Directory) {
            return self.new_path();
        }
        self.names_made += 1;
        match parent(path) {
            Some(directory) => format!("{directory}/{}", self.names_made),
            None => self.names_made.to_string(),
        }
    }

    fn any(&mut self, is: impl Fn(&Node) -> bool) -> Option<String> {
        let paths = self.model.paths(is);
        self.random.choice(paths).map(str::to_owned)
    }

    fn any_file(&mut self) -> Option<String> {
        self.any(|node| matches!(node, Node::File(_)))
    }

    fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.random.usize(1..=len_max)];
        self.random.fill(&mut bytes);
        bytes
    }

    /// Creates a file, at random with O_EXCL. The server recognises a repeated O_EXCL by its verifier. EEXIST: the server was
    /// killed after it created the file and before it stored the verifier in the file's times.
    fn create(&mut self) -> Result<()> {
        let (path, exclusive) = (self.new_path(), self.random.bool());
        let full = self.full_path(&path);
        let cut = exclusive.then_some(Errno::EEXIST);
        let whole = self.act("create", &path, cut, || {
            let mut options = File::options();
            options.write(true).create(!exclusive).create_new(exclusive);
            options.mode(0o640).open(&full).map(drop)
        })?;
        if !whole {
            // The client sends SETATTR with the mode after a successful exclusive CREATE. This one failed, so the mode is missing.
            fs::set_permissions(&full, Permissions::from_mode(0o640))?;
        }
        self.model.create(&path, 0o640);
        let bytes = self.bytes(16 * 1024);
        self.write(&path, 0, bytes, &mut File::options())
    }

    fn make_directory(&mut self) -> Result<()> {
        let path = self.new_path();
        let full = self.full_path(&path);
        self.act("mkdir", &path, Some(Errno::EEXIST), || {
            fs::create_dir(&full)
        })?;
        self.model.insert(&path, Node::Directory);
        Ok(())
    }

    fn make_symlink(&mut self) -> Result<()> {
        let path = self.new_path();
        let (full, target) = (self.full_path(&path), format!("target-of-{path}"));
        self.act("symlink", &path, Some(Errno::EEXIST), || {
            symlink(&target, &full)
        })?;
        self.model.insert(&path, Node::Symlink(target));
        Ok(())
    }

    fn make_fifo(&mut self) -> Result<()> {
        let path = self.new_path();
        let full = self.full_path(&path);
        self.act("mkfifo", &path, Some(Errno::EEXIST), || {
            Ok(mkfifo(&full, Mode::S_IRWXU)?)
        })?;
        self.model.insert(&path, Node::Fifo);
        Ok(())
    }

    fn make_link(&mut self) -> Result<()> {
        let Some(from) = self.any_file() else {
            return self.create();
        };
        let path = self.new_path_for(&from);
        let (source, full) = (self.full_path(&from), self.full_path(&path));
        self.act(
            "link",
            &format!("{path} to {from}"),
            Some(Errno::EEXIST),
            || fs::hard_link(&source, &full),
        )?;
        let node = self.model.get(&from).cloned();
        self.model
            .insert(&path, node.context("the source is gone")?);
        Ok(())
    }

    /// Writes `bytes` at `offset`, calls fsync and records the new content.
    fn write(
        &mut self,
        path: &str,
        offset: usize,
        bytes: Vec<u8>,
        options: &mut OpenOptions,
    ) -> Result<()> {
        let full = self.full_path(path);
        self.act("write", path, None, || {
            let file = options.write(true).open(&full)?;
            file.write_all_at(&bytes, offset as u64)?;
            file.sync_all()
        })?;
        self.record_write(path, offset, &bytes)
    }

    fn record_write(&mut self, path: &str, offset: usize, bytes: &[u8]) -> Result<()> {
        let content = &mut self.model.file(path)?.content;
        let end = offset + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else {
            return self.create();
        };
        let offset = self.model.file(&path)?.content.len();
        if offset > FILE_MAX {
            return self.remove();
        }
        let bytes = self.bytes(8 * 1024);
        // With O_APPEND, pwrite ignores its offset and appends. The model needs the offset.
        self.write(&path, offset, bytes, File::options().append(true))
    }

    fn overwrite(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else {
            return self.create();
        };
        let (offset, bytes) = (self.random.usize(..FILE_MAX / 2), self.bytes(64 * 1024));
        self.write(&path, offset, bytes, &mut File::options())
    }

    /// Overwrites part of a file with O_DIRECT or O_DSYNC. Both make a write stable when it returns, but the client sends different
    /// requests for them.
    fn overwrite_past_the_cache(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else {
            return self.create();
        };
        let (offset, bytes) = (self.random.usize(..FILE_MAX / 2), self.bytes(8 * 1024));
        let flag = [OFlag::O_DIRECT, OFlag::O_DSYNC][self.random.usize(..2)];
        let full = self.full_path(&path);
        self.act("write past the cache", &path, None, || {
            let mut options = File::options();
            let file = options.write(true).custom_flags(flag.bits()).open(&full)?;
            file.write_all_at(&bytes, offset as u64)
        })?;
        self.record_write(&path, offset, &bytes)
    }

    /// Makes the client send several unstable WRITEs, then COMMIT. After a kill, the client must resend the data that was not
    /// committed.
    fn write_in_pieces(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else {
            return self.create();
        };
        let file = File::options().write(true).open(self.full_path(&path))?;
        let mut pieces = Vec::new();
        for _ in 0..self.random.usize(2..12) {
            pieces.push((self.random.usize(..FILE_MAX / 2), self.bytes(16 * 1024)));
        }
        self.act("write in pieces", &path, None, || {
            for (offset, bytes) in &pieces {
                file.write_all_at(bytes, *offset as u64)?;
                // Makes the client send the data without COMMIT, as sync_file_range would.
                nix::fcntl::posix_fadvise(
                    &file,
                    0,
                    0,
                    nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED,
                )?;
            }
            file.sync_data()
        })?;
        for (offset, bytes) in pieces {
            self.record_write(&path, offset, &bytes)?;
        }
        Ok(())
    }

    fn truncate(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else {
            return self.create();
        };
        let (full, len) = (self.full_path(&path), self.random.usize(..FILE_MAX / 2));
        self.act("truncate", &path, None, || {
            File::options().write(true).open(&full)?.set_len(len as u64)
        })?;
        self.model.file(&path)?.content.resize(len, 0);
        Ok(())
    }

    fn change_mode(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else {
            return self.create();
        };
        let (full, mode) = (self.full_path(&path), 0o600 | self.random.u32(..0o100));
        self.act("chmod", &path, None, || {
            fs::set_permissions(&full, Permissions::from_mode(mode))
        })?;
        self.model.file(&path)?.mode = mode;
        Ok(())
    }

    /// Compares a file with the model. O_DIRECT: reads from the server, not from the client's cache.
    fn read_back(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else {
            return self.create();
        };
        let full = self.full_path(&path);
        let mut seen = Vec::new();
        self.act("read", &path, None, || {
            let mut options = File::options();
            let flag = OFlag::O_DIRECT.bits();
            let mut file = options.read(true).custom_flags(flag).open(&full)?;
            file.read_to_end(&mut seen).map(drop)
        })?;
        let expected = &self.model.file(&path)?.content;
        if seen == *expected {
            return Ok(());
        }
        let first = seen
            .iter()
            .zip(expected)
            .take_while(|(a, b)| a == b)
            .count();
        bail!(
            "{} read {} bytes from {path}, expected {}; the first {first} are equal",
            self.name,
            seen.len(),
            expected.len(),
        )
    }

    fn rename(&mut self) -> Result<()> {
        let Some(from) = self.any(|_| true) else {
            return self.create();
        };
        let to = self.new_path_for(&from);
        let (source, target) = (self.full_path(&from), self.full_path(&to));
        self.act(
            "rename",
            &format!("{from} to {to}"),
            Some(Errno::ENOENT),
            || fs::rename(&source, &target),
        )?;
        self.model.rename(&from, &to);
        Ok(())
    }

    /// Renames a file over another one.
    fn replace(&mut self) -> Result<()> {
        let (Some(from), Some(to)) = (self.any_file(), self.any_file()) else {
            return self.create();
        };
        // rename(2) between two names of one file does nothing.
        let same = self.model.get(&from) == self.model.get(&to);
        if same || (self.stay && parent(&from) != parent(&to)) {
            return Ok(());
        }
        let (source, target) = (self.full_path(&from), self.full_path(&to));
        self.act(
            "replace",
            &format!("{to} by {from}"),
            Some(Errno::ENOENT),
            || fs::rename(&source, &target),
        )?;
        self.model.rename(&from, &to);
        Ok(())
    }

    fn remove(&mut self) -> Result<()> {
        let Some(path) = self.any(|node| *node != Node::Directory) else {
            return self.create();
        };
        let full = self.full_path(&path);
        self.act("remove", &path, Some(Errno::ENOENT), || {
            fs::remove_file(&full)
        })?;
        self.model.remove(&path);
        Ok(())
    }

    /// Removes a directory if it is empty; otherwise checks that rmdir fails with ENOTEMPTY.
    fn remove_directory(&mut self) -> Result<()> {
        let Some(path) = self.any(|node| *node == Node::Directory) else {
            return self.make_directory();
        };
        let full = self.full_path(&path);
        if self.model.is_empty(&path) {
            self.act("rmdir", &path, Some(Errno::ENOENT), || {
                fs::remove_dir(&full)
            })?;
            self.model.remove(&path);
        } else {
            let refused = fs::remove_dir(&full);
            ensure!(
                refused.is_err_and(|e| e.raw_os_error() == Some(Errno::ENOTEMPTY as i32)),
                "{} removed {path}, which is not empty",
                self.name
            );
        }
        Ok(())
    }
}

/// The parent directory of a path; None for the worker's own directory.
fn parent(path: &str) -> Option<&str> {
    Some(path.rsplit_once('/')?.0)
}
