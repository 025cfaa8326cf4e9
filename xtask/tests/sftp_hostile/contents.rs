//! Special files, copies of a file to itself, and checksums with impossible parameters.

use super::{Scene, ensure_unchanged, snapshot};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open as open_dir, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknod};
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use xtask::clients::sftp::{Attrs, Request, Status, open};
use xtask::machines::server::root_for;

/// Longest time for an answer: the server must not block on a FIFO or a device.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn special_files_are_refused_jailed_devices_too() -> Result<()> {
    if !root_for("devices") {
        return Ok(());
    }
    Scene::for_each_server(|scene| {
        let is_jailed = scene.client.real_path(".")? == b"/";
        mkfifo(&scene.path("fifo"), Mode::from_bits_truncate(0o666))?;
        let _listener = UnixListener::bind(scene.path("socket"))?;
        for (name, kind, device) in [
            ("null", SFlag::S_IFCHR, makedev(1, 3)),
            ("zero", SFlag::S_IFCHR, makedev(1, 5)),
            ("no such device", SFlag::S_IFCHR, makedev(999, 9)),
            ("block", SFlag::S_IFBLK, makedev(999, 9)),
        ] {
            mknod(
                &scene.path(name),
                kind,
                Mode::from_bits_truncate(0o666),
                device,
            )?;
        }
        let before = snapshot(scene.directory.path())?;
        for name in ["fifo", "socket", "null", "zero", "no such device", "block"] {
            let path = name.as_bytes();
            let is_device = matches!(name, "null" | "zero");
            for flags in [
                open::READ,
                open::WRITE,
                open::READ | open::WRITE,
                open::WRITE | open::CREATE | open::TRUNCATE,
                open::WRITE | open::APPEND,
            ] {
                let start = Instant::now();
                let request = Request::Open(path, flags, Attrs::default());
                let status = scene.client.error_status(&request)?;
                let expected = match status {
                    None => is_device && !is_jailed,
                    Some(Status::PERMISSION_DENIED) => is_jailed || !is_device,
                    // A device node without a driver cannot be opened.
                    Some(Status::FAILURE) => !is_device && !is_jailed,
                    Some(_) => false,
                };
                ensure!(
                    expected,
                    "OPEN of {name} for {flags} was answered {status:?}"
                );
                ensure!(start.elapsed() < AT_ONCE, "{name} blocked the server");
            }
            for request in [
                Request::SetStat(path, Attrs::size(0)),
                Request::OpenDir(path),
                Request::check("check-file-name", path, b"md5"),
            ] {
                let start = Instant::now();
                let status = scene.client.error_status(&request)?;
                // A device has the size 0, so its checksum is that of no data, and the request succeeds.
                let is_summed =
                    is_device && !is_jailed && matches!(request, Request::CheckFile { .. });
                ensure!(
                    status.is_none() == is_summed,
                    "{request:?} was answered {status:?}"
                );
                ensure!(
                    start.elapsed() < AT_ONCE,
                    "{request:?} took {:?}",
                    start.elapsed()
                );
            }
            // STAT does not open the object, and succeeds.
            let mode = fs::symlink_metadata(scene.path(name))?.mode();
            ensure!(scene.client.stat(name)?.mode == Some(mode), "{name}");
            ensure_unchanged(scene.directory.path(), &before, name)?;
        }
        for entry in scene.client.list(".")? {
            let name = String::from_utf8(entry.name)?;
            if name == ".." {
                // Not compared: in a jail, ".." is the root of the jail itself.
                continue;
            }
            let mode = fs::symlink_metadata(scene.path(&name))?.mode();
            ensure!(entry.attrs.mode == Some(mode), "{name}: {:?}", entry.attrs);
            let letter = match mode & 0o170_000 {
                0o010_000 => b'p',
                0o020_000 => b'c',
                0o040_000 => b'd',
                0o060_000 => b'b',
                0o120_000 => b'l',
                0o140_000 => b's',
                _ => b'-',
            };
            ensure!(entry.long_name[0] == letter, "{name}");
        }
        Ok(())
    })
}

#[test]
fn copy_onto_the_same_file_is_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        fs::hard_link(scene.path("large"), scene.path("hard"))?;
        let client = &mut scene.client;
        let first = client.open_both("large")?;
        let second = client.open_both("large")?;
        let hard = client.open_both("hard")?;
        client.rename("hard", "elsewhere")?;
        let before = snapshot(scene.directory.path())?;
        for (from, to) in [
            (&first, &first),
            (&first, &second),
            (&first, &hard),
            (&hard, &second),
        ] {
            for (offset, len, to_offset) in [
                (0, 0, 200_000),
                (0, 0, 1),
                (0, 100_000, 100_000),
                (199_999, 0, 0),
                (0, 1, 0),
                (0, u64::MAX, 0),
            ] {
                let request = Request::CopyData {
                    from,
                    offset,
                    len,
                    to,
                    to_offset,
                };
                scene.expect_status(&request, &[Status::FAILURE])?;
                ensure_unchanged(scene.directory.path(), &before, "a copy to itself")?;
            }
        }
        Ok(())
    })
}

#[test]
fn copies_of_impossible_ranges_end_without_success() -> Result<()> {
    const MAX: u64 = i64::MAX as u64;
    Scene::for_each_server(|scene| {
        let from = scene.client.open_read("large")?;
        for (offset, len, to_offset) in [
            (0, MAX + 1, 0),
            (0, u64::MAX, 0),
            (1, MAX, 0),
            (0, 10, MAX - 5),
            (MAX + 1, 1, 0),
            (u64::MAX, 0, 0),
            (0, 0, MAX + 1),
            (0, 0, u64::MAX),
        ] {
            let to = scene.client.create("copy")?;
            let start = Instant::now();
            let request = Request::CopyData {
                from: &from,
                offset,
                len,
                to: &to,
                to_offset,
            };
            let reply = scene.client.exchange(&request)?;
            ensure!(
                start.elapsed() < AT_ONCE,
                "{request:?} took {:?}",
                start.elapsed()
            );
            let size = fs::metadata(scene.path("copy"))?.len();
            ensure!(
                size <= 200_000,
                "{request:?} made {size} bytes, answered {reply:?}"
            );
            ensure!(
                reply.status() != Some(Status::OK),
                "{request:?} was answered OK"
            );
            scene.client.close(&to)?;
        }
        Ok(())
    })
}

#[test]
fn checksums_of_impossible_ranges_are_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.client.open_read("large")?;
        let dir = scene.client.open_dir(".")?;
        let long = b"md5,".repeat(9000);
        let check = |object, algorithms, offset, len, block_len| Request::CheckFile {
            name: "check-file-handle",
            object,
            algorithms,
            offset,
            len,
            block_len,
        };
        let (file, dir) = (&file[..], &dir[..]);
        for request in [
            // The draft's minimum block length is 256 bytes.
            check(file, b"md5", 0, 0, 1),
            check(file, b"md5", 0, 0, 255),
            check(file, b"", 0, 0, 0),
            check(file, b",,,", 0, 0, 0),
            check(file, b"none,MD5 ,sha-1", 0, 0, 0),
            check(file, b"md5\0", 0, 0, 0),
            check(file, b"md5", u64::MAX, 0, 0),
            check(file, b"md5", 1 << 63, 1 << 63, 0),
            check(file, b"md5", 200_001, 1, 0),
            check(dir, b"md5", 0, 0, 0),
            check(b"", b"md5", 0, 0, 0),
        ] {
            let start = Instant::now();
            let status = scene.client.error_status(&request)?;
            ensure!(status.is_some(), "{request:?} was answered OK");
            ensure!(
                start.elapsed() < AT_ONCE,
                "{request:?} took {:?}",
                start.elapsed()
            );
        }
        // Unusual but valid: an unknown algorithm before a known one, a long list, a length beyond the file, a single byte.
        for request in [
            check(file, b"none,md5", 0, u64::MAX, 0),
            check(file, &long, 5, 1 << 40, u32::MAX),
            check(file, b"crc32", 0, 0, 256),
            check(file, b"sha1", 199_999, 0, 0),
        ] {
            let reply = scene.client.exchange(&request)?;
            ensure!(
                reply.status().is_none(),
                "{request:?} was answered {reply:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn directory_near_path_max_lists_all_names() -> Result<()> {
    const PATH_MAX: usize = 4096;
    Scene::for_each_server(|scene| {
        // A directory whose path is just below PATH_MAX, with files whose paths exceed PATH_MAX.
        let name = "d".repeat(200);
        let mut dir = open_dir(scene.directory.path(), OFlag::O_DIRECTORY, Mode::empty())?;
        let mut path = String::new();
        while path.len() + name.len() + 1
            < PATH_MAX - 100 - scene.directory.path().as_os_str().len()
        {
            mkdirat(&dir, name.as_str(), Mode::from_bits_truncate(0o755))?;
            dir = openat(&dir, name.as_str(), OFlag::O_DIRECTORY, Mode::empty())?;
            path = format!("{path}{name}/");
        }
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
        for number in 0..50_usize {
            let name = format!("{number:02}{}", "f".repeat(253));
            let file = openat(&dir, name.as_str(), flags, Mode::from_bits_truncate(0o600))?;
            fs::File::from(file).set_len(number as u64 * 1000)?;
        }
        let listed = scene.client.list(path.as_str())?;
        for entry in &listed {
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            ensure!(
                entry.name.len() == 255,
                "a name of {} bytes instead of 255",
                entry.name.len()
            );
            let number: u64 = std::str::from_utf8(&entry.name[..2])?.parse()?;
            let attrs = (entry.attrs.size, entry.attrs.mode);
            ensure!(
                attrs == (Some(number * 1000), Some(0o100_600)),
                "{number}: {:?}",
                entry.attrs
            );
        }
        // Our server lists all files; OpenSSH's server omits those whose paths exceed PATH_MAX.
        ensure!(listed.len() == 52, "{} names", listed.len());
        let longest = format!("{path}00{}", "f".repeat(253));
        let status = scene
            .client
            .error_status(&Request::Stat(longest.as_bytes()))?;
        ensure!(
            longest.len() < PATH_MAX || status.is_some(),
            "STAT of a path of {} bytes succeeded",
            longest.len()
        );
        Ok(())
    })
}

#[test]
fn listing_of_a_removed_directory_ends() -> Result<()> {
    Scene::for_each_server(|scene| {
        let path = scene.path("going");
        fs::create_dir(&path)?;
        for number in 0..2000 {
            fs::write(path.join(format!("{number} {}", "n".repeat(60))), "")?;
        }
        let handle = scene.client.open_dir("going")?;
        let first = scene.client.read_dir(&handle)?.context("no names")?;
        ensure!(first.len() < 2000, "all names in one reply");
        fs::remove_dir_all(&path)?;
        let mut count = first.len();
        while let Some(entries) = scene.client.read_dir(&handle)? {
            count += entries.len();
        }
        ensure!(count <= 2002, "{count} names of 2002");
        // READDIR stays at the end, and the handle can only be closed.
        ensure!(scene.client.read_dir(&handle)?.is_none());
        scene.client.close(&handle)?;
        let gone = Request::OpenDir(b"going");
        scene.expect_status(&gone, &[Status::NO_SUCH_FILE])?;
        Ok(())
    })
}
