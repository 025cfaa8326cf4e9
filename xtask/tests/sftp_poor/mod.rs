//! Minimal hosts: no accounts, no /proc, no /dev, few system calls, unusual transports. Every feature of the server must work on
//! each of them.

mod calls;
mod ends;
mod repertoire;
mod roots;

use anyhow::{Context, Result};
use std::path::Path;
use xtask::clients::sftp::{Sftp, SftpOptions};
use xtask::machines::server::public_dir;

/// Uses every feature (see `repertoire`) in a new directory, without and with a jail. `start` starts the server.
fn play(start: impl Fn(&SftpOptions) -> Result<Sftp>) -> Result<()> {
    for jailed in [false, true] {
        play_in(jailed, &start)?;
    }
    Ok(())
}

/// As [`play`], but only with or only without a jail.
pub(crate) fn play_in(
    jailed: bool,
    start: impl FnOnce(&SftpOptions) -> Result<Sftp>,
) -> Result<()> {
    let directory = public_dir()?;
    let options = SftpOptions::serving(directory.path(), jailed);
    let mut client = start(&options)?;
    play_with(&mut client, directory.path(), jailed)?;
    client.finish_quietly()
}

fn play_with(client: &mut Sftp, directory: &Path, jailed: bool) -> Result<()> {
    let path = directory.display().to_string();
    for path in if jailed { [".", "/"] } else { [".", &path] } {
        repertoire::play(client, path).with_context(|| {
            let lines = client.process.lines();
            format!("at {path}, in a jail: {jailed}; the server said {lines:?}")
        })?;
    }
    Ok(())
}
