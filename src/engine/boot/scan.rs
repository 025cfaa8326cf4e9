//! The images in an export and the folders in it, and the ways to boot them.
//!
//! An image is recognised by its kernel and initial RAM disk (`layouts`). Others may still boot as a drive: iPXE reads it by HTTP
//! until the system that is started looks for its own files.

use super::entries::{Append, Own, UNKNOWN, is_plain};
use super::layouts::{Copied, LAYOUT, LAYOUTS, Layout, passes_image};
use crate::config::EXPORT_PATH_BYTES_MAX;
use crate::event::Line;
use crate::mem::{self, Ends as _};
use crate::text::{Text, text};
use crate::vfs::walk::{find_for, last, without_slash};
use crate::vfs::{Access, Detail, FsError, FsResult, Name, Node, ObjectType, Peer, Tree, is_image};
use crate::wire::Writer;
use core::ops::ControlFlow;

/// The root of a live system that dracut cannot mount over NFS.
const LIVE: Text = text!("/LiveOS/squashfs.img");
/// Its arguments.
const LIVE_ARGUMENTS: Text =
    text!("root=live:${http}{url}/LiveOS/squashfs.img rd.live.image ip=dhcp");
/// The root of Windows' setup.
const WINDOWS: Text = text!("/sources/boot.wim");
/// Files of an installation tree.
const TREES: [Text; 3] = [
    text!("/images/install.img"),
    text!("/.treeinfo"),
    text!("/boot/x86_64/root"),
];
/// The first stage of Secure Boot, which vouches for the image's own kernel.
const SHIM: Text = text!("/EFI/BOOT/BOOTX64.EFI");
/// The name of the release, in images of Debian and Ubuntu.
const INFO: Text = text!("/.disk/info");

const ITEM: Text = text!("item {number} {title}");
const KERNEL: Text = text!(":{number}\nkernel ${http}{url}{dir}/{kernel} initrd={name}");
const RAM_DISK: Text =
    text!(" ${more} || goto failed\ninitrd ${http}{url}{dir}/{initrd} || goto failed\n");
const SHIM_LINE: Text =
    text!("iseq ${platform} efi && shim ${http}{url}/EFI/BOOT/BOOTX64.EFI ||\n");
const WHOLE: Text = text!("initrd ${http}{url} /proxmox.iso || goto failed\n");
const BOOT: Text = text!("boot || goto failed\n");
const DRIVE: Text = text!(":{number}\nsanboot --no-describe --keep ${http}{url} || goto failed\n");

/// Longest text of these (bytes).
const TEXT_BYTES: usize = 160;
/// Longest path of an image with the directory of a layout and a name in it (bytes).
const PATH_BYTES: usize = EXPORT_PATH_BYTES_MAX + 3 * 256;
/// Longest title of an image (bytes).
const TITLE_BYTES: usize = 96;
/// Depth of folders in which images are found.
const DEPTH_MAX: u32 = 4;
/// Images that are looked at, at most.
const IMAGE_COUNT_MAX: u32 = 500;
/// Size of a RAM disk as it is loaded and as the kernel unpacks it, in relation to its length.
const UNPACKED: u64 = 4;
/// Half a GB.
const UNIT_BYTES: u64 = 512 << 20;

/// The way to boot an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The kernel mounts the image over NFS.
    Nfs,
    /// The kernel needs nothing more, or fetches files by HTTP.
    Http,
    /// The kernel and the RAM disk are those of the image's own menu. No layout has arguments for its root.
    Own,
    /// The kernel copies the image into memory.
    Whole,
    /// The firmware sees a drive.
    Drive,
    /// The image boots in no way.
    No,
}

impl Way {
    /// The way in words.
    pub const fn text(self) -> Text {
        match self {
            Self::Nfs => text!("kernel over NFS"),
            Self::Http => text!("kernel over HTTP"),
            Self::Own => text!("kernel of its own menu, may look for a disc"),
            Self::Whole => text!("whole image in memory"),
            Self::Drive => text!("as a drive, for small tools"),
            Self::No => text!("not over the network"),
        }
    }
}

/// The wishes of the administrator.
#[derive(Clone, Copy, Default)]
pub struct Wishes {
    /// Name of the image that is booted after a while; empty: none is.
    pub default: &'static [u8],
    /// The last of more words for kernels.
    pub append: Option<&'static Append>,
}

/// The receiver of each way to boot an image: its path, the way, the memory that it needs (half GB; 0: unknown), and the reason why
/// it boots in no way.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8], Way, u32, Text);

/// The output of a scan.
pub(super) struct Out<'a> {
    items: Writer<'a>,
    commands: Writer<'a>,
    each: Each<'a>,
}

impl<'a> Out<'a> {
    pub(super) fn new(items: &'a mut [u8], commands: &'a mut [u8], each: Each<'a>) -> Self {
        Self {
            items: Writer::new(items),
            commands: Writer::new(commands),
            each,
        }
    }

    /// Lengths of the items and the commands (bytes).
    pub(super) const fn lens(&self) -> [usize; 2] {
        [self.items.position(), self.commands.position()]
    }
}

/// The image that is looked at.
pub(super) struct Scan {
    /// Path of the image.
    path: Writer<'static>,
    /// Path of the layout's directory in the image.
    dir: Writer<'static>,
    /// Names of the image's kernel and RAM disk.
    kernel: Writer<'static>,
    ram_disk: Writer<'static>,
    /// The kernel's name after its start.
    flavor: Writer<'static>,
    title: Writer<'static>,
    /// The entry of the image's own menu.
    own: Own,
    peer: Peer,
    /// The export, and the length (bytes) of its path with a "/".
    export: usize,
    top_len: usize,
    /// Number of the next entry, and of the images left.
    number: u32,
    image_count: u32,
    /// True if NFS is served, too.
    pub(super) has_nfs: bool,
    /// True if the export is the path `/` of HTTP.
    pub(super) is_root: bool,
    /// The image that is booted after a while, and the number of its first entry; 0: none.
    default: &'static [u8],
    pub(super) chosen: u32,
    /// More words for kernels.
    append: Option<&'static Append>,
}

impl Scan {
    pub(super) fn new(wishes: Wishes, has_nfs: bool) -> Self {
        Self {
            path: Writer::new(mem::array::<PATH_BYTES>()),
            dir: Writer::new(mem::array::<512>()),
            kernel: Writer::new(mem::array::<256>()),
            ram_disk: Writer::new(mem::array::<256>()),
            flavor: Writer::new(mem::array::<256>()),
            title: Writer::new(mem::array::<TITLE_BYTES>()),
            own: Own::new(),
            peer: Peer::NONE,
            export: 0,
            top_len: 0,
            number: 1,
            image_count: 0,
            has_nfs,
            is_root: false,
            default: wishes.default,
            append: wishes.append,
            chosen: 0,
        }
    }

    /// Begins a menu of the images that a peer may read.
    pub(super) const fn begin(&mut self, peer: Peer) {
        self.peer = peer;
        (self.number, self.chosen, self.image_count) = (1, 0, IMAGE_COUNT_MAX);
    }

    /// Adds the images in an export.
    pub(super) fn add_export(&mut self, tree: &mut Tree, number: usize, out: &mut Out<'_>) {
        self.export = number;
        self.path.truncate(0);
        self.path.put(without_slash(tree.path(number).to_bytes()));
        self.top_len = self.path.position() + 1;
        if tree
            .exports()
            .get(number)
            .is_some_and(|export| export.is_image())
        {
            self.add_any_image(tree, out);
            return;
        }
        self.path.put(b"/");
        // A directory that cannot be read has no images.
        let _ = self.add_folder(tree, out, DEPTH_MAX);
    }

    /// Adds the images in the folder `self.path`, which ends with a "/", and in folders in it, sorted by name.
    fn add_folder(&mut self, tree: &mut Tree, out: &mut Out<'_>, depth: u32) -> FsResult<()> {
        let start = self.path.position();
        let mut last_name = heapless::Vec::<u8, 255>::new();
        loop {
            let Some(dir) = self.find(tree, Text::NOTHING)? else {
                return Ok(());
            };
            let mut is_folder = false;
            let fits = |name: &[u8], kind| {
                let is_folder = kind == Some(ObjectType::Directory) && !name.starts_with(b".");
                (is_image(name) || is_folder && depth > 0) && name > &last_name[..]
            };
            let found = find_first(tree, dir, &fits, &mut self.path, &mut is_folder)?;
            let Some(left) = self.image_count.checked_sub(1).filter(|_| found) else {
                return Ok(());
            };
            last_name.clear();
            let _ = last_name.extend_from_slice(self.path.since(start));
            if is_folder {
                self.path.put(b"/");
                // As for an export.
                let _ = self.add_folder(tree, out, depth - 1);
            } else {
                self.image_count = left;
                self.add_any_image(tree, out);
            }
            self.path.truncate(start);
        }
    }

    /// Adds an entry for each way to boot the image, or reports why there is none.
    fn add_any_image(&mut self, tree: &mut Tree, out: &mut Out<'_>) {
        if let Err(why) = self.add_image(tree, out) {
            (out.each)(self.path.since(0), Way::No, 0, why);
        }
    }

    /// Adds an entry for each way to boot the image. The error is the reason why there is none.
    fn add_image(&mut self, tree: &mut Tree, out: &mut Out<'_>) -> Result<(), Text> {
        if !is_plain(self.path.since(0)) {
            return Err(text!(
                "iPXE would split its path; use letters, digits and - . _ only"
            ));
        }
        let unreadable = |_| text!("it cannot be read");
        let Ok(Some(top)) = self.find(tree, text!("/")) else {
            return Err(text!("it has no file system that is known"));
        };
        let [bytes, whole] = tree.image_sizes().unwrap_or_default();
        if !top.is_inside() || bytes < whole {
            return Err(text!("the image is cut; copy it again"));
        }
        self.find_title(tree);
        let first = self.number;
        let added = self.add_layouts(tree, out, bytes).map_err(unreadable)?;
        if !added {
            if self.has(tree, &[WINDOWS]) {
                return Err(text!("Windows cannot boot from this menu"));
            }
            if self.is_export() {
                return Err(text!(
                    "its kernel is not known, and disks cannot be fetched"
                ));
            }
            self.add_entry(out, Way::Drive, 0, &mut |scan, out| scan.expand(out, DRIVE));
        }
        let name = last(self.path.since(0));
        if self.chosen == 0 && name == self.default && first < self.number {
            self.chosen = first;
        }
        Ok(())
    }

    /// Adds the entries of the first layout whose directory, kernel and RAM disk exist. Returns false if there is none. `bytes` is the
    /// image's length.
    fn add_layouts(&mut self, tree: &mut Tree, out: &mut Out<'_>, bytes: u64) -> FsResult<bool> {
        self.find_own(tree);
        for (number, layout) in LAYOUTS.iter().enumerate() {
            if number == self.own.layout {
                self.take_own(layout);
            } else if self.find_files(tree, layout)? {
                // The words are those of another kernel.
                self.own.words.truncate(0);
            } else {
                continue;
            }
            let is_live = layout.installs && self.has(tree, &[LIVE]) && !self.has(tree, &TREES);
            let has_shim = self.has(tree, &[SHIM]);
            let first = self.number;
            let loaded = UNPACKED * self.loaded_bytes(tree)?;
            let few = (loaded / UNIT_BYTES) as u32;
            if self.has_nfs && layout.nfs != Text::NOTHING && !is_live {
                self.add_kernel(out, layout, (Way::Nfs, layout.nfs, 2 + few), has_shim);
            }
            if layout.copied == Copied::Image && self.is_export() {
                return Ok(self.number > first);
            }
            let base = u32::from(layout.memory);
            let units = |bytes: u64| ((bytes + loaded) / UNIT_BYTES + 1) as u32 + base;
            let (way, memory) = match layout.copied {
                _ if is_live => (Way::Http, units(bytes)),
                Copied::Files => (Way::Http, base + few),
                Copied::Root => (Way::Http, units(bytes)),
                Copied::Image => (Way::Whole, units(2 * bytes)),
            };
            let arguments = if is_live { LIVE_ARGUMENTS } else { layout.http };
            self.add_kernel(out, layout, (way, arguments, memory), has_shim);
            return Ok(true);
        }
        if self.own.layout == UNKNOWN {
            self.take_own(&LAYOUT);
            let none = (Way::Own, LAYOUT.http, 0);
            self.add_kernel(out, &LAYOUT, none, false);
        }
        Ok(false)
    }

    /// Returns true if the image is an export, whose files are served, but not the image itself.
    const fn is_export(&self) -> bool {
        self.path.position() < self.top_len
    }

    /// Length of the kernel and the RAM disk (bytes).
    fn loaded_bytes(&mut self, tree: &mut Tree) -> FsResult<u64> {
        let mut bytes = 0;
        if let Some(dir) = self.find_dir(tree)? {
            for name in [&self.kernel, &self.ram_disk] {
                let node = tree.lookup(dir, Name::new(name.since(0))?)?;
                bytes += tree.attr(node)?.size;
            }
        }
        Ok(bytes)
    }

    /// Finds the entry of the image's own menu.
    fn find_own(&mut self, tree: &mut Tree) {
        let (path, top_len) = (&mut self.path, self.top_len);
        let (export, peer) = (self.export, &self.peer);
        self.own.find(&mut |below, out| {
            let end = path.position();
            path.put(below);
            let len = read(tree, (export, peer), path.since(top_len), 0, out);
            path.truncate(end);
            len.ok()
        });
    }

    /// Chooses the kernel and RAM disk of the image's own menu. A kernel of no layout has its whole path as its name.
    fn take_own(&mut self, layout: &Layout) {
        let kernel = self.own.kernel.since(0);
        let dir_len = match layout.dir == Text::NOTHING {
            true => 0,
            false => kernel.len() - last(kernel).len() - 1,
        };
        let name = kernel.tail(dir_len + 1);
        let start = &mut [0; 32];
        let start = &*layout.kernel.decode(start);
        let flavor = name.strip_prefix(start).unwrap_or_default();
        for (out, value) in [
            (&mut self.dir, kernel.head(dir_len)),
            (&mut self.kernel, name),
            (&mut self.ram_disk, self.own.ram_disk.since(dir_len + 1)),
            (&mut self.flavor, flavor),
        ] {
            out.truncate(0);
            out.put(value);
        }
    }

    /// Adds an entry that starts a kernel.
    fn add_kernel(
        &mut self,
        out: &mut Out<'_>,
        layout: &Layout,
        (way, arguments, memory): (Way, Text, u32),
        has_shim: bool,
    ) {
        self.add_entry(out, way, memory, &mut |scan, out| {
            scan.expand(out, KERNEL);
            scan.own
                .put_words(arguments.decode(&mut [0; TEXT_BYTES]), out);
            if arguments != text!("-") {
                out.put(b" ");
                scan.expand(out, arguments);
            }
            if let Some(append) = scan.append {
                append.put(scan.path.since(scan.top_len), out);
            }
            scan.expand(out, RAM_DISK);
            if passes_image(layout) {
                scan.expand(out, WHOLE);
            }
            if has_shim {
                scan.expand(out, SHIM_LINE);
            }
            scan.expand(out, BOOT);
        });
    }

    /// Adds an entry, whose commands `write` writes, if there is space for all of it.
    fn add_entry(
        &mut self,
        out: &mut Out<'_>,
        way: Way,
        memory: u32,
        write: &mut dyn FnMut(&Self, &mut Writer<'_>),
    ) {
        let [items_len, commands_len] = out.lens();
        self.expand(&mut out.items, ITEM);
        let mut line = Line::default();
        line.text(": ").say(way.text());
        write_memory(&mut line, memory);
        out.items.put(line.byte(b'\n').bytes());
        write(self, &mut out.commands);
        if out.items.written().is_none() || out.commands.written().is_none() {
            out.items.truncate(items_len);
            out.commands.truncate(commands_len);
            let why = text!("the menu is full");
            (out.each)(self.path.since(0), Way::No, 0, why);
            return;
        }
        self.number += 1;
        (out.each)(self.path.since(0), way, memory, Text::NOTHING);
    }

    /// Sets the title: the name of the release or of the volume, or the path.
    fn find_title(&mut self, tree: &mut Tree) {
        let mut buffer = [0; TITLE_BYTES - 4];
        let mut len = self.read(tree, INFO, 0, &mut buffer).unwrap_or(0);
        if len == 0 {
            // The primary volume descriptor, and the name in it. ECMA-119 section 8.4.
            len = self
                .read(tree, Text::NOTHING, 0x8028, buffer.head_mut(32))
                .unwrap_or(0);
        }
        self.title.truncate(0);
        let text = buffer.head(len).split(|byte| *byte == b'\n').next();
        for byte in text.unwrap_or_default().trim_ascii() {
            let is_plain = matches!(byte, b' '..=b'~') && !b"${}\\\"".contains(byte);
            self.title.put(&[if is_plain { *byte } else { b' ' }]);
        }
        if self.title.position() == 0 {
            let path = self.path.since(self.top_len);
            let path = path.tail(path.len().saturating_sub(TITLE_BYTES));
            self.title.put(match self.is_export() {
                true => last(self.path.since(0)),
                false => path,
            });
        }
    }

    /// Reads the start of a file in the image; without a path, a part of the image itself.
    fn read(
        &mut self,
        tree: &mut Tree,
        below: Text,
        offset: u64,
        out: &mut [u8],
    ) -> FsResult<usize> {
        let end = self.path.position();
        self.path.put(below.decode(&mut [0; 64]));
        let path = self.path.since(self.top_len);
        let len = read(tree, (self.export, &self.peer), path, offset, out);
        self.path.truncate(end);
        len
    }

    /// The RAM disk's name, without directories.
    fn ram_disk_name(&self) -> &[u8] {
        let path = self.ram_disk.since(0);
        mem::parts(path, b'/').last().unwrap_or_default()
    }

    /// Finds kernel and RAM disk of a layout. Of several kernels it takes the first by name, and the RAM disk whose name goes on as
    /// the kernel's does, else the first. Returns false if one of them is missing.
    fn find_files(&mut self, tree: &mut Tree, layout: &Layout) -> FsResult<bool> {
        let is_folder = &mut false;
        self.dir.truncate(0);
        self.kernel.truncate(0);
        self.ram_disk.truncate(0);
        let mut buffer = [0; 64];
        let wanted = layout.dir.decode(&mut buffer);
        if let Some(start) = wanted.strip_suffix(b"*") {
            let Some(top) = self.find(tree, text!("/"))? else {
                return Ok(false);
            };
            self.dir.put(b"/");
            let start = start.tail(1);
            let fits = |name: &[u8], _| name.starts_with(start) && is_plain(name);
            if !find_first(tree, top, &fits, &mut self.dir, is_folder)? {
                return Ok(false);
            }
        } else {
            self.dir.put(wanted);
        }
        let Some(dir) = self.find_dir(tree)? else {
            return Ok(false);
        };
        let mut buffer = [0; 32];
        let kernel = layout.kernel.decode(&mut buffer);
        let fits = |name: &[u8], _| name.starts_with(kernel) && is_plain(name);
        if !find_first(tree, dir, &fits, &mut self.kernel, is_folder)? {
            return Ok(false);
        }
        // "vmlinu" is followed by z or x.
        let rest = self.kernel.since(0).tail(kernel.len());
        self.flavor.truncate(0);
        self.flavor.put(rest);
        let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic());
        let version = match kernel.ends_with(b"-") {
            true => rest,
            false => rest.tail(letters.count()),
        };
        let mut buffer = [0; 32];
        let start = layout.ram_disk.decode(&mut buffer);
        let fits = |name: &[u8], _| name.starts_with(start) && is_plain(name);
        let is_own =
            |name: &[u8], kind| fits(name, kind) && has_version(name.tail(start.len()), version);
        Ok(
            find_first(tree, dir, &is_own, &mut self.ram_disk, is_folder)?
                || find_first(tree, dir, &fits, &mut self.ram_disk, is_folder)?,
        )
    }

    /// Resolves a path after that of the image or folder. `None`: does not exist.
    fn find(&mut self, tree: &mut Tree, below: Text) -> FsResult<Option<Node>> {
        let end = self.path.position();
        self.path.put(below.decode(&mut [0; 64]));
        let path = self.path.since(self.top_len);
        let node = find(tree, self.export, &self.peer, path);
        self.path.truncate(end);
        node
    }

    /// Resolves the directory of the layout.
    fn find_dir(&mut self, tree: &mut Tree) -> FsResult<Option<Node>> {
        let end = self.path.position();
        self.path.put(self.dir.since(0));
        let path = self.path.since(self.top_len);
        let node = find(tree, self.export, &self.peer, path);
        self.path.truncate(end);
        node
    }

    /// Start of the path by HTTP in that of the image.
    const fn url_start(&self) -> usize {
        match self.is_root {
            true => self.top_len - 1,
            false => 0,
        }
    }

    /// Returns true if one of these files is in the image.
    fn has(&mut self, tree: &mut Tree, all: &[Text]) -> bool {
        all.iter()
            .any(|below| matches!(self.find(tree, *below), Ok(Some(_))))
    }

    /// Appends `text`, with paths and names in place of the words in braces that stand for them.
    fn expand(&self, out: &mut Writer<'_>, text: Text) {
        let mut number = Line::default();
        number.number(self.number);
        let values = [
            (&b"{iso}"[..], self.path.since(0)),
            (b"{url}", self.path.since(self.url_start())),
            (b"{dir}", self.dir.since(0)),
            (b"{kernel}", self.kernel.since(0)),
            (b"{initrd}", self.ram_disk.since(0)),
            (b"{name}", self.ram_disk_name()),
            (b"{flavor}", self.flavor.since(0)),
            (b"{title}", self.title.since(0)),
            (b"{number}", number.bytes()),
        ];
        let mut buffer = [0; TEXT_BYTES];
        let mut rest = &*text.decode(&mut buffer);
        while let Some(byte) = rest.first() {
            let mut all = values.iter();
            let (len, value) = match all.find(|(word, _)| rest.starts_with(word)) {
                Some((word, value)) => (word.len(), *value),
                None => (1, core::slice::from_ref(byte)),
            };
            out.put(value);
            rest = rest.tail(len);
        }
    }
}

/// Appends the memory that an entry needs (half GB; 0: unknown).
pub fn write_memory(line: &mut Line, memory: u32) {
    if memory > 0 {
        line.say(text!(", needs ")).number(memory / 2);
        line.text(if memory & 1 == 1 { ".5 GB" } else { " GB" });
    }
}

/// Resolves a path in an export. `None`: does not exist.
fn find(tree: &mut Tree, export: usize, peer: &Peer, below: &[u8]) -> FsResult<Option<Node>> {
    match find_for(tree, export, peer, below) {
        Err(FsError::NoEntry | FsError::NotDirectory) => Ok(None),
        node => node.map(Some),
    }
}

/// Reads a part of a file in an export.
fn read(
    tree: &mut Tree,
    (export, peer): (usize, &Peer),
    below: &[u8],
    offset: u64,
    out: &mut [u8],
) -> FsResult<usize> {
    let node = find_for(tree, export, peer, below)?;
    let pin = tree.pin(node, Some(Access::Read))?;
    let len = tree.read(&pin, offset, out);
    tree.unpin(pin);
    Ok(len? as usize)
}

/// Appends to `out` the first name by byte order in the directory for which `fits` is true. Returns false if there is none. Sets
/// `is_folder` to true if it is a directory.
fn find_first(
    tree: &mut Tree,
    dir: Node,
    fits: &dyn Fn(&[u8], Option<ObjectType>) -> bool,
    out: &mut Writer<'_>,
    is_folder: &mut bool,
) -> FsResult<bool> {
    let start = out.position();
    tree.readdir(dir, 0, Detail::Names, &mut |entry| {
        let best = out.since(start);
        if fits(entry.name, entry.kind) && (best.is_empty() || entry.name < best) {
            out.truncate(start);
            out.put(entry.name);
            *is_folder = entry.kind == Some(ObjectType::Directory);
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
