//! An SFTP session of the load generator.

use anyhow::{Result, bail, ensure};

use super::packets::{Mode, Reply, Request};
use crate::clients::sftp::{PACKET_MAX, Status};
use crate::measure::bench::load::{Load, Protocol, Refill};

/// Largest number of requests in flight: that of OpenSSH's client.
pub const DEPTH: usize = 64;

/// One request in flight.
const ALONE: Refill = Refill::Slide(1);

/// The protocol SFTP.
pub struct Session;

impl Protocol for Session {
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;
    const REPLY_MAX: usize = PACKET_MAX;

    fn encode<'a>(&self, request: &Self::Request<'a>, id: u32, out: &mut Vec<u8>) -> &'a [u8] {
        request.encode(id, out)
    }

    fn len(prefix: [u8; 4]) -> Result<usize> {
        Ok(u32::from_be_bytes(prefix) as usize)
    }

    fn parse(message: &[u8]) -> Result<(u32, Reply<'_>)> {
        Reply::parse(message)
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
            |_| Request::Init,
            |_, reply| {
                ensure!(reply == Reply::Version, "the reply to INIT is {reply:?}");
                Ok(())
            },
        )
    }

    /// Opens a file and returns its handle.
    pub fn open(&mut self, path: &[u8], mode: Mode) -> Result<Vec<u8>> {
        self.handle(Request::Open { path, mode })
    }

    /// Opens a directory and returns its handle.
    pub fn open_dir(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        self.handle(Request::OpenDir { path })
    }

    fn handle(&mut self, request: Request<'_>) -> Result<Vec<u8>> {
        let mut handle = Vec::new();
        self.run(
            1,
            ALONE,
            |_| request,
            |_, reply| {
                let Reply::Handle(bytes) = reply else {
                    bail!("the reply to OPEN or OPENDIR is {reply:?}")
                };
                handle.extend(bytes);
                Ok(())
            },
        )?;
        Ok(handle)
    }

    /// Closes a handle.
    pub fn close(&mut self, handle: &[u8]) -> Result<()> {
        self.run(1, ALONE, |_| Request::Close { handle }, ok)
    }
}

/// Fails unless the reply is SSH_FX_OK.
pub fn ok(index: u64, reply: Reply<'_>) -> Result<()> {
    ensure!(
        reply == Reply::Status(Status::OK),
        "the reply to request {index} is {reply:?}"
    );
    Ok(())
}
