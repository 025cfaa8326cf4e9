//! The secret behind the MAC of kernel handles: read from its file, or made there.

use super::super::handle::Key;
use crate::sys::{self, Errno};
use core::ffi::CStr;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// Why there is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// The file cannot be read or made.
    File(Errno),
    /// The file is not 16 bytes long.
    Length,
    /// Others than its owner may read it.
    Exposed,
}

/// Reads the key at `path`; where there is no file, makes one with fresh entropy.
pub(super) fn load_or_make(path: &CStr) -> Result<Key, KeyError> {
    match read(path) {
        Err(KeyError::File(Errno::NOENT)) => make(path),
        read => read,
    }
}

fn read(path: &CStr) -> Result<Key, KeyError> {
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(KeyError::File)?;
    let mut stat = sys::files::blank();
    sys::files::stat(&file, &mut stat).map_err(KeyError::File)?;
    if stat.stx_mode & 0o077 != 0 {
        return Err(KeyError::Exposed);
    }
    let mut key = Key::default();
    match rustix::io::read(&file, &mut key[..]) {
        Ok(len) if len == key.len() && stat.stx_size == len as u64 => Ok(key),
        Ok(_) => Err(KeyError::Length),
        Err(error) => Err(KeyError::File(error)),
    }
}

/// Writes a new key beside `path` and links it there, so that nobody ever reads half of one.
fn make(path: &CStr) -> Result<Key, KeyError> {
    let mut key = Key::default();
    sys::entropy(&mut key);
    let mut beside = heapless::Vec::<u8, 256>::new();
    let whole = beside
        .extend_from_slice(path.to_bytes())
        .and_then(|()| beside.extend_from_slice(b".new\0"));
    whole.map_err(|_| KeyError::File(Errno::NAMETOOLONG))?;
    let beside = CStr::from_bytes_until_nul(&beside).map_err(|_| KeyError::File(Errno::INVAL))?;
    let written = || {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(beside, flags, Mode::RUSR | Mode::WUSR)?;
        if rustix::io::write(&file, &key)? != key.len() {
            return Err(Errno::NOSPC);
        }
        rustix::fs::fsync(&file)?;
        match rustix::fs::linkat(CWD, beside, CWD, path, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => rustix::fs::unlink(beside),
            Err(error) => Err(error),
        }
    };
    written().map_err(KeyError::File)?;
    // Another process may have been first: its key is the one that counts.
    read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_guarded() {
        let dir = std::env::temp_dir().join(format!("stowaway-key-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("key");
        let path = CString::new(file.to_str().unwrap()).unwrap();
        let key = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path), Ok(key));
        assert_ne!(key, Key::default());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load_or_make(&path), Err(KeyError::Exposed));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, b"short").unwrap();
        assert_eq!(load_or_make(&path), Err(KeyError::Length));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
