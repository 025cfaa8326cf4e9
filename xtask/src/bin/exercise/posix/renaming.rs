//! rename(2): what may take whose place.

use std::fs;

use anyhow::Result;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::scene::Scene;

const KINDS: [&str; 7] = [
    "nothing", "file", "empty", "full", "link", "dangling", "fifo",
];

fn make(scene: &Scene, kind: &str, name: &str) -> Result<()> {
    match kind {
        "file" => scene.file(name, kind.as_bytes()),
        "empty" => scene.directory(name),
        "full" => {
            scene.directory(name)?;
            scene.file(&format!("{name}/inside"), b"")
        }
        "link" => scene.symlink(".", name),
        "dangling" => scene.symlink("nowhere", name),
        "fifo" => Ok(mkfifo(&scene.at(name), Mode::from_bits_truncate(0o644))?),
        _ => Ok(()),
    }
}

/// Every kind of source onto every kind of target, in the same directory.
pub fn onto_everything(scene: &Scene) -> Result<()> {
    for from in KINDS {
        for to in KINDS {
            let inner = scene.inner(&format!("{from} onto {to}"))?;
            make(&inner, from, "from")?;
            make(&inner, to, "to")?;
            inner.tries("rename", fs::rename(inner.at("from"), inner.at("to")));
            inner.tree("leaves");
        }
    }
    Ok(())
}

/// A name onto itself, and onto another name of the same file.
pub fn onto_itself(scene: &Scene) -> Result<()> {
    for kind in KINDS {
        let inner = scene.inner(&format!("{kind} alone"))?;
        make(&inner, kind, "it")?;
        inner.tries("rename", fs::rename(inner.at("it"), inner.at("it")));
        inner.tree("leaves");
    }
    scene.file("file", b"content")?;
    fs::hard_link(scene.at("file"), scene.at("link"))?;
    scene.directory("other")?;
    fs::hard_link(scene.at("file"), scene.at("other/link"))?;
    scene.tries(
        "onto its link",
        fs::rename(scene.at("file"), scene.at("link")),
    );
    scene.tries(
        "onto its link elsewhere",
        fs::rename(scene.at("file"), scene.at("other/link")),
    );
    for name in ["file", "link", "other/link"] {
        scene.stat(name);
    }
    Ok(())
}

/// A directory never becomes a part of itself.
pub fn into_itself(scene: &Scene) -> Result<()> {
    scene.directory("outer")?;
    scene.directory("outer/inner")?;
    scene.directory("outer/inner/core")?;
    for (from, to) in [
        ("outer", "outer/new"),
        ("outer", "outer/inner"),
        ("outer", "outer/inner/core"),
        ("outer/inner", "outer"),
        ("outer/inner/core", "outer"),
        ("outer/inner/core", "outer/inner/core/x"),
        ("outer/inner/core", "core"),
        ("outer/inner", "core"),
        ("core", "outer/again"),
    ] {
        scene.tries(
            format!("{from} to {to}"),
            fs::rename(scene.at(from), scene.at(to)),
        );
    }
    scene.tree("leaves");
    scene.stat("outer");
    Ok(())
}

/// Paths with dots, with slashes at the end, through files and through nothing.
pub fn odd_paths(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    scene.directory("directory")?;
    scene.directory("another")?;
    for (from, to) in [
        ("file", "file/below"),
        ("file", "missing/below"),
        ("missing/below", "new"),
        ("file/below", "new"),
        ("file", "new/"),
        ("file/", "new"),
        ("missing", "new/"),
        ("directory", "new/"),
        ("new/", "directory"),
        ("directory/", "another/"),
        ("another/.", "new"),
        ("another", "another/."),
        ("another/..", "new"),
        ("file", "another/.."),
        ("file", "another/moved"),
        ("another/moved", "file"),
        ("another", "file"),
        ("file", "another"),
    ] {
        scene.tries(
            format!("{from} to {to}"),
            fs::rename(scene.at(from), scene.at(to)),
        );
    }
    scene.tree("leaves");
    Ok(())
}

/// renameat2(2) of Linux.
pub fn flags(scene: &Scene) -> Result<()> {
    scene.file("one", b"1")?;
    scene.file("two", b"22")?;
    let rename =
        |from, to, flags| renameat2(AT_FDCWD, &scene.at(from), AT_FDCWD, &scene.at(to), flags);
    let (keep, exchange) = (RenameFlags::RENAME_NOREPLACE, RenameFlags::RENAME_EXCHANGE);
    scene.tries("without replacing", rename("one", "two", keep));
    scene.tries("to a free name", rename("one", "three", keep));
    scene.file("four", b"4444")?;
    scene.tries("exchange", rename("four", "two", exchange));
    scene.tree("leaves");
    Ok(())
}
