//! CREATE in its three modes (UNCHECKED, GUARDED, EXCLUSIVE), and the objects that MKDIR, SYMLINK and MKNOD create.

use super::{Scene, WRITABLE, create_file, fails, is_as_on_the_host, serve};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{self as unix, MetadataExt};
use xtask::clients::nfs::{
    Call, How, Set, SetTime, device, failed_status, mknoddata3, nfs3::ftype3, nfsstat3, stable_how,
    words,
};
use xtask::machines::server::{ServerOptions, public_dir, root_for, users};

#[test]
fn unchecked_create_returns_existing_file() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let file = scene.create_file("file", b"content")?;
        let mut client = scene.server.connect()?;
        let mut create_again = |set| client.create(&root, "file", How::Unchecked(set));
        ensure!(create_again(Set::default())? == file, "another handle");
        ensure!(fs::read(scene.path("file"))? == b"content");
        // For an existing file, only the size among the attributes is applied.
        create_again(Set::mode(0o600))?;
        ensure!(fs::metadata(scene.path("file"))?.mode() & 0o7777 == 0o644);
        ensure!(fs::read(scene.path("file"))? == b"content");
        ensure!(create_again(Set::size(4))? == file);
        ensure!(fs::read(scene.path("file"))? == b"cont");
        create_again(Set::size(0))?;
        ensure!(fs::read(scene.path("file"))?.is_empty());
        // For a new file, all attributes are applied.
        let set = Set {
            mode: Some(0o640),
            size: Some(5),
            ..Set::default()
        };
        let new = scene.client.create(&root, "new", How::Unchecked(set))?;
        ensure!(fs::read(scene.path("new"))? == [0; 5]);
        is_as_on_the_host(&scene.client.attr(&new)?, &scene.path("new"))?;
        ensure!(scene.client.attr(&new)?.mode == 0o640);
        Ok(())
    })
}

#[test]
fn guarded_and_exclusive_create_keep_existing_objects() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        scene.create_file("file", b"content")?;
        scene.client.mkdir(&root, "directory", Set::mode(0o755))?;
        unix::symlink("elsewhere", scene.path("link"))?;
        let before = tree(scene)?;
        for name in ["file", "directory", "link"] {
            for how in [
                How::Guarded(Set::size(0)),
                How::Guarded(Set::default()),
                How::Exclusive([0; 8]),
                How::Exclusive(*b"verifier"),
            ] {
                let made = scene.client.create(&root, name, how);
                fails(
                    made,
                    &[nfsstat3::NFS3ERR_EXIST],
                    format!("{how:?} of {name}"),
                )?;
            }
            let (set, target) = (Set::default(), b"target".as_slice());
            let (dir, bytes) = (&root[..], name.as_bytes());
            for call in [
                Call::mkdir(dir, bytes, set),
                Call::symlink(dir, bytes, Set::default(), target),
                Call::fifo(dir, bytes, set),
            ] {
                scene.client.expect_status(&call, nfsstat3::NFS3ERR_EXIST)?;
            }
        }
        // UNCHECKED creates nothing through a symbolic link, and does not open a directory.
        for name in ["directory", "link"] {
            let made = scene
                .client
                .create(&root, name, How::Unchecked(Set::size(0)));
            let status = failed_status(made)?;
            ensure!(
                status.is_none_or(|s| [
                    nfsstat3::NFS3ERR_EXIST,
                    nfsstat3::NFS3ERR_ISDIR,
                    nfsstat3::NFS3ERR_INVAL
                ]
                .contains(&s)),
                "UNCHECKED of {name} was answered {status:?}"
            );
        }
        ensure!(tree(scene)? == before, "a refused call changed the export");
        Ok(())
    })
}

/// Names, types and sizes of the objects in the export's root.
fn tree(scene: &Scene) -> Result<Vec<(String, u32, u64)>> {
    let mut all = fs::read_dir(scene.directory.path())?
        .map(|entry| {
            let entry = entry?;
            let meta = entry.metadata()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, meta.mode(), meta.size()))
        })
        .collect::<Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}

#[test]
fn exclusive_create_is_repeatable_after_restart() -> Result<()> {
    let verifiers = [*b"verifier", [0xff; 8], [0x80; 8], [0, 0, 0, 0, 0, 0, 0, 1]];
    for user in users() {
        let (directory, keys) = (public_dir()?, public_dir()?);
        unix::chown(directory.path(), user, user)?;
        let start = || {
            let options = ServerOptions {
                user,
                key_file: Some(keys.path().join("key")),
                ..ServerOptions::default()
            };
            serve(directory.path(), WRITABLE, options)
        };
        let mut made = Vec::new();
        let (server, mut client, root) = start()?;
        for (number, verifier) in verifiers.into_iter().enumerate() {
            let name = format!("file {number}");
            let how = How::Exclusive(verifier);
            let file = client.create(&root, &name, how)?;
            ensure!(client.create(&root, &name, how)? == file, "another handle");
            ensure!(server.connect()?.create(&root, &name, how)? == file);
            made.push((name, how, file));
        }
        let refuse_other_verifiers = |client: &mut xtask::clients::nfs::Client| -> Result<()> {
            for (number, (name, _, _)) in made.iter().enumerate() {
                let mut verifier = verifiers[number];
                for bit in [0x80, 1] {
                    verifier[3] ^= bit;
                    let created = client.create(&root, name, How::Exclusive(verifier));
                    fails(
                        created,
                        &[nfsstat3::NFS3ERR_EXIST],
                        format!("{verifier:?} for {name}"),
                    )?;
                }
            }
            Ok(())
        };
        refuse_other_verifiers(&mut client)?;
        server.kill()?;
        let (_server, mut client, again) = start()?;
        ensure!(again == root, "another root after the restart");
        refuse_other_verifiers(&mut client)?;
        for (name, how, file) in &made {
            let found = client.create(&root, name, *how);
            ensure!(
                found.with_context(|| format!("{name} after the restart, user {user:?}"))? == *file
            );
            ensure!(client.write(file, 0, stable_how::FILE_SYNC, b"x")?.count == 1);
            let set = Set {
                mode: Some(0o640),
                atime: SetTime::Server,
                mtime: SetTime::Server,
                ..Set::default()
            };
            client.set_attr(file, set)?;
            ensure!(fs::metadata(directory.path().join(name))?.mode() & 0o7777 == 0o640);
        }
    }
    Ok(())
}

#[test]
fn created_objects_ignore_the_umask() -> Result<()> {
    let through = ["sh", "-c", r#"umask 077 && exec "$@""#, "sh"].map(String::from);
    let mut scene = Scene::with_options(
        WRITABLE,
        ServerOptions {
            wrapper: through.to_vec(),
            ..ServerOptions::default()
        },
    )?;
    let root = scene.root.clone();
    for mode in [0o666, 0o777, 0o4755, 0o2750, 0, 0o7777] {
        let time = SetTime::Client(1_500_000_000, 15);
        let set = Set {
            mode: Some(mode),
            uid: None,
            gid: None,
            size: None,
            atime: time,
            mtime: time,
        };
        let dir = &root[..];
        for (name, call) in [
            ("file", Call::create(dir, b"file", How::Guarded(set))),
            (
                "unchecked",
                Call::create(dir, b"unchecked", How::Unchecked(set)),
            ),
            ("directory", Call::mkdir(dir, b"directory", set)),
            ("fifo", Call::fifo(dir, b"fifo", set)),
        ] {
            if name == "directory" && mode & 0o6000 != 0 {
                // mkdir(2) ignores the setuid and setgid bits.
                continue;
            }
            scene.client.answer(&call)?.ok()?;
            let handle = scene.client.lookup(&root, name)?;
            let attr = scene.client.attr(&handle)?;
            ensure!(
                attr.mode == mode && words(&attr.mtime) == [1_500_000_000, 15],
                "{name} of mode {mode:o} became {attr:?}"
            );
            is_as_on_the_host(&attr, &scene.path(name))?;
            if name == "directory" {
                scene.client.rmdir(&root, name)?;
            } else {
                scene.client.remove(&root, name)?;
            }
        }
    }
    Ok(())
}

#[test]
fn symlink_accepts_any_target_without_following() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let long = "x/".repeat(2047);
        for (number, target) in ["file", "/etc/passwd", "../../..", "no such", "ü\n", &long]
            .into_iter()
            .enumerate()
        {
            let name = format!("link {number}");
            let link = scene
                .client
                .symlink(&root, &name, target)
                .with_context(|| format!("{} bytes", target.len()))?;
            ensure!(fs::read_link(scene.path(&name))?.as_os_str() == target);
            ensure!(scene.client.read_link(&link)? == target.as_bytes());
            is_as_on_the_host(&scene.client.attr(&link)?, &scene.path(&name))?;
        }
        let before = tree(scene)?;
        for (target, expected) in [
            (vec![b'x'; 4096], nfsstat3::NFS3ERR_NAMETOOLONG),
            (b"nul\0inside".to_vec(), nfsstat3::NFS3ERR_INVAL),
            (Vec::new(), nfsstat3::NFS3ERR_INVAL),
        ] {
            let call = Call::symlink(&root, b"refused", Set::default(), &target);
            // RFC 1813 does not say which error an invalid target causes.
            let status = scene.client.status(&call)?;
            let allowed = [
                expected,
                nfsstat3::NFS3ERR_ACCES,
                nfsstat3::NFS3ERR_NOENT,
                nfsstat3::NFS3ERR_INVAL,
            ];
            ensure!(
                allowed.contains(&status),
                "a target of {} bytes was answered {status:?}",
                target.len()
            );
        }
        ensure!(tree(scene)? == before);
        Ok(())
    })
}

#[test]
fn mknod_creates_supported_types_only() -> Result<()> {
    if !root_for("devices") {
        return Ok(());
    }
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let is_root = fs::metadata(scene.directory.path())?.uid() == 0;
        let set = Set::mode(0o600);
        for (name, node, kind) in [
            ("fifo", mknoddata3::NF3FIFO(set.into()), ftype3::NF3FIFO),
            ("socket", mknoddata3::NF3SOCK(set.into()), ftype3::NF3SOCK),
        ] {
            let object = scene.client.mknod(&root, name, node)?;
            let attr = scene.client.attr(&object)?;
            ensure!((attr.type_, attr.mode) == (kind, 0o600), "{attr:?}");
            is_as_on_the_host(&attr, &scene.path(name))?;
        }
        for (name, node, kind) in [
            (
                "null",
                mknoddata3::NF3CHR(device(set, 1, 3)),
                ftype3::NF3CHR,
            ),
            (
                "disk",
                mknoddata3::NF3BLK(device(set, 259, 70_000)),
                ftype3::NF3BLK,
            ),
        ] {
            let made = scene.client.mknod(&root, name, node);
            if is_root {
                let attr = scene.client.attr(&made?)?;
                ensure!(attr.type_ == kind, "{attr:?}");
                is_as_on_the_host(&attr, &scene.path(name))?;
            } else {
                fails(
                    made,
                    &[nfsstat3::NFS3ERR_PERM, nfsstat3::NFS3ERR_ACCES],
                    name,
                )?;
                ensure!(!scene.path(name).exists());
            }
        }
        // These numbers exceed the kernel's limits. If the server truncated them, they would denote other devices.
        for (major, minor) in [(1 << 12, 3), (1, 1 << 20), (u32::MAX, u32::MAX)] {
            let made = scene.client.mknod(
                &root,
                "refused",
                mknoddata3::NF3CHR(device(set, major, minor)),
            );
            fails(
                made,
                &[nfsstat3::NFS3ERR_INVAL],
                format!("device {major}:{minor}"),
            )?;
            ensure!(!scene.path("refused").exists());
        }
        for kind in [1, 2, 5] {
            let status = scene
                .client
                .status(&Call::mknod_of(&root, b"refused", kind))?;
            let is_expected =
                [nfsstat3::NFS3ERR_BADTYPE, nfsstat3::NFS3ERR_INVAL].contains(&status);
            ensure!(is_expected, "type {kind} was answered {status:?}");
        }
        for kind in [0, 8, u32::MAX] {
            let call = Call::mknod_of(&root, b"refused", kind);
            // `kind` is not an ftype3 value. The server may reply GARBAGE_ARGS, which the test client returns as an error.
            let status = scene.client.status(&call);
            ensure!(matches!(
                status,
                Err(_) | Ok(nfsstat3::NFS3ERR_BADTYPE | nfsstat3::NFS3ERR_INVAL)
            ));
        }
        ensure!(!scene.path("refused").exists());
        scene.check_alive()
    })
}

#[test]
fn setgid_directory_passes_its_group_on() -> Result<()> {
    if !root_for("groups of others") {
        return Ok(());
    }
    let mut scene = Scene::new(None)?;
    let root = scene.root.clone();
    let set = Set {
        gid: Some(4321),
        ..Set::default()
    };
    let dir = scene.client.mkdir(&root, "shared", set)?;
    scene.client.set_attr(&dir, Set::mode(0o2777))?;
    scene.client.auth = super::user(1000, 1000, &[]);
    create_file(&mut scene.client, &dir, "file", b"")?;
    scene.client.mkdir(&dir, "inner", Set::mode(0o755))?;
    for name in ["shared/file", "shared/inner"] {
        let meta = fs::metadata(scene.path(name))?;
        ensure!((meta.uid(), meta.gid()) == (1000, 4321), "{name}");
    }
    ensure!(fs::metadata(scene.path("shared/inner"))?.mode() & 0o2000 != 0);
    Ok(())
}
