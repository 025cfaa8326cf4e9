//! EXCLUSIVE CREATE across a restart, the umask, and symbolic links and devices that the kernel cannot create.

use super::{Scene, WRITABLE, fails, is_as_on_the_host, serve};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{self as unix, MetadataExt};
use xtask::clients::nfs::{
    Call, How, Set, SetTime, device, mknoddata3, nfsstat3, stable_how, words,
};
use xtask::machines::server::{ServerOptions, public_dir, root_for, users};

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
fn symlink_without_a_valid_path_is_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        for (target, status) in [
            (&[b'x'; 4096][..], nfsstat3::NFS3ERR_NAMETOOLONG),
            (b"nul\0inside", nfsstat3::NFS3ERR_INVAL),
            (b"", nfsstat3::NFS3ERR_INVAL),
        ] {
            let call = Call::symlink(&root, b"refused", Set::default(), target);
            scene.client.expect_status(&call, status)?;
            ensure!(fs::symlink_metadata(scene.path("refused")).is_err());
        }
        Ok(())
    })
}

#[test]
fn device_needs_root_and_a_kernel_number() -> Result<()> {
    use nfsstat3::{NFS3ERR_ACCES, NFS3ERR_INVAL, NFS3ERR_PERM};
    if !root_for("devices") {
        return Ok(());
    }
    Scene::for_each_server(|scene| {
        let is_root = fs::metadata(scene.directory.path())?.uid() == 0;
        // If the server truncated numbers beyond the kernel's limits, they would denote other devices.
        let (large, any) = (
            [NFS3ERR_INVAL].as_slice(),
            [NFS3ERR_PERM, NFS3ERR_ACCES].as_slice(),
        );
        for (major, minor, expected) in [
            (1 << 12, 3, large),
            (1, 1 << 20, large),
            (u32::MAX, u32::MAX, large),
            (1, 3, any),
        ] {
            if is_root && expected == any {
                continue;
            }
            let node = mknoddata3::NF3CHR(device(Set::mode(0o600), major, minor));
            let made = scene.client.mknod(&scene.root, "refused", node);
            fails(made, expected, format!("device {major}:{minor}"))?;
            ensure!(!scene.path("refused").exists());
        }
        Ok(())
    })
}
