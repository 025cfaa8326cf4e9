//! An NFS connection of the load generator. Each reply must be one fragment and successful.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::nfs::{Auth, Call, LAST_FRAGMENT, Outcome, first_xid, head, outcome, record};
use crate::measure::bench::load::{Load, Protocol, Refill};

/// Number of calls in flight with [`SLIDE`], or in a batch.
pub const DEPTH: usize = 16;
/// Refill for small replies.
pub const BATCH: Refill = Refill::Batch(DEPTH);
/// Refill for large requests and replies.
pub const SLIDE: Refill = Refill::Slide(DEPTH);

/// Largest reply (bytes) that READDIR and READDIRPLUS ask for: the size that common clients use.
pub const PAGE: u32 = 64 << 10;

/// The protocol NFS, with the credential of all calls.
pub struct Connection(Auth);

/// A call to send, which may already be encoded.
pub enum Request<'a> {
    Call(Call<'a>),
    Packed(&'a Packed),
    /// With the sequence number and the slot.
    Compound(&'a Compound, [u32; 2]),
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

/// The encoded record of a COMPOUND that begins with SEQUENCE. Only its xid, its sequence number and its slot change when it is sent
/// again.
pub struct Compound {
    record: Vec<u8>,
    /// Offset of the sequence number.
    sequence_at: usize,
}

impl Compound {
    /// Encodes a call with the credential of root. `arguments` are those of [`cases::nfs4::compound`].
    pub fn new(arguments: &[u8]) -> Self {
        let mut message = head(0, 2, (100_003, 4, 1), &Auth::root());
        // After the record mark, the tag, the minor version, the count and the session.
        let sequence_at = 4 + message.len() + 8 + 12 + 16;
        message.extend(arguments);
        Self {
            record: record(&message),
            sequence_at,
        }
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
            Request::Packed(packed) => &packed.0,
            Request::Compound(compound, _) => &compound.record,
        };
        out.extend_from_slice(packed);
        if let Request::Compound(compound, [sequence, slot]) = request {
            // The slot, and the highest slot in use.
            let words = [sequence, slot, slot].map(|word| word.to_be_bytes());
            let at = start + compound.sequence_at;
            out[at..at + 12].copy_from_slice(words.as_flattened());
        }
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
