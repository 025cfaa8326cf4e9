//! A FUSE file system with injected errors: each errno becomes its status, and the session continues.

use super::{check_alive, fails, pattern};
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

/// An errno, its status, and a word that the status's text must contain where the code alone is ambiguous.
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
    // Fields drop in this order: the server must have closed its files before the file system is unmounted.
    client: Sftp,
    faulty: Faulty,
    path: &'a Path,
}

/// Runs `test` on a file system with injected errors, without and with a jail.
fn for_each_faulty(test: impl Fn(&mut Scene<'_>) -> Result<()> + Sync) -> Result<()> {
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
                let lines = scene.client.process.lines();
                format!("in a jail: {jailed}; the server said {lines:?}")
            })?;
            check_alive(&mut scene.client)
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
fn every_errno_becomes_its_sftp_status() -> Result<()> {
    for_each_faulty(|scene| {
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
                scene.faulty.clear_faults();
                let text = text.with_context(|| format!("{op:?} failed by {errno}"))?;
                ensure!(
                    scene.faulty.take_operations().contains(op),
                    "{op:?} did not reach the file system"
                );
                ensure!(
                    text.contains(word) && !text.is_empty(),
                    "the text for errno {errno} is '{text}'"
                );
                let now = tree(scene.path)?;
                ensure!(
                    now == before,
                    "{request:?} failed and changed {before:?} to {now:?}"
                );
            }
        }
        ensure!(fs::read(scene.path.join("file"))? == b"content");
        // The server remembers no failure: without faults, a READ succeeds.
        for (_, request) in &requests[2..3] {
            let reply = scene.client.exchange(request)?;
            ensure!(
                reply == Reply::Data(b"content".into()),
                "{reply:?} after the failures ended"
            );
        }
        Ok(())
    })
}

#[test]
fn failed_rename_keeps_one_name() -> Result<()> {
    for_each_faulty(|scene| {
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
                let status = scene
                    .client
                    .error_status(&Request::Rename(b"file", b"made"))?;
                scene.faulty.clear_faults();
                let names = tree(scene.path)?;
                match status {
                    // RENAME succeeded: the server used a system call without a fault, e.g. renameat2 if only link or unlink fails.
                    None => {
                        ensure!(names.keys().eq(["made"]), "{ops:?}: {names:?}");
                        scene.client.rename("made", "file")?;
                    }
                    Some(Status::FAILURE) => {
                        ensure!(names.contains_key("file"), "{ops:?}: {names:?}")
                    }
                    status => {
                        anyhow::bail!(
                            "{ops:?} failed by {errno} and RENAME was answered {status:?}"
                        )
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
fn failed_large_write_keeps_the_stream_in_sync() -> Result<()> {
    for_each_faulty(|scene| {
        let before = pattern(1, 0, 250_000);
        let data = pattern(2, 0, 250_000);
        for (errno, expected, _) in ERRORS {
            for skip in 0..4 {
                scene.client.write_file("file", &before)?;
                let handle = scene.client.open("file", open::WRITE, Attrs::default())?;
                let write = Request::Write(&handle, 0, &data);
                // The WRITE and an FSTAT in one segment: the server must not parse data as requests, nor requests as data.
                let stat = Request::FStat(&handle);
                scene.faulty.fail_after(Op::Write, errno, skip, 1);
                let replies = scene.client.pipeline(&[write, stat])?;
                let failed = scene.faulty.clear_faults();
                let status = replies[0].status();
                ensure!(
                    status == Some(if failed { expected } else { Status::OK }),
                    "{errno} after {skip} writes: {status:?}"
                );
                ensure!(
                    failed || skip > 1,
                    "the WRITE needed no further write to the file"
                );
                ensure!(matches!(replies[1], Reply::Attrs(_)), "{:?}", replies[1]);
                scene.client.close(&handle)?;
                // Each byte of the file is the old or the new one.
                let now = fs::read(scene.path.join("file"))?;
                let wrong = (0..before.len())
                    .find(|&index| now[index] != before[index] && now[index] != data[index]);
                ensure!(
                    wrong.is_none() && now.len() == before.len(),
                    "the byte at {wrong:?} is neither the old nor the new one"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn failed_large_read_is_never_padded() -> Result<()> {
    for_each_faulty(|scene| {
        let data = pattern(3, 0, 600_000);
        scene.client.write_file("file", &data)?;
        for len in [10_u32, 4096, 32_768, 65_536] {
            let handle = scene.client.open_read("file")?;
            scene.faulty.fail(Op::Read, EIO, ALWAYS);
            let request = Request::Read(&handle, 0, len);
            let text = fails(&mut scene.client, &request, Status::FAILURE);
            scene.faulty.clear_faults();
            text.with_context(|| format!("{len} bytes"))?;
            ensure!(
                scene.client.read(&handle, 5, len)?.as_deref() == data.get(5..5 + len as usize)
            );
            scene.client.close(&handle)?;
        }
        Ok(())
    })?;
    // The reply to a longer READ is FAILURE or the bytes before the error. A server that sends the length before it reads the data
    // can only end the session; the test accepts that too.
    for len in [65_537, 131_072, READ_MAX] {
        for skip in 0..3 {
            let directory = public_dir()?;
            let path = directory.path();
            mounts::private("a file system that fails", || {
                let faulty = Faulty::mount(path)?;
                let mut client = Sftp::start(&SftpOptions::in_directory(path))?;
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
                            "READ of {len} bytes returned other bytes than the file has"
                        ),
                        reply => ensure!(reply.status() == Some(Status::FAILURE), "{reply:?}"),
                    },
                    // The session ended, before or within the reply.
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
