//! The menu: an entry for each way to boot an image, by its layout, and the reason for each image that does not boot.

use super::{READY_MAX, serve};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use xtask::machines::iso::{ROCK_RIDGE, write_image};
use xtask::machines::server::{Namespace, public_dir, root_for};
use xtask::setup;

/// An image, its files, and its entries: the title with the way, then the commands. I is the URL of the image, P its path.
type Row = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const ROWS: [Row; 26] = [
    ("debian", "install.amd/vmlinuz install.amd/initrd.gz .disk/info", &[
        ".disk/info: kernel over HTTP, needs 1 GB; kernel I/install.amd/vmlinuz initrd=initrd.gz; initrd I/install.amd/initrd.gz; boot",
    ]),
    ("debian-386", "install.386/vmlinuz install.386/initrd.gz", &[
        "ISOIMAGE: kernel over HTTP, needs 1 GB; kernel I/install.386/vmlinuz initrd=initrd.gz; initrd I/install.386/initrd.gz; boot",
    ]),
    ("debian-arm64", "install.a64/vmlinuz install.a64/initrd.gz", &[
        "ISOIMAGE: kernel over HTTP, needs 1 GB; kernel I/install.a64/vmlinuz initrd=initrd.gz; initrd I/install.a64/initrd.gz; boot",
    ]),
    // A RAM disk of 130 MB is loaded and unpacked.
    ("debian-gtk", "install.amd/vmlinuz install.amd/initrd-130M", &[
        "ISOIMAGE: kernel over HTTP, needs 1.5 GB; kernel I/install.amd/vmlinuz initrd=initrd-130M; initrd I/install.amd/initrd-130M; boot",
    ]),
    // A live image that also has the installer is live.
    ("debian-live", "live/vmlinuz-6.1.0-9-amd64 live/vmlinuz-6.1.0-8-amd64 live/initrd.img-6.1.0-9-amd64 live/initrd.img-6.1.0-8-amd64 live/filesystem.squashfs install.amd/vmlinuz install.amd/initrd.gz", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/live/vmlinuz-6.1.0-8-amd64 initrd=initrd.img-6.1.0-8-amd64 boot=live netboot=nfs nfsroot=${server}:P; initrd I/live/initrd.img-6.1.0-8-amd64; boot",
        "ISOIMAGE: kernel over HTTP, needs 1.5 GB; kernel I/live/vmlinuz-6.1.0-8-amd64 initrd=initrd.img-6.1.0-8-amd64 boot=live fetch=I/live/filesystem.squashfs; initrd I/live/initrd.img-6.1.0-8-amd64; boot",
    ]),
    ("more/ubuntu", "casper/vmlinuz casper/initrd EFI/BOOT/BOOTX64.EFI", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/casper/vmlinuz initrd=initrd boot=casper netboot=nfs nfsroot=${server}:P ip=dhcp last; initrd I/casper/initrd; iseq ${platform} efi && shim I/EFI/BOOT/BOOTX64.EFI; boot",
        "ISOIMAGE: whole image in memory, needs 2 GB; kernel I/casper/vmlinuz initrd=initrd boot=casper netboot=url url=I ip=dhcp last; initrd I/casper/initrd; iseq ${platform} efi && shim I/EFI/BOOT/BOOTX64.EFI; boot",
    ]),
    ("pop", "casper_pop-os_22.04/vmlinuz.efi casper_pop-os_22.04/initrd.gz", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/casper_pop-os_22.04/vmlinuz.efi initrd=initrd.gz boot=casper netboot=nfs nfsroot=${server}:P live-media-path=/casper_pop-os_22.04 ip=dhcp; initrd I/casper_pop-os_22.04/initrd.gz; boot",
        "ISOIMAGE: whole image in memory, needs 2 GB; kernel I/casper_pop-os_22.04/vmlinuz.efi initrd=initrd.gz boot=casper netboot=url url=I live-media-path=/casper_pop-os_22.04 ip=dhcp; initrd I/casper_pop-os_22.04/initrd.gz; boot",
    ]),
    ("fedora", "images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img LiveOS/squashfs.img", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/images/pxeboot/vmlinuz initrd=initrd.img inst.repo=nfs:${server}:P; initrd I/images/pxeboot/initrd.img; boot",
        "ISOIMAGE: kernel over HTTP, needs 2.5 GB; kernel I/images/pxeboot/vmlinuz initrd=initrd.img inst.repo=I/ ip=dhcp; initrd I/images/pxeboot/initrd.img; boot",
    ]),
    ("fedora-live", "images/pxeboot/vmlinuz images/pxeboot/initrd.img LiveOS/squashfs.img", &[
        "ISOIMAGE: kernel over HTTP, needs 3 GB; kernel I/images/pxeboot/vmlinuz initrd=initrd.img root=live:I/LiveOS/squashfs.img rd.live.image ip=dhcp; initrd I/images/pxeboot/initrd.img; boot",
    ]),
    ("arch", "arch/boot/x86_64/vmlinuz-linux arch/boot/x86_64/initramfs-linux.img arch/boot/intel-ucode.img", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/arch/boot/x86_64/vmlinuz-linux initrd=initramfs-linux.img archisobasedir=arch archiso_nfs_srv=${server}:P ip=dhcp; initrd I/arch/boot/x86_64/initramfs-linux.img; boot",
        "ISOIMAGE: kernel over HTTP, needs 1.5 GB; kernel I/arch/boot/x86_64/vmlinuz-linux initrd=initramfs-linux.img archisobasedir=arch archiso_http_srv=I/ ip=dhcp; initrd I/arch/boot/x86_64/initramfs-linux.img; boot",
    ]),
    ("rescue", "sysresccd/boot/x86_64/vmlinuz sysresccd/boot/x86_64/sysresccd.img", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/sysresccd/boot/x86_64/vmlinuz initrd=sysresccd.img archisobasedir=sysresccd archiso_nfs_srv=${server}:P ip=dhcp; initrd I/sysresccd/boot/x86_64/sysresccd.img; boot",
        "ISOIMAGE: kernel over HTTP, needs 1.5 GB; kernel I/sysresccd/boot/x86_64/vmlinuz initrd=sysresccd.img archisobasedir=sysresccd archiso_http_srv=I/ ip=dhcp; initrd I/sysresccd/boot/x86_64/sysresccd.img; boot",
    ]),
    ("manjaro", "boot/vmlinuz-x86_64 boot/initramfs-x86_64.img", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/boot/vmlinuz-x86_64 initrd=initramfs-x86_64.img misobasedir=manjaro miso_nfs_srv=${server}:P ip=dhcp; initrd I/boot/initramfs-x86_64.img; boot",
        "ISOIMAGE: kernel over HTTP, needs 1.5 GB; kernel I/boot/vmlinuz-x86_64 initrd=initramfs-x86_64.img misobasedir=manjaro miso_http_srv=I/ ip=dhcp; initrd I/boot/initramfs-x86_64.img; boot",
    ]),
    ("alpine", "boot/vmlinuz-lts boot/initramfs-lts boot/modloop-lts", &[
        "ISOIMAGE: kernel over HTTP, needs 0.5 GB; kernel I/boot/vmlinuz-lts initrd=initramfs-lts modloop=I/boot/modloop-lts alpine_repo=I/apks ip=dhcp; initrd I/boot/initramfs-lts; boot",
    ]),
    ("suse", "boot/x86_64/loader/linux boot/x86_64/loader/initrd boot/x86_64/root", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/boot/x86_64/loader/linux initrd=initrd install=nfs://${server}P; initrd I/boot/x86_64/loader/initrd; boot",
        "ISOIMAGE: kernel over HTTP, needs 2 GB; kernel I/boot/x86_64/loader/linux initrd=initrd install=I; initrd I/boot/x86_64/loader/initrd; boot",
    ]),
    ("suse-live", "boot/x86_64/loader/linux boot/x86_64/loader/initrd LiveOS/squashfs.img", &[
        "ISOIMAGE: kernel over HTTP, needs 2.5 GB; kernel I/boot/x86_64/loader/linux initrd=initrd root=live:I/LiveOS/squashfs.img rd.live.image ip=dhcp; initrd I/boot/x86_64/loader/initrd; boot",
    ]),
    ("proxmox", "boot/linux26 boot/initrd.img", &[
        "ISOIMAGE: whole image in memory, needs 2.5 GB; kernel I/boot/linux26 initrd=initrd.img vga=791 video=vesafb:ywrap,mtrr ramdisk_size=16777216 rw quiet splash=silent; initrd I/boot/initrd.img; initrd I /proxmox.iso; boot",
    ]),
    // Images with a menu of their own, in CONFIGURATIONS.
    ("kali", "live/vmlinuz-1 live/vmlinuz-2 live/initrd.img-1 live/initrd.img-2 boot/grub/grub.cfg", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/live/vmlinuz-2 initrd=initrd.img-2 components quiet boot=live netboot=nfs nfsroot=${server}:P a=b ${c} second; initrd I/live/initrd.img-2; boot",
        "ISOIMAGE: kernel over HTTP, needs 1.5 GB; kernel I/live/vmlinuz-2 initrd=initrd.img-2 components quiet boot=live fetch=I/live/filesystem.squashfs a=b ${c} second; initrd I/live/initrd.img-2; boot",
    ]),
    ("alpine-virt", "boot/vmlinuz-lts boot/initramfs-lts boot/vmlinuz-virt boot/initramfs-virt boot/grub/grub.cfg", &[
        "ISOIMAGE: kernel over HTTP, needs 0.5 GB; kernel I/boot/vmlinuz-virt initrd=initramfs-virt modules=loop,squashfs modloop=I/boot/modloop-virt alpine_repo=I/apks ip=dhcp; initrd I/boot/initramfs-virt; boot",
    ]),
    ("nixos", "boot/nix/bzImage boot/initrd isolinux/isolinux.cfg isolinux/more.cfg", &[
        "ISOIMAGE: kernel of its own menu, may look for a disc; kernel I/boot/nix/bzImage initrd=initrd init=/nix/store/x/init loglevel=4; initrd I/boot/initrd; boot",
        "ISOIMAGE: as a drive, for small tools; sanboot --no-describe --keep I",
    ]),
    // The words are those of another system of the image.
    ("debian-both", "install.amd/vmlinuz install.amd/initrd.gz live/vmlinuz live/initrd.img boot/grub/grub.cfg", &[
        "ISOIMAGE: kernel over NFS, needs 1 GB; kernel I/live/vmlinuz initrd=initrd.img boot=live netboot=nfs nfsroot=${server}:P; initrd I/live/initrd.img; boot",
        "ISOIMAGE: kernel over HTTP, needs 1.5 GB; kernel I/live/vmlinuz initrd=initrd.img boot=live fetch=I/live/filesystem.squashfs; initrd I/live/initrd.img; boot",
    ]),
    ("esxi", "EFI/BOOT/BOOTX64.EFI boot.cfg", &[
        "ISOIMAGE: as a drive, for small tools; sanboot --no-describe --keep I",
    ]),
    // A kernel without a RAM disk, and a RAM disk without a kernel.
    ("half", "casper/vmlinuz live/initrd.img", &[
        "ISOIMAGE: as a drive, for small tools; sanboot --no-describe --keep I",
    ]),
    ("tool", "README", &["ISOIMAGE: as a drive, for small tools; sanboot --no-describe --keep I"]),
    ("win", "sources/boot.wim", &[]),
    ("junk", "", &[]),
    ("two words", "README", &[]),
];
/// Configuration files of images: image, path and text.
const CONFIGURATIONS: [(&str, &str, &str); 5] = [
    (
        "kali",
        "boot/grub/grub.cfg",
        "menuentry 'Live system' {\nlinux /live/vmlinuz-2 boot=live components quiet findiso=${iso_path}\ninitrd /live/initrd.img-2\n}\n",
    ),
    (
        "alpine-virt",
        "boot/grub/grub.cfg",
        "linux /boot/vmlinuz-virt modules=loop,squashfs\ninitrd /boot/initramfs-virt\n",
    ),
    ("nixos", "isolinux/isolinux.cfg", "INCLUDE more.cfg\r\n"),
    (
        "nixos",
        "isolinux/more.cfg",
        "LABEL boot\r\nLINUX /boot/nix/bzImage\r\nAPPEND init=/nix/store/x/init root=LABEL=nixos loglevel=4\r\nINITRD ../boot/initrd\r\n",
    ),
    (
        "debian-both",
        "boot/grub/grub.cfg",
        "linux /install.amd/vmlinuz vga=788 --- quiet\ninitrd /install.amd/initrd.gz\n",
    ),
];
/// The reasons why the others have no entry.
const REASONS: [(&str, &str); 3] = [
    ("win", "not over the network: Windows"),
    ("junk", "not over the network: it has no file system"),
    (
        "two words",
        "not over the network: iPXE would split its path",
    ),
];

/// The entries of an image in the script, in the words of a row.
fn entries(script: &str, image: &Path) -> Vec<String> {
    let path = image.display().to_string();
    let url = format!("${{http}}{path}");
    let commands = script.split("\n:").skip(1).filter_map(|entry| {
        let (number, commands) = entry.split_once('\n')?;
        let is_own = |end| commands.contains(&format!("{url}{end}"));
        if number.parse::<u32>().is_err() || !(is_own('/') || is_own(' ')) {
            return None;
        }
        let item = format!("item {number} ");
        let title = script.lines().find_map(|line| line.strip_prefix(&item))?;
        let lines = commands.lines().map(|line| {
            let line = line.strip_suffix(" || goto failed").unwrap_or(line);
            // The arguments of `assign`.
            let line = line.strip_suffix(" ${more}").unwrap_or(line);
            line.trim_end_matches(" ||")
        });
        let all: Vec<&str> = [title].into_iter().chain(lines).collect();
        Some(all.join("; ").replace(&url, "I").replace(&path, "P"))
    });
    commands.collect()
}

/// The menu has an entry for each way, and the log has the ways and the reason for each image that does not boot.
#[test]
fn images_are_listed_with_their_ways() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    setup::install_packages(&["xorriso", "curl", "iproute2"])?;
    let directory = public_dir()?;
    let root = directory.path();
    fs::create_dir(root.join("more"))?;
    let image = |name: &str| root.join(format!("{name}.iso"));
    for (name, files, _) in ROWS.iter().filter(|(name, ..)| *name != "junk") {
        let tree = tempfile::tempdir()?;
        for file in files.split(' ') {
            let path = tree.path().join(file);
            fs::create_dir_all(path.parent().context("no folder")?)?;
            fs::write(&path, file)?;
            if file.ends_with("-130M") {
                fs::File::options()
                    .write(true)
                    .open(&path)?
                    .set_len(130 << 20)?;
            }
        }
        for (_, file, text) in CONFIGURATIONS.iter().filter(|(image, ..)| image == name) {
            fs::write(tree.path().join(file), text)?;
        }
        write_image(ROCK_RIDGE[0], tree.path(), &image(name))?;
    }
    fs::write(image("junk"), "junk")?;
    let host = Namespace::new()?;
    let arguments = [
        &["--interface", "lo", "--http", "8000"],
        &["--append", "kal?.iso=a=b ${c}", "--append", "MORE/*=last"],
        &["--append", "*.iso/x=y", "--append", "kali.*=second"][..],
    ];
    let server = serve(&host, root, &arguments.concat())?;
    let get = ["-sf", "http://127.0.0.1:8000/boot.ipxe"];
    let fetched = host.command("curl").args(get).output()?;
    let script = String::from_utf8(fetched.stdout)?;
    ensure!(
        script.starts_with("#!ipxe\nset server 127.0.0.1\nset http http://127.0.0.1:8000\n"),
        "{script}"
    );
    for (name, _, expect) in ROWS {
        let found = entries(&script, &image(name));
        ensure!(found == expect, "{name}: {found:#?}\n{script}");
        for entry in expect {
            let (_, way) = entry.split_once(": ").context("no title")?;
            let (way, _) = way.split_once(';').context("no command")?;
            server.wait_for_line(&format!("{}: {way}", image(name).display()), READY_MAX)?;
        }
    }
    server.wait_for_line("--append fits no image: *.iso/x", READY_MAX)?;
    for (name, reason) in REASONS {
        server.wait_for_line(&format!("{name}.iso: {reason}"), READY_MAX)?;
    }
    Ok(())
}

/// Parts of file names that mean something in a shell, a script of iPXE, a URL or a log line.
#[rustfmt::skip]
const ODD: [&str; 25] = [
    "", " two words", "\u{fc}", "'", "\"", "$(x)", "${net0}", "`", ";reboot", "&&", "\n:reboot", "\t", "\\", "#", "%20", "=", "*",
    "[a]", "~", "-", "\x7f", "(", "||", ":", "..",
];

/// 100 images with odd names, damaged menus, damaged directories, or cut: each is reported once the server runs, and the script has no
/// command that one of them brought.
#[test]
fn odd_and_damaged_images_are_reported() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    let directory = public_dir()?;
    let root = directory.path();
    let tree = tempfile::tempdir()?;
    let (_, _, menu) = CONFIGURATIONS[0];
    for (file, text) in [
        ("live/vmlinuz-2", ""),
        ("live/initrd.img-2", ""),
        ("boot/grub/grub.cfg", menu),
    ] {
        let path = tree.path().join(file);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, text)?;
    }
    let good = tree.path().join("good");
    write_image(ROCK_RIDGE[0], tree.path(), &good)?;
    let good = fs::read(good)?;
    let text = good.windows(menu.len());
    let text = { text }
        .position(|part| part == menu.as_bytes())
        .context("no menu")?;
    let mut random = fastrand::Rng::with_seed(79);
    for (number, odd) in (0..100).zip(ODD.iter().cycle()) {
        let mut bytes = good.clone();
        match number / 25 {
            0 => {}
            1 => (0..9).for_each(|_| bytes[text + random.usize(..menu.len())] = random.u8(..)),
            2 => (0..99).for_each(|_| bytes[random.usize(0x8000..text)] = random.u8(..)),
            _ => bytes.truncate(random.usize(..good.len())),
        }
        fs::write(root.join(format!("{number:02}{odd}.iso")), bytes)?;
    }
    let host = Namespace::new()?;
    let server = serve(&host, root, &["--interface", "lo", "--http", "8000"])?;
    for number in 0..100 {
        let start = format!("{}/{number:02}", root.display());
        server.wait_for_line(&start, READY_MAX)?;
    }
    let get = ["-sf", "-m", "5", "http://127.0.0.1:8000/boot.ipxe"];
    let script = String::from_utf8(host.command("curl").args(get).output()?.stdout)?;
    ensure!(script.contains("kernel ${http}"), "{script}");
    for line in script.lines() {
        let is_known = |start: &&str| line.starts_with(start);
        let known =
            "#!ipxe set isset : menu item choose goto exit prompt kernel initrd boot sanboot";
        ensure!(
            known.split(' ').any(|start| is_known(&start)),
            "{line}\n{script}"
        );
        ensure!(
            !line.starts_with(":reboot") && !line.starts_with("boot ;"),
            "{line}"
        );
    }
    Ok(())
}
