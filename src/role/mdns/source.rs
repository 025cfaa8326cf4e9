//! What is read of a file, or of that which a link leads to: never what blocks or is no file, never too much.

use super::super::reasons::{Reason, reason};
use crate::drive::platform::host::files::Directory;
use crate::sys::Errno;
use crate::text::text;
use crate::vfs::{FsError, FsResult};

/// Bytes of the longest file.
pub(super) const FILE_BYTES_MAX: usize = 64 << 10;

/// Memory for a file: with a byte more, what is longer is seen to be.
pub(super) type Memory = [u8; FILE_BYTES_MAX + 1];

/// Why it cannot be read, and what to do about it.
pub(super) static REASONS: [Reason; 2] = [
    reason(Errno::INVAL, text!("it is no ordinary file")),
    reason(Errno::FBIG, text!("it is longer than 64 KiB")),
];

/// An ordinary file as a whole.
///
/// # Errors
/// `TooLarge`: there is no memory for it; those of [`Directory::read`].
pub(super) fn read<'m>(dir: &Directory, name: &[u8], memory: &'m mut Memory) -> FsResult<&'m [u8]> {
    let bytes = dir.read(name, memory)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(FsError::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::reasons::check;
    use super::*;
    use std::path::{Path, PathBuf};

    /// A directory that goes when the test ends.
    pub(in super::super) struct Place(pub(in super::super) PathBuf);

    impl Place {
        pub(in super::super) fn new(test: &str) -> Self {
            let name = format!("stowaway-mdns-{}-{test}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        /// Makes a file, and the directories above it.
        pub(in super::super) fn put(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }

        pub(in super::super) fn fifo(&self, name: &str) {
            let path = self.0.join(name);
            rustix::fs::mkfifoat(rustix::fs::CWD, path.to_str().unwrap(), 0o600.into()).unwrap();
        }

        pub(in super::super) fn path(&self) -> std::ffi::CString {
            std::ffi::CString::new(self.0.to_str().unwrap()).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub(in super::super) fn memory() -> Box<Memory> {
        vec![0xaa; FILE_BYTES_MAX + 1]
            .into_boxed_slice()
            .try_into()
            .unwrap()
    }

    #[test]
    fn ordinary_files_of_bounded_length_are_read_and_nothing_else() {
        let place = Place::new("source");
        place.put("file", b"hello");
        place.put("empty", b"");
        place.put("full", [b'x'; FILE_BYTES_MAX]);
        place.put("long", [b'x'; FILE_BYTES_MAX + 1]);
        place.put("longer", [b'x'; 5 * FILE_BYTES_MAX]);
        for (target, name) in [("file", "link"), ("loop", "loop"), ("fifo", "to-fifo")] {
            std::os::unix::fs::symlink(target, place.0.join(name)).unwrap();
        }
        std::fs::create_dir(place.0.join("dir")).unwrap();
        place.fifo("fifo");
        let _socket = std::os::unix::net::UnixListener::bind(place.0.join("socket")).unwrap();
        let dir = Directory::open(&place.path()).unwrap();
        let mut memory = memory();
        assert_eq!(read(&dir, b"file", &mut memory), Ok(&b"hello"[..]));
        assert_eq!(read(&dir, b"empty", &mut memory), Ok(&b""[..]));
        assert_eq!(read(&dir, b"link", &mut memory), Ok(&b"hello"[..]));
        let full = read(&dir, b"full", &mut memory);
        assert_eq!(full.map(<[u8]>::len), Ok(FILE_BYTES_MAX));
        let some = dir.read(b"longer", &mut *memory);
        assert_eq!(some.map(<[u8]>::len), Ok(FILE_BYTES_MAX + 1));
        for (name, error) in [
            (c"long", FsError::TooLarge),
            (c"longer", FsError::TooLarge),
            (c"loop", FsError::TooManyFollowed),
            (c"to-fifo", FsError::Invalid),
            (c"dir", FsError::IsDirectory),
            (c"fifo", FsError::Invalid),
            (c"socket", FsError::Access),
            (c"none", FsError::NoEntry),
        ] {
            let done = read(&dir, name.to_bytes(), &mut memory);
            assert_eq!(done, Err(error), "{name:?}");
        }
    }

    #[test]
    fn every_reason_has_its_number() {
        check(Errno::INVAL, &REASONS, "no ordinary file");
        check(Errno::FBIG, &REASONS, "64 KiB");
        check(Errno::LOOP, &REASONS, "symbolic link");
    }
}
