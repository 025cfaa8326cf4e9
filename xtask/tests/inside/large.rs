//! Random READs in an image of 5 GiB, in which one file has several extents.

use super::serve;
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;
use xtask::machines::server::{public_dir, users};
use xtask::setup::{self, Package};

const SIZE: u64 = (5 << 30) + 12_345;
/// The file has a page that is not zero so often.
const STEP: u64 = 16 << 20;
const READ: usize = 64 << 10;
const HUNDRED: usize = 100;
/// How much more may be resident after the last hundred READs than after the first, in KiB: pages of the file that are
/// needed now and then. Nothing that is read.
const GROWTH_MAX: u64 = 64;

/// The file, and a directory with the image of it, `huge.iso`.
struct Huge {
    file: File,
    directory: PathBuf,
    _directory: TempDir,
}

impl Huge {
    fn new() -> Result<Self> {
        setup::need(&[Package::XORRISO])?;
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
        for at in (0..SIZE).step_by(STEP as usize) {
            file.write_all_at(&random.bytes(4096), at)?;
        }
        // Where one extent ends and the next begins, and the end.
        for at in [(4 << 30) - 2048, (4 << 30) + 2048, SIZE - 100] {
            file.write_all_at(&random.bytes(100), at)?;
        }
        // Its zeros need no room here.
        let mut make = Command::new("sh");
        make.current_dir(dir.path()).args([
            "-c",
            "xorriso -as mkisofs -quiet -R -iso-level 3 tree | dd of=images/huge.iso conv=sparse bs=1M status=none",
        ]);
        setup::quietly(&mut make)?;
        fs::remove_file(path)?;
        Ok(Self {
            file,
            directory,
            _directory: dir,
        })
    }

    /// Where to read: somewhere around a page that is not zero, an extent's end, or the file's.
    fn place(&self, random: &mut Random) -> u64 {
        let at = match random.below(10) {
            0 => 4 << 30,
            1 => SIZE,
            _ => STEP * random.below((SIZE / STEP) as usize + 1) as u64,
        };
        at.saturating_sub(random.below(READ) as u64)
    }

    /// What is to be read at a place.
    fn expect(&self, at: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; READ.min((SIZE - at) as usize)];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

#[test]
fn random_reads_in_5_gib_are_right_and_take_no_memory() -> Result<()> {
    let huge = Huge::new()?;
    for user in users() {
        reads(&huge, user).with_context(|| format!("as user {user:?}"))?;
    }
    Ok(())
}

/// Four hundred READs, after the first hundred of which the server does not grow.
fn reads(huge: &Huge, user: Option<u32>) -> Result<()> {
    let server = serve(&huge.directory, user)?;
    let (mut client, top) = server.open(&huge.directory.join("huge.iso"))?;
    let file = client.walk(&top, "huge")?;
    ensure!(client.attr(&file)?.size == SIZE);
    let mut random = Random::new(seed());
    let mut before = 0;
    for number in 0..4 * HUNDRED {
        let at = huge.place(&mut random);
        let (data, eof) = client
            .read(&file, at, READ as u32)
            .with_context(|| format!("READ {number}, at {at}"))?;
        ensure!(eof == (at + data.len() as u64 == SIZE), "eof is {eof}");
        ensure!(data == huge.expect(at)?, "other bytes at {at}");
        if number == HUNDRED {
            before = server.rss_kib()?;
        }
    }
    let after = server.rss_kib()?;
    ensure!(after <= before + GROWTH_MAX, "{before} KiB became {after}");
    Ok(())
}
