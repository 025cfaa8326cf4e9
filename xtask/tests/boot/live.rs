//! Live systems boot from the menu with the words of the image's own grub.cfg, until their init runs: Debian's live-boot by NFS and by
//! HTTP, and dracut's livenet by HTTP.

use super::machines::{Foreign, HOST, Machine, Network, Steps, wait_for_steps};
use super::serve;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;
use xtask::machines::iso::{ROCK_RIDGE, unpack_package, write_image, write_live_system};
use xtask::machines::qemu;
use xtask::machines::server::{public_dir, root_for};

/// The init of the systems. Its lines have a prefix, because the kernel prints on the same console.
const INIT: &str = r#"
#!/bin/sh
exec >/dev/console 2>&1
PATH=/bin
busybox mount -t proc proc /proc
echo "live: $(busybox grep ' /run/live/medium ' /proc/mounts)"
echo "live: $(busybox cat /proc/cmdline)"
busybox sleep 1000
"#;
/// The words of each grub.cfg that reach the kernel.
const WORDS: &str = "components console=ttyS0 no_timer_check panic=-1";

/// A live system: the machine whose kernel and initramfs it has, their paths, the root, and the words for a disc.
struct System {
    machine: &'static str,
    kernel: &'static str,
    ram_disk: &'static str,
    root: &'static str,
    disc: &'static str,
}

const DEBIAN: System = System {
    machine: "live",
    kernel: "live/vmlinuz-2",
    ram_disk: "live/initrd-2.img",
    root: "live/filesystem.squashfs",
    disc: "boot=live findiso=${iso_path}",
};
const FEDORA: System = System {
    machine: "dracut",
    kernel: "images/pxeboot/vmlinuz",
    ram_disk: "images/pxeboot/initrd.img",
    root: "LiveOS/squashfs.img",
    disc: "root=live:CDLABEL=Live rd.live.image rd.live.check rd.live.overlay.overlayfs",
};

impl System {
    /// Writes an image of the system. Two other files of its directories do not boot.
    fn write(&self, path: &Path) -> Result<()> {
        let (kernel, initramfs) = qemu::system(self.machine)?;
        let directory = tempfile::tempdir()?;
        let tree = directory.path();
        write_live_system(tree, INIT)?;
        for file in [self.kernel, self.ram_disk, self.root, "boot/grub/grub.cfg"] {
            fs::create_dir_all(tree.join(file).parent().context("no folder")?)?;
        }
        if !tree.join(self.root).exists() {
            fs::rename(tree.join(DEBIAN.root), tree.join(self.root))?;
            fs::remove_dir(tree.join("live"))?;
        }
        fs::copy(kernel, tree.join(self.kernel))?;
        fs::write(tree.join(self.ram_disk), initramfs)?;
        for file in [self.kernel, self.ram_disk] {
            fs::write(tree.join(file.replace('2', "1")).with_extension("0"), "")?;
        }
        let grub = format!(
            "menuentry 'Live' {{\nlinux /{} {WORDS} {}\ninitrd /{}\n}}\n",
            self.kernel, self.disc, self.ram_disk
        );
        fs::write(tree.join("boot/grub/grub.cfg"), grub)?;
        write_image(ROCK_RIDGE[0], tree, path)
    }
}

/// Starts machine 2, whose iPXE runs the commands of the menu's second entry.
fn choose_second(network: &Network) -> Result<Machine> {
    let url = format!("http://{HOST}/boot.ipxe");
    let fetched = network.host.command("curl").args(["-sf", &url]).output()?;
    let menu = String::from_utf8(fetched.stdout)?;
    let (start, rest) = menu.split_once("isset ").context("no start")?;
    let (_, entry) = rest.split_once("\n:2\n").context("no second entry")?;
    let (entry, _) = entry.split_once("\n:").unwrap_or((entry, ""));
    let script = network.directory.path().join("script");
    fs::write(&script, format!("{start}dhcp\n{entry}\n:failed\n"))?;
    let kernel = unpack_package("ipxe")?.join("boot/ipxe.lkrn");
    let [kernel, script] = [kernel, script].map(|path| path.display().to_string());
    let arguments = ["-kernel", &kernel, "-initrd", &script].map(str::to_owned);
    network.start(2, ",romfile=", &arguments)
}

#[test]
fn live_boot_starts_a_system_by_nfs_and_by_http() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    let directory = public_dir()?;
    let network = Network::new(Foreign::Dnsmasq)?;
    let image = directory.path().join("live.iso");
    DEBIAN.write(&image)?;
    let arguments = ["--default", "live.iso"];
    let server = serve(&network.host, directory.path(), &arguments)?;
    let machines = [network.start(1, "", &[])?, choose_second(&network)?];
    let path = image.display();
    let parts = [
        [
            format!("live: {HOST}:{path} /run/live/medium nfs ro,"),
            format!("{WORDS} boot=live netboot=nfs nfsroot={HOST}:{path}"),
        ],
        [
            "live: ram /run/live/medium ramfs ".to_owned(),
            format!(
                "{WORDS} boot=live fetch=http://{HOST}{path}/{}",
                DEBIAN.root
            ),
        ],
    ];
    for (machine, part) in machines.iter().zip(&parts) {
        let [mounted, words] = part;
        wait_for_steps(&network, &server, machine, &Steps::new(), mounted)?;
        wait_for_steps(&network, &server, machine, &Steps::new(), words)?;
    }
    Ok(())
}

#[test]
fn livenet_of_dracut_starts_a_system_by_http() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    let directory = public_dir()?;
    let network = Network::new(Foreign::Dnsmasq)?;
    let image = directory.path().join("live.iso");
    FEDORA.write(&image)?;
    let arguments = ["--default", "live.iso", "--append", "live.iso=rd.shell=0"];
    let server = serve(&network.host, directory.path(), &arguments)?;
    let machine = network.start(1, "", &[])?;
    let words = format!(
        "{WORDS} rd.live.overlay.overlayfs root=live:http://{HOST}{}/{} rd.live.image ip=dhcp rd.shell=0",
        image.display(),
        FEDORA.root
    );
    let screen = format!("live: initrd=initrd.img {words}");
    wait_for_steps(&network, &server, &machine, &Steps::new(), &screen)
}
