//! Random READs in an image of 5 GiB, in which one file has several extents.

use super::serve;
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::sshfs::{Listening, Sshfs};
use xtask::machines::mounts;
use xtask::machines::server::{binary, children, public_dir, status_field, users};
use xtask::setup::{self, Package};

const SIZE: u64 = (5 << 30) + 12_345;
/// The file has a page that is not zero so often.
const STEP: u64 = 16 << 20;
const READ: usize = 64 << 10;
const HUNDRED: usize = 100;
/// How much more may be resident after the last hundred READs than after the first, in KiB: pages of the file that are
/// needed now and then. Nothing that is read.
const GROWTH_MAX: u64 = 64;
/// The same of sshfs, which has a heap of the C library's.
const SSHFS_GROWTH_MAX: u64 = 1024;

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

    /// Four hundred READs; what `measure` says must not grow by more than so much after the first hundred.
    fn reads(
        &self,
        mut read: impl FnMut(u64) -> Result<Vec<u8>>,
        measure: impl Fn() -> Result<Vec<(&'static str, u64, u64)>>,
    ) -> Result<()> {
        let mut random = Random::new(seed());
        let mut first = Vec::new();
        for number in 0..4 * HUNDRED {
            let at = self.place(&mut random);
            let bytes = read(at).with_context(|| format!("READ {number}, at {at}"))?;
            ensure!(bytes == self.expect(at)?, "other bytes at {at}");
            if number == HUNDRED {
                first = measure()?;
            }
        }
        for ((who, before, _), (_, after, growth_max)) in first.into_iter().zip(measure()?) {
            println!("{who}: {before} KiB after a hundred, {after} KiB after four hundred");
            ensure!(
                after <= before + growth_max,
                "{who}: {before} KiB became {after} KiB"
            );
        }
        Ok(())
    }
}

#[test]
fn random_reads_in_5_gib_are_right_and_take_no_memory() -> Result<()> {
    let huge = Huge::new()?;
    for user in users() {
        over_nfs(&huge, user).with_context(|| format!("over NFS as user {user:?}"))?;
    }
    over_sshfs(&huge).context("over sshfs")
}

fn over_nfs(huge: &Huge, user: Option<u32>) -> Result<()> {
    let server = serve(&huge.directory, user)?;
    let (mut client, top) = server.open(&huge.directory.join("huge.iso"))?;
    let file = client.walk(&top, "huge")?;
    ensure!(client.attr(&file)?.size == SIZE);
    huge.reads(
        |at| {
            let (data, eof) = client.read(&file, at, READ as u32)?;
            ensure!(eof == (at + data.len() as u64 == SIZE), "eof is {eof}");
            Ok(data.to_vec())
        },
        || Ok(vec![("server", server.rss_kib()?, GROWTH_MAX)]),
    )
}

fn over_sshfs(huge: &Huge) -> Result<()> {
    setup::need(&[Package::SSHFS])?;
    let server = binary(Arch::X86_64)?;
    mounts::private("sshfs", || {
        let listening = Listening::start(&server, &huge.directory)?;
        let place = public_dir()?;
        let mut command = Command::new("sshfs");
        command.args(["-f", "127.0.0.1:/huge.iso/", "-o"]);
        command.arg(format!("directport={}", listening.port));
        let sshfs = Sshfs::mount(command, &place.path().join("mounted"))?;
        let session = *children(listening.pid())?.first().context("no session")?;
        ensure!(names(&sshfs.at)? == ["huge"], "{:?}", names(&sshfs.at)?);
        let file = File::open(sshfs.at.join("huge"))?;
        ensure!(file.metadata()?.len() == SIZE);
        huge.reads(
            |at| {
                let mut bytes = vec![0; READ];
                let mut len = 0;
                // One read may bring fewer than there are.
                while len < READ {
                    match file.read_at(&mut bytes[len..], at + len as u64)? {
                        0 => break,
                        more => len += more,
                    }
                }
                bytes.truncate(len);
                Ok(bytes)
            },
            || {
                let rss = |pid| status_field(pid, "VmRSS");
                Ok(vec![
                    ("session", rss(session)?, GROWTH_MAX),
                    ("sshfs", rss(sshfs.pid())?, SSHFS_GROWTH_MAX),
                ])
            },
        )
    })
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    Ok(names)
}
