//! TCP ports for servers that are told theirs before they start, or that come back to the same one.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt,
};

/// A port that the kernel gives to nobody who takes any port while this lives, neither to a listener nor to a client. Who asks for
/// it by its number and sets `SO_REUSEADDR`, as servers do, listens there.
pub struct Port {
    number: u16,
    _held: OwnedFd,
}

impl Port {
    /// A port that nobody has.
    pub fn reserve() -> Result<Self> {
        let held = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(&held, sockopt::ReuseAddr, &true)?;
        bind(held.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 0)).context("there is no free port")?;
        Ok(Self {
            number: getsockname::<SockaddrIn>(held.as_raw_fd())?.port(),
            _held: held,
        })
    }

    /// Its number.
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
    fn a_reserved_port_is_free_for_who_names_it_and_for_nobody_else() {
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
            let at = (Ipv4Addr::LOCALHOST, port.number());
            assert!(TcpStream::connect(at).is_err());
            drop(TcpListener::bind(at).unwrap());
            let again = TcpListener::bind(at).unwrap();
            TcpStream::connect(again.local_addr().unwrap()).unwrap();
        }
    }
}
