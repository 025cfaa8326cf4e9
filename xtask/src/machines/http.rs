//! A running server of HTTP on a port of loopback: stowaway, or its peer nginx.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use super::port::Port;
use super::server::{Process, runnable};
use super::wait_for;
use crate::build::Arch;

/// Longest time until a server accepts connections.
const START_MAX: Duration = Duration::from_secs(30);

/// A running server. Drop kills it.
pub struct HttpServer {
    process: Process,
    address: SocketAddr,
    /// The port, unless it was chosen by the caller.
    _port: Option<Port>,
}

impl HttpServer {
    /// Starts the built stowaway as `role` (`http` or `serve`) with more arguments, on a free port.
    pub fn start<S: AsRef<OsStr>>(
        role: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        Self::start_file(&runnable(Arch::X86_64)?, role, arguments)
    }

    /// As [`Self::start`], with another file of stowaway.
    pub fn start_file<S: AsRef<OsStr>>(
        file: &Path,
        role: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let port = Port::reserve()?;
        let address = (Ipv4Addr::LOCALHOST, port.number()).into();
        let server = Self::spawn(own(file, role, address).args(arguments), address)?;
        Ok(server.holding(port))
    }

    /// As [`Self::start`], at an address of the calling thread's network namespace.
    pub fn start_at<S: AsRef<OsStr>>(
        address: SocketAddr,
        role: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let file = runnable(Arch::X86_64)?;
        Self::spawn(own(&file, role, address).args(arguments), address)
    }

    /// Starts a command whose server listens on `address`, and waits until it accepts connections.
    pub fn spawn(command: &mut Command, address: SocketAddr) -> Result<Self> {
        let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let ready = wait_for(START_MAX, || {
            let ended = !process.is_alive()?;
            Ok((ended || TcpStream::connect(address).is_ok()).then_some(ended))
        })?;
        if ready != Some(false) {
            let lines = process.lines().join("\n");
            bail!("{command:?} does not listen on {address}; stderr:\n{lines}");
        }
        Ok(Self {
            process,
            address,
            _port: None,
        })
    }

    /// Keeps the port of the server reserved until the drop.
    pub fn holding(mut self, port: Port) -> Self {
        self._port = Some(port);
        self
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// The command of a role of stowaway that serves HTTP at `address`.
fn own(file: &Path, role: &str, address: SocketAddr) -> Command {
    let mut command = Command::new(file);
    command.args([role, "--http", &address.to_string()]);
    command
}

impl Deref for HttpServer {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for HttpServer {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
