//! The place of a log: a standard stream, or a file behind links.

#![forbid(unsafe_code)]

use crate::mem::{self, Ends as _, c_str, copy_into};
use crate::sys::linux::daemon::PATH_BYTES_MAX;
use crate::sys::linux::fs::{self, File, fstatat};
use crate::sys::linux::stdio::Stdio;
use crate::sys::{self, Errno};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::AsRawFd as _;
use rustix::fs::{AtFlags, OFlags};

/// Links that are followed, at most.
const LINK_COUNT_MAX: usize = 8;

/// The place of a log.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A standard stream.
    Stream(Stdio),
    /// A file.
    File(&'static CStr),
}

/// Finds the place of a log. `-`, /dev/stdout and /dev/stderr are the streams of this process, also where /dev is missing.
///
/// # Errors
/// ENOLINK: the path is a link of a user other than root and this one; such a link may name any file. ELOOP: too many links.
/// ENAMETOOLONG: the target of a link has a path of `PATH_BYTES_MAX` or more.
pub fn place(mut path: &'static CStr) -> Result<Place, Errno> {
    for _ in 0..LINK_COUNT_MAX {
        match path.to_bytes() {
            b"-" | b"/dev/stdout" => return Ok(Place::Stream(Stdio::Output)),
            b"/dev/stderr" => return Ok(Place::Stream(Stdio::Error)),
            _ => {}
        }
        // O_PATH opens the link itself, so that it is the same that is looked at and that is read.
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let target = &mut [0; PATH_BYTES_MAX];
        let Ok(link) = File::open::<Errno>(path, flags, 0) else {
            return Ok(Place::File(path));
        };
        // ENOENT: this is not a link.
        let Ok(len) = fs::readlinkat::<Errno>(link.as_raw_fd(), target) else {
            return Ok(Place::File(path));
        };
        let stat = &mut MaybeUninit::uninit();
        let owner = fstatat::<Errno>(link.as_raw_fd(), c"", AtFlags::empty(), stat)?.st_uid;
        if owner != 0 && owner != sys::user_id() {
            return Err(Errno::NOLINK);
        }
        path = target_of(path.to_bytes(), target.head(len as usize))?;
    }
    Err(Errno::LOOP)
}

/// The path of a link's target, which is relative to the directory of the link.
fn target_of(link: &[u8], target: &[u8]) -> Result<&'static CStr, Errno> {
    let slash = link.iter().rposition(|byte| *byte == b'/');
    let dir = match (slash, target) {
        (None, _) | (_, [b'/', ..]) => &[],
        (Some(slash), _) => link.head(slash + 1),
    };
    let len = dir.len() + target.len();
    if len >= PATH_BYTES_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let path = mem::bytes(len + 1);
    copy_into(path, dir);
    copy_into(path.tail_mut(dir.len()), target);
    Ok(c_str(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::fs::{lchown, symlink};

    /// The place of the file `name` in a directory, in which links have been made.
    fn place_in(dir: &std::path::Path, name: &str) -> Result<String, Errno> {
        let path = CString::new(dir.join(name).to_str().unwrap()).unwrap();
        Ok(match place(Box::leak(path.into_boxed_c_str()))? {
            Place::Stream(stream) => format!("{stream:?}"),
            Place::File(path) => path.to_str().unwrap().to_owned(),
        })
    }

    #[test]
    fn links_of_root_and_own_user_are_followed() {
        let dir = &std::env::temp_dir().join(format!("log_place-{}", std::process::id()));
        std::fs::create_dir(dir).unwrap();
        let link = |target: &str, name: &str| symlink(target, dir.join(name)).unwrap();
        link("new", "relative");
        link(dir.join("relative").to_str().unwrap(), "absolute");
        link("/dev/stdout", "stream");
        link("circle", "circle");
        link(&"x".repeat(250), "long");
        let new = dir.join("new").to_str().unwrap().to_owned();
        for (name, expect) in [
            ("new", Ok(new.clone())),
            ("relative", Ok(new.clone())),
            ("absolute", Ok(new)),
            ("stream", Ok("Output".into())),
            ("circle", Err(Errno::LOOP)),
            ("long", Err(Errno::NAMETOOLONG)),
        ] {
            assert_eq!(place_in(dir, name), expect, "{name}");
        }
        if sys::user_id() == 0 {
            lchown(dir.join("absolute"), Some(1), None).unwrap();
            assert_eq!(place_in(dir, "absolute"), Err(Errno::NOLINK));
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
