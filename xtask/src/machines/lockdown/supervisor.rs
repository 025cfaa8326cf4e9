//! Decides calls of i686 programs whose arguments are in memory: socketcall(2), see [`super::i686`].
//!
//! A seccomp filter can suspend a call and report it on a descriptor, the listener. The supervisor is a process of its own that reads
//! the arguments, and lets the call fail or continue. It ends with the last process under the filter. It is no child of a process
//! under the filter, which might wait for it.

use super::filter;
use super::i686;
use super::profile::Profile;
use anyhow::{Context as _, Result, ensure};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{self, seccomp_notif, seccomp_notif_resp, sock_fprog};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use syscalls::raw;

/// The argument of `cargo xtask lockdown` that starts a supervisor.
const ARGUMENT: &str = "--supervise";

/// The supervisor's process before it has the listener.
pub(super) struct Supervisor(UnixStream);

impl Supervisor {
    /// Starts the supervisor of a profile.
    pub(super) fn start(profile: &str) -> Result<Self> {
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
        Ok(Self(ours))
    }

    /// Suspends calls of socketcall(2) with these numbers in this process and all programs that it starts.
    pub(super) fn watch(&self, socket_calls: &[i32]) -> Result<()> {
        let listener = listen(socket_calls)?;
        let descriptors = [listener.as_raw_fd()];
        sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(b"l")],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            None,
        )
        .context("cannot send the listener")?;
        Ok(())
    }
}

/// Installs the filter that suspends calls. Returns its listener.
#[allow(unsafe_code)]
fn listen(socket_calls: &[i32]) -> Result<OwnedFd> {
    set_no_new_privs()?;
    let mut program = filter::suspend(i686::SOCKETCALL, socket_calls);
    let program = sock_fprog {
        len: program.len().try_into()?,
        filter: program.as_mut_ptr().cast(),
    };
    // SAFETY: the kernel copies the program, which outlives the call.
    let result = unsafe {
        raw::syscall3(
            libc::SYS_seccomp as usize,
            libc::SECCOMP_SET_MODE_FILTER as usize,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as usize,
            (&raw const program) as usize,
        )
    };
    let result = result.cast_signed();
    let listener = i32::try_from(result)?;
    ensure!(listener >= 0, "seccomp: {}", Errno::from_raw(-listener));
    // SAFETY: the kernel has just opened the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Receives the listener on stdin, and decides calls until the last process under the filter has ended.
#[allow(unsafe_code)]
pub(super) fn run(profile: &Profile) -> Result<()> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([i32; 1]);
    let message = recvmsg::<()>(0, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let descriptor = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    let descriptor = descriptor.context("no listener")?;
    // SAFETY: the message brought the descriptor, and nothing else in this process has it.
    let listener = unsafe { OwnedFd::from_raw_fd(descriptor) };
    loop {
        let mut event = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut event, PollTimeout::NONE)?;
        let events = event[0].revents().unwrap_or(PollFlags::empty());
        if !events.contains(PollFlags::POLLIN) {
            return Ok(());
        }
        answer(&listener, profile)?;
    }
}

/// Decides one call.
#[allow(unsafe_code)]
fn answer(listener: &OwnedFd, profile: &Profile) -> Result<()> {
    // SAFETY: the structure consists of integers, for which all zeros is a valid value. The kernel requires them.
    let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes a `seccomp_notif` at the pointer.
    match unsafe { receive(listener.as_raw_fd(), &raw mut call) } {
        Ok(_) => {}
        // The process has ended, or a signal has interrupted its call.
        Err(Errno::ENOENT | Errno::EINTR) => return Ok(()),
        Err(e) => return Err(e).context("cannot receive a call"),
    }
    let errno = decide(profile, call.pid, &call.data.args).unwrap_or(Some(libc::EFAULT));
    let mut reply = seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: errno.map_or(0, |errno| -errno),
        flags: match errno {
            Some(_) => 0,
            None => libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        },
    };
    // SAFETY: the kernel reads a `seccomp_notif_resp` at the pointer.
    match unsafe { send(listener.as_raw_fd(), &raw mut reply) } {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(e).context("cannot decide a call"),
    }
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

nix::ioctl_readwrite!(receive, b'!', 0, seccomp_notif);
nix::ioctl_readwrite!(send, b'!', 1, seccomp_notif_resp);
