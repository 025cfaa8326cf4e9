//! open(2): which flags find, make and empty what.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::scene::Scene;

const MODE: Mode = Mode::from_bits_truncate(0o644);

/// Each set of flags with each kind of name, and what there is afterwards.
pub fn flags(scene: &Scene) -> Result<()> {
    let names = [
        "missing",
        "file",
        "directory",
        "to-file",
        "to-directory",
        "to-nothing",
        "file/below",
        "missing/below",
        "directory/below",
        "file/",
        "missing/",
        "directory/.",
        "directory/..",
    ];
    let write = OFlag::O_WRONLY;
    let new = OFlag::O_CREAT;
    for (words, flags) in [
        ("read", OFlag::O_RDONLY),
        ("write", write),
        ("read and write", OFlag::O_RDWR),
        ("append", write | OFlag::O_APPEND),
        ("create", write | new),
        ("create to read", new),
        ("create new", write | new | OFlag::O_EXCL),
        ("truncate", write | OFlag::O_TRUNC),
        ("create or truncate", write | new | OFlag::O_TRUNC),
        ("directory", OFlag::O_DIRECTORY),
        ("not through a link", OFlag::O_NOFOLLOW),
        ("create not through a link", write | new | OFlag::O_NOFOLLOW),
    ] {
        let inner = scene.inner(words)?;
        inner.file("file", b"content")?;
        inner.directory("directory")?;
        inner.symlink("file", "to-file")?;
        inner.symlink("directory", "to-directory")?;
        inner.symlink("nowhere", "to-nothing")?;
        for name in names {
            inner.tries(name, open(&inner.at(name), flags, MODE));
        }
        inner.tree("leaves");
    }
    scene.tries("an empty path", open("", OFlag::O_RDONLY, MODE));
    Ok(())
}

/// O_EXCL: whoever comes second is told so, whatever is there.
pub fn exclusive_creation(scene: &Scene) -> Result<()> {
    let new = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
    for mode in [0o644, 0o600, 0o444, 0o000, 0o4755, 0o2755, 0o1777] {
        let name = format!("mode-{mode:o}");
        let made = open(&scene.at(&name), new, Mode::from_bits_truncate(mode));
        if let Some(made) = scene.tries(format!("make {name}"), made) {
            let mut made = File::from(made);
            scene.tries(format!("write {name}"), made.write_all(b"written"));
        }
        scene.stat(&name);
        scene.tries(
            format!("make {name} again"),
            open(&scene.at(&name), new, MODE),
        );
    }
    scene.times("when it is made", &["timed", "."], || {
        open(&scene.at("timed"), new, MODE)
    })?;
    scene.times("when it is there", &["timed", "."], || {
        open(&scene.at("timed"), new, MODE)
    })
}

/// What a descriptor is good for.
pub fn descriptors(scene: &Scene) -> Result<()> {
    scene.file("file", b"0123456789")?;
    let path = scene.at("file");
    let reader = File::open(&path)?;
    let mut writer = File::options().write(true).open(&path)?;
    scene.tries("write to a reader", (&reader).write(b"x"));
    scene.tries("read from a writer", writer.read(&mut [0; 4]));
    scene.tries("truncate a reader", reader.set_len(0));
    scene.gets("read at the end", reader.read_at(&mut [0; 4], 10));
    scene.gets("read past the end", reader.read_at(&mut [0; 4], 1 << 40));
    scene.gets("read across the end", reader.read_at(&mut [0; 4], 8));
    scene.gets("write nothing past the end", writer.write_at(b"", 100));
    scene.stat("file");
    let directory = File::open(scene.at(""))?;
    scene.tries("read a directory", (&directory).read(&mut [0; 4]));
    scene.tries("sync a directory", directory.sync_all());
    scene.tries("sync a reader", reader.sync_all());
    Ok(())
}
