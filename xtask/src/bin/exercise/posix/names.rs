//! Which names there may be: how long, and of which bytes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;

use anyhow::Result;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::scene::Scene;

/// Names of 255 bytes and of 256, in every call that takes one, and paths that are too long.
pub fn lengths(scene: &Scene) -> Result<()> {
    scene.file("file", b"")?;
    scene.directory("directory")?;
    for len in [255, 256] {
        let name = "n".repeat(len);
        let at = scene.at(&name);
        let tries = |what: &str, outcome: std::io::Result<()>| {
            scene.tries(format!("{what}, {len} bytes"), outcome);
            // So that the next finds the name free.
            let _ = fs::remove_file(&at);
            let _ = fs::remove_dir(&at);
        };
        tries("stat", fs::metadata(&at).map(drop));
        tries("open", File::open(&at).map(drop));
        tries("create", File::create(&at).map(drop));
        tries("create new", File::create_new(&at).map(drop));
        tries("mkdir", fs::create_dir(&at));
        tries("symlink", std::os::unix::fs::symlink("x", &at));
        tries("link", fs::hard_link(scene.at("file"), &at));
        tries(
            "mkfifo",
            mkfifo(&at, Mode::from_bits_truncate(0o644)).map_err(Into::into),
        );
        tries("unlink", fs::remove_file(&at));
        tries("rmdir", fs::remove_dir(&at));
        tries("rename from", fs::rename(&at, scene.at("new")));
        tries("rename onto", fs::rename(scene.at("directory"), &at));
        // It may have moved.
        let _ = fs::create_dir(scene.at("directory"));
    }
    scene.tries("two dots more", File::create(scene.at("é".repeat(127))));
    scene.tries("too many letters", File::create(scene.at("é".repeat(128))));
    let long = "directory/../".repeat(330) + "file";
    scene.tries(
        "a path of more than 4,096 bytes",
        fs::metadata(scene.at(&long)),
    );
    let names = fs::read_dir(scene.at(""))?.filter_map(|entry| Some(entry.ok()?.file_name().len()));
    let mut lens: Vec<usize> = names.collect();
    lens.sort_unstable();
    scene.shows("leaves names of", format!("{lens:?}"));
    Ok(())
}

/// Every byte but the slash and the end is a letter.
pub fn odd_bytes(scene: &Scene) -> Result<()> {
    let names: [&[u8]; 14] = [
        b" ",
        b"...",
        b"..x",
        b"-",
        b"~",
        b"new\nline",
        b"\x01\x7f",
        b"\xff",
        b"\xc3\x28",
        b"back\\slash",
        b"*?[",
        b"CON",
        b"con",
        b"trailing.",
    ];
    for name in names {
        let path = scene.at(OsStr::from_bytes(name));
        scene.tries(name.escape_ascii(), File::create_new(&path));
    }
    // The same letter in two ways of writing it: two names.
    for name in ["\u{e9}", "e\u{301}"] {
        scene.tries(
            name.as_bytes().escape_ascii(),
            File::create_new(scene.at(name)),
        );
    }
    scene.tree("leaves");
    Ok(())
}
