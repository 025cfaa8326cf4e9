//! Modes, and what becomes of the mode that one asks for.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use anyhow::Result;
use nix::sys::stat::{Mode, mkdirat, umask};
use nix::unistd::mkfifo;

use super::scene::Scene;

/// chmod of files, directories and what else there is.
pub fn every_mode(scene: &Scene) -> Result<()> {
    scene.file("file", b"")?;
    scene.directory("directory")?;
    mkfifo(&scene.at("fifo"), Mode::from_bits_truncate(0o644))?;
    scene.symlink("file", "link")?;
    for name in ["file", "directory", "fifo", "link"] {
        for mode in [
            0o000, 0o111, 0o400, 0o644, 0o777, 0o1777, 0o2755, 0o2644, 0o4755, 0o7777, 0o755,
        ] {
            let change = fs::set_permissions(scene.at(name), fs::Permissions::from_mode(mode));
            scene.tries_on(name, format!("{mode:04o} for {name}"), change);
        }
    }
    scene.mode("file through the link", "file");
    scene.tries(
        "nothing",
        fs::set_permissions(scene.at("missing"), fs::Permissions::from_mode(0o000)),
    );
    Ok(())
}

/// What the mask takes away from what is made.
pub fn masks(scene: &Scene) -> Result<()> {
    for mask in [0o000, 0o022, 0o077, 0o777] {
        let inner = scene.inner(&format!("mask {mask:03o}"))?;
        umask(Mode::from_bits_truncate(mask));
        let made = (|| -> Result<()> {
            File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o666)
                .open(inner.at("file"))?;
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o7777)
                .open(inner.at("new"))?;
            mkdirat(
                nix::fcntl::AT_FDCWD,
                &inner.at("directory"),
                Mode::from_bits_truncate(0o7777),
            )?;
            mkfifo(&inner.at("fifo"), Mode::from_bits_truncate(0o666))?;
            std::os::unix::fs::symlink("x", inner.at("link"))?;
            Ok(())
        })();
        umask(Mode::from_bits_truncate(0o022));
        made?;
        for name in ["file", "new", "directory", "fifo", "link"] {
            inner.stat(name);
        }
    }
    Ok(())
}

/// The mode counts when a file is opened, not afterwards.
pub fn read_only_file_through_its_descriptor(scene: &Scene) -> Result<()> {
    for mode in [0o444, 0o400, 0o000, 0o200] {
        let name = format!("made-{mode:03o}");
        let made = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(scene.at(&name));
        let Some(mut file) = scene.tries(format!("make {name}"), made) else {
            continue;
        };
        scene.tries(format!("write {name}"), file.write_all(b"written"));
        scene.tries(format!("sync {name}"), file.sync_all());
        scene.tries(format!("truncate {name}"), file.set_len(5));
        file.rewind()?;
        let mut content = String::new();
        scene.gets(format!("read {name}"), file.read_to_string(&mut content));
        scene.shows(format!("content of {name}"), content);
        drop(file);
        scene.tries(
            format!("open {name} to write"),
            File::options().write(true).open(scene.at(&name)),
        );
        scene.tries(format!("open {name} to read"), File::open(scene.at(&name)));
        scene.stat(&name);
    }
    scene.file("later", b"before")?;
    let mut writer = File::options().write(true).open(scene.at("later"))?;
    let mut reader = File::open(scene.at("later"))?;
    fs::set_permissions(scene.at("later"), fs::Permissions::from_mode(0o000))?;
    scene.tries(
        "write to what is closed to all",
        writer.write_all(b"behind"),
    );
    scene.tries("sync", writer.sync_all());
    let mut content = String::new();
    scene.gets("read it", reader.read_to_string(&mut content));
    scene.shows("content", content);
    Ok(())
}
