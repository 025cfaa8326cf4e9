//! Random READs in an ISO image of 5 GiB with a file of several extents.

use super::serve;
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;
use xtask::machines::server::{public_dir, users};
use xtask::setup;

const SIZE: u64 = (5 << 30) + 12_345;
/// Distance (bytes) between the pages of the file that are not zero.
const STEP: u64 = 16 << 20;
const READ: usize = 64 << 10;
const HUNDRED: usize = 100;
/// Limit (KiB) of the growth of the server's resident memory after the first hundred READs. It allows for rarely used pages of the
/// program, not for data that was read.
const GROWTH_MAX: u64 = 64;

/// The source file of 5 GiB, and a directory with `huge.iso`, an image that contains the file.
struct Huge {
    file: File,
    directory: PathBuf,
    _directory: TempDir,
}

impl Huge {
    fn new() -> Result<Self> {
        setup::install_packages(&["xorriso"])?;
        let dir = public_dir()?;
        let (tree, directory) = (dir.path().join("tree"), dir.path().join("images"));
        fs::create_dir_all(&tree)?;
        fs::create_dir_all(&directory)?;
        let path = tree.join("huge");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.set_len(SIZE)?;
        let mut random = Random::new(5);
        for offset in (0..SIZE).step_by(STEP as usize) {
            file.write_all_at(&random.bytes(4096), offset)?;
        }
        // Writes data around the border of the first two extents and at the end of the file.
        for offset in [(4 << 30) - 2048, (4 << 30) + 2048, SIZE - 100] {
            file.write_all_at(&random.bytes(100), offset)?;
        }
        // `dd` makes the image sparse: zeros become holes.
        let mut make = Command::new("sh");
        make.current_dir(dir.path()).args([
            "-c",
            "xorriso -as mkisofs -quiet -R -iso-level 3 tree | dd of=images/huge.iso conv=sparse bs=1M status=none",
        ]);
        setup::run_captured(&mut make)?;
        fs::remove_file(path)?;
        Ok(Self {
            file,
            directory,
            _directory: dir,
        })
    }

    /// A random offset close before a page that is not zero, the border of two extents, or the end of the file.
    fn random_offset(&self, random: &mut Random) -> u64 {
        let target = match random.below(10) {
            0 => 4 << 30,
            1 => SIZE,
            _ => STEP * random.below((SIZE / STEP) as usize + 1) as u64,
        };
        target.saturating_sub(random.below(READ) as u64)
    }

    /// The expected data of a READ at `offset`.
    fn expect(&self, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; READ.min((SIZE - offset) as usize)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

#[test]
fn random_reads_in_5_gib_need_no_memory() -> Result<()> {
    let huge = Huge::new()?;
    for user in users() {
        reads(&huge, user).with_context(|| format!("as user {user:?}"))?;
    }
    Ok(())
}

/// Sends 400 READs. The server's memory may grow only during the first hundred.
fn reads(huge: &Huge, user: Option<u32>) -> Result<()> {
    let server = serve(&huge.directory, user)?;
    let (mut client, root) = server.open(&huge.directory.join("huge.iso"))?;
    let file = client.walk(&root, "huge")?;
    ensure!(client.attr(&file)?.size == SIZE);
    let mut random = Random::new(seed());
    let mut before = 0;
    for number in 0..4 * HUNDRED {
        let offset = huge.random_offset(&mut random);
        let (data, eof) = client
            .read(&file, offset, READ as u32)
            .with_context(|| format!("READ {number} at {offset}"))?;
        ensure!(eof == (offset + data.len() as u64 == SIZE), "eof is {eof}");
        ensure!(data == huge.expect(offset)?, "wrong bytes at {offset}");
        if number == HUNDRED {
            before = server.rss_kib()?;
        }
    }
    let after = server.rss_kib()?;
    ensure!(
        after <= before + GROWTH_MAX,
        "resident memory grew from {before} to {after} KiB"
    );
    Ok(())
}
