//! The environment that all tests share: one guest, one server, one network namespace, and the exported directories.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::port::Port;
use xtask::machines::qemu::tap::Tap;
use xtask::machines::qemu::{self, Guest};
use xtask::machines::server::{self, Namespace, Server, ServerOptions, public_dir};
use xtask::machines::wait_for;
use xtask::setup;

use crate::tree;

const MACHINE: &str = "nfs-client";
/// Time limit for the processes of a killed server to close its port.
const PORT_MAX: Duration = Duration::from_secs(30);
/// Time limit for the end of a killed server.
const END_MAX: Duration = Duration::from_secs(5);

/// The environment of all tests. Its fields are dropped in this order: the guest ends before the server.
pub struct World {
    /// Reaches the servers at 10.0.2.2.
    pub guest: Guest,
    /// The last calls of the guest.
    pub tap: Tap,
    /// Listens on ports 111 and 2049; exports `tree`.
    pub server: Server,
    namespace: Namespace,
    /// The directory that `tree::create_tree` fills.
    pub tree: TempDir,
}

impl World {
    /// Builds the files, fetches packages, creates the tree, starts the server and boots the guest.
    pub fn new() -> Result<Self> {
        setup::install_packages(&["iproute2", "nfs-common", "rpcbind"])?;
        // Downloads everything first: the namespace has no connection to the Internet.
        qemu::prepare(MACHINE)?;
        server::binary(Arch::X86_64)?;
        server::binary(Arch::I686)?;

        let tree = public_dir()?;
        tree::create_tree(tree.path()).context("cannot create the tree to export")?;
        let options = on_usual_ports(&[tree.path()]);
        let namespace = Namespace::new()?;
        let (server, (guest, tap)) =
            namespace.run(|| Ok((Server::start(options)?, Guest::boot_tapped(MACHINE)?)))?;
        Ok(Self {
            guest,
            tap,
            server,
            namespace,
            tree,
        })
    }

    /// Boots another guest in the same namespace.
    pub fn boot(&self) -> Result<Guest> {
        self.namespace.run(|| Guest::boot(MACHINE))
    }

    /// Reserves a port in the guest's namespace. The network of a guest connects to a server's port also while no server listens, and
    /// would otherwise once connect to itself.
    pub fn reserve(&self) -> Result<Port> {
        self.namespace.run(Port::reserve)
    }

    /// Waits until no process listens on a port: those of a server that was killed may take a while to end on a busy host.
    pub fn wait_for_port(&self, port: u16) -> Result<()> {
        let is_free = || Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let free = self.namespace.run(|| wait_for(PORT_MAX, is_free))?;
        free.map(drop)
            .with_context(|| format!("a killed server listens on port {port}"))
    }

    /// Starts another server in the guest's namespace.
    pub fn serve(&self, options: ServerOptions) -> Result<Server> {
        self.namespace.run(|| Server::start(options))
    }

    /// Ends the server on ports 111 and 2049, and starts one in its place that exports the tree and `more`.
    pub fn replace_server(&mut self, more: &Path, arguments: &[&str]) -> Result<()> {
        self.server.signal(Signal::SIGKILL)?;
        let ended = wait_for(END_MAX, || Ok((!self.server.is_alive()?).then_some(())))?;
        ended.context("the server does not end")?;
        let arguments = arguments.iter().map(|word| (*word).to_owned());
        self.server = self.serve(ServerOptions {
            arguments: arguments.collect(),
            ..on_usual_ports(&[self.tree.path(), more])
        })?;
        Ok(())
    }

    /// Runs a command on the host, in the namespace and with the tree as the working directory. An error if it fails.
    pub fn on_host(&self, program: &str, words: &[&str]) -> Result<Vec<u8>> {
        let output = self
            .namespace
            .command(program)
            .args(words)
            .current_dir(self.tree.path())
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{program} {words:?} on the host: {stderr}"
        );
        Ok(output.stdout)
    }

    /// Mounts the tree in the guest with `options`, runs a script in it that must succeed, and unmounts the tree.
    pub fn in_tree(&mut self, options: &str, script: &str) -> Result<String> {
        let script = in_mount(self.tree.path(), options) + script;
        self.guest.run_ok(&script)
    }
}

/// Options of a server on ports 111 and 2049.
fn on_usual_ports(exported: &[&Path]) -> ServerOptions {
    ServerOptions {
        port: 2049,
        portmap: true,
        ..ServerOptions::serving(exported)
    }
}

/// The start of a shell script that mounts `directory`, works in it, and unmounts it at exit.
pub fn in_mount(directory: &Path, options: &str) -> String {
    let directory = directory.display();
    format!(
        "set -e; mkdir -p /mnt/1; mount -o {options} 10.0.2.2:{directory} /mnt/1
        trap 'cd /; umount /mnt/1' EXIT; cd /mnt/1
        "
    )
}

/// Mount options for a server without portmap. proto=tcp is needed: otherwise mount.nfs still asks portmap.
pub fn ports_of(server: &Server) -> String {
    format!(
        "ro,nolock,vers=3,proto=tcp,port={},mountport={}",
        server.nfs_port, server.mount_port
    )
}
