//! The packets that are sent and expected, where they lie: only what the workloads need.
//!
//! The tests' client knows them all and copies each; here that would be measured as if the server were slow.

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::sftp::{Status, kind, open};

/// What a file is opened for, as flags of OPEN.
#[derive(Clone, Copy)]
pub enum Mode {
    Read = open::READ as isize,
    /// What is there is written over
    Write = open::WRITE as isize,
    /// Anew
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
    /// Puts the request behind what is in `out`, but for the data of a WRITE, which ends it.
    pub fn put(&self, id: u32, out: &mut Vec<u8>) -> &'a [u8] {
        let start = out.len();
        let mut rest: &[u8] = &[];
        out.extend([0; 4]);
        out.push(self.kind());
        // In INIT the version stands here.
        out.extend(id.to_be_bytes());
        match *self {
            Self::Init => {}
            Self::Open { path, mode } => {
                string(out, path);
                out.extend((mode as u32).to_be_bytes());
                // No attributes.
                out.extend([0; 4]);
            }
            Self::Stat { path } | Self::OpenDir { path } => string(out, path),
            Self::Close { handle } | Self::ReadDir { handle } => string(out, handle),
            Self::Read {
                handle,
                offset,
                len,
            } => {
                string(out, handle);
                out.extend(offset.to_be_bytes());
                out.extend(len.to_be_bytes());
            }
            Self::Write {
                handle,
                offset,
                data,
            } => {
                string(out, handle);
                out.extend(offset.to_be_bytes());
                out.extend((data.len() as u32).to_be_bytes());
                rest = data;
            }
        }
        let len = (out.len() - start - 4 + rest.len()) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        rest
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

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Version,
    Status(Status),
    Handle(&'a [u8]),
    Data(&'a [u8]),
    Names(Names<'a>),
    Attrs(Attrs),
}

/// Entries of a directory that are not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    count: u32,
    rest: &'a [u8],
}

/// The part of the attributes that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attrs {
    pub size: Option<u64>,
    pub mode: Option<u32>,
}

impl<'a> Reply<'a> {
    /// A packet without its length: the id, or the version instead, and what it says.
    pub fn parse(packet: &'a [u8]) -> Result<(u32, Self)> {
        let (&of, mut rest) = packet.split_first().context("an empty packet")?;
        let rest = &mut rest;
        let id = word(rest)?;
        let reply = match of {
            // Extensions follow.
            kind::VERSION => return Ok((id, Self::Version)),
            kind::STATUS => {
                let code = word(rest)?;
                // A message and its language.
                take(rest)?;
                take(rest)?;
                Self::Status(Status(code))
            }
            kind::HANDLE => Self::Handle(take(rest)?),
            kind::DATA => Self::Data(take(rest)?),
            kind::NAME => {
                let count = word(rest)?;
                let rest = std::mem::take(rest);
                Self::Names(Names { count, rest })
            }
            kind::ATTRS => Self::Attrs(Attrs::parse(rest)?),
            _ => bail!("a packet of type {of}"),
        };
        ensure!(rest.is_empty(), "{} bytes too many", rest.len());
        Ok((id, reply))
    }
}

impl Names<'_> {
    /// Calls `each` with every name and its attributes; how many there are.
    pub fn each(&self, mut each: impl FnMut(&[u8], Attrs) -> Result<()>) -> Result<u32> {
        let mut rest = self.rest;
        for _ in 0..self.count {
            let name = take(&mut rest)?;
            let long = take(&mut rest)?;
            ensure!(long.ends_with(name), "a line of another name");
            each(name, Attrs::parse(&mut rest)?)?;
        }
        ensure!(rest.is_empty(), "{} bytes too many", rest.len());
        Ok(self.count)
    }
}

impl Attrs {
    fn parse(rest: &mut &[u8]) -> Result<Self> {
        let flags = word(rest)?;
        let size = match flags & 1 {
            0 => None,
            _ => Some(u64::from(word(rest)?) << 32 | u64::from(word(rest)?)),
        };
        if flags & 2 != 0 {
            let _owner = (word(rest)?, word(rest)?);
        }
        let mode = match flags & 4 {
            0 => None,
            _ => Some(word(rest)?),
        };
        if flags & 8 != 0 {
            let _times = (word(rest)?, word(rest)?);
        }
        ensure!(
            flags & !15 == 0,
            "attributes of an unknown kind: {flags:#x}"
        );
        Ok(Self { size, mode })
    }
}

fn word(rest: &mut &[u8]) -> Result<u32> {
    let (word, after) = rest.split_first_chunk().context("a packet cut short")?;
    *rest = after;
    Ok(u32::from_be_bytes(*word))
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = word(rest)? as usize;
    let (bytes, after) = rest.split_at_checked(len).context("a packet cut short")?;
    *rest = after;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_drafts_bytes() {
        let mut out = vec![9];
        let none = Request::Stat { path: b"/a" }.put(7, &mut out);
        assert_eq!(out, b"\x09\0\0\0\x0b\x11\0\0\0\x07\0\0\0\x02/a");
        assert!(none.is_empty());
        out.clear();
        let write = Request::Write {
            handle: b"h",
            offset: 1,
            data: b"data",
        };
        assert_eq!(write.put(2, &mut out), b"data");
        let head = b"\0\0\0\x1a\x06\0\0\0\x02\0\0\0\x01h\0\0\0\0\0\0\0\x01\0\0\0\x04";
        assert_eq!(out, head);
    }

    #[test]
    fn no_reply_is_believed_that_is_cut_short_or_too_long() -> Result<()> {
        let names = b"\x68\0\0\0\x05\0\0\0\x01\0\0\0\x01a\0\0\0\x03- a\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\x81\xa4";
        let data = b"\x67\0\0\0\x05\0\0\0\x02ab";
        let whole = |packet: &[u8]| -> Result<u32> {
            match Reply::parse(packet)? {
                (5, Reply::Data(b"ab")) => Ok(1),
                (5, Reply::Names(it)) => it.each(|name, attrs| {
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
