//! Limits on file sizes: RLIMIT_FSIZE, and the largest offset.

use super::{Scene, WRITABLE, create_file, fails, pattern, serve};
use anyhow::{Result, ensure};
use std::fs;
use xtask::clients::nfs::nfsstat3::NFS3ERR_FBIG;
use xtask::clients::nfs::stable_how::{FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{Call, Client, How, Set, stable_how};
use xtask::machines::mounts::on_tmpfs;
use xtask::machines::server::{ServerOptions, users};
use xtask::testing::check_pattern;

const LIMIT: u64 = 1 << 20;

/// Writes to the empty file until it has `LIMIT` bytes.
fn fill_to_limit(client: &mut Client, file: &[u8], stable: stable_how) -> Result<()> {
    let mut len = 0;
    while len < LIMIT {
        let fitting = (LIMIT - len) as usize;
        let wrote = match client.write(file, len, stable, &pattern(1, len, 300_000)) {
            // A WRITE that crosses the limit may be refused as a whole; the part that fits is then sent alone.
            Err(error) if fitting < 300_000 => {
                fails::<()>(Err(error), &[NFS3ERR_FBIG], "a WRITE across the limit")?;
                client.write(file, len, stable, &pattern(1, len, fitting))?
            }
            wrote => wrote?,
        };
        len += u64::from(wrote.count);
    }
    ensure!(len == LIMIT, "{len} bytes fit below the limit");
    Ok(())
}

/// A write beyond RLIMIT_FSIZE raises SIGXFSZ, which would kill the server if it did not ignore it.
#[test]
fn writes_beyond_rlimit_fsize_return_fbig() -> Result<()> {
    let through = ["prlimit", &format!("--fsize={LIMIT}")].map(String::from);
    for user in users() {
        let options = ServerOptions {
            user,
            wrapper: through.to_vec(),
            ..ServerOptions::default()
        };
        let mut scene = Scene::with_options(WRITABLE, options)?;
        let (root, path) = (scene.root.clone(), scene.path("file"));
        let file = scene.create_file("file", b"")?;
        let client = &mut scene.client;
        for stable in [UNSTABLE, FILE_SYNC] {
            client.set_attr(&file, Set::size(0))?;
            fill_to_limit(client, &file, stable)?;
            for offset in [LIMIT, LIMIT + 1, 1 << 40] {
                let call = Call::write(&file, offset, stable, b"more");
                client.expect_status(&call, NFS3ERR_FBIG)?;
            }
            check_pattern(&path, LIMIT)?;
        }
        for size in [LIMIT + 1, 1 << 40].map(Set::size) {
            for call in [
                Call::set_attr(&file, size, None),
                Call::create(&root, b"large", How::Guarded(size)),
            ] {
                client.expect_status(&call, NFS3ERR_FBIG)?;
            }
            // CREATE failed, so the file may exist or not; if it exists, it is empty.
            let large = scene.directory.path().join("large");
            if let Ok(meta) = fs::metadata(&large) {
                ensure!(meta.len() == 0);
                fs::remove_file(large)?;
            }
        }
        check_pattern(&path, LIMIT)?;
        ensure!(fs::metadata(&path)?.len() == LIMIT);
        scene.check_alive()?;
    }
    Ok(())
}

#[test]
fn largest_offset_is_written_and_read() -> Result<()> {
    const MAX: u64 = i64::MAX as u64;
    // tmpfs has no smaller limit of its own.
    on_tmpfs("size=8m", |path| {
        let (_server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let file = create_file(&mut client, &root, "file", b"before")?;
        for stable in [UNSTABLE, FILE_SYNC] {
            let wrote = client.write(&file, MAX - 1, stable, b"z")?;
            ensure!(wrote.count == 1);
        }
        client.commit(&file, 0, 0)?;
        ensure!(fs::metadata(path.join("file"))?.len() == MAX);
        ensure!(client.attr(&file)?.size == MAX);
        ensure!(client.read(&file, MAX - 1, 1)? == (b"z".as_slice(), true));
        ensure!(client.read(&file, 0, 6)? == (b"before".as_slice(), false));
        Ok(())
    })
}
