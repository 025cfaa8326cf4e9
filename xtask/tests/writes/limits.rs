//! File systems that are remounted read-only, and the limits on file sizes: RLIMIT_FSIZE and the file system's own.

use super::{WRITABLE, create_file, fails, pattern, serve};
use anyhow::{Result, ensure};
use std::fs;
use xtask::clients::nfs::{How, Set, nfsstat3, stable_how};
use xtask::machines::mounts::on_tmpfs;
use xtask::machines::server::{ServerOptions, public_dir};
use xtask::testing::check_pattern;

#[test]
fn writes_beyond_rlimit_fsize_return_fbig() -> Result<()> {
    const LIMIT: u64 = 1 << 20;
    // A write beyond RLIMIT_FSIZE raises SIGXFSZ, which would kill the server if it did not ignore it.
    let through = ["prlimit", &format!("--fsize={LIMIT}")].map(String::from);
    super::Scene::for_each_server(|scene| {
        let directory = public_dir()?;
        let served_by = std::os::unix::fs::MetadataExt::uid(&fs::metadata(scene.directory.path())?);
        std::os::unix::fs::chown(directory.path(), Some(served_by), Some(served_by))?;
        let options = ServerOptions {
            user: (served_by != nix::unistd::getuid().as_raw()).then_some(served_by),
            wrapper: through.to_vec(),
            ..ServerOptions::default()
        };
        let (mut server, mut client, root) = serve(directory.path(), WRITABLE, options)?;
        let path = directory.path().join("file");
        let file = create_file(&mut client, &root, "file", b"")?;
        for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
            client.set_attr(&file, Set::size(0))?;
            let mut len = 0;
            while len < LIMIT {
                let wrote = client.write(&file, len, stable, &pattern(1, len, 300_000));
                len += match wrote {
                    Ok(wrote) => u64::from(wrote.count),
                    // A WRITE that crosses the limit may be refused as a whole; the part that fits is then sent alone.
                    Err(e) => {
                        let fitting = (LIMIT - len) as usize;
                        ensure!(fitting < 300_000, "WRITE at {len}: {e:#}");
                        fails::<()>(
                            Err(e),
                            &[nfsstat3::NFS3ERR_FBIG],
                            "a WRITE across the limit",
                        )?;
                        let partial =
                            client.write(&file, len, stable, &pattern(1, len, fitting))?;
                        u64::from(partial.count)
                    }
                };
            }
            ensure!(len == LIMIT, "{len} bytes fit below the limit");
            for offset in [LIMIT, LIMIT + 1, 1 << 40] {
                let wrote = client.write(&file, offset, stable, b"more");
                fails(
                    wrote,
                    &[nfsstat3::NFS3ERR_FBIG],
                    format!("WRITE offset {offset}"),
                )?;
            }
            check_pattern(&path, LIMIT)?;
            ensure!(
                fs::metadata(&path)?.len() == LIMIT,
                "the file exceeds the limit"
            );
        }
        for size in [LIMIT + 1, 1 << 40] {
            let set = client.set_attr(&file, Set::size(size));
            fails(set, &[nfsstat3::NFS3ERR_FBIG], format!("a size of {size}"))?;
            let how = How::Guarded(Set::size(size));
            let created = client.create(&root, "large", how);
            fails(
                created,
                &[nfsstat3::NFS3ERR_FBIG],
                format!("CREATE of {size}"),
            )?;
            // CREATE failed, so the file may exist or not; if it exists, it is empty.
            if let Ok(meta) = fs::metadata(directory.path().join("large")) {
                ensure!(meta.len() == 0);
                fs::remove_file(directory.path().join("large"))?;
            }
        }
        check_pattern(&path, LIMIT)?;
        super::check_alive(&mut server, directory.path())
    })
}

#[test]
fn largest_offset_is_written_and_read() -> Result<()> {
    const MAX: u64 = i64::MAX as u64;
    // tmpfs has no smaller limit of its own.
    on_tmpfs("size=8m", |path| {
        let (_server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let file = create_file(&mut client, &root, "file", b"before")?;
        for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
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
