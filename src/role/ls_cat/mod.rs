//! `ls` and `cat`: a look inside an image of a disk, from a host that has no tools. ECMA-119, Rock Ridge, Joliet.
//!
//! A path goes through the image's file, whatever that is called. There are no flags.

use super::reasons::cannot_read;
use super::{DONE, Fatal, SEE_HELP, USAGE, answer_help, complain, print};
use crate::config::READ_INLINE_BYTES;
use crate::engine::sftp::longname::longname;
use crate::event::Line;
use crate::mem;
use crate::sys;
use crate::sys::Args;
use crate::text::{Text, text};
use crate::vfs::user::User;
use crate::vfs::walk::{self, add, front};
use crate::vfs::{
    Attr, Backend, Detail, FsError, FsResult, Kind, Name, Node, OpenFlags, Pin, Tree,
};
use crate::wire::Writer;
use core::mem::ManuallyDrop;
use core::ops::ControlFlow;

/// What `stowaway --help` says of them.
pub(super) const SUMMARY: Text = text!("  ls, cat\t\tlists and reads files inside an ISO image\n");
const HELP: Text = text!(include_str!("help.txt"));
/// Bytes that are read at once, or put together before they are written.
const BUFFER_BYTES: usize = READ_INLINE_BYTES as usize;

/// One run of the role.
#[repr(C)] // What is used most lies first, where short instructions reach it.
struct Look {
    /// A line.
    out: Writer<'static>,
    /// What was read.
    bytes: &'static mut [u8; BUFFER_BYTES],
    /// The greatest status so far; `None`: nothing was to be done.
    worst: Option<Fatal>,
    /// Where it looks.
    path: walk::Text,
    tree: Tree,
}

/// Lists what the arguments name, or writes it out if `whole`.
pub(super) fn run(args: Args, whole: bool) -> Result<(), Fatal> {
    // The process ends when this does: nothing has to be given back.
    let mut look = ManuallyDrop::new(Look {
        out: Writer::new(mem::array::<BUFFER_BYTES>()),
        bytes: mem::array(),
        worst: None,
        path: walk::Text::new(),
        tree: Tree::default(),
    });
    look.tree.add(Backend::ByPath, mem::leak(User::new(1)));
    look.tree.look_anywhere();
    for word in args {
        let word = word.to_bytes();
        answer_help(word, &[HELP])?;
        if let [b'-', ..] = word {
            return Err(complain(USAGE, text!("there is no option"), word, SEE_HELP));
        }
        look.worst = look.worst.max(Some(DONE));
        let done = look.at(word, whole);
        if let Err(error) = done {
            look.worst = Some(cannot_read(word, error));
        }
    }
    Err(look.worst.unwrap_or_else(|| {
        let what = text!("name what is inside an ISO image, such as debian.iso/pool");
        complain(USAGE, what, b"", Text::NOTHING)
    }))
}

impl Look {
    /// Prints what a path leads to. An object that is no directory, and has none inside it, is a line of its own.
    #[inline(never)]
    fn at(&mut self, word: &[u8], whole: bool) -> FsResult<()> {
        self.path.clear();
        add(&mut self.path, word)?;
        let mut opening = OpenFlags {
            how: OpenFlags::READ,
            create: None,
        };
        if !whole {
            add(&mut self.path, b"/")?;
            opening.how = OpenFlags::READ | OpenFlags::DIRECTORY;
        }
        let pin = match self.tree.open_at(&self.path, &opening) {
            Err(FsError::NotDirectory | FsError::NoEntry | FsError::TooManyFollowed) if !whole => {
                self.path.pop();
                let attr = self.tree.attr_at(&self.path, false);
                let attr = attr.as_ref().map_err(|error| *error)?;
                let is_link = begin(&mut self.out, attr, word);
                return self.end(is_link);
            }
            pin => pin?,
        };
        let done = if whole {
            self.write_out(&pin)
        } else {
            self.list(pin.node())
        };
        self.tree.unpin(pin);
        done
    }

    /// Writes a file to standard output.
    fn write_out(&mut self, file: &Pin) -> FsResult<()> {
        let mut offset = 0;
        loop {
            let len = self.tree.read(file, offset, self.bytes)?;
            if len == 0 {
                return Ok(());
            }
            print(front(self.bytes, len as usize));
            offset += u64::from(len);
        }
    }

    /// Prints a line for each entry of a directory.
    fn list(&mut self, dir: Node) -> FsResult<()> {
        let (above, mut cookie) = (self.path.len(), 0);
        loop {
            self.path.truncate(above);
            self.out.truncate(0);
            let mut is_link = false;
            let (path, out, worst) = (&mut self.path, &mut self.out, &mut self.worst);
            // One at a time: more may be asked about it.
            let ended = self
                .tree
                .readdir(dir, cookie, Detail::Objects, &mut |entry| {
                    cookie = entry.cookie;
                    // What is damaged does not hide what is not; what is cut is not found.
                    if Name::new(entry.name).is_ok() {
                        let _ = add(path, entry.name);
                        match entry.object {
                            Some((attr, _)) => is_link = begin(out, attr, entry.name),
                            None => *worst = Some(cannot_read(path, FsError::Io)),
                        }
                    }
                    ControlFlow::Break(())
                })?;
            if ended {
                return Ok(());
            }
            if let Err(error) = self.end(is_link) {
                self.worst = Some(cannot_read(&self.path, error));
            }
        }
    }

    /// Prints the line, if one was begun.
    #[inline(never)]
    fn end(&mut self, is_link: bool) -> FsResult<()> {
        if is_link {
            let link = self.tree.resolve(&self.path, false)?;
            let len = self.tree.readlink(link, self.bytes)?;
            self.out.put(b" -> ");
            escape(&mut self.out, front(self.bytes, len as usize));
        }
        self.out.put(b"\n");
        // The columns have their length before them.
        print(self.out.since(4));
        Ok(())
    }
}

/// Puts the line of an object together; whether its target is still to come, because it is a link.
#[inline(never)]
fn begin(out: &mut Writer<'_>, attr: &Attr, name: &[u8]) -> bool {
    out.truncate(0);
    // The host's users are not the image's.
    longname(out, b"", attr, None, sys::wall_clock().0);
    escape(out, name);
    attr.kind == Kind::SymbolicLink
}

/// What a terminal might obey becomes `\NNN`.
#[inline(never)]
fn escape(out: &mut Writer<'_>, name: &[u8]) {
    for byte in name {
        out.put(Line::default().escaped(&[*byte]).bytes());
    }
}
