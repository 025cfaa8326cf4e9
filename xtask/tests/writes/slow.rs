//! A disk that takes its time: who waits for it is alone with that.

use super::{WRITABLE, make};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Client, How, Set, stable_how};
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::setup::{self, Package};

/// How long each sync takes.
const SYNC: Duration = Duration::from_secs(3);

/// What waits for the disk.
type Waits = fn(&mut Client, &[u8], &[u8]) -> Result<()>;

const WAITS: [Waits; 4] = [
    |client, _, file| {
        client
            .write(file, 0, stable_how::FILE_SYNC, b"data")
            .map(drop)
    },
    |client, _, file| client.commit(file, 0, 0).map(drop),
    |client, root, _| {
        client
            .create(root, "new", How::Guarded(Set::mode(0o644)))
            .map(drop)
    },
    |client, root, _| client.mkdir(root, "directory", Set::mode(0o755)).map(drop),
];

#[test]
fn who_waits_for_the_disk_makes_nobody_else_wait() -> Result<()> {
    setup::need(&[Package::STRACE])?;
    let (directory, log) = (public_dir()?, tempfile::NamedTempFile::new()?);
    fs::write(directory.path().join("file"), "before")?;
    let inject = format!("inject=fsync:delay_enter={}", SYNC.as_micros());
    let log = log.path().display().to_string();
    let through = [
        "strace",
        "-f",
        "-qq",
        "-o",
        &log,
        "-e",
        "trace=fsync",
        "-e",
        &inject,
    ];
    let server = Server::start(ServerOptions {
        exports: vec![format!("{}:{WRITABLE}", directory.path().display())],
        through: through.map(str::to_owned).to_vec(),
        ..ServerOptions::default()
    })?;
    let (mut other, root) = server.open(directory.path())?;
    let file = other.lookup(&root, "file")?;
    // Something to commit.
    other.write(&file, 0, stable_how::UNSTABLE, b"first")?;
    let mut clients = Vec::new();
    for _ in WAITS {
        clients.push(server.connect()?);
    }
    let begun = Instant::now();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = WAITS
            .iter()
            .zip(clients)
            .map(|(waits, mut client)| {
                let (root, file, done) = (&root, &file, &done);
                scope.spawn(move || -> Result<Duration> {
                    waits(&mut client, root, file)?;
                    done.fetch_add(1, Ordering::Relaxed);
                    Ok(begun.elapsed())
                })
            })
            .collect();
        // All of it is there, and none of it is told.
        while !["new", "directory"]
            .iter()
            .all(|name| directory.path().join(name).exists())
        {
            ensure!(begun.elapsed() < Duration::from_secs(20), "nothing is made");
            sleep(Duration::from_millis(5));
        }
        ensure!(other.read(&file, 0, 9)?.0.len() > 3, "the file is short");
        other.attr(&root)?;
        let told = done.load(Ordering::Relaxed);
        ensure!(told == 0, "{told} were told before others were answered");
        for thread in threads {
            let took = thread.join().ok().context("a client panicked")??;
            ensure!(took >= SYNC, "told after {took:?}, before the disk");
        }
        Ok(())
    })?;
    // One by one again, with what is there now.
    make(&mut other, &root, "after", b"after")?;
    ensure!(
        server
            .lines()
            .iter()
            .all(|line| !line.contains("internal error"))
    );
    Ok(())
}
