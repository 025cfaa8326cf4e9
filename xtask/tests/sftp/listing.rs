//! Directories with many entries: every client gets a complete listing.

use super::{Remote, mounted, paramiko, programs};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use tempfile::TempDir;
use xtask::machines::server::public_dir;
use xtask::setup;

const COUNT: usize = 20_000;

/// A directory of `COUNT` files; one name in a hundred has the maximum length of 255 bytes.
fn crowded_directory() -> Result<(TempDir, BTreeSet<String>)> {
    let directory = public_dir()?;
    let names: BTreeSet<String> = (0..COUNT)
        .map(|number| match number % 100 {
            0 => format!("{number:0>255}"),
            _ => format!("entry {number}"),
        })
        .collect();
    for name in &names {
        File::create_new(directory.path().join(name))?;
    }
    Ok((directory, names))
}

/// Checks that `listed` has each of `names` exactly once, and nothing else.
fn ensure_complete<'a>(
    client: &str,
    listed: impl Iterator<Item = &'a str>,
    names: &BTreeSet<String>,
) -> Result<()> {
    let listed: Vec<&str> = listed.collect();
    let once: BTreeSet<&str> = listed.iter().copied().collect();
    ensure!(
        once.len() == listed.len(),
        "{client} listed {} names, of which {} are duplicates",
        listed.len(),
        listed.len() - once.len()
    );
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let different: Vec<_> = names.symmetric_difference(&once).take(3).collect();
    ensure!(
        different.is_empty(),
        "{client} listed {}; only on one side: {different:?}",
        once.len()
    );
    Ok(())
}

#[test]
fn every_client_lists_twenty_thousand_entries() -> Result<()> {
    let (directory, names) = crowded_directory()?;
    Remote::for_each_daemon(|remote| {
        symlink(directory.path(), remote.server_dir().join("crowd"))?;
        let output = remote.batch("cd crowd\nls -1f")?;
        ensure_complete("sftp", output.lines(), &names)?;

        let output = setup::run_captured(programs::rclone(remote)?.args(["lsf", ":sftp:crowd"]))?;
        ensure_complete("rclone", output.lines(), &names)?;

        let output = programs::lftp(remote, "cls -1 crowd/")?;
        let bare = output
            .lines()
            .filter_map(|line| line.strip_prefix("crowd/"));
        ensure_complete("lftp", bare, &names)?;

        let said = paramiko::run(remote, "list")?;
        ensure_complete("paramiko", said.lines(), &names)?;

        mounted::with_mount(remote, &["follow_symlinks"], |at| {
            let listed = fs::read_dir(at.join("crowd"))?
                .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()))
                .collect::<Result<Vec<_>>>()?;
            ensure_complete("sshfs", listed.iter().map(String::as_str), &names)
        })
    })
}
