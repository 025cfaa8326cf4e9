//! The images of all tests: images made by xorriso and genisoimage with various options, and images that Debian ships.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use xtask::machines::iso::{
    ROCK_RIDGE, SHIPPED, huge, sample, unpack_package, write_image, write_live_system,
};
use xtask::setup::run_captured;

/// Names of the images whose contents are compared with Linux' view.
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
    "udf-joliet.iso",
    "odd.iso",
    "grown.iso",
    MANY,
    HUGE,
    "ipxe.iso",
    "memtest86+.iso",
    "grub-rescue.iso",
];

/// An image with a file of 5 GiB.
pub const HUGE: &str = "a directory/HUGE.ISO";
/// An image with 4,000 files, a hundred per directory. Linux' lookup in a directory takes linear time, so reading the files of one
/// large directory would take too long.
const MANY: &str = "many.iso";
/// An image with 20,000 files in one directory. The test only lists them.
pub const CROWD: &str = "crowd.iso";
/// Number of files in [`CROWD`].
pub const CROWD_COUNT: usize = 20_000;

/// Makes all images in `directory`.
pub fn all(directory: &Path) -> Result<()> {
    let path = |name: &str| directory.join(name);
    let (far, near) = (sample(200, 100)?, sample(40, 100)?);
    for (program, name) in ROCK_RIDGE.into_iter().zip(IMAGES) {
        // The tree for genisoimage has a shorter link target, because genisoimage writes longer ones in a form that no reader
        // accepts.
        let tree = if program[0] == "xorriso" { &far } else { &near };
        write_image(program, tree.path(), &path(name))?;
    }
    plain(&path)?;
    odd(&path("odd.iso"))?;
    grown(&path("grown.iso"))?;
    crowd(&path(MANY), 4000, 100)?;
    crowd(&path(CROWD), CROWD_COUNT, CROWD_COUNT)?;
    let (parent, name) = HUGE.split_once('/').context("no directory")?;
    fs::create_dir(path(parent))?;
    huge(&path(parent), name)?;
    for (package, file, name) in SHIPPED {
        let from = unpack_package(package)?.join(file);
        fs::copy(&from, path(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Images without Rock Ridge.
fn plain(path: &impl Fn(&str) -> PathBuf) -> Result<()> {
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
        // Level 4 stores names unchanged. In the charset iso8859-1, every byte of a name is a valid character.
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
        write_image(&program, tree.path(), &path(&format!("level-{level}.iso")))?;
    }
    let joliet = ["genisoimage", "-quiet", "-input-charset", "utf-8", "-J"];
    write_image(&joliet, tree.path(), &path("joliet.iso"))?;
    let with_udf = [&joliet[..], &["-joliet-long", "-udf"]].concat();
    write_image(&with_udf, tree.path(), &path("udf-joliet.iso"))
}

/// An image with special files, owners, times, and hard links.
fn odd(image: &Path) -> Result<()> {
    let tree = tempfile::tempdir()?;
    let path = |name: &str| tree.path().join(name);
    mkfifo(&path("fifo"), Mode::S_IRWXU)?;
    UnixListener::bind(path("socket"))?;
    mknod(&path("zero"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5))?;
    mknod(
        &path("disk"),
        SFlag::S_IFBLK,
        Mode::S_IRUSR,
        makedev(259, 70_000),
    )?;
    symlink("/", path("root"))?;
    symlink("../../././a//b/", path("dots"))?;
    for owner in [1, 1000, 65_534, 4_000_000_000] {
        let file = path(&format!("of-{owner}"));
        fs::write(&file, "")?;
        chown(file, Some(owner), Some(owner ^ 1))?;
    }
    fs::write(path("one name"), "two names")?;
    fs::hard_link(path("one name"), path("another name"))?;
    // Days around the end of February in leap years and other years, and a time shortly before 2038.
    for seconds in [
        0,
        68_169_599,
        951_782_400,
        951_868_800,
        1_709_164_800,
        2_147_300_000,
    ] {
        let file = File::create(path(&format!("time-{seconds}")))?;
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_times(
            FileTimes::new()
                .set_modified(time)
                .set_accessed(time + Duration::from_secs(86_400)),
        )?;
    }
    // genisoimage stores timestamps with the time zone of TZ: five and a half hours east of Greenwich.
    let mut genisoimage = Command::new("genisoimage");
    genisoimage
        .env("TZ", "IST-5:30")
        .args(["-quiet", "-R", "-cache-inodes", "-o"]);
    run_captured(genisoimage.args([image, tree.path()]))?;
    Ok(())
}

/// An image with a second session, as `xorriso -dev` appends it.
fn grown(image: &Path) -> Result<()> {
    let tree = tempfile::tempdir()?;
    fs::write(tree.path().join("first"), "first")?;
    fs::write(tree.path().join("both"), "as it was")?;
    write_image(ROCK_RIDGE[0], tree.path(), image)?;
    fs::write(tree.path().join("both"), "as it became")?;
    let mut xorriso = Command::new("xorriso");
    xorriso
        .arg("-dev")
        // Without "stdio:", xorriso takes files below /dev for drives.
        .arg(format!("stdio:{}", image.display()))
        .args(["-rm", "first", "--", "-map"]);
    xorriso
        .arg(tree.path().join("both"))
        .args(["/both", "-commit"]);
    run_captured(&mut xorriso)?;
    Ok(())
}

/// An image with `count` files, `each` files per directory. Every twentieth file has contents.
fn crowd(image: &Path, count: usize, each: usize) -> Result<()> {
    let tree = tempfile::tempdir()?;
    for number in 0..count {
        let directory = tree.path().join(format!("{:03}", number / each));
        fs::create_dir_all(&directory)?;
        let content = number.to_string().repeat(usize::from(number % 20 == 0));
        fs::write(directory.join(crowded(number)), content)?;
    }
    write_image(ROCK_RIDGE[1], tree.path(), image)
}

/// The name of file `number` in a crowd image.
pub fn crowded(number: usize) -> String {
    format!("entry-{number:05}")
}

/// Makes the image of a Debian live system whose init is the script `init`.
pub fn live(image: &Path, init: &str) -> Result<()> {
    let tree = tempfile::tempdir()?;
    write_live_system(tree.path(), init)?;
    write_image(ROCK_RIDGE[1], tree.path(), image)
}
