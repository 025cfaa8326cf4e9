//! `ls` and `cat` in ISO images made by xorriso and genisoimage, compared with the source trees and with the listings of xorriso
//! and isoinfo.

mod failures;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use xtask::build::Arch;
use xtask::machines::iso::{HUGE_BYTES, ROCK_RIDGE, huge, image, sample};
use xtask::machines::server::binary;

/// The attributes of an entry in the output of `ls`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Attributes {
    mode: String,
    owner: (u32, u32),
    size: u64,
    date: String,
    target: Option<String>,
}

type Tree = BTreeMap<String, Attributes>;

fn run(arch: Arch, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary(arch)?);
    Ok(command.args(words).stdin(Stdio::null()).output()?)
}

/// Runs a command that must succeed and print nothing on stderr. Returns its output.
fn run_ok(arch: Arch, words: &[&str]) -> Result<Vec<u8>> {
    let output = run(arch, words)?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "stowaway {words:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Lists a directory of an image.
fn list(arch: Arch, image: &Path, path: &str) -> Result<Vec<(String, Attributes)>> {
    let target = format!("{}{path}", image.display());
    let text = String::from_utf8(run_ok(arch, &["ls", &target])?)?;
    text.lines()
        .map(|line| entry(line).with_context(|| format!("ls {target} printed the line {line:?}")))
        .collect()
}

fn entry(line: &str) -> Result<(String, Attributes)> {
    let mut remaining = line;
    let mut columns = Vec::new();
    for _ in 0..8 {
        remaining = remaining.trim_start();
        let (column, after) = remaining.split_once(' ').context("a column is missing")?;
        columns.push(column);
        remaining = after;
    }
    let (name, target) = match remaining.split_once(" -> ") {
        Some((name, target)) => (name, Some(target.to_owned())),
        None => (remaining, None),
    };
    let name = unescaped(name)?;
    let entry = Attributes {
        mode: columns[0].to_owned(),
        owner: (columns[2].parse()?, columns[3].parse()?),
        size: columns[4].parse()?,
        date: columns[5..].join(" "),
        target,
    };
    Ok((name, entry))
}

/// Decodes the escapes (vis(3)) in a name. `ls` prints no control characters.
fn unescaped(shown: &str) -> Result<String> {
    ensure!(
        !shown.chars().any(char::is_control),
        "the name has a character that is not escaped"
    );
    let (mut name, mut remaining) = (Vec::new(), shown.as_bytes());
    while let [byte, after @ ..] = remaining {
        remaining = after;
        name.push(*byte);
        // An escape is a backslash and three octal digits, or a backslash and a letter.
        if let (b'\\', [first, after @ ..]) = (byte, after) {
            name.pop();
            if let Some((digits, after)) = remaining.split_at_checked(3)
                && first.is_ascii_digit()
            {
                name.push(u8::from_str_radix(std::str::from_utf8(digits)?, 8)?);
                remaining = after;
            } else {
                let letter = b"abtnvfr".iter().position(|letter| letter == first);
                name.push(letter.map_or(*first, |index| index as u8 + 7));
                remaining = after;
            }
        }
    }
    Ok(String::from_utf8(name)?)
}

/// All entries of an image, by path.
fn walk(arch: Arch, image: &Path) -> Result<Tree> {
    let (mut tree, mut dirs) = (Tree::new(), vec![String::new()]);
    while let Some(dir) = dirs.pop() {
        for (name, entry) in list(arch, image, &dir)? {
            let path = format!("{dir}/{name}");
            if entry.mode.starts_with('d') {
                dirs.push(path.clone());
            }
            ensure!(
                tree.insert(path.clone(), entry).is_none(),
                "{path} is listed twice"
            );
        }
    }
    Ok(tree)
}

/// All entries of a directory of the host, in the form of [`walk`].
fn source(root: &Path) -> Result<Tree> {
    let (mut tree, mut dirs) = (Tree::new(), vec![root.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for found in fs::read_dir(&dir)? {
            let path = found?.path();
            let stat = fs::symlink_metadata(&path)?;
            let mut size = stat.size();
            let kind = match stat.file_type() {
                kind if kind.is_dir() => {
                    dirs.push(path.clone());
                    // The size of a directory differs between image and host, so it is not compared.
                    size = 0;
                    'd'
                }
                kind if kind.is_symlink() => 'l',
                _ => '-',
            };
            let mut mode = String::from(kind);
            for (index, letter) in "rwxrwxrwx".chars().enumerate() {
                let set = stat.mode() >> (8 - index) & 1 != 0;
                let (bit, mark) = [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')][index / 3];
                let is_special = index % 3 == 2 && stat.mode() & bit != 0;
                mode.push(match (is_special, set) {
                    (true, true) => mark,
                    (true, false) => mark.to_ascii_uppercase(),
                    (false, true) => letter,
                    (false, false) => '-',
                });
            }
            let target = fs::read_link(&path).ok();
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            tree.insert(
                format!("/{name}"),
                Attributes {
                    mode,
                    owner: (stat.uid(), stat.gid()),
                    size,
                    date: DATE.to_owned(),
                    target: target.map(|target| target.to_string_lossy().into_owned()),
                },
            );
        }
    }
    Ok(tree)
}

/// The date of everything in the sample, in the format of `ls`.
const DATE: &str = "Feb 3 2001";

/// Compares the contents of files in the image with the source files, whose paths `source_of` returns. Of the files in /many/, only
/// every tenth is compared.
fn compare_contents(
    arch: Arch,
    image: &Path,
    tree: &Tree,
    source_of: impl Fn(&str) -> PathBuf,
) -> Result<()> {
    for (path, entry) in tree {
        if !entry.mode.starts_with('-') || path.contains("/many/") && !path.ends_with('7') {
            continue;
        }
        let bytes = run_ok(arch, &["cat", &format!("{}{path}", image.display())])?;
        ensure!(
            bytes == fs::read(source_of(path))?,
            "{path} has the wrong contents"
        );
    }
    Ok(())
}

#[test]
fn rock_ridge_images_match_their_source_trees() -> Result<()> {
    for (program, arch) in ROCK_RIDGE
        .into_iter()
        .zip([Arch::X86_64, Arch::I686].into_iter().cycle())
    {
        // The tree for genisoimage has a shorter link target, because genisoimage writes longer ones in a form that no reader
        // accepts.
        let tree = sample(if program[0] == "xorriso" { 200 } else { 40 }, 2000)?;
        let (_dir, image) = image(program, tree.path())?;
        let mut found = walk(arch, &image)?;
        let moved = found.remove("/rr_moved");
        ensure!(
            moved.is_none() || program[0] == "genisoimage",
            "{program:?} moved directories"
        );
        let expect = source(tree.path())?;
        for (path, entry) in &mut found {
            let other = expect
                .get(path)
                .with_context(|| format!("{path} is not in the source tree"))?;
            if entry.mode.starts_with('d') {
                ensure!(entry.size % 2048 == 0 && entry.size > 0);
                entry.size = 0;
            }
            ensure!(
                entry == other,
                "{program:?}: {path} is {entry:?} instead of {other:?}"
            );
        }
        let missing = expect.keys().find(|path| !found.contains_key(*path));
        ensure!(missing.is_none(), "{program:?}: {missing:?} is missing");
        compare_contents(arch, &image, &found, |path| tree.path().join(&path[1..]))?;
        // xorriso's listing must have the same paths.
        let mut xorriso = Command::new("xorriso");
        // Without "stdio:", xorriso takes files below /dev for drives.
        let drive = format!("stdio:{}", image.display());
        xorriso.args(["-indev", &drive, "-find", "/"]);
        let stdout = String::from_utf8(xorriso.output()?.stdout)?;
        let paths = stdout
            .lines()
            .filter_map(|line| line.strip_prefix('\'')?.strip_suffix('\''));
        let paths: Vec<&str> = paths
            .filter(|path| !["/", "/rr_moved"].contains(path))
            .collect();
        ensure!(
            paths.len() == found.len(),
            "xorriso lists {} paths",
            paths.len()
        );
        ensure!(
            paths.iter().all(|path| found.contains_key(*path)),
            "xorriso lists other paths"
        );
    }
    Ok(())
}

#[test]
fn links_inside_images_are_followed_and_shown() -> Result<()> {
    let tree = sample(40, 2000)?;
    let (_dir, image) = image(ROCK_RIDGE[0], tree.path())?;
    let path_in = |path: &str| format!("{}{path}", image.display());
    for (path, expect) in [
        ("/a/b/up", "hello\n"),
        ("//a/./b/../b/c/d/e/f/g/h/i/j/k/bottom", "far down"),
    ] {
        ensure!(
            run_ok(Arch::X86_64, &["cat", &path_in(path)])? == expect.as_bytes(),
            "{path}"
        );
    }
    let line = list(Arch::X86_64, &image, "/absolute")?;
    ensure!(line.len() == 1 && line[0].0 == path_in("/absolute"));
    ensure!(line[0].1.target.as_deref() == Some("/a/b/up"));
    // An absolute link refers to the host's root, as in a mounted image.
    let output = run(Arch::X86_64, &["cat", &path_in("/absolute")])?;
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty());
    ensure!(list(Arch::X86_64, &image, "/a/b/c/..")?.len() == 2);
    let both = run_ok(
        Arch::X86_64,
        &["cat", &path_in("/hello.txt"), &path_in("/a/b/up")],
    )?;
    ensure!(both == b"hello\nhello\n");
    Ok(())
}

#[test]
fn names_without_rock_ridge_match_linux() -> Result<()> {
    let tree = tempfile::tempdir()?;
    fs::create_dir_all(tree.path().join("Directory/Grüße"))?;
    for name in [
        "Read Me First.text",
        "plain.txt",
        "noext",
        "Directory/Grüße/été.tar.gz",
    ] {
        fs::write(tree.path().join(name), name)?;
    }
    let mut checked = 0;
    for level in ["1", "2", "3"] {
        let program = [
            "genisoimage",
            "-quiet",
            "-iso-level",
            level,
            "-input-charset",
            "utf-8",
        ];
        let (_dir, image) = image(&program, tree.path())?;
        let mut isoinfo = Command::new("isoinfo");
        let stdout = isoinfo.arg("-f").arg("-i").arg(&image).output()?.stdout;
        let found = walk(Arch::X86_64, &image)?;
        let mut expect: Vec<String> = String::from_utf8(stdout)?
            .lines()
            .map(|line| line.to_lowercase())
            .map(|line| line.strip_suffix(";1").unwrap_or(&line).to_owned())
            .map(|line| line.strip_suffix('.').unwrap_or(&line).to_owned())
            .collect();
        expect.sort();
        ensure!(
            found.keys().eq(expect.iter()),
            "{:?} instead of {expect:?}",
            found.keys()
        );
        for (path, entry) in &found {
            let mode = if entry.mode.starts_with('d') {
                "dr-xr-xr-x"
            } else {
                "-r-xr-xr-x"
            };
            ensure!(
                entry.mode == mode && entry.owner == (0, 0),
                "{path}: {entry:?}"
            );
        }
        let bytes = run_ok(
            Arch::X86_64,
            &["cat", &format!("{}/plain.txt", image.display())],
        )?;
        ensure!(bytes == b"plain.txt");
        checked += found.len();
    }
    ensure!(checked == 18, "{checked}");
    let program = ["genisoimage", "-quiet", "-J", "-input-charset", "utf-8"];
    let (_dir, image) = image(&program, tree.path())?;
    let found = walk(Arch::I686, &image)?;
    let expect: Vec<String> = source(tree.path())?.into_keys().collect();
    ensure!(
        found.keys().eq(expect.iter()),
        "{:?} instead of {expect:?}",
        found.keys()
    );
    let path = format!("{}/Directory/Grüße/été.tar.gz", image.display());
    ensure!(run_ok(Arch::I686, &["cat", &path])? == "Directory/Grüße/été.tar.gz".as_bytes());
    Ok(())
}

#[test]
fn files_over_4_gib_are_read_completely() -> Result<()> {
    let dir = tempfile::tempdir()?;
    huge(dir.path(), "huge.iso")?;
    let image = dir.path().join("huge.iso");
    for arch in [Arch::X86_64, Arch::I686] {
        let names = list(arch, &image, "")?;
        ensure!(
            names.len() == 2 && names[0].1.size == HUGE_BYTES,
            "{names:?}"
        );
        ensure!(run_ok(arch, &["cat", &format!("{}/last", image.display())])? == b"behind it");
        let mut cat = Command::new(binary(arch)?)
            .args(["cat", &format!("{}/huge", image.display())])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = cat.stdout.take().context("no stdout")?;
        let source = File::open(dir.path().join("tree/huge"))?;
        let (mut actual, mut expected) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        let mut offset = 0;
        loop {
            let len = out.read(&mut actual)?;
            if len == 0 {
                break;
            }
            source.read_exact_at(&mut expected[..len], offset)?;
            ensure!(
                actual[..len] == expected[..len],
                "wrong bytes after {offset}"
            );
            offset += len as u64;
        }
        ensure!(
            offset == HUGE_BYTES && cat.wait()?.success(),
            "cat ended after {offset} bytes"
        );
    }
    Ok(())
}

#[test]
fn plain_directories_are_listed_and_read() -> Result<()> {
    let tree = sample(40, 2000)?;
    let root = tree.path().display().to_string();
    let listed = String::from_utf8(run_ok(Arch::X86_64, &["ls", &root])?)?;
    let mut names = Vec::new();
    for line in listed.lines() {
        let (name, entry) = entry(line)?;
        ensure!(entry.target.is_some() == (entry.mode.starts_with('l')));
        names.push(name);
    }
    names.sort();
    let mut expect = Vec::new();
    for found in fs::read_dir(tree.path())? {
        expect.push(found?.file_name().to_string_lossy().into_owned());
    }
    expect.sort();
    ensure!(names == expect, "{names:?} instead of {expect:?}");
    let large = run_ok(Arch::X86_64, &["cat", &format!("{root}/large")])?;
    ensure!(large == fs::read(tree.path().join("large"))?);
    Ok(())
}
