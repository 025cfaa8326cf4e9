//! REALPATH, READLINK, expand-path@openssh.com, home-directory: requests that are answered with a path.

use super::requests::Operation;
use super::status::{Fault, Outcome};
use super::{Exchange, Level};
use crate::config::LINK_BYTES_MAX;
use crate::event::Line;
use crate::mem::Ends as _;
use crate::text::{Text, text};
use crate::vfs::walk::{self, BUFFER_BYTES, End, Path, add};

impl Exchange<'_> {
    /// Answers with the first `len` bytes of `buffer` as a name without attributes.
    fn named(&mut self, buffer: &[u8], len: usize) {
        let name = buffer.head(len);
        // For these two requests, the log shows the path in the reply, not the argument.
        let what = match self.request.operation {
            Operation::ExpandPath => text!("expand "),
            Operation::Home => text!("home-directory "),
            _ => Text::NOTHING,
        };
        if what != Text::NOTHING {
            self.report(Level::Verbose, Line::start(what).quoted(name));
        }
        let reply = &mut self.reply;
        reply.u32(1);
        reply.string(name);
        reply.string(name);
        reply.u32(0);
    }

    /// Answers with the real path of an object. The last name need not exist.
    fn true_path(&mut self, path: &[u8]) -> Outcome {
        let mut done = Path::new(self.vfs);
        done.passes_files = true;
        let mut buffer = [0; BUFFER_BYTES];
        done.walk(path, &mut buffer, End::Absent)?;
        let len = done.write(&mut buffer);
        self.named(&buffer, len);
        Ok(())
    }

    pub(super) fn real_path(&mut self) -> Outcome {
        self.true_path(self.request.path)
    }

    /// Answers with a symbolic link's target.
    pub(super) fn read_link(&mut self) -> Outcome {
        self.resolve(self.request.path, false)?;
        let mut buffer = [0; LINK_BYTES_MAX];
        let len = self.vfs.readlink(self.request.node, &mut buffer)? as usize;
        self.named(&buffer, len);
        Ok(())
    }

    /// The home directory of the user with this name.
    fn home_of(&mut self, name: &[u8]) -> Option<&'static [u8]> {
        self.sftp.accounts.load(self.vfs);
        self.sftp.accounts.home(name)
    }

    /// Answers expand-path@openssh.com. "~" is the directory in which the session began, "~NAME" the home directory of that user.
    pub(super) fn expand(&mut self) -> Outcome {
        let Some(user) = self.request.path.strip_prefix(b"~") else {
            return self.real_path();
        };
        let mut rest = user;
        while let [first, behind @ ..] = rest
            && *first != b'/'
        {
            rest = behind;
        }
        let len = user.len() - rest.len();
        let user = user.head(len);
        let mut home = &b"."[..];
        if !user.is_empty() {
            home = self.home_of(user).ok_or(Fault::MISSING)?;
        }
        let mut whole = walk::Text::new();
        add(&mut whole, home)?;
        add(&mut whole, rest)?;
        self.true_path(&whole)
    }

    /// home-directory: answers with the home directory as in passwd(5); without a name, that of the server's user.
    pub(super) fn home(&mut self) -> Outcome {
        let own = self.request.path == b".";
        let mut home = self.home_of(self.request.path);
        if own {
            home = self.sftp.accounts.home_of(self.sftp.uid);
        }
        match home {
            Some(home) => self.named(home, home.len()),
            // The server's user has no entry in passwd(5).
            None if own => return self.true_path(b"."),
            None => return Err(Fault::FAILURE),
        }
        Ok(())
    }
}
