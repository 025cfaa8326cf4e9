//! `--isos`: prints what an iPXE script needs to boot the images in a directory, their kernels and the rest by NFS.
//!
//! A layout is a directory that has a kernel and an initial RAM disk, and what that kernel has to be told to find the rest:
//! Ubuntu's casper, Debian's live-boot, Fedora's anaconda, and debian-installer, which knows no NFS. What lies at the end of
//! their names, such as versions, does not matter.

use super::super::print;
use super::super::reasons::cannot_read;
use crate::config::EXPORT_PATH_BYTES_MAX;
use crate::event::Line;
use crate::mem;
use crate::mem::parts;
use crate::text::{Text, text};
use crate::vfs::walk::{self, ended};
use crate::vfs::{Detail, FsError, FsResult, Node, Tree, is_image};
use crate::wire::Writer;
use core::ops::ControlFlow;

/// The directory of each layout, 2, and the lines for it, in which 1 is the path of the image, 3 the directory, 4 the kernel's
/// name, 5 the RAM disk's and 6 the image's. The last is for what has none of the others.
const LAYOUTS: [Text; 7] = [
    text!(
        "/casper/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05 boot=casper netboot=nfs nfsroot=${next-server}:\x01 ip=dhcp\ninitrd nfs://${next-server}\x01\x03\x05\n"
    ),
    text!(
        "/live/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05 boot=live netboot=nfs nfsroot=${next-server}:\x01\ninitrd nfs://${next-server}\x01\x03\x05\n"
    ),
    text!(
        "/images/pxeboot/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05 inst.repo=nfs:${next-server}:\x01\ninitrd nfs://${next-server}\x01\x03\x05\n"
    ),
    text!(
        "/install.amd/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05\ninitrd nfs://${next-server}\x01\x03\x05\n"
    ),
    text!(
        "/install.386/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05\ninitrd nfs://${next-server}\x01\x03\x05\n"
    ),
    text!(
        "/install.a64/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05\ninitrd nfs://${next-server}\x01\x03\x05\n"
    ),
    text!("/\x02# \x06: left out: an unknown layout, or a path that iPXE may split\n"),
];
/// Bytes of the longest.
const LAYOUT_BYTES: usize = 256;
/// Bytes of an image's path, and of a directory in it.
const PATH_BYTES: usize = EXPORT_PATH_BYTES_MAX + 256 + 32;
/// Bytes of the longest lines: three paths, names, an escaped one, and words.
const LINES_BYTES: usize = 3 * PATH_BYTES + 7 * 255 + 512;

/// Where they come from.
#[repr(C)] // What is used most lies first, where short instructions reach it.
struct Boot<'a> {
    tree: &'a mut Tree,
    /// The path of an image.
    path: Writer<'static>,
    lines: Writer<'static>,
    export: usize,
    /// Bytes of the path before its name.
    above: usize,
    cookie: u64,
}

/// Prints them for all images in the directory at `top`, the export of this number.
#[inline(never)]
pub(super) fn tell(tree: &mut Tree, export: usize, top: &[u8]) -> FsResult<()> {
    let mut boot = Boot {
        tree,
        path: Writer::new(mem::array::<PATH_BYTES>()),
        lines: Writer::new(mem::array::<LINES_BYTES>()),
        export,
        above: 0,
        cookie: 0,
    };
    boot.path.put(ended(top));
    boot.path.put(b"/");
    boot.above = boot.path.position();
    loop {
        boot.path.truncate(boot.above);
        let dir = boot.tree.root(export)?;
        if boot.scan(dir, b"")? {
            return Ok(());
        }
        if let Err(error) = boot.tell_of() {
            cannot_read(boot.path.since(0), error);
        }
    }
}

impl Boot<'_> {
    /// Prints them for one image.
    fn tell_of(&mut self) -> FsResult<()> {
        let is_plain = is_plain(self.path.since(0));
        let mut number = if is_plain { 0 } else { LAYOUTS.len() - 1 };
        let mut text = [0; LAYOUT_BYTES];
        'layouts: while let Some(layout) = LAYOUTS.get(number) {
            let mut layout = parts(layout.decode(&mut text), 2);
            number += 1;
            let place = layout.next().unwrap_or_default();
            let image_end = self.path.position();
            self.path.put(place);
            let node = walk::find(self.tree, self.export, self.path.since(self.above));
            self.path.truncate(image_end);
            let node = match node {
                Err(FsError::NoEntry | FsError::NotDirectory) => continue,
                node => node?,
            };
            self.lines.truncate(0);
            for byte in layout.rest.unwrap_or_default() {
                let mut name = Line::default();
                let begin = match byte {
                    4 => b"vmlinu",
                    5 => b"initrd",
                    _ => {
                        self.lines.put(match byte {
                            1 => self.path.since(0),
                            3 => place,
                            6 => name.escaped(self.path.since(self.above)).bytes(),
                            _ => core::slice::from_ref(byte),
                        });
                        continue;
                    }
                };
                if self.scan(node, begin)? {
                    continue 'layouts;
                }
            }
            print(self.lines.since(0));
            break;
        }
        Ok(())
    }

    /// Puts the next image's name behind the path, or else the first name that begins so behind the lines. True: there is none.
    #[inline(never)]
    fn scan(&mut self, dir: Node, begin: &[u8]) -> FsResult<bool> {
        let mut first = 0;
        let (cookie, out) = if begin.is_empty() {
            (&mut self.cookie, &mut self.path)
        } else {
            (&mut first, &mut self.lines)
        };
        self.tree
            .readdir(dir, *cookie, Detail::Names, &mut |entry| {
                *cookie = entry.cookie;
                let fits = if begin.is_empty() {
                    is_image(entry.name)
                } else {
                    entry.name.starts_with(begin) && is_plain(entry.name)
                };
                if !fits {
                    return ControlFlow::Continue(());
                }
                out.put(entry.name);
                ControlFlow::Break(())
            })
    }
}

/// Whether a path means nothing but itself in a script, in a URI, and as one of several options of a kernel.
#[inline(never)]
fn is_plain(path: &[u8]) -> bool {
    path.iter()
        .all(|byte| matches!(byte, b'+' | b'-'..=b'9' | b'@'..=b'Z' | b'_'..=b'z'))
}
