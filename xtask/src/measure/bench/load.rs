//! The load generator: one busy connection with sixteen requests in flight. Single-threaded.
//!
//! It believes nothing: every reply is one fragment, answers a request in flight, and its result is checked. Data to be
//! written is sent from where it lies: copies here would be measured as if the server were slow.

use std::io::{IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::nfs::{Auth, Call, LAST_FRAGMENT, Outcome, outcome};

/// Requests in flight.
pub const DEPTH: usize = 16;

/// No reply is longer: 1 MiB of data and its head.
const REPLY_MAX: usize = (1 << 20) + 4096;
/// What one read asks for at least.
const READ_MIN: usize = 256 << 10;

/// When the next requests are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refill {
    /// All together, in one send, when the last of the batch before is answered: for small replies.
    Batch,
    /// One for each reply: for large requests and large replies.
    Slide,
}

/// The busy connection.
pub struct Load {
    stream: TcpStream,
    auth: Auth,
    xid: u32,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    /// The part of the inbox that has arrived and is not looked at yet.
    start: usize,
    end: usize,
}

impl Load {
    /// Connects; a server that is silent for ten seconds is an error from then on.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let inbox = vec![0; 4 + REPLY_MAX + READ_MIN];
        Ok(Self {
            stream,
            auth: Auth::root(),
            xid: 0,
            outbox: Vec::new(),
            inbox,
            start: 0,
            end: 0,
        })
    }

    /// Asks `count` times; `check` gets each result with the number of its question.
    pub fn run<'a>(
        &mut self,
        count: u64,
        refill: Refill,
        mut ask: impl FnMut(u64) -> Call<'a>,
        mut check: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut asked = 0;
        let mut in_flight: Vec<(u32, u64)> = Vec::with_capacity(DEPTH);
        while asked < count || !in_flight.is_empty() {
            if refill == Refill::Slide || in_flight.is_empty() {
                while asked < count && in_flight.len() < DEPTH {
                    self.xid = self.xid.wrapping_add(1);
                    let call = ask(asked);
                    let (head, data) = (call.head(self.xid, &self.auth), call.data);
                    assert!(data.len().is_multiple_of(4), "padding would have to follow");
                    let len = (head.len() + data.len()) as u32;
                    self.outbox.extend((LAST_FRAGMENT | len).to_be_bytes());
                    self.outbox.extend(head);
                    if !data.is_empty() {
                        self.send(data)?;
                    }
                    in_flight.push((self.xid, asked));
                    asked += 1;
                }
                self.send(&[])?;
            }
            self.receive()?;
            while let Some(reply) = next_reply(&self.inbox[self.start..self.end])? {
                self.start += 4 + reply.len();
                let (xid, outcome) = outcome(reply)?;
                let at = in_flight
                    .iter()
                    .position(|(sent, _)| *sent == xid)
                    .context("a reply to nothing that was asked")?;
                let (_, index) = in_flight.swap_remove(at);
                let Outcome::Success(body) = outcome else {
                    bail!("the server answered {outcome:?}")
                };
                check(index, body)?;
            }
        }
        Ok(())
    }

    /// Sends the outbox, and `data` behind it.
    fn send(&mut self, data: &[u8]) -> Result<()> {
        let mut parts = [IoSlice::new(&self.outbox), IoSlice::new(data)];
        let mut left = &mut parts[..];
        // Nothing to send is no error, and what is empty is passed over.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let sent = self
                .stream
                .write_vectored(left)
                .context("cannot send to the server")?;
            ensure!(sent > 0, "the server takes nothing more");
            IoSlice::advance_slices(&mut left, sent);
        }
        self.outbox.clear();
        Ok(())
    }

    /// Waits for more bytes.
    fn receive(&mut self) -> Result<()> {
        // What is left is the beginning of one reply.
        self.inbox.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // A large reply is read to its end and little further, so that little must be moved.
        let missing = match self.inbox[..self.end].first_chunk() {
            Some(mark) => (4 + len(*mark)).saturating_sub(self.end),
            None => 0,
        };
        let limit = self.inbox.len().min(self.end + missing.max(READ_MIN));
        let arrived = self
            .stream
            .read(&mut self.inbox[self.end..limit])
            .context("no reply")?;
        ensure!(arrived > 0, "the server closed the connection");
        self.end += arrived;
        Ok(())
    }
}

fn len(mark: [u8; 4]) -> usize {
    (u32::from_be_bytes(mark) & !LAST_FRAGMENT) as usize
}

/// The first reply in `bytes`, if it is there whole.
fn next_reply(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some((mark, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    ensure!(
        u32::from_be_bytes(*mark) & LAST_FRAGMENT != 0,
        "the reply is more than one fragment"
    );
    ensure!(
        len(*mark) <= REPLY_MAX,
        "the reply's record mark says {} bytes",
        len(*mark)
    );
    Ok(rest.get(..len(*mark)))
}
