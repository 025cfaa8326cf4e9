//! A small SFTP client, version 3, for tests and measurements, over the stdin and stdout of a server that it starts. It
//! trusts nothing that the server says: an answer is decoded to its last byte, and silence is an error after ten seconds.
//!
//! Raw bytes go through `send` and `receive`, requests through `exchange` and `pipeline`, and each request has a call of its
//! own in `calls`, whose error is the `Status` that came instead.

pub mod calls;
mod process;
pub mod reply;
pub mod request;

pub use process::{Ended, Process, Program, SftpOptions, Wire};
pub use reply::{AccountNames, Attrs, Entry, Limits, Reply, Space, StatVfs, Status, Sums, Version};
pub use request::{Ids, Request, kind, open};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, read, write};
use process::Ends;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest packet, which its length does not count.
pub const PACKET_MAX: usize = 256 << 10;
/// The longest answer to a READ.
pub const READ_MAX: u32 = (256 << 10) - 1024;

/// So much is read at once.
const TAKE_MAX: usize = 64 << 10;
/// How long either side may be silent.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A server and the wire to it. Dropping it kills the server.
pub struct Sftp {
    /// The server.
    pub process: Process,
    /// What it said to INIT.
    pub version: Version,
    /// How long it may be silent, or take nothing.
    pub time_max: Duration,
    ends: Ends,
    /// What has arrived and was not asked for yet, from `taken` on.
    arrived: Vec<u8>,
    taken: usize,
    last_id: u32,
}

impl Sftp {
    /// Starts a server and says nothing to it.
    pub fn spawn(options: &SftpOptions) -> Result<Self> {
        let (process, ends) = Process::start(options)?;
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
        })
    }

    /// Starts a server and greets it.
    pub fn start(options: &SftpOptions) -> Result<Self> {
        let mut client = Self::spawn(options)?;
        client.init(3)?;
        Ok(client)
    }

    /// The same for a server that sees nothing but `root`.
    pub fn start_in(root: &Path, options: &SftpOptions) -> Result<Self> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // The root of this thread and of what it starts; the others keep theirs.
                unshare(CloneFlags::CLONE_FS).context("cannot have a root of my own")?;
                chroot(root)?;
                chdir("/")?;
                Self::start(options)
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// INIT: what VERSION says.
    pub fn init(&mut self, version: u32) -> Result<&Version> {
        self.send(&request::init(version))?;
        let Some(message) = self.receive()? else {
            bail!("INIT was not answered; {}", self.how_it_ended());
        };
        self.version = Version::parse(&message)?;
        Ok(&self.version)
    }

    /// Sends bytes as they are, and meanwhile keeps what arrives, so that neither side waits for the other.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.write(rest, true)?..];
        }
        Ok(())
    }

    /// Sends bytes as they are and reads nothing, until the server takes no more for `time_max`: how many it took.
    pub fn push(&mut self, bytes: &[u8], time_max: Duration) -> Result<usize> {
        let before = std::mem::replace(&mut self.time_max, time_max);
        let mut sent = 0;
        let result = loop {
            match self.write(&bytes[sent..], false) {
                Ok(0) => break Ok(sent),
                Ok(len) => sent += len,
                Err(e) => break Err(e),
            }
        };
        self.time_max = before;
        result
    }

    /// Writes as much of `bytes` as goes at once. Waiting for space it may take what arrives; then no time is an error.
    fn write(&mut self, bytes: &[u8], taking: bool) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = Instant::now() + self.time_max;
        loop {
            let input = self.ends.input.as_ref().context("all was said")?;
            match write(input, bytes) {
                Ok(len) => return Ok(len),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(e) => bail!("cannot send to the server: {e}; {}", self.how_it_ended()),
            }
            let mut waiting = vec![PollFd::new(input.as_fd(), PollFlags::POLLOUT)];
            if let Some(output) = self.ends.output.as_ref().filter(|_| taking) {
                waiting.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
            }
            if wait(&mut waiting, end)? {
                if waiting.get(1).is_some_and(|fd| fd.any() == Some(true)) {
                    self.take_in()?;
                }
            } else if taking {
                bail!("the server takes nothing for {:?}", self.time_max);
            } else {
                return Ok(0);
            }
        }
    }

    /// Reads once of what has arrived, if anything has: how much, and None at the end.
    fn take_in(&mut self) -> Result<Option<usize>> {
        let Some(output) = &self.ends.output else {
            return Ok(None);
        };
        if self.taken > 0 {
            self.arrived.drain(..self.taken);
            self.taken = 0;
        }
        let len = self.arrived.len();
        self.arrived.resize(len + TAKE_MAX, 0);
        let result = read(output, &mut self.arrived[len..]);
        self.arrived.truncate(len + result.unwrap_or(0));
        match result {
            // A terminal that was hung up says EIO, a socket whose peer ended with unread bytes ECONNRESET.
            Ok(0) | Err(Errno::EIO | Errno::ECONNRESET) => Ok(None),
            Ok(len) => Ok(Some(len)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Some(0)),
            Err(e) => bail!("cannot read from the server: {e}"),
        }
    }

    /// A whole packet of what has arrived, without its length.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let arrived = &self.arrived[self.taken..];
        let Some(&head) = arrived.first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(head) as usize;
        ensure!(
            (1..=PACKET_MAX).contains(&len),
            "the server's packet says {len} bytes"
        );
        let message = arrived.get(4..4 + len).map(<[u8]>::to_vec);
        if message.is_some() {
            self.taken += 4 + len;
        }
        Ok(message)
    }

    /// The next packet, without its length; None when the server closed the wire between two packets.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + self.time_max;
        loop {
            if let Some(message) = self.next()? {
                return Ok(Some(message));
            }
            let Some(output) = &self.ends.output else {
                bail!("we hear no more");
            };
            let arrives = wait(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], end)?;
            ensure!(
                arrives,
                "the server is silent for {:?}; it said {:#?}",
                self.time_max,
                self.process.lines()
            );
            if self.take_in()?.is_none() {
                let rest = self.arrived.len() - self.taken;
                ensure!(rest == 0, "the server ended {rest} bytes into a packet");
                return Ok(None);
            }
        }
    }

    /// Takes in what arrives until there are so many bytes, and perhaps some more; the packets in it can be received later.
    pub fn take(&mut self, len: usize) -> Result<()> {
        let end = Instant::now() + self.time_max;
        while self.arrived.len() - self.taken < len {
            let output = self.ends.output.as_ref().context("we hear no more")?;
            let arrives = wait(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], end)?;
            ensure!(arrives, "the server is silent for {:?}", self.time_max);
            ensure!(self.take_in()?.is_some(), "the server ended");
        }
        Ok(())
    }

    /// Whether nothing arrives for so long.
    pub fn is_silent(&mut self, time: Duration) -> Result<bool> {
        if self.arrived.len() > self.taken {
            return Ok(false);
        }
        let output = self.ends.output.as_ref().context("we hear no more")?;
        let end = Instant::now() + time;
        Ok(!wait(
            &mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)],
            end,
        )?)
    }

    /// What the pipe for answers holds at most.
    pub fn pipe_bytes(&self) -> Result<usize> {
        let output = self.ends.output.as_ref().context("we hear no more")?;
        Ok(fcntl(output, FcntlArg::F_GETPIPE_SZ)? as usize)
    }

    /// The id of the next request.
    pub fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    /// Sends a request and waits for its answer, which must be one of those that it can be given.
    pub fn exchange(&mut self, request: &Request<'_>) -> Result<Reply> {
        let id = self.next_id();
        self.send(&request.packet(id))?;
        self.answer(id, request)
    }

    /// The next answer, which must be to this request.
    pub fn answer(&mut self, id: u32, request: &Request<'_>) -> Result<Reply> {
        let Some(message) = self.receive()? else {
            bail!("no answer to {request:?}; {}", self.how_it_ended());
        };
        let (answered, reply) = Reply::parse(&message)
            .with_context(|| format!("the answer to {request:?} is {message:02x?}"))?;
        ensure!(
            answered == id,
            "request {id} was answered with id {answered}"
        );
        reply::check(request.kind(), request.extension(), &reply)?;
        Ok(reply)
    }

    /// Sends all requests without waiting; the answers, in the requests' order, whatever order they came in.
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
            let at = id.wrapping_sub(first) as usize;
            let place = replies
                .get_mut(at)
                .with_context(|| format!("an answer to no request of ours, {id}"))?;
            ensure!(place.is_none(), "request {id} was answered twice");
            reply::check(requests[at].kind(), requests[at].extension(), &reply)?;
            *place = Some(reply);
        }
        Ok(replies.into_iter().flatten().collect())
    }

    /// Says that no more requests come, and waits for the answers that are due and for the server's end. A terminal has
    /// no such word: it is hung up, and no answer comes any more.
    pub fn finish(mut self) -> Result<(VecDeque<Vec<u8>>, Ended)> {
        self.ends.close_input();
        let mut rest = VecDeque::new();
        while self.ends.output.is_some() {
            match self.receive()? {
                Some(message) => rest.push_back(message),
                None => break,
            }
        }
        Ok((rest, self.process.wait()?))
    }

    /// The same, after which nothing was due, and the server ends well and without a word.
    pub fn finish_quietly(self) -> Result<()> {
        let (rest, ended) = self.finish()?;
        ensure!(
            rest.is_empty() && ended.code() == Some(0) && ended.lines.is_empty(),
            "{rest:02x?} {ended:?}"
        );
        Ok(())
    }

    /// Goes away without a word; how the server took it.
    pub fn vanish(mut self) -> Result<Ended> {
        self.hang_up();
        self.process.wait()
    }

    /// Closes both ends of the wire.
    pub fn hang_up(&mut self) {
        self.ends.input = None;
        self.ends.output = None;
    }

    /// Waits for the server's end, which it came to by itself.
    pub fn wait(&mut self) -> Result<Ended> {
        self.process.wait()
    }

    fn how_it_ended(&mut self) -> String {
        match self.process.wait() {
            Ok(ended) => format!(
                "the server ended ({}), saying {:?}",
                ended.status, ended.lines
            ),
            Err(e) => format!("{e:#}"),
        }
    }
}

/// Waits until one of them is ready, or for the time; whether one is.
fn wait(waiting: &mut [PollFd<'_>], end: Instant) -> Result<bool> {
    let left = end.saturating_duration_since(Instant::now());
    let time = PollTimeout::try_from(left.as_millis() + 1)?;
    match poll(waiting, time) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(e) => Err(e).context("cannot wait for the server"),
    }
}

/// The status that a call failed with: None for success, and an error for what is no answer of the server's.
pub fn failure<T>(result: Result<T>) -> Result<Option<Status>> {
    match result {
        Ok(_) => Ok(None),
        Err(e) => match e.downcast_ref::<Status>() {
            Some(&status) => Ok(Some(status)),
            None => Err(e),
        },
    }
}
