//! A FUSE file system with injected errors: each errno becomes its NFS status, and the server keeps running.

use super::{WRITABLE, create_file, fails, mounts, pattern};
use anyhow::{Context, Result, ensure};
use nix::libc::{EDQUOT, EFBIG, EIO, ENOSPC, EROFS, ETXTBSY};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::nfs::nfsstat3::{
    NFS3_OK, NFS3ERR_ACCES, NFS3ERR_DQUOT, NFS3ERR_FBIG, NFS3ERR_IO, NFS3ERR_NOSPC, NFS3ERR_ROFS,
};
use xtask::clients::nfs::stable_how::{DATA_SYNC, FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{Call, Client, How, Outcome, Set, nfsstat3, status_of};
use xtask::machines::faulty::{Faulty, Op};
use xtask::machines::server::{Server, ServerOptions, public_dir};

const ERRORS: [(i32, nfsstat3); 6] = [
    (EIO, NFS3ERR_IO),
    (ENOSPC, NFS3ERR_NOSPC),
    (EDQUOT, NFS3ERR_DQUOT),
    (EROFS, NFS3ERR_ROFS),
    (EFBIG, NFS3ERR_FBIG),
    (ETXTBSY, NFS3ERR_ACCES),
];

/// Number of failures to inject so that every call fails. A single failure might not reach the server, because a layer below the
/// server may retry a call.
const ALWAYS: usize = usize::MAX;

struct Scene<'a> {
    // Fields drop in this order: the server must have closed its files before the file system is unmounted.
    client: Client,
    server: Server,
    root: Vec<u8>,
    faulty: Faulty,
    path: &'a Path,
    /// The xid of the last call.
    xid: u32,
}

impl Scene<'_> {
    /// Sends a call with a new xid and returns its status. None if the server closed the connection, which is then replaced.
    fn status_of_new(&mut self, call: &Call<'_>) -> Result<Option<nfsstat3>> {
        self.xid += 1;
        self.status_of_retransmission(call)
    }

    /// Retransmits the last call with the same xid, and returns its status.
    fn status_of_retransmission(&mut self, call: &Call<'_>) -> Result<Option<nfsstat3>> {
        let message = call.message(self.xid, &self.client.auth);
        match self.client.exchange(&message)? {
            Some(Outcome::Success(results)) => status_of(results).map(Some),
            Some(other) => anyhow::bail!("{call:?} was answered {other:?}"),
            None => {
                self.client = self.server.connect()?;
                Ok(None)
            }
        }
    }
}

fn scene(test: impl FnOnce(&mut Scene<'_>) -> Result<()> + Send) -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    mounts::private("a file system that fails", || {
        let faulty = Faulty::mount(path)?;
        // The kernel's file handles of a FUSE file system do not last, because FUSE forgets its inodes.
        let options = ServerOptions {
            arguments: vec!["--handles".into(), "path".into()],
            ..ServerOptions::default()
        };
        let (server, client, root) = super::serve(path, WRITABLE, options)?;
        let mut scene = Scene {
            client,
            server,
            root,
            faulty,
            path,
            xid: 0x0fa_0175,
        };
        test(&mut scene).with_context(|| format!("the server said {:#?}", scene.server.lines()))?;
        ensure!(scene.server.is_alive()?, "the server ended");
        Ok(())
    })
}

/// Names, sizes and link counts on the host.
fn tree(path: &Path) -> Result<Vec<(String, u64, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let mut all = fs::read_dir(path)?
        .map(|entry| {
            let entry = entry?;
            let meta = entry.metadata()?;
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, size, meta.nlink()))
        })
        .collect::<Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}

#[test]
fn every_errno_becomes_its_nfs_status() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let (dir, path) = (&root[..], scene.path);
        let file = create_file(&mut scene.client, dir, "file", b"content")?;
        scene.client.mkdir(dir, "directory", Set::mode(0o755))?;
        create_file(&mut scene.client, dir, "other", b"other")?;
        let before = tree(path)?;
        let (set, name, target) = (Set::mode(0o600), b"new".as_slice(), b"target".as_slice());
        let calls = [
            (Op::SetAttr, Call::set_attr(&file, set, None)),
            (Op::SetAttr, Call::set_attr(&file, Set::size(3), None)),
            (Op::Write, Call::write(&file, 0, UNSTABLE, b"data")),
            (Op::Write, Call::write(&file, 0, FILE_SYNC, b"data")),
            (Op::Create, Call::create(dir, name, How::Guarded(set))),
            (Op::Create, Call::create(dir, name, How::Unchecked(set))),
            (Op::Create, Call::create(dir, name, How::Exclusive([5; 8]))),
            (Op::MkDir, Call::mkdir(dir, name, set)),
            (
                Op::SymLink,
                Call::symlink(dir, name, Set::default(), target),
            ),
            (Op::MkNod, Call::fifo(dir, name, set)),
            (Op::Unlink, Call::remove(dir, b"file")),
            (Op::RmDir, Call::rmdir(dir, b"directory")),
            (Op::Rename, Call::rename(dir, b"file", dir, name)),
            (Op::Rename, Call::rename(dir, b"file", dir, b"other")),
            (Op::Link, Call::link(&file, dir, name)),
        ];
        for (op, call) in &calls {
            for (errno, expected) in ERRORS {
                scene.faulty.fail(*op, errno, ALWAYS);
                let status = scene.client.status(call);
                scene.faulty.clear_faults();
                let status = status.with_context(|| format!("{op:?} of {call:?}"))?;
                ensure!(
                    status == expected,
                    "{op:?} failed by {errno} and {call:?} was answered {status:?}"
                );
                ensure!(
                    scene.faulty.take_operations().contains(op),
                    "{op:?} did not reach the file system"
                );
                ensure!(
                    tree(path)? == before,
                    "{call:?} failed and changed {before:?} to {:?}",
                    tree(path)?
                );
                ensure!(fs::read(path.join("file"))? == b"content");
            }
        }
        // The server remembers no failure: without faults, the first five calls succeed.
        for (_, call) in &calls[..5] {
            scene.client.expect_status(call, NFS3_OK)?;
        }
        Ok(())
    })
}

#[test]
fn failed_open_fails_the_write() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        create_file(&mut scene.client, &root, "file", b"content")?;
        let file = scene.client.lookup(&root, "file")?;
        // The server closes idle files after two seconds; until then a WRITE needs no open.
        sleep(Duration::from_millis(2500));
        for (errno, expected) in ERRORS {
            scene.faulty.fail(Op::Open, errno, ALWAYS);
            let wrote = scene.client.write(&file, 0, FILE_SYNC, b"data");
            scene.faulty.clear_faults();
            fails(wrote, &[expected], format!("open failed by {errno}"))?;
            ensure!(fs::read(scene.path.join("file"))? == b"content");
        }
        Ok(())
    })
}

#[test]
fn durable_changes_are_synced_before_the_reply() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let (dir, set) = (&root[..], Set::mode(0o600));
        let sub = scene.client.mkdir(dir, "sub", Set::mode(0o755))?;
        let file = scene.client.create(dir, "file", How::Guarded(set))?;
        let target = b"target".as_slice();
        let (file_sync, dir_sync) = (Some(Op::Sync), Some(Op::SyncDir));
        for (call, needed) in [
            (Call::write(&file, 0, UNSTABLE, b"data"), None),
            (Call::write(&file, 0, DATA_SYNC, b"data"), file_sync),
            (Call::write(&file, 0, FILE_SYNC, b"data"), file_sync),
            (Call::write(&file, 9, UNSTABLE, b"data"), None),
            (Call::commit(&file, 0, 0), file_sync),
            (Call::set_attr(&file, Set::size(2), None), file_sync),
            (Call::set_attr(&sub, Set::mode(0o700), None), dir_sync),
            (Call::create(dir, b"created", How::Guarded(set)), dir_sync),
            (
                Call::create(dir, b"exclusive", How::Exclusive([1; 8])),
                dir_sync,
            ),
            (Call::mkdir(dir, b"made", set), dir_sync),
            (
                Call::symlink(dir, b"link", Set::default(), target),
                dir_sync,
            ),
            (Call::fifo(dir, b"fifo", set), dir_sync),
            (Call::link(&file, &sub, b"second"), dir_sync),
            (Call::rename(dir, b"created", dir, b"renamed"), dir_sync),
            (Call::remove(dir, b"renamed"), dir_sync),
            (Call::rmdir(dir, b"made"), dir_sync),
        ] {
            scene.faulty.take_operations();
            scene.client.answer(&call)?.ok()?;
            let operations = scene.faulty.take_operations();
            let syncs = operations
                .iter()
                .filter(|op| matches!(op, Op::Sync | Op::SyncDir));
            match needed {
                Some(needed) => ensure!(
                    syncs.clone().any(|op| *op == needed),
                    "{call:?} was answered after {operations:?}"
                ),
                None => ensure!(syncs.count() == 0, "{call:?} did {operations:?}"),
            }
        }
        // RENAME between two directories syncs both.
        scene.faulty.take_operations();
        scene.client.rename(dir, "fifo", &sub, "fifo")?;
        let operations = scene.faulty.take_operations();
        let count = operations.iter().filter(|op| **op == Op::SyncDir).count();
        ensure!(
            count >= 2,
            "RENAME to another directory was answered after {operations:?}"
        );
        Ok(())
    })
}

#[test]
fn every_procedure_reports_a_failed_sync() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let (dir, set) = (&root[..], Set::mode(0o600));
        let file = create_file(&mut scene.client, dir, "file", b"content")?;
        for (errno, expected) in [
            (EIO, NFS3ERR_IO),
            (ENOSPC, NFS3ERR_NOSPC),
            (EDQUOT, NFS3ERR_DQUOT),
        ] {
            for (op, call) in [
                (Op::Sync, Call::write(&file, 0, DATA_SYNC, b"data")),
                (Op::Sync, Call::write(&file, 0, FILE_SYNC, b"data")),
                (Op::Sync, Call::set_attr(&file, set, None)),
                (
                    Op::SyncDir,
                    Call::create(dir, b"created", How::Unchecked(set)),
                ),
                (Op::SyncDir, Call::mkdir(dir, b"made", set)),
                (
                    Op::SyncDir,
                    Call::symlink(dir, b"link", Set::default(), b"target"),
                ),
                (Op::SyncDir, Call::fifo(dir, b"fifo", set)),
                (Op::SyncDir, Call::link(&file, dir, b"second")),
                (Op::SyncDir, Call::rename(dir, b"file", dir, b"renamed")),
                (Op::SyncDir, Call::remove(dir, b"removed")),
            ] {
                // Restores the tree as it was before the previous call.
                for name in ["created", "link", "fifo", "second"] {
                    let _ = scene.client.remove(dir, name);
                }
                let _ = scene.client.rmdir(dir, "made");
                let _ = scene.client.rename(dir, "renamed", dir, "file");
                let _ = scene.client.create(dir, "removed", How::Unchecked(set));
                scene.faulty.fail(op, errno, 1);
                let status = scene.status_of_new(&call)?;
                ensure!(scene.faulty.clear_faults(), "{call:?} did not sync");
                ensure!(
                    status == Some(expected),
                    "the sync failed by {errno} and {call:?} was answered {status:?}"
                );
                // A WRITE is carried out again; any other call is answered from the duplicate request cache.
                let second = scene.status_of_retransmission(&call)?;
                let is_write = format!("{call:?}").contains("(100003, 3, 7)");
                ensure!(
                    is_write || second == Some(expected),
                    "{call:?} was answered {second:?} on retransmission"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn create_of_existing_file_syncs_its_directory() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        // A file that the host made, and a file whose creation could not be synced: neither is known to be durable.
        fs::write(scene.path.join("found"), "content")?;
        let found = Call::create(&root, b"found", How::Unchecked(Set::default()));
        let made = Call::create(&root, b"made", How::Exclusive([6; 8]));
        scene.faulty.fail(Op::SyncDir, EIO, 1);
        let status = scene.status_of_new(&made)?;
        ensure!(scene.faulty.clear_faults() && status != Some(NFS3_OK));
        for call in [found, made] {
            scene.faulty.take_operations();
            let status = scene.status_of_new(&call)?;
            ensure!(status == Some(NFS3_OK), "{call:?}: {status:?}");
            let operations = scene.faulty.take_operations();
            ensure!(
                operations.contains(&Op::SyncDir),
                "{call:?} was acknowledged after {operations:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn partly_failed_write_reports_its_count() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let file = create_file(&mut scene.client, &root, "file", &pattern(1, 0, 1 << 20))?;
        let (before, data) = (pattern(1, 0, 1 << 20), pattern(2, 0, 1 << 20));
        for (errno, expected) in ERRORS {
            for stable in [UNSTABLE, FILE_SYNC] {
                scene
                    .client
                    .write_all(&file, 0, FILE_SYNC, &before, 1 << 20)?;
                // The kernel splits a large write into several FUSE requests; the second half of them fails.
                scene.faulty.take_operations();
                let part = scene.client.write(&file, 0, stable, &data)?;
                ensure!(part.count == 1 << 20);
                let parts = scene
                    .faulty
                    .take_operations()
                    .iter()
                    .filter(|op| **op == Op::Write)
                    .count();
                scene
                    .client
                    .write_all(&file, 0, FILE_SYNC, &before, 1 << 20)?;
                ensure!(parts > 1, "FUSE got the WRITE of 1 MiB in one request");
                scene.faulty.fail_after(Op::Write, errno, parts / 2, ALWAYS);
                let wrote = scene.client.write(&file, 0, stable, &data);
                scene.faulty.clear_faults();
                let count = match wrote {
                    Ok(wrote) => wrote.count as usize,
                    Err(e) => {
                        fails::<()>(Err(e), &[expected], "WRITE")?;
                        0
                    }
                };
                ensure!(count < data.len(), "a failed WRITE reported the full count");
                let now = fs::read(scene.path.join("file"))?;
                ensure!(
                    now[..count] == data[..count],
                    "{count} bytes were acknowledged but are not in the file"
                );
                let wrong = (count..now.len())
                    .find(|&index| now[index] != before[index] && now[index] != data[index]);
                ensure!(
                    wrong.is_none(),
                    "the byte at {wrong:?} is neither the old nor the new one"
                );
            }
        }
        Ok(())
    })
}
