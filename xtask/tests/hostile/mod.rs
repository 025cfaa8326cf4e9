//! Hostile or broken NFS clients: the server must answer according to the protocol or close the connection, and keep running.
//!
//! One module per kind of hostility. STOWAWAY_FULL=1 runs more iterations; STOWAWAY_SEED=N replays a seed.

mod crowd;
mod handles;
mod mutations;
mod races;
mod trees;

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use xtask::clients::nfs::{Client, Outcome};
use xtask::machines::server::public_dir;
use xtask::testing::{self, Sample};

/// A sample with `small` (six bytes), `large` (2 MiB), `link` and `sub/inner`.
struct Small;

type Scene = testing::Scene<Small>;

impl Sample for Small {
    const OPTIONS: &str = "";

    fn fill(path: &Path) -> Result<()> {
        fs::create_dir(path.join("sub")).context("cannot make the sample")?;
        fs::write(path.join("sub/inner"), "inner\n")?;
        fs::write(path.join("small"), "small\n")?;
        fs::write(path.join("large"), vec![b'x'; 2 << 20])?;
        std::os::unix::fs::symlink("small", path.join("link"))?;
        Ok(())
    }

    /// Checks that `small` can be read and is unchanged.
    fn check(client: &mut Client, root: &[u8]) -> Result<()> {
        let file = client.lookup(root, "small")?;
        ensure!(
            client.read(&file, 0, 100)? == (b"small\n".as_slice(), true),
            "small has changed"
        );
        Ok(())
    }
}

fn sample() -> Result<TempDir> {
    let directory = public_dir()?;
    Small::fill(directory.path())?;
    Ok(directory)
}

/// Returns true if the call was rejected by RPC, or the connection was closed.
fn is_refused(outcome: Option<Outcome<'_>>) -> bool {
    !matches!(outcome, Some(Outcome::Success(_)))
}
