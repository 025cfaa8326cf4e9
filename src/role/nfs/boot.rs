//! `--isos`: prints, for each ISO image in a directory, the lines of an iPXE script that boot it over NFS.
//!
//! A layout is a directory of an image with a kernel (`vmlinu*`) and an initial RAM disk (`initrd*`), and the kernel's arguments
//! for an NFS root: Ubuntu's casper, Debian's live-boot, Fedora's anaconda, and debian-installer, which cannot use NFS.

use super::super::print;
use super::super::reasons::cannot_read;
use crate::config::EXPORT_PATH_BYTES_MAX;
use crate::event::Line;
use crate::mem;
use crate::mem::parts;
use crate::text::{Text, text};
use crate::vfs::walk::{self, without_slash};
use crate::vfs::{Detail, FsError, FsResult, Node, Tree, is_image};
use crate::wire::Writer;
use core::ops::ControlFlow;

/// Each text has a layout's directory, the byte 2, and the lines for it. In the lines, byte 1 stands for the path of the image,
/// 3 for the directory, 4 for the kernel's name, 5 for the RAM disk's name and 6 for the image's name. The last text is for an
/// image without a known layout.
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
/// Longest text of [`LAYOUTS`] (bytes).
const LAYOUT_BYTES: usize = 256;
/// Longest path of an image with the directory of a layout (bytes).
const PATH_BYTES: usize = EXPORT_PATH_BYTES_MAX + 256 + 32;
/// Buffer size (bytes) for the lines of an image: three paths, names of 255 bytes (three, and one escaped as four bytes for each),
/// and 512 bytes of constant text.
const LINES_BYTES: usize = 3 * PATH_BYTES + 7 * 255 + 512;

/// The scan of an exported directory for images.
#[repr(C)] // Most-used fields first, where short instructions reach them.
struct Boot<'a> {
    tree: &'a mut Tree,
    /// Path of the current image.
    path: Writer<'static>,
    /// Lines for the current image.
    lines: Writer<'static>,
    /// Index of the export.
    export: usize,
    /// Length (bytes) of the path before the image's name.
    dir_len: usize,
    /// READDIR position in the exported directory.
    cookie: u64,
}

/// Prints the iPXE lines for all images in the export with this index, whose directory is `dir_path`.
#[inline(never)]
pub(super) fn print_scripts(tree: &mut Tree, export: usize, dir_path: &[u8]) -> FsResult<()> {
    let mut boot = Boot {
        tree,
        path: Writer::new(mem::array::<PATH_BYTES>()),
        lines: Writer::new(mem::array::<LINES_BYTES>()),
        export,
        dir_len: 0,
        cookie: 0,
    };
    boot.path.put(without_slash(dir_path));
    boot.path.put(b"/");
    boot.dir_len = boot.path.position();
    loop {
        boot.path.truncate(boot.dir_len);
        let dir = boot.tree.root(export)?;
        if boot.scan(dir, b"")? {
            return Ok(());
        }
        if let Err(error) = boot.print_script() {
            cannot_read(boot.path.since(0), error);
        }
    }
}

impl Boot<'_> {
    /// Prints the lines for the current image, by the first layout whose directory, kernel and RAM disk exist.
    fn print_script(&mut self) -> FsResult<()> {
        let is_plain = is_plain(self.path.since(0));
        let mut number = if is_plain { 0 } else { LAYOUTS.len() - 1 };
        let mut text = [0; LAYOUT_BYTES];
        'layouts: while let Some(layout) = LAYOUTS.get(number) {
            let mut layout = parts(layout.decode(&mut text), 2);
            number += 1;
            let dir = layout.next().unwrap_or_default();
            let image_end = self.path.position();
            self.path.put(dir);
            let node = walk::find(self.tree, self.export, self.path.since(self.dir_len));
            self.path.truncate(image_end);
            let node = match node {
                Err(FsError::NoEntry | FsError::NotDirectory) => continue,
                node => node?,
            };
            self.lines.truncate(0);
            for byte in layout.rest.unwrap_or_default() {
                let mut name = Line::default();
                let prefix = match byte {
                    4 => b"vmlinu",
                    5 => b"initrd",
                    _ => {
                        self.lines.put(match byte {
                            1 => self.path.since(0),
                            3 => dir,
                            6 => name.escaped(self.path.since(self.dir_len)).bytes(),
                            _ => core::slice::from_ref(byte),
                        });
                        continue;
                    }
                };
                if self.scan(node, prefix)? {
                    continue 'layouts;
                }
            }
            print(self.lines.since(0));
            break;
        }
        Ok(())
    }

    /// With an empty `prefix`, appends the name of the directory's next image to `path`; else appends the first name that starts
    /// with `prefix` to `lines`. Returns true if no name matches.
    #[inline(never)]
    fn scan(&mut self, dir: Node, prefix: &[u8]) -> FsResult<bool> {
        let mut first = 0;
        let (cookie, out) = if prefix.is_empty() {
            (&mut self.cookie, &mut self.path)
        } else {
            (&mut first, &mut self.lines)
        };
        self.tree
            .readdir(dir, *cookie, Detail::Names, &mut |entry| {
                *cookie = entry.cookie;
                let fits = if prefix.is_empty() {
                    is_image(entry.name)
                } else {
                    entry.name.starts_with(prefix) && is_plain(entry.name)
                };
                if !fits {
                    return ControlFlow::Continue(());
                }
                out.put(entry.name);
                ControlFlow::Break(())
            })
    }
}

/// Returns true if a path needs no quoting: no byte is special in an iPXE script, in a URI or on a kernel command line.
#[inline(never)]
fn is_plain(path: &[u8]) -> bool {
    path.iter()
        .all(|byte| matches!(byte, b'+' | b'-'..=b'9' | b'@'..=b'Z' | b'_'..=b'z'))
}
