//! REMOVE, MKDIR, RMDIR, RENAME, SYMLINK, posix-rename@openssh.com and hardlink@openssh.com.

use super::attributes::MODE_MASK;
use super::{Answer, Outcome, Request, Sftp};
use crate::vfs::{Change, FsError, FsResult, Make, Name, Node, Vfs};
use crate::wire::sftp::{Attributes, kind};

/// The mode of a directory for which none is asked.
const DIRECTORY_MODE: u32 = 0o777;

/// The directory and the name that a path ends with. A "/" behind that is for what is a directory, or is to be one.
#[inline(never)]
fn place<'a>(vfs: &mut dyn Vfs, path: &'a [u8], directory: bool) -> FsResult<(Node, Name<'a>)> {
    let slashes = path.iter().rev().take_while(|byte| **byte == b'/').count();
    let (path, slashes) = path
        .split_at_checked(path.len().saturating_sub(slashes))
        .unwrap_or_default();
    let start = path.iter().rposition(|byte| *byte == b'/');
    let start = start.map_or(0, |at| at.wrapping_add(1));
    let (parent, name) = path.split_at_checked(start).unwrap_or_default();
    // These are there, and stay what they are.
    if matches!(name, b"" | b"." | b"..") {
        return Err(FsError::IsDirectory);
    }
    if !slashes.is_empty() && !directory {
        return Err(FsError::NotDirectory);
    }
    let name = Name::new(name)?;
    let parent = if parent.is_empty() { b"." } else { parent };
    Ok((vfs.resolve(parent, true)?, name))
}

/// REMOVE and RMDIR.
pub(super) fn remove(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let directory = request.kind == kind::RMDIR;
    let path = request.path();
    request.args.check()?;
    let vfs = &mut *request.cx.vfs;
    let (dir, name) = place(vfs, path, directory)?;
    vfs.remove(dir, name, directory)?;
    Ok(Answer::Ok)
}

pub(super) fn make_directory(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    let told = Attributes::parse(&mut request.args);
    request.args.check()?;
    let vfs = &mut *request.cx.vfs;
    let (dir, name) = place(vfs, path, true)?;
    let change = Change {
        mode: Some(told.mode.unwrap_or(DIRECTORY_MODE) & MODE_MASK),
        ..Change::default()
    };
    vfs.create(dir, name, Make::Directory, &change)?;
    Ok(Answer::Ok)
}

/// RENAME, which takes no name away, and posix-rename@openssh.com, which does.
pub(super) fn rename(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let replace = request.kind == kind::EXTENDED;
    let (old, new) = (request.path(), request.path());
    request.args.check()?;
    let vfs = &mut *request.cx.vfs;
    let (from, name) = place(vfs, old, true)?;
    let (to, new_name) = place(vfs, new, true)?;
    vfs.rename(from, name, to, new_name, replace)?;
    Ok(Answer::Ok)
}

/// SYMLINK: first what it leads to, then its name. The draft has it the other way round, OpenSSH and all clients this way.
pub(super) fn symbolic_link(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let (target, path) = (request.args.path(), request.path());
    request.args.check()?;
    if target.is_empty() {
        return Err(FsError::NoEntry.into());
    }
    let vfs = &mut *request.cx.vfs;
    let (dir, name) = place(vfs, path, false)?;
    vfs.create(dir, name, Make::Link(target), &Change::default())?;
    Ok(Answer::Ok)
}

pub(super) fn hard_link(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let (old, new) = (request.path(), request.path());
    request.args.check()?;
    let vfs = &mut *request.cx.vfs;
    let node = vfs.resolve(old, false)?;
    let (dir, name) = place(vfs, new, false)?;
    vfs.link(node, dir, name)?;
    Ok(Answer::Ok)
}
