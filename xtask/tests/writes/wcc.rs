//! The attributes that come with every answer to a change: before as it was, after as the host says it is.

use super::calls::{commit, create, fifo, link, mkdir, remove, rename, rmdir, set_attr, symlink};
use super::{Scene, is_as_on_the_host};
use anyhow::{Context, Result, ensure};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::nfs::{Before, Change, How, Nfs, Set, SetTime, Stable, Status, Wcc};

/// What the protocol tells of a file as it was.
fn before(meta: &Metadata) -> Before {
    Before {
        size: meta.size(),
        mtime: (meta.mtime() as u32, meta.mtime_nsec() as u32),
        ctime: (meta.ctime() as u32, meta.ctime_nsec() as u32),
    }
}

/// `wcc` tells of `path` as it was and as it is.
fn is_true(wcc: &Wcc, was: &Metadata, path: &Path) -> Result<()> {
    let path_name = path.display();
    ensure!(
        wcc.before == Some(before(was)),
        "{path_name} was {:?} and not {:?}",
        before(was),
        wcc.before
    );
    let after = wcc
        .after
        .with_context(|| format!("no attributes of {path_name} after it"))?;
    is_as_on_the_host(&after, path)
}

/// Carries out a call and compares what it tells of its file or directory, and of the second directory of a RENAME.
fn check(
    scene: &mut Scene,
    call: &Nfs<'_>,
    on: &Path,
    to: Option<&Path>,
    expected: Status,
) -> Result<Change<()>> {
    // So that a change shows in the times.
    sleep(Duration::from_millis(12));
    let was = fs::symlink_metadata(on)?;
    let to_was = to.map(fs::symlink_metadata).transpose()?;
    let change = scene.client.change(call)?;
    let told = || {
        ensure!(
            change.status() == expected,
            "answered {:?}",
            change.status()
        );
        is_true(&change.wcc, &was, on)?;
        if let (Some(to), Some(was)) = (to, &to_was) {
            is_true(&change.to.context("one directory only")?, was, to)?;
        }
        Ok(())
    };
    told().with_context(|| format!("{call:?}"))?;
    Ok(change)
}

#[test]
fn every_answer_tells_before_and_after() -> Result<()> {
    Scene::each(|scene| {
        let root = scene.root.clone();
        let dir = scene.client.mkdir(&root, "dir", Set::mode(0o755))?;
        let sub = scene.client.mkdir(&root, "sub", Set::mode(0o755))?;
        let file = super::make(&mut scene.client, &dir, "file", b"content")?;
        let (dir_path, sub_path) = (scene.path("dir"), scene.path("sub"));
        let file_path = dir_path.join("file");
        let set = Set::mode(0o640);
        let large = super::pattern(3, 0, 200_000);

        let on_file = [
            set_attr(&file, set),
            set_attr(
                &file,
                Set {
                    size: Some(3),
                    mtime: SetTime::Client(5, 5),
                    ..Set::default()
                },
            ),
            Nfs::write(&file, 0, Stable::UNSTABLE, b"four"),
            Nfs::write(&file, 2, Stable::DATA_SYNC, b"four"),
            Nfs::write(&file, 9, Stable::FILE_SYNC, &large),
            Nfs::write(&file, 9, Stable::FILE_SYNC, b""),
            commit(&file),
        ];
        for call in on_file {
            check(scene, &call, &file_path, None, Status::OK)?;
        }
        let guarded = Nfs::SetAttr {
            object: &file,
            set,
            guard: Some((1, 1)),
        };
        check(scene, &guarded, &file_path, None, Status::NOT_SYNC)?;
        let far = Nfs::write(&file, u64::MAX - 8, Stable::UNSTABLE, b"four");
        check(scene, &far, &file_path, None, Status::FBIG)?;

        // Each twice: the second time the name is there already, or is gone.
        let (dir, sub) = (&dir[..], &sub[..]);
        let target = b"target".as_slice();
        for (call, again) in [
            (create(dir, b"new", How::Guarded(set)), Status::EXIST),
            (create(dir, b"unchecked", How::Unchecked(set)), Status::OK),
            (
                create(dir, b"exclusive", How::Exclusive([3; 8])),
                Status::OK,
            ),
            (mkdir(dir, b"made", set), Status::EXIST),
            (symlink(dir, b"link", target), Status::EXIST),
            (fifo(dir, b"fifo", set), Status::EXIST),
            (remove(dir, b"unchecked"), Status::NOENT),
            (rmdir(dir, b"made"), Status::NOENT),
            (rmdir(dir, b"link"), Status::NOTDIR),
        ] {
            if again != Status::NOTDIR {
                check(scene, &call, &dir_path, None, Status::OK)?;
            }
            check(scene, &call, &dir_path, None, again)?;
        }

        let link = link(&file, sub, b"second");
        for expected in [Status::OK, Status::EXIST] {
            let change = check(scene, &link, &sub_path, None, expected)?;
            let attr = change.file.context("LINK tells nothing of the file")?;
            is_as_on_the_host(&attr, &file_path)?;
        }
        let within = rename(dir, b"new", dir, b"newer");
        let across = rename(dir, b"newer", sub, b"newest");
        let onto_another = rename(dir, b"fifo", sub, b"newest");
        for (call, to) in [
            (within, &dir_path),
            (across, &sub_path),
            (onto_another, &sub_path),
        ] {
            check(scene, &call, &dir_path, Some(to), Status::OK)?;
            check(scene, &call, &dir_path, Some(to), Status::NOENT)?;
        }
        Ok(())
    })
}

#[test]
fn what_is_made_is_told_with_its_attributes() -> Result<()> {
    Scene::each(|scene| {
        let root = scene.root.clone();
        let (dir, set) = (&root[..], Set::mode(0o640));
        let target = b"target".as_slice();
        for (name, call) in [
            ("file", create(dir, b"file", How::Guarded(set))),
            (
                "exclusive",
                create(dir, b"exclusive", How::Exclusive([9; 8])),
            ),
            ("directory", mkdir(dir, b"directory", set)),
            ("link", symlink(dir, b"link", target)),
            ("fifo", fifo(dir, b"fifo", set)),
        ] {
            let made =
                xtask::clients::nfs::changes::made(scene.client.call(&call)?)?.into_result()?;
            let attr = made
                .attr
                .with_context(|| format!("{name} without attributes"))?;
            is_as_on_the_host(&attr, &scene.path(name)).with_context(|| name.to_owned())?;
            let handle = made
                .handle
                .with_context(|| format!("{name} without handle"))?;
            ensure!(
                scene.client.lookup(&root, name)? == handle,
                "LOOKUP finds another handle of {name}"
            );
        }
        Ok(())
    })
}
