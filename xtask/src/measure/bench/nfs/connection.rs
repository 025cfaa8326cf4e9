//! A connection of NFS, for the load generator: every reply is one fragment and a success.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::nfs::{Auth, Call, LAST_FRAGMENT, Outcome, outcome};
use crate::measure::bench::load::{Load, Protocol, Refill};

/// Requests in flight.
pub const DEPTH: usize = 16;
/// For small replies.
pub const BATCH: Refill = Refill::Batch(DEPTH);
/// For large requests and replies.
pub const SLIDE: Refill = Refill::Slide(DEPTH);

/// What is spoken, and as whom.
pub struct Connection(Auth);

impl Protocol for Connection {
    type Request<'a> = Call<'a>;
    type Reply<'a> = &'a [u8];
    // 1 MiB of data and its head.
    const REPLY_MAX: usize = (1 << 20) + 4096;

    fn put<'a>(&self, call: &Self::Request<'a>, xid: u32, out: &mut Vec<u8>) -> &'a [u8] {
        let head = call.head(xid, &self.0);
        assert!(
            call.data.len().is_multiple_of(4),
            "padding would have to follow"
        );
        let len = (head.len() + call.data.len()) as u32;
        out.extend((LAST_FRAGMENT | len).to_be_bytes());
        out.extend(head);
        call.data
    }

    fn len(mark: [u8; 4]) -> Result<usize> {
        let mark = u32::from_be_bytes(mark);
        ensure!(
            mark & LAST_FRAGMENT != 0,
            "the reply is more than one fragment"
        );
        Ok((mark & !LAST_FRAGMENT) as usize)
    }

    fn parse(message: &[u8]) -> Result<(u32, &[u8])> {
        match outcome(message)? {
            (xid, Outcome::Success(body)) => Ok((xid, body)),
            (_, outcome) => bail!("the server answered {outcome:?}"),
        }
    }
}

impl Load<Connection> {
    /// Connects.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        let from = OwnedFd::from(stream.try_clone()?);
        let to = OwnedFd::from(stream);
        Self::new(Connection(Auth::root()), File::from(to), File::from(from))
    }
}
