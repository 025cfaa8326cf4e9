//! `--isos`: prints an iPXE script that shows the ISO images in the directories as a menu, and boots one over NFS.
//!
//! A layout is a directory of an image with a kernel and an initial RAM disk, and the kernel's arguments for an NFS root: Ubuntu's
//! casper, Debian's live-boot, Fedora's anaconda, archiso, manjaro-tools, openSUSE's linuxrc, and debian-installer, which cannot
//! use NFS. Alpine and Proxmox VE cannot: their init scripts look for the image on a disk, or fetch it by HTTP.

use super::super::reasons::cannot_read;
use super::super::{DONE, complain, print};
use super::argument::Exports;
use crate::config::EXPORT_PATH_BYTES_MAX;
use crate::event::Line;
use crate::mem;
use crate::mem::parts;
use crate::text::{Text, text};
use crate::vfs::walk::{self, without_slash};
use crate::vfs::{Detail, FsError, FsResult, Node, Tree, is_image};
use crate::wire::Writer;
use core::ops::ControlFlow;

/// Each text has the directory of a layout, how the kernel's name starts, how the RAM disk's name starts, and the kernel's
/// arguments, separated by the byte 2.
static LAYOUTS: [Text; 9] = [
    text!(
        "/casper/\x02vmlinu\x02initrd\x02 boot=casper netboot=nfs nfsroot=${server}:\x01 ip=dhcp"
    ),
    text!("/live/\x02vmlinu\x02initrd\x02 boot=live netboot=nfs nfsroot=${server}:\x01"),
    text!("/images/pxeboot/\x02vmlinu\x02initrd\x02 inst.repo=nfs:${server}:\x01"),
    text!(
        "/arch/boot/x86_64/\x02vmlinu\x02initramfs\x02 archisobasedir=arch archiso_nfs_srv=${server}:\x01 ip=dhcp"
    ),
    text!(
        "/boot/\x02vmlinuz-x86_64\x02initramfs-x86_64\x02 misobasedir=manjaro miso_nfs_srv=${server}:\x01 ip=dhcp"
    ),
    text!("/boot/x86_64/loader/\x02linux\x02initrd\x02 install=nfs://${server}\x01"),
    text!("/install.amd/\x02vmlinu\x02initrd\x02"),
    text!("/install.386/\x02vmlinu\x02initrd\x02"),
    text!("/install.a64/\x02vmlinu\x02initrd\x02"),
];
/// Longest text of [`LAYOUTS`] (bytes).
const LAYOUT_BYTES: usize = 256;

/// The script before the images: the server is the host from which DHCP makes iPXE boot.
const BEFORE: Text = text!("#!ipxe\nisset ${ip} || dhcp\nset server ${next-server}\ngoto menu\n");
/// The commands for an image, before and after the kernel's arguments. In this text and those below, byte 1 stands for the path of the
/// image, 3 for the directory, 4 for the kernel's name, 5 for the RAM disk's name and 6 for the image's name.
const KERNEL: Text = text!(":\x06\nkernel nfs://${server}\x01\x03\x04 initrd=\x05");
const RAM_DISK: Text = text!("\ninitrd nfs://${server}\x01\x03\x05\nboot\n");
const LEFT_OUT: Text =
    text!("# \x06: left out: an unknown layout, or a path that iPXE may split\n");
/// The menu: it boots nothing if no key is pressed for 60 seconds.
const MENU: Text = text!(":menu\nmenu Boot from ${server}\n");
const ITEM: Text = text!("item \x06 \x06\n");
const AFTER: Text = text!("choose --timeout 60000 image || exit\ngoto ${image}\n");

/// Longest path of an image with the directory of a layout (bytes).
const PATH_BYTES: usize = EXPORT_PATH_BYTES_MAX + 256 + 32;
/// Buffer size (bytes) for the lines of an image: three paths, names of 255 bytes (three, and one escaped as four bytes for each),
/// and 512 bytes of constant text.
const LINES_BYTES: usize = 3 * PATH_BYTES + 7 * 255 + 512;

/// The scan of exported directories for images.
#[repr(C)] // Most-used fields first, where short instructions reach them.
struct Script<'a> {
    tree: &'a mut Tree,
    /// Path of the current image.
    path: Writer<'static>,
    /// Names of the current image's kernel and RAM disk.
    kernel: Writer<'static>,
    ram_disk: Writer<'static>,
    /// Lines for the current image.
    lines: Writer<'static>,
    /// Index of the export.
    export: usize,
    /// Length (bytes) of the path before the image's name.
    dir_len: usize,
    /// READDIR position in the exported directory.
    cookie: u64,
    /// True while the menu is written, after the commands of all images.
    is_menu: bool,
}

/// Prints the iPXE script for the images in the directories of `--isos`, if there are any.
#[inline(never)]
pub(super) fn print_script(tree: &mut Tree, exports: &Exports) {
    if !exports.iter().any(|wanted| wanted.boots) {
        return;
    }
    let mut script = Script {
        tree,
        path: Writer::new(mem::array::<PATH_BYTES>()),
        kernel: Writer::new(mem::array::<256>()),
        ram_disk: Writer::new(mem::array::<256>()),
        lines: Writer::new(mem::array::<LINES_BYTES>()),
        export: 0,
        dir_len: 0,
        cookie: 0,
        is_menu: false,
    };
    script.print(BEFORE);
    loop {
        for wanted in exports.iter().filter(|wanted| wanted.boots) {
            let mut all = script.tree.exports().iter();
            let dir = wanted.path.to_bytes();
            if let Some(number) = all.position(|export| export.path == wanted.path)
                && let Err(error) = script.print_images(number, dir)
            {
                cannot_read(dir, error);
            }
        }
        if script.is_menu {
            script.print(AFTER);
            return;
        }
        script.is_menu = true;
        script.print(MENU);
    }
}

impl Script<'_> {
    /// Prints the lines for all images in an export.
    fn print_images(&mut self, export: usize, dir_path: &[u8]) -> FsResult<()> {
        self.export = export;
        self.cookie = 0;
        self.path.truncate(0);
        self.path.put(without_slash(dir_path));
        self.path.put(b"/");
        self.dir_len = self.path.position();
        for number in 0u32.. {
            self.path.truncate(self.dir_len);
            let dir = self.tree.root(self.export)?;
            if find_name(self.tree, (dir, &mut self.cookie), b"", &mut self.path)? {
                if number == 0 && self.is_menu {
                    complain(DONE, text!("no *.iso in"), dir_path, Text::NOTHING);
                }
                break;
            }
            if let Err(error) = self.print_image()
                && !self.is_menu
            {
                cannot_read(self.path.since(0), error);
            }
        }
        Ok(())
    }

    /// Prints the lines for the current image, by the first layout whose directory, kernel and RAM disk exist.
    fn print_image(&mut self) -> FsResult<()> {
        let is_plain = is_plain(self.path.since(0));
        let mut text = [0; LAYOUT_BYTES];
        for layout in LAYOUTS.iter().filter(|_| is_plain) {
            let mut parts = parts(layout.decode(&mut text), 2);
            let [dir, kernel, ram_disk, arguments] =
                [(); 4].map(|()| parts.next().unwrap_or_default());
            let image_end = self.path.position();
            self.path.put(dir);
            let node = walk::find(self.tree, self.export, self.path.since(self.dir_len));
            self.path.truncate(image_end);
            let node = match node {
                Err(FsError::NoEntry | FsError::NotDirectory) => continue,
                node => node?,
            };
            self.kernel.truncate(0);
            self.ram_disk.truncate(0);
            let tree = &mut *self.tree;
            if find_name(tree, (node, &mut 0), kernel, &mut self.kernel)?
                || find_name(tree, (node, &mut 0), ram_disk, &mut self.ram_disk)?
            {
                continue;
            }
            if self.is_menu {
                self.print(ITEM);
            } else {
                self.write(KERNEL, dir);
                self.expand(arguments, dir);
                self.write(RAM_DISK, dir);
                self.print(Text::NOTHING);
            }
            return Ok(());
        }
        if !self.is_menu {
            self.print(LEFT_OUT);
        }
        Ok(())
    }

    /// Prints the lines that were written, and `text`.
    fn print(&mut self, text: Text) {
        self.write(text, b"");
        print(self.lines.since(0));
        self.lines.truncate(0);
    }

    fn write(&mut self, text: Text, dir: &[u8]) {
        self.expand(text.decode(&mut [0; LAYOUT_BYTES]), dir);
    }

    /// Appends `text` to the lines, with paths and names in place of the bytes that stand for them.
    #[inline(never)]
    fn expand(&mut self, text: &[u8], dir: &[u8]) {
        for byte in text {
            let mut name = Line::default();
            self.lines.put(match byte {
                1 => self.path.since(0),
                3 => dir,
                4 => self.kernel.since(0),
                5 => self.ram_disk.since(0),
                6 => name.escaped(self.path.since(self.dir_len)).bytes(),
                _ => core::slice::from_ref(byte),
            });
        }
    }
}

/// Appends to `out` the first name in the directory after `cookie` that starts with `prefix`; without a prefix, that of the next
/// image. Returns true if no name matches.
#[inline(never)]
fn find_name(
    tree: &mut Tree,
    (dir, cookie): (Node, &mut u64),
    prefix: &[u8],
    out: &mut Writer<'_>,
) -> FsResult<bool> {
    tree.readdir(dir, *cookie, Detail::Names, &mut |entry| {
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

/// Returns true if a path needs no quoting: no byte is special in an iPXE script, in a URI or on a kernel command line.
#[inline(never)]
fn is_plain(path: &[u8]) -> bool {
    path.iter()
        .all(|byte| matches!(byte, b'+' | b'-'..=b'9' | b'@'..=b'Z' | b'_'..=b'z'))
}
