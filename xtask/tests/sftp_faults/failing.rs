//! A file system that fails where it is told: each failure becomes the status of its name, and the session goes on.

use super::{fails, is_well, pattern};
use anyhow::{Context, Result, ensure};
use nix::libc::{
    EACCES, EDQUOT, EFBIG, EINVAL, EIO, EMLINK, ENAMETOOLONG, ENOENT, ENOSPC, EPERM, EROFS,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use xtask::clients::sftp::{Attrs, READ_MAX, Reply, Request, Sftp, SftpOptions, Status, open};
use xtask::machines::faulty::{Faulty, Op};
use xtask::machines::mounts;
use xtask::machines::server::public_dir;

/// An error, its status, and a word of the text that people get, where the status says nothing.
const ERRORS: [(i32, Status, &str); 11] = [
    (EIO, Status::FAILURE, "disk"),
    (ENOSPC, Status::FAILURE, "full"),
    (EDQUOT, Status::FAILURE, "quota"),
    (EROFS, Status::FAILURE, "read-only"),
    (EFBIG, Status::FAILURE, "large"),
    (EMLINK, Status::FAILURE, ""),
    (EACCES, Status::PERMISSION_DENIED, ""),
    (EPERM, Status::PERMISSION_DENIED, ""),
    (ENOENT, Status::NO_SUCH_FILE, ""),
    (EINVAL, Status::BAD_MESSAGE, ""),
    (ENAMETOOLONG, Status::BAD_MESSAGE, ""),
];

const ALWAYS: usize = usize::MAX;

struct Scene<'a> {
    // In this order: nobody may have a file open when it is unmounted.
    client: Sftp,
    faulty: Faulty,
    path: &'a Path,
}

/// Plays `test` over a file system that fails, with a server that is free and with one in a jail.
fn each(test: impl Fn(&mut Scene<'_>) -> Result<()> + Sync) -> Result<()> {
    for jailed in [false, true] {
        let directory = public_dir()?;
        let path = directory.path();
        mounts::private("a file system that fails", || {
            let faulty = Faulty::mount(path)?;
            let options = SftpOptions::serving(path, jailed);
            let mut scene = Scene {
                client: Sftp::start(&options)?,
                faulty,
                path,
            };
            test(&mut scene).with_context(|| {
                let said = scene.client.process.lines();
                format!("in a jail: {jailed}; the server said {said:?}")
            })?;
            is_well(&mut scene.client)
        })?;
    }
    Ok(())
}

/// Names, sizes and link counts on the host.
fn tree(path: &Path) -> Result<BTreeMap<String, (u64, u64)>> {
    fs::read_dir(path)?
        .map(|entry| {
            let entry = entry?;
            let meta = entry.metadata()?;
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, (size, meta.nlink())))
        })
        .collect()
}

#[test]
fn every_failure_has_its_status() -> Result<()> {
    each(|scene| {
        let client = &mut scene.client;
        client.write_file("file", b"content")?;
        client.write_file("other", b"other")?;
        client.mkdir("directory", Attrs::mode(0o755))?;
        let handle = client.open_both("file")?;
        let other = client.open_both("other")?;
        let large = vec![b'l'; 200_000];
        let before = tree(scene.path)?;
        let (path, attrs) = (b"file".as_slice(), Attrs::default());
        let made = b"made".as_slice();
        let write = |data| Request::Write(&handle, 0, data);
        let open = |path, flags| Request::Open(path, flags, Attrs::default());
        let requests = [
            (Op::Write, write(b"data")),
            (Op::Write, write(&large)),
            (Op::Read, Request::Read(&handle, 0, 100)),
            (Op::Open, open(path, open::READ)),
            (Op::Create, open(made, open::WRITE | open::CREATE)),
            (
                Op::Create,
                open(made, open::WRITE | open::CREATE | open::EXCLUSIVE),
            ),
            (Op::SetAttr, open(path, open::WRITE | open::TRUNCATE)),
            (Op::SetAttr, Request::SetStat(path, Attrs::mode(0o600))),
            (Op::SetAttr, Request::SetStat(path, Attrs::times(1, 2))),
            (Op::SetAttr, Request::SetStat(path, Attrs::size(3))),
            (Op::SetAttr, Request::SetStat(path, Attrs::owner(7, 8))),
            (Op::SetAttr, Request::FSetStat(&handle, Attrs::size(3))),
            (Op::SetAttr, Request::FSetStat(&handle, Attrs::times(1, 2))),
            (Op::SetAttr, Request::LSetStat(path, Attrs::times(1, 2))),
            (Op::MkDir, Request::MkDir(made, attrs)),
            (Op::SymLink, Request::SymLink(b"file", made)),
            (Op::Link, Request::HardLink(path, made)),
            (Op::Unlink, Request::Remove(path)),
            (Op::RmDir, Request::RmDir(b"directory")),
            (Op::Rename, Request::PosixRename(path, made)),
            (Op::Rename, Request::PosixRename(path, b"other")),
            (Op::Sync, Request::FSync(&handle)),
            (Op::Read, Request::copy(&handle, &other)),
            (Op::Write, Request::copy(&handle, &other)),
            (
                Op::Read,
                Request::check("check-file-handle", &handle, b"md5"),
            ),
        ];
        for (op, request) in &requests {
            for (errno, expected, word) in ERRORS {
                scene.faulty.fail(*op, errno, ALWAYS);
                let text = fails(&mut scene.client, request, expected);
                scene.faulty.heal();
                let text = text.with_context(|| format!("{op:?} failed by {errno}"))?;
                ensure!(
                    scene.faulty.asked().contains(op),
                    "{op:?} was not asked for"
                );
                ensure!(
                    text.contains(word) && !text.is_empty(),
                    "of {errno} people are told '{text}'"
                );
                let now = tree(scene.path)?;
                ensure!(
                    now == before,
                    "{request:?} failed and changed {before:?} to {now:?}"
                );
            }
        }
        ensure!(fs::read(scene.path.join("file"))? == b"content");
        // Nothing of all that is remembered.
        for (_, request) in &requests[2..3] {
            let reply = scene.client.exchange(request)?;
            ensure!(reply == Reply::Data(b"content".into()), "{reply:?} later");
        }
        Ok(())
    })
}

#[test]
fn a_rename_that_fails_leaves_one_name() -> Result<()> {
    each(|scene| {
        scene.client.write_file("file", b"content")?;
        for ops in [
            &[Op::Rename][..],
            &[Op::Link],
            &[Op::Unlink],
            &[Op::Rename, Op::Link],
            &[Op::Rename, Op::Unlink],
        ] {
            for errno in [EIO, ENOSPC, EDQUOT, EROFS] {
                for op in ops {
                    scene.faulty.fail(*op, errno, ALWAYS);
                }
                let told = scene.client.told(&Request::Rename(b"file", b"made"))?;
                scene.faulty.heal();
                let names = tree(scene.path)?;
                match told {
                    // There is more than one way to do it.
                    None => {
                        ensure!(names.keys().eq(["made"]), "{ops:?}: {names:?}");
                        scene.client.rename("made", "file")?;
                    }
                    Some(Status::FAILURE) => {
                        ensure!(names.contains_key("file"), "{ops:?}: {names:?}")
                    }
                    other => {
                        anyhow::bail!("{ops:?} failed by {errno} and RENAME was answered {other:?}")
                    }
                }
                let _ = fs::remove_file(scene.path.join("made"));
                ensure!(fs::read(scene.path.join("file"))? == b"content");
            }
        }
        Ok(())
    })
}

#[test]
fn a_large_write_that_fails_midway_leaves_the_stream_whole() -> Result<()> {
    each(|scene| {
        let before = pattern(1, 0, 250_000);
        let data = pattern(2, 0, 250_000);
        for (errno, expected, _) in ERRORS {
            for skip in 0..4 {
                scene.client.write_file("file", &before)?;
                let handle = scene.client.open("file", open::WRITE, Attrs::default())?;
                let write = Request::Write(&handle, 0, &data);
                // What follows in the same breath is not taken for data, nor data for requests.
                let stat = Request::FStat(&handle);
                scene.faulty.fail_after(Op::Write, errno, skip, 1);
                let replies = scene.client.pipeline(&[write, stat])?;
                let failed = scene.faulty.heal();
                let status = replies[0].status();
                ensure!(
                    status == Some(if failed { expected } else { Status::OK }),
                    "{skip} went well, then {errno}: {status:?}"
                );
                ensure!(failed || skip > 1, "the file was written at once");
                ensure!(matches!(replies[1], Reply::Attrs(_)), "{:?}", replies[1]);
                scene.client.close(&handle)?;
                // What is there is old or new, and nothing else.
                let now = fs::read(scene.path.join("file"))?;
                let strange =
                    (0..before.len()).find(|&at| now[at] != before[at] && now[at] != data[at]);
                ensure!(
                    strange.is_none() && now.len() == before.len(),
                    "at {strange:?}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn a_large_read_that_fails_is_never_padded() -> Result<()> {
    each(|scene| {
        let data = pattern(3, 0, 600_000);
        scene.client.write_file("file", &data)?;
        for len in [10_u32, 4096, 32_768, 65_536] {
            let handle = scene.client.open_read("file")?;
            scene.faulty.fail(Op::Read, EIO, ALWAYS);
            let request = Request::Read(&handle, 0, len);
            let text = fails(&mut scene.client, &request, Status::FAILURE);
            scene.faulty.heal();
            text.with_context(|| format!("{len} bytes"))?;
            ensure!(
                scene.client.read(&handle, 5, len)?.as_deref() == data.get(5..5 + len as usize)
            );
            scene.client.close(&handle)?;
        }
        Ok(())
    })?;
    // Of more than that the length may have been promised before: then only the end of the session takes it back.
    for len in [65_537, 131_072, READ_MAX] {
        for skip in 0..3 {
            let directory = public_dir()?;
            let path = directory.path();
            mounts::private("a file system that fails", || {
                let faulty = Faulty::mount(path)?;
                let mut client = Sftp::start(&SftpOptions::at(path))?;
                let data = pattern(4, 0, 600_000);
                client.write_file("file", &data)?;
                let handle = client.open_read("file")?;
                faulty.fail_after(Op::Read, EIO, skip, ALWAYS);
                let request = Request::Read(&handle, 0, len);
                client.send(&request.packet(1))?;
                match client.receive() {
                    Ok(Some(message)) => match Reply::parse(&message)?.1 {
                        Reply::Data(read) => ensure!(
                            !read.is_empty() && read == data[..read.len()],
                            "{len} bytes: padded"
                        ),
                        reply => ensure!(reply.status() == Some(Status::FAILURE), "{reply:?}"),
                    },
                    // In the middle of a reply, or before it.
                    _ => {
                        let ended = client.wait()?;
                        ensure!(
                            matches!(ended.code(), Some(1 | 11)) && ended.lines.len() == 1,
                            "{ended:?}"
                        );
                    }
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}
