//! What is inside ISO images, over NFS and SFTP: what happens to it when the images change, how much it may cost, and what a
//! hostile image can do. The images are of xorriso; how well they are read is `iso`'s business.

mod changes;
mod hostile;
mod large;
mod many;
mod rules;

use anyhow::{Context, Result, ensure};
use cases::random::Random;
use nix::fcntl::OFlag;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;
use xtask::clients::nfs::Client;
use xtask::machines::server::{Server, ServerOptions, open_files};
use xtask::machines::wait_for;
use xtask::setup::{self, Package};
use xtask::testing;

/// Bytes of the file `large` in a sample: more than sockets take in at once.
const LARGE: usize = 12 << 20;

/// An image and what is in it.
#[derive(Clone)]
struct Sample {
    image: Vec<u8>,
    /// The content of `large`; `name` holds the seed as five digits, `sub/deep/bottom` the same, and `link` leads to `name`.
    large: Vec<u8>,
}

/// A sample that differs from that of any other seed, but not in its size.
fn sample(seed: u64) -> Result<Sample> {
    static MADE: Mutex<Vec<(u64, Sample)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, sample)) = made.iter().find(|(of, _)| *of == seed) {
        return Ok(sample.clone());
    }
    let tree = small_tree(seed)?;
    let large = Random::new(seed).bytes(LARGE);
    fs::write(tree.path().join("large"), &large)?;
    let image = image_of(tree.path())?;
    let sample = Sample { image, large };
    made.push((seed, sample.clone()));
    Ok(sample)
}

/// All of a sample's tree but the large file.
fn small_tree(seed: u64) -> Result<TempDir> {
    let tree = tempfile::tempdir()?;
    fs::create_dir_all(tree.path().join("sub/deep"))?;
    for path in ["name", "sub/deep/bottom"] {
        fs::write(tree.path().join(path), format!("{seed:05}"))?;
    }
    std::os::unix::fs::symlink("name", tree.path().join("link"))?;
    Ok(tree)
}

/// The image that xorriso makes of a tree.
fn image_of(tree: &Path) -> Result<Vec<u8>> {
    setup::need(&[Package::XORRISO])?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("made.iso");
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-R", "-no-pad", "-o"]);
    setup::quietly(xorriso.arg(&path).arg(tree))?;
    fs::read(&path).context("xorriso made no image")
}

/// `one.iso` is the sample of seed 1, `other.iso` of seed 2, and `plain` has the large file of that.
struct Images;

type Scene = testing::Scene<Images>;

impl testing::Sample for Images {
    const OPTIONS: &str = "isos";

    fn fill(directory: &Path) -> Result<()> {
        let (one, other) = (sample(1)?, sample(2)?);
        fs::write(directory.join("one.iso"), &one.image)?;
        fs::write(directory.join("other.iso"), &other.image)?;
        fs::write(directory.join("plain"), &other.large)?;
        Ok(())
    }

    fn check(client: &mut Client, root: &[u8]) -> Result<()> {
        client.lookup(root, "plain").map(drop)
    }
}

/// A server of a directory, with the images in it.
fn serve(directory: &Path, user: Option<u32>) -> Result<Server> {
    Server::start(ServerOptions {
        exports: vec![format!("{}:isos", directory.display())],
        user,
        ..ServerOptions::default()
    })
}

/// All of a file.
fn content(client: &mut Client, file: &[u8]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let (data, eof) = client.read(file, all.len() as u64, 1 << 20)?;
        all.extend(data);
        if eof {
            return Ok(all);
        }
        ensure!(!data.is_empty(), "a READ without bytes that is not the end");
    }
}

/// How many images of a directory a process has open to be read.
fn open_images(pid: u32, directory: &Path) -> Result<usize> {
    // A descriptor that names a file and cannot be read.
    let place = OFlag::O_PATH.bits() as u32;
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let info = Path::new(&format!("/proc/{pid}/fdinfo")).join(entry.file_name());
        // What was closed meanwhile has neither any more.
        let (Ok(path), Ok(info)) = (fs::read_link(entry.path()), fs::read_to_string(info)) else {
            continue;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.context("no flags")?.trim(), 8)?;
        count += usize::from(is_image(&path, directory) && flags & place == 0);
    }
    Ok(count)
}

fn is_image(path: &Path, directory: &Path) -> bool {
    let name = path.to_string_lossy();
    path.starts_with(directory) && name.trim_end_matches(" (deleted)").ends_with(".iso")
}

/// Waits until a process has let go of all images of a directory.
fn wait_until_closed(pid: u32, directory: &Path) -> Result<()> {
    let is_open = |path: &PathBuf| is_image(path, directory);
    let none = || Ok((!open_files(pid)?.iter().any(is_open)).then_some(()));
    wait_for(Duration::from_secs(15), none)?
        .with_context(|| format!("images are still open: {:?}", open_files(pid)))
}

/// A process that nobody asks for anything takes next to no CPU time.
fn ensure_at_rest(ticks: impl Fn() -> Result<u64>) -> Result<()> {
    let before = ticks()?;
    sleep(Duration::from_secs(1));
    let spent = ticks()? - before;
    ensure!(spent < 10, "{spent} ticks of CPU time in a second of rest");
    Ok(())
}
