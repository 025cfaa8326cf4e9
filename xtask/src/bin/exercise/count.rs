//! `exercise count FILE`: adds 1 to a number in a file, again and again, each time under a lock of the file.

use std::fs::{File, OpenOptions};
use std::io::SeekFrom;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};

/// `exercise count`
#[derive(clap::Args)]
pub struct Args {
    file: PathBuf,
    /// How often 1 is added
    #[arg(long)]
    rounds: u32,
    /// Lock by flock(2), not by fcntl(2)
    #[arg(long)]
    whole: bool,
}

/// Locks the file, or unlocks it.
fn lock(file: &File, whole: bool, is_locked: bool) -> Result<()> {
    match (whole, is_locked) {
        (true, true) => return Ok(file.lock()?),
        (true, false) => return Ok(file.unlock()?),
        _ => {}
    }
    let kind = if is_locked { F_WRLCK } else { F_UNLCK };
    let range = flock {
        l_type: kind as i16,
        l_whence: SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_SETLKW(&range))?;
    Ok(())
}

/// Adds to the number.
pub fn main(args: Args) -> Result<()> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    for round in 0..args.rounds {
        let add = || -> Result<()> {
            let mut file = options.open(&args.file)?;
            lock(&file, args.whole, true)?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            let number: u32 = text.trim().parse().unwrap_or(0);
            file.seek(SeekFrom::Start(0))?;
            file.write_all(format!("{:<10}\n", number + 1).as_bytes())?;
            file.sync_all()?;
            lock(&file, args.whole, false)
        };
        add().with_context(|| format!("round {round}"))?;
    }
    Ok(())
}
