//! SETATTR: the guard, times to the nanosecond, sizes, modes and owners.

use super::{Scene, fails, is_as_on_the_host};
use anyhow::{Result, ensure};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use xtask::clients::nfs::nfs3::{ftype3, nfstime3};
use xtask::clients::nfs::{Call, Set, SetTime, nfsstat3, pack, time, words};
use xtask::machines::server::root_for;

#[test]
fn stale_guard_is_refused_with_not_sync() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"content")?;
        let before = scene.client.attr(&file)?;
        let guarded = |guard, size| Call::set_attr(&file, Set::size(size), Some(guard));
        let nfstime3 { seconds, nseconds } = before.ctime;
        for guard in [
            (0, 0),
            (seconds, nseconds ^ 1),
            (seconds - 1, nseconds),
            (seconds + 1, nseconds),
        ] {
            scene
                .client
                .expect_status(&guarded(guard, 0), nfsstat3::NFS3ERR_NOT_SYNC)?;
            ensure!(
                pack(&scene.client.attr(&file)?) == pack(&before),
                "SETATTR with a stale guard changed the file"
            );
        }
        // The file system's clock advances by a tick, so that the ctime changes.
        std::thread::sleep(Duration::from_millis(20));
        scene
            .client
            .expect_status(&guarded((seconds, nseconds), 4), nfsstat3::NFS3_OK)?;
        ensure!(fs::read(scene.path("file"))? == b"cont");
        // The ctime differs from the guard now.
        scene
            .client
            .expect_status(&guarded((seconds, nseconds), 0), nfsstat3::NFS3ERR_NOT_SYNC)?;
        ensure!(fs::read(scene.path("file"))? == b"cont");
        Ok(())
    })
}

#[test]
fn times_keep_nanoseconds_both_ways() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        scene.create_file("file", b"content")?;
        scene.client.mkdir(&root, "directory", Set::mode(0o755))?;
        scene.client.symlink(&root, "link", "file")?;
        for name in ["file", "directory", "link"] {
            let object = scene.client.lookup(&root, name)?;
            let path = scene.path(name);
            for (atime, mtime) in [
                ((1_700_000_001, 123_456_789), (1_600_000_000, 999_999_999)),
                ((0, 0), (1, 1)),
                // Seconds after 2038, and close to the maximum of an unsigned 32-bit number.
                ((3_000_000_000, 1), (u32::MAX - 1, 999_999_998)),
            ] {
                scene.client.set_attr(
                    &object,
                    Set {
                        atime: SetTime::Client(atime.0, atime.1),
                        mtime: SetTime::Client(mtime.0, mtime.1),
                        ..Set::default()
                    },
                )?;
                let meta = fs::symlink_metadata(&path)?;
                let host = (
                    (meta.atime() as u32, meta.atime_nsec() as u32),
                    (meta.mtime() as u32, meta.mtime_nsec() as u32),
                );
                let attr = scene.client.attr(&object)?;
                ensure!(
                    (attr.atime, attr.mtime) == (time(atime), time(mtime))
                        && host == (atime, mtime),
                    "{atime:?} and {mtime:?} of {name} became {attr:?} and on the host {host:?}"
                );
            }
        }
        // Times set on the host are returned to the client.
        let path = scene.path("file");
        let (atime, mtime) = (
            Duration::new(1_234_567_890, 987_654_321),
            Duration::new(5, 7),
        );
        let times = FileTimes::new()
            .set_accessed(UNIX_EPOCH + atime)
            .set_modified(UNIX_EPOCH + mtime);
        File::options().append(true).open(&path)?.set_times(times)?;
        let file = scene.client.lookup(&root, "file")?;
        let attr = scene.client.attr(&file)?;
        ensure!(
            (attr.atime, attr.mtime) == (time((1_234_567_890, 987_654_321)), time((5, 7))),
            "{attr:?}"
        );
        is_as_on_the_host(&attr, &path)
    })
}

#[test]
fn setting_one_time_keeps_the_other() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"content")?;
        let both = SetTime::Client(1_000_000, 1);
        scene.client.set_attr(
            &file,
            Set {
                atime: both,
                mtime: both,
                ..Set::default()
            },
        )?;
        let set = Set {
            mtime: SetTime::Client(2_000_000, 2),
            ..Set::default()
        };
        scene.client.set_attr(&file, set)?;
        let attr = scene.client.attr(&file)?;
        ensure!((attr.atime, attr.mtime) == (time((1_000_000, 1)), time((2_000_000, 2))));
        let set = Set {
            atime: SetTime::Client(3_000_000, 3),
            ..Set::default()
        };
        scene.client.set_attr(&file, set)?;
        let attr = scene.client.attr(&file)?;
        ensure!((attr.atime, attr.mtime) == (time((3_000_000, 3)), time((2_000_000, 2))));

        let now = || SystemTime::now().duration_since(UNIX_EPOCH);
        // The clock of the file system advances every few milliseconds only, and may be one tick behind.
        let start = now()? - Duration::from_millis(20);
        let set = Set {
            atime: SetTime::Server,
            ..Set::default()
        };
        scene.client.set_attr(&file, set)?;
        let attr = scene.client.attr(&file)?;
        let atime = Duration::new(attr.atime.seconds.into(), attr.atime.nseconds);
        ensure!(
            (start..=now()?).contains(&atime) && attr.mtime == time((2_000_000, 2)),
            "{attr:?}"
        );
        let set = Set {
            mtime: SetTime::Server,
            ..Set::default()
        };
        scene.client.set_attr(&file, set)?;
        let mtime = scene.client.attr(&file)?.mtime;
        let mtime = Duration::new(mtime.seconds.into(), mtime.nseconds);
        ensure!((start..=now()?).contains(&mtime), "{mtime:?}");
        Ok(())
    })
}

#[test]
fn invalid_nanoseconds_are_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        // Two of the invalid values, 0x3fffffff and 0x3ffffffe, are UTIME_NOW and UTIME_OMIT for utimensat(2).
        let file = scene.create_file("file", b"content")?;
        let before = scene.client.attr(&file)?;
        for nanoseconds in [1_000_000_000, 0x3fff_ffff, 0x3fff_fffe, u32::MAX] {
            for (atime, mtime) in [
                (SetTime::Client(5, nanoseconds), SetTime::Keep),
                (SetTime::Keep, SetTime::Client(5, nanoseconds)),
            ] {
                let set = Set {
                    atime,
                    mtime,
                    ..Set::default()
                };
                let call = Call::set_attr(&file, set, None);
                let status = scene.client.status(&call);
                // GARBAGE_ARGS is a valid reply, too; the test client returns it as an error.
                ensure!(
                    matches!(status, Err(_) | Ok(nfsstat3::NFS3ERR_INVAL)),
                    "{nanoseconds} ns were answered {status:?}"
                );
                ensure!(
                    pack(&scene.client.attr(&file)?) == pack(&before),
                    "{nanoseconds} ns were set"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn setattr_size_truncates_and_zero_fills() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"content")?;
        let before = scene.client.attr(&file)?;
        std::thread::sleep(Duration::from_millis(20));
        for (size, expected) in [
            (4, b"cont".as_slice()),
            (4, b"cont"),
            (6, b"cont\0\0"),
            (0, b""),
            (3, b"\0\0\0"),
        ] {
            scene.client.set_attr(&file, Set::size(size))?;
            ensure!(fs::read(scene.path("file"))? == expected, "of size {size}");
            let attr = scene.client.attr(&file)?;
            ensure!(
                attr.size == size && words(&attr.mtime) > words(&before.mtime),
                "{attr:?}"
            );
            is_as_on_the_host(&attr, &scene.path("file"))?;
        }
        scene.client.set_attr(&file, Set::size(5 << 30))?;
        ensure!(fs::metadata(scene.path("file"))?.len() == 5 << 30);
        // One SETATTR sets mode, size and mtime. The requested mtime must replace the one that the size change causes.
        let set = Set {
            mode: Some(0o4711),
            size: Some(1),
            mtime: SetTime::Client(77, 7),
            ..Set::default()
        };
        scene.client.set_attr(&file, set)?;
        let attr = scene.client.attr(&file)?;
        ensure!(
            (attr.mode, attr.size, attr.mtime) == (0o4711, 1, time((77, 7))),
            "{attr:?}"
        );
        is_as_on_the_host(&attr, &scene.path("file"))
    })
}

#[test]
fn setattr_sets_every_mode_exactly() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        scene.create_file("file", b"")?;
        scene.client.mkdir(&root, "directory", Set::mode(0o755))?;
        for name in ["file", "directory"] {
            let object = scene.client.lookup(&root, name)?;
            for mode in [0, 0o777, 0o7777, 0o4755, 0o2755, 0o1777, 0o640] {
                scene.client.set_attr(&object, Set::mode(mode))?;
                let host = fs::metadata(scene.path(name))?.mode() & 0o7777;
                let seen = scene.client.attr(&object)?.mode;
                ensure!(
                    (host, seen) == (mode, mode),
                    "{mode:o} of {name} became {seen:o}, on the host {host:o}"
                );
            }
        }
        // Mode bits above 0o7777 are a file type, which SETATTR cannot change.
        let file = scene.client.lookup(&root, "file")?;
        let _ = scene
            .client
            .status(&Call::set_attr(&file, Set::mode(0o040_644), None));
        let attr = scene.client.attr(&file)?;
        ensure!(
            attr.type_ == ftype3::NF3REG && attr.mode <= 0o7777,
            "{attr:?}"
        );
        Ok(())
    })
}

#[test]
fn only_root_changes_owners() -> Result<()> {
    if !root_for("files of others") {
        return Ok(());
    }
    Scene::for_each_server(|scene| {
        let served_by = fs::metadata(scene.directory.path())?.uid();
        let root = scene.root.clone();
        scene.create_file("file", b"")?;
        scene.client.mkdir(&root, "directory", Set::mode(0o755))?;
        scene.client.symlink(&root, "link", "file")?;
        for name in ["file", "directory", "link"] {
            let object = scene.client.lookup(&root, name)?;
            let path = scene.path(name);
            let set = Set {
                uid: Some(1234),
                gid: Some(4321),
                ..Set::default()
            };
            let result = scene.client.set_attr(&object, set);
            let meta = fs::symlink_metadata(&path)?;
            if served_by == 0 {
                result?;
                ensure!((meta.uid(), meta.gid()) == (1234, 4321), "{name}");
                // Sets only the GID; the UID must stay the same.
                let set = Set {
                    gid: Some(99),
                    ..Set::default()
                };
                scene.client.set_attr(&object, set)?;
                is_as_on_the_host(&scene.client.attr(&object)?, &path)?;
                let meta = fs::symlink_metadata(&path)?;
                ensure!((meta.uid(), meta.gid()) == (1234, 99), "{name}");
            } else {
                fails(
                    result,
                    &[nfsstat3::NFS3ERR_PERM, nfsstat3::NFS3ERR_ACCES],
                    name,
                )?;
                ensure!((meta.uid(), meta.gid()) == (served_by, served_by));
            }
        }
        ensure!(fs::read(scene.path("file"))?.is_empty());
        Ok(())
    })
}
