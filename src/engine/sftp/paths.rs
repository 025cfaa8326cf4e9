//! REALPATH, READLINK, expand-path@openssh.com, home-directory: what is answered with a path.

use super::status::{Fault, Outcome};
use super::{Request, Sftp};
use crate::config::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use crate::vfs::FsError;
use crate::vfs::walk::{End, Path, walk};

/// Bytes before the first name of a reply: how many names there are, and its length.
const NAME_AHEAD: usize = 8;

impl Request<'_, '_> {
    /// Answers with one name and no attributes.
    #[inline(never)]
    fn named(&mut self, name: &[u8]) {
        self.reply.u32(1);
        self.reply.string(name);
        self.reply.string(name);
        self.reply.u32(0);
    }

    /// The same, where the name stands in its place already.
    #[inline(never)]
    fn named_ahead(&mut self, len: usize) {
        self.reply.u32(1);
        self.reply.string_ahead(len);
        self.reply.repeat(len.wrapping_add(4));
        self.reply.u32(0);
    }

    /// Answers with the true path of an object, of which the last name need not be there.
    #[inline(never)]
    pub(super) fn true_path(&mut self, path: &[u8]) -> Outcome {
        let mut done = Path::default();
        walk(self.vfs, path, End::Absent, &mut done)?;
        let len = done.write(self.vfs, self.reply.ahead(NAME_AHEAD, PATH_BYTES_MAX));
        self.named_ahead(len);
        Ok(())
    }

    /// Answers with a symbolic link's target.
    pub(super) fn read_link(&mut self) -> Outcome {
        let node = self.vfs.resolve(self.path, false)?;
        let room = self.reply.ahead(NAME_AHEAD, LINK_BYTES_MAX);
        let len = self.vfs.readlink(node, room)?;
        self.named_ahead(len);
        Ok(())
    }
}

impl Sftp {
    /// Answers with a true path. "~" is where the session began, "~NAME" the home of that user.
    #[inline(never)]
    pub(super) fn expand(&mut self, request: &mut Request<'_, '_>) -> Outcome {
        let Some(user) = request.path.strip_prefix(b"~") else {
            return request.true_path(request.path);
        };
        let len = user.iter().position(|byte| *byte == b'/');
        let (user, rest) = user
            .split_at_checked(len.unwrap_or(user.len()))
            .unwrap_or_default();
        let mut home = &b"."[..];
        if !user.is_empty() {
            self.accounts.load(request.vfs);
            home = self.accounts.home(user).ok_or(Fault::Missing)?;
        }
        let mut whole = heapless::Vec::<u8, PATH_BYTES_MAX>::new();
        if whole.extend_from_slice(home).is_err() || whole.extend_from_slice(rest).is_err() {
            return Err(FsError::NameTooLong.into());
        }
        request.true_path(&whole)
    }

    /// Answers with a user's home as it is written; with that of who runs the server, if no name is given.
    pub(super) fn home(&mut self, request: &mut Request<'_, '_>) -> Outcome {
        let own = request.path == b".";
        self.accounts.load(request.vfs);
        let home = if own {
            self.accounts.home_of(self.uid)
        } else {
            self.accounts.home(request.path)
        };
        match home {
            Some(home) => request.named(home),
            // Nobody need be in a list to be somewhere.
            None if own => return request.true_path(b"."),
            None => return Err(Fault::Failure),
        }
        Ok(())
    }
}
