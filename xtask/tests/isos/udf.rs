//! UDF images: made by mkudffs and filled by the guest's kernel, and made by genisoimage with the ISO 9660 tree of Windows' images,
//! which has nothing but a readme.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use xtask::machines::iso::{sample, write_image};
use xtask::setup::{self, run_captured};

/// An image: its name, and the arguments of mkudffs.
type Made = (&'static str, &'static str);

/// Size of an image of mkudffs (bytes).
const BYTES: u64 = 16 << 20;

/// The images that the guest fills: each media type to which Linux writes and of which mkudffs makes images (of "mo" and "worm",
/// udftools 2.3 makes none, so their strategy is used on a disk), their revisions, and all block sizes and forms of file entries and
/// allocation descriptors.
const FILLED: [Made; 19] = [
    ("udf-hd-1.01.iso", "-m hd -b 512 -r 1.01"),
    ("udf-hd-1.02.iso", "-m hd -b 512 -r 1.02"),
    ("udf-hd-1.50.iso", "-m hd -b 1024 -r 1.50"),
    ("udf-hd-2.00.iso", "-m hd -b 2048 -r 2.00"),
    ("udf-hd-2.01.iso", "-m hd -b 4096 -r 2.01"),
    ("udf-short.iso", "-m hd -b 512 --ad=short"),
    ("udf-long.iso", "-m hd -b 512 --ad=long"),
    ("udf-long-4096.iso", "-m hd -b 4096 --ad=long"),
    ("udf-plain-entries.iso", "-m hd -b 2048 --noefe"),
    ("udf-16-bit.iso", "-m hd -b 1024 --label=\u{65e5}\u{672c}"),
    (
        "udf-spared.iso",
        "-m hd -b 2048 --spartable=4 --sparspace=64",
    ),
    ("udf-strategy-4096.iso", "-m hd -b 512 --strategy=4096"),
    (
        "udf-strategy-1.02.iso",
        "-m hd -b 2048 -r 1.02 --strategy=4096",
    ),
    ("udf-dvdram-1.02.iso", "-m dvdram -r 1.02"),
    ("udf-dvdram-2.00.iso", "-m dvdram -r 2.00"),
    ("udf-dvdrw-1.50.iso", "-m dvdrw -r 1.50"),
    ("udf-dvdrw-2.01.iso", "-m dvdrw -r 2.01"),
    ("udf-cdrw-1.50.iso", "-m cdrw -r 1.50"),
    ("udf-cdrw-2.01.iso", "-m cdrw -r 2.01"),
];

/// Images to which Linux does not write: their root directory is empty. Linux cannot read the VAT of revision 1.50 here.
const BLANK: [Made; 14] = [
    ("udf-dvd-1.02.iso", "-m dvd -r 1.02"),
    ("udf-dvd-1.50.iso", "-m dvd -r 1.50"),
    ("udf-dvd-2.01.iso", "-m dvd -r 2.01"),
    ("udf-dvd-512.iso", "-m dvd -b 512"),
    ("udf-freed-table.iso", "-m hd -b 512 --space=freedtable"),
    ("udf-dvdr-2.01.iso", "-m dvdr -r 2.01"),
    ("udf-dvdr-closed.iso", "-m dvdr -r 2.01 --closed"),
    ("udf-cdr-closed.iso", "-m cdr -r 2.01 --closed"),
    ("udf-cdr-2.01.iso", "-m cdr -r 2.01"),
    ("udf-cd-1.02.iso", "-m cd -r 1.02"),
    ("udf-bdr-512.iso", "-m bdr -r 2.60 -b 512"),
    ("udf-bdr-2.50.iso", "-m bdr -r 2.50"),
    ("udf-bdr-2.60.iso", "-m bdr -r 2.60"),
    ("udf-vat-512.iso", "-m hd --vat --closed -b 512"),
];

/// Images of genisoimage whose ISO 9660 tree has only a readme: without Rock Ridge, as Windows' images are, and with it.
pub const BRIDGES: [&str; 2] = ["udf-windows.iso", "udf-windows-rock-ridge.iso"];

/// The names of the images.
pub fn names() -> impl Iterator<Item = &'static str> {
    let made = FILLED.into_iter().chain(BLANK).map(|(name, _)| name);
    BRIDGES.into_iter().chain(made)
}

/// The names of the images that the guest fills.
pub fn to_fill() -> impl Iterator<Item = &'static str> {
    FILLED.into_iter().map(|(name, _)| name)
}

/// Makes all images in `directory`. Those of mkudffs are empty.
pub fn all(directory: &Path) -> Result<()> {
    setup::install_packages(&["udftools", "genisoimage"])?;
    for (name, arguments) in FILLED.into_iter().chain(BLANK) {
        let path = directory.join(name);
        let image = File::create(&path)?;
        image.set_len(BYTES)?;
        let mut mkudffs = Command::new("mkudffs");
        let printed = run_captured(mkudffs.args(arguments.split(' ')).arg(&path))?;
        let number = |key| {
            let value = printed.lines().find_map(|line| line.strip_prefix(key))?;
            value.parse::<u64>().ok()
        };
        // A volume with a VAT ends with it.
        if let (Some(vat), Some(block_bytes)) = (number("vatblock="), number("blocksize=")) {
            image.set_len((vat + 1) * block_bytes)?;
        }
    }
    let tree = sample(40, 100)?;
    let mut program = vec!["genisoimage", "-quiet", "-udf", "-D"];
    program.extend(["-input-charset", "utf-8"]);
    let names: Vec<String> = fs::read_dir(tree.path())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    fs::write(tree.path().join("readme.txt"), "The files are in UDF.\n")?;
    // genisoimage writes to UDF what Joliet would have, so nothing is hidden there.
    for name in &names {
        program.extend(["-hide", name]);
    }
    write_image(&program, tree.path(), &directory.join(BRIDGES[0]))?;
    program.push("-R");
    write_image(&program, tree.path(), &directory.join(BRIDGES[1]))
}

/// A script that mounts an image in `/fill` for writing, and fills it with files of each kind.
pub fn fill(image: &str) -> String {
    format!(
        r#"set -e; mount -t udf -o loop,rw '/fill/{image}' /linux
        cd /linux
        mkdir -p a/b/c/d/e/f many "$(printf 'Gr\303\274\303\237e')"
        echo hello >hello; ln hello a/again; chmod 4751 hello
        ln -s ../../hello a/b/up; ln -s /a/b absolute; ln -s ./a/../nowhere dangling
        ln -s "$(seq -s / 100 120)" far
        mkfifo fifo; mknod zero c 1 5; mknod disk b 8 17
        : >empty; chmod 2600 empty; chown 1000:4000000000 empty; chmod 1777 many
        : >"$(printf '\346\227\245\346\234\254\350\252\236.txt')"
        echo smile >"$(printf 'smile \360\237\230\200.tar.gz')"
        echo long >"$(printf '%0240d' 0).text"
        head -c 600000 /dev/urandom >large
        for number in $(seq 60); do
            head -c 700 large | dd of=holes bs=1024 seek=$((3 * number)) conv=notrunc 2>/dev/null
            echo "$number" >"many/the file of number $number"
        done
        truncate -s 3000000 holes
        for number in 3 7 8 20 60; do rm "many/the file of number $number"; done
        touch -h -d '2001-02-03 04:05:06' a/b/up; touch -d '1970-01-02 03:04:05' empty; touch -d '2038-01-19 03:14:08' many
        cd /; sync; umount /linux
        while losetup -a | grep -q loop; do usleep 10000; done
        sync
        "#
    )
}
