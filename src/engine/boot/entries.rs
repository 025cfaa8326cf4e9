//! The entry of an image's own boot menu: kernel and RAM disk that belong together, and the words of the release.
//!
//! Reads the configuration files of the image's boot loaders (`wire::bootloader`), at their usual paths and where those include
//! others. Words that name a local medium are left out: the rows of `layouts` have the network's words instead.

use super::layouts::{LAYOUTS, Layout};
use crate::config::{
    BOOT_ENTRY_COUNT_MAX, BOOT_WORDS_BYTES_MAX, CONFIG_BYTES_MAX, CONFIG_BYTES_MIN,
};
use crate::mem::{self, Ends as _, has_any, index_of, parts, scaled};
use crate::text::{Text, text};
use crate::vfs::walk::last;
use crate::wire::Writer;
use crate::wire::bootloader::{Item, Items, put_path};
use crate::wire::wildcard::is_match;
use core::cell::Cell;

/// Configuration files, by priority: of GRUB for images in files, GRUB, and syslinux.
const FILES: Text = text!(
    "/boot/grub/loopback.cfg /boot/grub/grub.cfg /boot/grub2/grub.cfg /EFI/BOOT/grub.cfg /isolinux/isolinux.cfg /boot/isolinux/isolinux.cfg /syslinux/syslinux.cfg /boot/syslinux/syslinux.cfg /boot/x86_64/loader/isolinux.cfg "
);
/// Starts of words that name a local medium, check it, or set up another network.
const LOCAL: Text = text!(
    "--- initrd= BOOT_IMAGE= root=live: root=/dev/disk root=LABEL= root=UUID= inst.stage2= inst.repo= rd.live.check findiso= fromiso= isofrom isoloop= iso-scan/ cdrom-detect/ file=/cdrom preseed/file=/cdrom archisolabel= archisosearch archisodevice= img_dev= img_loop= misolabel= misodevice= live-media= mediacheck= checkmedia ip="
);
/// Longest text of these (bytes).
const TEXT_BYTES: usize = 512;
/// Longest list of configuration files (bytes).
const FILES_BYTES: usize = 1024;
/// Longest path of a kernel or RAM disk in an image (bytes).
const PATH_BYTES: usize = 256;
/// Signs that mean something in a script of iPXE or GRUB.
const SIGNS: &[u8] = b"$\\`|&;{}";

/// The number of an image's own entry that no layout has; the next one: there is no entry.
pub(super) const UNKNOWN: usize = LAYOUTS.len();

/// Reads the start of a file of the image into the buffer; returns its length, or `None` if there is none.
type Read<'a> = &'a mut dyn FnMut(&[u8], &mut [u8]) -> Option<usize>;

/// More words for the kernels of some images (`--append`), and those before it.
pub struct Append {
    /// Wildcard on an image's path in its export, or on its name.
    pub pattern: &'static [u8],
    /// The words.
    pub words: &'static [u8],
    /// True once it was used.
    pub is_used: Cell<bool>,
    /// The one before.
    pub before: Option<&'static Self>,
}

impl Append {
    /// Appends the words for the image at this path.
    pub(super) fn put(&self, path: &[u8], out: &mut Writer<'_>) {
        if let Some(before) = self.before {
            before.put(path, out);
        }
        let name = parts(path, b'/').last().unwrap_or_default();
        if is_match(self.pattern, path) || is_match(self.pattern, name) {
            self.is_used.set(true);
            out.put(b" ");
            out.put(self.words);
        }
    }
}

/// The entry of an image's own menu.
pub(super) struct Own {
    /// Number of its layout, or [`UNKNOWN`], or more.
    pub(super) layout: usize,
    /// Paths of kernel and RAM disk in the image.
    pub(super) kernel: Writer<'static>,
    pub(super) ram_disk: Writer<'static>,
    /// The words of the release, with a space before each.
    pub(super) words: Writer<'static>,
    /// Paths of configuration files that are read, each with a space after it.
    files: Writer<'static>,
    /// The text of one.
    text: &'static mut [u8],
}

impl Own {
    pub(super) fn new() -> Self {
        Self {
            layout: UNKNOWN + 1,
            kernel: Writer::new(mem::array::<PATH_BYTES>()),
            ram_disk: Writer::new(mem::array::<PATH_BYTES>()),
            words: Writer::new(mem::array::<BOOT_WORDS_BYTES_MAX>()),
            files: Writer::new(mem::array::<FILES_BYTES>()),
            text: mem::bytes(scaled(CONFIG_BYTES_MIN, CONFIG_BYTES_MAX)),
        }
    }

    /// Finds the first entry of the image whose files exist, of the first layout that has one.
    pub(super) fn find(&mut self, read: Read<'_>) {
        self.layout = UNKNOWN + 1;
        self.words.truncate(0);
        self.files.truncate(0);
        self.files.put(FILES.decode(&mut [0; TEXT_BYTES]));
        let (mut at, mut left) = (0, BOOT_ENTRY_COUNT_MAX);
        while let Some(len) = self.files.since(at).iter().position(|byte| *byte == b' ') {
            let path = self.files.since(at).head(len);
            let dir_len = len - last(path).len();
            if let Some(text_len) = read(path, self.text) {
                self.read_file(at, dir_len, text_len, &mut left, read);
            }
            at += len + 1;
        }
    }

    /// Reads the file in `self.text`, whose directory is in `self.files`.
    fn read_file(
        &mut self,
        at: usize,
        dir_len: usize,
        text_len: usize,
        left: &mut u32,
        read: Read<'_>,
    ) {
        let text = core::mem::take(&mut self.text);
        let mut dir = heapless::Vec::<u8, FILES_BYTES>::new();
        let _ = dir.extend_from_slice(self.files.since(at).head(dir_len));
        for item in Items::new(text.head(text_len)) {
            let Some(rest) = left.checked_sub(1) else {
                break;
            };
            *left = rest;
            match item {
                Item::File(path) => self.add_file(&dir, path),
                Item::Entry(entry) => {
                    let mut paths = [[0; PATH_BYTES]; 2];
                    let [kernel, ram_disk] = &mut paths;
                    let [mut kernel, mut ram_disk] = [Writer::new(kernel), Writer::new(ram_disk)];
                    put_path(&mut kernel, &dir, entry.kernel);
                    put_path(&mut ram_disk, &dir, entry.ram_disk);
                    let [kernel, ram_disk] = [kernel.since(0), ram_disk.since(0)];
                    let layout = number_of(kernel, ram_disk);
                    let mut is_file = |path: &[u8]| {
                        is_plain(path) && last(path) != b"" && read(path, &mut []).is_some()
                    };
                    if layout < self.layout && is_file(kernel) && is_file(ram_disk) {
                        self.layout = layout;
                        for (out, path) in
                            [(&mut self.kernel, kernel), (&mut self.ram_disk, ram_disk)]
                        {
                            out.truncate(0);
                            out.put(path);
                        }
                        self.set_words(entry.words);
                    }
                }
            }
        }
        self.text = text;
    }

    /// Adds an included file, unless it is known.
    fn add_file(&mut self, dir: &[u8], path: &[u8]) {
        let mut buffer = [0; PATH_BYTES];
        let mut whole = Writer::new(&mut buffer);
        put_path(&mut whole, dir, path);
        let (path, end) = (whole.since(0), self.files.position());
        if is_plain(path) && index_of(self.files.since(0), path).is_none() {
            self.files.put(path);
            self.files.put(b" ");
            if self.files.written().is_none() {
                self.files.truncate(end);
            }
        }
    }

    /// Sets the words of the release from those of a command line.
    fn set_words(&mut self, line: &[u8]) {
        let mut buffer = [0; TEXT_BYTES];
        let local = &*LOCAL.decode(&mut buffer);
        self.words.truncate(0);
        for word in line.split(u8::is_ascii_whitespace) {
            let is_local = || parts(local, b' ').any(|start| word.starts_with(start));
            let is_clean = word.iter().all(u8::is_ascii_graphic) && !has_any(word, SIGNS);
            if word.is_empty() || !is_clean || is_local() {
                continue;
            }
            let end = self.words.position();
            self.words.put(b" ");
            self.words.put(word);
            if self.words.written().is_none() {
                self.words.truncate(end);
                return;
            }
        }
    }

    /// Appends the words, but for those whose key is one of the `arguments`.
    pub(super) fn put_words(&self, arguments: &[u8], out: &mut Writer<'_>) {
        for word in parts(self.words.since(0), b' ').skip(1) {
            let key = mem::nth(word, b'=', 0);
            if !parts(arguments, b' ').any(|other| mem::nth(other, b'=', 0) == key) {
                out.put(b" ");
                out.put(word);
            }
        }
    }
}

/// Number of the layout with this kernel and RAM disk; [`UNKNOWN`]: of none.
fn number_of(kernel: &[u8], ram_disk: &[u8]) -> usize {
    let dir = |path: &[u8]| path.len() - last(path).len();
    let (top, name) = kernel.split_at(dir(kernel));
    let is_own = |layout: &Layout| layout.has(top.head(top.len().saturating_sub(1)), name);
    let number = LAYOUTS.iter().position(is_own);
    number
        .filter(|_| top == ram_disk.head(dir(ram_disk)))
        .unwrap_or(UNKNOWN)
}

/// Returns true if a path needs no quoting: no byte is special in an iPXE script, in a URI or on a kernel command line.
pub(super) fn is_plain(path: &[u8]) -> bool {
    path.iter()
        .all(|byte| matches!(byte, b'+' | b'-'..=b'9' | b'@'..=b'Z' | b'_'..=b'z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::format;
    use std::string::String;

    /// The entry of an image with these files, each a path, and after `<` its text.
    fn found(files: &[&str]) -> (usize, String) {
        let files: BTreeMap<&[u8], &[u8]> = files
            .iter()
            .map(|file| file.split_once('<').unwrap_or((file, "")))
            .map(|(path, text)| (path.as_bytes(), text.as_bytes()))
            .collect();
        let mut own = Own::new();
        own.find(&mut |path, out| {
            let text = files.get(path)?;
            mem::copy_into(out, text);
            Some(text.len().min(out.len()))
        });
        let mut buffer = [0; 2048];
        let mut words = Writer::new(&mut buffer);
        own.put_words(b"boot=live fetch=x", &mut words);
        let shown = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let [kernel, ram_disk, words] =
            [own.kernel.since(0), own.ram_disk.since(0), words.since(0)].map(shown);
        (own.layout, format!("{kernel} {ram_disk}{words}"))
    }

    /// Files of an image, and its entry: the directory of its layout, and the rest.
    #[rustfmt::skip]
    const ROWS: [(&[&str], &str, &str); 18] = [
        // Debian live, and its installer: the live system is first in the table, and the second in the file.
        (&["/live/v", "/live/i", "/install.amd/v", "/install.amd/i",
            "/boot/grub/grub.cfg<linux /install.amd/v vga=788 --- quiet\ninitrd /install.amd/i\nlinux /live/v boot=live components quiet splash findiso=${iso_path}\ninitrd /live/i"],
            "/live", "/live/v /live/i components quiet splash"),
        // The graphical installer has its RAM disk elsewhere.
        (&["/install.amd/vmlinuz", "/install.amd/gtk/initrd.gz", "/install.amd/initrd.gz",
            "/boot/grub/grub.cfg<linux /install.amd/vmlinuz a\ninitrd /install.amd/gtk/initrd.gz\nlinux /install.amd/vmlinuz vga=788 --- quiet\ninitrd /install.amd/initrd.gz"],
            "/install.amd", "/install.amd/vmlinuz /install.amd/initrd.gz vga=788 quiet"),
        // Ubuntu: loopback.cfg is before grub.cfg. A kernel of another name.
        (&["/casper/hwe-vmlinuz", "/casper/hwe-initrd",
            "/boot/grub/loopback.cfg<linux /casper/hwe-vmlinuz iso-scan/filename=${iso_path} layerfs-path=min.squashfs --- quiet splash\ninitrd /casper/hwe-initrd",
            "/boot/grub/grub.cfg<linux /casper/hwe-vmlinuz other\ninitrd /casper/hwe-initrd"],
            "/casper", "/casper/hwe-vmlinuz /casper/hwe-initrd layerfs-path=min.squashfs quiet splash"),
        // Fedora
        (&["/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img",
            "/EFI/BOOT/grub.cfg<linuxefi /images/pxeboot/vmlinuz root=live:CDLABEL=F-39 rd.live.image quiet rhgb rd.live.check\ninitrdefi /images/pxeboot/initrd.img"],
            "/images/pxeboot", "/images/pxeboot/vmlinuz /images/pxeboot/initrd.img rd.live.image quiet rhgb"),
        // A pair of flavours: the file's, not the first by name; Alpine.
        (&["/boot/vmlinuz-virt", "/boot/initramfs-virt",
            "/boot/grub/grub.cfg<linux /boot/vmlinuz-virt modules=loop,squashfs quiet\ninitrd /boot/initramfs-virt"],
            "/boot", "/boot/vmlinuz-virt /boot/initramfs-virt modules=loop,squashfs quiet"),
        // NixOS, in a directory of layouts, but with another name.
        (&["/boot/bzImage", "/boot/initrd",
            "/EFI/BOOT/grub.cfg<linux /boot/bzImage init=/nix/store/x/init root=LABEL=nixos loglevel=4\ninitrd /boot/initrd"],
            "?", "/boot/bzImage /boot/initrd init=/nix/store/x/init loglevel=4"),
        // Kernel and RAM disk in two directories.
        (&["/live/k", "/r/i", "/isolinux/isolinux.cfg<label a\nkernel /live/k\nappend initrd=../r/i b"], "?", "/live/k /r/i b"),
        // An included file, and one that includes itself.
        (&["/live/k", "/live/i", "/isolinux/isolinux.cfg<include menu.cfg", "/isolinux/menu.cfg<include menu.cfg\ninclude live.cfg",
            "/isolinux/live.cfg<label a\nlinux /live/k\ninitrd /live/i\nappend boot=live x"], "/live", "/live/k /live/i x"),
        // Files that do not exist, or are directories.
        (&["/live/k", "/boot/grub/grub.cfg<linux /live/k a\ninitrd /live/none\nlinux /live/\ninitrd /live/k"], "-", " "),
        (&["/live/k k", "/live/i", "/boot/grub/grub.cfg<linux '/live/k' a\ninitrd /live/$i"], "-", " "),
        // Words for iPXE or the kernel's parser; keys of the arguments.
        (&["/live/k", "/live/i", "/boot/grub/grub.cfg<linux /live/k a || b ${c} `d` e;f boot=x fetch=y g=\"h i\" j=\\$k \u{e9}\ninitrd /live/i"],
            "/live", "/live/k /live/i a b g=\"h i\""),
        (&["/live/k", "/live/i", "/boot/grub/grub.cfg<linux /live/k ip= ip=dhcp ipv6.disable=1 root=/dev/ram0 root=/dev/disk/by-label/x\ninitrd /live/i"],
            "/live", "/live/k /live/i ipv6.disable=1 root=/dev/ram0"),
        // A directory of Pop!_OS, and one in it.
        (&["/casper_pop/k", "/casper_pop/i", "/boot/grub/grub.cfg<linux /casper_pop/k a\ninitrd /casper_pop/i"], "/casper_*", "/casper_pop/k /casper_pop/i a"),
        (&["/casper_pop/x/k", "/casper_pop/x/i", "/boot/grub/grub.cfg<linux /casper_pop/x/k a\ninitrd /casper_pop/x/i"], "?", "/casper_pop/x/k /casper_pop/x/i a"),
        // A kernel at the top.
        (&["/k", "/i", "/boot/grub/grub.cfg<linux /k a\ninitrd /i"], "?", "/k /i a"),
        // openSUSE: names beside the file.
        (&["/boot/x86_64/loader/linux", "/boot/x86_64/loader/initrd",
            "/boot/x86_64/loader/isolinux.cfg<default linux\nlabel linux\n  kernel linux\n  append initrd=initrd splash=silent showopts"],
            "/boot/x86_64/loader", "/boot/x86_64/loader/linux /boot/x86_64/loader/initrd splash=silent showopts"),
        // Proxmox VE
        (&["/boot/linux26", "/boot/initrd.img", "/boot/grub/grub.cfg<linux $prefix/../linux26 ro splash=silent\ninitrd $prefix/../initrd.img"],
            "/boot", "/boot/linux26 /boot/initrd.img ro splash=silent"),
        (&[], "-", " "),
    ];

    fn dir_of(layout: usize) -> String {
        match LAYOUTS.get(layout) {
            Some(layout) => String::from_utf8_lossy(layout.dir.decode(&mut [0; 64])).into_owned(),
            None => if layout == UNKNOWN { "?" } else { "-" }.into(),
        }
    }

    #[test]
    fn entry_has_files_and_words_of_the_release() {
        for (files, dir, entry) in ROWS {
            let (layout, own) = found(files);
            assert_eq!((&*dir_of(layout), &*own), (dir, entry), "{files:?}");
        }
    }

    #[test]
    fn long_and_endless_files_are_read_in_part() {
        let entries: String = (0..200)
            .map(|number| format!("linux /live/{number}\ninitrd /live/i\n"))
            .collect();
        let file = |text: &str| format!("/boot/grub/grub.cfg<{text}");
        let late = file(&entries);
        assert_eq!(found(&["/live/199", "/live/i", &late]).0, UNKNOWN + 1);
        let words = file(&format!(
            "linux /live/k {} end\ninitrd /live/i",
            "word ".repeat(400)
        ));
        let (_, own) = found(&["/live/k", "/live/i", &words]);
        assert!(
            own.len() < BOOT_WORDS_BYTES_MAX + 20 && own.ends_with("word"),
            "{own}"
        );
        let includes: String = (0..200)
            .map(|number| format!("source /a{number}\n"))
            .collect();
        assert_eq!(
            found(&[&file(&includes), "/a199<linux /k\ninitrd /k", "/k"]).0,
            UNKNOWN + 1
        );
        let zeros = "\0".repeat(100_000);
        assert_eq!(found(&[&file(&zeros)]).0, UNKNOWN + 1);
    }
}
