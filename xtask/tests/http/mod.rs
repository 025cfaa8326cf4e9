//! Programs of others read files, ranges and listings over HTTP: downloaders, QEMU's block driver, firmware, boot loaders and a browser.

mod boot;
mod clients;
mod ending;
mod health;
mod listing;
mod mirror;
mod rows;
mod rules;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use xtask::machines::http::HttpServer;
use xtask::machines::iso::{ROCK_RIDGE, write_image};
use xtask::machines::server::public_dir;
use xtask::setup;
use xtask::testing::pattern;

/// Length of the large file in bytes: enough for several connections of aria2.
const BIG_BYTES: usize = 5_000_001;

/// Files of the tree: path in a URL, path in the directory.
const FILES: [(&str, &str); 5] = [
    ("/big", "big"),
    ("/empty", "empty"),
    ("/a%20b/%C3%BC%23%3F%25.txt", "a b/ü#?%.txt"),
    ("/sub/link", "big"),
    ("/x.iso", "x.iso"),
];
/// Files in the image.
const IMAGE_FILES: [(&str, &str); 2] = [
    ("/x.iso/big", "big"),
    ("/x.iso/a%20b/%C3%BC%23%3F%25.txt", "a b/ü#?%.txt"),
];

/// A directory with files and an image of them, and its server.
struct World {
    server: HttpServer,
    tree: TempDir,
    /// The directory of the clients.
    work: TempDir,
}

impl World {
    fn new() -> Result<Self> {
        let (tree, work) = (public_dir()?, public_dir()?);
        let path = |name: &str| tree.path().join(name);
        fs::create_dir(path("a b"))?;
        fs::create_dir(path("sub"))?;
        fs::write(path("big"), pattern(7, 0, BIG_BYTES))?;
        fs::write(path("empty"), "")?;
        fs::write(path("a b/ü#?%.txt"), "odd name\n")?;
        symlink("../big", path("sub/link"))?;
        let image = work.path().join("x.iso");
        write_image(ROCK_RIDGE[0], tree.path(), &image)?;
        fs::rename(image, path("x.iso"))?;
        Ok(Self {
            server: HttpServer::start("http", [tree.path()])?,
            tree,
            work,
        })
    }

    /// Runs a shell command in the clients' directory, for at most a minute, and returns its stdout. `$URL` is the server's root
    /// without the slash.
    fn run(&self, line: &str) -> Result<String> {
        let mut command = Command::new("timeout");
        command
            .args(["60", "sh", "-c", line])
            .env("URL", self.server.url(""));
        let output = setup::run_captured(command.current_dir(self.work.path()));
        output.with_context(|| format!("{line}; the server printed {:#?}", self.server.lines()))
    }

    /// Path of a file in the clients' directory.
    fn got(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Fails unless the file `got` of the clients' directory has the bytes of `name` in the tree.
    fn ensure_same(&self, got: &str, name: &str) -> Result<()> {
        let wanted = fs::read(self.tree.path().join(name))?;
        let found = fs::read(self.got(got)).with_context(|| format!("no copy of {name}"))?;
        let at = found
            .iter()
            .zip(&wanted)
            .position(|(one, other)| one != other);
        let lens = (found.len(), wanted.len());
        ensure!(
            lens.0 == lens.1 && at.is_none(),
            "{name}: lengths {lens:?}, first other byte at {at:?}"
        );
        Ok(())
    }
}
