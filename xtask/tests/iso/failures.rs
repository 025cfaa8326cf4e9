//! Error messages of `ls` and `cat` for damaged images, for files that are not images, and for wrong arguments.

use super::{ROCK_RIDGE, image, run, run_ok, sample};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::process::{Command, Stdio};
use xtask::build::Arch;
use xtask::machines::iso::write_unknown_udf;
use xtask::machines::server::binary;

#[test]
fn failures_print_one_line_with_remedy() -> Result<()> {
    let tree = sample(40, 2000)?;
    let (dir, image) = image(ROCK_RIDGE[0], tree.path())?;
    let path_in = |path: &str| format!("{}{path}", image.display());
    let cut = dir.path().join("cut.iso");
    fs::copy(&image, &cut)?;
    File::options().write(true).open(&cut)?.set_len(200_000)?;
    let no_image = dir.path().join("text.iso");
    fs::write(&no_image, vec![b'x'; 100_000])?;
    let udf = dir.path().join("udf.iso");
    write_unknown_udf(&udf)?;
    let [cut, no_image, udf, missing] =
        [cut, no_image, udf, dir.path().join("missing.iso")].map(|path| path.display().to_string());
    let directory = dir.path().display().to_string();
    let large = format!("{cut}/large");
    for (words, code, part) in [
        (&["ls"][..], 2, "ISO image"),
        (&["cat"], 2, "ISO image"),
        (&["ls", "-l"], 2, "-l"),
        (&["ls", &missing], 1, "does not exist"),
        (&["ls", &no_image], 1, "nor an ISO 9660 or UDF image"),
        (&["ls", &udf], 1, "UDF"),
        (&["ls", &path_in("/none")], 1, "does not exist"),
        (&["ls", &path_in("/hello.txt/x")], 1, "not a directory"),
        (&["cat", &path_in("/")], 1, "directory"),
        (&["cat", &path_in("/a")], 1, "directory"),
        (&["cat", &path_in("/dangling")], 1, "does not exist"),
        (&["cat", &path_in("/loop")], 1, "symbolic link"),
        (&["cat", &large], 1, "the image is cut"),
        (&["cat", &directory], 1, "directory"),
    ] {
        let output = run(Arch::X86_64, words)?;
        let stderr = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(code),
            "{words:?}: {}: {stderr}",
            output.status
        );
        ensure!(
            stderr.starts_with("stowaway: ")
                && stderr.ends_with('\n')
                && stderr.lines().count() == 1,
            "{words:?} printed {stderr:?}"
        );
        ensure!(
            stderr.contains(part),
            "{words:?} does not mention {part}: {stderr}"
        );
    }
    for role in ["ls", "cat"] {
        let help = String::from_utf8(run_ok(Arch::X86_64, &[role, "--help"])?)?;
        ensure!(help.contains("stowaway cat") && help.lines().all(|line| line.len() < 73));
    }
    Ok(())
}

#[test]
fn unwritable_output_is_reported_once() -> Result<()> {
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
        let stderr = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(1)
                && stderr == "stowaway: standard output cannot be written\n",
            "{words:?}: {}: {stderr}",
            output.status
        );
    }
    Ok(())
}

#[test]
fn damaged_entry_does_not_hide_other_entries() -> Result<()> {
    let tree = tempfile::tempdir()?;
    for name in ["before", "without"] {
        fs::write(tree.path().join(name), name)?;
    }
    fs::create_dir(tree.path().join("damaged"))?;
    let (_dir, image) = image(ROCK_RIDGE[0], tree.path())?;
    let mut bytes = fs::read(&image)?;
    // Moves the directory beyond the end of the image. Its length and identifier are at the end of the fixed part of its record,
    // the highest byte of its block is 27 bytes before them.
    let name = bytes.windows(8).position(|part| part == b"\x07DAMAGED");
    bytes[name.context("no name")? - 27] = 0x7f;
    fs::write(&image, bytes)?;
    let path = image.display().to_string();
    let output = run(Arch::X86_64, &["ls", &path])?;
    let stderr = String::from_utf8(output.stderr)?;
    let listed = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.code() == Some(1) && stderr.lines().count() == 1,
        "{stderr}"
    );
    ensure!(stderr.contains("damaged: the image is damaged"), "{stderr}");
    ensure!(
        listed.contains(" before\n") && listed.contains(" without\n"),
        "{listed}"
    );
    ensure!(listed.lines().count() == 2, "{listed}");
    let words = [
        "cat",
        &format!("{path}/before"),
        &format!("{path}/none"),
        &format!("{path}/without"),
    ];
    let output = run(Arch::X86_64, &words)?;
    ensure!(output.status.code() == Some(1) && output.stdout == b"beforewithout");
    Ok(())
}
