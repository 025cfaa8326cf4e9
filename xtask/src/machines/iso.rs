//! ISO images for tests: Debian's own images, images made by xorriso and genisoimage, and their sample contents.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::build::workspace_root;
use crate::setup;

/// ISO images in Debian packages: package, path of the image in the package, name of the image in tests.
pub const SHIPPED: [(&str, &str, &str); 3] = [
    ("ipxe", "usr/lib/ipxe/ipxe.iso", "ipxe.iso"),
    (
        "memtest86+",
        "usr/lib/memtest86+/memtest86+x64.iso",
        "memtest86+.iso",
    ),
    (
        "grub-rescue-pc",
        "usr/lib/grub-rescue/grub-rescue-cdrom.iso",
        "grub-rescue.iso",
    ),
];

/// Debian packages of TFTP clients.
pub const TFTP: [&str; 2] = ["atftp", "tftp-hpa"];

/// The Debian package of the installer that boots over the network.
pub const INSTALLER: &str = "debian-installer-12-netboot-amd64";

/// The Debian package of exportfs, which the tests of exports files compare with.
pub const EXPORTFS: &str = "nfs-kernel-server";

/// Downloads `package` and unpacks it under target/images, without installing it. Returns its directory, which later calls reuse.
pub fn unpack_package(package: &str) -> Result<PathBuf> {
    let all = workspace_root().join("target/images");
    let home = all.join(package);
    if !home.exists() {
        let _waiting = setup::progress(&format!("downloading {package}"));
        fs::create_dir_all(&all)?;
        let work = tempfile::tempdir_in(&all)?;
        let debs = work.path().join("debs");
        fs::create_dir(&debs)?;
        setup::PrivateApt::new(&work.path().join("apt"))?.download(&[package], &debs)?;
        let deb = fs::read_dir(&debs)?
            .next()
            .context("apt-get downloaded no package")??;
        let tree = work.path().join("tree");
        setup::run_captured(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(deb.path())
                .arg(&tree),
        )?;
        fs::rename(tree, &home)?;
    }
    Ok(home)
}

/// Command lines that write ISO images with Rock Ridge, each in a different layout.
pub const ROCK_RIDGE: [&[&str]; 4] = [
    &["xorriso", "-as", "mkisofs", "-quiet", "-R"],
    &[
        "xorriso",
        "-as",
        "mkisofs",
        "-quiet",
        "-R",
        "-J",
        "-joliet-long",
        "-iso-level",
        "3",
    ],
    // Without -D, genisoimage moves deep directories to RR_MOVED, as ISO 9660 allows at most eight levels.
    &["genisoimage", "-quiet", "-R", "-J", "-joliet-long"],
    &["genisoimage", "-quiet", "-R", "-D", "-l"],
];

/// The timestamp of everything in the sample, in the format of `touch -d`.
const TIME: &str = "2001-02-03T04:05:06Z";

/// Creates a sample tree: deep and long names, links, special modes, a link target of `parts` + 1 components, a directory of
/// `files` files.
pub fn sample(parts: usize, files: usize) -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let root = dir.path();
    fs::write(root.join("hello.txt"), "hello\n")?;
    fs::write(root.join("empty"), "")?;
    fs::write(root.join("Two Words And Capitals.TXT"), "words")?;
    let bytes: Vec<u8> = (0..3_000_000_u64)
        .map(|number| ((number * number) >> 7) as u8)
        .collect();
    fs::write(root.join("large"), &bytes)?;
    let deep = root.join("a/b/c/d/e/f/g/h/i/j/k");
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), "far down")?;
    symlink("../../hello.txt", root.join("a/b/up"))?;
    symlink("/a/b/up", root.join("absolute"))?;
    symlink("nowhere", root.join("dangling"))?;
    symlink("loop", root.join("loop"))?;
    symlink("xyz/".repeat(parts) + "end", root.join("far"))?;
    for len in [100, 180, 230, 250] {
        fs::write(
            root.join(format!("{len}{}", "n".repeat(len - 3))),
            len.to_string(),
        )?;
    }
    fs::create_dir(root.join("many"))?;
    for number in 0..files {
        let name = format!("many/the file of number {number}");
        fs::write(root.join(name), number.to_string())?;
    }
    for (name, mode) in [
        ("hello.txt", 0o4751),
        ("empty", 0o2600),
        ("many", 0o1777),
        ("a", 0o500),
    ] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode))?;
    }
    let mut touch = Command::new("find");
    touch
        .arg(root)
        .args(["-exec", "touch", "-h", "-d", TIME, "{}", "+"]);
    setup::run_captured(&mut touch)?;
    Ok(dir)
}

/// Makes an ISO image of `tree` in a new temporary directory.
pub fn image(program: &[&str], tree: &Path) -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("test.iso");
    write_image(program, tree, &path)?;
    Ok((dir, path))
}

/// Makes an ISO image of `tree` at `path`.
pub fn write_image(program: &[&str], tree: &Path, path: &Path) -> Result<()> {
    setup::install_packages(&["xorriso", "genisoimage"])?;
    let mut command = Command::new(program[0]);
    setup::run_captured(command.args(&program[1..]).arg("-o").arg(path).arg(tree))?;
    Ok(())
}

/// Writes live/filesystem.squashfs into `tree`: a system of busybox whose init is the script `init`.
pub fn write_live_system(tree: &Path, init: &str) -> Result<()> {
    setup::install_packages(&["squashfs-tools", "busybox-static"])?;
    let work = tempfile::tempdir()?;
    let root = work.path();
    for directory in [
        "bin", "sbin", "dev", "etc", "proc", "run", "sys", "tmp", "var/log",
    ] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh"))?;
    let path = root.join("sbin/init");
    fs::write(&path, init.trim_start())?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    fs::create_dir_all(tree.join("live"))?;
    let mut mksquashfs = Command::new("mksquashfs");
    let squashfs = tree.join("live/filesystem.squashfs");
    mksquashfs.arg(root).arg(&squashfs);
    setup::run_captured(mksquashfs.args(["-quiet", "-no-progress", "-all-root"]))?;
    Ok(())
}

/// Writes an image whose ISO 9660 tree has only a readme, and whose UDF volume has no anchor.
pub fn write_unknown_udf(image: &Path) -> Result<()> {
    const SECTOR: usize = 2048;
    let tree = tempfile::tempdir()?;
    fs::write(tree.path().join("README.TXT"), "The files are in UDF.\n")?;
    write_image(&["genisoimage", "-quiet", "-udf"], tree.path(), image)?;
    let mut bytes = fs::read(image)?;
    // The anchor is sector 256, and is repeated near the end.
    bytes[256 * SECTOR..].fill(0);
    Ok(fs::write(image, bytes)?)
}

/// Size (bytes) of the file `huge` in the image that [`huge()`] makes.
pub const HUGE_BYTES: u64 = (5 << 30) + 12_345;

/// Offsets of the bytes of `huge` that are not zero: everywhere, at the border of its extents, and at its end.
pub fn huge_marks() -> impl Iterator<Item = u64> {
    let around_extents = [
        0,
        1 << 20,
        (4 << 30) - 2050,
        (4 << 30) - 3,
        (5 << 30) + 1,
        HUGE_BYTES - 9,
    ];
    let everywhere = (1..HUGE_BYTES >> 16).map(|block| block << 16 | block & 0xffff);
    everywhere.step_by(41).chain(around_extents)
}

/// Makes the image `directory`/`name` with a sparse file of 5 GiB. The file consists of zeros except for a few short marks, and
/// `dd` leaves holes for the zeros in the image.
pub fn huge(directory: &Path, name: &str) -> Result<()> {
    setup::install_packages(&["xorriso"])?;
    let tree = directory.join("tree");
    fs::create_dir(&tree)?;
    let file = File::create(tree.join("huge"))?;
    file.set_len(HUGE_BYTES)?;
    for offset in huge_marks() {
        file.write_all_at(
            format!("{offset:09}").get(..9).context("short")?.as_bytes(),
            offset,
        )?;
    }
    fs::write(tree.join("last"), "behind it")?;
    let mut make = Command::new("sh");
    make.current_dir(directory).args([
        "-c",
        "xorriso -as mkisofs -quiet -R -iso-level 3 tree | dd of=\"$1\" bs=64k iflag=fullblock conv=sparse status=none",
        "sh",
        name,
    ]);
    setup::run_captured(&mut make)?;
    Ok(())
}
