//! Special files, and directories with long paths or that are removed while they are listed.

use super::{Scene, ensure_unchanged, snapshot};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open as open_dir, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknod};
use std::fs;
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
        let _listener = UnixListener::bind(scene.path("socket"))?;
        for (name, kind, device) in [
            ("fifo", SFlag::S_IFIFO, 0),
            ("zero", SFlag::S_IFCHR, makedev(1, 5)),
            ("no such device", SFlag::S_IFCHR, makedev(999, 9)),
            ("block", SFlag::S_IFBLK, makedev(999, 9)),
        ] {
            let mode = Mode::from_bits_truncate(0o666);
            mknod(&scene.path(name), kind, mode, device)?;
        }
        let before = snapshot(scene.directory.path())?;
        for name in ["fifo", "socket", "zero", "no such device", "block"] {
            let path = name.as_bytes();
            let open = |flags| Request::Open(path, flags, Attrs::default());
            for (request, opens_devices) in [
                (open(open::READ), true),
                (open(open::READ | open::WRITE), true),
                (open(open::WRITE | open::CREATE | open::TRUNCATE), true),
                (open(open::WRITE | open::APPEND), true),
                (Request::check("check-file-name", path, b"md5"), true),
                (Request::SetStat(path, Attrs::size(0)), false),
                (Request::OpenDir(path), false),
            ] {
                let start = Instant::now();
                let status = scene.client.error_status(&request)?;
                let is_opened = opens_devices && name == "zero" && !is_jailed;
                ensure!(
                    status.is_none() == is_opened,
                    "{request:?} was answered {status:?}"
                );
                ensure!(start.elapsed() < AT_ONCE, "{name} blocked the server");
            }
            ensure_unchanged(scene.directory.path(), &before, name)?;
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
