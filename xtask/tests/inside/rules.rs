//! Access to the contents of ISO images: by which requests they can be reached, and that they cannot be changed.

use super::{Scene, sample};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use xtask::clients::nfs::nfsstat3::{
    NFS3ERR_NOENT, NFS3ERR_NOTDIR, NFS3ERR_NOTSUPP, NFS3ERR_SERVERFAULT,
};
use xtask::clients::nfs::{Call, Client, Outcome, body, failed_status, nfs3::ftype3, unpadded};
use xtask::clients::sftp::{self, Attrs, Sftp, SftpOptions};
use xtask::machines::iso::write_unknown_udf;
use xtask::machines::server::users;

#[test]
fn image_is_entered_by_mnt_not_lookup() -> Result<()> {
    for user in users() {
        let scene = Scene::new(user)?;
        let mut client = scene.server.connect()?;
        let root = scene.mount("")?;
        let file = client.lookup(&root, "one.iso")?;
        let size = client.attr(&file)?.size;
        ensure!(
            client.attr(&file)?.type_ == ftype3::NF3REG && size == sample(1)?.image.len() as u64
        );
        for call in [
            Call::lookup(&file, b"name"),
            Call::read_dir(&file, 0, [0; 8], 4096),
            Call::read_dir_plus(&file, 0, [0; 8], 4096, 4096),
        ] {
            client.expect_status(&call, NFS3ERR_NOTDIR)?;
        }
        // LOOKUP of ".." does not leave the image.
        let inside = scene.mount("one.iso")?;
        ensure!(client.attr(&inside)?.type_ == ftype3::NF3DIR && inside != file);
        for dir in [&root, &inside] {
            let above = client.lookup(dir, "..")?;
            ensure!(above == *dir, "LOOKUP of .. returned {above:02x?}");
        }
        let deep = client.walk(&inside, "sub/deep")?;
        for name in ["sub", "name", "link"] {
            let handle = client.lookup(&inside, name)?;
            let before = unpadded(&handle);
            ensure!(handle.len() % 4 == 0 && before.len() < handle.len());
            ensure!(client.attr(before)?.fileid == client.attr(&handle)?.fileid);
        }
        let above = client.lookup(&deep, "..")?;
        ensure!(above == client.lookup(&inside, "sub")? && client.lookup(&above, ".")? == above);
        ensure!(scene.mount("one.iso/sub/deep")? == deep);
        for (below, status) in [
            ("one.iso/none", NFS3ERR_NOENT),
            ("one.iso/name/none", NFS3ERR_NOTDIR),
            ("plain/none", NFS3ERR_NOTDIR),
            ("none.iso", NFS3ERR_NOENT),
        ] {
            let failed = failed_status(scene.mount(below))?;
            ensure!(failed == Some(status), "MNT of {below}: {failed:?}");
        }
        // MNT, and only MNT, follows links to images.
        symlink("one.iso", scene.path("also.iso"))?;
        fs::create_dir(scene.path("dir"))?;
        symlink("../one.iso", scene.path("dir/up.iso"))?;
        for below in ["also.iso/sub/deep", "dir/up.iso/sub/deep"] {
            ensure!(scene.mount(below)? == deep, "MNT of {below}");
        }
        // MNT also accepts files, and follows symbolic links inside the image.
        for (below, above, name) in [
            ("one.iso/name", &inside, "name"),
            ("one.iso/link", &inside, "name"),
            ("plain", &root, "plain"),
        ] {
            let file = client.lookup(above, name)?;
            ensure!(scene.mount(below)? == file, "MNT of {below}");
        }
    }
    Ok(())
}

#[test]
fn udf_image_of_unknown_layout_is_unsupported() -> Result<()> {
    for user in users() {
        let scene = Scene::new(user)?;
        write_unknown_udf(&scene.path("udf.iso"))?;
        let failed = failed_status(scene.mount("udf.iso"))?;
        ensure!(failed == Some(NFS3ERR_NOTSUPP), "{failed:?}");
        scene.server.wait_for_line("UDF", Duration::from_secs(10))?;
        let mut session = Sftp::start(&SftpOptions::in_directory(scene.directory.path()))?;
        for path in ["udf.iso/README.TXT", "udf.iso/none"] {
            let failed = sftp::failed_status(session.stat(path))?;
            ensure!(
                failed == Some(sftp::Status::OP_UNSUPPORTED),
                "STAT of {path}: {failed:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn mount_version_1_refuses_handles_inside_images() -> Result<()> {
    for user in users() {
        let scene = Scene::new(user)?;
        let mut client = Client::connect(scene.server.mount())?;
        let auth = client.auth.clone();
        let path = scene.path("one.iso").display().to_string();
        let call = Call::mount(path.as_bytes()).version_1();
        let message = call.message(1, &auth);
        let outcome = client.exchange(&message)?.context("closed")?;
        let Outcome::Success(results) = outcome else {
            anyhow::bail!("MNT was answered {outcome:?}")
        };
        let status = body(call.procedure, results)?.status()?;
        ensure!(status == NFS3ERR_SERVERFAULT, "{status:?}");
        scene
            .server
            .wait_for_line("use version 3", Duration::from_secs(10))?;
        // MOUNT version 1 has handles of 32 bytes; version 3 allows up to 64, enough for this handle.
        client.mount(&path)?;
    }
    Ok(())
}

#[test]
fn sftp_changes_inside_image_fail_with_reason() -> Result<()> {
    let scene = Scene::new(None)?;
    let mut session = Sftp::start(&SftpOptions::in_directory(scene.directory.path()))?;
    for (request, result) in [
        ("OPEN", session.create("one.iso/new").map(drop)),
        ("MKDIR", session.mkdir("one.iso/new", Attrs::mode(0o600))),
        ("SYMLINK", session.symlink("x", "one.iso/new")),
        (
            "SETSTAT",
            session.set_stat("one.iso/name", Attrs::mode(0o600)),
        ),
        ("REMOVE", session.remove("one.iso/name")),
        ("RMDIR", session.rmdir("one.iso/sub")),
        (
            "RENAME",
            session.posix_rename("one.iso/name", "one.iso/new"),
        ),
    ] {
        let error = result.err().map(|error| format!("{error:#}"));
        let error = error.with_context(|| format!("{request} succeeded"))?;
        ensure!(
            error.contains("Failure: read-only file system"),
            "{request}: {error}"
        );
    }
    ensure!(fs::read(scene.path("one.iso"))? == sample(1)?.image);
    Ok(())
}
