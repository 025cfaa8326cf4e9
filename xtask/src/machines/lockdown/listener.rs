//! Suspended system calls. A seccomp filter can suspend a call and report it on a descriptor, the listener, whose holder lets it fail,
//! do nothing or continue.

use anyhow::{Context as _, Result, ensure};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{self, seccomp_notif, seccomp_notif_resp, sock_fprog};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use seccompiler::BpfProgram;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use syscalls::raw;

/// The descriptor on which the kernel reports calls.
pub(crate) struct Listener(OwnedFd);

impl Listener {
    /// Installs a filter that suspends calls of this thread and of all programs that it starts. `flags`: further ones of seccomp(2).
    #[allow(unsafe_code)]
    pub(crate) fn install(mut program: BpfProgram, flags: libc::c_ulong) -> Result<Self> {
        let program = sock_fprog {
            len: program.len().try_into()?,
            filter: program.as_mut_ptr().cast(),
        };
        // SAFETY: the kernel copies the program, which outlives the call.
        let result = unsafe {
            raw::syscall3(
                libc::SYS_seccomp as usize,
                libc::SECCOMP_SET_MODE_FILTER as usize,
                (libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | flags) as usize,
                (&raw const program) as usize,
            )
        };
        let listener = i32::try_from(result.cast_signed())?;
        ensure!(listener >= 0, "seccomp: {}", Errno::from_raw(-listener));
        // SAFETY: the kernel has just opened the descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(listener) }))
    }

    /// Sends the listener to the process that is to decide.
    pub(crate) fn send(&self, to: &UnixStream) -> Result<()> {
        let descriptors = [self.0.as_raw_fd()];
        sendmsg::<()>(
            to.as_raw_fd(),
            &[IoSlice::new(b"l")],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            None,
        )
        .context("cannot send the listener")?;
        Ok(())
    }

    /// Receives a listener.
    #[allow(unsafe_code)]
    pub(crate) fn receive(from: &UnixStream) -> Result<Self> {
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let mut space = cmsg_space!([i32; 1]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let descriptor = message.cmsgs()?.find_map(|part| match part {
            ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
            _ => None,
        });
        let descriptor = descriptor.context("no listener")?;
        // SAFETY: the message brought the descriptor, and nothing else in this process has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Decides calls until the last process under the filter has ended. `decide` returns the errno with which a call fails (0: it does
    /// nothing and returns 0). None: the kernel carries the call out.
    #[allow(unsafe_code)]
    pub(crate) fn serve(
        &self,
        mut decide: impl FnMut(&seccomp_notif) -> Option<i32>,
    ) -> Result<()> {
        loop {
            let mut event = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            poll(&mut event, PollTimeout::NONE)?;
            let events = event[0].revents().unwrap_or(PollFlags::empty());
            if !events.contains(PollFlags::POLLIN) {
                return Ok(());
            }
            // SAFETY: the structure consists of integers, for which all zeros is a valid value. The kernel requires them.
            let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the kernel writes a `seccomp_notif` at the pointer.
            match unsafe { receive(self.0.as_raw_fd(), &raw mut call) } {
                Ok(_) => {}
                // The process has ended, or a signal has interrupted its call.
                Err(Errno::ENOENT | Errno::EINTR) => continue,
                Err(e) => return Err(e).context("cannot receive a call"),
            }
            let errno = decide(&call);
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
            match unsafe { send(self.0.as_raw_fd(), &raw mut reply) } {
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e).context("cannot decide a call"),
            }
        }
    }
}

nix::ioctl_readwrite!(receive, b'!', 0, seccomp_notif);
nix::ioctl_readwrite!(send, b'!', 1, seccomp_notif_resp);
