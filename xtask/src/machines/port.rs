//! Reserved TCP ports, for servers whose port must be known before they start or must stay the same after a restart.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt,
};

/// A reserved port. While this lives, the kernel does not assign the port to a bind to port 0 or to an outgoing connection. A
/// server that sets SO_REUSEADDR can still bind the port by its number.
pub struct Port {
    number: u16,
    _held: OwnedFd,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Result<Self> {
        let held = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(&held, sockopt::ReuseAddr, &true)?;
        bind(held.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 0))
            .context("cannot reserve a TCP port")?;
        Ok(Self {
            number: getsockname::<SockaddrIn>(held.as_raw_fd())?.port(),
            _held: held,
        })
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn reserved_port_is_bound_only_by_number() {
        let ports: Vec<_> = (0..500).map(|_| Port::reserve().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        for _ in 0..500 {
            let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let client = TcpStream::connect(any.local_addr().unwrap()).unwrap();
            for local in [any.local_addr(), client.local_addr()] {
                assert!(!numbers.contains(&local.unwrap().port()));
            }
        }
        for port in ports {
            let address = (Ipv4Addr::LOCALHOST, port.number());
            assert!(TcpStream::connect(address).is_err());
            drop(TcpListener::bind(address).unwrap());
            let again = TcpListener::bind(address).unwrap();
            TcpStream::connect(again.local_addr().unwrap()).unwrap();
        }
    }
}
