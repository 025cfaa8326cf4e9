//! The systems that boot over the network: where their images have kernel and RAM disk, and the kernel's arguments.
//!
//! In arguments, `{iso}` stands for the path of the image, `{url}` for that by HTTP, `{dir}` for that of the directory in it, `{flavor}` for the end of the
//! kernel's name. iPXE replaces `${server}` and `${http}`.

use crate::mem::Ends as _;
use crate::text::{Text, text};

/// The part of an image that the kernel copies into memory if it boots over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Copied {
    /// Some files.
    Files,
    /// Most of the image.
    Root,
    /// The whole image.
    Image,
}

/// A kind of image.
pub(super) struct Layout {
    /// Path of the directory with kernel and RAM disk. A `*` at the end of a name stands for any rest of the name.
    pub(super) dir: Text,
    /// Start of the kernel's name.
    pub(super) kernel: Text,
    /// Start of the RAM disk's name.
    pub(super) ram_disk: Text,
    /// The kernel's arguments for a root over NFS; none: impossible.
    pub(super) nfs: Text,
    /// The kernel's arguments for a root over HTTP. `-`: none are needed.
    pub(super) http: Text,
    /// The part that is in memory over HTTP.
    pub(super) copied: Copied,
    /// Memory besides that (half GB).
    pub(super) memory: u8,
    /// True if the arguments name an installation tree, which live images of the same layout lack.
    pub(super) installs: bool,
}

impl Layout {
    /// Returns true if kernels in this directory of an image are of the layout. Where layouts share a directory, the name decides.
    pub(super) fn has(&self, dir: &[u8], kernel: &[u8]) -> bool {
        let (mut dirs, mut names) = ([0; 64], [0; 32]);
        let is_dir = match &*self.dir.decode(&mut dirs) {
            [start @ .., b'*'] => dir.starts_with(start) && !dir.tail(1).contains(&b'/'),
            own => own == dir,
        };
        is_dir
            && (self.kernel == LAYOUT.kernel || kernel.starts_with(self.kernel.decode(&mut names)))
    }
}

pub(super) const LAYOUT: Layout = Layout {
    dir: Text::NOTHING,
    kernel: text!("vmlinu"),
    ram_disk: text!("initrd"),
    nfs: Text::NOTHING,
    http: text!("-"),
    copied: Copied::Files,
    memory: 2,
    installs: false,
};

pub(super) static LAYOUTS: [Layout; 13] = [
    // casper(7)
    Layout {
        dir: text!("/casper"),
        nfs: text!("boot=casper netboot=nfs nfsroot=${server}:{iso} ip=dhcp"),
        http: text!("boot=casper netboot=url url=${http}{url} ip=dhcp"),
        copied: Copied::Image,
        memory: 3,
        ..LAYOUT
    },
    // Pop!_OS: its boot menu passes live-media-path, because the directory's name has the release.
    Layout {
        dir: text!("/casper_*"),
        nfs: text!("boot=casper netboot=nfs nfsroot=${server}:{iso} live-media-path={dir} ip=dhcp"),
        http: text!("boot=casper netboot=url url=${http}{url} live-media-path={dir} ip=dhcp"),
        copied: Copied::Image,
        memory: 3,
        ..LAYOUT
    },
    // live-boot(7)
    Layout {
        dir: text!("/live"),
        nfs: text!("boot=live netboot=nfs nfsroot=${server}:{iso}"),
        http: text!("boot=live fetch=${http}{url}/live/filesystem.squashfs"),
        copied: Copied::Root,
        ..LAYOUT
    },
    // Anaconda: Fedora, RHEL and its rebuilds, "Anaconda boot options"
    Layout {
        dir: text!("/images/pxeboot"),
        nfs: text!("inst.repo=nfs:${server}:{iso}"),
        http: text!("inst.repo=${http}{url}/ ip=dhcp"),
        memory: 5,
        installs: true,
        ..LAYOUT
    },
    // archiso, docs/README.bootparams of mkinitcpio-archiso
    Layout {
        dir: text!("/arch/boot/x86_64"),
        ram_disk: text!("initramfs"),
        nfs: text!("archisobasedir=arch archiso_nfs_srv=${server}:{iso} ip=dhcp"),
        http: text!("archisobasedir=arch archiso_http_srv=${http}{url}/ ip=dhcp"),
        copied: Copied::Root,
        ..LAYOUT
    },
    // SystemRescue, an archiso with another base directory: "Booting SystemRescue from the network"
    Layout {
        dir: text!("/sysresccd/boot/x86_64"),
        ram_disk: text!("sysresccd"),
        nfs: text!("archisobasedir=sysresccd archiso_nfs_srv=${server}:{iso} ip=dhcp"),
        http: text!("archisobasedir=sysresccd archiso_http_srv=${http}{url}/ ip=dhcp"),
        copied: Copied::Root,
        ..LAYOUT
    },
    // manjaro-tools, initcpio/hooks/miso_pxe_nfs
    Layout {
        dir: text!("/boot"),
        kernel: text!("vmlinuz-x86_64"),
        ram_disk: text!("initramfs-x86_64"),
        nfs: text!("misobasedir=manjaro miso_nfs_srv=${server}:{iso} ip=dhcp"),
        http: text!("misobasedir=manjaro miso_http_srv=${http}{url}/ ip=dhcp"),
        copied: Copied::Root,
        ..LAYOUT
    },
    // Alpine, mkinitfs-bootparam(7): its script fetches modules and packages by HTTP.
    Layout {
        dir: text!("/boot"),
        kernel: text!("vmlinuz-"),
        ram_disk: text!("initramfs-"),
        http: text!(
            "modloop=${http}{url}/boot/modloop-{flavor} alpine_repo=${http}{url}/apks ip=dhcp"
        ),
        memory: 1,
        ..LAYOUT
    },
    // openSUSE and SLES, linuxrc: "SDB:Linuxrc", parameter install
    Layout {
        dir: text!("/boot/x86_64/loader"),
        kernel: text!("linux"),
        nfs: text!("install=nfs://${server}{iso}"),
        http: text!("install=${http}{url}"),
        memory: 4,
        installs: true,
        ..LAYOUT
    },
    // Proxmox VE looks for a file proxmox.iso in its RAM disk: pve-iso-2-pxe.
    Layout {
        dir: text!("/boot"),
        kernel: text!("linux26"),
        http: text!("vga=791 video=vesafb:ywrap,mtrr ramdisk_size=16777216 rw quiet splash=silent"),
        copied: Copied::Image,
        memory: 4,
        ..LAYOUT
    },
    // debian-installer takes packages from a mirror, and nothing from the image. With 0.5 GB it asks to go on in its mode for low memory.
    Layout {
        dir: text!("/install.amd"),
        ..LAYOUT
    },
    Layout {
        dir: text!("/install.386"),
        ..LAYOUT
    },
    Layout {
        dir: text!("/install.a64"),
        ..LAYOUT
    },
];

/// Returns true if the whole image is passed as a second RAM disk.
pub(super) fn passes_image(layout: &Layout) -> bool {
    layout.kernel == text!("linux26")
}
