//! Private mounts for tests: a mount namespace that only one thread and its children see and that ends with them. Needs root.

use crate::build::Arch;
use crate::machines::on_thread;
use crate::machines::server::{binary, public_dir, root_for};
use crate::setup;
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Runs `work` on a thread with its own mount namespace. Processes started by `work` must end before `work` returns. Without root,
/// prints that `what` is SKIPPED and does not run `work`.
pub fn private(what: &str, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    if !root_for(what) {
        return Ok(());
    }
    setup::install_packages(&["mount"])?;
    // Builds the file before the thread enters the namespace: the compiler's processes may outlive the thread.
    binary(Arch::X86_64)?;
    on_thread(|| {
        enter_private_namespace()?;
        work()
    })
}

/// Runs `work` with the path of a tmpfs that is mounted with `options`.
pub fn on_tmpfs(options: &str, work: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    private("a tmpfs", || {
        mount("tmpfs", options, path)?;
        work(path)
    })
}

/// Runs `work` with the path of a mounted file system image of `size_mib`. `make` is an mkfs command that takes the image as its
/// last argument.
pub fn on_image(
    make: &[&str],
    size_mib: u64,
    work: impl FnOnce(&Path) -> Result<()> + Send,
) -> Result<()> {
    setup::install_packages(&["e2fsprogs", "btrfs-progs"])?;
    let directory = public_dir()?;
    let path = directory.path().join("mounted");
    fs::create_dir(&path)?;
    private("a file system", || {
        mount_image(make, size_mib, &path)?;
        work(&path)
    })
}

/// Runs `work` with the path of a btrfs that has a quota of `quota` bytes.
pub fn on_btrfs(quota: u64, work: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
    on_image(&["mkfs.btrfs", "-q"], 256, |path| {
        let btrfs = |words: &[&str]| {
            setup::run_captured(Command::new("btrfs").args(words).arg(path)).map(drop)
        };
        btrfs(&["quota", "enable"])?;
        btrfs(&["qgroup", "limit", &quota.to_string()])?;
        work(path)
    })
}

/// Moves the calling thread to a new mount namespace with private propagation.
pub fn enter_private_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot create a mount namespace")?;
    setup::run_captured(Command::new("mount").args(["--make-rprivate", "/"]))?;
    Ok(())
}

/// Runs `mount -t KIND -o OPTIONS KIND MOUNT_POINT`.
pub fn mount(kind: &str, options: &str, mount_point: &Path) -> Result<()> {
    setup::run_captured(
        Command::new("mount")
            .args(["-t", kind, "-o", options, kind])
            .arg(mount_point),
    )?;
    Ok(())
}

/// Mounts an overlay at `top`/mounted. Its layers are `top`/lower and `top`/upper/top.
pub fn mount_overlay(top: &Path) -> Result<()> {
    let [lower, upper, work, at] =
        ["lower", "upper/top", "upper/work", "mounted"].map(|name| top.join(name));
    for directory in [&upper, &work, &at] {
        fs::create_dir_all(directory)?;
    }
    let [lower, upper, work] = [lower, upper, work].map(|path| path.display().to_string());
    let options = format!("xino=off,lowerdir={lower},upperdir={upper},workdir={work}");
    mount("overlay", &options, &at)
}

/// Remounts the file system at `mount_point` with `options`.
pub fn remount(options: &str, mount_point: &Path) -> Result<()> {
    setup::run_captured(
        Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(mount_point),
    )?;
    Ok(())
}

/// Creates an image file of `size_mib` next to `mount_point`, formats it by `make` (an mkfs command that takes the image last), and
/// mounts it at `mount_point`.
pub fn mount_image(make: &[&str], size_mib: u64, mount_point: &Path) -> Result<()> {
    let image = mount_point.with_extension("image");
    File::create_new(&image)?.set_len(size_mib << 20)?;
    setup::run_captured(Command::new(make[0]).args(&make[1..]).arg(&image))?;
    mount_file(&image, mount_point)
}

/// Mounts a file system image by a loop device.
pub fn mount_file(image: &Path, mount_point: &Path) -> Result<()> {
    setup::run_captured(
        Command::new("mount")
            .args(["-o", "loop"])
            .args([image, mount_point]),
    )?;
    Ok(())
}
