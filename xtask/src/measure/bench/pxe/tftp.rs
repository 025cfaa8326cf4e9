//! Machines that fetch files by TFTP at once, in one thread, so that the server can use a processor alone.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{FILES, MACHINE_COUNT};
use crate::measure::bench::workspace::check_stamps;

/// Length of a block that is asked for: that of EDK2.
pub const BLOCK_BYTES: usize = 1468;
/// Time (ms) after which machines send their last packets again, and how often they do that without an answer.
const REPEAT_MS: u16 = 500;
const REPEAT_MAX: u32 = 20;
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 69);

/// Fetches all files for all machines, and checks them. `windows` is the windowsize to ask for; 1: none.
pub fn fetch(windows: u16, sizes: [u64; 2]) -> Result<()> {
    let files = VecDeque::from_iter(FILES.into_iter().zip(sizes));
    let mut machines = (0..MACHINE_COUNT)
        .map(|_| Machine::new(windows, files.clone()))
        .collect::<Result<Vec<_>>>()?;
    let mut repeated = 0;
    loop {
        machines.retain(|machine| !machine.files.is_empty());
        if machines.is_empty() {
            return Ok(());
        }
        let mut waits: Vec<_> = machines
            .iter()
            .map(|machine| PollFd::new(machine.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let ready_count = poll(&mut waits, PollTimeout::from(REPEAT_MS))?;
        let is_ready: Vec<_> = waits.iter().map(|wait| wait.any() == Some(true)).collect();
        repeated = if ready_count > 0 { 0 } else { repeated + 1 };
        ensure!(repeated <= REPEAT_MAX, "the server does not answer");
        for (machine, is_ready) in machines.iter_mut().zip(is_ready) {
            if is_ready {
                machine.receive()?;
            } else if ready_count == 0 {
                machine.send()?;
            }
        }
    }
}

/// Returns true if a server answers a request.
pub fn is_served() -> Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.send_to(b"\0\x01absent\0octet\0", SERVER)?;
    Ok(socket.recv_from(&mut [0; 600]).is_ok())
}

/// A machine.
struct Machine {
    /// The files that are still to be fetched, with their lengths; the first one is under way.
    files: VecDeque<(&'static str, u64)>,
    /// The windowsize to ask for, and the accepted one.
    asked: u16,
    window: u64,
    socket: UdpSocket,
    /// The server's port for this file, once it has answered.
    server: Option<SocketAddr>,
    /// Number of blocks that have arrived.
    count: u64,
    /// The last packet sent.
    last: Vec<u8>,
}

impl Machine {
    fn new(asked: u16, files: VecDeque<(&'static str, u64)>) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let mut machine = Self {
            files,
            asked,
            window: 1,
            socket,
            server: None,
            count: 0,
            last: Vec::new(),
        };
        machine.ask()?;
        Ok(machine)
    }

    /// Asks for the first file, if there is one left.
    fn ask(&mut self) -> Result<()> {
        let Some((name, _)) = self.files.front() else {
            return Ok(());
        };
        (self.server, self.count, self.window) = (None, 0, 1);
        self.last = format!("\0\x01{name}\0octet\0blksize\0{BLOCK_BYTES}\0").into_bytes();
        if self.asked > 1 {
            let option = format!("windowsize\0{}\0", self.asked);
            self.last.extend_from_slice(option.as_bytes());
        }
        self.send()
    }

    /// Sends the last packet, perhaps again.
    fn send(&self) -> Result<()> {
        let to = self.server.unwrap_or(SERVER);
        let sent = self.socket.send_to(&self.last, to);
        sent.map(drop).context("cannot send to the server")
    }

    /// Acknowledges the last block that has arrived.
    fn acknowledge(&mut self) -> Result<()> {
        let [high, low] = (self.count as u16).to_be_bytes();
        self.last = vec![0, 4, high, low];
        self.send()
    }

    /// Receives the packets that have arrived.
    fn receive(&mut self) -> Result<()> {
        let mut packet = [0; 4 + BLOCK_BYTES];
        while !self.files.is_empty() {
            let (len, from) = match self.socket.recv_from(&mut packet) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                received => received?,
            };
            if self.server.is_none_or(|server| server == from) {
                self.server = Some(from);
                self.handle(&packet[..len])?;
            }
        }
        Ok(())
    }

    /// Handles a packet of the server.
    fn handle(&mut self, packet: &[u8]) -> Result<()> {
        match packet {
            [0, 6, options @ ..] => self.accept(options),
            [0, 3, high, low, data @ ..] => {
                // Another one than the next one was sent twice, or after one that was lost.
                let block = u16::from_be_bytes([*high, *low]);
                if block != (self.count + 1) as u16 {
                    return Ok(());
                }
                check_stamps(data, self.count * BLOCK_BYTES as u64)?;
                self.count += 1;
                let is_last = data.len() < BLOCK_BYTES;
                if is_last || self.count.is_multiple_of(self.window) {
                    self.acknowledge()?;
                }
                if is_last {
                    let len = (self.count - 1) * BLOCK_BYTES as u64 + data.len() as u64;
                    let (name, size) = self.files.pop_front().context("no file")?;
                    ensure!(len == size, "{name} has {size} bytes, fetched {len}");
                    self.ask()?;
                }
                Ok(())
            }
            packet => bail!("the server sent {}", packet.escape_ascii()),
        }
    }

    /// Acknowledges the options that the server has accepted.
    fn accept(&mut self, options: &[u8]) -> Result<()> {
        let words: Vec<_> = options.split(|byte| *byte == 0).collect();
        let value = |name: &[u8]| {
            let found = words.chunks_exact(2).find(|pair| pair[0] == name)?;
            str::from_utf8(found[1]).ok()?.parse::<u64>().ok()
        };
        ensure!(
            value(b"blksize") == Some(BLOCK_BYTES as u64),
            "another blksize"
        );
        self.window = value(b"windowsize").unwrap_or(1);
        self.acknowledge()
    }
}
