//! `cargo xtask lockdown PROFILE -- CMD…`: runs a command as on a host that lacks system calls, socket options or directories.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::machines::lockdown::Profile;

/// `cargo xtask lockdown`
#[derive(clap::Args)]
#[command(after_help = profiles())]
pub struct Args {
    /// The name of a file in qemu/hosts/, without .toml
    profile: String,
    /// Issue each call that the profile refuses, and fail if one has another result
    #[arg(long, conflicts_with = "command")]
    verify: bool,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "verify")]
    command: Vec<OsString>,
}

/// The last lines of `--help`.
fn profiles() -> String {
    let names = Profile::names().unwrap_or_default();
    format!("Profiles: {}", names.join(", "))
}

/// Replaces this process by the command (execve), under the profile's filter.
pub fn main(args: Args) -> Result<()> {
    let profile = Profile::load(&args.profile)?;
    if args.verify {
        let count = profile.verify()?;
        println!(
            "{}: {count} calls have the result of the profile",
            args.profile
        );
        return Ok(());
    }
    let (program, arguments) = args.command.split_first().context("no command")?;
    profile.confine()?;
    let why = Command::new(program).args(arguments).exec();
    Err(why).with_context(|| format!("cannot start {}", program.display()))
}
