//! The server's exports over a long life: files that are read again with many or ever new exports, also beside clients; exports that
//! are missing at the start, replaced or mounted over.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::server::{Server, ServerOptions, binary, public_dir, status_field};
use xtask::machines::wait_for;

/// Time limit for a server to read its exports.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that reads a file of exports, and the directory of file and exports.
struct Scene {
    dir: TempDir,
    server: Server,
}

impl Scene {
    /// Exports the directories `names`.
    fn new(names: &[String]) -> Result<Self> {
        let dir = public_dir()?;
        for name in names {
            fs::create_dir(dir.path().join(name))?;
        }
        write(&dir, names)?;
        let server = Server::start(ServerOptions {
            arguments: [
                "-e".into(),
                dir.path().join("exports").display().to_string(),
            ]
            .into(),
            ..ServerOptions::default()
        })?;
        Ok(Self { dir, server })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Number of lines of the server that contain `part`.
    fn count(&self, part: &str) -> usize {
        let lines = self.server.lines();
        lines.iter().filter(|line| line.contains(part)).count()
    }

    /// Has the server read its file again, and waits for another line with `part`.
    fn reload(&self, part: &str) -> Result<()> {
        let before = self.count(part);
        self.server.signal(Signal::SIGHUP)?;
        let has_line = || Ok((self.count(part) > before).then_some(()));
        let found = wait_for(PATIENCE, has_line)?;
        found.with_context(|| format!("no new line {part:?} in {:#?}", self.server.lines()))
    }
}

/// Writes a file with an export for each name below `dir`.
fn write(dir: &TempDir, names: &[String]) -> Result<()> {
    // A file may have 64 KiB.
    let options = if names.len() < 1_000 {
        "rw,no_root_squash,insecure"
    } else {
        "insecure"
    };
    let line = |name: &String| format!("{}/{name} *({options})\n", dir.path().display());
    fs::write(
        dir.path().join("exports"),
        names.iter().map(line).collect::<String>(),
    )?;
    Ok(())
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

/// The memory that 1,200 exports take is all taken at the start, and the exports that have ended leave theirs to new ones: the file
/// may name as many paths in the server's life as an administrator changes.
#[test]
fn many_and_ever_new_exports_are_read_again() -> Result<()> {
    let scene = Scene::new(&names("", 1_200))?;
    let last = format!("exporting {}", scene.path("1199").display());
    scene.reload(&last)?;
    let resident = || status_field(scene.server.pid(), "VmHWM");
    let before = resident()?;
    // Each path is new, and all of them have more than 128 KiB.
    for round in 0..150 {
        let long = vec!["x".repeat(200); 4].join("/");
        write(&scene.dir, &["0".to_owned(), format!("{long}/{round}")])?;
        scene.reload("waiting for")?;
    }
    write(&scene.dir, &names("", 1_200))?;
    scene.reload(&last)?;
    let after = resident()?;
    ensure!(
        after <= before + 64,
        "memory grew from {before} to {after} KiB"
    );
    scene.server.open(&scene.path("1199"))?;
    Ok(())
}

/// A server whose only export is missing listens, and opens the export when it appears, without a client.
#[test]
fn missing_export_is_waited_for() -> Result<()> {
    for role in ["nfs", "serve"] {
        let dir = public_dir()?;
        let export = dir.path().join("later");
        let server = Server::start(ServerOptions {
            role,
            exports: vec![export.display().to_string()],
            arguments: (role == "serve")
                .then(|| "--no-mdns".into())
                .into_iter()
                .collect(),
            ..ServerOptions::default()
        })?;
        let has = |start: &str| {
            let line = format!("{start} {}", export.display());
            server.lines().iter().any(|found| found.contains(&line))
        };
        ensure!(has("waiting for"), "{:#?}", server.lines());
        ensure!(server.open(&export).is_err());
        fs::create_dir(&export)?;
        // No client connects meanwhile.
        let opened = wait_for(PATIENCE, || Ok(has("exporting").then_some(())))?;
        opened.with_context(|| format!("{role}: {:#?}", server.lines()))?;
        server.open(&export)?;
    }
    Ok(())
}

/// With fewer descriptors than exports, the message names the limit.
#[test]
fn too_few_descriptors_for_the_exports_are_reported() -> Result<()> {
    let dir = public_dir()?;
    for name in names("", 1_000) {
        fs::create_dir(dir.path().join(name))?;
    }
    write(&dir, &names("", 1_000))?;
    let output = Command::new("prlimit")
        .arg("--nofile=300:300")
        .arg(binary(Arch::X86_64)?)
        .args(["nfs", "-p", "-n", "0", "--key-file"])
        .arg(dir.path().join("key"))
        .arg("-e")
        .arg(dir.path().join("exports"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1)
            && text.contains("too few file descriptors")
            && text.lines().count() == 1,
        "{}: {text}",
        output.status
    );
    Ok(())
}
