//! The load generator: one session with up to 64 requests in flight. It believes nothing: every reply answers a request in
//! flight, and its result is checked.
//!
//! One thread writes and reads without ever blocking in either: so it cannot deadlock with the server, and where there are
//! two processors the server has one to itself. Nothing is allocated for a request. Data to be written is sent from where
//! it lies: copies here would be measured as if the server were slow.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::packets::{Mode, Reply, Request};
use crate::clients::sftp::{PACKET_MAX, Status};
use crate::measure::bench::load::Refill;

/// Requests in flight at most, as OpenSSH's clients have them.
pub const DEPTH: usize = 64;

/// What one read asks for at least.
const READ_MIN: usize = 256 << 10;
/// A server that is silent for so long is an error.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Both directions of a session.
pub struct Load {
    to: File,
    from: File,
    outbox: Vec<u8>,
    /// How much of the outbox is sent.
    sent: usize,
    inbox: Vec<u8>,
    /// The part of the inbox that has arrived and is not looked at yet.
    start: usize,
    end: usize,
}

impl Load {
    /// Over these two, which may be one socket.
    pub fn new(to: File, from: File) -> Result<Self> {
        for file in [&to, &from] {
            let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
            fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))
                .context("cannot keep from blocking")?;
        }
        Ok(Self {
            to,
            from,
            outbox: Vec::new(),
            sent: 0,
            inbox: vec![0; 4 + PACKET_MAX + READ_MIN],
            start: 0,
            end: 0,
        })
    }

    /// Asks `count` times with at most `depth` requests in flight; `check` gets each reply with the number of its question.
    pub fn run<'a>(
        &mut self,
        count: u64,
        depth: usize,
        refill: Refill,
        mut ask: impl FnMut(u64) -> Request<'a>,
        mut check: impl FnMut(u64, Reply<'_>) -> Result<()>,
    ) -> Result<()> {
        let depth = depth.min(DEPTH);
        // What each id in flight asks.
        let mut slots = [None; DEPTH];
        let (mut asked, mut answered) = (0, 0);
        let mut refilling = true;
        let mut data: &[u8] = &[];
        while answered < count {
            refilling |= refill == Refill::Slide || asked == answered;
            while refilling && data.is_empty() {
                let free = slots[..depth].iter().position(Option::is_none);
                let Some(id) = free.filter(|_| asked < count) else {
                    refilling = false;
                    break;
                };
                slots[id] = Some(asked);
                data = ask(asked).put(id as u32, &mut self.outbox);
                asked += 1;
            }
            let sent = self.send(&mut data)?;
            if sent && refilling {
                continue;
            }
            self.receive(!sent)?;
            while let Some(packet) = next_packet(&self.inbox[self.start..self.end])? {
                self.start += 4 + packet.len();
                let (id, reply) = Reply::parse(packet)?;
                let index = slots
                    .get_mut(id as usize)
                    .and_then(Option::take)
                    .with_context(|| format!("{reply:?} answers nothing that was asked"))?;
                check(index, reply)?;
                answered += 1;
            }
        }
        Ok(())
    }

    /// Begins the session.
    pub fn begin(&mut self) -> Result<()> {
        let mut none: &[u8] = Request::Init.put(3, &mut self.outbox);
        while !self.send(&mut none)? {
            self.wait(PollFlags::POLLOUT)?;
        }
        loop {
            self.receive(false)?;
            if let Some(packet) = next_packet(&self.inbox[self.start..self.end])? {
                self.start += 4 + packet.len();
                let reply = Reply::parse(packet)?;
                ensure!(
                    reply == (3, Reply::Version),
                    "INIT is answered by {reply:?}"
                );
                return Ok(());
            }
        }
    }

    /// A handle of a file.
    pub fn open(&mut self, path: &[u8], mode: Mode) -> Result<Vec<u8>> {
        self.handle(Request::Open { path, mode })
    }

    /// A handle of a directory.
    pub fn open_dir(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        self.handle(Request::OpenDir { path })
    }

    fn handle(&mut self, request: Request<'_>) -> Result<Vec<u8>> {
        let mut handle = Vec::new();
        self.run(
            1,
            1,
            Refill::Slide,
            |_| request,
            |_, reply| {
                let Reply::Handle(bytes) = reply else {
                    bail!("OPEN is answered by {reply:?}")
                };
                handle.extend(bytes);
                Ok(())
            },
        )?;
        Ok(handle)
    }

    /// Lets a handle go.
    pub fn close(&mut self, handle: &[u8]) -> Result<()> {
        self.run(1, 1, Refill::Slide, |_| Request::Close { handle }, ok)
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
            Some(len) => (4 + u32::from_be_bytes(*len) as usize).saturating_sub(self.end),
            None => 0,
        };
        let limit = self.inbox.len().min(self.end + missing.max(READ_MIN));
        let arrived = match self.from.read(&mut self.inbox[self.end..limit]) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            arrived => arrived.context("no reply")?,
        };
        ensure!(arrived > 0, "the server ended the session");
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

/// Nothing but SSH_FX_OK.
pub fn ok(index: u64, reply: Reply<'_>) -> Result<()> {
    ensure!(
        reply == Reply::Status(Status::OK),
        "request {index} is answered by {reply:?}"
    );
    Ok(())
}

/// The next packet in `bytes` without its length, if it is there whole.
fn next_packet(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*len) as usize;
    ensure!(len <= PACKET_MAX, "a packet of {len} bytes");
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

    /// A load whose server is `serve`, which gets its end of the socket.
    fn against(serve: impl FnOnce(File) -> io::Result<()> + Send + 'static) -> Result<Load> {
        let (ours, theirs) = UnixStream::pair()?;
        // What becomes of the server is seen from our end.
        thread::spawn(move || serve(OwnedFd::from(theirs).into()));
        let again = OwnedFd::from(ours.try_clone()?);
        Load::new(OwnedFd::from(ours).into(), again.into())
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
    fn two_reads(load: &mut Load, refill: Refill) -> Result<Vec<u64>> {
        let mut order = Vec::new();
        let ask = |offset| Request::Read {
            handle: b"h",
            offset,
            len: 1,
        };
        load.run(2, DEPTH, refill, ask, |index, reply| {
            ensure!(reply == Reply::Data(b"x"), "{reply:?}");
            order.push(index);
            Ok(())
        })?;
        Ok(order)
    }

    #[test]
    fn replies_may_come_in_any_order_and_in_pieces() -> Result<()> {
        for refill in [Refill::Batch, Refill::Slide] {
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
            (|_| vec![0, 4, 0, 1, kind::DATA], "a packet of"),
        ];
        for (answer, why) in wrong {
            let mut load = against(move |mut server| {
                let id = take(&mut server)?;
                server.write_all(&answer(id))
            })?;
            let told = two_reads(&mut load, Refill::Batch).unwrap_err();
            assert!(format!("{told:#}").contains(why), "{told:#}");
        }
        Ok(())
    }

    #[test]
    fn a_session_that_ends_early_is_an_error() -> Result<()> {
        let mut load = against(|mut server| {
            let reply = data(take(&mut server)?, b"x");
            take(&mut server)?;
            server.write_all(&reply[..reply.len() - 1])
        })?;
        let told = two_reads(&mut load, Refill::Batch).unwrap_err();
        assert!(told.to_string().contains("ended the session"), "{told:#}");
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
        load.run(COUNT, DEPTH, Refill::Slide, ask, |_, reply| {
            ensure!(reply == Reply::Data(&content), "other bytes");
            seen += 1;
            Ok(())
        })?;
        assert_eq!(seen, COUNT);
        Ok(())
    }
}
