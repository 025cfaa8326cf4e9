//! Processes as /proc tells of them, and how none of ours is left behind.

use std::fs;
use std::panic;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// From now on a panic, which aborts and so runs no destructor, first kills the programs that we started.
pub fn leave_none_behind() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        for child in children(std::process::id()).unwrap_or_default() {
            // It may just have ended.
            let _ = kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL);
        }
    }));
}

/// The processes that a process forked, lowest number first.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let pids = fs::read_dir("/proc")
        .context("cannot list /proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = u64::from(parent);
    // A process that ended meanwhile has no status any more.
    let mut children: Vec<u32> = pids
        .filter(|&pid| status_field(pid, "PPid").is_ok_and(|p| p == parent))
        .collect();
    children.sort_unstable();
    Ok(children)
}

/// A number from /proc/PID/status.
pub fn status_field(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path} has no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_is_found_until_it_was_waited_for() -> Result<()> {
        let mut child = Command::new("sleep").arg("60").spawn()?;
        assert!(children(std::process::id())?.contains(&child.id()));
        child.kill()?;
        child.wait()?;
        assert!(!children(std::process::id())?.contains(&child.id()));
        Ok(())
    }
}
