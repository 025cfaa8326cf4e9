//! `--isos`: prints an iPXE script that shows the ISO images in the directories as a menu, and boots one over NFS.
//!
//! An image is recognised by its kernel and initial RAM disk ([`LAYOUTS`]). Alpine and Proxmox VE cannot use an NFS root: their init
//! scripts look for the image on a disk, or fetch it by HTTP.

use super::ExportArgument;
use crate::config::EXPORT_PATH_BYTES_MAX;
use crate::console::reasons::cannot_read;
use crate::console::{DONE, complain, print};
use crate::event::Line;
use crate::mem::Slots;
use crate::mem::{self, Ends as _};
use crate::text::{Text, text};
use crate::vfs::walk::{self, without_slash};
use crate::vfs::{Detail, FsError, FsResult, Node, ObjectType, Tree, is_image};
use crate::wire::Writer;
use core::ops::ControlFlow;

/// A kind of image that boots over NFS.
struct Layout {
    /// Path of the directory with kernel and RAM disk. A `*` at the end of a name stands for any rest of the name.
    dir: &'static str,
    /// Start of the kernel's name.
    kernel: &'static str,
    /// Start of the RAM disk's name.
    ram_disk: &'static str,
    /// The kernel's arguments. `{iso}` stands for the path of the image, `{dir}` for that of the directory in it.
    arguments: &'static str,
    /// True if the arguments name an installation tree, which live images of the same layout lack.
    installs: bool,
}

static LAYOUTS: [Layout; 11] = [
    // casper(7)
    Layout {
        dir: "/casper",
        kernel: "vmlinu",
        ram_disk: "initrd",
        arguments: "boot=casper netboot=nfs nfsroot=${server}:{iso} ip=dhcp",
        installs: false,
    },
    // Pop!_OS: its boot menu passes live-media-path, because the directory's name has the release.
    Layout {
        dir: "/casper_*",
        kernel: "vmlinu",
        ram_disk: "initrd",
        arguments: "boot=casper netboot=nfs nfsroot=${server}:{iso} live-media-path={dir} ip=dhcp",
        installs: false,
    },
    // live-boot(7)
    Layout {
        dir: "/live",
        kernel: "vmlinu",
        ram_disk: "initrd",
        arguments: "boot=live netboot=nfs nfsroot=${server}:{iso}",
        installs: false,
    },
    // Anaconda: Fedora, RHEL and its rebuilds, "Anaconda boot options"
    Layout {
        dir: "/images/pxeboot",
        kernel: "vmlinu",
        ram_disk: "initrd",
        arguments: "inst.repo=nfs:${server}:{iso}",
        installs: true,
    },
    // archiso, docs/README.bootparams of mkinitcpio-archiso
    Layout {
        dir: "/arch/boot/x86_64",
        kernel: "vmlinu",
        ram_disk: "initramfs",
        arguments: "archisobasedir=arch archiso_nfs_srv=${server}:{iso} ip=dhcp",
        installs: false,
    },
    // SystemRescue, an archiso with another base directory: "Booting SystemRescue from the network"
    Layout {
        dir: "/sysresccd/boot/x86_64",
        kernel: "vmlinu",
        ram_disk: "sysresccd",
        arguments: "archisobasedir=sysresccd archiso_nfs_srv=${server}:{iso} ip=dhcp",
        installs: false,
    },
    // manjaro-tools, initcpio/hooks/miso_pxe_nfs
    Layout {
        dir: "/boot",
        kernel: "vmlinuz-x86_64",
        ram_disk: "initramfs-x86_64",
        arguments: "misobasedir=manjaro miso_nfs_srv=${server}:{iso} ip=dhcp",
        installs: false,
    },
    // openSUSE and SLES, linuxrc: "SDB:Linuxrc", parameter install
    Layout {
        dir: "/boot/x86_64/loader",
        kernel: "linux",
        ram_disk: "initrd",
        arguments: "install=nfs://${server}{iso}",
        installs: true,
    },
    // debian-installer takes packages from a mirror, and nothing from the image.
    Layout {
        dir: "/install.amd",
        kernel: "vmlinu",
        ram_disk: "initrd",
        arguments: "",
        installs: false,
    },
    Layout {
        dir: "/install.386",
        kernel: "vmlinu",
        ram_disk: "initrd",
        arguments: "",
        installs: false,
    },
    Layout {
        dir: "/install.a64",
        kernel: "vmlinu",
        ram_disk: "initrd",
        arguments: "",
        installs: false,
    },
];
/// The root of a live system that dracut cannot mount over NFS.
const LIVE: &str = "/LiveOS/squashfs.img";
/// The root of Windows' setup.
const WINDOWS: &str = "/sources/boot.wim";
/// Files of an installation tree.
const TREES: [&str; 3] = ["/images/install.img", "/.treeinfo", "/boot/x86_64/root"];

/// The script before the images: the server is the host from which DHCP makes iPXE boot.
const BEFORE: &str = "#!ipxe\nisset ${ip} || dhcp\nset server ${next-server}\ngoto menu\n";
/// The commands for an image, before and after the kernel's arguments.
const KERNEL: &str = ":{name}\nkernel nfs://${server}{iso}{dir}/{kernel} initrd={initrd}";
const RAM_DISK: &str = "\ninitrd nfs://${server}{iso}{dir}/{initrd}\nboot\n";
/// The menu: it boots nothing if no key is pressed for 60 seconds.
const MENU: &str = ":menu\nmenu Boot from ${server}\n";
const ITEM: &str = "item {name} {name}\n";
const AFTER: &str = "choose --timeout 60000 image || exit\ngoto ${image}\n";

/// Longest path of an image with the directory of a layout and a name in it (bytes).
const PATH_BYTES: usize = EXPORT_PATH_BYTES_MAX + 3 * 256;
/// Buffer size (bytes) for the lines of an image: three paths, names of 255 bytes (three, and one escaped as four bytes for each),
/// and 512 bytes of constant text.
const LINES_BYTES: usize = 3 * PATH_BYTES + 7 * 255 + 512;

/// The scan of exported directories for images.
struct Script<'a> {
    tree: &'a mut Tree,
    /// Path of the current image.
    path: Writer<'static>,
    /// Path of the layout's directory in the image.
    dir: Writer<'static>,
    /// Names of the current image's kernel and RAM disk.
    kernel: Writer<'static>,
    ram_disk: Writer<'static>,
    /// Lines for the current image.
    lines: Writer<'static>,
    /// Index of the export.
    export: usize,
    /// Length (bytes) of the path before the image's name.
    dir_len: usize,
    /// True while the menu is written, after the commands of all images.
    is_menu: bool,
}

/// Prints the iPXE script for the images in the directories of `--isos`, if there are any.
#[inline(never)] // −116 bytes: one caller, whose frame stays small.
pub fn print_script(tree: &mut Tree, exports: &Slots<ExportArgument>) {
    if !exports.iter().any(|wanted| wanted.boots) {
        return;
    }
    let mut script = Script {
        tree,
        path: Writer::new(mem::array::<PATH_BYTES>()),
        dir: Writer::new(mem::array::<512>()),
        kernel: Writer::new(mem::array::<256>()),
        ram_disk: Writer::new(mem::array::<256>()),
        lines: Writer::new(mem::array::<LINES_BYTES>()),
        export: 0,
        dir_len: 0,
        is_menu: false,
    };
    script.print(BEFORE);
    loop {
        for wanted in exports.iter().filter(|wanted| wanted.boots) {
            let dir = wanted.path.to_bytes();
            if let Some(number) = script.tree.number_of(dir)
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
    /// Prints the lines for all images in an export, sorted by name.
    fn print_images(&mut self, export: usize, dir_path: &[u8]) -> FsResult<()> {
        self.export = export;
        self.path.truncate(0);
        self.path.put(without_slash(dir_path));
        self.path.put(b"/");
        self.dir_len = self.path.position();
        let mut last = heapless::Vec::<u8, 255>::new();
        loop {
            self.path.truncate(self.dir_len);
            let dir = self.tree.root(self.export)?;
            let is_next = |name: &[u8]| is_image(name) && name > &last[..];
            if !find_first(self.tree, dir, &is_next, &mut self.path)? {
                if last.is_empty() && self.is_menu {
                    complain(DONE, text!("no *.iso in"), dir_path, Text::NOTHING);
                }
                return Ok(());
            }
            last.clear();
            let _ = last.extend_from_slice(self.path.since(self.dir_len));
            let left_out = match self.print_image() {
                Ok(left_out) => left_out,
                Err(error) => {
                    if !self.is_menu {
                        cannot_read(self.path.since(0), error);
                    }
                    continue;
                }
            };
            if let Some(why) = left_out
                && !self.is_menu
            {
                let what = text!("not in the boot menu:");
                complain(DONE, what, self.path.since(0), why);
            }
        }
    }

    /// Prints the lines for the current image, by the first layout whose directory, kernel and RAM disk exist. Returns the reason if
    /// the image cannot be booted.
    fn print_image(&mut self) -> FsResult<Option<Text>> {
        if !is_plain(self.path.since(0)) {
            return Ok(Some(text!(
                "iPXE would split its path; use letters, digits and - . _ only"
            )));
        }
        let Some(top) = self.find("")? else {
            return Ok(Some(text!("a link to a file that does not exist")));
        };
        if self.tree.attr(top)?.kind != ObjectType::Directory {
            return Ok(Some(text!("not a regular file")));
        }
        let [bytes, whole] = self.tree.image_sizes().unwrap_or_default();
        if top.is_inside() && bytes < whole {
            if !self.is_menu {
                let mut line = Line::default();
                line.raw(self.path.since(0)).say_number(text!(" ("), bytes);
                line.say_number(text!(" of "), whole).say(text!(" bytes)"));
                let what = text!("not in the boot menu:");
                complain(
                    DONE,
                    what,
                    line.bytes(),
                    text!("the image is cut; copy it again"),
                );
            }
            return Ok(None);
        }
        for layout in &LAYOUTS {
            if !self.find_files(layout)? {
                continue;
            }
            if layout.installs && self.has(LIVE)? && !self.has_any(&TREES)? {
                return Ok(Some(text!("this live system cannot boot over NFS")));
            }
            if self.is_menu {
                self.print(ITEM);
            } else {
                self.expand(KERNEL);
                if !layout.arguments.is_empty() {
                    self.lines.put(b" ");
                    self.expand(layout.arguments);
                }
                self.print(RAM_DISK);
            }
            return Ok(None);
        }
        if self.has(WINDOWS)? {
            return Ok(Some(text!("Windows cannot boot over NFS")));
        }
        Ok(Some(text!(
            "no kernel and RAM disk where a known system has them"
        )))
    }

    /// Finds kernel and RAM disk of a layout. Of several kernels it takes the first by name, and the RAM disk whose name goes on as
    /// the kernel's does, else the first. Returns false if one of them is missing.
    fn find_files(&mut self, layout: &Layout) -> FsResult<bool> {
        self.dir.truncate(0);
        self.kernel.truncate(0);
        self.ram_disk.truncate(0);
        if let Some(start) = layout.dir.strip_suffix('*') {
            let Some(top) = self.find("")? else {
                return Ok(false);
            };
            self.dir.put(b"/");
            let start = start.as_bytes().tail(1);
            let fits = |name: &[u8]| name.starts_with(start) && is_plain(name);
            if !find_first(self.tree, top, &fits, &mut self.dir)? {
                return Ok(false);
            }
        } else {
            self.dir.put(layout.dir.as_bytes());
        }
        let Some(dir) = self.find_dir()? else {
            return Ok(false);
        };
        let kernel = layout.kernel.as_bytes();
        let fits = |name: &[u8]| name.starts_with(kernel) && is_plain(name);
        if !find_first(self.tree, dir, &fits, &mut self.kernel)? {
            return Ok(false);
        }
        // "vmlinu" is followed by z or x.
        let rest = self.kernel.since(0).tail(kernel.len());
        let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic());
        let version = rest.tail(letters.count());
        let start = layout.ram_disk.as_bytes();
        let fits = |name: &[u8]| name.starts_with(start) && is_plain(name);
        let is_own = |name: &[u8]| fits(name) && has_version(name.tail(start.len()), version);
        Ok(find_first(self.tree, dir, &is_own, &mut self.ram_disk)?
            || find_first(self.tree, dir, &fits, &mut self.ram_disk)?)
    }

    /// Resolves a path in the current image. `None`: does not exist.
    fn find(&mut self, below: &str) -> FsResult<Option<Node>> {
        let image_end = self.path.position();
        self.path.put(below.as_bytes());
        let node = walk::find(self.tree, self.export, self.path.since(self.dir_len));
        self.path.truncate(image_end);
        match node {
            Err(FsError::NoEntry | FsError::NotDirectory) => Ok(None),
            node => node.map(Some),
        }
    }

    /// Resolves the directory of the layout.
    fn find_dir(&mut self) -> FsResult<Option<Node>> {
        let image_end = self.path.position();
        self.path.put(self.dir.since(0));
        let node = self.find("");
        self.path.truncate(image_end);
        node
    }

    fn has(&mut self, below: &str) -> FsResult<bool> {
        Ok(self.find(below)?.is_some())
    }

    fn has_any(&mut self, all: &[&str]) -> FsResult<bool> {
        for below in all {
            if self.has(below)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Prints the lines that were written, and `text`.
    fn print(&mut self, text: &str) {
        self.expand(text);
        print(self.lines.since(0));
        self.lines.truncate(0);
    }

    /// Appends `text` to the lines, with paths and names in place of the words in braces that stand for them.
    fn expand(&mut self, text: &str) {
        let mut name = Line::default();
        name.escaped(self.path.since(self.dir_len));
        let values = [
            ("{iso}", self.path.since(0)),
            ("{dir}", self.dir.since(0)),
            ("{kernel}", self.kernel.since(0)),
            ("{initrd}", self.ram_disk.since(0)),
            ("{name}", name.bytes()),
        ];
        let mut rest = text.as_bytes();
        while let Some(byte) = rest.first() {
            let mut all = values.iter();
            let (len, value) = match all.find(|(word, _)| rest.starts_with(word.as_bytes())) {
                Some((word, value)) => (word.len(), *value),
                None => (1, core::slice::from_ref(byte)),
            };
            self.lines.put(value);
            rest = rest.tail(len);
        }
    }
}

/// Appends to `out` the first name by byte order in the directory for which `fits` is true. Returns false if there is none.
fn find_first(
    tree: &mut Tree,
    dir: Node,
    fits: &dyn Fn(&[u8]) -> bool,
    out: &mut Writer<'_>,
) -> FsResult<bool> {
    let start = out.position();
    tree.readdir(dir, 0, Detail::Names, &mut |entry| {
        let best = out.since(start);
        if fits(entry.name) && (best.is_empty() || entry.name < best) {
            out.truncate(start);
            out.put(entry.name);
        }
        ControlFlow::Continue(())
    })?;
    Ok(out.position() > start)
}

/// Returns true if a RAM disk belongs to the kernel of this version: `rest`, its name after the start, has the version and besides
/// only extensions, as in `-lts.img` or `.img-6.1.0`.
fn has_version(rest: &[u8], version: &[u8]) -> bool {
    let is_extension = |part: &[u8]| matches!(part, [] | [b'.', ..]);
    rest.strip_prefix(version).is_some_and(is_extension)
        || rest.strip_suffix(version).is_some_and(is_extension)
}

/// Returns true if a path needs no quoting: no byte is special in an iPXE script, in a URI or on a kernel command line.
fn is_plain(path: &[u8]) -> bool {
    path.iter()
        .all(|byte| matches!(byte, b'+' | b'-'..=b'9' | b'@'..=b'Z' | b'_'..=b'z'))
}
