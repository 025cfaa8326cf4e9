//! libnfs's own programs against the built file: as both processors, as root and as an ordinary user.

use anyhow::{Context, Result, ensure};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use xtask::build::Arch;
use xtask::server::{Server, ServerOptions, public_dir, users};
use xtask::setup::{self, Package};

/// Runs `test` with a server for each processor and each kind of handle.
fn each_server(directory: &Path, test: impl Fn(&Server) -> Result<()>) -> Result<()> {
    setup::need(&[Package::LIBNFS])?;
    for arch in [Arch::X86_64, Arch::I686] {
        for user in users() {
            let server = Server::start(ServerOptions {
                arch,
                user,
                ..ServerOptions::serving(&[directory])
            })?;
            test(&server).with_context(|| {
                format!(
                    "as {arch:?} and user {user:?}; the server said {:#?}",
                    server.lines()
                )
            })?;
        }
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
        .stdin(source.stdout.take().context("no pipe")?)
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
    each_server(directory.path(), |server| {
        let output = Command::new("nfs-ls")
            .args(["-R", &url(server, directory.path())])
            .output()
            .context("cannot start nfs-ls")?;
        ensure!(
            output.status.success(),
            "nfs-ls failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // `-rw-r--r--  1     0     0            3 a.txt`: files as "size name".
        let listed: BTreeSet<String> = String::from_utf8(output.stdout)?
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

#[test]
fn a_gibibyte_arrives_with_the_same_sha256() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path().join("large file");
    let mut file = File::create(&path)?;
    let mut block = vec![0u64; 128 << 10];
    let mut word = 0x5704_a3a1_u64;
    for _ in 0..1024 {
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
    drop(file);
    let expected = sha256_of(Command::new("cat").arg(&path))?;

    let copies = public_dir()?;
    let copy = copies.path().join("copy");
    // The sums take most of the time: the two programs take turns.
    let turn = Cell::new(0);
    each_server(directory.path(), |server| {
        let url = url(server, &path);
        let sum = if matches!(turn.replace(turn.get() + 1), 0 | 3) {
            sha256_of(Command::new("nfs-cat").arg(&url))?
        } else {
            let output = Command::new("nfs-cp")
                .arg(&url)
                .arg(&copy)
                .output()
                .context("cannot start nfs-cp")?;
            ensure!(
                output.status.success(),
                "nfs-cp failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let sum = sha256_of(Command::new("cat").arg(&copy))?;
            fs::remove_file(&copy)?;
            sum
        };
        ensure!(sum == expected, "{sum} arrived instead of {expected}");
        Ok(())
    })
}
