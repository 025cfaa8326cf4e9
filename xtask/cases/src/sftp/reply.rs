//! SFTP replies, decoded strictly: encoding a value again must give the same bytes.

use super::request::kind;
use anyhow::{Context, Result, bail, ensure};
use ssh_encoding::{Decode, Encode, Error, Reader, Writer};
use std::fmt;

/// Decodes all of `bytes` as one value. An error if encoding the value gives other bytes.
pub fn decode_strictly<T: Decode<Error = Error> + Encode>(mut bytes: &[u8]) -> Result<T> {
    let all = bytes;
    let value = T::decode(&mut bytes)?;
    ensure!(
        value.encode_vec()? == all,
        "the value is not in its canonical encoding"
    );
    Ok(value)
}

/// The code of a STATUS.
#[derive(Clone, Copy, PartialEq, Eq, Decode, Encode)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl Status {
            $(pub const $name: Self = Self($number);)*
            const ALL: &[Self] = &[$(Self::$name),*];
        }

        impl fmt::Debug for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self { $(Self::$name => f.write_str(stringify!($name)),)* Self(code) => write!(f, "status {code}") }
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

/// File attributes (ATTRS). Fields that are not sent are None.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    pub size: Option<u64>,
    /// UID and GID.
    pub owner: Option<(u32, u32)>,
    /// The mode. A server includes the file type.
    pub mode: Option<u32>,
    /// atime and mtime in seconds.
    pub times: Option<(u32, u32)>,
    /// Extended attributes: name and data.
    pub extended: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attrs {
    const SIZE: u32 = 1;
    const OWNER: u32 = 2;
    const MODE: u32 = 4;
    const TIMES: u32 = 8;
    const EXTENDED: u32 = 1 << 31;

    /// Attributes with only a mode.
    pub fn mode(mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    /// Attributes with only a size.
    pub fn size(size: u64) -> Self {
        Self {
            size: Some(size),
            ..Self::default()
        }
    }

    /// Attributes with only an owner.
    pub fn owner(user: u32, group: u32) -> Self {
        Self {
            owner: Some((user, group)),
            ..Self::default()
        }
    }

    /// Attributes with only times.
    pub fn times(access: u32, change: u32) -> Self {
        Self {
            times: Some((access, change)),
            ..Self::default()
        }
    }

    /// Returns true if the mode has the type of a directory.
    pub fn is_directory(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o170_000 == 0o040_000)
    }
}

impl Encode for Attrs {
    fn encoded_len(&self) -> Result<usize, Error> {
        let mut out = Vec::new();
        self.encode(&mut out)?;
        Ok(out.len())
    }

    fn encode(&self, out: &mut impl Writer) -> Result<(), Error> {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let flags = flag(self.size.is_some(), Self::SIZE)
            | flag(self.owner.is_some(), Self::OWNER)
            | flag(self.mode.is_some(), Self::MODE)
            | flag(self.times.is_some(), Self::TIMES)
            | flag(!self.extended.is_empty(), Self::EXTENDED);
        flags.encode(out)?;
        if let Some(size) = self.size {
            size.encode(out)?;
        }
        if let Some((user, group)) = self.owner {
            user.encode(out)?;
            group.encode(out)?;
        }
        if let Some(mode) = self.mode {
            mode.encode(out)?;
        }
        if let Some((access, change)) = self.times {
            access.encode(out)?;
            change.encode(out)?;
        }
        if !self.extended.is_empty() {
            self.extended.len().encode(out)?;
        }
        self.extended
            .iter()
            .flat_map(|(name, data)| [name, data])
            .try_for_each(|string| string.encode(out))
    }
}

impl Decode for Attrs {
    type Error = Error;

    fn decode(reader: &mut impl Reader) -> Result<Self, Error> {
        let flags = u32::decode(reader)?;
        let mut attrs = Self::default();
        if flags & Self::SIZE != 0 {
            attrs.size = Some(u64::decode(reader)?);
        }
        if flags & Self::OWNER != 0 {
            attrs.owner = Some((u32::decode(reader)?, u32::decode(reader)?));
        }
        if flags & Self::MODE != 0 {
            attrs.mode = Some(u32::decode(reader)?);
        }
        if flags & Self::TIMES != 0 {
            attrs.times = Some((u32::decode(reader)?, u32::decode(reader)?));
        }
        if flags & Self::EXTENDED != 0 {
            for _ in 0..u32::decode(reader)? {
                let pair = (Vec::decode(reader)?, Vec::decode(reader)?);
                attrs.extended.push(pair);
            }
        }
        Ok(attrs)
    }
}

/// An entry of a NAME reply.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
pub struct NameEntry {
    pub name: Vec<u8>,
    /// A line in the format of `ls -l`.
    pub long_name: Vec<u8>,
    pub attrs: Attrs,
}

/// A server's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A STATUS: the code and its message.
    Status(Status, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Name(Vec<NameEntry>),
    Attrs(Attrs),
    /// An EXTENDED_REPLY: the data after its id.
    Extended(Vec<u8>),
}

/// The fields of a STATUS.
#[derive(Decode, Encode)]
struct StatusBody {
    status: Status,
    text: String,
    language: Vec<u8>,
}

impl Reply {
    /// The code of a STATUS; None for other replies.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Status(status, _) => Some(*status),
            _ => None,
        }
    }

    /// Parses a packet without its length field. Returns id and reply.
    pub fn parse(message: &[u8]) -> Result<(u32, Self)> {
        let mut body = message;
        let (kind, id) = (u8::decode(&mut body)?, u32::decode(&mut body)?);
        let reply = match kind {
            kind::STATUS => {
                let StatusBody {
                    status,
                    text,
                    language,
                } = decode_strictly(body)?;
                ensure!(
                    language.is_empty(),
                    "the reply has the language {language:?}"
                );
                ensure!(Status::ALL.contains(&status), "the reply has {status:?}");
                Self::Status(status, text)
            }
            kind::HANDLE => {
                let handle: Vec<u8> = decode_strictly(body)?;
                let len = handle.len();
                // The draft limits a handle to 256 bytes.
                ensure!(
                    (1..=256).contains(&len),
                    "the server sent a handle of {len} bytes; 1 to 256 are allowed"
                );
                Self::Handle(handle)
            }
            kind::DATA => Self::Data(decode_strictly(body)?),
            kind::NAME => Self::Name(names(body)?),
            kind::ATTRS => Self::Attrs(decode_strictly(body)?),
            kind::EXTENDED_REPLY => Self::Extended(body.to_vec()),
            kind => bail!("the server sent a packet of type {kind}, which is not a reply"),
        };
        Ok((id, reply))
    }
}

/// Parses the entries of a NAME. Each must be in its canonical encoding.
fn names(mut body: &[u8]) -> Result<Vec<NameEntry>> {
    let mut entries = Vec::new();
    for _ in 0..u32::decode(&mut body)? {
        let all = body;
        NameEntry::decode(&mut body)?;
        entries.push(decode_strictly(&all[..all.len() - body.len()])?);
    }
    body.ensure_finished()?;
    Ok(entries)
}

/// Parses strings up to the end of `bytes`.
fn strings(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(Vec::decode(&mut bytes)?);
    }
    Ok(all)
}

/// The VERSION packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub version: u32,
    /// Extensions in the server's order: name and data.
    pub extensions: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Version {
    pub fn parse(mut message: &[u8]) -> Result<Self> {
        let kind = u8::decode(&mut message)?;
        ensure!(kind == kind::VERSION, "INIT was answered by type {kind}");
        let version = u32::decode(&mut message)?;
        let mut strings = strings(message)?.into_iter();
        let mut extensions = Vec::new();
        while let Some(name) = strings.next() {
            let data = strings
                .next()
                .context("VERSION has an extension without data")?;
            extensions.push((name, data));
        }
        Ok(Self {
            version,
            extensions,
        })
    }

    /// The data of an extension; None if the server does not offer it.
    pub fn extension(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.extensions.iter();
        let (_, data) = all.find(|(known, _)| known == name.as_bytes())?;
        Some(data)
    }
}

/// The reply to statvfs@openssh.com and fstatvfs@openssh.com: the fields of fstatvfs(3)'s `struct statvfs`, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
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

/// The reply to limits@openssh.com.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
pub struct Limits {
    pub packet_len: u64,
    pub read_len: u64,
    pub write_len: u64,
    pub open_handles: u64,
}

/// The reply to space-available, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
pub struct Space {
    pub on_device: u64,
    pub unused_on_device: u64,
    pub to_user: u64,
    pub unused_to_user: u64,
    pub per_unit: u32,
}

/// The reply to the check-file extensions: the algorithm chosen by the server, and the concatenated hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    pub algorithm: String,
    pub bytes: Vec<u8>,
}

impl Sums {
    /// paramiko's extension check-file repeats its name in the reply; the draft's check-file-name and check-file-handle do not.
    pub fn parse(mut data: &[u8], asked: &[u8]) -> Result<Self> {
        if asked == b"check-file" {
            let name = Vec::<u8>::decode(&mut data)?;
            ensure!(name == asked, "the reply has the name {name:?}");
        }
        Ok(Self {
            algorithm: String::decode(&mut data)?,
            bytes: data.to_vec(),
        })
    }
}

/// The reply to users-groups-by-id@openssh.com: a name for each id, empty if the id has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountNames {
    pub users: Vec<Vec<u8>>,
    pub groups: Vec<Vec<u8>>,
}

impl AccountNames {
    pub fn parse(mut data: &[u8]) -> Result<Self> {
        let names = Self {
            users: strings(&Vec::<u8>::decode(&mut data)?)?,
            groups: strings(&Vec::<u8>::decode(&mut data)?)?,
        };
        data.ensure_finished()?;
        Ok(names)
    }
}

/// Returns an error if `reply` has a type that is not valid for a request of this type and extension.
pub fn check(kind: u8, extension: Option<&[u8]>, reply: &Reply) -> Result<()> {
    let fits = match (reply, kind) {
        // A copy-data request with an offset after the end of the file is answered with EOF.
        (Reply::Status(Status::EOF, _), kind::EXTENDED) => extension == Some(b"copy-data"),
        (Reply::Status(Status::EOF, _), _) => matches!(kind, kind::READ | kind::READDIR),
        (Reply::Status(Status::OK, _), _) => matches!(
            kind,
            kind::CLOSE | kind::WRITE | kind::SETSTAT | kind::FSETSTAT | kind::REMOVE
                ..=kind::RMDIR | kind::RENAME | kind::SYMLINK | kind::EXTENDED
        ),
        (Reply::Status(..), _) => true,
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
            Some(b"statvfs@openssh.com" | b"fstatvfs@openssh.com") => {
                decode_strictly::<StatVfs>(data).is_ok()
            }
            Some(b"limits@openssh.com") => decode_strictly::<Limits>(data).is_ok(),
            Some(b"users-groups-by-id@openssh.com") => AccountNames::parse(data).is_ok(),
            Some(name @ (b"check-file" | b"check-file-name" | b"check-file-handle")) => {
                Sums::parse(data, name).is_ok()
            }
            Some(b"space-available") => decode_strictly::<Space>(data).is_ok(),
            _ => false,
        },
        _ => false,
    };
    ensure!(
        fits,
        "{reply:?} is not a valid reply to type {kind}, {extension:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_a_round_trip() -> Result<()> {
        let all = Attrs {
            size: Some(1 << 40),
            owner: Some((1, 2)),
            mode: Some(0o100_644),
            times: Some((3, 4)),
            extended: vec![(b"name".to_vec(), b"data".to_vec())],
        };
        for attrs in [all, Attrs::default(), Attrs::mode(7), Attrs::times(1, 2)] {
            assert_eq!(decode_strictly::<Attrs>(&attrs.encode_vec()?)?, attrs);
        }
        // A flag that version 3 does not define is rejected.
        assert!(decode_strictly::<Attrs>(b"\0\0\0\x10").is_err());
        Ok(())
    }

    #[test]
    fn damaged_replies_are_refused() -> Result<()> {
        let status = b"\x65\0\0\0\x07\0\0\0\x02\0\0\0\x02no\0\0\0\0";
        let names = b"\x68\0\0\0\x07\0\0\0\x01\0\0\0\x01a\0\0\0\x01a\0\0\0\x04\0\0\x81\xa4";
        let (id, reply) = Reply::parse(status)?;
        assert_eq!((id, reply.status()), (7, Some(Status::NO_SUCH_FILE)));
        for whole in [&status[..], names] {
            assert!(Reply::parse(whole).is_ok());
            for len in 0..whole.len() {
                assert!(Reply::parse(&whole[..len]).is_err(), "{len} bytes");
            }
            assert!(Reply::parse(&[whole, b"\0"].concat()).is_err());
        }
        assert!(Reply::parse(b"\x65\0\0\0\x07\0\0\0\x09\0\0\0\0\0\0\0\0").is_err());
        assert!(Reply::parse(b"\x66\0\0\0\x07\0\0\0\0").is_err());
        assert!(check(kind::OPEN, None, &reply).is_ok());
        assert!(check(kind::STAT, None, &Reply::Data(Vec::new())).is_err());
        Ok(())
    }
}
