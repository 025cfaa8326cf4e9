//! What is said of images that are damaged or no images at all, and of wrong words.

use super::{ROCK_RIDGE, good, image, run, sample};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::process::{Command, Stdio};
use xtask::build::Arch;
use xtask::machines::server::binary;

#[test]
fn failures_are_one_line_that_says_what_to_do() -> Result<()> {
    let tree = sample(40, 2000)?;
    let (dir, image) = image(ROCK_RIDGE[0], tree.path())?;
    let place = |path: &str| format!("{}{path}", image.display());
    let cut = dir.path().join("cut.iso");
    fs::copy(&image, &cut)?;
    File::options().write(true).open(&cut)?.set_len(200_000)?;
    let no_image = dir.path().join("text.iso");
    fs::write(&no_image, vec![b'x'; 100_000])?;
    let udf_tree = tempfile::tempdir()?;
    fs::write(
        udf_tree.path().join("README.TXT"),
        "This disc contains a \"UDF\" file system",
    )?;
    let (_udf_dir, udf) = super::image(&["genisoimage", "-quiet", "-udf"], udf_tree.path())?;
    let [cut, no_image, udf, missing] =
        [cut, no_image, udf, dir.path().join("missing.iso")].map(|path| path.display().to_string());
    let directory = dir.path().display().to_string();
    let large = format!("{cut}/large");
    for (words, code, part) in [
        (&["ls"][..], 2, "ISO image"),
        (&["cat"], 2, "ISO image"),
        (&["ls", "-l"], 2, "-l"),
        (&["ls", &missing], 1, "does not exist"),
        (&["ls", &no_image], 1, "no ISO 9660 image"),
        (&["ls", &udf], 1, "UDF"),
        (&["ls", &place("/none")], 1, "does not exist"),
        (&["ls", &place("/hello.txt/x")], 1, "not a directory"),
        (&["cat", &place("/")], 1, "directory"),
        (&["cat", &place("/a")], 1, "directory"),
        (&["cat", &place("/dangling")], 1, "does not exist"),
        (&["cat", &place("/loop")], 1, "symbolic link"),
        (&["cat", &large], 1, "damaged or incomplete"),
        (&["cat", &directory], 1, "directory"),
    ] {
        let output = run(Arch::X86_64, words)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(code),
            "{words:?}: {}: {said}",
            output.status
        );
        ensure!(
            said.starts_with("stowaway: ") && said.ends_with('\n') && said.lines().count() == 1,
            "{words:?} said {said:?}"
        );
        ensure!(
            said.contains(part),
            "{words:?} does not mention {part}: {said}"
        );
    }
    for role in ["ls", "cat"] {
        let help = String::from_utf8(good(Arch::X86_64, &[role, "--help"])?)?;
        ensure!(help.contains("stowaway cat") && help.lines().all(|line| line.len() < 73));
    }
    Ok(())
}

#[test]
fn what_cannot_be_printed_is_said_once() -> Result<()> {
    let tree = sample(40, 2000)?;
    let (_dir, image) = image(ROCK_RIDGE[0], tree.path())?;
    let many = format!("{}/many", image.display());
    let large = format!("{}/large", image.display());
    for words in [["ls", &many, &many], ["cat", &large, &large]] {
        let full = File::options().write(true).open("/dev/full")?;
        let mut command = Command::new(binary(Arch::X86_64)?);
        let output = command
            .args(words)
            .stdin(Stdio::null())
            .stdout(full)
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(1)
                && said == "stowaway: standard output cannot be written\n",
            "{words:?}: {}: {said}",
            output.status
        );
    }
    Ok(())
}

#[test]
fn what_is_damaged_does_not_hide_what_is_not() -> Result<()> {
    let tree = tempfile::tempdir()?;
    for name in ["before", "damaged", "without"] {
        fs::write(tree.path().join(name), name)?;
    }
    let (_dir, image) = image(ROCK_RIDGE[0], tree.path())?;
    let mut bytes = fs::read(&image)?;
    // One of the two numbers that say its mode: they stand before its name, whose first place is the record.
    let name = bytes.windows(8).position(|part| part == b"\0damaged");
    let before = &bytes[..name.context("no name")?];
    let mode = before.windows(2).rposition(|part| part == b"PX");
    bytes[mode.context("no mode")? + 6] ^= 0x40;
    fs::write(&image, bytes)?;
    let place = image.display().to_string();
    let output = run(Arch::X86_64, &["ls", &place])?;
    let said = String::from_utf8(output.stderr)?;
    let listed = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.code() == Some(1) && said.lines().count() == 1,
        "{said}"
    );
    ensure!(said.contains("damaged: the image is damaged"), "{said}");
    ensure!(
        listed.contains(" before\n") && listed.contains(" without\n"),
        "{listed}"
    );
    ensure!(listed.lines().count() == 2, "{listed}");
    let words = [
        "cat",
        &format!("{place}/before"),
        &format!("{place}/none"),
        &format!("{place}/without"),
    ];
    let output = run(Arch::X86_64, &words)?;
    ensure!(output.status.code() == Some(1) && output.stdout == b"beforewithout");
    Ok(())
}
