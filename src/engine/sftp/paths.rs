//! REALPATH, READLINK, expand-path@openssh.com, home-directory: what is answered with a path.

use super::Request;
use super::status::{Fault, Outcome};
use crate::config::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use crate::vfs::Vfs as _;
use crate::vfs::walk::{End, Path, walk};
use crate::wire::Writer;

impl Request<'_> {
    /// Answers with one name and no attributes.
    #[inline(never)]
    fn named(&mut self, name: &[u8]) {
        self.reply.u32(1);
        self.reply.string(name);
        self.reply.string(name);
        self.reply.u32(0);
    }

    /// Answers with the true path of an object, of which the last name need not be there.
    #[inline(never)]
    pub(super) fn true_path(&mut self, path: &[u8]) -> Outcome {
        let mut done = Path::default();
        walk(self.vfs, path, End::Absent, &mut done)?;
        let mut room = [0; PATH_BYTES_MAX];
        let len = done.write(self.vfs, &mut room);
        self.named(room.get(..len).unwrap_or_default());
        Ok(())
    }

    pub(super) fn real_path(&mut self) -> Outcome {
        self.true_path(self.path)
    }

    /// Answers with a symbolic link's target.
    #[inline(never)]
    pub(super) fn read_link(&mut self) -> Outcome {
        let node = self.vfs.resolve(self.path, false)?;
        let mut room = [0; LINK_BYTES_MAX];
        let len = self.vfs.readlink(node, &mut room)?;
        self.named(room.get(..len).unwrap_or_default());
        Ok(())
    }

    /// Answers with a true path. "~" is where the session began, "~NAME" the home of that user.
    #[inline(never)]
    pub(super) fn expand(&mut self) -> Outcome {
        let Some(user) = self.path.strip_prefix(b"~") else {
            return self.true_path(self.path);
        };
        let mut rest = user;
        while let [first, behind @ ..] = rest
            && *first != b'/'
        {
            rest = behind;
        }
        let len = user.len().wrapping_sub(rest.len());
        let user = user.get(..len).unwrap_or_default();
        let mut home = &b"."[..];
        if !user.is_empty() {
            self.sftp.accounts.load(self.vfs);
            home = self.sftp.accounts.home(user).ok_or(Fault::Missing)?;
        }
        let mut room = [0; PATH_BYTES_MAX];
        let mut whole = Writer::new(&mut room);
        whole.put(home);
        whole.put(rest);
        if whole.written().is_none() {
            return Err(Fault::BadMessage);
        }
        self.true_path(whole.since(0))
    }

    /// Answers with a user's home as it is written; with that of who runs the server, if no name is given.
    #[inline(never)]
    pub(super) fn home(&mut self) -> Outcome {
        let own = self.path == b".";
        self.sftp.accounts.load(self.vfs);
        let home = if own {
            self.sftp.accounts.home_of(self.sftp.uid)
        } else {
            self.sftp.accounts.home(self.path)
        };
        match home {
            Some(home) => self.named(home),
            // Nobody need be in a list to be somewhere.
            None if own => return self.true_path(b"."),
            None => return Err(Fault::Failure),
        }
        Ok(())
    }
}
