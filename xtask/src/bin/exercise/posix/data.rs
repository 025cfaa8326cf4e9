//! What is in files: sizes, holes, appends, mappings, and files whose names change or go while they are open.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};

use anyhow::{Context as _, Result};
use nix::unistd::truncate;

use super::scene::{Scene, describe};

/// truncate and ftruncate.
pub fn sizes(scene: &Scene) -> Result<()> {
    scene.file("file", b"0123456789")?;
    scene.directory("directory")?;
    let path = scene.at("file");
    for len in [4, 4, 8, 5000, 0, 0, 1 << 33, 1 << 62, -1, 3] {
        scene.tries_on("file", format!("truncate to {len}"), truncate(&path, len));
    }
    scene.gets("content", fs::read(&path).map(|c| format!("{c:?}")));
    scene.tries("truncate a directory", truncate(&scene.at("directory"), 0));
    scene.tries("truncate nothing", truncate(&scene.at("missing"), 0));

    // What was cut off must not come back.
    scene.file("again", &[b'x'; 10_000])?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(scene.at("again"))?;
    file.set_len(100)?;
    file.set_len(9_000)?;
    file.write_all_at(b"far", 20_000)?;
    let mut content = Vec::new();
    (&file).read_to_end(&mut content)?;
    let count = |byte| content.iter().filter(|&&b| b == byte).count();
    scene.shows(
        "cut, longer, and written past the end",
        format!(
            "{} bytes, {} x, {} zeros",
            content.len(),
            count(b'x'),
            count(0)
        ),
    );
    Ok(())
}

/// O_APPEND: where the end is, is found out at each write.
pub fn appending(scene: &Scene) -> Result<()> {
    scene.file("file", b"-")?;
    let path = scene.at("file");
    let open = || File::options().append(true).open(&path);
    let (mut first, mut second) = (open()?, open()?);
    for _ in 0..3 {
        first.write_all(b"a")?;
        second.write_all(b"bb")?;
    }
    scene.gets("two in turns", fs::read_to_string(&path));
    first.write_all_at(b"c", 0).context("pwrite")?;
    scene.gets("pwrite at 0 appends", fs::read_to_string(&path));
    first.set_len(2)?;
    second.write_all(b"d")?;
    scene.gets("after another cut it", fs::read_to_string(&path));
    Ok(())
}

/// Writes with nothing in between take no space, and read as zeros.
pub fn holes(scene: &Scene) -> Result<()> {
    let path = scene.at("sparse");
    let file = File::create_new(&path)?;
    for at in [0, 1 << 20, (4 << 30) + 123, (1 << 32) - 3] {
        file.write_all_at(b"island", at)?;
    }
    file.sync_all()?;
    let of = file.metadata()?;
    scene.shows("length", of.len());
    scene.shows("takes less than 1 MiB", of.blocks() * 512 < 1 << 20);
    let reader = File::open(&path)?;
    for at in [0, 1 << 20, (1 << 32) - 5, (4 << 30) + 120, 3 << 30] {
        let mut seen = [1; 12];
        let count = reader.read_at(&mut seen, at)?;
        scene.shows(format!("at {at}"), seen[..count].escape_ascii());
    }
    Ok(())
}

/// What is written through a mapping is what is read, and the other way round.
pub fn mappings(scene: &Scene) -> Result<()> {
    scene.file("file", &[b'-'; 20_000])?;
    let path = scene.at("file");
    let file = File::options().read(true).write(true).open(&path)?;
    let mut map = map(&file)?;
    map[10_000..10_006].copy_from_slice(b"mapped");
    let mut seen = [0; 8];
    file.read_exact_at(&mut seen, 9_999)?;
    scene.shows("read what was mapped", seen.escape_ascii());
    file.write_all_at(b"written", 15_000)?;
    scene.shows(
        "mapped what was written",
        map[14_999..15_008].escape_ascii(),
    );
    map.flush()?;
    drop((map, file));
    let content = fs::read(&path)?;
    let count = content.iter().filter(|&&byte| byte != b'-').count();
    scene.shows("bytes that changed", count);
    scene.stat("file");
    Ok(())
}

/// A file that was removed while it is open goes on for who has it open.
pub fn file_without_a_name(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    scene.directory("directory")?;
    scene.file("directory/file", b"content")?;
    let path = scene.at("file");
    let mut file = File::options().read(true).write(true).open(&path)?;
    scene.tries("remove", fs::remove_file(&path));
    scene.tries("find", fs::metadata(&path));
    scene.gets("links", file.metadata().map(|of| of.nlink()));
    file.write_all_at(b"CON", 0)?;
    let mut content = String::new();
    scene.gets("read", file.read_to_string(&mut content));
    scene.shows("content", content);
    scene.tries("truncate", file.set_len(2));
    scene.tries("a new one", File::create_new(&path));
    scene.gets("the old one", file.metadata().map(|of| of.len()));
    drop(file);
    scene.tree("closed");

    let held = File::open(scene.at("directory/file"))?;
    fs::remove_file(scene.at("directory/file"))?;
    scene.tries(
        "remove its directory",
        fs::remove_dir(scene.at("directory")),
    );
    drop(held);
    scene.tree("closed as well");
    Ok(())
}

/// An open file is the same under any name.
pub fn renamed_while_open(scene: &Scene) -> Result<()> {
    scene.file("before", b"content")?;
    scene.file("target", b"the other one")?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(scene.at("before"))?;
    let other = File::open(scene.at("target"))?;
    fs::rename(scene.at("before"), scene.at("target"))?;
    scene.tries("write", file.write_all_at(b"C", 0));
    scene.tries("mode", file.set_permissions(Permissions::from_mode(0o640)));
    scene.gets("content", fs::read_to_string(scene.at("target")));
    scene.gets("described", file.metadata().map(|of| describe(&of)));
    let mut seen = [0; 5];
    scene.tries("read the replaced one", other.read_exact_at(&mut seen, 4));
    scene.shows("it says", seen.escape_ascii());
    drop((file, other));
    scene.tree("closed");
    Ok(())
}

/// A whole file in memory, shared with who reads it.
#[allow(unsafe_code)]
pub fn map(file: &File) -> Result<memmap2::MmapMut> {
    // SAFETY: nobody else knows the file, and what a write to it does to the mapping is just what the law asks.
    unsafe { memmap2::MmapMut::map_mut(file) }.context("cannot map the file")
}
