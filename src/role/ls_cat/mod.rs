//! `ls` and `cat`: list and read files inside an ISO image, on a host without other tools. ECMA-119, Rock Ridge, Joliet.
//!
//! The path of a file is the image's path, followed by the path inside; the image may have any name. There are no flags.

use super::{DONE, Fatal, USAGE, answer_help, complain, print, refuse_usage};
use crate::config::READ_INLINE_BYTES;
use crate::console::images::{CUT_IMAGE, NO_IMAGE, OTHER_IMAGE};
use crate::console::reasons::{Reason, failed_with, reason};
use crate::engine::sftp::longname::longname;
use crate::event::Line;
use crate::mem::{self, letters};
use crate::sys;
use crate::sys::{Args, Errno};
use crate::text::{Text, text};
use crate::vfs::user::User;
use crate::vfs::walk::{self, add, front};
use crate::vfs::{
    Attr, Detail, FsError, FsResult, Name, Node, ObjectType, OpenFault, OpenFlags, Pin, Tree,
};
use crate::wire::Writer;
use core::mem::ManuallyDrop;
use core::ops::ControlFlow;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text = text!("  ls, cat\t\tlists and reads files inside an ISO image\n");
pub(super) const HELP: Text = text!(include_str!("help.txt"));
/// Size (bytes) of the buffers for reading and for output lines.
const BUFFER_BYTES: usize = READ_INLINE_BYTES as usize;

/// One run of the role.
#[repr(C)] // Most-used fields first, where short instructions reach them.
struct LsRun {
    /// The current output line.
    out: Writer<'static>,
    /// Bytes read from a file or a link.
    bytes: &'static mut [u8; BUFFER_BYTES],
    /// Highest exit status of the paths processed. `None`: no path was given.
    worst: Option<Fatal>,
    /// Path of the current object.
    path: walk::Text,
    tree: Tree,
}

/// Lists the paths of the arguments (`ls`), or with `whole` writes their files to standard output (`cat`).
pub(super) fn run(args: Args, whole: bool) -> Result<(), Fatal> {
    // Never dropped: the process exits after this function.
    let mut look = ManuallyDrop::new(LsRun {
        out: Writer::new(mem::array::<BUFFER_BYTES>()),
        bytes: mem::array(),
        worst: None,
        path: walk::Text::new(),
        tree: Tree::default(),
    });
    look.tree.add_paths(mem::leak(User::new(1)), b"/");
    look.tree.enter_all_images();
    for word in args {
        let word = word.to_bytes();
        answer_help(word, &[HELP])?;
        if let [b'-', ..] = word {
            return Err(refuse_usage(text!("unknown option"), word, Text::NOTHING));
        }
        look.worst = look.worst.max(Some(DONE));
        let done = look.visit(word, whole);
        if let Err(error) = done {
            look.worst = Some(cannot_read(word, error));
        }
    }
    Err(look.worst.unwrap_or_else(|| {
        let what = text!("a path inside an ISO image is missing, such as debian.iso/pool");
        complain(USAGE, what, b"", Text::NOTHING)
    }))
}

impl LsRun {
    /// Lists the directory or image at a path, or prints a line for any other object. With `whole`, writes out the file instead.
    fn visit(&mut self, word: &[u8], whole: bool) -> FsResult<()> {
        self.path.clear();
        add(&mut self.path, word)?;
        let mut opening = OpenFlags {
            bits: OpenFlags::READ,
            create: None,
        };
        if !whole {
            add(&mut self.path, b"/")?;
            opening.bits = OpenFlags::READ | OpenFlags::DIRECTORY;
        }
        let pin = match self.tree.open_at(&self.path, &opening) {
            Err(FsError::NotDirectory | FsError::NoEntry | FsError::TooManyFollowed) if !whole => {
                self.path.pop();
                let attr = self.tree.attr_at(&self.path, false);
                let attr = attr.as_ref().map_err(|error| *error)?;
                let is_link = start_line(&mut self.out, attr, word);
                return self.print_line(is_link);
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
        let (dir_len, mut cookie) = (self.path.len(), 0);
        loop {
            self.path.truncate(dir_len);
            self.out.truncate(0);
            let mut is_link = false;
            let (path, out, worst) = (&mut self.path, &mut self.out, &mut self.worst);
            // Reads one entry per call, because the tree, which the call borrows, is needed to read a link's target.
            let ended = self
                .tree
                .readdir(dir, cookie, Detail::Objects, &mut |entry| {
                    cookie = entry.cookie;
                    // A damaged entry is reported and the listing goes on. `add` cuts a path that is too long; its link
                    // is then not found.
                    if Name::new(entry.name).is_ok() {
                        let _ = add(path, entry.name);
                        match entry.object {
                            Some((attr, _)) => is_link = start_line(out, attr, entry.name),
                            None => *worst = Some(cannot_read(path, FsError::Io)),
                        }
                    }
                    ControlFlow::Break(())
                })?;
            if ended {
                return Ok(());
            }
            if let Err(error) = self.print_line(is_link) {
                self.worst = Some(cannot_read(&self.path, error));
            }
        }
    }

    /// Appends the target of a symbolic link and prints the line.
    fn print_line(&mut self, is_link: bool) -> FsResult<()> {
        if is_link {
            let link = self.tree.resolve(&self.path, false)?;
            let len = self.tree.readlink(link, self.bytes)?;
            self.out.put(b" -> ");
            escape(&mut self.out, front(self.bytes, len as usize));
        }
        self.out.put(b"\n");
        // Skips the length (4 bytes) that `longname` writes before the columns.
        print(self.out.since(4));
        Ok(())
    }
}

/// Writes an object's line. Returns true for a symbolic link, whose target must be appended.
fn start_line(out: &mut Writer<'_>, attr: &Attr, name: &[u8]) -> bool {
    out.truncate(0);
    // No user names: the UIDs of an image are not those of this host.
    longname(out, b"", attr, None, sys::wall_clock().0);
    escape(out, name);
    attr.kind == ObjectType::SymbolicLink
}

/// Writes a name, escaped as in a line.
fn escape(out: &mut Writer<'_>, name: &[u8]) {
    for (letter, _) in letters(name) {
        out.put(Line::default().escaped(letter).bytes());
    }
}

/// Reports that `about`, an image or a path inside one, cannot be read because of `error`. Returns exit status 1.
fn cannot_read(about: &[u8], error: FsError) -> Fatal {
    static REASONS: [Reason; 5] = [
        NO_IMAGE,
        CUT_IMAGE,
        OTHER_IMAGE,
        reason(
            Errno::IO,
            text!("the image is damaged or incomplete, or its disk failed; compare its checksum"),
        ),
        reason(
            Errno::STALE,
            text!(
                "the file was replaced while it was read, or its file system changes inode numbers"
            ),
        ),
    ];
    let number = OpenFault::of_image(error).unwrap_or_else(|| error.number());
    failed_with(text!("cannot read"), about, number, &REASONS)
}
