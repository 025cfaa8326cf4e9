//! File systems that are read-only since a moment ago, and files that may not grow any more.

use super::{WRITABLE, fails, make, pattern, serve};
use anyhow::{Result, ensure};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Call, How, Set, nfsstat3, stable_how};
use xtask::machines::mounts::{on_image, on_tmpfs, remount};
use xtask::machines::server::{Server, ServerOptions, public_dir, status_field};
use xtask::testing::holds;

#[test]
fn a_file_system_that_becomes_read_only_says_so() -> Result<()> {
    on_tmpfs("size=2m", |path| {
        let (mut server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let file = make(&mut client, &root, "file", b"content")?;
        client.mkdir(&root, "dir", Set::mode(0o755))?;
        client.write(&file, 0, stable_how::UNSTABLE, b"C")?;
        // As long as a file is open for writing, the kernel refuses: soon it is not any more.
        let start = Instant::now();
        while let Err(busy) = remount("ro", path) {
            ensure!(
                start.elapsed() < Duration::from_secs(5),
                "files are still open for writing: {busy:#}"
            );
            sleep(Duration::from_millis(100));
        }
        for _ in 0..2 {
            let (dir, name, set) = (&root[..], b"new".as_slice(), Set::mode(0o600));
            for call in [
                Call::set_attr(&file, set, None),
                Call::set_attr(&file, Set::size(0), None),
                Call::write(&file, 0, stable_how::UNSTABLE, b"data"),
                Call::write(&file, 0, stable_how::FILE_SYNC, b"data"),
                Call::create(dir, name, How::Guarded(set)),
                Call::create(dir, b"file", How::Unchecked(Set::size(0))),
                Call::create(dir, name, How::Exclusive([1; 8])),
                Call::mkdir(dir, name, set),
                Call::symlink(dir, name, Set::default(), b"target"),
                Call::fifo(dir, name, set),
                Call::remove(dir, b"file"),
                Call::rmdir(dir, b"dir"),
                Call::rename(dir, b"file", dir, name),
                Call::link(&file, dir, name),
            ] {
                let status = client.status(&call)?;
                ensure!(
                    status == nfsstat3::NFS3ERR_ROFS,
                    "{call:?} was answered {status:?}"
                );
            }
        }
        ensure!(client.read(&file, 0, 100)? == (b"Content".as_slice(), true));
        remount("rw", path)?;
        ensure!(client.write(&file, 0, stable_how::FILE_SYNC, b"c")?.count == 1);
        super::is_well(&mut server, path)
    })
}

#[test]
fn files_end_where_the_host_says() -> Result<()> {
    const LIMIT: u64 = 1 << 20;
    // SIGXFSZ would end a process that does not expect it.
    let through = ["prlimit", &format!("--fsize={LIMIT}")].map(String::from);
    super::Scene::each(|scene| {
        let directory = public_dir()?;
        let served_by = std::os::unix::fs::MetadataExt::uid(&fs::metadata(scene.directory.path())?);
        std::os::unix::fs::chown(directory.path(), Some(served_by), Some(served_by))?;
        let options = ServerOptions {
            user: (served_by != nix::unistd::getuid().as_raw()).then_some(served_by),
            through: through.to_vec(),
            ..ServerOptions::default()
        };
        let (mut server, mut client, root) = serve(directory.path(), WRITABLE, options)?;
        let path = directory.path().join("file");
        let file = make(&mut client, &root, "file", b"")?;
        for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
            client.set_attr(&file, Set::size(0))?;
            let mut len = 0;
            while len < LIMIT {
                let wrote = client.write(&file, len, stable, &pattern(1, len, 300_000));
                len += match wrote {
                    Ok(wrote) => u64::from(wrote.count),
                    // What does not fit as a whole may be refused as a whole.
                    Err(e) => {
                        let fitting = (LIMIT - len) as usize;
                        ensure!(fitting < 300_000, "WRITE at {len}: {e:#}");
                        fails::<()>(
                            Err(e),
                            &[nfsstat3::NFS3ERR_FBIG],
                            "a WRITE across the limit",
                        )?;
                        let rest = client.write(&file, len, stable, &pattern(1, len, fitting))?;
                        u64::from(rest.count)
                    }
                };
            }
            ensure!(len == LIMIT, "{len} bytes");
            for at in [LIMIT, LIMIT + 1, 1 << 40] {
                let wrote = client.write(&file, at, stable, b"more");
                fails(wrote, &[nfsstat3::NFS3ERR_FBIG], format!("WRITE at {at}"))?;
            }
            holds(&path, LIMIT)?;
            ensure!(fs::metadata(&path)?.len() == LIMIT, "it grew");
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
            // It may be there, since no answer said so; but not larger.
            if let Ok(meta) = fs::metadata(directory.path().join("large")) {
                ensure!(meta.len() == 0);
                fs::remove_file(directory.path().join("large"))?;
            }
        }
        holds(&path, LIMIT)?;
        super::is_well(&mut server, directory.path())
    })
}

#[test]
fn a_file_system_has_its_own_largest_file() -> Result<()> {
    on_image(&["mkfs.ext4", "-q", "-b", "1024"], 8, |path| {
        let (mut server, mut client, root): (Server, _, _) =
            serve(path, WRITABLE, ServerOptions::default())?;
        let file = make(&mut client, &root, "file", b"content")?;
        for at in [1 << 44, 1 << 50, i64::MAX as u64 - 10] {
            for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
                let wrote = client.write(&file, at, stable, b"more");
                fails(wrote, &[nfsstat3::NFS3ERR_FBIG], format!("WRITE at {at}"))?;
            }
            let set = client.set_attr(&file, Set::size(at));
            fails(
                set,
                &[nfsstat3::NFS3ERR_FBIG, nfsstat3::NFS3ERR_INVAL],
                format!("a size of {at}"),
            )?;
        }
        ensure!(fs::read(path.join("file"))? == b"content");
        ensure!(status_field(server.pid(), "VmRSS")? < 2048);
        super::is_well(&mut server, path)
    })
}
