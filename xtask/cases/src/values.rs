//! Arguments of calls as tests write them: small values that can be copied and compared, with conversions to those of `nfs3_types`.

use nfs3_types::nfs3::{
    Nfs3Option, createhow3, createverf3, devicedata3, diropargs3, nfs_fh3, nfstime3, sattr3,
    set_atime, set_mtime, specdata3,
};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};

/// Encodes a value as XDR.
pub fn pack(value: &impl Pack) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.packed_size());
    value.pack(&mut bytes).expect("the value can be encoded");
    bytes
}

/// Makes a file handle of `nfs3_types` from its bytes.
pub fn handle(bytes: &[u8]) -> nfs_fh3 {
    nfs_fh3 {
        data: Opaque::owned(bytes.to_vec()),
    }
}

/// Makes the arguments that name a directory entry: the directory's handle and the name.
pub fn entry<'a>(dir: &[u8], name: &'a [u8]) -> diropargs3<'a> {
    diropargs3 {
        dir: handle(dir),
        name: name.into(),
    }
}

/// Makes a time of `nfs3_types` from seconds and nanoseconds.
pub fn time((seconds, nseconds): (u32, u32)) -> nfstime3 {
    nfstime3 { seconds, nseconds }
}

/// The arguments of MKNOD for a block or character device.
pub fn device(set: Set, major: u32, minor: u32) -> devicedata3 {
    devicedata3 {
        dev_attributes: set.into(),
        spec: specdata3 {
            specdata1: major,
            specdata2: minor,
        },
    }
}

/// Converts an option to the corresponding type of `nfs3_types`.
pub fn option<T: Pack + Unpack>(value: Option<T>) -> Nfs3Option<T> {
    value.map_or(Nfs3Option::None, Nfs3Option::Some)
}

/// A time to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Do not change the time.
    #[default]
    Keep,
    /// Set the time of the server's clock.
    Server,
    /// Set this time: seconds and nanoseconds.
    Client(u32, u32),
}

/// Attributes to set (`sattr3`). An attribute that is None is not changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // RFC 1813's own words.
pub struct Set {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: SetTime,
    pub mtime: SetTime,
}

impl Set {
    /// Sets only the mode.
    pub fn mode(mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    /// Sets only the size.
    pub fn size(size: u64) -> Self {
        Self {
            size: Some(size),
            ..Self::default()
        }
    }
}

impl From<Set> for sattr3 {
    fn from(set: Set) -> Self {
        Self {
            mode: option(set.mode),
            uid: option(set.uid),
            gid: option(set.gid),
            size: option(set.size),
            atime: match set.atime {
                SetTime::Keep => set_atime::DONT_CHANGE,
                SetTime::Server => set_atime::SET_TO_SERVER_TIME,
                SetTime::Client(s, ns) => set_atime::SET_TO_CLIENT_TIME(time((s, ns))),
            },
            mtime: match set.mtime {
                SetTime::Keep => set_mtime::DONT_CHANGE,
                SetTime::Server => set_mtime::SET_TO_SERVER_TIME,
                SetTime::Client(s, ns) => set_mtime::SET_TO_CLIENT_TIME(time((s, ns))),
            },
        }
    }
}

/// Behaviour of CREATE if the name exists (`createhow3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// UNCHECKED: returns an existing file, after setting its size if one is given.
    Unchecked(Set),
    /// GUARDED: fails with NFS3ERR_EXIST if the name exists.
    Guarded(Set),
    /// EXCLUSIVE: fails with NFS3ERR_EXIST if the name exists, unless the file was created with the same verifier.
    Exclusive([u8; 8]),
}

impl From<How> for createhow3 {
    fn from(how: How) -> Self {
        match how {
            How::Unchecked(set) => Self::UNCHECKED(set.into()),
            How::Guarded(set) => Self::GUARDED(set.into()),
            How::Exclusive(verifier) => Self::EXCLUSIVE(createverf3(verifier)),
        }
    }
}
