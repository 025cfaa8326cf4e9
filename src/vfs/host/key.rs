//! The secret key of the MAC in kernel handles: read from its file, or generated and stored there.

use super::super::handle::Key;
use crate::sys::linux::fs::{self, File};
use crate::sys::{self, Errno};
use core::ffi::CStr;
use rustix::fs::{FileType, FlockOperation, OFlags};

/// Reads the key at `path`, or creates the file with a random key.
///
/// # Errors
/// `MSGSIZE`: the file is not 16 bytes long; `BADMSG`: group or others have access; `INVAL`: not a regular file.
pub(super) fn load_or_make(path: &CStr) -> Result<Key, Errno> {
    let open = |flags| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        File::open(path, flags, 0o600)
    };
    // A key that exists may be on a read-only file system.
    let file = open(OFlags::RDWR | OFlags::CREATE)
        .or_else(|error| open(OFlags::RDONLY).map_err(|_| error))?;
    // With a lock, a second process that starts at the same time reads the first one's key. Some file systems have no locks.
    let _ = rustix::fs::flock(&file, FlockOperation::LockExclusive);
    let mut stat = fs::blank();
    fs::statx(&file, c"", &mut stat)?;
    if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    if stat.stx_mode & 0o077 != 0 {
        return Err(Errno::BADMSG);
    }
    let mut key = Key::default();
    let len = if stat.stx_size == 0 {
        sys::entropy(&mut key);
        let written = rustix::io::write(&file, &key)?;
        rustix::fs::fsync(&file)?;
        written as u64
    } else {
        rustix::io::read(&file, &mut key[..])?;
        stat.stx_size
    };
    if len == key.len() as u64 {
        Ok(key)
    } else {
        Err(Errno::MSGSIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn key_is_created_once_and_protected() {
        let dir = std::env::temp_dir().join(format!("stowaway-key-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("key");
        let path = CString::new(file.to_str().unwrap()).unwrap();
        let key = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path), Ok(key));
        assert_ne!(key, Key::default());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load_or_make(&path), Err(Errno::BADMSG));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, b"short").unwrap();
        assert_eq!(load_or_make(&path), Err(Errno::MSGSIZE));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
