//! The images of all tests: what the programs make that people make images with, and images that Debian ships.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use xtask::machines::iso::{ROCK_RIDGE, SHIPPED, huge, make, sample, shipped};
use xtask::setup::{self, Package, quietly};

/// The images that are compared with what Linux shows, without their directory.
pub const IMAGES: [&str; 17] = [
    "xorriso.iso",
    "xorriso-joliet.iso",
    "genisoimage-moved.iso",
    "genisoimage-deep.iso",
    "level-1.iso",
    "level-2.iso",
    "level-3.iso",
    "level-4.iso",
    "joliet.iso",
    "with-udf.iso",
    "odd.iso",
    "grown.iso",
    MANY,
    HUGE,
    "ipxe.iso",
    "memtest86+.iso",
    "grub-rescue.iso",
];

/// It has a file of 5 GiB.
pub const HUGE: &str = "a directory/HUGE.ISO";
/// It has 20,000 files, a hundred in each directory: Linux takes a time that grows with the square of that.
const MANY: &str = "many.iso";
/// It has as many in one directory, which is only listed.
pub const CROWD: &str = "crowd.iso";
/// Files in either of them.
pub const CROWD_COUNT: usize = 20_000;

/// Makes all of them in a directory.
pub fn all(directory: &Path) -> Result<()> {
    let at = |name: &str| directory.join(name);
    let (far, near) = (sample(200, 100)?, sample(40, 100)?);
    for (program, name) in ROCK_RIDGE.into_iter().zip(IMAGES) {
        // What genisoimage writes of longer links nobody can read.
        let tree = if program[0] == "xorriso" { &far } else { &near };
        make(program, tree.path(), &at(name))?;
    }
    plain(&at)?;
    odd(&at("odd.iso"))?;
    grown(&at("grown.iso"))?;
    crowd(&at(MANY), 100)?;
    crowd(&at(CROWD), CROWD_COUNT)?;
    let (place, name) = HUGE.split_once('/').context("no directory")?;
    fs::create_dir(at(place))?;
    huge(&at(place), name)?;
    for (package, file, name) in SHIPPED {
        let from = shipped(package)?.join(file);
        fs::copy(&from, at(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Without Rock Ridge.
fn plain(at: &impl Fn(&str) -> PathBuf) -> Result<()> {
    let tree = tempfile::tempdir()?;
    fs::create_dir_all(tree.path().join("Directory/Gr\u{fc}\u{df}e"))?;
    fs::create_dir(tree.path().join("DOTS.in.NAME"))?;
    for name in [
        "Read Me First.text",
        "plain.txt",
        "noext",
        "hidden.txt",
        "a name of more than sixty-four letters, which are more than Joliet has room for.txt",
        "\u{65e5}\u{672c}\u{8a9e}",
        "Directory/Gr\u{fc}\u{df}e/\u{e9}t\u{e9}.tar.gz",
    ] {
        fs::write(tree.path().join(name), name)?;
    }
    for level in ["1", "2", "3", "4"] {
        // Level 4 has names as they come.
        let charset = if level == "4" { "iso8859-1" } else { "utf-8" };
        let program = [
            "genisoimage",
            "-quiet",
            "-input-charset",
            charset,
            "-iso-level",
            level,
            "-hidden",
            "hidden.txt",
        ];
        make(&program, tree.path(), &at(&format!("level-{level}.iso")))?;
    }
    let joliet = ["genisoimage", "-quiet", "-input-charset", "utf-8", "-J"];
    make(&joliet, tree.path(), &at("joliet.iso"))?;
    let with_udf = [&joliet[..], &["-joliet-long", "-udf"]].concat();
    make(&with_udf, tree.path(), &at("with-udf.iso"))
}

/// What is neither file nor directory, owners, times, and hard links.
fn odd(image: &Path) -> Result<()> {
    let tree = tempfile::tempdir()?;
    let at = |name: &str| tree.path().join(name);
    mkfifo(&at("fifo"), Mode::S_IRWXU)?;
    UnixListener::bind(at("socket"))?;
    mknod(&at("zero"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5))?;
    mknod(
        &at("disk"),
        SFlag::S_IFBLK,
        Mode::S_IRUSR,
        makedev(259, 70_000),
    )?;
    symlink("/", at("root"))?;
    symlink("../../././a//b/", at("dots"))?;
    for owner in [1, 1000, 65_534, 4_000_000_000] {
        let path = at(&format!("of-{owner}"));
        fs::write(&path, "")?;
        chown(path, Some(owner), Some(owner ^ 1))?;
    }
    fs::write(at("one name"), "two names")?;
    fs::hard_link(at("one name"), at("another name"))?;
    // The days of years that have a day more, or have it not, and nearly the last second that an old Linux knows.
    for seconds in [
        0,
        68_169_599,
        951_782_400,
        951_868_800,
        1_709_164_800,
        2_147_300_000,
    ] {
        let file = File::create(at(&format!("time-{seconds}")))?;
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_times(
            FileTimes::new()
                .set_modified(time)
                .set_accessed(time + Duration::from_secs(86_400)),
        )?;
    }
    // Its clock is five and a half hours before Greenwich's.
    let mut genisoimage = Command::new("genisoimage");
    genisoimage
        .env("TZ", "IST-5:30")
        .args(["-quiet", "-R", "-cache-inodes", "-o"]);
    quietly(genisoimage.args([image, tree.path()]))?;
    Ok(())
}

/// What was added to later, as people do with sticks.
fn grown(image: &Path) -> Result<()> {
    let tree = tempfile::tempdir()?;
    fs::write(tree.path().join("first"), "first")?;
    fs::write(tree.path().join("both"), "as it was")?;
    make(ROCK_RIDGE[0], tree.path(), image)?;
    fs::write(tree.path().join("both"), "as it became")?;
    let mut xorriso = Command::new("xorriso");
    xorriso
        .arg("-dev")
        .arg(image)
        .args(["-rm", "first", "--", "-map"]);
    xorriso
        .arg(tree.path().join("both"))
        .args(["/both", "-commit"]);
    quietly(&mut xorriso)?;
    Ok(())
}

/// Many files, so many of them in each directory; some have something in them.
fn crowd(image: &Path, each: usize) -> Result<()> {
    let tree = tempfile::tempdir()?;
    for number in 0..CROWD_COUNT {
        let directory = tree.path().join(format!("{:03}", number / each));
        fs::create_dir_all(&directory)?;
        let content = number.to_string().repeat(usize::from(number % 20 == 0));
        fs::write(directory.join(crowded(number)), content)?;
    }
    make(ROCK_RIDGE[1], tree.path(), image)
}

/// What a file of them is called.
pub fn crowded(number: usize) -> String {
    format!("entry-{number:05}")
}

/// Makes the image of a live system, as Debian's are, which does what `init` says; the SHA-256 of its file system.
pub fn live(image: &Path, init: &str) -> Result<String> {
    setup::need(&[Package::SQUASHFS_TOOLS, Package::BUSYBOX, Package::XORRISO])?;
    let work = tempfile::tempdir()?;
    let (root, tree) = (work.path().join("root"), work.path().join("tree"));
    for directory in [
        "bin", "sbin", "dev", "etc", "proc", "run", "sys", "tmp", "var/log",
    ] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh"))?;
    let path = root.join("sbin/init");
    fs::write(&path, init.trim_start())?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::create_dir_all(tree.join("live"))?;
    let mut mksquashfs = Command::new("mksquashfs");
    let squashfs = tree.join("live/filesystem.squashfs");
    mksquashfs.arg(&root).arg(&squashfs);
    quietly(mksquashfs.args(["-quiet", "-no-progress", "-all-root"]))?;
    make(ROCK_RIDGE[1], &tree, image)?;
    let sum = quietly(Command::new("sha256sum").arg(squashfs))?;
    let (sum, _) = sum.split_once(' ').context("sha256sum printed no sum")?;
    Ok(sum.into())
}
