//! An NFS connection of the load generator. Each reply must be one fragment and successful.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::nfs::{Auth, Call, LAST_FRAGMENT, Outcome, first_xid, outcome, record};
use crate::measure::bench::load::{Load, Protocol, Refill};

/// Number of calls in flight with [`SLIDE`], or in a batch.
pub const DEPTH: usize = 16;
/// Refill for small replies.
pub const BATCH: Refill = Refill::Batch(DEPTH);
/// Refill for large requests and replies.
pub const SLIDE: Refill = Refill::Slide(DEPTH);

/// The protocol NFS, with the credential of all calls.
pub struct Connection(Auth);

/// A call to send, which may already be encoded.
pub enum Request<'a> {
    Call(Call<'a>),
    Packed(&'a Packed),
}

impl<'a> From<Call<'a>> for Request<'a> {
    fn from(call: Call<'a>) -> Self {
        Self::Call(call)
    }
}

/// The encoded record of a call without data. Only its xid changes when it is sent again.
pub struct Packed(Vec<u8>);

impl Packed {
    /// Encodes a call with the credential of root.
    pub fn new(call: &Call<'_>) -> Self {
        Self(record(&call.message(0, &Auth::root())))
    }
}

impl Protocol for Connection {
    type Request<'a> = Request<'a>;
    type Reply<'a> = &'a [u8];
    // 1 MiB of data and the header.
    const REPLY_MAX: usize = (1 << 20) + 4096;

    fn encode<'a>(&self, request: &Self::Request<'a>, xid: u32, out: &mut Vec<u8>) -> &'a [u8] {
        let start = out.len();
        let packed = match request {
            Request::Call(call) => {
                let head = call.head(xid, &self.0);
                assert!(
                    call.data.len().is_multiple_of(4),
                    "data of {} bytes needs padding",
                    call.data.len()
                );
                let len = (head.len() + call.data.len()) as u32;
                out.extend((LAST_FRAGMENT | len).to_be_bytes());
                out.extend(head);
                return call.data;
            }
            Request::Packed(packed) => packed,
        };
        out.extend_from_slice(&packed.0);
        out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
        &[]
    }

    fn len(mark: [u8; 4]) -> Result<usize> {
        let mark = u32::from_be_bytes(mark);
        ensure!(
            mark & LAST_FRAGMENT != 0,
            "the reply has more than one fragment"
        );
        Ok((mark & !LAST_FRAGMENT) as usize)
    }

    fn parse(message: &[u8]) -> Result<(u32, &[u8])> {
        match outcome(message)? {
            (xid, Outcome::Success(body)) => Ok((xid, body)),
            (_, outcome) => bail!("the call failed: {outcome:?}"),
        }
    }
}

impl Load<Connection> {
    /// Connects to a server, as root.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        let from = OwnedFd::from(stream.try_clone()?);
        let to = OwnedFd::from(stream);
        let mut load = Self::new(Connection(Auth::root()), File::from(to), File::from(from))?;
        load.id = first_xid();
        Ok(load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_call_equals_the_call_with_its_xid() {
        let connection = Connection(Auth::root());
        let (mut packed, mut plain) = (Vec::new(), Vec::new());
        let call = Call::read(b"file", 1 << 33, 4096);
        connection.encode(&Request::Packed(&Packed::new(&call)), 7, &mut packed);
        connection.encode(&call.into(), 7, &mut plain);
        assert_eq!(packed, plain);
    }
}
