//! `exercise inventory DIR`: prints a line with all attributes of each file and directory below DIR.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::Result;

/// `exercise inventory`
#[derive(clap::Args)]
pub struct Args {
    directory: PathBuf,
    /// Print only the names of DIR's own entries, in directory order, without stat(2)
    #[arg(long)]
    names: bool,
}

/// Prints the lines sorted by path; with `--names`, in the order that readdir returns.
pub fn main(args: Args) -> Result<()> {
    if args.names {
        for entry in std::fs::read_dir(&args.directory)? {
            println!("{}", entry?.file_name().as_bytes().escape_ascii());
        }
        return Ok(());
    }
    for line in xtask::clients::inventory::list(&args.directory)? {
        println!("{line}");
    }
    Ok(())
}
