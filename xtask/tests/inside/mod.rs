//! Files inside ISO images over NFS and SFTP: changes of the images, cost, and hostile images. The images are made by xorriso; the
//! tests of `iso` compare their contents in detail.

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
use xtask::setup;
use xtask::testing;

/// Size (bytes) of the file `large` in a sample: more than the sockets' buffers hold.
const LARGE: usize = 12 << 20;

/// An image, and the contents of its large file.
#[derive(Clone)]
struct Sample {
    image: Vec<u8>,
    /// The contents of the file `large`. The image also has the files `name` and `sub/deep/bottom`, which contain the seed as five
    /// digits, and a symbolic link `link` to `name`.
    large: Vec<u8>,
}

/// Returns the sample made from `seed`. Samples differ in their contents, but not in their size.
fn sample(seed: u64) -> Result<Sample> {
    static MADE: Mutex<Vec<(u64, Sample)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, sample)) = made.iter().find(|(sample_seed, _)| *sample_seed == seed) {
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

/// The tree of a sample without the file `large`.
pub(crate) fn small_tree(seed: u64) -> Result<TempDir> {
    let tree = tempfile::tempdir()?;
    fs::create_dir_all(tree.path().join("sub/deep"))?;
    for path in ["name", "sub/deep/bottom"] {
        fs::write(tree.path().join(path), format!("{seed:05}"))?;
    }
    std::os::unix::fs::symlink("name", tree.path().join("link"))?;
    Ok(tree)
}

/// Makes the image of a tree by xorriso.
pub(crate) fn image_of(tree: &Path) -> Result<Vec<u8>> {
    setup::install_packages(&["xorriso"])?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("made.iso");
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-R", "-no-pad", "-o"]);
    setup::run_captured(xorriso.arg(&path).arg(tree))?;
    fs::read(&path).context("xorriso made no image")
}

/// A directory with `one.iso` (the sample of seed 1), `other.iso` (seed 2) and `plain` (the large file of seed 2).
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

/// Starts a server that exports `directory` with the option `isos`.
fn serve(directory: &Path, user: Option<u32>) -> Result<Server> {
    Server::start(ServerOptions {
        exports: vec![format!("{}:isos", directory.display())],
        user,
        ..ServerOptions::default()
    })
}

/// Reads a whole file.
fn content(client: &mut Client, file: &[u8]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let (data, eof) = client.read(file, all.len() as u64, 1 << 20)?;
        all.extend(data);
        if eof {
            return Ok(all);
        }
        ensure!(
            !data.is_empty(),
            "a READ before the end of the file returned no data"
        );
    }
}

/// The number of images in `directory` that a process has open for reading.
fn open_images(pid: u32, directory: &Path) -> Result<usize> {
    // O_PATH descriptors cannot be read and are not counted.
    let o_path = OFlag::O_PATH.bits() as u32;
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let info = Path::new(&format!("/proc/{pid}/fdinfo")).join(entry.file_name());
        // A descriptor that was closed meanwhile has neither link nor info.
        let (Ok(path), Ok(info)) = (fs::read_link(entry.path()), fs::read_to_string(info)) else {
            continue;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.context("no flags")?.trim(), 8)?;
        count += usize::from(is_image(&path, directory) && flags & o_path == 0);
    }
    Ok(count)
}

fn is_image(path: &Path, directory: &Path) -> bool {
    let name = path.to_string_lossy();
    path.starts_with(directory) && name.trim_end_matches(" (deleted)").ends_with(".iso")
}

/// Waits until a process has closed all images in `directory`.
fn wait_until_closed(pid: u32, directory: &Path) -> Result<()> {
    let is_open = |path: &PathBuf| is_image(path, directory);
    let none = || Ok((!open_files(pid)?.iter().any(is_open)).then_some(()));
    wait_for(Duration::from_secs(15), none)?
        .with_context(|| format!("images are still open: {:?}", open_files(pid)))
}

/// Checks that an idle process uses nearly no CPU time.
fn ensure_at_rest(ticks: impl Fn() -> Result<u64>) -> Result<()> {
    let before = ticks()?;
    sleep(Duration::from_secs(1));
    let spent = ticks()? - before;
    ensure!(spent < 10, "{spent} ticks of CPU time in an idle second");
    Ok(())
}
