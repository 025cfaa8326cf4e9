//! `exercise inventory DIR`: a line for each thing below a directory, with all that is known of it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::Result;

/// `exercise inventory`
#[derive(clap::Args)]
pub struct Args {
    directory: PathBuf,
    /// Only what the directory's own entries are called, without a look at them
    #[arg(long)]
    names: bool,
}

/// Prints the lines in the order of the paths, the names in the order of the directory.
pub fn main(args: Args) -> Result<()> {
    if args.names {
        for entry in std::fs::read_dir(&args.directory)? {
            println!("{}", entry?.file_name().as_bytes().escape_ascii());
        }
        return Ok(());
    }
    for line in xtask::clients::inventory::of(&args.directory)? {
        println!("{line}");
    }
    Ok(())
}
