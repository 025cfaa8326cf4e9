//! A file system that fails where it is told: each failure becomes the status of its name, and the server lives on.

use super::{WRITABLE, fails, make, mounts, pattern};
use anyhow::{Context, Result, ensure};
use nix::libc::{EDQUOT, EFBIG, EIO, ENOSPC, EROFS, ETXTBSY};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::nfs::{
    Call, Client, How, Outcome, Set, nfsstat3, outcome, record, stable_how, status_of,
};
use xtask::machines::faulty::{Faulty, Op};
use xtask::machines::server::{Server, ServerOptions, public_dir};

const ERRORS: [(i32, nfsstat3); 6] = [
    (EIO, nfsstat3::NFS3ERR_IO),
    (ENOSPC, nfsstat3::NFS3ERR_NOSPC),
    (EDQUOT, nfsstat3::NFS3ERR_DQUOT),
    (EROFS, nfsstat3::NFS3ERR_ROFS),
    (EFBIG, nfsstat3::NFS3ERR_FBIG),
    (ETXTBSY, nfsstat3::NFS3ERR_ACCES),
];

/// Failing once may be tried again by somebody on the way; failing on does not help.
const ALWAYS: usize = usize::MAX;

/// WRITEs that are sent together.
const TOGETHER: u32 = 32;

struct Scene<'a> {
    // In this order: nobody may have a file open when it is unmounted.
    client: Client,
    server: Server,
    root: Vec<u8>,
    faulty: Faulty,
    path: &'a Path,
    /// The xid of the last call.
    xid: u32,
}

impl Scene<'_> {
    /// The status that a call is answered with; None when the connection is closed instead, and replaced by a new one.
    fn told(&mut self, call: &Call<'_>) -> Result<Option<nfsstat3>> {
        self.xid += 1;
        self.told_again(call)
    }

    /// The status of the last call, sent again with the same xid.
    fn told_again(&mut self, call: &Call<'_>) -> Result<Option<nfsstat3>> {
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
        // FUSE forgets its inodes: what the kernel would give as handles does not last.
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
fn every_failure_has_its_name() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let (dir, path) = (&root[..], scene.path);
        let file = make(&mut scene.client, dir, "file", b"content")?;
        scene.client.mkdir(dir, "directory", Set::mode(0o755))?;
        make(&mut scene.client, dir, "other", b"other")?;
        let before = tree(path)?;
        let (set, name, target) = (Set::mode(0o600), b"new".as_slice(), b"target".as_slice());
        let calls = [
            (Op::SetAttr, Call::set_attr(&file, set, None)),
            (Op::SetAttr, Call::set_attr(&file, Set::size(3), None)),
            (
                Op::Write,
                Call::write(&file, 0, stable_how::UNSTABLE, b"data"),
            ),
            (
                Op::Write,
                Call::write(&file, 0, stable_how::FILE_SYNC, b"data"),
            ),
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
                scene.faulty.heal();
                let status = status.with_context(|| format!("{op:?} of {call:?}"))?;
                ensure!(
                    status == expected,
                    "{op:?} failed by {errno} and {call:?} was answered {status:?}"
                );
                ensure!(
                    scene.faulty.asked().contains(op),
                    "{op:?} was not asked for"
                );
                ensure!(
                    tree(path)? == before,
                    "{call:?} failed and changed {before:?} to {:?}",
                    tree(path)?
                );
                ensure!(fs::read(path.join("file"))? == b"content");
            }
        }
        // Nothing of all that is remembered: the same calls go through, in an order that lets them.
        for (_, call) in &calls[..5] {
            let status = scene.client.status(call)?;
            ensure!(
                status == nfsstat3::NFS3_OK,
                "{call:?} was answered {status:?} later"
            );
        }
        Ok(())
    })
}

#[test]
fn a_file_that_cannot_be_opened_is_not_written() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        make(&mut scene.client, &root, "file", b"content")?;
        let file = scene.client.lookup(&root, "file")?;
        // What is open from before is closed soon; until then it needs no opening.
        sleep(Duration::from_millis(2500));
        for (errno, expected) in ERRORS {
            scene.faulty.fail(Op::Open, errno, ALWAYS);
            let wrote = scene.client.write(&file, 0, stable_how::FILE_SYNC, b"data");
            scene.faulty.heal();
            fails(wrote, &[expected], format!("open failed by {errno}"))?;
            ensure!(fs::read(scene.path.join("file"))? == b"content");
        }
        Ok(())
    })
}

#[test]
fn what_must_be_on_disk_is_synced_before_the_answer() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let (dir, set) = (&root[..], Set::mode(0o600));
        let sub = scene.client.mkdir(dir, "sub", Set::mode(0o755))?;
        let file = scene.client.create(dir, "file", How::Guarded(set))?;
        let target = b"target".as_slice();
        for (call, needed) in [
            (Call::write(&file, 0, stable_how::UNSTABLE, b"data"), None),
            (
                Call::write(&file, 0, stable_how::DATA_SYNC, b"data"),
                Some(Op::Sync),
            ),
            (
                Call::write(&file, 0, stable_how::FILE_SYNC, b"data"),
                Some(Op::Sync),
            ),
            (Call::write(&file, 9, stable_how::UNSTABLE, b"data"), None),
            (Call::commit(&file, 0, 0), Some(Op::Sync)),
            (Call::set_attr(&file, Set::size(2), None), Some(Op::Sync)),
            (
                Call::set_attr(&sub, Set::mode(0o700), None),
                Some(Op::SyncDir),
            ),
            (
                Call::create(dir, b"created", How::Guarded(set)),
                Some(Op::SyncDir),
            ),
            (
                Call::create(dir, b"exclusive", How::Exclusive([1; 8])),
                Some(Op::SyncDir),
            ),
            (Call::mkdir(dir, b"made", set), Some(Op::SyncDir)),
            (
                Call::symlink(dir, b"link", Set::default(), target),
                Some(Op::SyncDir),
            ),
            (Call::fifo(dir, b"fifo", set), Some(Op::SyncDir)),
            (Call::link(&file, &sub, b"second"), Some(Op::SyncDir)),
            (
                Call::rename(dir, b"created", dir, b"renamed"),
                Some(Op::SyncDir),
            ),
            (Call::remove(dir, b"renamed"), Some(Op::SyncDir)),
            (Call::rmdir(dir, b"made"), Some(Op::SyncDir)),
        ] {
            scene.faulty.asked();
            scene.client.answer(&call)?.ok()?;
            let asked = scene.faulty.asked();
            let syncs = asked
                .iter()
                .filter(|op| matches!(op, Op::Sync | Op::SyncDir));
            match needed {
                Some(needed) => ensure!(
                    syncs.clone().any(|op| *op == needed),
                    "{call:?} was answered after {asked:?}"
                ),
                None => ensure!(syncs.count() == 0, "{call:?} did {asked:?}"),
            }
        }
        // Two directories change, and both are on disk.
        scene.faulty.asked();
        scene.client.rename(dir, "fifo", &sub, "fifo")?;
        let asked = scene.faulty.asked();
        let count = asked.iter().filter(|op| **op == Op::SyncDir).count();
        ensure!(
            count >= 2,
            "RENAME to another directory was answered after {asked:?}"
        );
        Ok(())
    })
}

#[test]
fn every_procedure_reports_a_failed_sync() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let (dir, set) = (&root[..], Set::mode(0o600));
        let file = make(&mut scene.client, dir, "file", b"content")?;
        for (errno, expected) in [
            (EIO, nfsstat3::NFS3ERR_IO),
            (ENOSPC, nfsstat3::NFS3ERR_NOSPC),
            (EDQUOT, nfsstat3::NFS3ERR_DQUOT),
        ] {
            for (op, call) in [
                (
                    Op::Sync,
                    Call::write(&file, 0, stable_how::DATA_SYNC, b"data"),
                ),
                (
                    Op::Sync,
                    Call::write(&file, 0, stable_how::FILE_SYNC, b"data"),
                ),
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
                // Each finds the tree as it was, whatever the one before left.
                for name in ["created", "link", "fifo", "second"] {
                    let _ = scene.client.remove(dir, name);
                }
                let _ = scene.client.rmdir(dir, "made");
                let _ = scene.client.rename(dir, "renamed", dir, "file");
                let _ = scene.client.create(dir, "removed", How::Unchecked(set));
                scene.faulty.fail(op, errno, 1);
                let status = scene.told(&call)?;
                ensure!(scene.faulty.heal(), "{call:?} was not synced");
                ensure!(
                    status == Some(expected),
                    "to sync failed by {errno} and {call:?} was answered {status:?}"
                );
                // A WRITE is done once more, anything else is answered by the duplicate request cache.
                let again = scene.told_again(&call)?;
                let is_write = format!("{call:?}").contains("(100003, 3, 7)");
                ensure!(
                    is_write || again == Some(expected),
                    "{call:?} was answered {again:?} the second time"
                );
            }
        }
        Ok(())
    })
}

/// Sends as many WRITEs in one piece, each of which must be on disk before it is answered; what each was told, or that the
/// connection ended.
fn burst(scene: &mut Scene<'_>, file: &[u8]) -> Result<Vec<Option<nfsstat3>>> {
    let auth = scene.client.auth.clone();
    let calls = (0..TOGETHER).map(|at| {
        let call = Call::write(file, u64::from(at) * 512, stable_how::FILE_SYNC, &[7; 512]);
        record(&call.message(at, &auth))
    });
    scene.client.send(&calls.collect::<Vec<_>>().concat())?;
    let mut told = Vec::new();
    for at in 0..TOGETHER {
        let Some(reply) = scene.client.receive()? else {
            scene.client = scene.server.connect()?;
            told.push(None);
            break;
        };
        let (xid, outcome) = outcome(reply)?;
        let Outcome::Success(results) = outcome else {
            anyhow::bail!("WRITE {at} was answered {outcome:?}")
        };
        ensure!(xid == at, "WRITE {at} was answered as {xid}");
        told.push(Some(status_of(results)?));
    }
    Ok(told)
}

#[test]
fn writes_that_come_together_share_a_sync() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let file = make(&mut scene.client, &root, "file", b"content")?;
        let all_are = |told: &[Option<nfsstat3>], status| {
            told.len() == TOGETHER as usize && told.iter().all(|one| *one == Some(status))
        };
        scene.faulty.asked();
        let told = burst(scene, &file)?;
        ensure!(all_are(&told, nfsstat3::NFS3_OK), "{told:?}");
        let asked = scene.faulty.asked();
        let count = |wanted| asked.iter().filter(|op| **op == wanted).count();
        ensure!(count(Op::Write) >= TOGETHER as usize);
        let syncs = count(Op::Sync);
        // The first may have been alone, and one may have been cut in two.
        ensure!(
            (1..=4).contains(&syncs),
            "{TOGETHER} WRITEs took {syncs} syncs"
        );
        for (errno, expected) in [
            (EIO, nfsstat3::NFS3ERR_IO),
            (ENOSPC, nfsstat3::NFS3ERR_NOSPC),
        ] {
            // WRITEs that share a sync fail together, later ones each by a sync of their own.
            scene.faulty.fail(Op::Sync, errno, ALWAYS);
            let told = burst(scene, &file)?;
            ensure!(all_are(&told, expected), "{told:?}");
            let told = burst(scene, &file)?;
            ensure!(all_are(&told, expected), "{told:?}");
            scene.faulty.heal();
            for _ in 0..2 {
                let told = burst(scene, &file)?;
                ensure!(all_are(&told, nfsstat3::NFS3_OK), "{told:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_file_that_create_finds_is_on_disk_like_one_that_it_makes() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        // One that the host made, and one whose making could not be synced: neither is known to be on disk.
        fs::write(scene.path.join("found"), "content")?;
        let found = Call::create(&root, b"found", How::Unchecked(Set::default()));
        let made = Call::create(&root, b"made", How::Exclusive([6; 8]));
        scene.faulty.fail(Op::SyncDir, EIO, 1);
        let status = scene.told(&made)?;
        ensure!(scene.faulty.heal() && status != Some(nfsstat3::NFS3_OK));
        for call in [found, made] {
            scene.faulty.asked();
            let status = scene.told(&call)?;
            ensure!(status == Some(nfsstat3::NFS3_OK), "{call:?}: {status:?}");
            let asked = scene.faulty.asked();
            ensure!(
                asked.contains(&Op::SyncDir),
                "{call:?} was acknowledged after {asked:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_commit_that_fails_changes_the_verifier() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let file = make(&mut scene.client, &root, "file", b"")?;
        let other = make(&mut scene.client, &root, "other", b"")?;
        let data = pattern(1, 0, 300_000);
        let mut seen = Vec::new();
        for errno in [EIO, ENOSPC, EDQUOT] {
            let client = &mut scene.client;
            let mut peer = scene.server.connect()?;
            let first = client.write_all(&file, 0, stable_how::UNSTABLE, &data, 65_536)?;
            // One that is stable says the same, and so does a COMMIT of another file.
            let wrote = client.write(&other, 0, stable_how::FILE_SYNC, b"other")?;
            ensure!(wrote.verifier == first && peer.commit(&other, 0, 0)? == first);
            scene.faulty.fail(Op::Sync, errno, 1);
            let committed = client.commit(&file, 0, 0);
            ensure!(scene.faulty.heal(), "COMMIT did not sync");
            let expected = ERRORS.iter().find(|e| e.0 == errno).context("no status")?.1;
            fails(committed, &[expected], "COMMIT")?;
            // Somebody else who wrote unstably may have lost it, too: all see another verifier.
            for now in [
                client.commit(&file, 0, 0)?,
                client
                    .write(&file, 0, stable_how::UNSTABLE, &data[..10])?
                    .verifier,
                peer.commit(&other, 0, 0)?,
                peer.write(&other, 0, stable_how::UNSTABLE, b"o")?.verifier,
            ] {
                ensure!(now != first, "the verifier is the same after {errno}");
            }
            // As a client does then: all of it once more, and this time it is safe.
            let again = client.write_all(&file, 0, stable_how::UNSTABLE, &data, 65_536)?;
            ensure!(client.commit(&file, 0, 0)? == again);
            ensure!(fs::read(scene.path.join("file"))? == data);
            ensure!(!seen.contains(&first), "a verifier came back");
            seen.push(first);
            ensure!(!seen.contains(&again));
        }
        // Nor is a stable WRITE that could not be synced the end of it.
        let first = scene
            .client
            .write(&file, 0, stable_how::UNSTABLE, b"a")?
            .verifier;
        scene.faulty.fail(Op::Sync, EIO, 1);
        let wrote = scene.client.write(&file, 0, stable_how::FILE_SYNC, b"b");
        fails(wrote, &[nfsstat3::NFS3ERR_IO], "WRITE")?;
        let now = scene
            .client
            .write(&file, 0, stable_how::UNSTABLE, b"a")?
            .verifier;
        ensure!(now != first, "the verifier is the same");
        ensure!(scene.client.commit(&file, 0, 0)? == now);
        Ok(())
    })
}

#[test]
fn a_write_that_fails_midway_says_how_far_it_came() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let file = make(&mut scene.client, &root, "file", &pattern(1, 0, 1 << 20))?;
        let (before, data) = (pattern(1, 0, 1 << 20), pattern(2, 0, 1 << 20));
        for (errno, expected) in ERRORS {
            for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
                scene
                    .client
                    .write_all(&file, 0, stable_how::FILE_SYNC, &before, 1 << 20)?;
                // The kernel asks for a part of a large write at a time; the second part fails.
                scene.faulty.asked();
                let part = scene.client.write(&file, 0, stable, &data)?;
                ensure!(part.count == 1 << 20);
                let parts = scene
                    .faulty
                    .asked()
                    .iter()
                    .filter(|op| **op == Op::Write)
                    .count();
                scene
                    .client
                    .write_all(&file, 0, stable_how::FILE_SYNC, &before, 1 << 20)?;
                ensure!(parts > 1, "one write of a mebibyte");
                scene.faulty.fail_after(Op::Write, errno, parts / 2, ALWAYS);
                let wrote = scene.client.write(&file, 0, stable, &data);
                scene.faulty.heal();
                let count = match wrote {
                    Ok(wrote) => wrote.count as usize,
                    Err(e) => {
                        fails::<()>(Err(e), &[expected], "WRITE")?;
                        0
                    }
                };
                ensure!(count < data.len(), "all of it");
                let now = fs::read(scene.path.join("file"))?;
                ensure!(
                    now[..count] == data[..count],
                    "{count} bytes were acknowledged"
                );
                let strange =
                    (count..now.len()).find(|&at| now[at] != before[at] && now[at] != data[at]);
                ensure!(strange.is_none(), "another byte at {strange:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn reading_fails_honestly_too() -> Result<()> {
    scene(|scene| {
        let root = scene.root.clone();
        let data = pattern(1, 0, 200_000);
        let file = make(&mut scene.client, &root, "file", &data)?;
        for count in [10, 8192, 65_536, 200_000] {
            scene.faulty.fail(Op::Read, EIO, ALWAYS);
            let mut client = scene.server.connect()?;
            // A READ whose head was sent already can only be given up, with its connection.
            let read = client.read(&file, 0, count).map(|(data, _)| data.to_vec());
            scene.faulty.heal();
            ensure!(read.is_err(), "{count} bytes were read that cannot be");
        }
        let read = scene.client.read(&file, 0, 200_000)?.0.to_vec();
        ensure!(!read.is_empty() && read == data[..read.len()]);
        Ok(())
    })
}
