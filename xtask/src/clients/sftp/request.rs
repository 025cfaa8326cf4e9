//! What a client can ask for: INIT, the 18 requests and the extensions, as the packets that they are on the wire.
//!
//! draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4; draft-ietf-secsh-filexfer-extensions-00.

use super::Attrs;
use crate::clients::nfs::xdr::Writer;

/// The types of packets.
pub mod kind {
    #![allow(missing_docs)]
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

/// The flags of OPEN.
pub mod open {
    #![allow(missing_docs)]
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const APPEND: u32 = 4;
    pub const CREATE: u32 = 8;
    pub const TRUNCATE: u32 = 16;
    pub const EXCLUSIVE: u32 = 32;
}

/// A request with its arguments, as the extensions' texts name them. Paths, names and handles are bytes.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Open {
        path: &'a [u8],
        flags: u32,
        attrs: Attrs,
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
    LStat {
        path: &'a [u8],
    },
    FStat {
        handle: &'a [u8],
    },
    SetStat {
        path: &'a [u8],
        attrs: Attrs,
    },
    FSetStat {
        handle: &'a [u8],
        attrs: Attrs,
    },
    OpenDir {
        path: &'a [u8],
    },
    ReadDir {
        handle: &'a [u8],
    },
    Remove {
        path: &'a [u8],
    },
    MkDir {
        path: &'a [u8],
        attrs: Attrs,
    },
    RmDir {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    Stat {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    ReadLink {
        path: &'a [u8],
    },
    /// In OpenSSH's order on the wire, the target first.
    SymLink {
        target: &'a [u8],
        link: &'a [u8],
    },
    PosixRename {
        from: &'a [u8],
        to: &'a [u8],
    },
    StatVfs {
        path: &'a [u8],
    },
    FStatVfs {
        handle: &'a [u8],
    },
    HardLink {
        from: &'a [u8],
        to: &'a [u8],
    },
    FSync {
        handle: &'a [u8],
    },
    LSetStat {
        path: &'a [u8],
        attrs: Attrs,
    },
    Limits,
    ExpandPath {
        path: &'a [u8],
    },
    CopyData {
        from: &'a [u8],
        offset: u64,
        /// 0 means to the end.
        len: u64,
        to: &'a [u8],
        to_offset: u64,
    },
    HomeDirectory {
        user: &'a [u8],
    },
    UsersGroupsById {
        users: &'a [u32],
        groups: &'a [u32],
    },
    /// `name` is check-file-name, whose object is a path, or check-file-handle or check-file, whose object is a handle.
    CheckFile {
        name: &'static str,
        object: &'a [u8],
        algorithms: &'a [u8],
        offset: u64,
        len: u64,
        block_len: u32,
    },
    SpaceAvailable {
        path: &'a [u8],
    },
    VendorId {
        vendor: &'a [u8],
        product: &'a [u8],
        version: &'a [u8],
        build: u64,
    },
    /// An extended request of any name.
    Extended {
        name: &'a [u8],
        data: &'a [u8],
    },
    /// A packet of any type; `data` follows its id.
    Other {
        kind: u8,
        data: &'a [u8],
    },
}

impl Request<'_> {
    /// The type of its packet.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Open { .. } => kind::OPEN,
            Self::Close { .. } => kind::CLOSE,
            Self::Read { .. } => kind::READ,
            Self::Write { .. } => kind::WRITE,
            Self::LStat { .. } => kind::LSTAT,
            Self::FStat { .. } => kind::FSTAT,
            Self::SetStat { .. } => kind::SETSTAT,
            Self::FSetStat { .. } => kind::FSETSTAT,
            Self::OpenDir { .. } => kind::OPENDIR,
            Self::ReadDir { .. } => kind::READDIR,
            Self::Remove { .. } => kind::REMOVE,
            Self::MkDir { .. } => kind::MKDIR,
            Self::RmDir { .. } => kind::RMDIR,
            Self::RealPath { .. } => kind::REALPATH,
            Self::Stat { .. } => kind::STAT,
            Self::Rename { .. } => kind::RENAME,
            Self::ReadLink { .. } => kind::READLINK,
            Self::SymLink { .. } => kind::SYMLINK,
            Self::Other { kind, .. } => *kind,
            _ => kind::EXTENDED,
        }
    }

    /// The name of an extended request.
    pub fn extension(&self) -> Option<&[u8]> {
        Some(match self {
            Self::PosixRename { .. } => b"posix-rename@openssh.com",
            Self::StatVfs { .. } => b"statvfs@openssh.com",
            Self::FStatVfs { .. } => b"fstatvfs@openssh.com",
            Self::HardLink { .. } => b"hardlink@openssh.com",
            Self::FSync { .. } => b"fsync@openssh.com",
            Self::LSetStat { .. } => b"lsetstat@openssh.com",
            Self::Limits => b"limits@openssh.com",
            Self::ExpandPath { .. } => b"expand-path@openssh.com",
            Self::CopyData { .. } => b"copy-data",
            Self::HomeDirectory { .. } => b"home-directory",
            Self::UsersGroupsById { .. } => b"users-groups-by-id@openssh.com",
            Self::CheckFile { name, .. } => name.as_bytes(),
            Self::SpaceAvailable { .. } => b"space-available",
            Self::VendorId { .. } => b"vendor-id",
            Self::Extended { name, .. } => name,
            _ => return None,
        })
    }

    /// The packet after its length: the type, the id, the arguments.
    pub fn message(&self, id: u32) -> Vec<u8> {
        let mut out = Writer::default();
        out.fixed(&[self.kind()]).u32(id);
        if let Some(name) = self.extension() {
            string(&mut out, name);
        }
        self.arguments(&mut out);
        out.finish()
    }

    /// The whole packet.
    pub fn packet(&self, id: u32) -> Vec<u8> {
        packet(&self.message(id))
    }

    fn arguments(&self, out: &mut Writer) {
        match *self {
            Self::Open {
                path,
                flags,
                ref attrs,
            } => {
                string(out, path).u32(flags);
                attrs.emit(out);
            }
            Self::Close { handle }
            | Self::FStat { handle }
            | Self::ReadDir { handle }
            | Self::FStatVfs { handle }
            | Self::FSync { handle } => {
                string(out, handle);
            }
            Self::Read {
                handle,
                offset,
                len,
            } => {
                string(out, handle).u64(offset).u32(len);
            }
            Self::Write {
                handle,
                offset,
                data,
            } => {
                string(out, handle).u64(offset);
                string(out, data);
            }
            Self::LStat { path }
            | Self::OpenDir { path }
            | Self::Remove { path }
            | Self::RmDir { path }
            | Self::RealPath { path }
            | Self::Stat { path }
            | Self::ReadLink { path }
            | Self::StatVfs { path }
            | Self::ExpandPath { path }
            | Self::HomeDirectory { user: path }
            | Self::SpaceAvailable { path } => {
                string(out, path);
            }
            Self::SetStat {
                path: object,
                ref attrs,
            }
            | Self::FSetStat {
                handle: object,
                ref attrs,
            }
            | Self::MkDir {
                path: object,
                ref attrs,
            }
            | Self::LSetStat {
                path: object,
                ref attrs,
            } => {
                string(out, object);
                attrs.emit(out);
            }
            Self::Rename { from, to }
            | Self::PosixRename { from, to }
            | Self::HardLink { from, to }
            | Self::SymLink {
                target: from,
                link: to,
            } => {
                string(out, from);
                string(out, to);
            }
            Self::Limits => {}
            Self::CopyData {
                from,
                offset,
                len,
                to,
                to_offset,
            } => {
                string(out, from).u64(offset).u64(len);
                string(out, to).u64(to_offset);
            }
            Self::UsersGroupsById { users, groups } => {
                for list in [users, groups] {
                    let words: Vec<u8> = list.iter().flat_map(|id| id.to_be_bytes()).collect();
                    string(out, &words);
                }
            }
            Self::CheckFile {
                object,
                algorithms,
                offset,
                len,
                block_len,
                ..
            } => {
                string(out, object);
                string(out, algorithms).u64(offset).u64(len).u32(block_len);
            }
            Self::VendorId {
                vendor,
                product,
                version,
                build,
            } => {
                for text in [vendor, product, version] {
                    string(out, text);
                }
                out.u64(build);
            }
            Self::Extended { data, .. } | Self::Other { data, .. } => {
                out.fixed(data);
            }
        }
    }
}

/// INIT, which has no id.
pub fn init(version: u32) -> Vec<u8> {
    let message = Writer::default().fixed(&[kind::INIT]).u32(version).finish();
    packet(&message)
}

/// `message` behind its length.
pub fn packet(message: &[u8]) -> Vec<u8> {
    string(&mut Writer::default(), message).finish()
}

/// Bytes behind their length. SFTP knows no padding.
pub(super) fn string<'w>(out: &'w mut Writer, bytes: &[u8]) -> &'w mut Writer {
    out.u32(u32::try_from(bytes.len()).expect("no packet of ours is that long"))
        .fixed(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_the_texts_say() {
        assert_eq!(init(3), b"\0\0\0\x05\x01\0\0\0\x03");
        let read = Request::Read {
            handle: b"h",
            offset: 1,
            len: 2,
        };
        let expected = b"\0\0\0\x16\x05\0\0\0\x07\0\0\0\x01h\0\0\0\0\0\0\0\x01\0\0\0\x02";
        assert_eq!(read.packet(7), expected);
        let link = Request::SymLink {
            target: b"to",
            link: b"at",
        };
        assert_eq!(link.message(1), b"\x14\0\0\0\x01\0\0\0\x02to\0\0\0\x02at");
        let ids = Request::UsersGroupsById {
            users: &[1],
            groups: &[],
        };
        assert!(
            ids.message(1)
                .ends_with(b"by-id@openssh.com\0\0\0\x04\0\0\0\x01\0\0\0\0")
        );
    }
}
