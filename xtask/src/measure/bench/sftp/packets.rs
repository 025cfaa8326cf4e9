//! SFTP packets for the load generator: the requests that the workloads need, and replies parsed without copies.
//!
//! The tests' client (`clients::sftp`) knows all packets and copies each, which would add to the measured wall time.

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::sftp::{Status, kind, open};

/// Flags of OPEN.
#[derive(Clone, Copy)]
pub enum Mode {
    Read = open::READ as isize,
    /// Writes over an existing file
    Write = open::WRITE as isize,
    /// Creates or truncates the file, then writes
    Make = (open::WRITE | open::CREATE | open::TRUNCATE) as isize,
}

/// A request.
#[derive(Clone, Copy)]
pub enum Request<'a> {
    Init,
    Open {
        path: &'a [u8],
        mode: Mode,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        len: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    Stat {
        path: &'a [u8],
    },
    OpenDir {
        path: &'a [u8],
    },
    ReadDir {
        handle: &'a [u8],
    },
}

impl<'a> Request<'a> {
    /// Appends the request to `out`, except for the data of a WRITE, which is returned.
    pub fn encode(&self, id: u32, out: &mut Vec<u8>) -> &'a [u8] {
        let start = out.len();
        let mut tail: &[u8] = &[];
        out.extend([0; 4]);
        out.push(self.kind());
        // INIT has the version in place of an id.
        out.extend(id.to_be_bytes());
        match *self {
            Self::Init => {}
            Self::Open { path, mode } => {
                put_string(out, path);
                out.extend((mode as u32).to_be_bytes());
                // Attribute flags: no attribute follows.
                out.extend([0; 4]);
            }
            Self::Stat { path } | Self::OpenDir { path } => put_string(out, path),
            Self::Close { handle } | Self::ReadDir { handle } => put_string(out, handle),
            Self::Read {
                handle,
                offset,
                len,
            } => {
                put_string(out, handle);
                out.extend(offset.to_be_bytes());
                out.extend(len.to_be_bytes());
            }
            Self::Write {
                handle,
                offset,
                data,
            } => {
                put_string(out, handle);
                out.extend(offset.to_be_bytes());
                out.extend((data.len() as u32).to_be_bytes());
                tail = data;
            }
        }
        let len = (out.len() - start - 4 + tail.len()) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        tail
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Init => kind::INIT,
            Self::Open { .. } => kind::OPEN,
            Self::Close { .. } => kind::CLOSE,
            Self::Read { .. } => kind::READ,
            Self::Write { .. } => kind::WRITE,
            Self::OpenDir { .. } => kind::OPENDIR,
            Self::ReadDir { .. } => kind::READDIR,
            Self::Stat { .. } => kind::STAT,
        }
    }
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

/// A reply. Names and data refer to the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Version,
    Status(Status),
    Handle(&'a [u8]),
    Data(&'a [u8]),
    Names(Names<'a>),
    Attrs(Attrs),
}

/// Directory entries of a NAME packet, not yet parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    count: u32,
    bytes: &'a [u8],
}

/// The attributes that the workloads check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attrs {
    pub size: Option<u64>,
    pub mode: Option<u32>,
}

impl<'a> Reply<'a> {
    /// Parses a packet without its length: the id (the version, in VERSION) and the content.
    pub fn parse(packet: &'a [u8]) -> Result<(u32, Self)> {
        let (&packet_type, mut unread) = packet.split_first().context("an empty packet")?;
        let unread = &mut unread;
        let id = read_u32(unread)?;
        let reply = match packet_type {
            // The extensions that follow are ignored.
            kind::VERSION => return Ok((id, Self::Version)),
            kind::STATUS => {
                let code = read_u32(unread)?;
                // Skips the error message and the language tag.
                read_string(unread)?;
                read_string(unread)?;
                Self::Status(Status(code))
            }
            kind::HANDLE => Self::Handle(read_string(unread)?),
            kind::DATA => Self::Data(read_string(unread)?),
            kind::NAME => {
                let count = read_u32(unread)?;
                let bytes = std::mem::take(unread);
                Self::Names(Names { count, bytes })
            }
            kind::ATTRS => Self::Attrs(Attrs::parse(unread)?),
            _ => bail!("a packet of the unexpected type {packet_type}"),
        };
        ensure!(
            unread.is_empty(),
            "{} bytes follow the end of the packet",
            unread.len()
        );
        Ok((id, reply))
    }
}

impl Names<'_> {
    /// Calls `visit` with each name and its attributes; returns the number of names.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Attrs) -> Result<()>) -> Result<u32> {
        let mut unread = self.bytes;
        for _ in 0..self.count {
            let name = read_string(&mut unread)?;
            let long_name = read_string(&mut unread)?;
            ensure!(
                long_name.ends_with(name),
                "the long name does not end with {:?}",
                name.escape_ascii()
            );
            visit(name, Attrs::parse(&mut unread)?)?;
        }
        ensure!(
            unread.is_empty(),
            "{} bytes follow the last name",
            unread.len()
        );
        Ok(self.count)
    }
}

impl Attrs {
    fn parse(unread: &mut &[u8]) -> Result<Self> {
        let flags = read_u32(unread)?;
        let size = match flags & 1 {
            0 => None,
            _ => Some(u64::from(read_u32(unread)?) << 32 | u64::from(read_u32(unread)?)),
        };
        if flags & 2 != 0 {
            let _owner = (read_u32(unread)?, read_u32(unread)?);
        }
        let mode = match flags & 4 {
            0 => None,
            _ => Some(read_u32(unread)?),
        };
        if flags & 8 != 0 {
            let _times = (read_u32(unread)?, read_u32(unread)?);
        }
        ensure!(flags & !15 == 0, "unknown attribute flags: {flags:#x}");
        Ok(Self { size, mode })
    }
}

fn read_u32(unread: &mut &[u8]) -> Result<u32> {
    let (word, after) = unread.split_first_chunk().context("a packet cut short")?;
    *unread = after;
    Ok(u32::from_be_bytes(*word))
}

fn read_string<'a>(unread: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = read_u32(unread)? as usize;
    let (bytes, after) = unread.split_at_checked(len).context("a packet cut short")?;
    *unread = after;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_of_the_draft() {
        let mut out = vec![9];
        let none = Request::Stat { path: b"/a" }.encode(7, &mut out);
        assert_eq!(out, b"\x09\0\0\0\x0b\x11\0\0\0\x07\0\0\0\x02/a");
        assert!(none.is_empty());
        out.clear();
        let write = Request::Write {
            handle: b"h",
            offset: 1,
            data: b"data",
        };
        assert_eq!(write.encode(2, &mut out), b"data");
        let head = b"\0\0\0\x1a\x06\0\0\0\x02\0\0\0\x01h\0\0\0\0\0\0\0\x01\0\0\0\x04";
        assert_eq!(out, head);
    }

    #[test]
    fn short_and_long_replies_are_rejected() -> Result<()> {
        let names = b"\x68\0\0\0\x05\0\0\0\x01\0\0\0\x01a\0\0\0\x03- a\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\x81\xa4";
        let data = b"\x67\0\0\0\x05\0\0\0\x02ab";
        let whole = |packet: &[u8]| -> Result<u32> {
            match Reply::parse(packet)? {
                (5, Reply::Data(b"ab")) => Ok(1),
                (5, Reply::Names(it)) => it.for_each(|name, attrs| {
                    ensure!(name == b"a" && attrs.size == Some(6) && attrs.mode == Some(0o100644));
                    Ok(())
                }),
                other => bail!("{other:?}"),
            }
        };
        for packet in [&names[..], data] {
            assert_eq!(whole(packet)?, 1);
            for len in 0..packet.len() {
                assert!(whole(&packet[..len]).is_err(), "{len}");
            }
            assert!(whole(&[packet, &[0]].concat()).is_err());
        }
        Ok(())
    }
}
