//! Clients for tests: NFS, SFTP, HTTP and multicast DNS, fsx and sshfs on mounted trees, and inventories of trees.

pub mod dns;
pub mod fsx;
pub mod http;
pub mod inventory;
pub mod nfs;
pub mod sftp;
pub mod sshfs;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// Connects from the local address `source`.
fn connect_from(source: Ipv4Addr, server: SocketAddr) -> Result<TcpStream> {
    let SocketAddr::V4(server) = server else {
        bail!("{server} is not an IPv4 address");
    };
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let local_address = SockaddrIn::from(SocketAddrV4::new(source, 0));
    bind(socket.as_raw_fd(), &local_address).with_context(|| format!("cannot bind to {source}"))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(server))
        .with_context(|| format!("cannot connect from {source} to {server}"))?;
    Ok(socket.into())
}
