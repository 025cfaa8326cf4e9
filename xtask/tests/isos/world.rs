//! The environment that all tests share: a guest, a server, the exported images, and Linux' view of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::qemu::{self, Guest};
use xtask::machines::server::{self, Namespace, Server, ServerOptions, public_dir};
use xtask::setup;

use crate::{images, live, made, udf};

/// The address at which guests reach the host.
pub const HOST: &str = "10.0.2.2";
const MACHINE: &str = "nfs-client";

/// The environment. Fields are dropped in this order, so guest and server end before their namespace is removed.
pub struct World {
    /// The machine that mounts exports. It reaches servers at [`HOST`]; `images` is mounted in /images.
    pub guest: Guest,
    /// Listens on ports 111 and 2049; exports `images` with the option `isos`.
    pub server: Server,
    namespace: Namespace,
    /// The images of `images::all`.
    pub images: TempDir,
    /// Linux' view of an image, cached by image name.
    linux: BTreeMap<String, Vec<String>>,
}

impl World {
    /// Builds the files, fetches packages, makes the images, starts the server and boots the guest.
    pub fn new() -> Result<Self> {
        setup::install_packages(&["iproute2", "nfs-common"])?;
        // Downloads everything first: the namespace has no connection to the Internet.
        qemu::prepare(MACHINE)?;
        qemu::prepare(live::MACHINE)?;
        server::binary(Arch::X86_64)?;
        server::binary(Arch::I686)?;
        let images = public_dir()?;
        let making = setup::progress("making images");
        udf::all(images.path())?;
        made::all(images.path())?;
        images::all(images.path())?;
        live::image(images.path())?;
        making.done();
        let options = ServerOptions {
            port: 2049,
            portmap: true,
            ..serving(images.path())
        };
        let namespace = Namespace::new()?;
        let (server, mut guest) =
            namespace.run(|| Ok((Server::start(options)?, Guest::boot(MACHINE)?)))?;
        fill(&namespace, &mut guest, images.path())?;
        guest.run_ok(&format!(
            "set -e; mkdir -p /images /inside
            mount -o ro,nolock,vers=3 {HOST}:{} /images",
            images.path().display()
        ))?;
        Ok(Self {
            guest,
            server,
            namespace,
            images,
            linux: BTreeMap::new(),
        })
    }

    /// Starts another server in the guests' namespace.
    pub fn serve(&self, options: ServerOptions) -> Result<Server> {
        self.namespace.run(|| Server::start(options))
    }

    /// Boots another machine in the servers' namespace and waits for its end. Returns its console output.
    pub fn watch(&self, words: &str) -> Result<String> {
        self.namespace.run(|| qemu::watch(live::MACHINE, words))
    }

    /// Returns the lines of `exercise inventory` for an image that the guest's kernel mounts itself.
    pub fn linux(&mut self, image: &str) -> Result<Vec<String>> {
        if let Some(lines) = self.linux.get(image) {
            return Ok(lines.clone());
        }
        let kind = match image.starts_with("udf") {
            true => "udf",
            false => "iso9660",
        };
        let text = self.guest.run_ok(&format!(
            "set -e; mount -t {kind} -o loop,ro '/images/{image}' /linux
            trap 'umount /linux' EXIT
            exercise inventory /linux"
        ))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.linux.insert(image.into(), lines.clone());
        Ok(lines)
    }

    /// Returns the lines of `exercise inventory` for an export that the guest mounts over NFS.
    pub fn list_mounted(&mut self, options: &str, path: &Path) -> Result<Vec<String>> {
        let text = self.in_mount(options, path, "exercise inventory .")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Mounts an export in the guest, runs a script in it that must succeed, and unmounts the export.
    pub fn in_mount(&mut self, options: &str, path: &Path, script: &str) -> Result<String> {
        self.guest.run_ok(&format!(
            "set -e; mount -o {options} '{HOST}:{}' /inside
            trap 'cd /; umount /inside' EXIT
            cd /inside; {script}",
            path.display()
        ))
    }
}

/// Lets the guest fill the UDF images of mkudffs, by a server that exports them for writing.
fn fill(namespace: &Namespace, guest: &mut Guest, images: &Path) -> Result<()> {
    let filling = setup::progress("filling UDF images");
    let options = ServerOptions {
        exports: vec![format!("{}:rw,no_root_squash", images.display())],
        ..ServerOptions::default()
    };
    let server = namespace.run(|| Server::start(options))?;
    let ports = (server.nfs_port, server.mount_port);
    guest.run_ok(&format!(
        "set -e; mkdir -p /fill /linux
        mount -o nolock,vers=3,proto=tcp,port={},mountport={} {HOST}:{} /fill",
        ports.0,
        ports.1,
        images.display()
    ))?;
    for name in udf::to_fill() {
        guest.run_ok(&udf::fill(name))?;
    }
    guest.run_ok("umount /fill")?;
    filling.done();
    Ok(())
}

/// Options to export `images` with `isos` and `no_root_squash`.
pub fn serving(images: &Path) -> ServerOptions {
    ServerOptions {
        exports: vec![format!("{}:isos,no_root_squash", images.display())],
        ..ServerOptions::default()
    }
}
