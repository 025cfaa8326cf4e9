//! REALPATH, READLINK, expand-path@openssh.com, home-directory: what is answered with a path.

use super::requests::Ask;
use super::status::{Fault, Outcome};
use super::{Request, Sftp};
use crate::config::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use crate::vfs::Vfs as _;
use crate::vfs::walk::{End, Path, ROOM_BYTES};
use crate::wire::Writer;

impl Request<'_, '_> {
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
        let mut done = Path::new(self.vfs);
        let mut room = [0; ROOM_BYTES];
        done.walk(path, &mut room, End::Absent)?;
        let len = done.write(&mut room);
        self.named(room.get(..len).unwrap_or_default());
        Ok(())
    }
}

impl Sftp {
    pub(super) fn real_path(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        request.true_path(request.path)
    }

    /// Answers with a symbolic link's target.
    #[inline(never)]
    pub(super) fn read_link(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let node = request.vfs.resolve(request.path, false)?;
        let mut room = [0; LINK_BYTES_MAX];
        let len = request.vfs.readlink(node, &mut room)?;
        request.named(room.get(..len).unwrap_or_default());
        Ok(())
    }

    /// Answers with a true path. "~" is where the session began, "~NAME" the home of that user.
    #[inline(never)]
    pub(super) fn expand(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let Some(user) = request.path.strip_prefix(b"~") else {
            return request.true_path(request.path);
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
            self.accounts.load(request.vfs);
            home = self.accounts.home(user).ok_or(Fault::Missing)?;
        }
        let mut room = [0; PATH_BYTES_MAX];
        let mut whole = Writer::new(&mut room);
        whole.put(home);
        whole.put(rest);
        if whole.written().is_none() {
            return Err(Fault::BadMessage);
        }
        request.true_path(whole.since(0))
    }

    /// Answers with a user's home as it is written; with that of who runs the server, if no name is given.
    #[inline(never)]
    pub(super) fn home(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
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
