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
    port: Port,
}

impl HttpServer {
    /// Starts the built stowaway as `role` (`http` or `serve`) with more arguments.
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
        let mut command = Command::new(file);
        command
            .args([role, "--http", &format!("127.0.0.1:{}", port.number())])
            .args(arguments);
        Self::spawn(&mut command, port)
    }

    /// Starts a command whose server listens on `port`, and waits until it accepts connections.
    pub fn spawn(command: &mut Command, port: Port) -> Result<Self> {
        let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        let ready = wait_for(START_MAX, || {
            let ended = !process.is_alive()?;
            Ok((ended || TcpStream::connect(address).is_ok()).then_some(ended))
        })?;
        if ready != Some(false) {
            bail!(
                "{command:?} does not listen on {address}; stderr:\n{}",
                process.lines().join("\n")
            );
        }
        Ok(Self { process, port })
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    /// The URL of a path, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }
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
