//! Trees that change while a jailed server uses them: when a directory is exchanged with a link, no outside object is read or
//! changed.

use super::is_full_run;
use super::jail::{JailTree, for_each_jail};
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use xtask::clients::sftp::{Attrs, Reply, Request, Sftp, Status, open};
use xtask::testing::{run_while_disturbed, swap_names};

/// Requests for names in `sub`, which alternates between a directory and a link out of the jail.
fn requests() -> Vec<Request<'static>> {
    let path = b"sub/inner".as_slice();
    let made = b"sub/made".as_slice();
    let deep = b"sub/dir/../dir/inner".as_slice();
    let attrs = Attrs::default();
    let create = open::READ | open::WRITE | open::CREATE;
    vec![
        Request::Open(path, open::READ, attrs.clone()),
        Request::Open(deep, open::READ, attrs.clone()),
        Request::Open(made, create, attrs.clone()),
        Request::Open(made, create | open::EXCLUSIVE, attrs.clone()),
        Request::Open(b"sub/secret", open::WRITE | open::TRUNCATE, attrs.clone()),
        Request::MkDir(b"sub/directory", attrs),
        Request::SymLink(b"small", b"sub/link"),
        Request::HardLink(b"small", b"sub/hard"),
        Request::HardLink(b"sub/secret", b"stolen"),
        Request::Rename(b"other", b"sub/other"),
        Request::PosixRename(b"sub/other", b"other"),
        Request::PosixRename(b"sub/secret", b"stolen"),
        Request::SetStat(b"sub/secret", Attrs::mode(0o777)),
        Request::SetStat(b"sub/secret", Attrs::size(0)),
        Request::LSetStat(b"sub/secret", Attrs::times(1, 2)),
        Request::Stat(b"sub/secret"),
        Request::RealPath(b"sub/dir/.."),
        Request::check("check-file-name", b"sub/secret", b"md5"),
        Request::OpenDir(b"sub/dir"),
        Request::Remove(b"sub/secret"),
        Request::Remove(made),
        Request::Remove(b"sub/link"),
        Request::Remove(b"sub/hard"),
        Request::RmDir(b"sub/directory"),
    ]
}

/// Sends all requests `rounds` times; returns how many files and directories were read.
fn send_all(client: &mut Sftp, tree: &JailTree, rounds: usize) -> Result<usize> {
    let base = tree.base.path().display().to_string();
    let mut read = 0;
    for _ in 0..rounds {
        for request in requests() {
            let reply = client.exchange(&request)?;
            if let Reply::Name(entries) = &reply {
                let name = String::from_utf8_lossy(&entries[0].name);
                ensure!(!name.contains(&base), "{request:?} tells {name}");
            }
            // A request for a name that exists only outside must fail.
            let is_secret = match &request {
                Request::Stat(path)
                | Request::Remove(path)
                | Request::SetStat(path, _)
                | Request::LSetStat(path, _) => path.ends_with(b"secret"),
                Request::HardLink(from, _) | Request::PosixRename(from, _) => {
                    from.ends_with(b"secret")
                }
                Request::Open(path, _, _) => path.ends_with(b"secret"),
                Request::CheckFile { .. } => true,
                _ => false,
            };
            ensure!(
                !is_secret || reply.status().is_some_and(|status| status != Status::OK),
                "{request:?} was answered {reply:?}"
            );
            let Reply::Handle(handle) = reply else {
                continue;
            };
            if let Request::OpenDir(..) = request {
                while let Some(entries) = client.read_dir(&handle)? {
                    let outsider = entries.iter().find(|entry| entry.name == b"secret");
                    ensure!(outsider.is_none(), "{request:?} lists a directory outside");
                }
            } else if let Some(data) = client.read(&handle, 0, 100)? {
                ensure!(
                    data == b"inner\n",
                    "{request:?} read {:?}",
                    data.escape_ascii()
                );
                read += 1;
            }
            client.close(&handle)?;
        }
    }
    Ok(read)
}

fn rounds() -> usize {
    if is_full_run() { 800 } else { 80 }
}

#[test]
fn directory_exchanged_with_link_stays_jailed() -> Result<()> {
    for_each_jail(|tree, client| {
        let jail = tree.jail();
        fs::create_dir(jail.join("sub/dir"))?;
        fs::write(jail.join("sub/dir/inner"), "inner\n")?;
        fs::set_permissions(
            jail.join("sub"),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )?;
        let (dir, link) = (jail.join("sub"), jail.join("swap"));
        symlink(tree.outside(), &link)?;
        let mut read = 0;
        run_while_disturbed(
            || swap_names(&dir, &link),
            || {
                read = send_all(client, tree, rounds())?;
                Ok(())
            },
        )?;
        // If no request read a file, the server never met the directory, and there was no race.
        ensure!(read > 0, "no request read a file");
        Ok(())
    })
}

#[test]
fn file_exchanged_with_link_stays_jailed() -> Result<()> {
    for_each_jail(|tree, client| {
        let jail = tree.jail();
        let (file, link) = (jail.join("file"), jail.join("swap"));
        client.write_file("file", b"inner\n")?;
        symlink("../outside/secret", &link)?;
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        let (mut read, mut rewritten) = (0, 0);
        run_while_disturbed(
            || swap_names(&file, &link),
            || {
                for round in 0..rounds() * 10 {
                    let flags = match round % 3 {
                        0 => open::READ,
                        1 => open::READ | open::WRITE,
                        _ => open::READ | open::WRITE | open::CREATE,
                    };
                    let path = b"file".as_slice();
                    let attrs = Attrs::default();
                    let reply = client.exchange(&Request::Open(path, flags, attrs))?;
                    if let Reply::Handle(handle) = reply {
                        if let Some(data) = client.read(&handle, 0, 100)? {
                            ensure!(data == b"inner\n", "read {:?}", data.escape_ascii());
                            read += 1;
                        }
                        if flags & open::WRITE != 0 && fs::symlink_metadata(&file).is_ok() {
                            client.set_fstat(&handle, Attrs::times(1, 2))?;
                            rewritten += 1;
                        }
                        client.close(&handle)?;
                    }
                    let changed = client.set_stat("file", Attrs::mode(0o666));
                    xtask::clients::sftp::failed_status(changed)?;
                }
                Ok(())
            },
        )?;
        ensure!(
            read > 0 && rewritten > 0,
            "{read} files read and {rewritten} changed"
        );
        Ok(())
    })
}

#[test]
fn directory_moved_outside_stays_jailed() -> Result<()> {
    for_each_jail(|tree, client| {
        let jail = tree.jail();
        // A walk along `sub/deep/../..` that does not notice the move of `deep` would arrive outside.
        fs::create_dir_all(jail.join("sub/deep/deeper"))?;
        fs::write(jail.join("sub/deep/deeper/inner"), "inner\n")?;
        let outside_dir = tree.base.path().join("place");
        fs::create_dir(&outside_dir)?;
        fs::write(outside_dir.join("secret"), "OUTSIDE")?;
        let (inside, away) = (jail.join("sub/deep"), outside_dir.join("deep"));
        let mut found = 0;
        run_while_disturbed(
            || {
                fs::rename(&inside, &away)?;
                fs::rename(&away, &inside)?;
                Ok(())
            },
            || {
                for _ in 0..rounds() * 10 {
                    for path in [
                        "sub/deep/../secret",
                        "sub/deep/deeper/../../secret",
                        "sub/deep/deeper/../../../place/secret",
                        "sub/deep/deeper/../../../outside/secret",
                    ] {
                        let path = path.as_bytes();
                        let attrs = Attrs::default();
                        for request in [Request::Stat(path), Request::Open(path, open::READ, attrs)]
                        {
                            let status = client.error_status(&request)?;
                            ensure!(status.is_some(), "{request:?} was answered OK");
                        }
                    }
                    if client
                        .error_status(&Request::Stat(b"sub/deep/deeper/inner"))?
                        .is_none()
                    {
                        found += 1;
                    }
                }
                Ok(())
            },
        )?;
        ensure!(found > 0, "sub/deep/deeper/inner was never found");
        fs::remove_dir_all(&outside_dir)?;
        Ok(())
    })
}
