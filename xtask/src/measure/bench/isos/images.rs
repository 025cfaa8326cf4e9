//! What is asked for: images, and beside them what they were made of.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use tempfile::TempDir;

use crate::machines::server::open_files;
use crate::machines::wait_for;
use crate::measure::bench::workspace::{BIG, Export, STAMP_STEP, Workspace, crowd};
use crate::setup;

/// The image of everything.
pub const ALL: &str = "all.iso";
/// Names in the directories that are listed.
pub const DIRECTORIES: [u64; 4] = [2_500, 5_000, 10_000, 20_000];
/// Names in the directory in which names are looked up.
pub const COLD: u64 = 10_000;
/// Images that are mounted in turn: more than a server keeps open.
pub const SMALL_COUNT: usize = 40;

/// Where the directories lie.
const CROWDS: &str = "crowds";

/// Everything in memory, and the one image on the disk.
pub struct Images {
    tree: PathBuf,
    cold: Cold,
}

impl Images {
    /// Makes all of them in the tree.
    pub fn new(workspace: &Workspace, cold: Cold) -> Result<Self> {
        let tree = workspace.path(Export::Tree);
        for count in DIRECTORIES {
            crowd(&tree.join(CROWDS).join(count.to_string()), count)?;
        }
        image(&tree.join(ALL), &[&tree.join(BIG), &tree.join(CROWDS)])?;
        // Memory that a machine is given late may be slower than what it has had before: both get theirs now.
        fs::copy(tree.join(BIG), tree.join("copy"))?;
        fs::rename(tree.join("copy"), tree.join(BIG))?;
        for index in 0..SMALL_COUNT {
            let directory = tree.join(format!("small/{index}"));
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("file"), index.to_string())?;
            image(&small(&tree, index, true), &[&directory.join("file")])?;
        }
        Ok(Self { tree, cold })
    }

    /// For the server.
    pub fn exports(&self) -> Vec<String> {
        [&*self.tree, self.cold.directory.path()]
            .map(|path| format!("{}:isos,no_root_squash", path.display()))
            .into()
    }

    /// The top of the large image, or of what it was made of.
    pub fn top(&self, inside: bool) -> PathBuf {
        if inside {
            self.tree.join(ALL)
        } else {
            self.tree.clone()
        }
    }

    /// A directory that is listed, as a path from the top.
    pub fn crowd(count: u64) -> String {
        format!("{CROWDS}/{count}")
    }

    /// A small image, or the directory that it was made of.
    pub fn small(&self, index: usize, inside: bool) -> PathBuf {
        small(&self.tree, index, inside)
    }

    /// The image on the disk.
    pub fn cold(&self) -> &Cold {
        &self.cold
    }

    /// Where in its image the large file begins.
    pub fn large_file_offset(&self) -> Result<u64> {
        const BLOCK: u64 = 2048;
        let file = File::open(self.top(true))?;
        let step = STAMP_STEP as u64;
        // Nothing else has numbers like those behind its first stamp, which is zero.
        let begins = |at: &u64| {
            (1..4).all(|number| {
                let mut stamp = [0; 8];
                let read = file.read_exact_at(&mut stamp, at + number * step);
                read.is_ok() && stamp == (number * step).to_le_bytes()
            })
        };
        let mut blocks = (0..file.metadata()?.len()).step_by(BLOCK as usize);
        let at = blocks.find(begins);
        at.context("the large file is not in the image")
    }
}

fn small(tree: &Path, index: usize, inside: bool) -> PathBuf {
    let end = if inside { ".iso" } else { "" };
    tree.join(format!("small/{index}{end}"))
}

/// An image with a large directory, on a disk if temporary files lie on one.
pub struct Cold {
    directory: TempDir,
}

impl Cold {
    /// Makes it.
    pub fn new() -> Result<Self> {
        let directory = TempDir::new().context("cannot make a directory for an image")?;
        let names = directory.path().join("crowd");
        crowd(&names, COLD)?;
        let cold = Self { directory };
        image(&cold.image(), &[&names])?;
        fs::remove_dir_all(names)?;
        // Only what is written can be dropped.
        File::open(cold.image())?.sync_all()?;
        Ok(cold)
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.directory.path().join("crowd.iso")
    }

    /// Waits until a server has closed the image, and if `drop` has the kernel forget its bytes.
    pub fn forget(&self, server: u32, drop: bool) -> Result<()> {
        const WAIT_MAX: Duration = Duration::from_secs(20);
        let image = self.image();
        let is_closed = || Ok((!open_files(server)?.contains(&image)).then_some(()));
        wait_for(WAIT_MAX, is_closed)?
            .with_context(|| format!("the server does not close {}", image.display()))?;
        if drop {
            let file = File::open(&image)?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .context("cannot have the image forgotten")?;
        }
        Ok(())
    }
}

/// Makes an image of files and directories, which get their own names in it.
fn image(at: &Path, content: &[&Path]) -> Result<()> {
    let mut command = Command::new("xorriso");
    command.args(["-as", "mkisofs", "-quiet", "-R", "-iso-level", "3"]);
    command.arg("-o").arg(at).arg("-graft-points");
    for path in content {
        let name = path.file_name().context("a path without a name")?;
        let name = name.to_str().context("a name that is no text")?;
        command.arg(format!("{name}={}", path.display()));
    }
    setup::run_captured(&mut command)
        .map(drop)
        .with_context(|| format!("cannot make {}", at.display()))
}
