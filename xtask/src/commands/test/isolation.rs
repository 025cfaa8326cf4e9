//! Runs a test in its own network, mount and PID namespaces, so that every test can use port 111 and leaves no process behind.

use std::path::Path;
use std::process::Command;

/// Shell commands that set loopback up and mount an empty /run/netns for `ip netns`, and an empty /run/stowaway: servers of two tests
/// may have the same PID.
const PREPARE_NETWORK: &str = "ip link set lo up && mkdir -p /run/netns && mount -t tmpfs netns /run/netns \
     && mkdir -p -m 700 /run/stowaway && mount -t tmpfs -o mode=700 status /run/stowaway";
/// Shell commands that mount a file system in memory and let programs create their temporary files there. ext4 without a journal
/// needs several milliseconds to create a file after a few thousand were removed. The directory is neither /run, because tests
/// mount their own files there, nor /tmp, which may contain the checkout.
const PREPARE_MEMORY: &str =
    "mount -t tmpfs -o mode=1777 memory /dev/shm && export TMPDIR=/dev/shm";
/// Shell command that replaces the shell with the program that its arguments name.
const EXEC: &str = "exec \"$0\" \"$@\"";

/// A command that runs `program` in its own namespaces; without root, in those of this process. Its temporary files are in memory,
/// or with `is_on_disk` where TMPDIR says. When the thread that spawned the command ends, the kernel kills the process (PDEATHSIG)
/// and, with its PID namespace, all its descendants.
pub fn command(program: &Path, is_on_disk: bool) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_possible() {
        // When the first process of a PID namespace exits, the kernel kills all others in the namespace.
        command
            .args(["unshare", "--net", "--mount", "--pid", "--mount-proc"])
            .args(["--fork", "--kill-child", "sh", "-c"]);
        let memory = if is_on_disk { "true" } else { PREPARE_MEMORY };
        command.arg(format!("{PREPARE_NETWORK} && {memory} && {EXEC}"));
    }
    command.arg(program);
    command
}

/// Arguments for cargo that let test programs of `triple` create their temporary files in memory; none without root.
pub fn memory_arguments(triple: &str) -> Vec<String> {
    if !is_possible() {
        return Vec::new();
    }
    let script = format!("{PREPARE_MEMORY} && {EXEC}");
    let runner = ["unshare", "--mount", "sh", "-c", &script];
    vec![
        "--config".into(),
        format!("target.{triple}.runner={runner:?}"),
    ]
}

/// Returns true if tests can have their own namespaces, which needs root. Otherwise they run one at a time.
pub fn is_possible() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup;
    use anyhow::Result;

    #[test]
    fn test_is_isolated_and_leaves_nothing_behind() -> Result<()> {
        if !is_possible() {
            eprintln!("SKIPPED: namespaces (needs root)");
            return Ok(());
        }
        // The duration of `sleep`, unusual enough to identify the process in pgrep.
        let duration = format!("86399.{}", std::process::id());
        let script = format!(
            "grep -c : /proc/net/dev; ip link show lo | grep -c UP; ls -d /proc/[0-9]* | wc -l
             stat -f -c %T \"$(mktemp)\"; setsid sleep {duration} >/dev/null 2>&1 &"
        );
        let output = setup::run_captured(command(Path::new("sh"), false).args(["-c", &script]))?;
        let lines: Vec<&str> = output.lines().collect();
        let [interfaces, up, processes, temporary] = lines[..] else {
            anyhow::bail!("{output}");
        };
        assert_eq!((interfaces, up, temporary), ("1", "1", "tmpfs"));
        assert!(processes.trim().parse::<u32>()? <= 4, "{output}");
        let survivors = Command::new("pgrep").args(["-f", &duration]).output()?;
        assert!(survivors.stdout.is_empty(), "{survivors:?}");
        Ok(())
    }
}
