//! Hard links and symbolic ones.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown};

use anyhow::Result;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use super::scene::Scene;

/// link(2): from what to what.
pub fn hard_links(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    scene.directory("directory")?;
    scene.symlink("file", "to-file")?;
    scene.symlink("nowhere", "to-nothing")?;
    for (from, to) in [
        ("file", "link"),
        ("file", "link"),
        ("file", "file"),
        ("file", "directory"),
        ("file", "directory/link"),
        ("file", "to-nothing"),
        ("file", "missing/link"),
        ("file", "file/link"),
        ("file", "link/"),
        ("missing", "new"),
        ("directory", "new"),
        ("directory", "link"),
        ("to-file", "link-of-symlink"),
        ("to-nothing", "link-of-nothing"),
    ] {
        let link = linkat(
            AT_FDCWD,
            &scene.at(from),
            AT_FDCWD,
            &scene.at(to),
            AtFlags::empty(),
        );
        scene.tries(format!("{from} as {to}"), link);
    }
    scene.tree("leaves");
    for name in ["file", "link", "to-file", "link-of-symlink"] {
        scene.stat(name);
    }
    fs::write(scene.at("link"), b"other content")?;
    scene.gets(
        "through the other name",
        fs::read_to_string(scene.at("file")),
    );
    Ok(())
}

/// How many names a file has, after each thing that makes or takes one; for a directory, how many lie in it.
pub fn link_counts(scene: &Scene) -> Result<()> {
    let count = |what: &str, name: &str| {
        scene.gets(
            format!("links of {name} {what}"),
            fs::symlink_metadata(scene.at(name)).map(|of| of.nlink()),
        );
    };
    scene.file("a", b"")?;
    count("when new", "a");
    fs::hard_link(scene.at("a"), scene.at("b"))?;
    fs::hard_link(scene.at("b"), scene.at("c"))?;
    count("linked twice", "a");
    fs::remove_file(scene.at("a"))?;
    count("one removed", "b");
    scene.file("d", b"")?;
    fs::rename(scene.at("d"), scene.at("c"))?;
    count("one replaced", "b");
    count("that took its place", "c");
    fs::rename(scene.at("b"), scene.at("e"))?;
    count("renamed", "e");

    scene.directory("x")?;
    scene.directory("y")?;
    count("with two directories", "");
    scene.directory("x/in")?;
    count("with one inside", "x");
    fs::rename(scene.at("x/in"), scene.at("y/in"))?;
    count("with none", "x");
    count("with the one that came", "y");
    fs::remove_dir(scene.at("x"))?;
    count("with one directory", "");
    scene.file("y/file", b"")?;
    count("with a file more", "y");
    Ok(())
}

/// symlink(2), and what follows a link and what does not.
pub fn symbolic_links(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    scene.directory("directory")?;
    scene.symlink("file", "to-file")?;
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, scene.at(name));
    scene.tries("to nothing at all", link("", "empty"));
    scene.tries("where a file is", link("x", "file"));
    scene.tries("where a link is", link("x", "to-file"));
    scene.tries("in a file", link("x", "file/link"));
    scene.tries("in nothing", link("x", "missing/link"));
    for len in [1, 59, 60, 255, 1023, 1024, 4094, 4095, 4096] {
        let name = format!("of-{len}");
        scene.tries(format!("{len} bytes"), link(&"x".repeat(len), &name));
        scene.gets(
            format!("read {len} bytes"),
            fs::read_link(scene.at(&name)).map(|target| target.as_os_str().len()),
        );
        scene.stat(&name);
    }
    scene.tries("read a file as a link", fs::read_link(scene.at("file")));
    scene.tries(
        "read a directory as a link",
        fs::read_link(scene.at("directory")),
    );
    scene.tries(
        "change the owner of a link",
        lchown(scene.at("to-file"), None, None),
    );
    scene.tries("remove as a directory", fs::remove_dir(scene.at("to-file")));
    scene.tries("remove", fs::remove_file(scene.at("to-file")));
    scene.gets("what it led to", fs::read_to_string(scene.at("file")));
    Ok(())
}

/// Links that lead to each other, and a chain that is too long.
pub fn loops(scene: &Scene) -> Result<()> {
    scene.symlink("b", "a")?;
    scene.symlink("a", "b")?;
    scene.symlink("self", "self")?;
    scene.file("link-0", b"the end")?;
    for number in 1..=41 {
        scene.symlink(&format!("link-{}", number - 1), &format!("link-{number}"))?;
    }
    for name in ["a", "self", "a/below", "link-1", "link-40", "link-41"] {
        scene.gets(name, fs::read_to_string(scene.at(name)));
    }
    scene.tries("remove one of a loop", fs::remove_file(scene.at("a")));
    scene.gets("then", fs::read_to_string(scene.at("b")));
    Ok(())
}
