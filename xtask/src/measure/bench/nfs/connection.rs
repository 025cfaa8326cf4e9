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
/// Refill for small replies. Two batches are in flight, so that the server never waits for the next one.
pub const OVERLAP: Refill = Refill::Overlap(DEPTH);
/// Refill for large requests and replies.
pub const SLIDE: Refill = Refill::Slide(DEPTH);

/// The protocol NFS, with the credential of all calls.
pub struct Connection(Auth);

/// A call to send, which may already be encoded.
pub enum Request<'a> {
    Call(Call<'a>),
    Packed(&'a Packed),
    /// A READ that was encoded before, sent with this offset.
    ReadAt(&'a Packed, u64),
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
            Request::Packed(packed) | Request::ReadAt(packed, _) => packed,
        };
        out.extend_from_slice(&packed.0);
        out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
        if let Request::ReadAt(_, offset) = request {
            // A READ ends with the offset (8 bytes) and the count (4 bytes).
            let start = out.len() - 12;
            out[start..start + 8].copy_from_slice(&offset.to_be_bytes());
        }
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

/// Length of a file's attributes (`fattr3`) in bytes.
const ATTRIBUTES: usize = 84;

/// The size in the results of a successful GETATTR of a regular file.
pub fn size_of(results: &[u8]) -> Result<u64> {
    // The results begin with status, type, mode, nlink, uid, gid, size.
    let is_file = results.len() == 4 + ATTRIBUTES && results[..8] == [0, 0, 0, 0, 0, 0, 0, 1];
    ensure!(
        is_file,
        "GETATTR does not return a regular file: {results:02x?}"
    );
    number(&results[24..])
}

/// Checks the results of a successful LOOKUP: a handle, the file's attributes, the directory's.
pub fn check_found(results: &[u8]) -> Result<()> {
    let len = results
        .get(4..8)
        .map(|it| u32::from_be_bytes([it[0], it[1], it[2], it[3]]) as usize);
    let is_found = len.is_some_and(|len| {
        let end = 8 + len.next_multiple_of(4);
        let whole = end + 2 * (4 + ATTRIBUTES);
        (1..=64).contains(&len)
            && results.len() == whole
            && results[..4] == [0; 4]
            && results[end..end + 4] == [0, 0, 0, 1]
    });
    ensure!(
        is_found,
        "LOOKUP does not return a handle and attributes: {results:02x?}"
    );
    Ok(())
}

/// The data in the results of a successful READ that has no padding.
pub fn data_of(results: &[u8]) -> Result<&[u8]> {
    let has_attributes = results.get(7) == Some(&1);
    let start = 8 + if has_attributes { ATTRIBUTES } else { 0 };
    let words = results.get(start..start + 12);
    let is_data = words.is_some_and(|words| {
        let len = results.len() - start - 12;
        // The words before the data: count, EOF flag, length of the data.
        results[..4] == [0; 4]
            && words[..4] == words[8..]
            && words[..4] == (len as u32).to_be_bytes()
            && words[4..7] == [0; 3]
    });
    ensure!(
        is_data,
        "READ returns malformed results of {} bytes: {:02x?}",
        results.len(),
        &results[..results.len().min(120)]
    );
    Ok(&results[start + 12..])
}

fn number(bytes: &[u8]) -> Result<u64> {
    let bytes = bytes.first_chunk().context("the results are cut short")?;
    Ok(u64::from_be_bytes(*bytes))
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

    /// Results with the status `NFS3_OK`, followed by these words.
    fn results(words: &[u32]) -> Vec<u8> {
        let words = [0].iter().chain(words);
        words.flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn packed_call_equals_the_call_with_its_xid() {
        let connection = Connection(Auth::root());
        let (mut packed, mut plain) = (Vec::new(), Vec::new());
        let zero = Packed::new(&Call::read(b"file", 0, 4096));
        connection.encode(&Request::ReadAt(&zero, 1 << 33), 7, &mut packed);
        let call = Call::read(b"file", 1 << 33, 4096);
        connection.encode(&call.into(), 7, &mut plain);
        assert_eq!(packed, plain);
    }

    #[test]
    fn size_is_read_from_regular_files_only() -> Result<()> {
        let mut words = [0; 21];
        (words[0], words[5], words[6]) = (1, 1, 2);
        assert_eq!(size_of(&results(&words))?, (1 << 32) + 2);
        words[0] = 2;
        assert!(size_of(&results(&words)).is_err());
        assert!(size_of(&[0, 0, 0, 70]).is_err());
        Ok(())
    }

    #[test]
    fn data_length_must_match_count_and_results() -> Result<()> {
        assert_eq!(data_of(&results(&[0, 4, 1, 4, 0x0102_0304]))?, [1, 2, 3, 4]);
        assert!(data_of(&results(&[0, 8, 1, 4, 0])).is_err());
        assert!(data_of(&results(&[0, 8, 1, 8, 0])).is_err());
        assert!(data_of(&[0, 0, 0, 5, 0, 0, 0, 0]).is_err());
        Ok(())
    }

    #[test]
    fn lookup_results_need_handle_and_attributes() {
        let with = |words: usize| results(&[&[4, 9, 1][..], &vec![0; words]].concat());
        assert!(check_found(&with(21 + 22)).is_ok());
        assert!(check_found(&with(21)).is_err());
        assert!(check_found(&[0, 0, 0, 2]).is_err());
    }
}
