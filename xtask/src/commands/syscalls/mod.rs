//! `cargo xtask syscalls`: makes image/doc/syscalls.md, image/seccomp.json and the system calls of image/stowaway.service from
//! qemu/hosts/minimal.toml.

mod document;
mod seccomp;

use crate::build::workspace_root;
use crate::machines::lockdown::Profile;
use crate::machines::lockdown::calls::{Calls, Part, wrapped};
use crate::machines::lockdown::trace;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// `cargo xtask syscalls`
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing, and fail if a file differs
    #[arg(long)]
    check: bool,
    /// Read the logs in a directory that tests wrote with STOWAWAY_CALLS=DIR, and fail if a role issued an unlisted call
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    traces: Option<PathBuf>,
}

/// Makes the files; prints the number of calls of each role.
pub fn main(args: Args) -> Result<()> {
    let calls = Profile::load("minimal")?.calls;
    if let Some(directory) = args.traces {
        return compare(&calls, &directory);
    }
    for (path, text) in files(&calls)? {
        let current = fs::read_to_string(&path).unwrap_or_default();
        if args.check {
            ensure!(
                current == text,
                "{} is not that of minimal.toml; run cargo xtask syscalls",
                path.display()
            );
        } else if current != text {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    print!("{}", document::counts(&calls));
    Ok(())
}

/// Fails if the logs have calls that are not listed.
fn compare(calls: &Calls, directory: &Path) -> Result<()> {
    let mut unlisted = Vec::new();
    for (role, trace) in trace::read(directory, calls)? {
        let allowed = calls.allowed(Some(&role), Part::All)?;
        let used = trace.start.union(&trace.serving).chain(&trace.narrow);
        let new: Vec<_> = used.filter(|name| !allowed.contains(*name)).collect();
        if !new.is_empty() {
            unlisted.push(format!("{role} issued {new:?}"));
        }
    }
    ensure!(unlisted.is_empty(), "not listed: {}", unlisted.join("; "));
    Ok(())
}

/// Paths and contents of all files.
fn files(calls: &Calls) -> Result<Vec<(PathBuf, String)>> {
    let image = workspace_root().join("image");
    let unit = image.join("stowaway.service");
    let text = fs::read_to_string(&unit).context("cannot read the unit")?;
    Ok(vec![
        (image.join("doc/syscalls.md"), document::text(calls)?),
        (image.join("seccomp.json"), seccomp::text(calls)?),
        (unit, with_filter(&text, calls)?),
    ])
}

/// Calls that systemd's libseccomp may not know. systemd then ignores them, with a warning.
const NEW: [&str; 2] = ["cachestat", "fchmodat2"];

/// Replaces the lines of SystemCallFilter= in a unit by the calls of `nfs`.
fn with_filter(unit: &str, calls: &Calls) -> Result<String> {
    const KEY: &str = "SystemCallFilter=";
    let mut names = calls.with_variants(&calls.allowed(Some("nfs"), Part::All)?);
    names.retain(|name| !NEW.contains(&name.as_str()));
    let lines = wrapped(names.iter().map(String::as_str), KEY, 128);
    let first = unit
        .find(KEY)
        .context("the unit has no SystemCallFilter=")?;
    let rest: Vec<&str> = unit[first..]
        .lines()
        .skip_while(|line| line.starts_with(KEY))
        .collect();
    Ok(format!("{}{lines}{}\n", &unit[..first], rest.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_those_of_the_list() -> Result<()> {
        main(Args {
            check: true,
            traces: None,
        })
    }
}
