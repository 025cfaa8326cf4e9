//! UDF images: made by mkudffs and filled by the guest's kernel, and made by genisoimage with the ISO 9660 tree of Windows' images,
//! which has nothing but a readme.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use xtask::machines::iso::{sample, write_image};
use xtask::setup::{self, run_captured};

/// An image: its name, its size (MiB), and the arguments of mkudffs.
pub type Made = (&'static str, u64, &'static [&'static str]);

/// The images that the guest fills: each media type to which Linux writes, each revision that mkudffs makes for it, all block sizes
/// and forms of file entries and allocation descriptors.
pub const FILLED: [Made; 20] = [
    (
        "udf-hd-1.02.iso",
        16,
        &["-m", "hd", "-b", "512", "-r", "1.02"],
    ),
    (
        "udf-hd-1.50.iso",
        16,
        &["-m", "hd", "-b", "1024", "-r", "1.50"],
    ),
    (
        "udf-hd-2.00.iso",
        16,
        &["-m", "hd", "-b", "2048", "-r", "2.00"],
    ),
    (
        "udf-hd-2.01.iso",
        16,
        &["-m", "hd", "-b", "4096", "-r", "2.01"],
    ),
    (
        "udf-short.iso",
        16,
        &["-m", "hd", "-b", "512", "--ad=short"],
    ),
    ("udf-long.iso", 16, &["-m", "hd", "-b", "512", "--ad=long"]),
    (
        "udf-long-4096.iso",
        16,
        &["-m", "hd", "-b", "4096", "--ad=long"],
    ),
    (
        "udf-plain-entries.iso",
        16,
        &["-m", "hd", "-b", "2048", "--noefe"],
    ),
    (
        "udf-16-bit.iso",
        16,
        &["-m", "hd", "-b", "1024", "--label=\u{65e5}\u{672c}"],
    ),
    ("udf-dvd-1.02.iso", 16, &["-m", "dvd", "-r", "1.02"]),
    ("udf-dvd-1.50.iso", 16, &["-m", "dvd", "-r", "1.50"]),
    ("udf-dvd-2.01.iso", 16, &["-m", "dvd", "-r", "2.01"]),
    ("udf-dvdram-1.02.iso", 16, &["-m", "dvdram", "-r", "1.02"]),
    ("udf-dvdram-2.00.iso", 16, &["-m", "dvdram", "-r", "2.00"]),
    ("udf-dvdrw-1.50.iso", 16, &["-m", "dvdrw", "-r", "1.50"]),
    ("udf-dvdrw-2.01.iso", 16, &["-m", "dvdrw", "-r", "2.01"]),
    ("udf-cdrw-1.50.iso", 16, &["-m", "cdrw", "-r", "1.50"]),
    ("udf-cdrw-2.01.iso", 16, &["-m", "cdrw", "-r", "2.01"]),
    (
        "udf-mo-1.02.iso",
        64,
        &["-m", "mo", "-b", "1024", "-r", "1.02"],
    ),
    (
        "udf-mo-2.01.iso",
        64,
        &["-m", "mo", "-b", "2048", "-r", "2.01"],
    ),
];

/// Images of genisoimage whose ISO 9660 tree has only a readme.
pub const BRIDGES: [&str; 2] = ["udf-windows.iso", "udf-windows-joliet.iso"];

/// Makes all images in `directory`. Those of mkudffs are empty.
pub fn all(directory: &Path) -> Result<()> {
    setup::install_packages(&["udftools", "genisoimage"])?;
    for (name, mib, arguments) in FILLED {
        let path = directory.join(name);
        File::create(&path)?.set_len(mib << 20)?;
        run_captured(Command::new("mkudffs").args(arguments).arg(&path))?;
    }
    let tree = sample(40, 100)?;
    let mut program = vec!["genisoimage", "-quiet", "-udf", "-input-charset", "utf-8"];
    let names: Vec<String> = fs::read_dir(tree.path())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    fs::write(tree.path().join("readme.txt"), "The files are in UDF.\n")?;
    for name in &names {
        program.extend(["-hide", name, "-hide-joliet", name]);
    }
    write_image(&program, tree.path(), &directory.join(BRIDGES[0]))?;
    program.push("-J");
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
        ln -s "$(seq -s / 100 150)" far
        mkfifo fifo; mknod zero c 1 5; mknod disk b 259 70000
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
        touch -h -d '2001-02-03 04:05:06' a/b/up; touch -d '1969-12-31 23:59:58' empty; touch -d '2038-01-19 03:14:08' many
        cd /; umount /linux
        "#
    )
}
