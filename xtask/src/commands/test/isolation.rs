//! A test's own network, processes and mounts: port 111 is its, whatever runs beside it, and nothing of it outlives it.

use std::path::Path;
use std::process::Command;

/// Prepares the new namespaces and becomes the program: loopback is up, and names of network namespaces are the test's own.
const ENTER: &str = "ip link set lo up && mkdir -p /run/netns && mount -t tmpfs netns /run/netns && exec \"$0\" \"$@\"";

/// A command that runs `program` in namespaces of its own, as root; as anybody else, where it is. It is killed when the thread that
/// starts it ends, and all that it started with it.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_possible() {
        // The first process of the namespace ends all others when it ends.
        command
            .args(["unshare", "--net", "--mount", "--pid", "--mount-proc"])
            .args(["--fork", "--kill-child", "sh", "-c", ENTER]);
    }
    command.arg(program);
    command
}

/// Whether tests can have namespaces of their own. If not, they run one after the other.
pub fn is_possible() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup;
    use anyhow::Result;

    #[test]
    fn a_network_has_nothing_but_loopback_and_processes_do_not_see_each_other() -> Result<()> {
        if !is_possible() {
            eprintln!("SKIPPED: namespaces (needs root)");
            return Ok(());
        }
        let script = "cat /proc/net/dev | grep -c : ; ip link show lo | grep -c UP; ls -d /proc/[0-9]* | wc -l";
        let said = setup::quietly(command(Path::new("sh")).args(["-c", script]))?;
        let numbers: Vec<u32> = said.lines().map(str::parse).collect::<Result<_, _>>()?;
        assert_eq!(numbers[..2], [1, 1], "{said}");
        assert!(numbers[2] <= 4, "{said}");
        Ok(())
    }

    #[test]
    fn what_a_test_leaves_behind_ends_with_it() -> Result<()> {
        if !is_possible() {
            eprintln!("SKIPPED: namespaces (needs root)");
            return Ok(());
        }
        // A name that no other process has.
        let name = format!("86399.{}", std::process::id());
        let script = format!("setsid sleep {name} >/dev/null 2>&1 & exit 0");
        setup::quietly(command(Path::new("sh")).args(["-c", &script]))?;
        let left = Command::new("pgrep").args(["-f", &name]).output()?;
        assert!(left.stdout.is_empty(), "{left:?}");
        Ok(())
    }
}
