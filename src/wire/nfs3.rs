//! NFS version 3: numbers and statuses. RFC 1813 section 3.

/// The RPC program number of NFS.
pub const PROGRAM: u32 = 100_003;
/// The only version spoken.
pub const VERSION: u32 = 3;
/// The longest handle, in bytes.
#[doc(alias = "NFS3_FHSIZE")]
pub const HANDLE_BYTES_MAX: u32 = 64;
/// Length of a cookie verifier or write verifier (bytes).
pub const VERIFIER_BYTES: usize = 8;
/// Length of attributes on the wire (bytes).
#[doc(alias = "fattr3")]
pub const ATTRIBUTES_BYTES: usize = 84;

/// Procedures, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)] // RFC 1813's own words.
pub enum Procedure {
    Null = 0,
    GetAttr = 1,
    SetAttr = 2,
    Lookup = 3,
    Access = 4,
    ReadLink = 5,
    Read = 6,
    Write = 7,
    Create = 8,
    MkDir = 9,
    SymLink = 10,
    MkNod = 11,
    Remove = 12,
    RmDir = 13,
    Rename = 14,
    Link = 15,
    ReadDir = 16,
    ReadDirPlus = 17,
    FsStat = 18,
    FsInfo = 19,
    PathConf = 20,
    Commit = 21,
}

impl Procedure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 22] = [
        Self::Null,
        Self::GetAttr,
        Self::SetAttr,
        Self::Lookup,
        Self::Access,
        Self::ReadLink,
        Self::Read,
        Self::Write,
        Self::Create,
        Self::MkDir,
        Self::SymLink,
        Self::MkNod,
        Self::Remove,
        Self::RmDir,
        Self::Rename,
        Self::Link,
        Self::ReadDir,
        Self::ReadDirPlus,
        Self::FsStat,
        Self::FsInfo,
        Self::PathConf,
        Self::Commit,
    ];

    /// The procedure with this number.
    pub fn new(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

/// Outcomes. RFC 1813 2.6: not all are errno values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Status {
    /// Success.
    #[doc(alias = "NFS3_OK")]
    Ok = 0,
    /// The caller is not the owner of the object.
    #[doc(alias = "NFS3ERR_PERM")]
    Permission = 1,
    /// No such name.
    #[doc(alias = "NFS3ERR_NOENT")]
    NoEntry = 2,
    /// The disk failed.
    #[doc(alias = "NFS3ERR_IO")]
    Io = 5,
    /// The caller lacks the permission.
    #[doc(alias = "NFS3ERR_ACCES")]
    Access = 13,
    /// The name already exists.
    #[doc(alias = "NFS3ERR_EXIST")]
    Exists = 17,
    /// Source and target are on different file systems.
    #[doc(alias = "NFS3ERR_XDEV")]
    CrossDevice = 18,
    /// The object is not a directory.
    #[doc(alias = "NFS3ERR_NOTDIR")]
    NotDirectory = 20,
    /// The object is a directory.
    #[doc(alias = "NFS3ERR_ISDIR")]
    IsDirectory = 21,
    /// An argument is invalid for this object.
    #[doc(alias = "NFS3ERR_INVAL")]
    Invalid = 22,
    /// The file would become too large.
    #[doc(alias = "NFS3ERR_FBIG")]
    TooLarge = 27,
    /// The disk is full.
    #[doc(alias = "NFS3ERR_NOSPC")]
    NoSpace = 28,
    /// The export is read-only.
    #[doc(alias = "NFS3ERR_ROFS")]
    ReadOnly = 30,
    /// The object has the maximum number of hard links.
    #[doc(alias = "NFS3ERR_MLINK")]
    TooManyLinks = 31,
    /// A name is longer than 255 bytes.
    #[doc(alias = "NFS3ERR_NAMETOOLONG")]
    NameTooLong = 63,
    /// The directory has entries.
    #[doc(alias = "NFS3ERR_NOTEMPTY")]
    NotEmpty = 66,
    /// The user's disk quota is exceeded.
    #[doc(alias = "NFS3ERR_DQUOT")]
    Quota = 69,
    /// The object no longer exists.
    #[doc(alias = "NFS3ERR_STALE")]
    Stale = 70,
    /// The handle is not one of this server.
    #[doc(alias = "NFS3ERR_BADHANDLE")]
    BadHandle = 10001,
    /// The guard of a SETATTR does not match the object's ctime.
    #[doc(alias = "NFS3ERR_NOT_SYNC")]
    NotSynchronous = 10002,
    /// The cookie is not one of this directory.
    #[doc(alias = "NFS3ERR_BAD_COOKIE")]
    BadCookie = 10003,
    /// The host's file system does not support the operation.
    #[doc(alias = "NFS3ERR_NOTSUPP")]
    NotSupported = 10004,
    /// The reply does not fit into the count that the client requested.
    #[doc(alias = "NFS3ERR_TOOSMALL")]
    TooSmall = 10005,
    /// An object of this type cannot be created.
    #[doc(alias = "NFS3ERR_BADTYPE")]
    BadType = 10007,
    /// Try again later.
    #[doc(alias = "NFS3ERR_JUKEBOX")]
    TryLater = 10008,
}

/// Bits of ACCESS.
pub mod access {
    /// Read a file or a directory.
    pub const READ: u32 = 1;
    /// Look up a name.
    pub const LOOKUP: u32 = 2;
    /// Change the contents of a file, or existing entries of a directory.
    pub const MODIFY: u32 = 4;
    /// Make a file longer, or add names to a directory.
    pub const EXTEND: u32 = 8;
    /// Remove a name from a directory.
    pub const DELETE: u32 = 16;
    /// Run a file.
    pub const EXECUTE: u32 = 32;
}

/// Bits of FSINFO's properties: hard links, symbolic links, the same PATHCONF for all objects, settable times.
pub const PROPERTIES: u32 = 0x1 | 0x2 | 0x8 | 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procedures_have_their_numbers() {
        for (number, procedure) in Procedure::ALL.iter().enumerate() {
            assert_eq!(*procedure as usize, number);
        }
        assert_eq!(Procedure::new(22), None);
    }
}
