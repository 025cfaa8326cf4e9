//! Directories of many entries, complete for every client.

use super::{Direct, Remote, mounted, paramiko, programs};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use tempfile::TempDir;
use xtask::machines::server::public_dir;
use xtask::setup;

const COUNT: usize = 20_000;

/// A directory of many names, some of them as long as they may be.
fn crowd() -> Result<(TempDir, BTreeSet<String>)> {
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

/// `listed` has each of `names` once and nothing else.
fn ensure_complete<'a>(
    who: &str,
    listed: impl Iterator<Item = &'a str>,
    names: &BTreeSet<String>,
) -> Result<()> {
    let listed: Vec<&str> = listed.collect();
    let once: BTreeSet<&str> = listed.iter().copied().collect();
    ensure!(
        once.len() == listed.len(),
        "{who} listed {} names, of which {} are there twice",
        listed.len(),
        listed.len() - once.len()
    );
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let different: Vec<_> = names.symmetric_difference(&once).take(3).collect();
    ensure!(
        different.is_empty(),
        "{who} listed {}; only on one side: {different:?}",
        once.len()
    );
    Ok(())
}

#[test]
fn sftp_lists_twenty_thousand_entries() -> Result<()> {
    let (crowd, names) = crowd()?;
    let cd = format!("cd {}", crowd.path().display());
    Direct::each(|direct| {
        let short = direct.batch(&format!("{cd}\nls -1f"))?;
        ensure_complete("ls -1f", short.lines(), &names)?;
        // `-rw-r--r--    ? 0        0               0 Nov 20 15:01 entry 1`, in the client's own columns.
        let long = direct.batch(&format!("{cd}\nls -lnf"))?;
        let first = long.lines().next().and_then(|line| line.find(':'));
        let column = first.context("nothing was listed")? + 4;
        let listed = long.lines().filter_map(|line| line.get(column..));
        ensure_complete("ls -lnf", listed, &names)
    })
}

#[test]
fn every_client_lists_twenty_thousand_entries() -> Result<()> {
    let (crowd, names) = crowd()?;
    Remote::each(|remote| {
        symlink(crowd.path(), remote.there().join("crowd"))?;
        let said = remote.batch("cd crowd\nls -1f")?;
        ensure_complete("sftp", said.lines(), &names)?;

        let said = setup::quietly(programs::rclone(remote)?.args(["lsf", ":sftp:crowd"]))?;
        ensure_complete("rclone", said.lines(), &names)?;

        let said = programs::lftp(remote, "cls -1 crowd/")?;
        let bare = said.lines().filter_map(|line| line.strip_prefix("crowd/"));
        ensure_complete("lftp", bare, &names)?;

        let said = paramiko::run(remote, "list")?;
        ensure_complete("paramiko", said.lines(), &names)?;

        mounted::mounted(remote, &["follow_symlinks"], |at| {
            let listed = fs::read_dir(at.join("crowd"))?
                .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()))
                .collect::<Result<Vec<_>>>()?;
            ensure_complete("sshfs", listed.iter().map(String::as_str), &names)
        })
    })
}
