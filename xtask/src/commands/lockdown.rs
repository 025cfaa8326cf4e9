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
    /// Decide calls of another process of the profile, see machines::lockdown::supervisor
    #[arg(long, hide = true, conflicts_with = "command")]
    supervise: bool,
    /// Only the profile minimal: a call that its file does not list for the command's role ends the command with SIGSYS
    #[arg(long, conflicts_with = "verify")]
    unlisted_kills: bool,
    /// The name of the command for itself (its first argument), which may select its role
    #[arg(long, requires = "unlisted_kills")]
    argv0: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required_unless_present_any = ["verify", "supervise"])]
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
    if args.supervise {
        return profile.supervise();
    }
    if args.verify {
        let count = profile.verify()?;
        println!(
            "{}: {count} calls have the result of the profile",
            args.profile
        );
        return Ok(());
    }
    let (program, arguments) = args.command.split_first().context("no command")?;
    if args.unlisted_kills {
        // The role is the program's name or its first argument.
        let words = args.command.iter().take(2).filter_map(|word| word.to_str());
        let words = args.argv0.as_deref().into_iter().chain(words);
        let is_role = |word: &str| profile.calls.roles.contains_key(word);
        let role = words
            .filter_map(|word| word.rsplit('/').next())
            .find(|word| is_role(word));
        profile.kill_unlisted(role)?;
    } else {
        profile.confine()?;
    }
    let mut command = Command::new(program);
    if let Some(name) = args.argv0 {
        command.arg0(name);
    }
    let why = command.args(arguments).exec();
    Err(why).with_context(|| format!("cannot start {}", program.display()))
}
