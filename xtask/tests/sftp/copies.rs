//! A large file through each daemon, up and down.

use super::{Remote, ensure_same};
use anyhow::{Context, Result};
use cases::random::Random;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use xtask::build::Arch;
use xtask::machines::server::root_for;
use xtask::machines::sshd::Implementation;
use xtask::setup;
use xtask::testing::is_full_run;

/// A file of 256 MiB, in full runs of 1 GiB, without repeated blocks.
fn write_large(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let mut random = Random::new(0x51f7);
    let mut block = Vec::with_capacity(1 << 20);
    for _ in 0..if is_full_run() { 1024 } else { 256 } {
        block.clear();
        while block.len() < 1 << 20 {
            block.extend_from_slice(&random.number().to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}

/// Copies a large file to the server with one program, and back with another.
fn copy_large_file(kind: Implementation) -> Result<()> {
    if !root_for("daemons") {
        return Ok(());
    }
    let remote = Remote::new(kind, Arch::X86_64)?;
    remote
        .run(|remote| {
            let (client_dir, server_dir) = (
                remote.client_dir().join("large"),
                remote.server_dir().join("large"),
            );
            write_large(&client_dir)?;
            let scp = |from: &str, to: &str| {
                setup::run_captured(remote.openssh("scp").args([from, to])).map(drop)
            };
            match kind {
                Implementation::OpenSsh => remote.batch("put large").map(drop)?,
                Implementation::Dropbear => scp("large", "x:")?,
            }
            ensure_same(&client_dir, &server_dir).context("up")?;
            match kind {
                Implementation::OpenSsh => scp("x:large", "back")?,
                Implementation::Dropbear => remote.batch("get large back").map(drop)?,
            }
            ensure_same(&client_dir, &remote.client_dir().join("back")).context("down")
        })
        .with_context(|| format!("through {kind:?}"))
}

#[test]
fn large_file_round_trips_through_sshd() -> Result<()> {
    copy_large_file(Implementation::OpenSsh)
}

#[test]
fn large_file_round_trips_through_dropbear() -> Result<()> {
    copy_large_file(Implementation::Dropbear)
}
