//! The ISO images, and the files that they are made from.

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

/// Name of the image of the large file and the large directories.
pub const ALL: &str = "all.iso";
/// Number of entries of each directory that is listed.
pub const DIRECTORIES: [u64; 4] = [2_500, 5_000, 10_000, 20_000];
/// Number of entries of the directory in the image on the disk.
pub const COLD: u64 = 10_000;
/// Number of small images: more than a server keeps open.
pub const SMALL_COUNT: usize = 40;

/// Name of the parent of the large directories.
const CROWDS: &str = "crowds";

/// Paths of the files and images, which are on a tmpfs, and one image on a disk.
pub struct Images {
    tree: PathBuf,
    cold: Cold,
}

impl Images {
    /// Creates the files in the tree and makes the images from them.
    pub fn new(workspace: &Workspace, cold: Cold) -> Result<Self> {
        let tree = workspace.path(Export::Tree);
        for count in DIRECTORIES {
            crowd(&tree.join(CROWDS).join(count.to_string()), count)?;
        }
        image(&tree.join(ALL), &[&tree.join(BIG), &tree.join(CROWDS)])?;
        // In a virtual machine, pages that are allocated later may be slower. The large file is copied now, so that its pages are
        // as old as the image's.
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

    /// Export specifications of the tree and of the directory with the image on the disk.
    pub fn exports(&self) -> Vec<String> {
        [&*self.tree, self.cold.directory.path()]
            .map(|path| format!("{}:isos,no_root_squash", path.display()))
            .into()
    }

    /// The image [`ALL`] if `inside`, else the tree that it was made from.
    pub fn top(&self, inside: bool) -> PathBuf {
        if inside {
            self.tree.join(ALL)
        } else {
            self.tree.clone()
        }
    }

    /// Path, relative to [`Self::top`], of the directory with `count` entries.
    pub fn crowd(count: u64) -> String {
        format!("{CROWDS}/{count}")
    }

    /// The small image `index` if `inside`, else the directory that it was made from.
    pub fn small(&self, index: usize, inside: bool) -> PathBuf {
        small(&self.tree, index, inside)
    }

    /// The image on the disk.
    pub fn cold(&self) -> &Cold {
        &self.cold
    }

    /// Offset of the large file in the image [`ALL`] (bytes).
    pub fn large_file_offset(&self) -> Result<u64> {
        const BLOCK: u64 = 2048;
        let file = File::open(self.top(true))?;
        let step = STAMP_STEP as u64;
        // The first stamp of the large file is zero, as much other data is, so the next three stamps identify the file.
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

/// An image with a large directory, in a new directory below `TMPDIR` (default: /tmp). It is on a disk unless that is a tmpfs.
pub struct Cold {
    directory: TempDir,
}

impl Cold {
    /// Makes the image.
    pub fn new() -> Result<Self> {
        let directory = TempDir::new().context("cannot make a directory for an image")?;
        let names = directory.path().join("crowd");
        crowd(&names, COLD)?;
        let cold = Self { directory };
        image(&cold.image(), &[&names])?;
        fs::remove_dir_all(names)?;
        // POSIX_FADV_DONTNEED drops only clean pages.
        File::open(cold.image())?.sync_all()?;
        Ok(cold)
    }

    /// Path of the image file.
    pub fn image(&self) -> PathBuf {
        self.directory.path().join("crowd.iso")
    }

    /// Waits until the process `server` has closed the image. With `drop`, then drops the image from the page cache.
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

/// Makes an image at `at`. Its root contains each file or directory of `content`, with its name.
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
