//! A small NFSv3 client over TCP for tests and measurements. It trusts nothing that the server says.
//!
//! It is not a library for others: no reconnects, no caches, and panics nowhere but in tests' own code.

pub mod calls;
pub mod changes;
pub mod replies;
pub mod set;
mod writing;
pub mod xdr;

pub use calls::{Auth, Mount, Nfs, Portmap, Procedure};
pub use changes::{Before, Change, Made, Wcc, Wrote};
pub use replies::{Attr, Entry, Outcome, Page, Status};
pub use set::{How, Node, Set, SetTime, Stable};
pub use writing::failure;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xdr::Reader;

/// The bit of a record mark that says "last fragment".
pub const LAST_FRAGMENT: u32 = 1 << 31;

/// No reply is longer: 1 MiB of data and its head.
const REPLY_MAX: u32 = (1 << 20) + 4096;

/// `message` as one record of one fragment.
pub fn record(message: &[u8]) -> Vec<u8> {
    let mut out = (LAST_FRAGMENT | message.len() as u32)
        .to_be_bytes()
        .to_vec();
    out.extend(message);
    out
}

/// Where a connection's xids begin: two connections of a test must not repeat each other's, since a server may take a call
/// with a known xid for a retransmission.
fn first_xid() -> u32 {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(1);
    CONNECTIONS.fetch_add(1, Ordering::Relaxed).rotate_right(12) ^ std::process::id()
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    /// The credential of calls.
    pub auth: Auth,
    xid: u32,
    reply: Vec<u8>,
}

impl Client {
    /// Connects; a server that is silent for ten seconds is an error from then on.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        Self::over(stream)
    }

    /// Connects from another address of this machine than the one that the route prefers.
    pub fn connect_from(source: Ipv4Addr, server: SocketAddr) -> Result<Self> {
        let SocketAddr::V4(server) = server else {
            bail!("{server} is no address of version 4");
        };
        let socket = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let here = SockaddrIn::from(SocketAddrV4::new(source, 0));
        bind(socket.as_raw_fd(), &here).with_context(|| format!("cannot bind to {source}"))?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(server))
            .with_context(|| format!("cannot connect from {source} to {server}"))?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            stream: BufReader::with_capacity(256 << 10, stream),
            auth: Auth::root(),
            xid: first_xid(),
            reply: Vec::new(),
        })
    }

    /// The socket, for what the client does not do itself.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(bytes)
            .context("cannot send to the server")
    }

    /// Reads one record, which must be one fragment, into the client's buffer; None when the server closed the connection.
    pub fn receive(&mut self) -> Result<Option<&[u8]>> {
        let mut mark = [0; 4];
        match self.stream.read_exact(&mut mark) {
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(None);
            }
            result => result.context("no reply")?,
        }
        let mark = u32::from_be_bytes(mark);
        ensure!(
            mark & LAST_FRAGMENT != 0,
            "the reply is more than one fragment"
        );
        let len = mark & !LAST_FRAGMENT;
        ensure!(len <= REPLY_MAX, "the reply's record mark says {len} bytes");
        self.reply.resize(len as usize, 0);
        match self.stream.read_exact(&mut self.reply) {
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(None)
            }
            result => result
                .map(|()| Some(self.reply.as_slice()))
                .context("the reply does not end"),
        }
    }

    /// Sends one message and waits for what the server makes of it; None when it closed the connection.
    pub fn exchange(&mut self, message: &[u8]) -> Result<Option<Outcome<'_>>> {
        let sent = u32::from_be_bytes(*message.first_chunk().context("the message has no xid")?);
        self.send(&record(message))?;
        let Some(reply) = self.receive()? else {
            return Ok(None);
        };
        let (xid, outcome) = replies::parse(reply)?;
        ensure!(xid == sent, "the reply has xid {xid} and the call {sent}");
        Ok(Some(outcome))
    }

    /// Calls a procedure; its result.
    pub fn call(&mut self, procedure: &impl Procedure) -> Result<Reader<'_>> {
        self.xid = self.xid.wrapping_add(1);
        let message = procedure.message(self.xid, &self.auth);
        match self.exchange(&message)? {
            Some(Outcome::Success(body)) => Ok(body),
            Some(other) => bail!("the server answered {other:?} to {:?}", procedure.place()),
            None => bail!(
                "the server closed the connection at {:?}",
                procedure.place()
            ),
        }
    }

    /// Calls a procedure whose result begins with a status, and checks the result to its last byte.
    pub fn status(&mut self, procedure: &impl Procedure) -> Result<Status> {
        let body = self.call(procedure)?;
        replies::check(procedure.place(), body)?;
        Status::of(body)
    }

    /// MNT: the handle of an export's root. Needs a connection to the MOUNT port.
    pub fn mount(&mut self, path: &str) -> Result<Vec<u8>> {
        replies::mnt(self.call(&Mount::Mnt {
            path: path.as_bytes(),
        })?)
        .with_context(|| format!("cannot mount {path}"))
    }

    /// GETATTR.
    pub fn attr(&mut self, object: &[u8]) -> Result<Attr> {
        replies::get_attr(self.call(&Nfs::GetAttr { object })?)
    }

    /// ACCESS: which of the bits asked for are granted.
    pub fn access(&mut self, object: &[u8], access: u32) -> Result<u32> {
        replies::access(self.call(&Nfs::Access { object, access })?)
    }

    /// LOOKUP: the handle.
    pub fn lookup(&mut self, dir: &[u8], name: &str) -> Result<Vec<u8>> {
        Ok(replies::lookup(self.call(&Nfs::Lookup {
            dir,
            name: name.as_bytes(),
        })?)?
        .0)
    }

    /// LOOKUP of each name in turn.
    pub fn walk(&mut self, root: &[u8], path: &str) -> Result<Vec<u8>> {
        path.split('/').try_fold(root.to_vec(), |dir, name| {
            self.lookup(&dir, name)
                .with_context(|| format!("at {name} of {path}"))
        })
    }

    /// READ: the data and whether it ends the file.
    pub fn read(&mut self, file: &[u8], offset: u64, count: u32) -> Result<(&[u8], bool)> {
        replies::read(self.call(&Nfs::Read {
            file,
            offset,
            count,
        })?)
    }

    /// READLINK.
    pub fn read_link(&mut self, link: &[u8]) -> Result<Vec<u8>> {
        replies::read_link(self.call(&Nfs::ReadLink { link })?)
    }

    /// READDIR from after `cookie`.
    pub fn read_dir(
        &mut self,
        dir: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    ) -> Result<Page> {
        replies::page(
            self.call(&Nfs::ReadDir {
                dir,
                cookie,
                verifier,
                count,
            })?,
            false,
        )
    }

    /// READDIRPLUS from after `cookie`.
    pub fn read_dir_plus(
        &mut self,
        dir: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        max_count: u32,
    ) -> Result<Page> {
        replies::page(
            self.call(&Nfs::ReadDirPlus {
                dir,
                cookie,
                verifier,
                dir_count: max_count,
                max_count,
            })?,
            true,
        )
    }

    /// READDIRPLUS to the end.
    pub fn list(&mut self, dir: &[u8]) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut verifier = [0; 8];
        loop {
            let page = self.read_dir_plus(
                dir,
                entries.last().map_or(0, |e| e.cookie),
                verifier,
                32 << 10,
            )?;
            verifier = page.verifier;
            entries.extend(page.entries);
            if page.eof {
                return Ok(entries);
            }
        }
    }
}
