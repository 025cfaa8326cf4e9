//! `ls` and `cat` inside images that xorriso and genisoimage made, against the trees they were made of and what those
//! programs themselves say.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::server::binary;
use xtask::setup::{self, Package};

/// What `ls` says of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    mode: String,
    owner: (u32, u32),
    size: u64,
    date: String,
    target: Option<String>,
}

type Tree = BTreeMap<String, Entry>;

fn run(arch: Arch, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary(arch)?);
    Ok(command.args(words).stdin(Stdio::null()).output()?)
}

/// Runs it to its good end; what it printed.
fn good(arch: Arch, words: &[&str]) -> Result<Vec<u8>> {
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
fn list(arch: Arch, image: &Path, path: &str) -> Result<Vec<(String, Entry)>> {
    let place = format!("{}{path}", image.display());
    let text = String::from_utf8(good(arch, &["ls", &place])?)?;
    text.lines()
        .map(|line| entry(line).with_context(|| format!("ls {place} printed the line {line:?}")))
        .collect()
}

fn entry(line: &str) -> Result<(String, Entry)> {
    let mut rest = line;
    let mut columns = Vec::new();
    for _ in 0..8 {
        rest = rest.trim_start();
        let (column, behind) = rest.split_once(' ').context("a column is missing")?;
        columns.push(column);
        rest = behind;
    }
    let (name, target) = match rest.split_once(" -> ") {
        Some((name, target)) => (name, Some(target.to_owned())),
        None => (rest, None),
    };
    let name = unescaped(name)?;
    let entry = Entry {
        mode: columns[0].to_owned(),
        owner: (columns[2].parse()?, columns[3].parse()?),
        size: columns[4].parse()?,
        date: columns[5..].join(" "),
        target,
    };
    Ok((name, entry))
}

/// A name as it is, whatever of it a terminal might not know.
fn unescaped(shown: &str) -> Result<String> {
    ensure!(
        shown.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "it is not escaped"
    );
    let (mut name, mut rest) = (Vec::new(), shown.as_bytes());
    while let [byte, behind @ ..] = rest {
        rest = behind;
        name.push(*byte);
        if let (b'\\', [b'x', behind @ ..]) = (byte, behind) {
            let (digits, behind) = behind.split_at(2);
            name.pop();
            name.push(u8::from_str_radix(std::str::from_utf8(digits)?, 16)?);
            rest = behind;
        }
    }
    Ok(String::from_utf8(name)?)
}

/// All that is in an image.
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

/// The same of a directory of the host.
fn source(top: &Path) -> Result<Tree> {
    let (mut tree, mut dirs) = (Tree::new(), vec![top.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for found in fs::read_dir(&dir)? {
            let path = found?.path();
            let stat = fs::symlink_metadata(&path)?;
            let mut size = stat.size();
            let kind = match stat.file_type() {
                kind if kind.is_dir() => {
                    dirs.push(path.clone());
                    // The image has its own.
                    size = 0;
                    'd'
                }
                kind if kind.is_symlink() => 'l',
                _ => '-',
            };
            let mut mode = String::from(kind);
            for (at, letter) in "rwxrwxrwx".chars().enumerate() {
                let set = stat.mode() >> (8 - at) & 1 != 0;
                mode.push(match (at, set) {
                    (2, _) if stat.mode() & 0o4000 != 0 => {
                        if set {
                            's'
                        } else {
                            'S'
                        }
                    }
                    (5, _) if stat.mode() & 0o2000 != 0 => {
                        if set {
                            's'
                        } else {
                            'S'
                        }
                    }
                    (8, _) if stat.mode() & 0o1000 != 0 => {
                        if set {
                            't'
                        } else {
                            'T'
                        }
                    }
                    (_, true) => letter,
                    (_, false) => '-',
                });
            }
            let target = fs::read_link(&path).ok();
            let name = path.strip_prefix(top)?.to_string_lossy().into_owned();
            tree.insert(
                format!("/{name}"),
                Entry {
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

/// When everything in the sample was last written, as `touch` and as `ls` have it.
const TIME: &str = "2001-02-03T04:05:06Z";
const DATE: &str = "Feb 3 2001";

/// A tree of everything that an image can hold, one of its links with so many parts.
fn sample(parts: usize) -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let top = dir.path();
    fs::write(top.join("hello.txt"), "hello\n")?;
    fs::write(top.join("empty"), "")?;
    fs::write(top.join("Two Words And Capitals.TXT"), "words")?;
    let bytes: Vec<u8> = (0..3_000_000_u64)
        .map(|number| ((number * number) >> 7) as u8)
        .collect();
    fs::write(top.join("large"), &bytes)?;
    let deep = top.join("a/b/c/d/e/f/g/h/i/j/k");
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), "far down")?;
    symlink("../../hello.txt", top.join("a/b/up"))?;
    symlink("/a/b/up", top.join("absolute"))?;
    symlink("nowhere", top.join("dangling"))?;
    symlink("loop", top.join("loop"))?;
    symlink("xyz/".repeat(parts) + "end", top.join("far"))?;
    for len in [100, 180, 230, 250] {
        fs::write(
            top.join(format!("{len}{}", "n".repeat(len - 3))),
            len.to_string(),
        )?;
    }
    fs::create_dir(top.join("many"))?;
    for number in 0..2000 {
        let name = format!("many/the file of number {number}");
        fs::write(top.join(name), number.to_string())?;
    }
    for (name, mode) in [
        ("hello.txt", 0o4751),
        ("empty", 0o2600),
        ("many", 0o1777),
        ("a", 0o500),
    ] {
        fs::set_permissions(top.join(name), Permissions::from_mode(mode))?;
    }
    let mut touch = Command::new("find");
    touch
        .arg(top)
        .args(["-exec", "touch", "-h", "-d", TIME, "{}", "+"]);
    setup::quietly(&mut touch)?;
    Ok(dir)
}

/// Makes an image of a tree.
fn image(program: &[&str], tree: &Path) -> Result<(TempDir, PathBuf)> {
    setup::need(&[Package::XORRISO, Package::GENISOIMAGE])?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("test.iso");
    let mut command = Command::new(program[0]);
    setup::quietly(command.args(&program[1..]).arg("-o").arg(&path).arg(tree))?;
    Ok((dir, path))
}

/// Every file that is in the image has the bytes of the source's, whose path `place` tells.
fn same_bytes(
    arch: Arch,
    image: &Path,
    tree: &Tree,
    place: impl Fn(&str) -> PathBuf,
) -> Result<()> {
    for (path, entry) in tree {
        if !entry.mode.starts_with('-') || path.contains("/many/") && !path.ends_with('7') {
            continue;
        }
        let bytes = good(arch, &["cat", &format!("{}{path}", image.display())])?;
        ensure!(bytes == fs::read(place(path))?, "{path} has other bytes");
    }
    Ok(())
}

const ROCK_RIDGE: [&[&str]; 4] = [
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
    // The old way: what lies deep is moved to a directory of its own.
    &["genisoimage", "-quiet", "-R", "-J", "-joliet-long"],
    &["genisoimage", "-quiet", "-R", "-D", "-l"],
];

#[test]
fn trees_with_rock_ridge_are_the_sources() -> Result<()> {
    for (program, arch) in ROCK_RIDGE
        .into_iter()
        .zip([Arch::X86_64, Arch::I686].into_iter().cycle())
    {
        // What genisoimage writes of longer ones nobody can read.
        let tree = sample(if program[0] == "xorriso" { 200 } else { 40 })?;
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
                .with_context(|| format!("{path} is too much"))?;
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
        same_bytes(arch, &image, &found, |path| tree.path().join(&path[1..]))?;
        // What xorriso itself says of it.
        let mut xorriso = Command::new("xorriso");
        xorriso.arg("-indev").arg(&image).args(["-find", "/"]);
        let said = String::from_utf8(xorriso.output()?.stdout)?;
        let paths = said
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
            "xorriso lists others"
        );
    }
    Ok(())
}

#[test]
fn links_inside_are_followed_and_shown() -> Result<()> {
    let tree = sample(40)?;
    let (_dir, image) = image(ROCK_RIDGE[0], tree.path())?;
    let place = |path: &str| format!("{}{path}", image.display());
    for (path, expect) in [
        ("/absolute", "hello\n"),
        ("/a/b/up", "hello\n"),
        ("//a/./b/../b/c/d/e/f/g/h/i/j/k/bottom", "far down"),
    ] {
        ensure!(
            good(Arch::X86_64, &["cat", &place(path)])? == expect.as_bytes(),
            "{path}"
        );
    }
    let line = list(Arch::X86_64, &image, "/absolute")?;
    ensure!(line.len() == 1 && line[0].0 == "absolute" && line[0].1.target.is_some());
    ensure!(list(Arch::X86_64, &image, "/a/b/c/..")?.len() == 2);
    let both = good(
        Arch::X86_64,
        &["cat", &place("/hello.txt"), &place("/a/b/up")],
    )?;
    ensure!(both == b"hello\nhello\n");
    Ok(())
}

#[test]
fn names_without_rock_ridge_are_those_of_linux() -> Result<()> {
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
        let said = isoinfo.arg("-f").arg("-i").arg(&image).output()?.stdout;
        let found = walk(Arch::X86_64, &image)?;
        let mut expect: Vec<String> = String::from_utf8(said)?
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
        let bytes = good(
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
    let place = format!("{}/Directory/Grüße/été.tar.gz", image.display());
    ensure!(good(Arch::I686, &["cat", &place])? == "Directory/Grüße/été.tar.gz".as_bytes());
    Ok(())
}

#[test]
fn files_of_more_than_4_gib_are_whole() -> Result<()> {
    const SIZE: u64 = (5 << 30) + 12_345;
    setup::need(&[Package::XORRISO])?;
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("tree"))?;
    let file = File::create(dir.path().join("tree/huge"))?;
    file.set_len(SIZE)?;
    for place in [
        0,
        1 << 20,
        (4 << 30) - 2050,
        (4 << 30) - 3,
        (5 << 30) + 1,
        SIZE - 9,
    ] {
        file.write_all_at(
            format!("{place:09}")
                .get(..9)
                .unwrap_or_default()
                .as_bytes(),
            place,
        )?;
    }
    fs::write(dir.path().join("tree/last"), "behind it")?;
    // Its zeros need no room here.
    let mut make = Command::new("sh");
    make.current_dir(dir.path()).args([
        "-c",
        "xorriso -as mkisofs -quiet -R -iso-level 3 tree | dd of=huge.iso conv=sparse bs=1M status=none",
    ]);
    setup::quietly(&mut make)?;
    let image = dir.path().join("huge.iso");
    for arch in [Arch::X86_64, Arch::I686] {
        let names = list(arch, &image, "")?;
        ensure!(names.len() == 2 && names[0].1.size == SIZE, "{names:?}");
        ensure!(good(arch, &["cat", &format!("{}/last", image.display())])? == b"behind it");
        let mut cat = Command::new(binary(arch)?)
            .args(["cat", &format!("{}/huge", image.display())])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = cat.stdout.take().context("no stdout")?;
        let source = File::open(dir.path().join("tree/huge"))?;
        let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        let mut at = 0;
        loop {
            let len = out.read(&mut here)?;
            if len == 0 {
                break;
            }
            source.read_exact_at(&mut there[..len], at)?;
            ensure!(here[..len] == there[..len], "other bytes behind {at}");
            at += len as u64;
        }
        ensure!(at == SIZE && cat.wait()?.success(), "it ends after {at}");
    }
    Ok(())
}

#[test]
fn failures_are_one_line_that_says_what_to_do() -> Result<()> {
    let tree = sample(40)?;
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
    let (_udf_dir, udf) = self::image(&["genisoimage", "-quiet", "-udf"], udf_tree.path())?;
    let [cut, no_image, udf, missing] =
        [cut, no_image, udf, dir.path().join("missing.iso")].map(|path| path.display().to_string());
    let directory = dir.path().display().to_string();
    let large = format!("{cut}/large");
    for (words, code, part) in [
        (&["ls"][..], 2, "ISO image"),
        (&["cat"], 2, "ISO image"),
        (&["ls", "-l"], 2, "-l"),
        (&["ls", &missing], 1, "does not exist"),
        (&["ls", &directory], 1, "directory"),
        (&["ls", &no_image], 1, "no ISO 9660 image"),
        (&["ls", &udf], 1, "UDF"),
        (&["ls", &place("/none")], 1, "does not exist"),
        (&["ls", &place("/hello.txt/x")], 1, "not a directory"),
        (&["cat", &place("")], 1, "directory"),
        (&["cat", &place("/a")], 1, "directory"),
        (&["cat", &place("/dangling")], 1, "does not exist"),
        (&["cat", &place("/loop")], 1, "symbolic link"),
        (&["cat", &large], 1, "damaged or incomplete"),
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
