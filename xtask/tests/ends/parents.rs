//! Servers as parents start them: with ignored and blocked signals, as process 1, on hosts that allow no process or no poll.

use super::{is_running, new_child, supervised};
use anyhow::{Context as _, Result, ensure};
use nix::libc::{SYS_epoll_create1, SYS_poll, SYS_ppoll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use xtask::build::Arch;
use xtask::machines::server::{
    Process, Server, ServerOptions, binary, children, public_dir, root_for,
};
use xtask::machines::{lockdown, wait_for};
use xtask::testing::is_full_run;

/// UID under which no other process runs.
const USER: u32 = 61_234;
const PATIENCE: Duration = Duration::from_secs(10);

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn parent_with_odd_signals_changes_nothing() -> Result<()> {
    let directory = public_dir()?;
    let (server, _port) = supervised(
        directory.path(),
        words("env --ignore-signal=CHLD --block-signal=TERM"),
    )?;
    let first = new_child(&server, 0, directory.path())?;
    kill(Pid::from_raw(first.try_into()?), Signal::SIGKILL)?;
    new_child(&server, first, directory.path())?;
    let (status, time) = server.end_by(Signal::SIGTERM)?;
    ensure!(
        status.code() == Some(0) && time < Duration::from_secs(1),
        "{status} after {time:?}"
    );
    Ok(())
}

/// Kills a role, and gives its PID to a process that blocks all signals. The supervisor then passes on SIGHUP, waits for $3 seconds,
/// and ends. The other process must have no pending signal.
const PID_IS_USED_AGAIN: &str = r#"
env --ignore-signal=CHLD "$1" serve --no-mdns --export "$2" -n 20490 -l 127.0.0.1 -p --handles path 2>/dev/null &
server=$!
until role=$(cat /proc/$server/task/$server/children) && [ "$role" ]; do sleep .01; done
role=${role% }
kill -9 $role
other=
until [ "$other" = $role ]; do
    [ "$other" ] && kill -9 $other
    echo $((role - 1)) >/proc/sys/kernel/ns_last_pid
    env --block-signal sleep 1000 &
    other=$!
done
sleep .05
kill -HUP $server
sleep "$3"
kill -TERM $server
wait $server || exit 1
grep -q '^ShdPnd:.*[1-9a-f]' /proc/$other/status && exit 2
kill -9 $other || exit 3
"#;

#[test]
fn reused_pid_of_killed_role_gets_nothing() -> Result<()> {
    if !root_for("a PID namespace") {
        return Ok(());
    }
    let directory = public_dir()?;
    let start = |pause: &str| {
        Command::new("unshare")
            .args(["-npmf", "--mount-proc", "sh", "-c"])
            .arg(format!("ip link set lo up\n{PID_IS_USED_AGAIN}"))
            .arg("sh")
            .arg(binary(Arch::X86_64)?)
            .arg(directory.path())
            .arg(pause)
            .spawn()
            .context("cannot start unshare")
    };
    // 40 s: the supervisor kills a role that was silent for 30 s.
    let pauses = if is_full_run() {
        [".2", "40"]
    } else {
        [".2"; 2]
    };
    for pause in pauses {
        let rounds: Vec<_> = (0..5).map(|_| start(pause)).collect::<Result<_>>()?;
        for mut round in rounds {
            let status = round.wait()?;
            ensure!(status.success(), "after {pause} s: {status}");
        }
    }
    Ok(())
}

#[test]
fn serve_without_fork_runs_one_process() -> Result<()> {
    if !root_for("another user") {
        return Ok(());
    }
    let directory = public_dir()?;
    let server = Server::start(ServerOptions {
        role: "serve",
        user: Some(USER),
        wrapper: words("prlimit --nproc=1"),
        ..ServerOptions::serving(&[directory.path()])
    })?;
    let (mut client, root) = server.open(directory.path())?;
    client.attr(&root)?;
    let lines = server.lines();
    let said = lines
        .iter()
        .filter(|line| line.contains("one process: too many processes"));
    ensure!(said.count() == 1, "{lines:#?}");
    ensure!(server.children()?.is_empty());
    let (status, _) = server.end_by(Signal::SIGTERM)?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}

#[test]
fn process_1_reaps_orphans() -> Result<()> {
    if !root_for("a PID namespace") {
        return Ok(());
    }
    let directory = public_dir()?;
    let path = directory.path().display();
    for role in [
        format!("nfs --export {path} -n 0 -p --handles path"),
        format!("serve --no-mdns --export {path} -n 0 -p --handles path"),
        "mdns --name orphans".into(),
        "browse -a".into(),
        "browse --exec /bin/true _http._tcp".into(),
        format!("sftp-server --listen {path}/socket"),
    ] {
        let mut command = Command::new("unshare");
        command
            .args(["-pf", "--kill-child"])
            .arg(binary(Arch::X86_64)?)
            .args(words(&role))
            .stdout(Stdio::null());
        let unshare = Process::start(&mut command)?;
        let first = wait_for(PATIENCE, || Ok(unshare.children()?.first().copied()))?;
        let first = first.context("no process 1")?;
        // Until the role has read its arguments, it reaps nothing.
        sleep(Duration::from_millis(500));
        let orphan = Command::new("nsenter")
            .args(["-t", &first.to_string(), "-p", "sh", "-c"])
            .arg("sleep 0.1 & exit 0")
            .status()?;
        ensure!(orphan.success(), "{orphan}");
        sleep(Duration::from_millis(500));
        let zombies: Vec<_> = children(first)?
            .into_iter()
            .filter(|child| !is_running(*child))
            .collect();
        ensure!(zombies.is_empty(), "{role}: {zombies:?}");
    }
    Ok(())
}

#[test]
fn host_without_any_poll_is_served_without_spinning() -> Result<()> {
    let directory = public_dir()?;
    let calls = [SYS_epoll_create1, SYS_ppoll, SYS_poll];
    let server = lockdown::run_without(&calls, || {
        Server::start(ServerOptions::serving(&[directory.path()]))
    })?;
    let (mut client, root) = server.open(directory.path())?;
    client.attr(&root)?;
    let before = server.cpu_ticks()?;
    sleep(Duration::from_secs(1));
    let ticks = server.cpu_ticks()? - before;
    ensure!(ticks < 20, "{ticks} ticks of CPU time in an idle second");
    Ok(())
}
