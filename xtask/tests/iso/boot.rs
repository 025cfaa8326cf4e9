//! `--isos`: the iPXE commands that are printed for images of every known layout. The server must have the files that they name.

use super::ROCK_RIDGE;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::setup;

/// For each layout: the image's name, its files, and the commands that are printed after the name. P stands for the image's path.
const LAYOUTS: [(&str, &[&str], &str); 14] = [
    (
        "ubuntu.iso",
        &["casper/vmlinuz", "casper/initrd.lz", "casper/hwe-initrd"],
        "kernel nfs://${server}P/casper/vmlinuz initrd=initrd.lz boot=casper netboot=nfs \
         nfsroot=${server}:P ip=dhcp\n\
         initrd nfs://${server}P/casper/initrd.lz\n",
    ),
    (
        "debian-live.iso",
        &[
            "live/vmlinuz",
            "live/initrd.img",
            "live/filesystem.squashfs",
        ],
        "kernel nfs://${server}P/live/vmlinuz initrd=initrd.img boot=live netboot=nfs \
         nfsroot=${server}:P\n\
         initrd nfs://${server}P/live/initrd.img\n",
    ),
    (
        "live-with-versions.ISO",
        &[
            "live/vmlinuz-6.1.0-13-amd64",
            "live/initrd.img-6.1.0-13-amd64",
        ],
        "kernel nfs://${server}P/live/vmlinuz-6.1.0-13-amd64 \
         initrd=initrd.img-6.1.0-13-amd64 boot=live netboot=nfs nfsroot=${server}:P\n\
         initrd nfs://${server}P/live/initrd.img-6.1.0-13-amd64\n",
    ),
    (
        "fedora.iso",
        &[
            "images/pxeboot/vmlinuz",
            "images/pxeboot/initrd.img",
            "images/install.img",
        ],
        "kernel nfs://${server}P/images/pxeboot/vmlinuz initrd=initrd.img \
         inst.repo=nfs:${server}:P\n\
         initrd nfs://${server}P/images/pxeboot/initrd.img\n",
    ),
    (
        "debian-netinst.iso",
        &[
            "install.amd/vmlinuz",
            "install.amd/initrd.gz",
            "install.amd/gtk/initrd.gz",
        ],
        "kernel nfs://${server}P/install.amd/vmlinuz initrd=initrd.gz\n\
         initrd nfs://${server}P/install.amd/initrd.gz\n",
    ),
    (
        "debian-i386.iso",
        &["install.386/vmlinuz", "install.386/initrd.gz"],
        "kernel nfs://${server}P/install.386/vmlinuz initrd=initrd.gz\n\
         initrd nfs://${server}P/install.386/initrd.gz\n",
    ),
    (
        "debian-arm64.iso",
        &["install.a64/vmlinuz", "install.a64/initrd.gz"],
        "kernel nfs://${server}P/install.a64/vmlinuz initrd=initrd.gz\n\
         initrd nfs://${server}P/install.a64/initrd.gz\n",
    ),
    (
        "archlinux.iso",
        &[
            "arch/boot/x86_64/vmlinuz-linux",
            "arch/boot/x86_64/initramfs-linux.img",
        ],
        "kernel nfs://${server}P/arch/boot/x86_64/vmlinuz-linux initrd=initramfs-linux.img \
         archisobasedir=arch archiso_nfs_srv=${server}:P ip=dhcp\n\
         initrd nfs://${server}P/arch/boot/x86_64/initramfs-linux.img\n",
    ),
    (
        "manjaro.iso",
        &["boot/vmlinuz-x86_64", "boot/initramfs-x86_64.img"],
        "kernel nfs://${server}P/boot/vmlinuz-x86_64 initrd=initramfs-x86_64.img \
         misobasedir=manjaro miso_nfs_srv=${server}:P ip=dhcp\n\
         initrd nfs://${server}P/boot/initramfs-x86_64.img\n",
    ),
    (
        "opensuse.iso",
        &[
            "boot/x86_64/loader/linux",
            "boot/x86_64/loader/initrd",
            "boot/x86_64/root",
            "LiveOS/squashfs.img",
        ],
        "kernel nfs://${server}P/boot/x86_64/loader/linux initrd=initrd \
         install=nfs://${server}P\n\
         initrd nfs://${server}P/boot/x86_64/loader/initrd\n",
    ),
    // Several kernels: each has a RAM disk of its own.
    (
        "arch-three.iso",
        &[
            "arch/boot/x86_64/initramfs-linux-lts.img",
            "arch/boot/x86_64/initramfs-linux-zen.img",
            "arch/boot/x86_64/initramfs-linux.img",
            "arch/boot/x86_64/vmlinuz-linux",
            "arch/boot/x86_64/vmlinuz-linux-lts",
            "arch/boot/x86_64/vmlinuz-linux-zen",
        ],
        "kernel nfs://${server}P/arch/boot/x86_64/vmlinuz-linux initrd=initramfs-linux.img \
         archisobasedir=arch archiso_nfs_srv=${server}:P ip=dhcp\n\
         initrd nfs://${server}P/arch/boot/x86_64/initramfs-linux.img\n",
    ),
    (
        "pop-os.iso",
        &[
            "casper_pop-os_22.04/vmlinuz.efi",
            "casper_pop-os_22.04/initrd.gz",
        ],
        "kernel nfs://${server}P/casper_pop-os_22.04/vmlinuz.efi initrd=initrd.gz boot=casper netboot=nfs \
         nfsroot=${server}:P live-media-path=/casper_pop-os_22.04 ip=dhcp\n\
         initrd nfs://${server}P/casper_pop-os_22.04/initrd.gz\n",
    ),
    (
        "systemrescue.iso",
        &[
            "sysresccd/boot/x86_64/vmlinuz",
            "sysresccd/boot/x86_64/sysresccd.img",
        ],
        "kernel nfs://${server}P/sysresccd/boot/x86_64/vmlinuz initrd=sysresccd.img \
         archisobasedir=sysresccd archiso_nfs_srv=${server}:P ip=dhcp\n\
         initrd nfs://${server}P/sysresccd/boot/x86_64/sysresccd.img\n",
    ),
    // Two layouts in one image: `casper` lacks the initrd, so the commands use `live`, which is complete.
    (
        "both.iso",
        &["casper/vmlinuz", "live/vmlinuz", "live/initrd.img"],
        "kernel nfs://${server}P/live/vmlinuz initrd=initrd.img boot=live netboot=nfs \
         nfsroot=${server}:P\n\
         initrd nfs://${server}P/live/initrd.img\n",
    ),
];
/// The script without the commands and the menu's items for images.
const FRAME: &str = "#!ipxe\nisset ${ip} || dhcp\nset server ${next-server}\ngoto menu\n\
                     :menu\nmenu Boot from ${server}\n\
                     choose --timeout 60000 image || exit\ngoto ${image}\n";
/// Reasons why no commands are printed for an image.
const SPLIT: &str = "iPXE would split its path; use letters, digits and - . _ only";
const UNKNOWN: &str = "no kernel and RAM disk where a known system has them";
const LIVE: &str = "this live system cannot boot over NFS";

/// Makes an image in which every file contains its own path.
fn write_image(image: &Path, files: &[&str]) -> Result<()> {
    let tree = tempfile::tempdir()?;
    for file in files {
        let path = tree.path().join(file);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::write(path, file)?;
    }
    xtask::machines::iso::write_image(ROCK_RIDGE[0], tree.path(), image)
}

/// Makes an image like those of Windows: the files are in UDF, and the ISO 9660 tree has only a readme.
fn write_windows(image: &Path) -> Result<()> {
    let tree = tempfile::tempdir()?;
    fs::create_dir(tree.path().join("sources"))?;
    fs::write(tree.path().join("sources/boot.wim"), "")?;
    fs::write(tree.path().join("readme.txt"), "The files are in UDF.\n")?;
    let program = ["genisoimage", "-quiet", "-udf", "-hide", "sources"];
    xtask::machines::iso::write_image(&program, tree.path(), image)
}

/// Starts a server with `--isos dir`. Returns the server and its standard output, which a shell redirects to a file.
fn serve(arch: Arch, role: &'static str, dir: &Path) -> Result<(Server, String)> {
    let printed: TempDir = public_dir()?;
    let file = printed.path().join("printed");
    let script = format!("exec \"$@\" >'{}'", file.display());
    let server = Server::start(ServerOptions {
        arch,
        role,
        arguments: vec!["--isos".into(), dir.display().to_string()],
        wrapper: ["sh", "-c", &script, "sh"].map(String::from).to_vec(),
        ..ServerOptions::default()
    })?;
    let text = fs::read_to_string(&file)?;
    Ok((server, text))
}

#[test]
fn printed_script_names_existing_files_for_every_layout() -> Result<()> {
    setup::install_packages(&["xorriso", "libnfs-utils"])?;
    let dir = public_dir()?;
    for (name, files, _) in LAYOUTS {
        write_image(&dir.path().join(name), files)?;
    }
    fs::write(dir.path().join("no image"), "")?;
    fs::create_dir(dir.path().join("directory"))?;
    for (arch, role) in [(Arch::X86_64, "serve"), (Arch::I686, "nfs")] {
        let (server, printed) = serve(arch, role, dir.path())?;
        let mut remaining = printed.clone();
        let items = printed.lines().filter(|line| line.starts_with("item "));
        ensure!(items.is_sorted(), "{printed}");
        for (name, _, lines) in LAYOUTS {
            let path = dir.path().join(name).display().to_string();
            let lines = format!(":{name}\n{}boot\n", lines.replace('P', &path));
            let item = format!("item {name} {name}\n");
            for part in [lines, item] {
                ensure!(remaining.contains(&part), "{part} is not in {printed}");
                remaining = remaining.replace(&part, "");
            }
        }
        ensure!(remaining == FRAME, "unexpected output: {remaining}");
        let mut read = 0;
        let uris = printed.split_whitespace();
        for path in uris.filter_map(|word| word.strip_prefix("nfs://${server}")) {
            let ports = format!(
                "nfsport={}&mountport={}",
                server.nfs_port, server.mount_port
            );
            let url = format!("nfs://127.0.0.1{path}?version=3&{ports}");
            let output = Command::new("nfs-cat").arg(url).output()?;
            let content = String::from_utf8(output.stdout)?;
            ensure!(
                output.status.success() && !content.is_empty() && path.ends_with(&content),
                "{path} is {content:?}"
            );
            read += 1;
        }
        ensure!(read == 2 * LAYOUTS.len(), "{read} files were read");
    }
    Ok(())
}

#[test]
fn images_that_cannot_be_booted_are_left_out() -> Result<()> {
    setup::install_packages(&["xorriso"])?;
    let dir = public_dir()?;
    let live = &["live/vmlinuz", "live/initrd.img"];
    // Each name has a character that would end a word, a URI path, an option or a line in iPXE's script.
    let names = [
        "two words.iso",
        "a#b.iso",
        "a?b.iso",
        "a,b.iso",
        "a${b}.iso",
        "a%20b.iso",
    ];
    for name in names {
        write_image(&dir.path().join(name), live)?;
    }
    write_image(&dir.path().join("x\nkernel evil.iso"), live)?;
    let live = "LiveOS/squashfs.img";
    for (name, files) in [
        ("other.iso", &["boot/vmlinuz", "boot/initrd"][..]),
        ("odd-kernel.iso", &["live/vmlinuz x=y", "live/initrd.img"]),
        (
            "fedora-live.iso",
            &["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", live],
        ),
        (
            "suse-live.iso",
            &[
                "boot/x86_64/loader/linux",
                "boot/x86_64/loader/initrd",
                live,
            ],
        ),
    ] {
        write_image(&dir.path().join(name), files)?;
    }
    write_windows(&dir.path().join("windows.iso"))?;
    let cut = dir.path().join("cut.iso");
    write_image(&cut, &["live/vmlinuz", "live/initrd.img"])?;
    let whole = fs::metadata(&cut)?.len();
    fs::OpenOptions::new()
        .write(true)
        .open(&cut)?
        .set_len(whole * 3 / 4)?;
    let cut = format!("cut.iso ({} of {whole} bytes)", whole * 3 / 4);
    Command::new("mkfifo")
        .arg(dir.path().join("fifo.iso"))
        .status()?;
    let (server, printed) = serve(Arch::X86_64, "nfs", dir.path())?;
    ensure!(printed == FRAME, "{printed}");
    let reasons = names
        .iter()
        .chain(&["x\\nkernel evil.iso"])
        .map(|name| (*name, SPLIT))
        .chain([("other.iso", UNKNOWN), ("odd-kernel.iso", UNKNOWN)])
        .chain([("fedora-live.iso", LIVE), ("suse-live.iso", LIVE)])
        .chain([("windows.iso", "Windows cannot boot over NFS")])
        .chain([(&*cut, "the image is cut; copy it again")])
        .chain([("fifo.iso", "not a regular file")]);
    for (name, why) in reasons {
        let path = format!("{}/{name}", dir.path().display());
        let line = format!("stowaway: not in the boot menu: {path}: {why}");
        server.wait_for_line(&line, Duration::from_secs(1))?;
    }
    Ok(())
}

#[test]
fn damaged_images_are_reported_and_others_served() -> Result<()> {
    setup::install_packages(&["xorriso"])?;
    let dir = public_dir()?;
    let path = |name: &str| dir.path().join(name);
    write_image(&path("good.iso"), &["live/vmlinuz", "live/initrd.img"])?;
    fs::write(path("text.iso"), vec![b'x'; 100_000])?;
    fs::copy(path("good.iso"), path("short.iso"))?;
    // The truncated image has a volume descriptor, but no directories.
    File::options()
        .write(true)
        .open(path("short.iso"))?
        .set_len(36 << 10)?;
    let (server, printed) = serve(Arch::X86_64, "nfs", dir.path())?;
    for (name, why) in [
        (
            "text.iso",
            "neither a directory nor an ISO 9660 or UDF image",
        ),
        ("short.iso", "the image is cut; copy it again"),
    ] {
        let line = format!("stowaway: cannot read {}: {why}", path(name).display());
        server.wait_for_line(&line, Duration::from_secs(1))?;
        ensure!(!printed.contains(name), "{printed}");
    }
    ensure!(
        printed.contains(":good.iso\nkernel ")
            && printed.lines().count() == FRAME.lines().count() + 5,
        "{printed}"
    );
    Ok(())
}

#[test]
fn directory_without_images_is_reported() -> Result<()> {
    let dir = public_dir()?;
    fs::write(dir.path().join("image.img"), "")?;
    let (server, _) = serve(Arch::X86_64, "nfs", dir.path())?;
    let line = format!("stowaway: no *.iso in {}", dir.path().display());
    server.wait_for_line(&line, Duration::from_secs(1))?;
    Ok(())
}

#[test]
fn unwritable_script_is_an_error() -> Result<()> {
    let dir = public_dir()?;
    setup::install_packages(&["xorriso"])?;
    write_image(
        &dir.path().join("a.iso"),
        &["live/vmlinuz", "live/initrd.img"],
    )?;
    let output = Command::new(xtask::machines::server::binary(Arch::X86_64)?)
        .args(["nfs", "-p", "-n", "0", "--isos"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(File::options().write(true).open("/dev/full")?)
        .output()?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1),
        "{}: {stderr}",
        output.status
    );
    ensure!(
        stderr.ends_with("stowaway: standard output cannot be written\n"),
        "{stderr}"
    );
    Ok(())
}
