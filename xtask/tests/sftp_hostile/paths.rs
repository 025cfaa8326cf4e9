//! Paths and names that are too long, circular or with special bytes, and objects that cannot be removed.

use super::samples::with_path;
use super::{Scene, ensure_unchanged, snapshot};
use anyhow::{Result, ensure};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};
use xtask::clients::sftp::{Attrs, Request, Status, open};

const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn overlong_paths_are_refused_at_once() -> Result<()> {
    Scene::for_each_server(|scene| {
        let before = snapshot(scene.directory.path())?;
        let missing = [
            vec![b'n'; 256],
            vec![b'n'; 4096],
            vec![b'n'; 39_000],
            vec![b'n'; 200_000],
            b"no/such/".repeat(511),
            b"no/such/".repeat(513),
            [b"sub/../".repeat(600), b"missing/x".to_vec()].concat(),
            [vec![b'/'; 30_000], b"no/such".to_vec()].concat(),
            [b"./".repeat(2060), b"no/such".to_vec()].concat(),
        ];
        for path in &missing {
            for request in with_path(path) {
                // A missing file with an overlong path may also be answered BAD_MESSAGE or FAILURE.
                let start = Instant::now();
                let reply = scene.client.exchange(&request)?;
                let failed = matches!(
                    reply.status(),
                    Some(Status::NO_SUCH_FILE | Status::BAD_MESSAGE | Status::FAILURE)
                );
                ensure!(
                    failed && start.elapsed() < AT_ONCE,
                    "a path of {} bytes in type {} was answered {reply:?}",
                    path.len(),
                    request.kind()
                );
            }
        }
        ensure_unchanged(scene.directory.path(), &before, "a path that is too long")?;
        // A path of 3505 bytes is valid.
        let path = [b"sub/../".repeat(500), b"small".to_vec()].concat();
        ensure!(scene.client.read_file(&path)? == b"small\n");
        ensure!(scene.client.real_path(&path)?.ends_with(b"/small"));
        Ok(())
    })
}

#[test]
fn names_beyond_255_bytes_are_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        for len in [1, 63, 64, 254, 255, 256, 257, 1000, 4095] {
            let name = vec![b'n'; len];
            let made = scene
                .client
                .error_status(&Request::MkDir(&name, Attrs::default()))?;
            let exists = scene
                .path(std::str::from_utf8(&name)?)
                .symlink_metadata()
                .is_ok();
            ensure!(
                made.is_none() == (len < 256) && exists == (len < 256),
                "{len}: {made:?}"
            );
            if exists {
                let listed = scene.client.list(".")?;
                ensure!(
                    listed.iter().any(|entry| entry.name == name),
                    "{len}: not listed"
                );
                scene.client.rmdir(&name)?;
            } else {
                ensure!(made == Some(Status::BAD_MESSAGE), "{len}: {made:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn names_of_any_bytes_are_accepted() -> Result<()> {
    Scene::for_each_server(|scene| {
        let all: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
        for name in [
            &all[..],
            b"\n",
            b"\x1b[2J\x07",
            b"\xff\xfe",
            b"...",
            b" ",
            b"-R",
            b"~",
            b"%d",
            b"a\rb",
        ] {
            let path = [b"sub/", name].concat();
            scene.client.write_file(&path, name)?;
            ensure!(scene.client.read_file(&path)? == name, "{name:02x?}");
            let listed = scene.client.list("sub")?;
            ensure!(
                listed
                    .iter()
                    .any(|entry| entry.name == name && entry.long_name.ends_with(name)),
                "{name:02x?} is not listed"
            );
            ensure!(scene.client.real_path(&path)?.ends_with(name));
            let renamed = [b"sub/renamed ", &name[..name.len().min(200)]].concat();
            scene.client.rename(&path, &renamed)?;
            scene.client.symlink(name, "sub/to")?;
            ensure!(scene.client.read_link("sub/to")? == name, "{name:02x?}");
            scene.client.remove("sub/to")?;
            scene.client.remove(&renamed)?;
        }
        Ok(())
    })
}

#[test]
fn circular_links_are_not_found() -> Result<()> {
    Scene::for_each_server(|scene| {
        symlink("circle", scene.path("circle"))?;
        symlink("there", scene.path("here"))?;
        symlink("here", scene.path("there"))?;
        symlink(".", scene.path("self"))?;
        for number in 0..60 {
            symlink(
                format!("chain {}", number + 1),
                scene.path(&format!("chain {number}")),
            )?;
        }
        symlink("small", scene.path("chain 60"))?;
        for path in [
            "circle",
            "here",
            "there",
            "chain 0",
            "circle/x",
            "here/there/x",
        ] {
            let path = path.as_bytes();
            for request in [
                Request::Stat(path),
                Request::OpenDir(path),
                Request::RealPath(path),
                Request::Open(path, open::READ, Attrs::default()),
                Request::StatVfs(path),
                Request::SetStat(path, Attrs::mode(0o600)),
            ] {
                scene.expect_status(&request, &[Status::NO_SUCH_FILE])?;
            }
        }
        ensure!(scene.client.read_link("circle")? == b"circle");
        ensure!(scene.client.read_link("chain 0")? == b"chain 1");
        // The limit is 40 links, as in the kernel.
        ensure!(scene.client.read_file("chain 40")? == b"small\n");
        ensure!(scene.client.read_file("self/self/self/small")? == b"small\n");
        let deep = [b"self/".repeat(100), b"small".to_vec()].concat();
        let request = Request::Stat(&deep);
        scene.expect_status(&request, &[Status::NO_SUCH_FILE])?;
        Ok(())
    })
}

#[test]
fn impossible_removes_and_renames_are_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        let before = snapshot(scene.directory.path())?;
        for path in [".", "..", "/", "./", "//", "sub/.", "sub/..", "/.", "/.."] {
            let path = path.as_bytes();
            for request in [
                Request::Remove(path),
                Request::RmDir(path),
                Request::Rename(path, b"free"),
                Request::Rename(b"sub", path),
                Request::PosixRename(path, b"free"),
                Request::PosixRename(b"sub", path),
                Request::HardLink(path, b"free"),
                Request::HardLink(b"small", path),
                Request::SymLink(b"small", path),
                Request::MkDir(path, Attrs::default()),
            ] {
                let status = scene.client.error_status(&request)?;
                ensure!(status.is_some(), "{request:?} was answered OK");
            }
        }
        for (from, to) in [
            ("sub", "sub/into"),
            ("sub", "sub/into/deeper"),
            ("sub", "small"),
            ("small", "sub"),
        ] {
            for request in [
                Request::Rename(from.as_bytes(), to.as_bytes()),
                Request::PosixRename(from.as_bytes(), to.as_bytes()),
            ] {
                let status = scene.client.error_status(&request)?;
                ensure!(status.is_some(), "{request:?} was answered OK");
            }
        }
        ensure_unchanged(scene.directory.path(), &before, "an impossible request")
    })
}
