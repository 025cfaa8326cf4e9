//! A disk that takes its time: who waits for it is alone with that.

use super::{WRITABLE, fails, make, serve, user};
use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::posix_fallocate;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;
use xtask::clients::nfs::{Client, How, Set, nfsstat3, stable_how};
use xtask::machines::mounts::on_image;
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::setup::{self, Package};
use xtask::testing::{holds, pattern};

/// How long the disk takes.
const DISK: Duration = Duration::from_secs(3);

/// A server on a disk that takes its time for this system call, and whatever more is injected by strace, which logs to `log`.
fn start_slow(directory: &Path, call: &str, more: &[&str], log: &NamedTempFile) -> Result<Server> {
    setup::need(&[Package::STRACE])?;
    let delay = format!("inject={call}:delay_enter={}", DISK.as_micros());
    let log = log.path().display().to_string();
    let mut through = vec!["strace", "-f", "-qq", "-o", &log, "-e", &delay];
    through.extend(more);
    Server::start(ServerOptions {
        exports: vec![format!("{}:{WRITABLE}", directory.display())],
        through: through.into_iter().map(str::to_owned).collect(),
        ..ServerOptions::default()
    })
}

/// Nobody was told while others were answered; each was when the disk was done.
fn told_late(
    done: &AtomicUsize,
    clients: Vec<ScopedJoinHandle<'_, Result<Duration>>>,
) -> Result<()> {
    told_late_after(done, || (), clients)
}

/// As [`told_late`]; the disk is done when `release` is called.
fn told_late_after(
    done: &AtomicUsize,
    release: impl FnOnce(),
    clients: Vec<ScopedJoinHandle<'_, Result<Duration>>>,
) -> Result<()> {
    let told = done.load(Ordering::Relaxed);
    release();
    ensure!(told == 0, "{told} were told before others were answered");
    for client in clients {
        let took = client.join().ok().context("a client panicked")??;
        ensure!(took >= DISK, "told after {took:?}, before the disk");
    }
    Ok(())
}

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
    let (directory, log) = (public_dir()?, NamedTempFile::new()?);
    fs::write(directory.path().join("file"), "before")?;
    let server = start_slow(directory.path(), "fsync", &[], &log)?;
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
        told_late(&done, threads)
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

#[test]
fn who_reads_from_the_disk_makes_nobody_else_wait() -> Result<()> {
    let (directory, log) = (public_dir()?, NamedTempFile::new()?);
    let data: Vec<u8> = (0..300_000_u32).map(|at| (at / 7) as u8).collect();
    fs::write(directory.path().join("file"), &data)?;
    // As if nothing were in memory: the kernel is asked for what is, a thread reads what is not.
    let nothing = ["-e", "inject=preadv2:error=EAGAIN"];
    let server = start_slow(directory.path(), "splice", &nothing, &log)?;
    let (mut other, root) = server.open(directory.path())?;
    let file = other.lookup(&root, "file")?;
    // In the reply, and behind it.
    let mut clients = Vec::new();
    for count in [4096, 100_000] {
        clients.push((server.connect()?, count));
    }
    let done = AtomicUsize::new(0);
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|(client, count)| {
                let (data, file, done) = (&data, &file, &done);
                scope.spawn(move || -> Result<Duration> {
                    let begun = Instant::now();
                    let (read, is_end) = client.read(file, 100_000, *count)?;
                    done.fetch_add(1, Ordering::Relaxed);
                    let range = 100_000..100_000 + *count as usize;
                    ensure!(!is_end && read == &data[range], "not what the file has");
                    Ok(begun.elapsed())
                })
            })
            .collect();
        for _ in 0..10 {
            other.attr(&root)?;
            sleep(DISK / 30);
        }
        told_late(&done, threads)
    })
}

#[test]
fn who_removes_a_large_file_makes_nobody_wait() -> Result<()> {
    setup::need(&[Package::STRACE])?;
    let (directory, log) = (public_dir()?, NamedTempFile::new()?);
    let log_path = log.path().display().to_string();
    let through = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-o",
        &log_path,
        "-e",
        "trace=close",
    ];
    let server = Server::start(ServerOptions {
        exports: vec![format!("{}:{WRITABLE}", directory.path().display())],
        through: through.map(str::to_owned).to_vec(),
        ..ServerOptions::default()
    })?;
    let (mut client, root) = server.open(directory.path())?;
    let large = |name: &str| -> Result<()> {
        let file = fs::File::create(directory.path().join(name))?;
        posix_fallocate(&file, 0, 100 << 20)?;
        Ok(())
    };
    // One that the server has never opened, one that it has open, one that another takes the name of.
    let names = ["unknown", "read", "replaced"];
    for name in names {
        large(name)?;
    }
    let file = client.lookup(&root, "read")?;
    client.read(&file, 0, 10)?;
    fs::write(directory.path().join("other"), "other")?;
    for name in ["unknown", "read"] {
        client.remove(&root, name)?;
    }
    client.rename(&root, "other", &root, "replaced")?;
    let [server_process] = server.children()?[..] else {
        bail!("strace has not started one server");
    };
    // Who has closed each file last.
    let mut last = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) && last.len() < names.len() + 1 {
        sleep(Duration::from_millis(50));
        let said = fs::read_to_string(log.path())?;
        let lines = said.lines().filter(|line| line.contains("(deleted)"));
        last = lines.map(str::to_owned).collect();
    }
    // Of the one that was open there are two.
    ensure!(
        last.len() == names.len() + 1,
        "not all are freed: {last:#?}"
    );
    let own = format!("{server_process} ");
    ensure!(
        !last.iter().any(|line| line.starts_with(&own)),
        "freed where everybody waits for it: {last:#?}"
    );
    Ok(())
}

/// So much of a file that is not on disk, and threads store what is written next.
const MUCH: u64 = 16 << 20;
/// Bytes of a WRITE.
const STEP: usize = 1 << 20;

/// Writes a file's first bytes, up to where threads store.
fn write_much(client: &mut Client, file: &[u8]) -> Result<()> {
    for offset in (0..MUCH).step_by(STEP) {
        client.write(
            file,
            offset,
            stable_how::UNSTABLE,
            &pattern(1, offset, STEP),
        )?;
    }
    Ok(())
}

/// A file system where whoever writes waits, until this is dropped.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn freeze(path: &'a Path) -> Result<Self> {
        setup::quietly(Command::new("fsfreeze").arg("-f").arg(path))?;
        Ok(Self(path))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = setup::quietly(Command::new("fsfreeze").arg("-u").arg(self.0));
    }
}

#[test]
fn who_writes_behind_much_that_is_not_on_disk_makes_nobody_else_wait() -> Result<()> {
    on_image(&["mkfs.ext4", "-q"], 128, |path| {
        let (server, mut other, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let file = make(&mut other, &root, "file", b"")?;
        write_much(&mut other, &file)?;
        let mut clients = Vec::new();
        for number in 0..6 {
            clients.push((server.connect()?, MUCH + number * STEP as u64));
        }
        let frozen = Frozen::freeze(path)?;
        let done = AtomicUsize::new(0);
        thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = clients
                .iter_mut()
                .map(|(client, offset)| {
                    let (file, done) = (&file, &done);
                    scope.spawn(move || -> Result<Duration> {
                        let (begun, data) = (Instant::now(), pattern(1, *offset, STEP));
                        client.write(file, *offset, stable_how::UNSTABLE, &data)?;
                        done.fetch_add(1, Ordering::Relaxed);
                        Ok(begun.elapsed())
                    })
                })
                .collect();
            for _ in 0..30 {
                other.attr(&root)?;
                let read = other.read(&file, MUCH - 4096, 4096)?.0;
                ensure!(
                    read == pattern(1, MUCH - 4096, 4096),
                    "not what was written"
                );
                sleep(DISK / 30 + Duration::from_millis(5));
            }
            let outcome = told_late_after(&done, || drop(frozen), threads);
            outcome.context("a WRITE to a file system that stands still")
        })?;
        other.commit(&file, 0, 0)?;
        holds(&path.join("file"), MUCH + 6 * STEP as u64)
    })
}

#[test]
fn what_a_thread_cannot_store_is_told() -> Result<()> {
    on_image(&["mkfs.ext4", "-q", "-m", "0"], 64, |path| {
        let (_server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let file = make(&mut client, &root, "file", b"")?;
        write_much(&mut client, &file)?;
        let mut len = MUCH;
        loop {
            let data = pattern(1, len, STEP);
            match client.write(&file, len, stable_how::UNSTABLE, &data) {
                Ok(wrote) => len += u64::from(wrote.count),
                failed => {
                    fails(failed, &[nfsstat3::NFS3ERR_NOSPC], "WRITE")?;
                    break;
                }
            }
            ensure!(len < 64 << 20, "more than the disk has fits");
        }
        ensure!(len > 32 << 20, "{len} bytes fitted");
        client.commit(&file, 0, 0)?;
        holds(&path.join("file"), len)
    })
}

#[test]
fn a_thread_stores_as_the_caller() -> Result<()> {
    let directory = public_dir()?;
    let (_server, mut client, root) = serve(directory.path(), WRITABLE, ServerOptions::default())?;
    let file = make(&mut client, &root, "file", b"")?;
    let path = directory.path().join("file");
    chown(&path, Some(1000), Some(1000))?;
    client.auth = user(1000, 1000, &[]);
    write_much(&mut client, &file)?;
    // The kernel takes the bit away when an ordinary user writes, and not when root does.
    for (uid, mode) in [(0, 0o104_755), (1000, 0o100_755)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
        client.auth = user(uid, uid, &[]);
        let data = pattern(1, MUCH, STEP);
        client.write(&file, MUCH, stable_how::UNSTABLE, &data)?;
        let is = fs::metadata(&path)?.permissions().mode();
        ensure!(is == mode, "mode {is:o} after a WRITE by {uid}");
    }
    holds(&path, MUCH + STEP as u64)
}
