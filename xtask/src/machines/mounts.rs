//! File systems of a test's own: mounts that nobody else sees and that go with the thread that made them. Needs root.

use crate::build::Arch;
use crate::machines::server::{binary, root_for};
use crate::setup::{self, Package};
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
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
