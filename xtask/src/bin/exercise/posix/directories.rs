//! mkdir, rmdir, unlink and what a listing shows.

use std::fs;
use std::path::Path;

use anyhow::Result;
use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::scene::Scene;

fn unlink(path: &Path) -> nix::Result<()> {
    unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::NoRemoveDir)
}

fn rmdir(path: &Path) -> nix::Result<()> {
    unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::RemoveDir)
}

/// Each of mkdir, rmdir and unlink on each kind of name.
pub fn making_and_removing(scene: &Scene) -> Result<()> {
    type Act = fn(&Path) -> nix::Result<()>;
    let mkdir: Act =
        |path| nix::unistd::mkdir(path, nix::sys::stat::Mode::from_bits_truncate(0o755));
    for (word, act) in [("mkdir", mkdir), ("rmdir", rmdir), ("unlink", unlink)] {
        for name in [
            "missing",
            "file",
            "empty",
            "full",
            "to-file",
            "to-empty",
            "to-nothing",
            "missing/below",
            "file/below",
            "empty/",
            "missing/",
            "file/",
            "to-empty/",
            "full/.",
            "full/..",
        ] {
            let inner = scene.inner(&format!("{word} {}", name.replace('/', ",")))?;
            inner.file("file", b"")?;
            inner.directory("empty")?;
            inner.directory("full")?;
            inner.file("full/inside", b"")?;
            inner.symlink("file", "to-file")?;
            inner.symlink("empty", "to-empty")?;
            inner.symlink("nowhere", "to-nothing")?;
            // With the slash that join would drop.
            let path = format!(
                "{}/{name}",
                inner.at("").display().to_string().trim_end_matches('/')
            );
            inner.tries(name, act(Path::new(&path)));
            inner.tree("leaves");
        }
    }
    Ok(())
}

/// What is made is listed, what is removed is not, also to who is in the middle of it.
pub fn listing(scene: &Scene) -> Result<()> {
    const COUNT: usize = 700;
    for number in 0..COUNT {
        scene.file(&format!("file-{number:03}"), b"")?;
    }
    let count = || fs::read_dir(scene.at("")).map(Iterator::count);
    scene.gets("all", count());
    let mut seen = 0;
    for entry in fs::read_dir(scene.at(""))? {
        // Every name that is shown is still there, though those before it are gone.
        fs::remove_file(entry?.path())?;
        seen += 1;
    }
    scene.shows("removed while listed", seen);
    scene.gets("left", count());
    scene.file("late", b"")?;
    scene.tree("then");
    Ok(())
}

/// Directories that are gone, and parents of the highest one.
pub fn odd_paths(scene: &Scene) -> Result<()> {
    scene.directory("gone")?;
    let gone = fs::File::open(scene.at("gone"))?;
    fs::remove_dir(scene.at("gone"))?;
    let create = nix::fcntl::openat(
        &gone,
        "new",
        nix::fcntl::OFlag::O_CREAT | nix::fcntl::OFlag::O_WRONLY,
        nix::sys::stat::Mode::from_bits_truncate(0o644),
    );
    // A client may know the file's handle to be stale, or find no name there.
    scene.shows(
        "make a file in a directory that is gone",
        match create {
            Err(Errno::ENOENT | Errno::ESTALE) => "refused".to_owned(),
            other => format!("{other:?}"),
        },
    );
    for name in [".", "..", "gone/..", "./././here", "here/../here/./../late"] {
        scene.tries(format!("mkdir {name}"), fs::create_dir(scene.at(name)));
    }
    scene.tree("leaves");
    Ok(())
}
