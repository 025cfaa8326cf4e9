//! libnfs's programs against the built file: on all architectures, as root and as an ordinary user.

use anyhow::{Context, Result, ensure};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use xtask::build::{Arch, workspace_root};
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for, users};
use xtask::setup;
use xtask::testing::is_full_run;

/// Runs `test` with a server of each architecture: x86_64 and aarch64 as the current user, the others as an ordinary user. Without
/// root, i686 and armv7 are skipped. Each server exports `filled`, or if that is None, a writable directory of its own.
fn each_server(filled: Option<&Path>, test: impl Fn(&Server, &Path) -> Result<()>) -> Result<()> {
    setup::install_packages(&["libnfs-utils"])?;
    let mut cases = vec![(Arch::X86_64, None), (Arch::Aarch64, None)];
    for user in users().into_iter().flatten() {
        cases.extend([(Arch::I686, Some(user)), (Arch::Armv7, Some(user))]);
    }
    for (arch, user) in cases {
        let empty = public_dir()?;
        chown(empty.path(), user, user)?;
        let (directory, options) = match filled {
            Some(filled) => (filled, "ro"),
            None => (empty.path(), "rw,no_root_squash"),
        };
        let server = Server::start(ServerOptions {
            arch,
            user,
            exports: vec![format!("{}:{options}", directory.display())],
            ..ServerOptions::default()
        })?;
        test(&server, directory).with_context(|| {
            let lines = server.lines();
            format!("as {arch:?} and user {user:?}; server: {lines:#?}")
        })?;
    }
    Ok(())
}

fn url(server: &Server, path: &Path) -> String {
    let ports = format!(
        "nfsport={}&mountport={}",
        server.nfs_port, server.mount_port
    );
    format!("nfs://127.0.0.1{}?version=3&{ports}", path.display())
}

/// The SHA-256 of what `command` writes to stdout.
fn sha256_of(command: &mut Command) -> Result<String> {
    let mut source = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let sum = Command::new("sha256sum")
        .stdin(source.stdout.take().context("the command has no stdout")?)
        .output()
        .context("cannot start sha256sum")?;
    ensure!(
        source.wait()?.success() && sum.status.success(),
        "{command:?} failed"
    );
    Ok(String::from_utf8(sum.stdout)?)
}

#[test]
fn nfs_ls_lists_ten_thousand_files_completely() -> Result<()> {
    let directory = public_dir()?;
    let mut expected = BTreeSet::new();
    for outer in 0..10 {
        for inner in 0..9 {
            let path = directory
                .path()
                .join(format!("outer {outer}/inner-{inner}"));
            fs::create_dir_all(&path)?;
            let count = if inner == 0 { 200 } else { 100 };
            for number in 0..count {
                fs::write(path.join(format!("file {number}.txt")), vec![b'x'; number])?;
                expected.insert(format!(
                    "{number} outer {outer}/inner-{inner}/file {number}.txt"
                ));
            }
        }
    }
    ensure!(
        expected.len() == 10_000,
        "the tree has {} files",
        expected.len()
    );
    each_server(Some(directory.path()), |server, directory| {
        let url = url(server, directory);
        let output = setup::run_captured(Command::new("nfs-ls").args(["-R", &url]))?;
        // From a line `-rw-r--r--  1     0     0            3 a.txt` of a file, makes "3 a.txt" (size and name).
        let listed: BTreeSet<String> = output
            .lines()
            .filter(|line| line.starts_with('-'))
            .filter_map(|line| {
                let (size, name) = line.get(25..)?.trim_start().split_once(' ')?;
                Some(format!("{size} {name}"))
            })
            .collect();
        let missing: Vec<_> = expected.symmetric_difference(&listed).take(3).collect();
        ensure!(
            missing.is_empty(),
            "{} files listed; only on one side: {missing:?}",
            listed.len()
        );
        Ok(())
    })
}

/// Writes a file of 256 MiB (1 GiB in the full test) in which no two blocks are equal.
fn write_large(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let mut block = vec![0u64; 128 << 10];
    let mut word = 0x5704_a3a1_u64;
    for _ in 0..if is_full_run() { 1024 } else { 256 } {
        block.fill_with(|| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word
        });
        file.write_all(
            &block
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect::<Vec<u8>>(),
        )?;
    }
    Ok(())
}

#[test]
fn large_file_is_written_and_read_back_unchanged() -> Result<()> {
    let local = public_dir()?;
    let path = local.path().join("large file");
    write_large(&path)?;
    let expected = sha256_of(Command::new("cat").arg(&path))?;
    let back = local.path().join("back");
    // Each server is read by nfs-cat or nfs-cp, alternately, because hashing the data of both would take too long.
    let turn = Cell::new(0);
    each_server(None, |server, directory| {
        let copy = directory.join("large copy");
        let url = url(server, &copy);
        setup::run_captured(Command::new("nfs-cp").args([path.as_os_str(), url.as_ref()]))?;
        let written = sha256_of(Command::new("cat").arg(&copy))?;
        ensure!(
            written == expected,
            "the hash of the written file is {written} instead of {expected}"
        );
        turn.set(turn.get() + 1);
        let read = if turn.get() % 2 == 0 {
            sha256_of(Command::new("nfs-cat").arg(&url))?
        } else {
            setup::run_captured(Command::new("nfs-cp").args([url.as_ref(), back.as_os_str()]))?;
            let sum = sha256_of(Command::new("cat").arg(&back))?;
            fs::remove_file(&back)?;
            sum
        };
        ensure!(
            read == expected,
            "the hash of the read data is {read} instead of {expected}"
        );
        Ok(())
    })
}

/// The entries below a directory of the host: mode, size (0 for directories), and path.
fn tree(directory: &Path) -> Result<BTreeSet<String>> {
    let entries = walkdir::WalkDir::new(directory).min_depth(1);
    entries
        .into_iter()
        .map(|entry| {
            let entry = entry?;
            let meta = entry.metadata()?;
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let path = entry.path().strip_prefix(directory)?.display();
            Ok(format!("{:o} {size} {path}", meta.mode()))
        })
        .collect()
}

/// Exports a symbolic link. The list of exports must show the path of the link, as given in the options.
#[test]
fn symlinked_export_is_mounted_by_both_paths() -> Result<()> {
    setup::install_packages(&["libnfs-utils", "nfs-common"])?;
    let directory = public_dir()?;
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    fs::create_dir_all(real.join("directory"))?;
    fs::write(real.join("directory/file"), "content")?;
    symlink("real", &link)?;
    // MNT must follow these links, which are part of the requested path.
    symlink(link.join("directory"), real.join("by-link"))?;
    symlink(real.join("directory"), real.join("by-real"))?;
    for user in users() {
        let server = Server::start(ServerOptions {
            user,
            portmap: user.is_none() && root_for("a list of exports"),
            ..ServerOptions::serving(&[&link])
        })?;
        for path in [&link, &real] {
            for name in ["directory", "by-link", "by-real"] {
                let url = url(&server, &path.join(name).join("file"));
                let read = setup::run_captured(Command::new("nfs-cat").arg(&url))
                    .with_context(|| format!("{:#?}", server.lines()))?;
                ensure!(read == "content", "{url} is {read:?}");
            }
        }
        if user.is_none() && root_for("a list of exports") {
            let mut showmount = Command::new("showmount");
            let exports = setup::run_captured(showmount.args(["--no-headers", "-e", "127.0.0.1"]))?;
            let expected = link.display().to_string();
            let listed: Vec<_> = exports.split_whitespace().step_by(2).collect();
            ensure!(listed == [expected], "showmount lists:\n{exports}");
        }
    }
    if root_for("a host without /proc") {
        let hidden = "mount -t tmpfs none /proc && exec \"$@\"";
        let through = ["unshare", "--mount", "sh", "-c", hidden, "sh"];
        let server = Server::start(ServerOptions {
            wrapper: through.map(String::from).to_vec(),
            ..ServerOptions::serving(&[&link])
        })?;
        let mut read = Vec::new();
        for path in [&link, &real] {
            let url = url(&server, &path.join("directory/file"));
            read.push(Command::new("nfs-cat").arg(url).output()?.stdout);
        }
        ensure!(read == [&b"content"[..], b""], "without /proc: {read:?}");
    }
    Ok(())
}

#[test]
fn libnfs_calls_have_their_documented_effect() -> Result<()> {
    const NAMES: usize = 2000;
    setup::install_packages(&["libnfs-utils", "libnfs-dev"])?;
    let built = public_dir()?;
    let program = built.path().join("calls");
    let source = workspace_root().join("xtask/tests/libnfs/calls.c");
    setup::run_captured(
        Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"])
            .args([&program, &source])
            .arg("-lnfs"),
    )?;
    each_server(None, |server, directory| {
        setup::run_captured(
            Command::new(&program)
                .arg(url(server, directory))
                .arg(NAMES.to_string()),
        )?;
        let mut expected: BTreeSet<String> = [
            "40755 0 files",
            "100644 0 files/a",
            "100600 5368709124 files/sparse",
            "40755 0 names",
            "100644 3 names/old",
            "120777 3 names/soft",
            "40755 0 attributes",
            "100600 0 attributes/a",
            "40755 0 many",
        ]
        .map(String::from)
        .into();
        expected.extend(
            (1..NAMES)
                .step_by(2)
                .map(|number| format!("100644 0 many/file {number}")),
        );
        let found = tree(directory)?;
        let different: Vec<_> = expected.symmetric_difference(&found).collect();
        ensure!(different.is_empty(), "only on one side: {different:?}");
        Ok(())
    })
}
