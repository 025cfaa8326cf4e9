//! A small NFSv3 client over TCP for tests and measurements. It validates every reply.
//!
//! No reconnects and no caches. Errors are returned, not panics.

mod writing;
pub mod xdr;

pub use cases::calls::{Auth, Call, LAST_FRAGMENT, head, record};
pub use cases::nfs3_types::{mount, nfs3, portmap};
pub use cases::replies::{
    Attributes, Before, Body, DirEntry, Outcome, body, failed_status, ok, outcome, read, status_of,
    words,
};
pub use cases::values::{How, Set, SetTime, device, pack, time};
pub use nfs3::{fattr3, mknoddata3, nfsstat3, nfstime3, stable_how};
pub use writing::{WriteResult, parse_created, parse_write};

use anyhow::{Context, Result, bail, ensure};
use cases::nfs3_types::xdr_codec::{Pack, Unpack};
use cases::replies::Results;
use nfs3::{ACCESS3res, GETATTR3res, LOOKUP3res, LOOKUP3resok, READ3res, READLINK3res};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xdr::Reader;

use super::connect_from;

/// Largest reply (bytes): 1 MiB of data and the head.
const REPLY_MAX: u32 = (1 << 20) + 4096;

/// Returns the first xid of a connection. The xid differs for each connection, because a server may treat a call with a known xid
/// as a retransmission.
pub fn first_xid() -> u32 {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(1);
    CONNECTIONS.fetch_add(1, Ordering::Relaxed).rotate_right(12) ^ std::process::id()
}

/// A connection to the server.
pub struct Client {
    stream: BufReader<TcpStream>,
    /// The credential of all calls.
    pub auth: Auth,
    xid: u32,
    reply: Vec<u8>,
}

impl Client {
    /// Connects to the server. Later calls fail if no data arrives for ten seconds.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        Self::from_stream(stream)
    }

    /// Connects from the local address `source`.
    pub fn connect_from(source: Ipv4Addr, server: SocketAddr) -> Result<Self> {
        Self::from_stream(connect_from(source, server)?)
    }

    fn from_stream(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            stream: BufReader::with_capacity(256 << 10, stream),
            auth: Auth::root(),
            xid: first_xid(),
            reply: Vec::new(),
        })
    }

    /// The socket, for operations for which the client has no method.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Resets the connection when it is closed, as if it broke. After an orderly close, the server expects no retransmission.
    pub fn reset_at_close(&self) -> Result<()> {
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        Ok(setsockopt(self.stream(), Linger, &at_once)?)
    }

    /// Sends raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(bytes)
            .context("cannot send to the server")
    }

    /// Reads one record, which must be a single fragment. None if the connection was closed or reset, even within the record.
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
            result => result.context("cannot read the reply's record mark")?,
        }
        let mark = u32::from_be_bytes(mark);
        ensure!(
            mark & LAST_FRAGMENT != 0,
            "the reply has more than one fragment"
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
                .context("cannot read the whole reply"),
        }
    }

    /// Sends an RPC message and reads the reply. None if the server closed the connection.
    pub fn exchange(&mut self, message: &[u8]) -> Result<Option<Outcome<'_>>> {
        let sent = u32::from_be_bytes(*message.first_chunk().context("the message has no xid")?);
        self.send(&record(message))?;
        let Some(reply) = self.receive()? else {
            return Ok(None);
        };
        let (xid, outcome) = outcome(reply)?;
        ensure!(
            xid == sent,
            "the reply has xid {xid}, but the call has {sent}"
        );
        Ok(Some(outcome))
    }

    /// Calls a procedure and returns its raw results.
    pub fn call(&mut self, call: &Call<'_>) -> Result<&[u8]> {
        self.xid = self.xid.wrapping_add(1);
        let message = call.message(self.xid, &self.auth);
        match self.exchange(&message)? {
            Some(Outcome::Success(body)) => Ok(body),
            Some(outcome) => bail!("the server answered {outcome:?} to {:?}", call.procedure),
            None => bail!(
                "the server closed the connection instead of answering {:?}",
                call.procedure
            ),
        }
    }

    /// Calls a procedure and parses its results as `T`.
    pub fn ask<T: Unpack + Pack + Results>(&mut self, call: &Call<'_>) -> Result<T> {
        read(self.call(call)?)
    }

    /// Calls any procedure and parses its results according to the procedure. An NFS error status is not an error here.
    pub fn answer(&mut self, call: &Call<'_>) -> Result<Body> {
        body(call.procedure, self.call(call)?)
    }

    /// Calls any procedure, parses its results completely, and returns their status.
    pub fn status(&mut self, call: &Call<'_>) -> Result<nfsstat3> {
        self.answer(call)?.status()
    }

    /// Calls any procedure. Fails unless the status of its results is `expected`.
    pub fn expect_status(&mut self, call: &Call<'_>, expected: nfsstat3) -> Result<()> {
        let status = self.status(call)?;
        ensure!(
            status == expected,
            "{call:?} was answered {status:?} instead of {expected:?}"
        );
        Ok(())
    }

    /// Calls READDIR or READDIRPLUS and parses the results.
    pub fn page(&mut self, call: &Call<'_>) -> Result<Page> {
        page(call, self.call(call)?)
    }

    /// MNT: returns the handle of the export's root. Needs a connection to the MOUNT port.
    pub fn mount(&mut self, path: &str) -> Result<Vec<u8>> {
        let root = self
            .answer(&Call::mount(path.as_bytes()))
            .and_then(Body::ok);
        Ok(root.with_context(|| format!("cannot mount {path}"))?.handle)
    }

    /// Calls GETATTR and returns the attributes.
    pub fn attr(&mut self, object: &[u8]) -> Result<fattr3> {
        Ok(ok(self.ask::<GETATTR3res>(&Call::get_attr(object))?)?.obj_attributes)
    }

    /// ACCESS: returns the granted bits of `access`.
    pub fn access(&mut self, object: &[u8], access: u32) -> Result<u32> {
        Ok(ok(self.ask::<ACCESS3res>(&Call::access(object, access))?)?.access)
    }

    /// LOOKUP: returns the handle.
    pub fn lookup(&mut self, dir: &[u8], name: &str) -> Result<Vec<u8>> {
        let found = parse_lookup(self.call(&Call::lookup(dir, name.as_bytes()))?)?;
        Ok(found.object.data.into_owned())
    }

    /// Calls LOOKUP for each component of `path` and returns the last handle.
    pub fn walk(&mut self, root: &[u8], path: &str) -> Result<Vec<u8>> {
        path.split('/').try_fold(root.to_vec(), |dir, name| {
            self.lookup(&dir, name)
                .with_context(|| format!("cannot look up {name} in {path}"))
        })
    }

    /// READ: returns the data, and true at the end of the file.
    pub fn read(&mut self, file: &[u8], offset: u64, count: u32) -> Result<(&[u8], bool)> {
        data(self.call(&Call::read(file, offset, count))?)
    }

    /// Calls READLINK and returns the target of the link.
    pub fn read_link(&mut self, link: &[u8]) -> Result<Vec<u8>> {
        Ok(ok(self.ask::<READLINK3res<'_>>(&Call::read_link(link))?)?
            .data
            .0
            .into_owned())
    }

    /// Calls READDIRPLUS until the end of the directory and returns all entries.
    pub fn list(&mut self, dir: &[u8]) -> Result<Vec<DirEntry>> {
        let mut entries: Vec<DirEntry> = Vec::new();
        let mut verifier = [0; 8];
        loop {
            let cookie = entries.last().map_or(0, |e| e.cookie);
            let call = Call::read_dir_plus(dir, cookie, verifier, 32 << 10, 32 << 10);
            let page = self.page(&call)?;
            verifier = page.verifier;
            entries.extend(page.entries);
            if page.eof {
                return Ok(entries);
            }
        }
    }
}

/// Removes the padding of one of stowaway's handles: older versions of stowaway issued handles without padding. A kernel handle
/// consists of 15 bytes and the kernel's own handle; a path handle of 27 bytes and one byte per path component. Inside an ISO
/// image, 14 more bytes follow.
pub fn unpadded(handle: &[u8]) -> &[u8] {
    let inside = if handle[0] == 2 { 14 } else { 0 };
    let outer = handle.len() - inside;
    let outer = match handle[1] {
        1 => outer - (outer + 1) % 4,
        2 => 27 + usize::from(handle[26]),
        _ => 32,
    };
    &handle[..outer + inside]
}

/// Parses the results of READ without copying: the data, and true at the end of the file.
pub fn data(results: &[u8]) -> Result<(&[u8], bool)> {
    let mut reader = Reader::new(results);
    if reader.u32()? != 0 {
        ok(read::<READ3res<'_>>(results)?)?;
    }
    if reader.bool()? {
        read::<fattr3>(reader.fixed(84)?)?;
    }
    let (count, eof) = (reader.u32()? as usize, reader.bool()?);
    let data = reader.opaque(count)?;
    ensure!(
        data.len() == count,
        "READ has a count of {count} but {} bytes of data",
        data.len()
    );
    reader.expect_end()?;
    Ok((data, eof))
}

/// The results of one READDIR or READDIRPLUS.
#[derive(Clone, Debug)]
pub struct Page {
    pub verifier: [u8; 8],
    pub entries: Vec<DirEntry>,
    pub eof: bool,
}

/// Parses the results of READDIR or READDIRPLUS, depending on `call`.
pub fn page(call: &Call<'_>, results: &[u8]) -> Result<Page> {
    let body = body(call.procedure, results)?.ok()?;
    let [high, low, eof] = body.words[..] else {
        bail!("{:?} is not READDIR or READDIRPLUS", call.procedure);
    };
    Ok(Page {
        verifier: (u64::from(high) << 32 | u64::from(low)).to_be_bytes(),
        entries: body.entries,
        eof: eof == 1,
    })
}

/// Parses the results of LOOKUP.
pub fn parse_lookup(results: &[u8]) -> Result<LOOKUP3resok> {
    ok(read::<LOOKUP3res>(results)?)
}
