//! The time zone of this host, for the lines of a log.

#![forbid(unsafe_code)]

use super::files::Directory;
use crate::mem::{self, Ends as _};
use crate::sys;

/// Longest file (bytes): those of the present tz database are shorter.
const FILE_BYTES_MAX: usize = 4 << 10;

/// Returns a file of tzfile(5) and a rule of POSIX, as `wire::zone` expects them: those of TZ, else /etc/localtime. A file that
/// cannot be read is empty.
pub fn load() -> [&'static [u8]; 2] {
    const DIR: &[u8] = b"/usr/share/zoneinfo/";
    let tz = sys::variable(b"TZ=").unwrap_or(b"/etc/localtime");
    let tz = tz.strip_prefix(b":").unwrap_or(tz);
    let mut path = [0; 256];
    let dir = if tz.starts_with(b"/") { b"" } else { DIR };
    mem::copy_into(&mut path, dir);
    mem::copy_into(path.tail_mut(dir.len()), tz);
    let len = (dir.len() + tz.len()).min(path.len());
    let memory = mem::bytes(FILE_BYTES_MAX);
    let file = Directory::current().read(path.head(len), memory);
    [file.unwrap_or_default(), tz]
}
