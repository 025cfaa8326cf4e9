//! -R: no request changes, creates or truncates anything (CVE-2017-15906).

use super::samples::{Opened, with_path};
use super::{Scene, ensure_unchanged, snapshot};
use anyhow::{Result, ensure};
use xtask::clients::sftp::{Request, SftpOptions, Status, open};

/// Runs `test` without and with a jail.
fn for_each_server(test: impl Fn(&mut Scene) -> Result<()>) -> Result<()> {
    for jailed in [false, true] {
        let mut scene =
            Scene::with_options(|path| SftpOptions::serving(path, jailed).with_arguments(&["-R"]))?;
        test(&mut scene)?;
        scene.check_alive()?;
    }
    Ok(())
}

/// Returns true if a request would change something on a writable server.
fn modifies(request: &Request<'_>) -> bool {
    match request {
        Request::Open(_, flags, _) => flags & !open::READ != 0,
        Request::Write(..)
        | Request::SetStat(..)
        | Request::FSetStat(..)
        | Request::LSetStat(..)
        | Request::Remove(..)
        | Request::MkDir(..)
        | Request::RmDir(..)
        | Request::Rename(..)
        | Request::PosixRename(..)
        | Request::SymLink(..)
        | Request::HardLink(..)
        | Request::FSync(..)
        | Request::CopyData { .. } => true,
        _ => false,
    }
}

#[test]
fn read_only_refuses_modifying_requests_only() -> Result<()> {
    for_each_server(|scene| {
        let opened = Opened {
            file: scene.client.open_read("small")?,
            other: scene.client.open_read("other")?,
            dir: scene.client.open_dir(".")?,
        };
        let before = snapshot(scene.directory.path())?;
        let mut requests = opened.requests();
        requests.extend(with_path(b"small"));
        requests.extend(with_path(b"made"));
        for request in &requests {
            let reply = scene.client.exchange(request)?;
            if modifies(request) {
                ensure!(
                    reply.status() == Some(Status::PERMISSION_DENIED),
                    "{request:?} was answered {reply:?}"
                );
            }
            ensure_unchanged(scene.directory.path(), &before, &format!("{request:?}"))?;
        }
        // A large WRITE, whose data the server skips.
        let write = Request::Write(&opened.file, 0, &vec![0; 200_000]);
        scene.expect_status(&write, &[Status::PERMISSION_DENIED, Status::FAILURE])?;
        ensure_unchanged(scene.directory.path(), &before, "a large WRITE")
    })
}
