//! Names of directory entries.

use super::error::{FsError, FsResult};

/// A directory entry's name: never "", ".", "..", longer than 255 bytes, or with a separator or NUL in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a>(pub(super) &'a [u8]);

impl<'a> Name<'a> {
    /// Checks `raw`. "" is [`FsError::Access`], "." and ".." are there always: [`FsError::Exists`]. What no name can be is
    /// [`FsError::Invalid`].
    pub fn new(raw: &'a [u8]) -> FsResult<Self> {
        match raw {
            b"" => Err(FsError::Access),
            b"." | b".." => Err(FsError::Exists),
            _ if raw.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(FsError::Invalid),
            _ if raw.len() > 255 => Err(FsError::NameTooLong),
            _ => Ok(Self(raw)),
        }
    }

    /// The bytes of the name.
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Whether a name is that of an image, which paths may lead through.
pub fn is_image(name: &[u8]) -> bool {
    let Some((_, end)) = name.split_last_chunk() else {
        return false;
    };
    // Letters differ from their capitals by one bit, which the dot has.
    cfg!(feature = "iso") && u32::from_be_bytes(*end) | 0x20_2020 == u32::from_be_bytes(*b".iso")
}
