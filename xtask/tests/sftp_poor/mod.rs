//! Hosts that have little: no accounts, no /proc, no /dev, few system calls, odd ends of the wire. All that the server can do
//! is done on each of them, and must go as on a rich one.

mod calls;
mod ends;
mod repertoire;
mod roots;

use anyhow::{Context, Result};
use std::path::Path;
use xtask::clients::sftp::{Sftp, SftpOptions};
use xtask::machines::server::public_dir;

/// Plays all that the server can do in a new directory, free and in a jail. `start` gets a server going.
fn play(start: impl Fn(&SftpOptions) -> Result<Sftp>) -> Result<()> {
    for jailed in [false, true] {
        let directory = public_dir()?;
        let options = SftpOptions::serving(directory.path(), jailed);
        let mut client = start(&options)?;
        play_with(&mut client, directory.path(), jailed)?;
        client.finish_quietly()?;
    }
    Ok(())
}

fn play_with(client: &mut Sftp, directory: &Path, jailed: bool) -> Result<()> {
    let place = directory.display().to_string();
    for place in if jailed { [".", "/"] } else { [".", &place] } {
        repertoire::play(client, place).with_context(|| {
            let said = client.process.lines();
            format!("at {place}, in a jail: {jailed}; the server said {said:?}")
        })?;
    }
    Ok(())
}
