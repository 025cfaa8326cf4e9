//! The load generator: one connection with several requests in flight. Each reply must have the id of a request in flight, and
//! the caller checks its content.
//!
//! One thread sends and receives, and neither call blocks: a server that stops reading until its replies are read cannot cause a
//! deadlock. With two processors, the server can use one alone. The data of a WRITE is sent from the caller's buffer, and
//! replies are parsed in the receive buffer, because copies would add to the measured wall time.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Smallest buffer passed to a read call, in bytes.
const READ_MIN: usize = 256 << 10;
/// Longest time in which the server may neither send nor accept bytes.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A protocol whose messages begin with their length, and whose replies repeat the id of their request.
pub trait Protocol {
    /// A request.
    type Request<'a>;
    /// The content of a reply.
    type Reply<'a>;
    /// Longest reply in bytes, without its length prefix.
    const REPLY_MAX: usize;

    /// Appends a request with its length prefix to `out`. The data of a WRITE, which ends the request, is not appended but
    /// returned.
    fn encode<'a>(&self, request: &Self::Request<'a>, id: u32, out: &mut Vec<u8>) -> &'a [u8];

    /// Length of the message that follows this prefix.
    fn len(prefix: [u8; 4]) -> Result<usize>;

    /// Parses a message without its prefix: the id and the content.
    fn parse(message: &[u8]) -> Result<(u32, Self::Reply<'_>)>;
}

/// When the next requests are sent, and the largest number in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refill {
    /// Sends a batch of this size in one send, after the last reply to the previous batch. For small replies.
    Batch(usize),
    /// Sends one request after each reply, so that this many are in flight. For large requests and large replies.
    Slide(usize),
}

/// A connection under load.
pub struct Load<P> {
    protocol: P,
    to: File,
    from: File,
    /// Id of the next request.
    pub(super) id: u32,
    outbox: Vec<u8>,
    /// Number of bytes of the outbox that were sent.
    sent: usize,
    inbox: Vec<u8>,
    /// Received bytes that are not yet parsed: `inbox[start..end]`.
    start: usize,
    end: usize,
}

impl<P: Protocol> Load<P> {
    /// Creates a connection that sends to `to` and receives from `from`; both may be the same socket. Sets O_NONBLOCK.
    pub fn new(protocol: P, to: File, from: File) -> Result<Self> {
        for file in [&to, &from] {
            let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
            fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))
                .context("cannot set O_NONBLOCK")?;
        }
        Ok(Self {
            protocol,
            to,
            from,
            id: 0,
            outbox: Vec::new(),
            sent: 0,
            inbox: vec![0; 4 + P::REPLY_MAX + READ_MIN],
            start: 0,
            end: 0,
        })
    }

    /// Sends `count` requests and receives their replies. `ask` makes the request of an index. `check` gets each reply and the
    /// index of its request.
    pub fn run<'a, R: Into<P::Request<'a>>>(
        &mut self,
        count: u64,
        refill: Refill,
        mut ask: impl FnMut(u64) -> R,
        mut check: impl FnMut(u64, P::Reply<'_>) -> Result<()>,
    ) -> Result<()> {
        let (depth, refill_at) = match refill {
            Refill::Batch(depth) => (depth, 0),
            Refill::Slide(depth) => (depth, depth),
        };
        let mut in_flight: Vec<(u32, u64)> = Vec::with_capacity(depth);
        let (mut asked, mut refilling) = (0, true);
        let mut data: &[u8] = &[];
        while asked < count || !in_flight.is_empty() {
            refilling |= in_flight.len() <= refill_at;
            while refilling && data.is_empty() {
                refilling = asked < count && in_flight.len() < depth;
                if refilling {
                    data = self
                        .protocol
                        .encode(&ask(asked).into(), self.id, &mut self.outbox);
                    in_flight.push((self.id, asked));
                    self.id = self.id.wrapping_add(1);
                    asked += 1;
                }
            }
            let sent = self.send(&mut data)?;
            if sent && refilling {
                continue;
            }
            self.receive(!sent)?;
            while let Some(message) = first_message::<P>(&self.inbox[self.start..self.end])? {
                self.start += 4 + message.len();
                let (id, reply) = P::parse(message)?;
                let position = in_flight.iter().position(|(sent, _)| *sent == id);
                let position = position
                    .with_context(|| format!("a reply has the id {id} of no request in flight"))?;
                let (_, index) = in_flight.swap_remove(position);
                check(index, reply)?;
            }
        }
        Ok(())
    }

    /// Sends the outbox, then `data`, as far as the socket accepts them. Returns true if all bytes were sent.
    fn send(&mut self, data: &mut &[u8]) -> Result<bool> {
        loop {
            let head = &self.outbox[self.sent..];
            if head.is_empty() && data.is_empty() {
                self.outbox.clear();
                self.sent = 0;
                return Ok(true);
            }
            let head_len = head.len();
            match self
                .to
                .write_vectored(&[IoSlice::new(head), IoSlice::new(data)])
            {
                Ok(len) => {
                    self.sent += len.min(head_len);
                    *data = &data[len.saturating_sub(head_len)..];
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e).context("cannot send to the server"),
            }
        }
    }

    /// Waits for bytes from the server and reads them. With `sending`, also returns when the socket accepts bytes again.
    fn receive(&mut self, sending: bool) -> Result<()> {
        let out = if sending {
            PollFlags::POLLOUT
        } else {
            PollFlags::empty()
        };
        if !self.wait(out | PollFlags::POLLIN)? {
            return Ok(());
        }
        // Moves the bytes not yet parsed, the beginning of one reply, to the start of the buffer.
        self.inbox.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // Limits the read to the end of a large reply (at least READ_MIN), so that the next `copy_within` moves few bytes.
        let missing = match self.inbox[..self.end].first_chunk() {
            Some(prefix) => (4 + P::len(*prefix)?).saturating_sub(self.end),
            None => 0,
        };
        let limit = self.inbox.len().min(self.end + missing.max(READ_MIN));
        let arrived = match self.from.read(&mut self.inbox[self.end..limit]) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            arrived => arrived.context("cannot receive from the server")?,
        };
        ensure!(arrived > 0, "the server closed the connection");
        self.end += arrived;
        Ok(())
    }

    /// Waits for an event of `wanted`. Returns true if there are bytes to read.
    fn wait(&self, wanted: PollFlags) -> Result<bool> {
        let mut fds = [
            PollFd::new(self.from.as_fd(), wanted & PollFlags::POLLIN),
            PollFd::new(self.to.as_fd(), wanted & PollFlags::POLLOUT),
        ];
        // poll(2) reports POLLHUP even if no event is requested. So `to` is polled only for POLLOUT; otherwise, after a hang-up of
        // `to`, every poll would return at once.
        let count = if wanted.contains(PollFlags::POLLOUT) {
            2
        } else {
            1
        };
        let ready = poll(&mut fds[..count], PollTimeout::try_from(SILENCE_MAX)?)?;
        ensure!(
            ready > 0,
            "the server neither sent nor accepted bytes for {SILENCE_MAX:?}"
        );
        Ok(fds[0].any() == Some(true))
    }
}

/// The first message in `bytes`, without its length prefix. None if not all of it has arrived.
fn first_message<P: Protocol>(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some((prefix, after)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let len = P::len(*prefix)?;
    ensure!(
        len <= P::REPLY_MAX,
        "a reply of {len} bytes; the longest allowed has {}",
        P::REPLY_MAX
    );
    Ok(after.get(..len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use crate::clients::sftp::{Request, kind};
    use crate::measure::bench::sftp::session::{Reply, Session};

    const DEPTH: usize = 64;

    /// Returns a connection to a new server thread, which runs `serve` on its end of a socket pair.
    fn load_on(
        serve: impl FnOnce(File) -> io::Result<()> + Send + 'static,
    ) -> Result<Load<Session>> {
        let (ours, theirs) = UnixStream::pair()?;
        // If the server fails, the client sees the end of the connection.
        thread::spawn(move || serve(OwnedFd::from(theirs).into()));
        let again = OwnedFd::from(ours.try_clone()?);
        Load::new(Session, OwnedFd::from(ours).into(), again.into())
    }

    /// Reads one request and returns its id.
    fn read_request(server: &mut File) -> io::Result<[u8; 4]> {
        let mut len = [0; 4];
        server.read_exact(&mut len)?;
        let mut packet = vec![0; u32::from_be_bytes(len) as usize];
        server.read_exact(&mut packet)?;
        Ok(packet[1..5].try_into().unwrap())
    }

    /// A DATA packet.
    fn data(id: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        let len = bytes.len() as u32;
        let head = [
            &(9 + len).to_be_bytes(),
            &[kind::DATA][..],
            &id,
            &len.to_be_bytes(),
        ];
        [&head.concat(), bytes].concat()
    }

    /// Sends two READs, of offsets 0 and 1, and returns the offsets in the order of the replies. The data of each reply must be
    /// `x`.
    fn two_reads(load: &mut Load<Session>, refill: Refill) -> Result<Vec<u64>> {
        let mut order = Vec::new();
        let ask = |offset| Request::Read(b"h", offset, 1);
        load.run(2, refill, ask, |index, reply| {
            ensure!(matches!(reply, Reply::Data(b"x")), "{reply:?}");
            order.push(index);
            Ok(())
        })?;
        Ok(order)
    }

    #[test]
    fn unexpected_replies_are_errors() -> Result<()> {
        type Answer = fn([u8; 4]) -> Vec<u8>;
        let wrong: [(Answer, &str); 6] = [
            (|id| data(id, b"y"), "Data"),
            (|_| data([0, 0, 0, 2], b"x"), "no request in flight"),
            (|_| data([0xff; 4], b"x"), "no request in flight"),
            (
                |id| [data(id, b"x"), data(id, b"x")].concat(),
                "no request in flight",
            ),
            (|_| vec![0, 4, 0, 1, kind::DATA], "a reply of"),
            (|id| data(id, b"x")[..9].to_vec(), "closed the connection"),
        ];
        for (answer, why) in wrong {
            let mut load = load_on(move |mut server| {
                let id = read_request(&mut server)?;
                // Without this, closing the socket would reset the connection.
                read_request(&mut server)?;
                server.write_all(&answer(id))
            })?;
            let error = two_reads(&mut load, Refill::Batch(DEPTH)).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        Ok(())
    }
}
