//! Network of a loop: the kernel's, or our own stack over a link. Tasks use either through [`Net`].

#![forbid(unsafe_code)]

#[cfg(feature = "smol")]
use super::stack::Stack;
use crate::event::{Fatal, Sink};
use crate::mem;
use crate::net::Net;
use crate::net::kernel::Kernel;
use crate::sys::linux::fs::File;

/// The configured network.
#[derive(Clone, Copy, Default, Debug)]
pub struct Network {
    /// Our own stack; used if it has a link.
    #[cfg(feature = "smol")]
    pub stack: Stack,
    /// True if several loops bind the same ports (SO_REUSEPORT).
    pub shares_ports: bool,
}

impl Network {
    /// Returns true if our own stack is used.
    pub fn is_own(&self) -> bool {
        #[cfg(feature = "smol")]
        return self.link().is_some();
        #[cfg(not(feature = "smol"))]
        false
    }

    /// The link of our own stack. A machine without an operating system always uses its network card.
    #[cfg(feature = "smol")]
    fn link(&self) -> Option<(super::stack::LinkKind, &'static core::ffi::CStr)> {
        #[cfg(bare)]
        if crate::sys::is_bare() {
            return Some((super::stack::LinkKind::Virtio, c"eth0"));
        }
        self.stack.link
    }

    /// Limit of NFS connections, if memory suffices.
    #[cfg(feature = "nfs")]
    pub fn connection_count_max(&self) -> usize {
        #[cfg(feature = "smol")]
        if self.is_own() {
            return crate::config::STACK_NFS_COUNT_MAX;
        }
        crate::config::CONNECTION_COUNT_MAX
    }

    /// Host name to announce; empty: the kernel's host name.
    #[cfg(feature = "mdns")]
    pub const fn name(&self) -> &'static [u8] {
        #[cfg(feature = "smol")]
        return self.stack.name;
        #[cfg(not(feature = "smol"))]
        b""
    }

    /// Sets the host name to announce, unless `name` is empty.
    #[cfg(feature = "mdns")]
    #[must_use]
    #[cfg_attr(not(feature = "smol"), expect(unused_variables, unused_mut))]
    pub const fn named(mut self, name: &'static [u8]) -> Self {
        #[cfg(feature = "smol")]
        if !name.is_empty() {
            self.stack.name = name;
        }
        self
    }

    /// Opens the network with static lifetime. `signals`, a signalfd, also wakes up `wait`.
    ///
    /// # Errors
    /// The network cannot be opened; the reason is already reported to `sink`.
    #[cfg_attr(not(feature = "smol"), expect(unused_variables))]
    pub(super) fn open(
        &self,
        signals: Option<File>,
        sink: &mut dyn Sink,
    ) -> Result<&'static mut dyn Net, Fatal> {
        #[cfg(feature = "smol")]
        if let Some(link) = self.link() {
            return self.stack.open(link, signals, sink);
        }
        let net = mem::leak(Kernel::empty());
        net.shares_ports = self.shares_ports;
        net.probe_epoll(signals);
        Ok(net)
    }
}
