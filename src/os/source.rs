//! Reads regular files up to a limit, also through links. Other objects, such as FIFOs, are refused without blocking.

use super::files::Directory;
use crate::mem;
use crate::sys::Errno;

/// Largest file (bytes).
pub const FILE_BYTES_MAX: usize = 64 << 10;

/// Buffer for a file, one byte longer than the limit to detect a larger file.
pub type Memory = [u8; FILE_BYTES_MAX + 1];

/// Adds the length and the content of `bytes` to a stamp, which changes with the files that were read.
pub fn stamped(bytes: &[u8], stamp: u64) -> u64 {
    mem::fnv1a(stamp ^ bytes.len() as u64, bytes)
}

/// Reads a whole regular file.
///
/// # Errors
/// EFBIG: longer than [`FILE_BYTES_MAX`]; those of [`Directory::read`].
pub fn read<'m>(dir: &Directory, name: &[u8], memory: &'m mut Memory) -> Result<&'m [u8], Errno> {
    let bytes = dir.read(name, memory)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Errno::FBIG);
    }
    Ok(bytes)
}

#[cfg(test)]
pub mod tests {
    //! Directories for tests of readers.

    use super::*;
    use std::path::{Path, PathBuf};

    /// A directory that is removed at the end of the test.
    pub struct TestDir(pub PathBuf);

    impl TestDir {
        /// Makes an empty directory, named after a test.
        pub fn new(test: &str) -> Self {
            let name = format!("stowaway-mdns-{}-{test}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        /// Creates a file and its parent directories.
        pub fn put(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }

        /// Makes a FIFO.
        pub fn fifo(&self, name: &str) {
            let path = self.0.join(name);
            rustix::fs::mkfifoat(rustix::fs::CWD, path.to_str().unwrap(), 0o600.into()).unwrap();
        }

        /// Its path.
        pub fn path(&self) -> std::ffi::CString {
            std::ffi::CString::new(self.0.to_str().unwrap()).unwrap()
        }
    }

    impl Drop for TestDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A buffer for files.
    pub fn memory() -> Box<Memory> {
        vec![0xaa; FILE_BYTES_MAX + 1]
            .into_boxed_slice()
            .try_into()
            .unwrap()
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let test_dir = TestDir::new("source");
        test_dir.put("file", b"hello");
        test_dir.put("empty", b"");
        test_dir.put("full", [b'x'; FILE_BYTES_MAX]);
        test_dir.put("long", [b'x'; FILE_BYTES_MAX + 1]);
        test_dir.put("longer", [b'x'; 5 * FILE_BYTES_MAX]);
        for (target, name) in [("file", "link"), ("loop", "loop"), ("fifo", "to-fifo")] {
            std::os::unix::fs::symlink(target, test_dir.0.join(name)).unwrap();
        }
        std::fs::create_dir(test_dir.0.join("dir")).unwrap();
        test_dir.fifo("fifo");
        let _socket = std::os::unix::net::UnixListener::bind(test_dir.0.join("socket")).unwrap();
        let dir = Directory::open(&test_dir.path()).unwrap();
        let mut memory = memory();
        assert_eq!(read(&dir, b"file", &mut memory), Ok(&b"hello"[..]));
        assert_eq!(read(&dir, b"empty", &mut memory), Ok(&b""[..]));
        assert_eq!(read(&dir, b"link", &mut memory), Ok(&b"hello"[..]));
        let full = read(&dir, b"full", &mut memory);
        assert_eq!(full.map(<[u8]>::len), Ok(FILE_BYTES_MAX));
        let some = dir.read(b"longer", &mut *memory);
        assert_eq!(some.map(<[u8]>::len), Ok(FILE_BYTES_MAX + 1));
        for (name, error) in [
            (c"long", Errno::FBIG),
            (c"longer", Errno::FBIG),
            (c"loop", Errno::LOOP),
            (c"to-fifo", Errno::INVAL),
            (c"dir", Errno::ISDIR),
            (c"fifo", Errno::INVAL),
            (c"socket", Errno::INVAL),
            (c"none", Errno::NOENT),
        ] {
            let done = read(&dir, name.to_bytes(), &mut memory);
            assert_eq!(done, Err(error), "{name:?}");
        }
    }
}
