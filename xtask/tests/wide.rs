//! Values that need more than 32 bits: times after 2038 and offsets beyond 4 GiB, over NFS and SFTP, on every architecture.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use xtask::build::Arch;
use xtask::clients::nfs::{How, Set, SetTime, stable_how, time as at};
use xtask::clients::sftp::{Attrs, Sftp, SftpOptions};
use xtask::machines::server::{Server, ServerOptions, public_dir};

/// Timestamps (seconds): the start of 2100, and one less than the largest value of 32 bits.
const TIMES: [u32; 2] = [4_102_444_800, u32::MAX - 1];
/// An offset whose lower 32 bits are not page-aligned, so that a truncated offset is detected.
const FAR: u64 = (5 << 30) + 3;
const DATA: &[u8] = b"far out";

/// Checks the file on the host: [`DATA`] at [`FAR`], the size, and the times.
fn ensure_on_host(path: &Path, atime: u32, mtime: u32) -> Result<()> {
    let meta = fs::metadata(path)?;
    ensure!(
        (meta.atime(), meta.mtime()) == (atime.into(), mtime.into()),
        "on the host the times are {} and {}",
        meta.atime(),
        meta.mtime()
    );
    ensure!(
        meta.len() == FAR + DATA.len() as u64,
        "{} bytes",
        meta.len()
    );
    ensure!(
        meta.blocks() * 512 < 1 << 20,
        "data was written elsewhere too"
    );
    let mut data = [0; DATA.len()];
    File::open(path)?.read_exact_at(&mut data, FAR)?;
    ensure!(data == DATA, "the host's file has {data:?}");
    Ok(())
}

#[test]
fn nfs_passes_2038_and_4_gib() -> Result<()> {
    for arch in Arch::ALL {
        let directory = public_dir()?;
        let server = Server::start(ServerOptions {
            arch,
            exports: vec![format!("{}:rw,no_root_squash", directory.path().display())],
            ..ServerOptions::default()
        })?;
        let attempt = || -> Result<()> {
            let (mut client, root) = server.open(directory.path())?;
            let file = client.create(&root, "file", How::Guarded(Set::mode(0o644)))?;
            // Sets the size to 6 GiB, writes beyond 5 GiB, and truncates the file at the end of the data.
            client.set_attr(&file, Set::size(6 << 30))?;
            ensure!(client.attr(&file)?.size == 6 << 30, "the size is not 6 GiB");
            client.write(&file, FAR, stable_how::FILE_SYNC, DATA)?;
            client.set_attr(&file, Set::size(FAR + DATA.len() as u64))?;
            let (data, eof) = client.read(&file, FAR, 100)?;
            ensure!(data == DATA && eof, "READ returned {data:?}");
            for time in TIMES {
                let (atime, mtime) = (SetTime::Client(time - 1, 1), SetTime::Client(time, 2));
                client.set_attr(
                    &file,
                    Set {
                        atime,
                        mtime,
                        ..Set::default()
                    },
                )?;
                let attr = client.attr(&file)?;
                ensure!(
                    (attr.atime, attr.mtime) == (at((time - 1, 1)), at((time, 2))),
                    "the times are {:?} and {:?}",
                    attr.atime,
                    attr.mtime
                );
                ensure_on_host(&directory.path().join("file"), time - 1, time)?;
            }
            Ok(())
        };
        attempt().with_context(|| format!("as {}; server: {:#?}", arch.name(), server.lines()))?;
    }
    Ok(())
}

#[test]
fn sftp_passes_2038_and_4_gib() -> Result<()> {
    for arch in Arch::ALL {
        let directory = public_dir()?;
        let attempt = || -> Result<()> {
            let mut client =
                Sftp::start(&SftpOptions::in_directory(directory.path()).with_arch(arch))?;
            let file = client.create("file")?;
            client.set_fstat(&file, Attrs::size(6 << 30))?;
            ensure!(
                client.fstat(&file)?.size == Some(6 << 30),
                "the size is not 6 GiB"
            );
            client.write_at(&file, FAR, DATA)?;
            client.close(&file)?;
            // SETSTAT changes the size by path; the first change was by handle (FSETSTAT).
            client.set_stat("file", Attrs::size(FAR + DATA.len() as u64))?;
            let file = client.open_read("file")?;
            let data = client.read(&file, FAR, 100)?;
            ensure!(data.as_deref() == Some(DATA), "READ returned {data:?}");
            client.close(&file)?;
            for time in TIMES {
                let times = Some((time - 1, time));
                let attrs = Attrs {
                    times,
                    ..Attrs::default()
                };
                client.set_stat("file", attrs)?;
                let actual = client.stat("file")?.times;
                ensure!(actual == times, "the times are {actual:?}");
                ensure_on_host(&directory.path().join("file"), time - 1, time)?;
            }
            client.finish().map(drop)
        };
        attempt().with_context(|| format!("as {}", arch.name()))?;
    }
    Ok(())
}
