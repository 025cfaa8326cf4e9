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
use xtask::machines::server::public_dir;
use xtask::testing::{self, Sample};

/// `small` (six bytes), `large` (2 MiB), `link` and `sub/inner`.
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

    /// It reads what was there before.
    fn check(client: &mut Client, root: &[u8]) -> Result<()> {
        let file = client.lookup(root, "small")?;
        ensure!(
            client.read(&file, 0, 100)? == (b"small\n".as_slice(), true),
            "another file than before"
        );
        Ok(())
    }
}

fn sample() -> Result<TempDir> {
    let directory = public_dir()?;
    Small::fill(directory.path())?;
    Ok(directory)
}

/// The server refused the call as such, or closed the connection.
fn refused(outcome: Option<Outcome<'_>>) -> bool {
    !matches!(outcome, Some(Outcome::Success(_)))
}
