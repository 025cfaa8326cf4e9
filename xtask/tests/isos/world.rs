//! What all tests of this file share: a guest, a server, the images that it exports, and what Linux shows of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::qemu::{self, Guest};
use xtask::machines::server::{self, Namespace, Server, ServerOptions, public_dir};
use xtask::setup::{self, Package};

use crate::{images, live};

/// The host as guests see it.
pub const HOST: &str = "10.0.2.2";
const MACHINE: &str = "nfs-client";

/// Dropped from the first to the last.
pub struct World {
    /// Reaches the servers as [`HOST`]; the images lie in /images.
    pub guest: Guest,
    /// On ports 111 and 2049; exports `images`, and what is in them.
    pub server: Server,
    namespace: Namespace,
    /// As `images::all` fills it.
    pub images: TempDir,
    /// The SHA-256 of the file system in the live system's image.
    pub live_sum: String,
    /// What was shown already.
    linux: BTreeMap<String, Vec<String>>,
}

impl World {
    /// Builds, fetches, makes and boots everything.
    pub fn new() -> Result<Self> {
        setup::need(&[Package::IPROUTE2, Package::NFS_COMMON])?;
        // All that comes from elsewhere comes now: the namespace has no way out.
        qemu::prepare(MACHINE)?;
        qemu::prepare(live::MACHINE)?;
        server::binary(Arch::X86_64)?;
        server::binary(Arch::I686)?;
        let images = public_dir()?;
        let making = setup::progress("making images");
        images::all(images.path())?;
        let live_sum = live::image(images.path())?;
        making.done();
        let options = ServerOptions {
            port: 2049,
            portmap: true,
            ..serving(images.path())
        };
        let namespace = Namespace::new()?;
        let (server, mut guest) =
            namespace.run(|| Ok((Server::start(options)?, Guest::boot(MACHINE)?)))?;
        guest.sh(&format!(
            "set -e; mkdir -p /images /linux /inside
            mount -o ro,nolock {HOST}:{} /images",
            images.path().display()
        ))?;
        Ok(Self {
            guest,
            server,
            namespace,
            images,
            live_sum,
            linux: BTreeMap::new(),
        })
    }

    /// Starts another server where guests can reach it.
    pub fn serve(&self, options: ServerOptions) -> Result<Server> {
        self.namespace.run(|| Server::start(options))
    }

    /// Starts another machine where it reaches the servers, and waits for its end: what its console said.
    pub fn watch(&self, words: &str, init: Option<&str>) -> Result<String> {
        self.namespace
            .run(|| qemu::watch(live::MACHINE, words, init))
    }

    /// What Linux shows of the inside of an image.
    pub fn linux(&mut self, image: &str) -> Result<Vec<String>> {
        if let Some(lines) = self.linux.get(image) {
            return Ok(lines.clone());
        }
        let text = self.guest.sh(&format!(
            "set -e; mount -t iso9660 -o loop,ro '/images/{image}' /linux
            trap 'umount /linux' EXIT
            exercise inventory /linux"
        ))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.linux.insert(image.into(), lines.clone());
        Ok(lines)
    }

    /// What the guest sees of something that a server exports.
    pub fn mounted(&mut self, options: &str, path: &Path) -> Result<Vec<String>> {
        let text = self.in_mount(options, path, "exercise inventory .")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Mounts in the guest what a server exports, runs a script there that must succeed, and unmounts.
    pub fn in_mount(&mut self, options: &str, path: &Path, script: &str) -> Result<String> {
        self.guest.sh(&format!(
            "set -e; mount -o {options} '{HOST}:{}' /inside
            trap 'cd /; umount /inside' EXIT
            cd /inside; {script}",
            path.display()
        ))
    }
}

/// Serves images with what is in them, to the guest's root as to root.
pub fn serving(images: &Path) -> ServerOptions {
    ServerOptions {
        exports: vec![format!("{}:isos,no_root_squash", images.display())],
        ..ServerOptions::default()
    }
}
