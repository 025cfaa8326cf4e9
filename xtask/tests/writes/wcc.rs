//! Weak cache consistency data: every reply to a change has the attributes before it, and those that the host has after it.

use super::{Scene, is_as_on_the_host};
use anyhow::{Context, Result, ensure};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::nfs::nfs3::wcc_attr;
use xtask::clients::nfs::{Body, Call, How, Set, SetTime, nfsstat3, stable_how, time, words};

/// The attributes before a change as WCC data encodes them.
fn encode_wcc_attr(meta: &Metadata) -> Vec<u32> {
    words(&wcc_attr {
        size: meta.size(),
        mtime: time((meta.mtime() as u32, meta.mtime_nsec() as u32)),
        ctime: time((meta.ctime() as u32, meta.ctime_nsec() as u32)),
    })
}

/// Carries out a call and checks the WCC data of its file or directory, and of the second directory of a RENAME.
fn check(
    scene: &mut Scene,
    call: &Call<'_>,
    on: &Path,
    to: Option<&Path>,
    expected: nfsstat3,
) -> Result<Body> {
    // Lets the file system's clock advance, so that the change gives the file new times.
    sleep(Duration::from_millis(12));
    let paths: Vec<&Path> = [on].into_iter().chain(to).collect();
    let old: Vec<Metadata> = paths
        .iter()
        .map(fs::symlink_metadata)
        .collect::<Result<_, _>>()?;
    let body = scene.client.answer(call)?;
    let compare = || {
        ensure!(body.status()? == expected, "answered {:?}", body.status());
        ensure!(
            body.before.len() == paths.len(),
            "the reply has WCC data of {} objects",
            body.before.len()
        );
        let first = body.attributes.len() - paths.len();
        for (index, (path, old)) in paths.iter().zip(&old).enumerate() {
            ensure!(
                body.before[index].is_some_and(|got| got[..] == encode_wcc_attr(old)),
                "{} had {:?}, but the reply says {:?}",
                path.display(),
                encode_wcc_attr(old),
                body.before[index]
            );
            is_as_on_the_host(&body.attr(first + index)?, path)?;
        }
        Ok(())
    };
    compare().with_context(|| format!("{call:?}"))?;
    Ok(body)
}

#[test]
fn every_reply_has_correct_wcc_data() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let dir = scene.client.mkdir(&root, "dir", Set::mode(0o755))?;
        let sub = scene.client.mkdir(&root, "sub", Set::mode(0o755))?;
        let file = super::create_file(&mut scene.client, &dir, "file", b"content")?;
        let (dir_path, sub_path) = (scene.path("dir"), scene.path("sub"));
        let file_path = dir_path.join("file");
        let set = Set::mode(0o640);
        let large = super::pattern(3, 0, 200_000);

        let on_file = [
            Call::set_attr(&file, set, None),
            Call::set_attr(
                &file,
                Set {
                    size: Some(3),
                    mtime: SetTime::Client(5, 5),
                    ..Set::default()
                },
                None,
            ),
            Call::write(&file, 0, stable_how::UNSTABLE, b"four"),
            Call::write(&file, 2, stable_how::DATA_SYNC, b"four"),
            Call::write(&file, 9, stable_how::FILE_SYNC, &large),
            Call::write(&file, 9, stable_how::FILE_SYNC, b""),
            Call::commit(&file, 0, 0),
        ];
        for call in on_file {
            check(scene, &call, &file_path, None, nfsstat3::NFS3_OK)?;
        }
        let guarded = Call::set_attr(&file, set, Some((1, 1)));
        check(
            scene,
            &guarded,
            &file_path,
            None,
            nfsstat3::NFS3ERR_NOT_SYNC,
        )?;
        let far = Call::write(&file, u64::MAX - 8, stable_how::UNSTABLE, b"four");
        check(scene, &far, &file_path, None, nfsstat3::NFS3ERR_FBIG)?;

        // Each call is sent twice. The second status differs where the first call has created or removed the name.
        let (dir, sub) = (&dir[..], &sub[..]);
        let target = b"target".as_slice();
        for (call, again) in [
            (
                Call::create(dir, b"new", How::Guarded(set)),
                nfsstat3::NFS3ERR_EXIST,
            ),
            (
                Call::create(dir, b"unchecked", How::Unchecked(set)),
                nfsstat3::NFS3_OK,
            ),
            (
                Call::create(dir, b"exclusive", How::Exclusive([3; 8])),
                nfsstat3::NFS3_OK,
            ),
            (Call::mkdir(dir, b"made", set), nfsstat3::NFS3ERR_EXIST),
            (
                Call::symlink(dir, b"link", Set::default(), target),
                nfsstat3::NFS3ERR_EXIST,
            ),
            (Call::fifo(dir, b"fifo", set), nfsstat3::NFS3ERR_EXIST),
            (Call::remove(dir, b"unchecked"), nfsstat3::NFS3ERR_NOENT),
            (Call::rmdir(dir, b"made"), nfsstat3::NFS3ERR_NOENT),
            (Call::rmdir(dir, b"link"), nfsstat3::NFS3ERR_NOTDIR),
        ] {
            if again != nfsstat3::NFS3ERR_NOTDIR {
                check(scene, &call, &dir_path, None, nfsstat3::NFS3_OK)?;
            }
            check(scene, &call, &dir_path, None, again)?;
        }

        let link = Call::link(&file, sub, b"second");
        for expected in [nfsstat3::NFS3_OK, nfsstat3::NFS3ERR_EXIST] {
            let body = check(scene, &link, &sub_path, None, expected)?;
            is_as_on_the_host(&body.attr(0)?, &file_path)?;
        }
        let within = Call::rename(dir, b"new", dir, b"newer");
        let across = Call::rename(dir, b"newer", sub, b"newest");
        let onto_another = Call::rename(dir, b"fifo", sub, b"newest");
        for (call, to) in [
            (within, &dir_path),
            (across, &sub_path),
            (onto_another, &sub_path),
        ] {
            check(scene, &call, &dir_path, Some(to), nfsstat3::NFS3_OK)?;
            check(scene, &call, &dir_path, Some(to), nfsstat3::NFS3ERR_NOENT)?;
        }
        Ok(())
    })
}

#[test]
fn created_objects_are_returned_with_attributes() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let (dir, set) = (&root[..], Set::mode(0o640));
        let target = b"target".as_slice();
        for (name, call) in [
            ("file", Call::create(dir, b"file", How::Guarded(set))),
            (
                "exclusive",
                Call::create(dir, b"exclusive", How::Exclusive([9; 8])),
            ),
            ("directory", Call::mkdir(dir, b"directory", set)),
            ("link", Call::symlink(dir, b"link", Set::default(), target)),
            ("fifo", Call::fifo(dir, b"fifo", set)),
        ] {
            let made = scene.client.answer(&call)?.ok()?;
            is_as_on_the_host(&made.attr(0)?, &scene.path(name))
                .with_context(|| name.to_owned())?;
            ensure!(
                scene.client.lookup(&root, name)? == made.handle,
                "LOOKUP finds another handle of {name}"
            );
        }
        Ok(())
    })
}
