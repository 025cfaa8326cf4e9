//! Names of directory entries.

use super::error::{FsError, FsResult};

/// A directory entry's name: 1 to 255 bytes without "/" and NUL, and neither "." nor "..".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a>(pub(super) &'a [u8]);

impl<'a> Name<'a> {
    /// Checks `raw`.
    ///
    /// # Errors
    /// [`FsError::Access`]: empty. [`FsError::Exists`]: "." or "..", which every directory has. [`FsError::Invalid`]: contains "/"
    /// or NUL. [`FsError::NameTooLong`]: longer than 255 bytes.
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

/// Returns true if a name ends with ".iso" in any case: paths may continue inside such a file.
pub fn is_image(name: &[u8]) -> bool {
    let Some((_, end)) = name.split_last_chunk() else {
        return false;
    };
    // Bit 0x20 makes letters lower-case; the dot already has it.
    crate::config::HAS_ISO && u32::from_be_bytes(*end) | 0x20_2020 == u32::from_be_bytes(*b".iso")
}
