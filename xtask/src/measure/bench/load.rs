//! The load generator: one connection with several requests in flight. It believes nothing: every reply answers a request in
//! flight, and its result is checked.
//!
//! One thread writes and reads without ever blocking in either: so it cannot deadlock with the server, and where there are
//! two processors the server has one to itself. Data to be written is sent from where it lies, and replies are looked at
//! where they arrived: copies here would be measured as if the server were slow.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What one read asks for at least.
const READ_MIN: usize = 256 << 10;
/// A server that is silent for so long is an error.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What is spoken: messages with their length in front, and in each a number by which a reply is known.
pub trait Protocol {
    /// What is asked.
    type Request<'a>;
    /// What is answered.
    type Reply<'a>;
    /// No reply is longer.
    const REPLY_MAX: usize;

    /// Puts a request with its length behind what is in `out`, but for data that ends it.
    fn put<'a>(&self, request: &Self::Request<'a>, id: u32, out: &mut Vec<u8>) -> &'a [u8];

    /// How long the message is that begins so.
    fn len(prefix: [u8; 4]) -> Result<usize>;

    /// The number and the content of a message without its length.
    fn parse(message: &[u8]) -> Result<(u32, Self::Reply<'_>)>;
}

/// When the next requests are sent, and how many are in flight at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refill {
    /// All together, in one send, when the last of the batch before is answered: for small replies.
    Batch(usize),
    /// A batch of this size in one send whenever no more than one batch is in flight: the server never waits for the client.
    Overlap(usize),
    /// One for each reply: for large requests and large replies.
    Slide(usize),
}

/// Both directions of a connection.
pub struct Load<P> {
    protocol: P,
    to: File,
    from: File,
    /// Of the next request.
    pub(super) id: u32,
    outbox: Vec<u8>,
    /// How much of the outbox is sent.
    sent: usize,
    inbox: Vec<u8>,
    /// The part of the inbox that has arrived and is not looked at yet.
    start: usize,
    end: usize,
}

impl<P: Protocol> Load<P> {
    /// Over these two, which may be one socket.
    pub fn new(protocol: P, to: File, from: File) -> Result<Self> {
        for file in [&to, &from] {
            let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
            fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))
                .context("cannot keep from blocking")?;
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

    /// Asks `count` times; `check` gets each reply with the number of its question.
    pub fn run<'a, R: Into<P::Request<'a>>>(
        &mut self,
        count: u64,
        refill: Refill,
        mut ask: impl FnMut(u64) -> R,
        mut check: impl FnMut(u64, P::Reply<'_>) -> Result<()>,
    ) -> Result<()> {
        let (depth, refill_at) = match refill {
            Refill::Batch(depth) => (depth, 0),
            Refill::Overlap(batch) => (2 * batch, batch),
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
                        .put(&ask(asked).into(), self.id, &mut self.outbox);
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
            while let Some(message) = next::<P>(&self.inbox[self.start..self.end])? {
                self.start += 4 + message.len();
                let (id, reply) = P::parse(message)?;
                let at = in_flight.iter().position(|(sent, _)| *sent == id);
                let at = at.with_context(|| format!("reply {id} to nothing that was asked"))?;
                let (_, index) = in_flight.swap_remove(at);
                check(index, reply)?;
            }
        }
        Ok(())
    }

    /// Sends the outbox and `data` behind it; whether all has gone.
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

    /// Waits for more bytes, or, when `sending`, until more can be sent.
    fn receive(&mut self, sending: bool) -> Result<()> {
        let out = if sending {
            PollFlags::POLLOUT
        } else {
            PollFlags::empty()
        };
        if !self.wait(out | PollFlags::POLLIN)? {
            return Ok(());
        }
        // What is left is the beginning of one reply.
        self.inbox.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // A large reply is read to its end and little further, so that little must be moved.
        let missing = match self.inbox[..self.end].first_chunk() {
            Some(prefix) => (4 + P::len(*prefix)?).saturating_sub(self.end),
            None => 0,
        };
        let limit = self.inbox.len().min(self.end + missing.max(READ_MIN));
        let arrived = match self.from.read(&mut self.inbox[self.end..limit]) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            arrived => arrived.context("no reply")?,
        };
        ensure!(arrived > 0, "the server closed the connection");
        self.end += arrived;
        Ok(())
    }

    /// Waits for `wanted`; whether there is something to read.
    fn wait(&self, wanted: PollFlags) -> Result<bool> {
        let mut ends = [
            PollFd::new(self.from.as_fd(), wanted & PollFlags::POLLIN),
            PollFd::new(self.to.as_fd(), wanted & PollFlags::POLLOUT),
        ];
        // What nobody waits for would still report its end, again and again.
        let count = if wanted.contains(PollFlags::POLLOUT) {
            2
        } else {
            1
        };
        let ready = poll(&mut ends[..count], PollTimeout::try_from(SILENCE_MAX)?)?;
        ensure!(ready > 0, "the server is silent");
        Ok(ends[0].any() == Some(true))
    }
}

/// The first message in `bytes` without its length, if it is there whole.
fn next<P: Protocol>(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some((prefix, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let len = P::len(*prefix)?;
    ensure!(len <= P::REPLY_MAX, "a reply of {len} bytes");
    Ok(rest.get(..len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use crate::clients::sftp::kind;
    use crate::measure::bench::sftp::packets::{Reply, Request};
    use crate::measure::bench::sftp::session::Session;

    const DEPTH: usize = 64;

    /// A load whose server is `serve`, which gets its end of the socket.
    fn against(
        serve: impl FnOnce(File) -> io::Result<()> + Send + 'static,
    ) -> Result<Load<Session>> {
        let (ours, theirs) = UnixStream::pair()?;
        // What becomes of the server is seen from our end.
        thread::spawn(move || serve(OwnedFd::from(theirs).into()));
        let again = OwnedFd::from(ours.try_clone()?);
        Load::new(Session, OwnedFd::from(ours).into(), again.into())
    }

    /// One request's id.
    fn take(server: &mut File) -> io::Result<[u8; 4]> {
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

    /// What comes of two READs, the second of which asks at 1.
    fn two_reads(load: &mut Load<Session>, refill: Refill) -> Result<Vec<u64>> {
        let mut order = Vec::new();
        let ask = |offset| Request::Read {
            handle: b"h",
            offset,
            len: 1,
        };
        load.run(2, refill, ask, |index, reply| {
            ensure!(reply == Reply::Data(b"x"), "{reply:?}");
            order.push(index);
            Ok(())
        })?;
        Ok(order)
    }

    #[test]
    fn replies_may_come_in_any_order_and_in_pieces() -> Result<()> {
        for refill in [
            Refill::Batch(DEPTH),
            Refill::Overlap(DEPTH),
            Refill::Slide(DEPTH),
        ] {
            let mut load = against(|mut server| {
                let (first, second) = (take(&mut server)?, take(&mut server)?);
                for byte in [data(second, b"x"), data(first, b"x")].concat() {
                    server.write_all(&[byte])?;
                }
                Ok(())
            })?;
            assert_eq!(two_reads(&mut load, refill)?, [1, 0]);
        }
        Ok(())
    }

    #[test]
    fn no_reply_is_believed_that_nothing_asked_for() -> Result<()> {
        type Answer = fn([u8; 4]) -> Vec<u8>;
        let wrong: [(Answer, &str); 5] = [
            (|id| data(id, b"y"), "Data"),
            (|_| data([0, 0, 0, 2], b"x"), "nothing that was asked"),
            (|_| data([0xff; 4], b"x"), "nothing that was asked"),
            (
                |id| [data(id, b"x"), data(id, b"x")].concat(),
                "nothing that was asked",
            ),
            (|_| vec![0, 4, 0, 1, kind::DATA], "a reply of"),
        ];
        for (answer, why) in wrong {
            let mut load = against(move |mut server| {
                let id = take(&mut server)?;
                server.write_all(&answer(id))
            })?;
            let told = two_reads(&mut load, Refill::Batch(DEPTH)).unwrap_err();
            assert!(format!("{told:#}").contains(why), "{told:#}");
        }
        Ok(())
    }

    #[test]
    fn a_connection_that_ends_early_is_an_error() -> Result<()> {
        let mut load = against(|mut server| {
            let reply = data(take(&mut server)?, b"x");
            take(&mut server)?;
            server.write_all(&reply[..reply.len() - 1])
        })?;
        let told = two_reads(&mut load, Refill::Batch(DEPTH)).unwrap_err();
        assert!(
            told.to_string().contains("closed the connection"),
            "{told:#}"
        );
        Ok(())
    }

    #[test]
    fn a_server_that_first_wants_its_replies_read_is_not_waited_for() -> Result<()> {
        const COUNT: u64 = 200;
        let mut load = against(|mut server| {
            for _ in 0..COUNT {
                let id = take(&mut server)?;
                server.write_all(&data(id, &[7; 128 << 10]))?;
            }
            Ok(())
        })?;
        let content = vec![7; 128 << 10];
        let ask = |offset| Request::Write {
            handle: b"h",
            offset,
            data: &content,
        };
        let mut seen = 0;
        load.run(COUNT, Refill::Slide(DEPTH), ask, |_, reply| {
            ensure!(reply == Reply::Data(&content), "other bytes");
            seen += 1;
            Ok(())
        })?;
        assert_eq!(seen, COUNT);
        Ok(())
    }
}
