//! Which network a loop has: that of the host, or a stack of our own over a link. No task knows which.

#![forbid(unsafe_code)]

#[cfg(feature = "smol")]
use super::stack::Stack;
use crate::event::{Fatal, Sink};
use crate::mem;
use crate::net::Net;
use crate::net::kernel::Kernel;
use crate::sys::linux::fs::File;

/// Which network is asked for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Network {
    /// One of our own, if it has a link.
    #[cfg(feature = "smol")]
    pub stack: Stack,
    /// Other loops have the same ports.
    pub shares_ports: bool,
}

impl Network {
    /// Whether it is a stack of our own.
    pub fn is_own(&self) -> bool {
        #[cfg(feature = "smol")]
        return self.link().is_some();
        #[cfg(not(feature = "smol"))]
        false
    }

    /// What its own stack is over: of a machine without an operating system, always its card.
    #[cfg(feature = "smol")]
    fn link(&self) -> Option<(super::stack::Kind, &'static core::ffi::CStr)> {
        #[cfg(bare)]
        if crate::sys::is_bare() {
            return Some((super::stack::Kind::Virtio, c"eth0"));
        }
        self.stack.link
    }

    /// How many connections NFS may have there, if memory suffices.
    #[cfg(feature = "nfs")]
    pub fn connection_count_max(&self) -> usize {
        #[cfg(feature = "smol")]
        if self.is_own() {
            return crate::config::STACK_NFS_COUNT_MAX;
        }
        crate::config::CONNECTION_COUNT_MAX
    }

    /// What this host is to be called there; empty: as it calls itself.
    #[cfg(feature = "mdns")]
    pub const fn name(&self) -> &'static [u8] {
        #[cfg(feature = "smol")]
        return self.stack.name;
        #[cfg(not(feature = "smol"))]
        b""
    }

    /// The same network, on which this host is to be called so.
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

    /// Opens it, for as long as the process lasts. `signals` are what wakes it up beside sockets.
    ///
    /// # Errors
    /// It cannot be had, which was told to `sink`.
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
        net.begin(signals);
        Ok(net)
    }
}
