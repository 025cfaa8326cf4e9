//! What is neither file nor directory nor link.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::Result;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use super::scene::Scene;

const MODE: Mode = Mode::from_bits_truncate(0o640);

/// Two processes of one machine meet there.
pub fn fifos_and_sockets(scene: &Scene) -> Result<()> {
    scene.tries("mkfifo", mkfifo(&scene.at("fifo"), MODE));
    scene.tries("mkfifo again", mkfifo(&scene.at("fifo"), MODE));
    scene.stat("fifo");
    // Opened for both at once, it waits for nobody.
    let mut fifo = File::options()
        .read(true)
        .write(true)
        .open(scene.at("fifo"))?;
    fifo.write_all(b"word")?;
    let mut word = [0; 4];
    fifo.read_exact(&mut word)?;
    scene.shows("through the fifo", word.escape_ascii());
    scene.stat("fifo");

    // A socket's path may have 107 bytes, so it is bound from within the directory.
    let home = std::env::current_dir()?;
    std::env::set_current_dir(scene.at(""))?;
    meet(scene);
    std::env::set_current_dir(home)?;
    scene.mode("socket", "socket");
    scene.tries("open the socket", File::open(scene.at("socket")));
    scene.tries(
        "rename the fifo",
        fs::rename(scene.at("fifo"), scene.at("other")),
    );
    scene.tries(
        "link the socket",
        fs::hard_link(scene.at("socket"), scene.at("link")),
    );
    scene.tree("leaves");
    scene.tries("remove the socket", fs::remove_file(scene.at("socket")));
    Ok(())
}

/// mknod(2), most of which is for root.
pub fn devices(scene: &Scene) -> Result<()> {
    for (name, kind, major, minor) in [
        ("character", SFlag::S_IFCHR, 1, 3),
        ("block", SFlag::S_IFBLK, 7, 200),
        ("large numbers", SFlag::S_IFCHR, 4000, 70_000),
        ("regular", SFlag::S_IFREG, 0, 0),
        ("fifo", SFlag::S_IFIFO, 0, 0),
        ("socket", SFlag::S_IFSOCK, 0, 0),
        ("directory", SFlag::S_IFDIR, 0, 0),
    ] {
        scene.tries(
            format!("make {name}"),
            mknod(&scene.at(name), kind, MODE, makedev(major, minor)),
        );
        scene.stat(name);
        scene.gets(
            format!("number of {name}"),
            fs::symlink_metadata(scene.at(name)).map(|of| of.rdev()),
        );
    }
    scene.tries(
        "again",
        mknod(&scene.at("fifo"), SFlag::S_IFCHR, MODE, makedev(1, 3)),
    );
    scene.tree("leaves");
    Ok(())
}

/// One process listens at `socket` in the working directory, another one comes.
fn meet(scene: &Scene) {
    let listener = scene.tries("bind", UnixListener::bind("socket"));
    scene.tries("bind again", UnixListener::bind("socket"));
    scene.tries("connect", UnixStream::connect("socket"));
    drop(listener);
    scene.tries("connect to nobody", UnixStream::connect("socket"));
    scene.tries(
        "connect to a file that is none",
        UnixStream::connect("fifo"),
    );
}
