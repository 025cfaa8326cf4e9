//! What is read of a file that anybody may have put there: never a link, never what blocks or is no file, never too much.

use super::super::reasons::{self, Reason, reason};
use crate::mem::Ends as _;
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File, Stat};
use crate::text::text;
use core::mem::MaybeUninit;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::{AtFlags, OFlags};

/// Bytes of the longest file.
pub(super) const FILE_BYTES_MAX: usize = 64 << 10;

/// Memory for a file: with a byte more, what is longer is seen to be.
pub(super) type Memory = [u8; FILE_BYTES_MAX + 1];

/// How a file is opened: it neither blocks nor becomes a terminal, whatever it is.
const READ: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::LARGEFILE);
/// The same for a directory.
const LIST: OFlags = READ.union(OFlags::DIRECTORY);

/// Why it cannot be read, and what to do about it.
pub(super) static REASONS: [Reason; 15] = reasons::table([
    reason(Errno::INVAL, text!("it is no ordinary file")),
    reason(Errno::FBIG, text!("it is longer than 64 KiB")),
]);

/// Opens what is to be read.
pub(super) fn open(dir: RawFd, name: &[u8]) -> Result<File, Errno> {
    opened(dir, name, READ)
}

/// Opens a directory that is to be listed.
pub(super) fn open_directory(dir: RawFd, name: &[u8]) -> Result<File, Errno> {
    opened(dir, name, LIST)
}

#[inline(never)]
fn opened(dir: RawFd, name: &[u8], flags: OFlags) -> Result<File, Errno> {
    fs::open_entry::<Errno>(dir, name, flags, 0).map(File::of)
}

/// Whether it is an ordinary file, and whether it is a directory.
pub(super) const fn kind(stat: &Stat) -> (bool, bool) {
    let kind = stat.st_mode >> 12 & 0o17;
    (kind == 0o10, kind == 0o04)
}

/// As much of an ordinary file as there is memory for.
#[inline(never)]
pub(super) fn read_some<'m>(
    dir: RawFd,
    name: &[u8],
    memory: &'m mut Memory,
) -> Result<&'m [u8], Errno> {
    let file = open(dir, name)?;
    let file = file.as_raw_fd();
    let mut room = MaybeUninit::uninit();
    match kind(fs::fstatat::<Errno>(
        file,
        c"",
        AtFlags::empty(),
        &mut room,
    )?) {
        (true, _) => {}
        (_, true) => return Err(Errno::ISDIR),
        _ => return Err(Errno::INVAL),
    }
    let len = fs::pread::<Errno>(file, 0, memory)?;
    Ok(memory.head(len as usize))
}

/// An ordinary file as a whole. `FBIG`: there is no memory for it.
pub(super) fn read<'m>(dir: RawFd, name: &[u8], memory: &'m mut Memory) -> Result<&'m [u8], Errno> {
    let bytes = read_some(dir, name, memory)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Errno::FBIG);
    }
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::reasons::check;
    use super::*;
    use rustix::fs::CWD;
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
            rustix::fs::mkfifoat(CWD, path.to_str().unwrap(), 0o600.into()).unwrap();
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
        std::os::unix::fs::symlink("file", place.0.join("link")).unwrap();
        std::fs::create_dir(place.0.join("dir")).unwrap();
        place.fifo("fifo");
        let _socket = std::os::unix::net::UnixListener::bind(place.0.join("socket")).unwrap();
        let dir = File::open::<Errno>(&place.path(), LIST, 0).unwrap();
        let dir = dir.as_raw_fd();
        let mut memory = memory();
        assert_eq!(read(dir, b"file", &mut memory), Ok(&b"hello"[..]));
        assert_eq!(read(dir, b"empty", &mut memory), Ok(&b""[..]));
        let full = read(dir, b"full", &mut memory);
        assert_eq!(full.map(<[u8]>::len), Ok(FILE_BYTES_MAX));
        let some = read_some(dir, b"longer", &mut memory);
        assert_eq!(some.map(<[u8]>::len), Ok(FILE_BYTES_MAX + 1));
        for (name, errno) in [
            (c"long", Errno::FBIG),
            (c"longer", Errno::FBIG),
            (c"link", Errno::LOOP),
            (c"dir", Errno::ISDIR),
            (c"fifo", Errno::INVAL),
            (c"socket", Errno::NXIO),
            (c"none", Errno::NOENT),
        ] {
            let done = read(dir, name.to_bytes(), &mut memory);
            assert_eq!(done, Err(errno), "{name:?}");
        }
    }

    #[test]
    fn every_reason_has_its_number() {
        check(Errno::INVAL, &REASONS, "no ordinary file");
        check(Errno::FBIG, &REASONS, "64 KiB");
        check(Errno::LOOP, &REASONS, "symbolic link");
    }
}
