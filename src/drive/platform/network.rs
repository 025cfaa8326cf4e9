//! Network of a loop: the kernel's, or our own stack over a link. Tasks use either through [`Net`].

#![forbid(unsafe_code)]

use super::stack::Stack;
use crate::config::HAS_STACK;
use crate::event::{Fatal, Sink};
use crate::mem;
use crate::net::Net;
use crate::net::kernel::Kernel;
use crate::sys::linux::fs::File;

/// The configured network.
#[derive(Clone, Copy, Default, Debug)]
pub struct Network {
    /// Our own stack; used if it has a link.
    pub stack: Stack,
    /// True if several loops bind the same ports (SO_REUSEPORT).
    pub shares_ports: bool,
}

impl Network {
    /// Returns true if our own stack is used.
    pub fn is_own(&self) -> bool {
        HAS_STACK && self.link().is_some()
    }

    /// The link of our own stack. A machine without an operating system always uses its network card.
    fn link(&self) -> Option<(super::stack::LinkKind, &'static core::ffi::CStr)> {
        #[cfg(bare)]
        if crate::sys::is_bare() {
            return Some((super::stack::LinkKind::Virtio, c"eth0"));
        }
        self.stack.link
    }

    /// Limit of NFS connections, if memory suffices.
    pub fn connection_count_max(&self) -> usize {
        if self.is_own() {
            return crate::config::STACK_NFS_COUNT_MAX;
        }
        crate::config::CONNECTION_COUNT_MAX
    }

    /// Host name to announce; empty: the kernel's host name.
    pub const fn name(&self) -> &'static [u8] {
        self.stack.name
    }

    /// Sets the host name to announce, unless `name` is empty.
    #[must_use]
    pub const fn named(mut self, name: &'static [u8]) -> Self {
        if HAS_STACK && !name.is_empty() {
            self.stack.name = name;
        }
        self
    }

    /// Opens the network with static lifetime. `signals`, a signalfd, also wakes up `wait`.
    ///
    /// # Errors
    /// The network cannot be opened; the reason is already reported to `sink`.
    pub(super) fn open(
        &self,
        signals: Option<File>,
        sink: &mut dyn Sink,
    ) -> Result<&'static mut dyn Net, Fatal> {
        if let Some(link) = self.link() {
            return self.stack.open(link, signals, sink);
        }
        let net = mem::leak(Kernel::empty());
        net.shares_ports = self.shares_ports;
        net.probe_epoll(signals);
        Ok(net)
    }
}
