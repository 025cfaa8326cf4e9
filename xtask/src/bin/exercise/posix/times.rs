//! mtime and ctime: what advances them, and what sets them.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{mkfifo, truncate};

use super::scene::Scene;

/// What is done to a file itself.
pub fn of_files(scene: &Scene) -> Result<()> {
    scene.file("file", b"0123456789")?;
    let path = scene.at("file");
    let file = File::options().read(true).write(true).open(&path)?;
    let look = &["file", "."];
    scene.times("write", look, || file.write_all_at(b"x", 3))?;
    scene.times("write nothing", look, || file.write_at(b"", 3).map(drop))?;
    scene.times("write past the end", look, || file.write_all_at(b"x", 30))?;
    scene.times("read", look, || file.read_exact_at(&mut [0; 4], 0))?;
    scene.times("sync", look, || file.sync_all())?;
    scene.times("ftruncate to less", look, || file.set_len(20))?;
    scene.times("ftruncate to more", look, || file.set_len(25))?;
    scene.times("ftruncate to the same", look, || file.set_len(25))?;
    scene.times("truncate to less", look, || truncate(&path, 10))?;
    scene.times("truncate to the same", look, || truncate(&path, 10))?;
    scene.times("open to truncate", look, || File::create(&path).map(drop))?;
    scene.times("open to truncate what is empty", look, || {
        File::create(&path).map(drop)
    })?;
    scene.times("open to create what is there", look, || {
        File::options()
            .append(true)
            .create(true)
            .open(&path)
            .map(drop)
    })?;
    let mut map = {
        file.set_len(100)?;
        super::data::map(&file)?
    };
    scene.times("write through a mapping", look, || {
        map[..5].copy_from_slice(b"fresh");
        map.flush()
    })?;
    scene.times("chmod", look, || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
    })?;
    scene.times("chmod to the same", look, || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
    })?;
    let of = fs::metadata(&path)?;
    scene.times("chown to the same", look, || {
        lchown(&path, Some(of.uid()), Some(of.gid()))
    })
}

/// What is done with names.
pub fn of_names(scene: &Scene) -> Result<()> {
    scene.directory("there")?;
    let at = |name: &str| scene.at(name);
    let dirs = [".", "there"];
    let look = |name| [name, dirs[0], dirs[1]];
    scene.times("create", &look("file"), || {
        File::create(at("file")).map(drop)
    })?;
    scene.times("create new", &look("new"), || {
        File::create_new(at("new")).map(drop)
    })?;
    scene.times("create in another", &look("there/file"), || {
        File::create(at("there/file")).map(drop)
    })?;
    scene.times("mkdir", &look("directory"), || {
        fs::create_dir(at("directory"))
    })?;
    scene.times("symlink", &look("symlink"), || {
        std::os::unix::fs::symlink("x", at("symlink"))
    })?;
    scene.times("mkfifo", &look("fifo"), || {
        mkfifo(&at("fifo"), Mode::from_bits_truncate(0o644))
    })?;
    scene.times("link", &["file", "link", "."], || {
        fs::hard_link(at("file"), at("link"))
    })?;
    scene.times("unlink one of two", &["file", "link", "."], || {
        fs::remove_file(at("link"))
    })?;
    scene.times("rename", &["file", "renamed", "."], || {
        fs::rename(at("file"), at("renamed"))
    })?;
    scene.times("rename to another", &["there/moved", ".", "there"], || {
        fs::rename(at("renamed"), at("there/moved"))
    })?;
    scene.times("rename onto", &["there/file", ".", "there"], || {
        fs::rename(at("new"), at("there/file"))
    })?;
    scene.times(
        "rename a directory to another",
        &["there/directory", ".", "there"],
        || fs::rename(at("directory"), at("there/directory")),
    )?;
    scene.times("unlink", &look("there/file"), || {
        fs::remove_file(at("there/file"))
    })?;
    scene.times("rmdir", &look("there/directory"), || {
        fs::remove_dir(at("there/directory"))
    })?;
    scene.times("mkdir of what is there", &dirs, || {
        fs::create_dir(at("there"))
    })?;
    scene.times("unlink of what is not", &dirs, || {
        fs::remove_file(at("missing"))
    })?;
    scene.times("rename of what is not", &dirs, || {
        fs::rename(at("missing"), at("there/x"))
    })
}

/// utimensat: a second is a second, whatever it is.
pub fn set(scene: &Scene) -> Result<()> {
    scene.file("file", b"")?;
    scene.directory("directory")?;
    scene.symlink("file", "link")?;
    let second = |seconds, nanoseconds| TimeSpec::new(seconds, nanoseconds);
    let (now, keep) = (TimeSpec::UTIME_NOW, TimeSpec::UTIME_OMIT);
    for name in ["file", "directory", "link"] {
        let shows = |what: &str, accessed, modified| -> Result<()> {
            let path = scene.at(name);
            let flag = UtimensatFlags::NoFollowSymlink;
            scene.tries(
                format!("{what} of {name}"),
                utimensat(AT_FDCWD, &path, &accessed, &modified, flag),
            );
            let of = fs::symlink_metadata(&path).context("gone")?;
            let recent = |seconds: i64, nanoseconds| {
                if seconds > 1_700_000_000 && seconds < 3_900_000_000 {
                    "now".to_owned()
                } else {
                    format!("{seconds}.{nanoseconds:09}")
                }
            };
            scene.shows(
                format!("{name} then"),
                format!(
                    "{} {}",
                    recent(of.atime(), of.atime_nsec()),
                    recent(of.mtime(), of.mtime_nsec())
                ),
            );
            Ok(())
        };
        shows("both", second(1, 2), second(3, 4))?;
        shows(
            "nanoseconds",
            second(1_000_000_000, 999_999_999),
            second(1_234_567_890, 123_456_789),
        )?;
        shows("the first second", second(0, 0), second(0, 0))?;
        shows(
            "past 2038",
            second(4_000_000_000, 1),
            second(4_294_967_294, 999_999_999),
        )?;
        shows("mtime alone", keep, second(5, 6))?;
        shows("atime alone", second(7, 8), keep)?;
        shows("neither", keep, keep)?;
        shows("mtime now", keep, now)?;
        shows("atime now", now, second(9, 10))?;
        shows("both now", now, now)?;
        scene.times(
            format!("what setting them does to {name}"),
            &[name, "."],
            || {
                utimensat(
                    AT_FDCWD,
                    &scene.at(name),
                    &second(1, 1),
                    &second(1, 1),
                    UtimensatFlags::NoFollowSymlink,
                )
            },
        )?;
    }
    let file = File::options().write(true).open(scene.at("file"))?;
    file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(77)))?;
    scene.gets("through a descriptor", file.metadata().map(|of| of.mtime()));
    file.write_all_at(b"x", 0)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    scene.gets(
        "a write takes it to now",
        file.metadata()
            .map(|of| (of.mtime() - seconds).abs() < 3600),
    );
    Ok(())
}
