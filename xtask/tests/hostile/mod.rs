//! Peers that mean harm or are broken: the built file must answer by the protocol or close the connection, and live on.
//!
//! One module per way of being hostile. STOWAWAY_FULL=1 runs the long forms; STOWAWAY_SEED=N replays a seed.

mod arguments;
mod crowd;
mod framing;
mod handles;
mod mutations;
mod races;
mod trees;

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use xtask::clients::nfs::{Client, Outcome};
use xtask::machines::server::{Server, ServerOptions, public_dir};

/// A server, its export, a connection and the root's handle.
struct Scene {
    // The server goes before its directory.
    server: Server,
    client: Client,
    root: Vec<u8>,
    directory: TempDir,
}

impl Scene {
    /// Serves a directory with `small` (six bytes), `large` (2 MiB), `link` and `sub/inner`.
    fn new(user: Option<u32>) -> Result<Self> {
        Self::with(ServerOptions {
            user,
            ..ServerOptions::default()
        })
    }

    fn with(options: ServerOptions) -> Result<Self> {
        let directory = sample()?;
        let exports = vec![directory.path().display().to_string()];
        let server = Server::start(ServerOptions { exports, ..options })?;
        let (client, root) = server.open(directory.path())?;
        Ok(Self {
            server,
            client,
            root,
            directory,
        })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The server still runs and answers a good client.
    fn is_well(&mut self) -> Result<()> {
        ensure!(
            self.server.is_alive()?,
            "the server ended; it said {:#?}",
            self.server.lines()
        );
        let (mut client, root) = self.server.open(self.directory.path())?;
        let file = client.lookup(&root, "small")?;
        ensure!(
            client.read(&file, 0, 100)? == (b"small\n".as_slice(), true),
            "another file than before"
        );
        Ok(())
    }
}

fn sample() -> Result<TempDir> {
    let directory = public_dir()?;
    let path = directory.path();
    fs::create_dir(path.join("sub")).context("cannot make the sample")?;
    fs::write(path.join("sub/inner"), "inner\n")?;
    fs::write(path.join("small"), "small\n")?;
    fs::write(path.join("large"), vec![b'x'; 2 << 20])?;
    std::os::unix::fs::symlink("small", path.join("link"))?;
    Ok(directory)
}

/// Whether the long forms are asked for.
fn full() -> bool {
    std::env::var_os("STOWAWAY_FULL").is_some()
}

/// The server refused the call as such, or closed the connection.
fn refused(outcome: Option<Outcome<'_>>) -> bool {
    !matches!(outcome, Some(Outcome::Success(_)))
}
