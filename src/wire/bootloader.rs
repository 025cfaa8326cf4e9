//! Configuration files of boot loaders: the kernels, RAM disks and command lines that the menus of GRUB and syslinux name.
//!
//! GRUB's scripts are not run: conditions are ignored, and a path with another variable than `$prefix` is refused. GRUB manual,
//! section 16; syslinux, doc/syslinux.txt.

use super::Writer;
use super::label::{cut, index_like};
use crate::mem::{Ends as _, Parts, parts};

/// Commands, by their meaning: one kind a line.
const COMMANDS: [&[u8]; 5] = [
    b"linux linuxefi linux16 linux_cmd kernel",
    b"initrd initrdefi initrd16 initrd_cmd",
    b"append",
    b"label menuentry submenu }",
    b"source configfile include",
];

/// An entry of a menu.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Entry<'a> {
    /// Path of the kernel, as the file has it; see [`put_path`].
    pub kernel: &'a [u8],
    /// Path of the last RAM disk: those before it have microcode.
    pub ram_disk: &'a [u8],
    /// The kernel's command line.
    pub words: &'a [u8],
}

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// An entry with kernel and RAM disk.
    Entry(Entry<'a>),
    /// Path of another file, which is included.
    File(&'a [u8]),
}

/// Iterator over the entries and included files of a file, in order.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    lines: Parts<'a>,
    entry: Entry<'a>,
}

impl<'a> Items<'a> {
    /// The parts of a file.
    pub fn new(file: &'a [u8]) -> Self {
        Self {
            lines: parts(file, b'\n'),
            entry: Entry::default(),
        }
    }

    /// Ends the present entry. `None`: it lacks a kernel or a RAM disk.
    fn end(&mut self) -> Option<Item<'a>> {
        let mut entry = core::mem::take(&mut self.entry);
        if entry.ram_disk.is_empty() {
            // syslinux: initrd=FILE[,FILE...] of the command line.
            let mut words = parts(entry.words, b' ');
            let list = words.find_map(|word| word.strip_prefix(b"initrd="));
            entry.ram_disk = list.and_then(|list| parts(list, b',').last())?;
        }
        (!entry.kernel.is_empty() && !entry.ram_disk.is_empty()).then_some(Item::Entry(entry))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        while let Some(line) = self.lines.next() {
            let (command, rest) = split(line);
            // GRUB: $linux, ${initrd_cmd}
            let is_sign = |byte: &u8| b"${}".contains(byte);
            let start = command.iter().position(|byte| !is_sign(byte));
            let end = command.iter().rposition(|byte| !is_sign(byte));
            let name = match start.zip(end) {
                Some((start, end)) => command.head(end + 1).tail(start),
                None => command,
            };
            let mut kinds = COMMANDS.iter();
            match kinds.position(|names| index_like(names, b' ', name).is_some()) {
                Some(0) => {
                    let (kernel, words) = split(rest);
                    let ended = match self.entry.kernel {
                        [] => None,
                        _ => self.end(),
                    };
                    self.entry.kernel = kernel;
                    if !words.is_empty() {
                        self.entry.words = words;
                    }
                    if ended.is_some() {
                        return ended;
                    }
                }
                Some(1) => {
                    let mut from_end = rest.rsplit(u8::is_ascii_whitespace);
                    self.entry.ram_disk = from_end.next().unwrap_or_default();
                }
                Some(2) => self.entry.words = rest,
                Some(3) => {
                    if let Some(item) = self.end() {
                        return Some(item);
                    }
                }
                Some(4) if !rest.is_empty() => return Some(Item::File(split(rest).0)),
                _ => {}
            }
        }
        self.end()
    }
}

/// Splits a line into its first word and the rest, both without blanks around them.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    (word, rest.trim_ascii_start())
}

/// Appends a path of a file in the directory `dir` as an absolute one without `.` and `..`. Quotes and GRUB's device, as in
/// `($root)/casper/vmlinuz`, are left out.
pub fn put_path(out: &mut Writer<'_>, dir: &[u8], path: &[u8]) {
    let start = out.position();
    let mut path = path.trim_ascii();
    if let [quote @ (b'"' | b'\''), inner @ .., end] = path
        && quote == end
    {
        path = inner;
    }
    if path.starts_with(b"(") {
        path = cut(path, b')').1;
    }
    let prefixes: [&[u8]; 2] = [b"$prefix/", b"${prefix}/"];
    let below = prefixes
        .iter()
        .find_map(|prefix| path.strip_prefix(*prefix));
    let (dir, path) = match below {
        Some(below) => (dir, below),
        None if path.starts_with(b"/") => (&b""[..], path),
        None => (dir, path),
    };
    for name in parts(dir, b'/').chain(parts(path, b'/')) {
        match name {
            b"" | b"." => {}
            b".." => {
                let above = out.since(start).iter().rposition(|byte| *byte == b'/');
                out.truncate(start + above.unwrap_or(0));
            }
            name => {
                out.put(b"/");
                out.put(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    /// The items of a file in words, and the paths as they are in the directory /isolinux.
    fn shown(file: &[u8]) -> Vec<String> {
        let path = |path: &[u8]| {
            let mut buffer = [0; 64];
            let mut out = Writer::new(&mut buffer);
            put_path(&mut out, b"/isolinux", path);
            String::from_utf8_lossy(out.since(0)).into_owned()
        };
        let item = |item| match item {
            Item::File(file) => format!("file {}", path(file)),
            Item::Entry(entry) => {
                let words = String::from_utf8_lossy(entry.words);
                format!("{} {}: {words}", path(entry.kernel), path(entry.ram_disk))
            }
        };
        Items::new(file).map(item).collect()
    }

    /// Files, and their items.
    #[rustfmt::skip]
    const ROWS: [(&str, &[&str]); 14] = [
        // live-build, config/bootloaders/grub-pc/grub.cfg
        ("source /boot/grub/config.cfg\n\nmenuentry \"Live system (amd64)\" --hotkey=l {\n\tlinux\t/live/vmlinuz boot=live components\n\tinitrd\t/live/initrd.img\n}\n",
            &["file /boot/grub/config.cfg", "/live/vmlinuz /live/initrd.img: boot=live components"]),
        // live-build, config/bootloaders/isolinux
        ("include menu.cfg\r\nlabel live\r\n\tmenu default\r\n\tlinux /live/vmlinuz\r\n\tinitrd /live/initrd.img\r\n\tappend boot=live quiet\r\n",
            &["file /isolinux/menu.cfg", "/live/vmlinuz /live/initrd.img: boot=live quiet"]),
        // Fedora, isolinux.cfg
        ("append global\nlabel linux\n  kernel vmlinuz\n  append initrd=initrd.img inst.stage2=hd:LABEL=F quiet\n",
            &["/isolinux/vmlinuz /isolinux/initrd.img: initrd=initrd.img inst.stage2=hd:LABEL=F quiet"]),
        // Arch, loopback.cfg: microcode first.
        ("linux /arch/boot/x86_64/vmlinuz-linux archisobasedir=arch\ninitrd /arch/boot/amd-ucode.img /arch/boot/x86_64/initramfs-linux.img",
            &["/arch/boot/x86_64/vmlinuz-linux /arch/boot/x86_64/initramfs-linux.img: archisobasedir=arch"]),
        // Clonezilla; openSUSE; kiwi
        ("$linux_cmd /k a\n$initrd_cmd /r\n", &["/k /r: a"]),
        ("${linux} /k a\n${initrd} /r\n", &["/k /r: a"]),
        ("linux ($root)/x/linux a\ninitrd ($root)/x/initrd\n", &["/x/linux /x/initrd: a"]),
        // Proxmox VE
        ("linux $prefix/../linux26 ro\ninitrd ${prefix}/../initrd.img\n", &["/linux26 /initrd.img: ro"]),
        // An entry without a RAM disk, one without a kernel, and a kernel that follows another one.
        ("menuentry memtest {\nlinux16 /memtest\n}\nmenuentry x {\ninitrd /r\n}\n", &[]),
        ("linux /a\nlinux /b 1\ninitrd /r\nlinux /c\ninitrd /s", &["/b /r: 1", "/c /s: "]),
        ("LINUX \"/k\" a=\"b c\"\nInitRD '/r'", &["/k /r: a=\"b c\""]),
        ("label a\nkernel ./a//b\nappend x initrd=micro,disk", &["/isolinux/a/b /isolinux/disk: x initrd=micro,disk"]),
        ("linux ../../../k\ninitrd /a/../../r", &["/k /r: "]),
        ("# linux /k\nsource\nlinux\ninitrd\n}}}\n{\n\n$\n", &[]),
    ];

    #[test]
    fn entries_of_each_loader_are_read() {
        for (file, items) in ROWS {
            assert_eq!(shown(file.as_bytes()), items, "{file}");
        }
    }

    /// Each byte replaced by each sign, and cut there.
    #[test]
    fn damaged_files_have_no_more_entries_than_lines() {
        for (file, _) in ROWS {
            for at in 0..file.len() {
                for sign in b"\n\r \t${}()'\"/.,=\0\xff" {
                    let mut file = file.as_bytes().to_vec();
                    file[at] = *sign;
                    for file in [&file[..], &file[..=at]] {
                        let items = shown(file);
                        let lines = file.split(|byte| *byte == b'\n').count();
                        assert!(items.len() <= lines, "{items:?}");
                        let is_above = |item: &String| {
                            item.split(':').take(1).any(|paths| paths.contains("/../"))
                        };
                        assert!(!items.iter().any(is_above), "{items:?}");
                    }
                }
            }
        }
    }
}
