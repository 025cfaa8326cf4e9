//! File systems of a test's own: mounts that nobody else sees and that go with the thread that made them. Needs root.

use crate::build::Arch;
use crate::machines::server::{binary, public_dir, root_for};
use crate::setup::{self, Package};
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Runs `work` on a thread whose mounts are its own, and its children's. What is started inside must end inside.
pub fn private(what: &str, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    if !root_for(what) {
        return Ok(());
    }
    setup::need(&[Package::MOUNT])?;
    // Built outside: the compiler's processes may outlive a thread.
    binary(Arch::X86_64)?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            leave()?;
            work()
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `work` where a tmpfs with these options is mounted.
pub fn on_tmpfs(options: &str, work: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    private("a tmpfs", || {
        mount("tmpfs", options, path)?;
        work(path)
    })
}

/// Runs `work` where a new file system of `size_mib` is mounted, which `make` makes: a command that takes a file last.
pub fn on_image(
    make: &[&str],
    size_mib: u64,
    work: impl FnOnce(&Path) -> Result<()> + Send,
) -> Result<()> {
    setup::need(&[Package::E2FSPROGS, Package::BTRFS_PROGS])?;
    let directory = public_dir()?;
    let path = directory.path().join("mounted");
    fs::create_dir(&path)?;
    private("a file system", || {
        mount_image(make, size_mib, &path)?;
        work(&path)
    })
}

/// Runs `work` where a btrfs is mounted on which `quota` bytes may be used.
pub fn on_btrfs(quota: u64, work: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
    on_image(&["mkfs.btrfs", "-q"], 256, |path| {
        let btrfs =
            |words: &[&str]| setup::quietly(Command::new("btrfs").args(words).arg(path)).map(drop);
        btrfs(&["quota", "enable"])?;
        btrfs(&["qgroup", "limit", &quota.to_string()])?;
        work(path)
    })
}

/// Leaves the machine's mounts for ones of this thread's own, and of its children's.
pub fn leave() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot have mounts of my own")?;
    setup::quietly(Command::new("mount").args(["--make-rprivate", "/"]))?;
    Ok(())
}

/// `mount -t KIND -o OPTIONS KIND AT`.
pub fn mount(kind: &str, options: &str, at: &Path) -> Result<()> {
    setup::quietly(
        Command::new("mount")
            .args(["-t", kind, "-o", options, kind])
            .arg(at),
    )?;
    Ok(())
}

/// Mounts once more with other options.
pub fn remount(options: &str, at: &Path) -> Result<()> {
    setup::quietly(
        Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(at),
    )?;
    Ok(())
}

/// Makes a file system in a file of `size_mib` beside `at` by `make`, a command that takes the file last, and mounts it there.
pub fn mount_image(make: &[&str], size_mib: u64, at: &Path) -> Result<()> {
    let image = at.with_extension("image");
    File::create_new(&image)?.set_len(size_mib << 20)?;
    setup::quietly(Command::new(make[0]).args(&make[1..]).arg(&image))?;
    mount_file(&image, at)
}

/// Mounts the file system in a file.
pub fn mount_file(image: &Path, at: &Path) -> Result<()> {
    setup::quietly(Command::new("mount").args(["-o", "loop"]).args([image, at]))?;
    Ok(())
}
