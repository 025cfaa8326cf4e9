//! REALPATH, READLINK, expand-path@openssh.com and home-directory: what is answered with a path.

use super::{Answer, Outcome, Request, Sftp};
use crate::config::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use crate::vfs::FsError;
use crate::vfs::walk::{End, Path, walk};
use crate::wire::sftp::{Attributes, Status, kind};

impl<'a> Request<'a, '_, '_> {
    /// The next path of the request; "" is where the session began.
    pub(super) fn path(&mut self) -> &'a [u8] {
        let path = self.args.path();
        if path.is_empty() { b"." } else { path }
    }

    /// Answers with one name and no attributes.
    #[inline(never)]
    fn named(&mut self, name: &[u8]) -> Outcome {
        let start = self.reply.begin(kind::NAME, self.id);
        self.reply.u32(1);
        self.reply.string(name);
        self.reply.string(name);
        Attributes::default().emit(self.reply);
        self.reply.end(start, 0);
        Ok(Answer::Written)
    }

    /// Answers with the true path of an object, of which the last name need not be there.
    #[inline(never)]
    fn true_path(&mut self, path: &[u8]) -> Outcome {
        let mut done = Path::default();
        walk(self.cx.vfs, path, End::Absent, &mut done)?;
        let mut room = [0; PATH_BYTES_MAX];
        let len = done.write(self.cx.vfs, &mut room);
        self.named(room.get(..len).unwrap_or_default())
    }
}

pub(super) fn real(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    request.args.check()?;
    request.true_path(path)
}

pub(super) fn read_link(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    request.args.check()?;
    let node = request.cx.vfs.resolve(path, false)?;
    let mut room = [0; LINK_BYTES_MAX];
    let len = request.cx.vfs.readlink(node, &mut room)?;
    request.named(room.get(..len).unwrap_or_default())
}

/// As REALPATH, with "~" for where the session began, and "~NAME" for the home of that user.
pub(super) fn expand(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    request.args.check()?;
    let Some(tilde) = path.strip_prefix(b"~") else {
        return request.true_path(path);
    };
    let len = tilde.iter().position(|byte| *byte == b'/');
    let (user, rest) = tilde
        .split_at_checked(len.unwrap_or(tilde.len()))
        .unwrap_or_default();
    let home = if user.is_empty() {
        &b"."[..]
    } else {
        sftp.accounts.load(request.cx.vfs);
        sftp.accounts.home(user).ok_or(Status::NoSuchFile)?
    };
    let mut whole = heapless::Vec::<u8, PATH_BYTES_MAX>::new();
    let parts = [home, rest];
    if parts
        .iter()
        .any(|part| whole.extend_from_slice(part).is_err())
    {
        return Err(FsError::NameTooLong.into());
    }
    request.true_path(&whole)
}

pub(super) fn home(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let user = request.args.path();
    request.args.check()?;
    sftp.accounts.load(request.cx.vfs);
    let home = if user.is_empty() {
        sftp.accounts.home_of(sftp.uid)
    } else {
        sftp.accounts.home(user)
    };
    match home {
        Some(home) => request.named(home),
        // Nobody need be in a list to be somewhere.
        None if user.is_empty() => request.true_path(b"."),
        None => Err(Status::Failure.into()),
    }
}
