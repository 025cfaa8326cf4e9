//! What comes back: RPC replies and the results of every procedure, decoded strictly.
//!
//! `check` walks any result to its last byte; the structs hold what tests look at.

use super::calls::{Mount, Nfs, Portmap};
use super::changes;
use super::xdr::Reader;
use anyhow::{Result, bail, ensure};
use std::fmt;

/// How the server took a call (RFC 5531).
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    Success(Reader<'a>),
    ProgramUnavailable,
    ProgramMismatch { low: u32, high: u32 },
    ProcedureUnavailable,
    GarbageArguments,
    SystemError,
    RpcMismatch { low: u32, high: u32 },
    AuthError(u32),
}

/// The xid and the outcome in a reply message. Only a verifier of AUTH_NONE is expected.
pub fn parse(message: &[u8]) -> Result<(u32, Outcome<'_>)> {
    let mut reader = Reader::new(message);
    let xid = reader.u32()?;
    ensure!(reader.u32()? == 1, "the message is not a reply");
    let outcome = match reader.u32()? {
        0 => {
            ensure!(
                (reader.u32()?, reader.u32()?) == (0, 0),
                "the reply's verifier is not AUTH_NONE"
            );
            match reader.u32()? {
                0 => return Ok((xid, Outcome::Success(reader))),
                1 => Outcome::ProgramUnavailable,
                2 => Outcome::ProgramMismatch {
                    low: reader.u32()?,
                    high: reader.u32()?,
                },
                3 => Outcome::ProcedureUnavailable,
                4 => Outcome::GarbageArguments,
                5 => Outcome::SystemError,
                other => bail!("unknown accept_stat {other}"),
            }
        }
        1 => match reader.u32()? {
            0 => Outcome::RpcMismatch {
                low: reader.u32()?,
                high: reader.u32()?,
            },
            1 => Outcome::AuthError(reader.u32()?),
            other => bail!("unknown reject_stat {other}"),
        },
        other => bail!("unknown reply_stat {other}"),
    };
    reader.end()?;
    Ok((xid, outcome))
}

/// The status of an NFS or MOUNT result; both programs number them alike.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs)]
        impl Status { $(pub const $name: Self = Self($number);)* }

        impl fmt::Debug for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self { $(Self::$name => f.write_str(stringify!($name)),)* Self(other) => write!(f, "status {other}") }
            }
        }
    };
}

statuses! {
    OK = 0, PERM = 1, NOENT = 2, IO = 5, NXIO = 6, ACCES = 13, EXIST = 17, XDEV = 18, NODEV = 19, NOTDIR = 20, ISDIR = 21, INVAL = 22,
    FBIG = 27, NOSPC = 28, ROFS = 30, MLINK = 31, NAMETOOLONG = 63, NOTEMPTY = 66, DQUOT = 69, STALE = 70, REMOTE = 71,
    BADHANDLE = 10001, NOT_SYNC = 10002, BAD_COOKIE = 10003, NOTSUPP = 10004, TOOSMALL = 10005, SERVERFAULT = 10006, BADTYPE = 10007,
    JUKEBOX = 10008,
}

impl Status {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self> {
        let status = Self(reader.u32()?);
        ensure!(
            !format!("{status:?}").starts_with("status"),
            "the reply has an unknown {status:?}"
        );
        Ok(status)
    }

    /// The status of a result, which is its first word.
    pub fn of(mut body: Reader<'_>) -> Result<Self> {
        Self::parse(&mut body)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {self:?}")
    }
}

impl std::error::Error for Status {}

/// File attributes (fattr3). Times are seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// 1 file, 2 directory, 3 block, 4 character, 5 symlink, 6 socket, 7 FIFO.
    pub kind: u32,
    pub mode: u32,
    pub link_count: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub used: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub fsid: u64,
    pub file_id: u64,
    pub atime: (u32, u32),
    pub mtime: (u32, u32),
    pub ctime: (u32, u32),
}

impl Attr {
    fn parse(reader: &mut Reader<'_>) -> Result<Self> {
        let kind = reader.u32()?;
        ensure!(
            (1..=7).contains(&kind),
            "the reply has a file of type {kind}"
        );
        let (mode, link_count, uid, gid) =
            (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
        let (size, used) = (reader.u64()?, reader.u64()?);
        let device = (reader.u32()?, reader.u32()?);
        let (fsid, file_id) = (reader.u64()?, reader.u64()?);
        let (atime, mtime, ctime) = (time(reader)?, time(reader)?, time(reader)?);
        Ok(Self {
            kind,
            mode,
            link_count,
            uid,
            gid,
            size,
            used,
            device,
            fsid,
            file_id,
            atime,
            mtime,
            ctime,
        })
    }

    pub(super) fn optional(reader: &mut Reader<'_>) -> Result<Option<Self>> {
        Ok(if reader.bool()? {
            Some(Self::parse(reader)?)
        } else {
            None
        })
    }
}

pub(super) fn time(reader: &mut Reader<'_>) -> Result<(u32, u32)> {
    let (seconds, nanoseconds) = (reader.u32()?, reader.u32()?);
    ensure!(
        nanoseconds < 1_000_000_000,
        "the reply has a time with {nanoseconds} ns"
    );
    Ok((seconds, nanoseconds))
}

/// A handle: at most 64 bytes, never empty.
pub(super) fn handle(reader: &mut Reader<'_>) -> Result<Vec<u8>> {
    let bytes = reader.opaque(64)?;
    ensure!(!bytes.is_empty(), "the reply has an empty handle");
    Ok(bytes.to_vec())
}

/// `OK`, or the status as the error; what a failed result carries besides is read and left.
fn ok(body: &mut Reader<'_>) -> Result<()> {
    match Status::parse(body)? {
        Status::OK => Ok(()),
        failed => Err(failed.into()),
    }
}

/// A result of GETATTR.
pub fn get_attr(mut body: Reader<'_>) -> Result<Attr> {
    ok(&mut body)?;
    let attr = Attr::parse(&mut body)?;
    body.end()?;
    Ok(attr)
}

/// A result of LOOKUP: the handle and the object's attributes.
pub fn lookup(mut body: Reader<'_>) -> Result<(Vec<u8>, Option<Attr>)> {
    ok(&mut body)?;
    let found = (handle(&mut body)?, Attr::optional(&mut body)?);
    Attr::optional(&mut body)?;
    body.end()?;
    Ok(found)
}

/// A result of ACCESS: the bits that are granted.
pub fn access(mut body: Reader<'_>) -> Result<u32> {
    ok(&mut body)?;
    Attr::optional(&mut body)?;
    let granted = body.u32()?;
    body.end()?;
    Ok(granted)
}

/// A result of READ: the data and whether it ends the file.
pub fn read(mut body: Reader<'_>) -> Result<(&[u8], bool)> {
    ok(&mut body)?;
    Attr::optional(&mut body)?;
    let (count, eof) = (body.u32()? as usize, body.bool()?);
    let data = body.opaque(count)?;
    ensure!(
        data.len() == count,
        "READ says {count} bytes and brings {}",
        data.len()
    );
    body.end()?;
    Ok((data, eof))
}

/// A result of READLINK: the target.
pub fn read_link(mut body: Reader<'_>) -> Result<Vec<u8>> {
    ok(&mut body)?;
    Attr::optional(&mut body)?;
    let target = body.opaque(4096)?.to_vec();
    body.end()?;
    Ok(target)
}

/// One name in a directory. READDIR brings neither attributes nor a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub file_id: u64,
    pub name: Vec<u8>,
    pub cookie: u64,
    pub attr: Option<Attr>,
    pub handle: Option<Vec<u8>>,
}

/// A result of READDIR or READDIRPLUS.
#[derive(Clone, Debug)]
pub struct Page {
    pub verifier: [u8; 8],
    pub entries: Vec<Entry>,
    pub eof: bool,
}

/// A result of READDIR, or of READDIRPLUS when `plus`.
pub fn page(mut body: Reader<'_>, plus: bool) -> Result<Page> {
    ok(&mut body)?;
    Attr::optional(&mut body)?;
    let verifier = body.fixed(8)?.try_into()?;
    let mut entries = Vec::new();
    while body.bool()? {
        let (file_id, name, cookie) = (body.u64()?, body.opaque(255)?.to_vec(), body.u64()?);
        ensure!(
            !name.is_empty() && !name.contains(&b'/'),
            "the directory has an entry named {name:?}"
        );
        let attr = if plus {
            Attr::optional(&mut body)?
        } else {
            None
        };
        let handle = if plus && body.bool()? {
            Some(handle(&mut body)?)
        } else {
            None
        };
        entries.push(Entry {
            file_id,
            name,
            cookie,
            attr,
            handle,
        });
    }
    let eof = body.bool()?;
    ensure!(
        eof || !entries.is_empty(),
        "an empty page that is not the end"
    );
    body.end()?;
    Ok(Page {
        verifier,
        entries,
        eof,
    })
}

/// A result of MNT (version 3): the root's handle.
pub fn mnt(mut body: Reader<'_>) -> Result<Vec<u8>> {
    ok(&mut body)?;
    let root = handle(&mut body)?;
    let flavors = (0..body.u32()?)
        .map(|_| body.u32())
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        flavors.contains(&1),
        "MNT does not offer AUTH_SYS but {flavors:?}"
    );
    body.end()?;
    Ok(root)
}

/// Walks any result to its last byte, as the procedure defines it.
pub fn check((program, version, procedure): (u32, u32, u32), body: Reader<'_>) -> Result<()> {
    match (program, version) {
        (Portmap::PROGRAM, 2) => check_portmap(procedure, body),
        (Mount::PROGRAM, 1 | 3) => check_mount(version, procedure, body),
        (Nfs::PROGRAM, 3) => check_nfs(procedure, body),
        _ => bail!("program {program} version {version} was called with success"),
    }
}

fn check_portmap(procedure: u32, mut body: Reader<'_>) -> Result<()> {
    match procedure {
        0 => {}
        1 | 2 => ensure!(!body.bool()?, "portmap let itself be changed"),
        3 => ensure!(body.u32()? < 65536, "portmap names an impossible port"),
        4 => {
            while body.bool()? {
                body.fixed(16)?;
            }
        }
        _ => bail!("portmap has a procedure {procedure}"),
    }
    body.end()
}

fn check_mount(version: u32, procedure: u32, mut body: Reader<'_>) -> Result<()> {
    const PATH_MAX: usize = 1024;
    const NAME_MAX: usize = 255;
    match procedure {
        0 | 3 | 4 => {}
        1 => {
            if Status::parse(&mut body)? == Status::OK {
                if version == 1 {
                    body.fixed(32)?;
                } else {
                    handle(&mut body)?;
                    let flavor_count = body.u32()? as usize;
                    body.fixed(flavor_count * 4)?;
                }
            }
        }
        2 => {
            while body.bool()? {
                body.opaque(NAME_MAX)?;
                body.opaque(PATH_MAX)?;
            }
        }
        5 => {
            while body.bool()? {
                body.opaque(PATH_MAX)?;
                while body.bool()? {
                    body.opaque(NAME_MAX)?;
                }
            }
        }
        _ => bail!("MOUNT has a procedure {procedure}"),
    }
    body.end()
}

fn check_nfs(procedure: u32, mut body: Reader<'_>) -> Result<()> {
    if procedure == 0 {
        return body.end();
    }
    let whole = body;
    let good = Status::parse(&mut body)? == Status::OK;
    match procedure {
        1 if good => _ = Attr::parse(&mut body)?,
        1 => {}
        3 if good => return lookup(whole).map(drop),
        5 if good => return read_link(whole).map(drop),
        6 if good => return read(whole).map(drop),
        16 | 17 if good => return page(whole, procedure == 17).map(drop),
        3..=6 | 16..=20 => {
            Attr::optional(&mut body)?;
            let rest = match procedure {
                4 => 4,
                18 => 6 * 8 + 4,
                19 => 7 * 4 + 8 + 8 + 4,
                20 => 6 * 4,
                _ => 0,
            };
            body.fixed(if good { rest } else { 0 })?;
        }
        2 | 7..=15 | 21 => return changes::any(procedure, whole).map(drop),
        _ => bail!("NFS has a procedure {procedure}"),
    }
    body.end()
}

#[cfg(test)]
mod tests {
    use super::super::xdr::Writer;
    use super::*;

    #[test]
    fn outcomes_are_told_apart() -> Result<()> {
        let mismatch = Writer::default()
            .u32(5)
            .u32(1)
            .u32(0)
            .u32(0)
            .u32(0)
            .u32(2)
            .u32(3)
            .u32(3)
            .finish();
        assert!(matches!(
            parse(&mismatch)?,
            (5, Outcome::ProgramMismatch { low: 3, high: 3 })
        ));
        let denied = Writer::default()
            .u32(5)
            .u32(1)
            .u32(1)
            .u32(1)
            .u32(2)
            .finish();
        assert!(matches!(parse(&denied)?, (5, Outcome::AuthError(2))));
        assert!(parse(&denied[..16]).is_err());
        assert!(parse(&[denied, vec![0; 4]].concat()).is_err());
        Ok(())
    }

    #[test]
    fn results_must_be_whole_and_end_where_they_end() {
        let failed = Writer::default().u32(Status::STALE.0).u32(0).finish();
        let place = (Nfs::PROGRAM, 3, 6);
        assert!(check(place, Reader::new(&failed)).is_ok());
        assert!(check(place, Reader::new(&failed[..4])).is_err());
        assert!(check(place, Reader::new(&[failed, vec![0; 4]].concat())).is_err());
        let unknown = Writer::default().u32(12345).u32(0).finish();
        assert!(check(place, Reader::new(&unknown)).is_err());
        let removed = Writer::default().u32(0).u32(0).u32(0).finish();
        assert!(check((Nfs::PROGRAM, 3, 12), Reader::new(&removed)).is_ok());
        assert!(check((Nfs::PROGRAM, 3, 12), Reader::new(&removed[..8])).is_err());
    }
}
