//! SFTP requests and their encoding: INIT, the 18 requests of version 3, and extensions.
//!
//! draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4; draft-ietf-secsh-filexfer-extensions-00.

use super::Attrs;
use ssh_encoding::{Encode, Error, Writer};

/// Packet types.
pub mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub const SETSTAT: u8 = 9;
    pub const FSETSTAT: u8 = 10;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RMDIR: u8 = 15;
    pub const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const READLINK: u8 = 19;
    pub const SYMLINK: u8 = 20;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// Flags of OPEN (pflags).
pub mod open {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const APPEND: u32 = 4;
    pub const CREATE: u32 = 8;
    pub const TRUNCATE: u32 = 16;
    pub const EXCLUSIVE: u32 = 32;
}

/// Declares `Request`: per variant the arguments in wire order, the packet type, and the name of the extension.
macro_rules! requests {
    (<$a:lifetime> $(
        $(#[$doc:meta])*
        $name:ident $(($($field:ident: $type:ty),*))? $({ $($named:ident: $named_type:ty),* })? = $kind:ident $($extension:literal)?;
    )*) => {
        /// A request with its arguments, named as in the specifications. Paths, names and handles are bytes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request<$a> {
            $($(#[$doc])* $name $(($($type),*))? $({ $($named: $named_type),* })?,)*
            /// An extended request with any name, and the data after the name.
            Extended(&$a [u8], &$a [u8]),
            /// A packet of any type, and the data after its id.
            Other(u8, &$a [u8]),
        }

        impl Request<'_> {
            /// The packet type.
            pub fn kind(&self) -> u8 {
                match self {
                    $(Self::$name { .. } => kind::$kind,)*
                    Self::Extended(..) => kind::EXTENDED,
                    Self::Other(kind, _) => *kind,
                }
            }

            /// The extension's name; None if the request is not an extended one.
            pub fn extension(&self) -> Option<&[u8]> {
                match self {
                    $($(Self::$name { .. } => Some($extension.as_bytes()),)?)*
                    Self::CheckFile { name, .. } => Some(name.as_bytes()),
                    Self::Extended(name, _) => Some(name),
                    _ => None,
                }
            }

            fn arguments(&self, out: &mut Vec<u8>) -> Result<(), Error> {
                match self {
                    $(Self::$name $(($($field),*))? $({ $($named),* })? => {
                        $($extension.encode(out)?;)?
                        $($($field.encode(out)?;)*)?
                        $($($named.encode(out)?;)*)?
                    })*
                    Self::Extended(name, data) => {
                        name.encode(out)?;
                        out.extend(*data);
                    }
                    Self::Other(_, data) => out.extend(*data),
                }
                Ok(())
            }
        }
    };
}

requests! { <'a>
    Open(path: &'a [u8], flags: u32, attrs: Attrs) = OPEN;
    Close(handle: &'a [u8]) = CLOSE;
    Read(handle: &'a [u8], offset: u64, len: u32) = READ;
    Write(handle: &'a [u8], offset: u64, data: &'a [u8]) = WRITE;
    LStat(path: &'a [u8]) = LSTAT;
    FStat(handle: &'a [u8]) = FSTAT;
    SetStat(path: &'a [u8], attrs: Attrs) = SETSTAT;
    FSetStat(handle: &'a [u8], attrs: Attrs) = FSETSTAT;
    OpenDir(path: &'a [u8]) = OPENDIR;
    ReadDir(handle: &'a [u8]) = READDIR;
    Remove(path: &'a [u8]) = REMOVE;
    MkDir(path: &'a [u8], attrs: Attrs) = MKDIR;
    RmDir(path: &'a [u8]) = RMDIR;
    RealPath(path: &'a [u8]) = REALPATH;
    Stat(path: &'a [u8]) = STAT;
    Rename(from: &'a [u8], to: &'a [u8]) = RENAME;
    ReadLink(path: &'a [u8]) = READLINK;
    /// SYMLINK with the arguments in OpenSSH's order on the wire: target, then link. The draft has the opposite order.
    SymLink(target: &'a [u8], link: &'a [u8]) = SYMLINK;
    PosixRename(from: &'a [u8], to: &'a [u8]) = EXTENDED "posix-rename@openssh.com";
    StatVfs(path: &'a [u8]) = EXTENDED "statvfs@openssh.com";
    FStatVfs(handle: &'a [u8]) = EXTENDED "fstatvfs@openssh.com";
    HardLink(from: &'a [u8], to: &'a [u8]) = EXTENDED "hardlink@openssh.com";
    FSync(handle: &'a [u8]) = EXTENDED "fsync@openssh.com";
    LSetStat(path: &'a [u8], attrs: Attrs) = EXTENDED "lsetstat@openssh.com";
    Limits = EXTENDED "limits@openssh.com";
    ExpandPath(path: &'a [u8]) = EXTENDED "expand-path@openssh.com";
    /// copy-data of a range. A `len` of 0 copies to the end of the file.
    CopyData { from: &'a [u8], offset: u64, len: u64, to: &'a [u8], to_offset: u64 } = EXTENDED "copy-data";
    HomeDirectory(user: &'a [u8]) = EXTENDED "home-directory";
    UsersGroupsById(users: Ids<'a>, groups: Ids<'a>) = EXTENDED "users-groups-by-id@openssh.com";
    /// `name` is check-file-name (`object` is a path), check-file-handle or check-file (`object` is a handle).
    CheckFile { name: &'static str, object: &'a [u8], algorithms: &'a [u8], offset: u64, len: u64, block_len: u32 } = EXTENDED;
    SpaceAvailable(path: &'a [u8]) = EXTENDED "space-available";
    VendorId { vendor: &'a [u8], product: &'a [u8], version: &'a [u8], build: u64 } = EXTENDED "vendor-id";
}

impl Request<'_> {
    /// Returns true if a writable server would change something.
    pub fn changes(&self) -> bool {
        match self {
            Self::Open(_, flags, _) => flags & !(open::READ | open::EXCLUSIVE) & 0x3f != 0,
            Self::Write(..)
            | Self::SetStat(..)
            | Self::FSetStat(..)
            | Self::LSetStat(..)
            | Self::Remove(..)
            | Self::MkDir(..)
            | Self::RmDir(..)
            | Self::Rename(..)
            | Self::PosixRename(..)
            | Self::SymLink(..)
            | Self::HardLink(..)
            | Self::FSync(..)
            | Self::CopyData { .. } => true,
            _ => false,
        }
    }
}

impl<'a> Request<'a> {
    /// A request for one hash of a whole file.
    pub fn check(name: &'static str, object: &'a [u8], algorithms: &'a [u8]) -> Self {
        Self::CheckFile {
            name,
            object,
            algorithms,
            offset: 0,
            len: 0,
            block_len: 0,
        }
    }

    /// A request to copy a whole file.
    pub fn copy(from: &'a [u8], to: &'a [u8]) -> Self {
        Self::CopyData {
            from,
            offset: 0,
            len: 0,
            to,
            to_offset: 0,
        }
    }

    /// The packet without its length field: type, id, arguments.
    pub fn message(&self, id: u32) -> Vec<u8> {
        let mut out = [&[self.kind()][..], &id.to_be_bytes()].concat();
        self.arguments(&mut out)
            .expect("a test's request is shorter than 4 GiB");
        out
    }

    /// The packet with its length field.
    pub fn packet(&self, id: u32) -> Vec<u8> {
        packet(&self.message(id))
    }

    /// Appends the packet to `out`, except for the data of a WRITE, which is returned.
    pub fn append(&self, id: u32, out: &mut Vec<u8>) -> &'a [u8] {
        let Self::Write(handle, offset, data) = *self else {
            out.extend(self.packet(id));
            return &[];
        };
        let mut packet = Self::Write(handle, offset, b"").packet(id);
        let (len, at) = (data.len(), packet.len() - 4);
        packet[at..].copy_from_slice(&(len as u32).to_be_bytes());
        packet[..4].copy_from_slice(&((at + len) as u32).to_be_bytes());
        out.extend(packet);
        data
    }
}

/// UIDs or GIDs, encoded together as one string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids<'a>(pub &'a [u32]);

impl Encode for Ids<'_> {
    fn encoded_len(&self) -> Result<usize, Error> {
        Ok(4 + 4 * self.0.len())
    }

    fn encode(&self, out: &mut impl Writer) -> Result<(), Error> {
        (4 * self.0.len()).encode(out)?;
        self.0.iter().try_for_each(|id| id.encode(out))
    }
}

/// The INIT packet. It has no id.
pub fn init(version: u32) -> Vec<u8> {
    packet(&[&[kind::INIT][..], &version.to_be_bytes()].concat())
}

/// Prepends the length field to `message`.
pub fn packet(message: &[u8]) -> Vec<u8> {
    message
        .encode_vec()
        .expect("a test's packet is shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_encoded_as_specified() {
        assert_eq!(init(3), b"\0\0\0\x05\x01\0\0\0\x03");
        let read = Request::Read(b"h", 1, 2);
        let expected = b"\0\0\0\x16\x05\0\0\0\x07\0\0\0\x01h\0\0\0\0\0\0\0\x01\0\0\0\x02";
        assert_eq!(read.packet(7), expected);
        let write = Request::Write(b"h", 1, b"data");
        let mut out = Vec::new();
        assert_eq!(write.append(2, &mut out), b"data");
        assert_eq!([&out[..], b"data"].concat(), write.packet(2));
        let link = Request::SymLink(b"to", b"at");
        assert_eq!(link.message(1), b"\x14\0\0\0\x01\0\0\0\x02to\0\0\0\x02at");
        let ids = Request::UsersGroupsById(Ids(&[1]), Ids(&[]));
        assert!(
            ids.message(1)
                .ends_with(b"by-id@openssh.com\0\0\0\x04\0\0\0\x01\0\0\0\0")
        );
    }
}
