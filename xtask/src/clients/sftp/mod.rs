//! A small SFTP client (version 3) for tests and measurements, over stdin and stdout of a server that it starts. It validates every
//! reply completely; ten seconds of silence are an error.
//!
//! Raw bytes go through `send` and `receive`, requests through `exchange` and `pipeline`. `calls` has a method for each request,
//! which returns an error of type [`Status`] if the request fails.

pub mod calls;
mod process;

pub use cases::sftp::*;
pub use process::{Program, ServerExit, SftpOptions, Wire};

use crate::machines::on_thread;
use crate::machines::server::Process;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, read, write};
use process::ClientEnds;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Largest packet (bytes), without the length field.
pub const PACKET_MAX: usize = 256 << 10;
/// Most data (bytes) in a reply to READ.
pub const READ_MAX: u32 = (256 << 10) - 1024;

/// Size (bytes) of one read from the server.
const READ_CHUNK_BYTES: usize = 64 << 10;
/// Default limit for the server to send or to accept data, and to end.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A running server and the connection to it. Drop kills the server.
pub struct Sftp {
    /// The server's process.
    pub process: Process,
    /// The server's VERSION packet.
    pub version: Version,
    /// Time limit for the server to send or to accept data.
    pub time_max: Duration,
    ends: ClientEnds,
    /// Received bytes. `receive` has returned the packets before index `taken`.
    arrived: Vec<u8>,
    taken: usize,
    last_id: u32,
    /// The directory that contains the copy of the executable for another user.
    _private: Option<TempDir>,
}

/// Behaviour of a write while the server accepts no data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteWait {
    /// Arriving data is read and buffered. A timeout is an error.
    BufferInput,
    /// No data is read. After a timeout, the write returns 0.
    GiveUp,
}

impl Sftp {
    /// Starts a server without sending INIT.
    pub fn spawn(options: &SftpOptions) -> Result<Self> {
        let (process, ends, private) = options.start()?;
        Ok(Self {
            process,
            version: Version {
                version: 0,
                extensions: Vec::new(),
            },
            time_max: TIME_MAX,
            ends,
            arrived: Vec::new(),
            taken: 0,
            last_id: 0,
            _private: private,
        })
    }

    /// Starts a server and sends INIT.
    pub fn start(options: &SftpOptions) -> Result<Self> {
        let mut client = Self::spawn(options)?;
        client.init(3)?;
        Ok(client)
    }

    /// As [`Self::start`], with `root` as the server's root directory (chroot).
    pub fn start_in(root: &Path, options: &SftpOptions) -> Result<Self> {
        on_thread(|| {
            // The thread and its children get their own root directory; other threads keep theirs.
            unshare(CloneFlags::CLONE_FS).context("cannot unshare the root directory")?;
            chroot(root)?;
            chdir("/")?;
            Self::start(options)
        })
    }

    /// INIT: returns the server's VERSION.
    pub fn init(&mut self, version: u32) -> Result<&Version> {
        self.send(&request::init(version))?;
        let Some(message) = self.receive()? else {
            bail!("INIT was not answered; {}", self.how_it_ended());
        };
        self.version = Version::parse(&message)?;
        Ok(&self.version)
    }

    /// Sends raw bytes. Buffers arriving data meanwhile, so that client and server do not block each other.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let mut remaining = bytes;
        while !remaining.is_empty() {
            remaining = &remaining[self.write(remaining, WriteWait::BufferInput)?..];
        }
        Ok(())
    }

    /// Sends raw bytes without reading, until the server has accepted nothing for `time_max`. Returns the number of bytes sent.
    pub fn push(&mut self, bytes: &[u8], time_max: Duration) -> Result<usize> {
        let before = std::mem::replace(&mut self.time_max, time_max);
        let mut sent = 0;
        let result = loop {
            match self.write(&bytes[sent..], WriteWait::GiveUp) {
                Ok(0) => break Ok(sent),
                Ok(len) => sent += len,
                Err(e) => break Err(e),
            }
        };
        self.time_max = before;
        result
    }

    /// Waits until write(2) accepts a part of `bytes`, and returns its length.
    fn write(&mut self, bytes: &[u8], wait_mode: WriteWait) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = Instant::now() + self.time_max;
        loop {
            let input = self.ends.input.as_ref().context("the input is closed")?;
            match write(input, bytes) {
                Ok(len) => return Ok(len),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(e) => bail!("cannot send to the server: {e}; {}", self.how_it_ended()),
            }
            let mut waiting = vec![PollFd::new(input.as_fd(), PollFlags::POLLOUT)];
            if let Some(output) = self
                .ends
                .output
                .as_ref()
                .filter(|_| wait_mode == WriteWait::BufferInput)
            {
                waiting.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
            }
            if wait(&mut waiting, end)? {
                if waiting.get(1).is_some_and(|fd| fd.any() == Some(true)) {
                    self.take_in()?;
                }
            } else if wait_mode == WriteWait::BufferInput {
                bail!("the server accepted no data for {:?}", self.time_max);
            } else {
                return Ok(0);
            }
        }
    }

    /// Does one read(2) and buffers the data. Returns its length (0 if nothing has arrived), or None at end of file.
    fn take_in(&mut self) -> Result<Option<usize>> {
        let Some(output) = &self.ends.output else {
            return Ok(None);
        };
        if self.taken > 0 {
            self.arrived.drain(..self.taken);
            self.taken = 0;
        }
        let len = self.arrived.len();
        self.arrived.resize(len + READ_CHUNK_BYTES, 0);
        let result = read(output, &mut self.arrived[len..]);
        self.arrived.truncate(len + result.unwrap_or(0));
        match result {
            // read(2) fails with EIO on a terminal that was hung up, and with ECONNRESET on a socket whose peer closed with unread
            // data.
            Ok(0) | Err(Errno::EIO | Errno::ECONNRESET) => Ok(None),
            Ok(len) => Ok(Some(len)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Some(0)),
            Err(e) => bail!("cannot read from the server: {e}"),
        }
    }

    /// The next complete packet in the buffer, without its length field.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let arrived = &self.arrived[self.taken..];
        let Some(&head) = arrived.first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(head) as usize;
        ensure!(
            (1..=PACKET_MAX).contains(&len),
            "the server sent a packet with a length field of {len}"
        );
        let message = arrived.get(4..4 + len).map(<[u8]>::to_vec);
        if message.is_some() {
            self.taken += 4 + len;
        }
        Ok(message)
    }

    /// Waits for the next packet and returns it without its length field. None if the server closed the connection between two
    /// packets.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + self.time_max;
        loop {
            if let Some(message) = self.next()? {
                return Ok(Some(message));
            }
            let Some(output) = &self.ends.output else {
                bail!("the output is closed");
            };
            let has_data = wait(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], end)?;
            ensure!(
                has_data,
                "the server sent nothing for {:?}; stderr: {:#?}",
                self.time_max,
                self.process.lines()
            );
            if self.take_in()?.is_none() {
                let partial = self.arrived.len() - self.taken;
                ensure!(
                    partial == 0,
                    "the server ended {partial} bytes into a packet"
                );
                return Ok(None);
            }
        }
    }

    /// Reads `len` bytes and no more. `receive` returns the packet that begins with them later.
    pub fn buffer_exactly(&mut self, len: usize) -> Result<()> {
        let end = Instant::now() + self.time_max;
        self.arrived.drain(..self.taken);
        self.taken = 0;
        while self.arrived.len() < len {
            let output = self.ends.output.as_ref().context("the output is closed")?;
            let has_data = wait(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], end)?;
            ensure!(has_data, "the server sent nothing for {:?}", self.time_max);
            let mut bytes = vec![0; len - self.arrived.len()];
            let count = read(output, &mut bytes)?;
            ensure!(count > 0, "the server closed the connection");
            self.arrived.extend(&bytes[..count]);
        }
        Ok(())
    }

    /// Returns true if no data arrives within `time`.
    pub fn is_silent(&mut self, time: Duration) -> Result<bool> {
        if self.arrived.len() > self.taken {
            return Ok(false);
        }
        let output = self.ends.output.as_ref().context("the output is closed")?;
        let end = Instant::now() + time;
        Ok(!wait(
            &mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)],
            end,
        )?)
    }

    /// Capacity (bytes) of the pipe from the server.
    pub fn pipe_bytes(&self) -> Result<usize> {
        let output = self.ends.output.as_ref().context("the output is closed")?;
        Ok(fcntl(output, FcntlArg::F_GETPIPE_SZ)? as usize)
    }

    /// The id of the next request.
    pub fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    /// Sends a request and waits for the reply, whose type must be valid for the request.
    pub fn exchange(&mut self, request: &Request<'_>) -> Result<Reply> {
        let id = self.next_id();
        self.send(&request.packet(id))?;
        self.answer(id, request)
    }

    /// Receives the next packet, which must be the reply to this request.
    pub fn answer(&mut self, id: u32, request: &Request<'_>) -> Result<Reply> {
        let Some(message) = self.receive()? else {
            bail!("no reply to {request:?}; {}", self.how_it_ended());
        };
        let (answered, reply) = Reply::parse(&message)
            .with_context(|| format!("cannot parse the reply to {request:?}: {message:02x?}"))?;
        ensure!(
            answered == id,
            "request {id} was answered with id {answered}"
        );
        reply::check(request.kind(), request.extension(), &reply)?;
        Ok(reply)
    }

    /// Sends all requests without waiting. Returns the replies in the order of the requests; they may arrive in any order.
    pub fn pipeline(&mut self, requests: &[Request<'_>]) -> Result<Vec<Reply>> {
        let first = self.last_id.wrapping_add(1);
        let bytes: Vec<u8> = requests
            .iter()
            .flat_map(|request| request.packet(self.next_id()))
            .collect();
        self.send(&bytes)?;
        let mut replies: Vec<Option<Reply>> = vec![None; requests.len()];
        for _ in requests {
            let message = self.receive()?.with_context(|| self.how_it_ended())?;
            let (id, reply) = Reply::parse(&message)?;
            let index = id.wrapping_sub(first) as usize;
            let slot = replies
                .get_mut(index)
                .with_context(|| format!("the server answered id {id}, which no request has"))?;
            ensure!(slot.is_none(), "request {id} was answered twice");
            reply::check(requests[index].kind(), requests[index].extension(), &reply)?;
            *slot = Some(reply);
        }
        Ok(replies.into_iter().flatten().collect())
    }

    /// Closes the server's input, receives the outstanding replies and waits for the end of the server. A terminal cannot be closed
    /// in one direction: it is hung up, and no reply arrives.
    pub fn finish(mut self) -> Result<(VecDeque<Vec<u8>>, ServerExit)> {
        self.ends.close_input();
        let mut replies = VecDeque::new();
        while self.ends.output.is_some() {
            match self.receive()? {
                Some(message) => replies.push_back(message),
                None => break,
            }
        }
        Ok((replies, self.wait()?))
    }

    /// As [`Self::finish`], with no outstanding reply. The server must exit with 0 and an empty stderr.
    pub fn finish_quietly(self) -> Result<()> {
        let (replies, ended) = self.finish()?;
        ensure!(
            replies.is_empty() && ended.code() == Some(0) && ended.lines.is_empty(),
            "the server did not end quietly: {replies:02x?} {ended:?}"
        );
        Ok(())
    }

    /// Closes the connection without notice and returns how the server ended.
    pub fn vanish(mut self) -> Result<ServerExit> {
        self.hang_up();
        self.wait()
    }

    /// Closes both directions of the connection.
    pub fn hang_up(&mut self) {
        self.ends.input = None;
        self.ends.output = None;
    }

    /// Waits at most ten seconds for the end of the server and of its stderr.
    pub fn wait(&mut self) -> Result<ServerExit> {
        let status = self.process.wait(TIME_MAX)?;
        self.process.stderr.wait_for_eof(TIME_MAX);
        Ok(ServerExit {
            status,
            lines: self.process.lines(),
        })
    }

    fn how_it_ended(&mut self) -> String {
        match self.wait() {
            Ok(ended) => format!(
                "the server ended ({}); stderr: {:?}",
                ended.status, ended.lines
            ),
            Err(e) => format!("{e:#}"),
        }
    }
}

/// Waits until one of the descriptors is ready or `end` has passed. Returns true if one is ready.
fn wait(waiting: &mut [PollFd<'_>], end: Instant) -> Result<bool> {
    let remaining = end.saturating_duration_since(Instant::now());
    let time = PollTimeout::try_from(remaining.as_millis() + 1)?;
    match poll(waiting, time) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(e) => Err(e).context("cannot wait for the server"),
    }
}

/// The status with which a call failed. None for success; an error that is not a [`Status`] is passed on.
pub fn failed_status<T>(result: Result<T>) -> Result<Option<Status>> {
    match result {
        Ok(_) => Ok(None),
        Err(e) => match e.downcast_ref::<Status>() {
            Some(&status) => Ok(Some(status)),
            None => Err(e),
        },
    }
}
