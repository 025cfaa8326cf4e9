//! What comes back, decoded strictly: every byte must be accounted for.

use super::request::{kind, string};
use crate::clients::nfs::xdr::{Reader, Writer};
use anyhow::{Context, Result, bail, ensure};
use std::fmt;

/// The code of a STATUS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs)]
        impl Status {
            $(pub const $name: Self = Self($number);)*
            const ALL: &[Self] = &[$(Self::$name),*];
        }

        impl fmt::Debug for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self { $(Self::$name => f.write_str(stringify!($name)),)* Self(other) => write!(f, "status {other}") }
            }
        }
    };
}

statuses! {
    OK = 0, EOF = 1, NO_SUCH_FILE = 2, PERMISSION_DENIED = 3, FAILURE = 4, BAD_MESSAGE = 5, NO_CONNECTION = 6, CONNECTION_LOST = 7,
    OP_UNSUPPORTED = 8,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {self:?}")
    }
}

impl std::error::Error for Status {}

/// A file's attributes, as far as they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    pub size: Option<u64>,
    /// The user and the group.
    pub owner: Option<(u32, u32)>,
    /// With the type of the file, from a server.
    pub mode: Option<u32>,
    /// Last access and last change, in seconds.
    pub times: Option<(u32, u32)>,
    /// Names and data.
    pub extended: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attrs {
    const SIZE: u32 = 1;
    const OWNER: u32 = 2;
    const MODE: u32 = 4;
    const TIMES: u32 = 8;
    const EXTENDED: u32 = 1 << 31;

    /// Only a mode.
    pub fn mode(mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    /// Only a size.
    pub fn size(size: u64) -> Self {
        Self {
            size: Some(size),
            ..Self::default()
        }
    }

    /// Only an owner.
    pub fn owner(user: u32, group: u32) -> Self {
        Self {
            owner: Some((user, group)),
            ..Self::default()
        }
    }

    /// Only times.
    pub fn times(access: u32, change: u32) -> Self {
        Self {
            times: Some((access, change)),
            ..Self::default()
        }
    }

    /// Whether the mode says a directory.
    pub fn is_directory(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o170_000 == 0o040_000)
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        let flag = |there: bool, flag: u32| if there { flag } else { 0 };
        out.u32(
            flag(self.size.is_some(), Self::SIZE)
                | flag(self.owner.is_some(), Self::OWNER)
                | flag(self.mode.is_some(), Self::MODE)
                | flag(self.times.is_some(), Self::TIMES)
                | flag(!self.extended.is_empty(), Self::EXTENDED),
        );
        if let Some(size) = self.size {
            out.u64(size);
        }
        if let Some((user, group)) = self.owner {
            out.u32(user).u32(group);
        }
        if let Some(mode) = self.mode {
            out.u32(mode);
        }
        if let Some((access, change)) = self.times {
            out.u32(access).u32(change);
        }
        if !self.extended.is_empty() {
            out.u32(self.extended.len() as u32);
            for (name, data) in &self.extended {
                string(out, name);
                string(out, data);
            }
        }
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self> {
        let flags = reader.u32()?;
        let known = Self::SIZE | Self::OWNER | Self::MODE | Self::TIMES | Self::EXTENDED;
        ensure!(
            flags & !known == 0,
            "the reply has attribute flags {flags:#x}"
        );
        let mut attrs = Self::default();
        if flags & Self::SIZE != 0 {
            attrs.size = Some(reader.u64()?);
        }
        if flags & Self::OWNER != 0 {
            attrs.owner = Some((reader.u32()?, reader.u32()?));
        }
        if flags & Self::MODE != 0 {
            attrs.mode = Some(reader.u32()?);
        }
        if flags & Self::TIMES != 0 {
            attrs.times = Some((reader.u32()?, reader.u32()?));
        }
        if flags & Self::EXTENDED != 0 {
            for _ in 0..reader.u32()? {
                let pair = (bytes(reader)?.to_vec(), bytes(reader)?.to_vec());
                attrs.extended.push(pair);
            }
        }
        Ok(attrs)
    }
}

/// One name of a NAME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    /// As `ls -l` shows it.
    pub long_name: Vec<u8>,
    pub attrs: Attrs,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The code and its text.
    Status(Status, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Name(Vec<Entry>),
    Attrs(Attrs),
    /// The answer to an extended request, after the id.
    Extended(Vec<u8>),
}

impl Reply {
    /// The code of a STATUS; None for any other answer.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Status(status, _) => Some(*status),
            _ => None,
        }
    }

    /// The id and the answer in a packet, without its length.
    pub fn parse(message: &[u8]) -> Result<(u32, Self)> {
        let mut reader = Reader::new(message);
        let kind = reader.fixed(1)?[0];
        let id = reader.u32()?;
        let reply = match kind {
            kind::STATUS => {
                let status = Status(reader.u32()?);
                ensure!(Status::ALL.contains(&status), "the reply has {status:?}");
                let text = String::from_utf8(bytes(&mut reader)?.to_vec())?;
                bytes(&mut reader).context("the STATUS has no language")?;
                Self::Status(status, text)
            }
            kind::HANDLE => {
                let handle = bytes(&mut reader)?;
                // No longer, says the draft.
                ensure!(
                    (1..=256).contains(&handle.len()),
                    "the reply has a handle of {} bytes",
                    handle.len()
                );
                Self::Handle(handle.to_vec())
            }
            kind::DATA => Self::Data(bytes(&mut reader)?.to_vec()),
            kind::NAME => {
                let count = reader.u32()?;
                let mut entries = Vec::new();
                for _ in 0..count {
                    entries.push(Entry {
                        name: bytes(&mut reader)?.to_vec(),
                        long_name: bytes(&mut reader)?.to_vec(),
                        attrs: Attrs::parse(&mut reader)?,
                    });
                }
                Self::Name(entries)
            }
            kind::ATTRS => Self::Attrs(Attrs::parse(&mut reader)?),
            kind::EXTENDED_REPLY => Self::Extended(reader.rest().to_vec()),
            other => bail!("the server sent a packet of type {other}"),
        };
        reader.end()?;
        Ok((id, reply))
    }
}

/// What VERSION says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub version: u32,
    /// Names and what stands with them, as they came.
    pub extensions: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Version {
    pub(super) fn parse(message: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(message);
        let kind = reader.fixed(1)?[0];
        ensure!(kind == kind::VERSION, "INIT was answered by type {kind}");
        let version = reader.u32()?;
        let mut extensions = Vec::new();
        while !reader.is_empty() {
            let pair = (bytes(&mut reader)?.to_vec(), bytes(&mut reader)?.to_vec());
            extensions.push(pair);
        }
        Ok(Self {
            version,
            extensions,
        })
    }

    /// What stands with an extension; None when it is not there.
    pub fn extension(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.extensions.iter();
        let (_, data) = all.find(|(known, _)| known == name.as_bytes())?;
        Some(data)
    }
}

/// File system figures (statvfs@openssh.com), as fstatvfs(3) names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StatVfs {
    pub block_size: u64,
    pub fragment_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub files_available: u64,
    pub file_system: u64,
    pub flags: u64,
    pub name_max: u64,
}

impl StatVfs {
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let [
            block_size,
            fragment_size,
            blocks,
            blocks_free,
            blocks_available,
            files,
            files_free,
            files_available,
            file_system,
            flags,
            name_max,
        ] = words(data)?;
        Ok(Self {
            block_size,
            fragment_size,
            blocks,
            blocks_free,
            blocks_available,
            files,
            files_free,
            files_available,
            file_system,
            flags,
            name_max,
        })
    }
}

/// What limits@openssh.com says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limits {
    pub packet_len: u64,
    pub read_len: u64,
    pub write_len: u64,
    pub open_handles: u64,
}

impl Limits {
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let [packet_len, read_len, write_len, open_handles] = words(data)?;
        Ok(Self {
            packet_len,
            read_len,
            write_len,
            open_handles,
        })
    }
}

/// What space-available says, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Space {
    pub on_device: u64,
    pub unused_on_device: u64,
    pub to_user: u64,
    pub unused_to_user: u64,
    pub per_unit: u32,
}

impl Space {
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(data);
        let space = Self {
            on_device: reader.u64()?,
            unused_on_device: reader.u64()?,
            to_user: reader.u64()?,
            unused_to_user: reader.u64()?,
            per_unit: reader.u32()?,
        };
        reader.end()?;
        Ok(space)
    }
}

/// What the checks of files say: the algorithm that the server chose, and the sums one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Sums {
    pub algorithm: String,
    pub bytes: Vec<u8>,
}

impl Sums {
    /// The name that paramiko asks by comes back; the draft's two do not.
    pub(super) fn parse(data: &[u8], asked: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(data);
        if asked == b"check-file" {
            let name = bytes(&mut reader)?;
            ensure!(name == asked, "the reply is one of {name:?}");
        }
        let algorithm = String::from_utf8(bytes(&mut reader)?.to_vec())?;
        Ok(Self {
            algorithm,
            bytes: reader.rest().to_vec(),
        })
    }
}

/// What users-groups-by-id@openssh.com says: a name for each number, empty where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AccountNames {
    pub users: Vec<Vec<u8>>,
    pub groups: Vec<Vec<u8>>,
}

impl AccountNames {
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(data);
        let mut list = || -> Result<Vec<Vec<u8>>> {
            let mut reader = Reader::new(bytes(&mut reader)?);
            let mut names = Vec::new();
            while !reader.is_empty() {
                names.push(bytes(&mut reader)?.to_vec());
            }
            Ok(names)
        };
        let names = Self {
            users: list()?,
            groups: list()?,
        };
        reader.end()?;
        Ok(names)
    }
}

fn words<const COUNT: usize>(data: &[u8]) -> Result<[u64; COUNT]> {
    let mut reader = Reader::new(data);
    let mut words = [0; COUNT];
    for word in &mut words {
        *word = reader.u64()?;
    }
    reader.end()?;
    Ok(words)
}

fn bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8]> {
    let len = reader.u32()?;
    reader.fixed(len as usize)
}

/// Walks an answer to its last byte: it must be one that a request of this type, and of this extension, can be given.
pub fn check(kind: u8, extension: Option<&[u8]>, reply: &Reply) -> Result<()> {
    let fits = match (reply, kind) {
        (
            Reply::Status(status, _),
            kind::CLOSE
            | kind::WRITE
            | kind::SETSTAT
            | kind::FSETSTAT
            | kind::REMOVE
            | kind::MKDIR
            | kind::RMDIR
            | kind::RENAME
            | kind::SYMLINK,
        ) => *status != Status::EOF,
        // A copy from behind the end of a file.
        (Reply::Status(status, _), kind::EXTENDED) => {
            *status != Status::EOF || extension == Some(b"copy-data")
        }
        (Reply::Status(status, _), kind::READ | kind::READDIR) => *status != Status::OK,
        (Reply::Status(status, _), _) => !matches!(*status, Status::OK | Status::EOF),
        (Reply::Handle(_), kind::OPEN | kind::OPENDIR) => true,
        (Reply::Data(_), kind::READ) => true,
        (Reply::Name(entries), kind::REALPATH | kind::READLINK) => entries.len() == 1,
        (Reply::Name(entries), kind::READDIR) => !entries.is_empty(),
        (Reply::Attrs(_), kind::STAT | kind::LSTAT | kind::FSTAT) => true,
        (Reply::Name(entries), kind::EXTENDED) => {
            let names: [&[u8]; 2] = [b"expand-path@openssh.com", b"home-directory"];
            entries.len() == 1 && extension.is_some_and(|name| names.contains(&name))
        }
        (Reply::Extended(data), kind::EXTENDED) => match extension {
            Some(b"statvfs@openssh.com" | b"fstatvfs@openssh.com") => StatVfs::parse(data).is_ok(),
            Some(b"limits@openssh.com") => Limits::parse(data).is_ok(),
            Some(b"users-groups-by-id@openssh.com") => AccountNames::parse(data).is_ok(),
            Some(name @ (b"check-file" | b"check-file-name" | b"check-file-handle")) => {
                Sums::parse(data, name).is_ok()
            }
            Some(b"space-available") => Space::parse(data).is_ok(),
            _ => false,
        },
        _ => false,
    };
    ensure!(fits, "{reply:?} is no answer to type {kind}, {extension:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() -> Result<()> {
        let all = Attrs {
            size: Some(1 << 40),
            owner: Some((1, 2)),
            mode: Some(0o100_644),
            times: Some((3, 4)),
            extended: vec![(b"name".to_vec(), b"data".to_vec())],
        };
        for attrs in [all, Attrs::default(), Attrs::mode(7), Attrs::times(1, 2)] {
            let mut out = Writer::default();
            attrs.emit(&mut out);
            let bytes = out.finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(Attrs::parse(&mut reader)?, attrs);
            reader.end()?;
        }
        Ok(())
    }

    #[test]
    fn replies_that_are_damaged_are_refused() -> Result<()> {
        let status = b"\x65\0\0\0\x07\0\0\0\x02\0\0\0\x02no\0\0\0\0";
        let (id, reply) = Reply::parse(status)?;
        assert_eq!((id, reply.status()), (7, Some(Status::NO_SUCH_FILE)));
        for len in 0..status.len() {
            assert!(Reply::parse(&status[..len]).is_err(), "{len} bytes");
        }
        assert!(Reply::parse(&[status.as_slice(), b"\0"].concat()).is_err());
        assert!(Reply::parse(b"\x65\0\0\0\x07\0\0\0\x09\0\0\0\0\0\0\0\0").is_err());
        assert!(Reply::parse(b"\x66\0\0\0\x07\0\0\0\0").is_err());
        assert!(check(kind::OPEN, None, &reply).is_ok());
        assert!(check(kind::STAT, None, &Reply::Data(Vec::new())).is_err());
        Ok(())
    }
}
