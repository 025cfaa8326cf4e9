//! The MOUNT protocol, versions 1 to 3: numbers and statuses. RFC 1813 section 5 and appendix I, RFC 1094 appendix A.

/// The RPC program number of MOUNT.
pub const PROGRAM: u32 = 100_005;
/// The version that goes with NFS version 2.
pub const VERSION_1: u32 = 1;
/// As version 1, and PATHCONF, which is not served. libnfs calls NULL of this version to find servers.
pub const VERSION_2: u32 = 2;
/// The version that goes with NFS version 3.
pub const VERSION_3: u32 = 3;
/// The longest path on the wire, in bytes.
#[doc(alias = "MNTPATHLEN")]
pub const PATH_BYTES_MAX: u32 = 1024;
/// The longest name of a group in the list of exports, in bytes.
#[doc(alias = "MNTNAMLEN")]
pub const GROUP_BYTES_MAX: u32 = 255;
/// Length of a version 1 handle (bytes); it is fixed.
#[doc(alias = "FHSIZE")]
pub const HANDLE_V1_BYTES: usize = 32;

/// Procedure numbers.
pub mod procedure {
    /// Does nothing.
    pub const NULL: u32 = 0;
    /// Returns the handle of a path.
    pub const MNT: u32 = 1;
    /// Lists the clients and their mounts.
    pub const DUMP: u32 = 2;
    /// Removes a mount of this client from the list.
    pub const UMNT: u32 = 3;
    /// Removes all mounts of this client from the list.
    pub const UMNTALL: u32 = 4;
    /// Lists the exports.
    pub const EXPORT: u32 = 5;
}

/// Outcomes of MNT. The numbers of versions 1 and 2 are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Status {
    /// Success: the handle follows.
    #[doc(alias = "MNT3_OK")]
    Ok = 0,
    /// No such path.
    #[doc(alias = "MNT3ERR_NOENT")]
    NoEntry = 2,
    /// The disk failed.
    #[doc(alias = "MNT3ERR_IO")]
    Io = 5,
    /// The path is not exported, or not to this client.
    #[doc(alias = "MNT3ERR_ACCES")]
    Access = 13,
    /// The object is neither a directory nor a regular file, or a component of the path is not a directory.
    #[doc(alias = "MNT3ERR_NOTDIR")]
    NotDirectory = 20,
    /// The argument is not a valid path.
    #[doc(alias = "MNT3ERR_INVAL")]
    Invalid = 22,
    /// A component is longer than 255 bytes.
    #[doc(alias = "MNT3ERR_NAMETOOLONG")]
    NameTooLong = 63,
    /// The server does not support this file system.
    #[doc(alias = "MNT3ERR_NOTSUPP")]
    NotSupported = 10004,
    /// Try again later.
    #[doc(alias = "MNT3ERR_SERVERFAULT")]
    ServerFault = 10006,
}
