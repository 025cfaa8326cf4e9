//! An SFTP session of the load generator.

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::sftp::{self, Attrs, PACKET_MAX, Request, Status, kind};
use crate::measure::bench::load::{Load, Protocol, Refill};

/// Largest number of requests in flight: that of OpenSSH's client.
pub const DEPTH: usize = 64;

/// One request in flight.
const ALONE: Refill = Refill::Slide(1);

/// A reply. Data refers to the receive buffer, because a copy would add to the measured wall time.
#[derive(Debug)]
pub enum Reply<'a> {
    Version,
    Data(&'a [u8]),
    Other(sftp::Reply),
}

/// The protocol SFTP.
pub struct Session;

impl Protocol for Session {
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;
    const REPLY_MAX: usize = PACKET_MAX;

    fn encode<'a>(&self, request: &Self::Request<'a>, id: u32, out: &mut Vec<u8>) -> &'a [u8] {
        request.append(id, out)
    }

    fn len(prefix: [u8; 4]) -> Result<usize> {
        Ok(u32::from_be_bytes(prefix) as usize)
    }

    fn parse(message: &[u8]) -> Result<(u32, Reply<'_>)> {
        let id = || {
            message
                .get(1..5)?
                .first_chunk()
                .copied()
                .map(u32::from_be_bytes)
        };
        // VERSION has the protocol version in place of an id; the extensions that follow are ignored.
        match message.first() {
            Some(&kind::VERSION) => Ok((id().context("VERSION is short")?, Reply::Version)),
            Some(&kind::DATA) => {
                let (len, data) = message
                    .get(5..)
                    .and_then(<[u8]>::split_first_chunk)
                    .context("DATA is short")?;
                ensure!(
                    u32::from_be_bytes(*len) as usize == data.len(),
                    "DATA has a wrong length"
                );
                Ok((id().context("DATA is short")?, Reply::Data(data)))
            }
            _ => {
                let (id, reply) = sftp::Reply::parse(message)?;
                Ok((id, Reply::Other(reply)))
            }
        }
    }
}

impl Load<Session> {
    /// Sends INIT and waits for VERSION.
    pub fn negotiate(&mut self) -> Result<()> {
        // INIT and VERSION have the protocol version, 3, in place of an id.
        self.id = 3;
        self.run(
            1,
            ALONE,
            |_| Request::Other(kind::INIT, b""),
            |_, reply| {
                ensure!(
                    matches!(reply, Reply::Version),
                    "the reply to INIT is {reply:?}"
                );
                Ok(())
            },
        )
    }

    /// Opens a file and returns its handle.
    pub fn open(&mut self, path: &[u8], flags: u32) -> Result<Vec<u8>> {
        self.handle(&Request::Open(path, flags, Attrs::default()))
    }

    /// Opens a directory and returns its handle.
    pub fn open_dir(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        self.handle(&Request::OpenDir(path))
    }

    fn handle(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        let mut handle = Vec::new();
        self.run(
            1,
            ALONE,
            |_| request.clone(),
            |_, reply| {
                let Reply::Other(sftp::Reply::Handle(bytes)) = reply else {
                    bail!("the reply to OPEN or OPENDIR is {reply:?}")
                };
                handle = bytes;
                Ok(())
            },
        )?;
        Ok(handle)
    }

    /// Closes a handle.
    pub fn close(&mut self, handle: &[u8]) -> Result<()> {
        self.run(1, ALONE, |_| Request::Close(handle), ok)
    }
}

/// Fails unless the reply is SSH_FX_OK.
pub fn ok(index: u64, reply: Reply<'_>) -> Result<()> {
    ensure!(
        matches!(&reply, Reply::Other(it) if it.status() == Some(Status::OK)),
        "the reply to request {index} is {reply:?}"
    );
    Ok(())
}
