//! Overlays as live systems, appliances and containers have them: files of all layers are served, and their handles outlive the
//! copy to the upper layer, which the first change of a file makes.

use super::{WRITABLE, create_file, fails, serve};
use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::mount::umount;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use xtask::clients::nfs::{Client, Set, nfsstat3, stable_how};
use xtask::machines::lockdown;
use xtask::machines::mounts::{self, mount, mount_image};
use xtask::machines::server::{ServerOptions, public_dir};
use xtask::setup::run_captured;

/// Files of the lower layer. On two file systems, their inode numbers are also those of other files.
const LOWER: [&str; 6] = ["a", "b", "c", "sub/d", "sub/deep/e", "sub/deep/f"];
/// Files of the upper layer.
const UPPER: [&str; 4] = ["g", "h", "made/i", "sub/j"];

/// Makes the layers of an overlay, and mounts it. If `is_apart`, each layer is on a file system of its own.
fn make_overlay(top: &Path, is_apart: bool) -> Result<()> {
    for layer in ["lower", "upper"].map(|layer| top.join(layer)) {
        fs::create_dir(&layer)?;
        if is_apart {
            mount("tmpfs", "mode=755", &layer)?;
        }
    }
    for directory in [
        "lower/srv/sub/deep",
        "lower/srv/in",
        "upper/top",
        "upper/work",
    ] {
        fs::create_dir_all(top.join(directory))?;
    }
    fs::write(top.join("lower/srv/bound"), "hidden")?;
    for name in LOWER {
        fs::write(top.join("lower/srv").join(name), name)?;
    }
    remount_overlay(top)?;
    fs::create_dir(top.join("mounted/srv/made"))?;
    for name in UPPER {
        fs::write(top.join("mounted/srv").join(name), name)?;
    }
    Ok(())
}

/// Mounts the overlay as after a boot, with mounts inside: a tmpfs and a file of the host.
fn remount_overlay(top: &Path) -> Result<()> {
    mounts::mount_overlay(top)?;
    let at = top.join("mounted");
    mount("tmpfs", "mode=755", &at.join("srv/in"))?;
    fs::write(at.join("srv/in/secret"), "secret")?;
    fs::write(top.join("outside"), "outside")?;
    let mut bind = std::process::Command::new("mount");
    run_captured(
        bind.arg("--bind")
            .args([top.join("outside"), at.join("srv/bound")]),
    )
    .map(drop)
}

/// The start of a file after [`change_all`].
fn expected(at: usize, name: &'static str) -> &'static [u8] {
    if at.is_multiple_of(2) {
        b"CHANGED"
    } else {
        name.as_bytes()
    }
}

/// Looks up all files, changes them by SETATTR or WRITE first. Returns their handles.
fn change_all(client: &mut Client, root: &[u8], host: &Path) -> Result<Vec<Vec<u8>>> {
    let names = || LOWER.iter().chain(&UPPER);
    let files = names()
        .map(|name| client.walk(root, name))
        .collect::<Result<Vec<_>>>()?;
    let mut numbers = BTreeSet::new();
    for (at, (name, file)) in names().zip(&files).enumerate() {
        ensure!(
            client.read(file, 0, 100)? == (name.as_bytes(), true),
            "{name}"
        );
        let number = client.attr(file)?.fileid;
        ensure!(
            numbers.insert(number),
            "{name} has the fileid of another file"
        );
        if !at.is_multiple_of(2) {
            client.set_attr(file, Set::mode(0o640))?;
        }
        client.write(file, 0, stable_how::UNSTABLE, expected(at, name))?;
        ensure!(
            client.attr(file)?.fileid == number,
            "{name} has another fileid"
        );
        ensure!(
            fs::read(host.join(name))?.starts_with(expected(at, name)),
            "{name} on the host"
        );
    }
    for entry in client.list(root)? {
        let seen = entry
            .attributes
            .map(|attr| u64::from(attr[13]) << 32 | u64::from(attr[14]));
        ensure!(seen.is_none_or(|seen| seen == entry.inode), "{entry:?}");
    }
    let inside = client
        .lookup(root, "in")
        .and_then(|dir| client.lookup(&dir, "secret"));
    for found in [inside, client.lookup(root, "bound")] {
        fails(
            found,
            &[nfsstat3::NFS3ERR_ACCES],
            "a mount inside the export",
        )?;
    }
    Ok(files)
}

/// Checks that the handles of all files are valid, and that the files are still writable by them.
fn check_all(client: &mut Client, root: &[u8], files: &[Vec<u8>]) -> Result<()> {
    for (at, (name, file)) in LOWER.iter().chain(&UPPER).zip(files).enumerate() {
        let read = client.read(file, 0, 100).context(*name)?.0;
        ensure!(read.starts_with(expected(at, name)), "{name}");
        client.write(file, 0, stable_how::FILE_SYNC, expected(at, name))?;
        ensure!(
            client.walk(root, name)? == *file,
            "{name} has another handle"
        );
    }
    Ok(())
}

#[test]
fn handles_outlive_copy_up_restart_and_remount() -> Result<()> {
    for (is_apart, refused) in [
        (true, None),
        (true, Some(libc::SYS_statx)),
        (false, None),
        (false, Some(libc::SYS_statx)),
    ] {
        let place = public_dir()?;
        let top = place.path().join("layers");
        fs::create_dir(&top)?;
        mounts::private("an overlay", || {
            // ext4 has birth times, and gives the inode number of a removed file to the next one.
            mount_image(&["mkfs.ext4", "-q"], 16, &top)?;
            make_overlay(&top, is_apart)?;
            let export = top.join("mounted/srv");
            let start = || {
                let calls: Vec<i64> = refused.into_iter().collect();
                lockdown::run_without(&calls, || {
                    serve(&export, WRITABLE, ServerOptions::default())
                })
            };
            let (server, mut client, root) = start()?;
            let files = change_all(&mut client, &root, &export)?;
            server.kill()?;
            let (server, mut client, again) = start()?;
            ensure!(again == root, "another handle of the top");
            check_all(&mut client, &root, &files).context("after a restart")?;
            server.kill()?;
            if has_file_ids()? {
                for mounted in ["srv/in", "srv/bound", ""] {
                    umount(&top.join("mounted").join(mounted))?;
                }
                remount_overlay(&top)?;
                let (server, mut client, _) = start()?;
                check_all(&mut client, &root, &files).context("after a new mount")?;
                reuse_number(&mut client, &root, &export)?;
                server.kill()?;
            }
            Ok(())
        })
        .with_context(|| format!("apart: {is_apart}, without: {refused:?}"))?;
    }
    Ok(())
}

/// Returns true for Linux since 6.6, which identifies the files of an overlay across mounts.
fn has_file_ids() -> Result<bool> {
    let system = nix::sys::utsname::uname()?;
    let release = system.release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let major_and_minor = (
        numbers.next().context("release")??,
        numbers.next().context("release")??,
    );
    Ok(major_and_minor >= (6, 6))
}

/// Creates files with the inode numbers of removed files.
fn reuse_number(client: &mut Client, root: &[u8], export: &Path) -> Result<()> {
    for attempt in 0..10 {
        let old = create_file(client, root, "old", b"old")?;
        let number = fs::metadata(export.join("old"))?.ino();
        client.remove(root, "old")?;
        create_file(client, root, "new", b"new")?;
        let is_same = fs::metadata(export.join("new"))?.ino() == number;
        fails(client.attr(&old), &[nfsstat3::NFS3ERR_STALE], attempt)?;
        client.remove(root, "new")?;
        if is_same {
            return Ok(());
        }
    }
    Ok(())
}
