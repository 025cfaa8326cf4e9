//! Decides calls of i686 programs whose arguments are in memory: socketcall(2), see [`super::i686`].
//!
//! The supervisor is a process of its own that reads the arguments, and lets the call fail or continue. It ends with the last process
//! under the filter. It is no child of a process under the filter, which might wait for it.

use super::filter;
use super::i686;
use super::listener::Listener;
use super::profile::Profile;
use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::sys::prctl::set_no_new_privs;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// The argument of `cargo xtask lockdown` that starts a supervisor.
const ARGUMENT: &str = "--supervise";

/// Starts the supervisor of a profile, and suspends calls of socketcall(2) with these numbers in this process and all programs that it
/// starts.
pub(super) fn start(profile: &str, socket_calls: &[i32]) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    // setsid ends at once, and the supervisor becomes a child of init.
    let status = Command::new("setsid")
        .arg("--fork")
        .arg(std::env::current_exe()?)
        .args(["lockdown", profile, ARGUMENT])
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot start setsid")?;
    ensure!(status.success(), "setsid ended with {status}");
    set_no_new_privs()?;
    let program = filter::suspend(i686::SOCKETCALL, socket_calls);
    Listener::install(program, 0)?.send(&ours)
}

/// Receives the listener on stdin, and decides calls.
pub(super) fn run(profile: &Profile) -> Result<()> {
    let stdin = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    Listener::receive(&stdin)?.serve(|call| {
        let decided = decide(profile, call.pid, &call.data.args);
        decided.unwrap_or(Some(libc::EFAULT))
    })
}

/// The errno of a call of socketcall(2) with these arguments. None: the kernel carries the call out.
fn decide(profile: &Profile, pid: u32, arguments: &[u64; 6]) -> Result<Option<i32>> {
    let call = i686::socket_call(arguments[0] as i32).context("an unknown call")?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut words = [0_u32; 6];
    let count = profile.argument_count(call);
    for (index, word) in words.iter_mut().take(count).enumerate() {
        let mut bytes = [0; 4];
        memory.read_exact_at(&mut bytes, arguments[1] + 4 * index as u64)?;
        *word = u32::from_le_bytes(bytes);
    }
    Ok(profile.errno_of(call, &words))
}
