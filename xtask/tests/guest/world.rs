//! What all tests of this file share: one guest, one server, one network namespace and the directories it serves.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::qemu::{self, Guest};
use xtask::machines::server::{self, Namespace, Server, ServerOptions, public_dir};
use xtask::setup::{self, Package};

use crate::tree;

const MACHINE: &str = "nfs-client";
/// Another address of the host, where servers that listen everywhere are found as well.
pub const SECOND_HOST: &str = "192.0.2.1";

/// Dropped from the first to the last.
pub struct World {
    /// Reaches the servers as 10.0.2.2.
    pub guest: Guest,
    /// On ports 111 and 2049; exports `tree` and `other`.
    pub server: Server,
    namespace: Namespace,
    /// As `tree::grow` fills it.
    pub tree: TempDir,
    /// Holds one file, `other`.
    pub other: TempDir,
}

impl World {
    /// Builds, fetches, fills and boots everything.
    pub fn new() -> Result<Self> {
        setup::need(&[Package::IPROUTE2, Package::NFS_COMMON, Package::RPCBIND])?;
        // All that comes from elsewhere comes now: the namespace has no way out.
        qemu::prepare(MACHINE)?;
        server::binary(Arch::X86_64)?;
        server::binary(Arch::I686)?;

        let (tree, other) = (public_dir()?, public_dir()?);
        tree::grow(tree.path()).context("cannot make the tree to serve")?;
        tree::create(&other.path().join("other"), b"the other export")?;
        let exports = ServerOptions::serving(&[tree.path(), other.path()]);
        let options = ServerOptions {
            port: 2049,
            portmap: true,
            ..exports
        };
        let namespace = Namespace::new()?;
        setup::quietly(
            namespace
                .command("ip")
                .args(["address", "add", SECOND_HOST, "dev", "lo"]),
        )?;
        let (server, guest) =
            namespace.run(|| Ok((Server::start(options)?, Guest::boot(MACHINE)?)))?;
        Ok(Self {
            guest,
            server,
            namespace,
            tree,
            other,
        })
    }

    /// Starts another server where the guest can reach it.
    pub fn serve(&self, options: ServerOptions) -> Result<Server> {
        self.namespace.run(|| Server::start(options))
    }

    /// Runs a command on the host, in the namespace and the tree; it must succeed.
    pub fn on_host(&self, program: &str, words: &[&str]) -> Result<Vec<u8>> {
        let output = self
            .namespace
            .command(program)
            .args(words)
            .current_dir(self.tree.path())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{program} {words:?} on the host: {said}"
        );
        Ok(output.stdout)
    }

    /// Mounts the tree with `options` in the guest, runs a script there that must succeed, and unmounts.
    pub fn in_tree(&mut self, options: &str, script: &str) -> Result<String> {
        let script = in_mount(self.tree.path(), options) + script;
        self.guest.sh(&script)
    }
}

/// The beginning of a script that works in a mounted directory and unmounts it when it ends.
pub fn in_mount(directory: &Path, options: &str) -> String {
    let directory = directory.display();
    format!(
        "set -e; mkdir -p /mnt/1; mount -o {options} 10.0.2.2:{directory} /mnt/1
        trap 'cd /; umount /mnt/1' EXIT; cd /mnt/1
        "
    )
}

/// The options with which `server` is mounted when it does not listen on 111. Without proto=tcp, mount.nfs asks
/// portmap all the same.
pub fn ports_of(server: &Server) -> String {
    format!(
        "ro,nolock,vers=3,proto=tcp,port={},mountport={}",
        server.nfs_port, server.mount_port
    )
}
