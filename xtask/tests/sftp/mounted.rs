//! sshfs: the tests use the mounted directory like a local one.

use super::{Remote, create_file, program, server};
use anyhow::{Context, Result, ensure};
use cases::random::seed;
use nix::sys::statvfs::statvfs;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use xtask::build::Arch;
use xtask::clients::fsx::Fsx;
use xtask::clients::sshfs::{Listening, Sshfs};
use xtask::machines::mounts;
use xtask::machines::server::public_dir;
use xtask::machines::sshd::USER_ID;
use xtask::setup;

/// Mounts the user's home by sshfs with further options, and runs `work` on it.
pub fn with_mount(
    remote: &Remote,
    options: &[&str],
    work: impl FnOnce(&Path) -> Result<()> + Send,
) -> Result<()> {
    setup::install_packages(&["sshfs"])?;
    mounts::private("sshfs", || {
        let mut command = program("sshfs", remote.client_dir());
        command.arg("-f").arg("-F").arg(remote.daemon.config());
        command.args(options.iter().flat_map(|option| ["-o", option]));
        command.arg("x:");
        let sshfs = Sshfs::mount(command, &remote.client_dir().join("mounted"))?;
        work(&sshfs.mount_point)
    })
}

/// Runs fsx with 1500 random operations on a file of the mount, and compares the server's file with the expected contents.
fn fsx(server_dir: &Path, mounted_dir: &Path, config: &str) -> Result<()> {
    let fsx = Fsx {
        operations: 1500,
        seed: seed(),
        config,
    };
    fsx.run(&mounted_dir.join("random").display().to_string())?;
    fsx.check(&fs::read(server_dir.join("random"))?)?;
    Ok(fs::remove_file(mounted_dir.join("random"))?)
}

#[test]
fn random_operations_on_a_mounted_file_agree() -> Result<()> {
    Remote::for_each_daemon(|remote| {
        let server_dir = remote.server_dir();
        // First through the page cache, then with direct I/O, where each operation is sent at once.
        with_mount(remote, &[], |mounted_dir| {
            fsx(&server_dir, mounted_dir, CACHED)
        })?;
        let options = [
            "direct_io",
            "sshfs_sync",
            "max_read=65536",
            "max_write=65536",
        ];
        with_mount(remote, &options, |mounted_dir| {
            fsx(&server_dir, mounted_dir, DIRECT)
        })
    })
}

const CACHED: &str = "
    flen = 131072
    opsize = { min = 1, max = 16384 }
    weights = { read = 36, write = 38, mapread = 12, mapwrite = 11, truncate = 1.4, fsync = 0.6, close_open = 0.3 }
";
const UNMAPPED: &str = "
    flen = 131072
    opsize = { min = 1, max = 16384 }
    weights = { read = 48, write = 49, mapread = 0, mapwrite = 0, truncate = 1.4, fsync = 0.6, close_open = 0.3 }
";
/// fsx's configuration for direct I/O: without mapread and mapwrite, because mmap fails.
const DIRECT: &str = "
    flen = 1000000
    opsize = { min = 1, max = 100000 }
    weights = { read = 48, write = 49, mapread = 0, mapwrite = 0, truncate = 1.4, fsync = 0.6, close_open = 0.3 }
";

#[test]
fn mounted_directory_supports_posix_operations() -> Result<()> {
    Remote::for_each_daemon(|remote| {
        with_mount(remote, &[], |mounted_dir| {
            let server_dir = remote.server_dir();
            create_file(&mounted_dir.join("file"), 1, 3_000_000)?;
            super::ensure_same(&mounted_dir.join("file"), &server_dir.join("file"))?;
            fs::write(mounted_dir.join("old"), "old")?;
            fs::rename(mounted_dir.join("file"), mounted_dir.join("old"))?;
            ensure!(
                !server_dir.join("file").exists()
                    && fs::metadata(server_dir.join("old"))?.len() == 3_000_000
            );
            fs::hard_link(mounted_dir.join("old"), mounted_dir.join("hard"))?;
            ensure!(fs::metadata(server_dir.join("old"))?.nlink() == 2);
            symlink("old", mounted_dir.join("soft"))?;
            ensure!(fs::read_link(server_dir.join("soft"))? == Path::new("old"));
            ensure!(fs::read_link(mounted_dir.join("soft"))? == Path::new("old"));

            fs::set_permissions(mounted_dir.join("old"), Permissions::from_mode(0o604))?;
            chown(mounted_dir.join("old"), Some(USER_ID), Some(USER_ID))?;
            let time = UNIX_EPOCH + Duration::from_secs(1_111_111_111);
            let file = File::options().write(true).open(mounted_dir.join("old"))?;
            file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?;
            drop(file);
            for path in [mounted_dir.join("old"), server_dir.join("old")] {
                let meta = fs::metadata(path)?;
                ensure!(
                    (meta.mode() & 0o7777, meta.mtime()) == (0o604, 1_111_111_111),
                    "{meta:?}"
                );
                ensure!((meta.uid(), meta.gid()) == (USER_ID, USER_ID), "{meta:?}");
            }

            // Offsets beyond 4 GiB, in a sparse file.
            let file = File::create_new(mounted_dir.join("sparse"))?;
            file.set_len(6 << 30)?;
            file.write_all_at(b"far out", 5 << 30)?;
            file.sync_all()?;
            ensure!(fs::metadata(server_dir.join("sparse"))?.len() == 6 << 30);
            let mut far = [0; 7];
            File::open(server_dir.join("sparse"))?.read_exact_at(&mut far, 5 << 30)?;
            ensure!(&far == b"far out");
            File::open(mounted_dir.join("sparse"))?.read_exact_at(&mut far, (5 << 30) - 3)?;
            ensure!(&far == b"\0\0\0far ");

            let mut log = File::options()
                .create(true)
                .append(true)
                .open(mounted_dir.join("log"))?;
            log.write_all(b"one\n")?;
            drop(log);
            let mut log = File::options().append(true).open(mounted_dir.join("log"))?;
            log.write_all(b"two\n")?;
            drop(log);
            ensure!(fs::read(server_dir.join("log"))? == b"one\ntwo\n");

            let (seen, actual) = (statvfs(mounted_dir)?, statvfs(&server_dir)?);
            let size = |of: &nix::sys::statvfs::Statvfs| of.blocks() * of.fragment_size();
            ensure!(
                size(&seen) == size(&actual) && seen.files() == actual.files(),
                "{seen:?} {actual:?}"
            );

            fs::create_dir_all(mounted_dir.join("a/b/c"))?;
            fs::write(mounted_dir.join("a/b/c/file"), "content")?;
            fs::rename(mounted_dir.join("a/b"), mounted_dir.join("a/x"))?;
            ensure!(fs::read(server_dir.join("a/x/c/file"))? == b"content");
            ensure!(fs::remove_dir(mounted_dir.join("a")).is_err());
            fs::remove_dir_all(mounted_dir.join("a"))?;
            ensure!(!server_dir.join("a").exists());
            // A file that is removed while it is open can still be read.
            let mut file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(mounted_dir.join("gone"))?;
            file.write_all(b"still")?;
            fs::remove_file(mounted_dir.join("gone"))?;
            let mut still = [0; 5];
            file.read_exact_at(&mut still, 0)
                .context("READ of a removed file")?;
            ensure!(&still == b"still");
            Ok(())
        })
    })
}

#[test]
fn listening_server_is_mounted_twice_without_ssh() -> Result<()> {
    setup::install_packages(&["sshfs"])?;
    for arch in Arch::ALL {
        let directory = public_dir()?;
        let server_dir = directory.path().join("there");
        fs::create_dir(&server_dir)?;
        mounts::private("sshfs", || {
            let listening = Listening::start(
                &server(arch, &directory.path().join("stowaway"))?,
                &server_dir,
            )?;
            let mount = |name: &str| {
                let mut command = program("sshfs", directory.path());
                command.args(["-f", "127.0.0.1:/", "-o", "direct_io", "-o"]);
                command.arg(format!("directport={}", listening.port));
                Sshfs::mount(command, &directory.path().join(name))
            };
            let (one, two) = (mount("one")?, mount("two")?);
            fsx(&server_dir, &one.mount_point, UNMAPPED)?;
            create_file(&one.mount_point.join("file"), 50, 1_000_000)?;
            super::ensure_same(&two.mount_point.join("file"), &server_dir.join("file"))?;
            // The second mount still works after the first has gone.
            drop(one);
            fsx(&server_dir, &two.mount_point, UNMAPPED)
        })
        .with_context(|| format!("as {arch:?}"))?;
    }
    Ok(())
}
