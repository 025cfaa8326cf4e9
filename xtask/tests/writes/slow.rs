//! A slow disk delays only the clients that wait for it, not other clients.

use super::{WRITABLE, create_file, serve, user};
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
use xtask::clients::nfs::stable_how::{FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{Client, How, Set};
use xtask::machines::mounts::on_image;
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::setup;
use xtask::testing::{check_pattern, pattern};

/// Delay of the injected system call, and of the frozen file system.
const DISK: Duration = Duration::from_secs(3);

/// Starts a server under strace, which delays this system call by `DISK` and logs to `log`; `more` are further options of strace.
fn start_slow(directory: &Path, call: &str, more: &[&str], log: &NamedTempFile) -> Result<Server> {
    setup::install_packages(&["strace"])?;
    let delay = format!("inject={call}:delay_enter={}", DISK.as_micros());
    let log = log.path().display().to_string();
    let mut through = vec!["strace", "-f", "-qq", "-o", &log, "-e", &delay];
    through.extend(more);
    Server::start(ServerOptions {
        exports: vec![format!("{}:{WRITABLE}", directory.display())],
        wrapper: through.into_iter().map(str::to_owned).collect(),
        ..ServerOptions::default()
    })
}

/// Checks that no client has a reply yet (`done` counts the replies). Then joins the clients' threads, and checks that each client
/// waited at least `DISK`.
fn ensure_late(
    done: &AtomicUsize,
    clients: Vec<ScopedJoinHandle<'_, Result<Duration>>>,
) -> Result<()> {
    ensure_late_after(done, || (), clients)
}

/// As [`ensure_late`], but calls `release` after the check of `done`, to end the delay of the disk.
fn ensure_late_after(
    done: &AtomicUsize,
    release: impl FnOnce(),
    clients: Vec<ScopedJoinHandle<'_, Result<Duration>>>,
) -> Result<()> {
    let answered = done.load(Ordering::Relaxed);
    release();
    ensure!(
        answered == 0,
        "{answered} calls were answered before the disk was done"
    );
    for client in clients {
        let elapsed = client.join().ok().context("a client panicked")??;
        ensure!(
            elapsed >= DISK,
            "answered after {elapsed:?}, before the disk was done"
        );
    }
    Ok(())
}

/// A call that is answered after a sync.
type SyncedCall = fn(&mut Client, &[u8], &[u8]) -> Result<()>;

const WAITS: [SyncedCall; 4] = [
    |client, _, file| client.write(file, 0, FILE_SYNC, b"data").map(drop),
    |client, _, file| client.commit(file, 0, 0).map(drop),
    |client, root, _| {
        client
            .create(root, "new", How::Guarded(Set::mode(0o644)))
            .map(drop)
    },
    |client, root, _| client.mkdir(root, "directory", Set::mode(0o755)).map(drop),
];

#[test]
fn slow_fsync_does_not_delay_other_clients() -> Result<()> {
    let (directory, log) = (public_dir()?, NamedTempFile::new()?);
    fs::write(directory.path().join("file"), "before")?;
    let server = start_slow(directory.path(), "fsync", &[], &log)?;
    let (mut neighbour, root) = server.open(directory.path())?;
    let file = neighbour.lookup(&root, "file")?;
    // Writes unstable data, which a client's COMMIT must sync.
    neighbour.write(&file, 0, UNSTABLE, b"first")?;
    let mut clients = Vec::new();
    for _ in WAITS {
        clients.push(server.connect()?);
    }
    let start = Instant::now();
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
                    Ok(start.elapsed())
                })
            })
            .collect();
        // The objects exist on the host, but no reply was sent.
        while !["new", "directory"]
            .iter()
            .all(|name| directory.path().join(name).exists())
        {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "the objects do not exist after 20 s"
            );
            sleep(Duration::from_millis(5));
        }
        ensure!(
            neighbour.read(&file, 0, 9)?.0.len() > 3,
            "the file is short"
        );
        neighbour.attr(&root)?;
        ensure_late(&done, threads)
    })?;
    // After all delayed calls, the server still accepts changes.
    create_file(&mut neighbour, &root, "after", b"after")?;
    ensure!(
        server
            .lines()
            .iter()
            .all(|line| !line.contains("internal error"))
    );
    Ok(())
}

#[test]
fn uncached_read_does_not_delay_other_clients() -> Result<()> {
    let (directory, log) = (public_dir()?, NamedTempFile::new()?);
    let data: Vec<u8> = (0..300_000_u32).map(|index| (index / 7) as u8).collect();
    fs::write(directory.path().join("file"), &data)?;
    // Every page seems uncached: preadv2 with RWF_NOWAIT fails, so a worker thread reads the data.
    let uncached = ["-e", "inject=preadv2:error=EAGAIN"];
    let server = start_slow(directory.path(), "splice", &uncached, &log)?;
    let (mut neighbour, root) = server.open(directory.path())?;
    let file = neighbour.lookup(&root, "file")?;
    // A short READ, whose data is copied into the reply, and a long one, whose data is sent after the reply's head.
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
                    let start = Instant::now();
                    let (read, is_end) = client.read(file, 100_000, *count)?;
                    done.fetch_add(1, Ordering::Relaxed);
                    let range = 100_000..100_000 + *count as usize;
                    ensure!(
                        !is_end && read == &data[range],
                        "READ returned other bytes than the file has"
                    );
                    Ok(start.elapsed())
                })
            })
            .collect();
        for _ in 0..10 {
            neighbour.attr(&root)?;
            sleep(DISK / 30);
        }
        ensure_late(&done, threads)
    })
}

#[test]
fn large_removed_files_are_closed_by_workers() -> Result<()> {
    setup::install_packages(&["strace"])?;
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
        wrapper: through.map(str::to_owned).to_vec(),
        ..ServerOptions::default()
    })?;
    let (mut client, root) = server.open(directory.path())?;
    let large = |name: &str| -> Result<()> {
        let file = fs::File::create(directory.path().join(name))?;
        posix_fallocate(&file, 0, 100 << 20)?;
        Ok(())
    };
    // "unknown" is a file that the server has never opened, "read" a file that it has open. RENAME replaces "replaced".
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
        bail!("strace has no single child process");
    };
    // Lines of strace's log in which a thread closes a removed file.
    let mut closes = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) && closes.len() < names.len() + 1 {
        sleep(Duration::from_millis(50));
        let text = fs::read_to_string(log.path())?;
        let lines = text.lines().filter(|line| line.contains("(deleted)"));
        closes = lines.map(str::to_owned).collect();
    }
    // Each file is closed once, and "read" twice, because the server had it open already.
    ensure!(
        closes.len() == names.len() + 1,
        "not all removed files were closed: {closes:#?}"
    );
    let main_thread = format!("{server_process} ");
    ensure!(
        !closes.iter().any(|line| line.starts_with(&main_thread)),
        "the main thread, on which all clients wait, closed a removed file: {closes:#?}"
    );
    Ok(())
}

/// Bytes written to a file since its last sync, after which worker threads store its WRITEs.
const DIRTY: u64 = 16 << 20;
/// Length (bytes) of a WRITE.
const STEP: usize = 1 << 20;

/// Writes a file's first `DIRTY` bytes, so that worker threads store the next ones.
fn write_dirty(client: &mut Client, file: &[u8]) -> Result<()> {
    for offset in (0..DIRTY).step_by(STEP) {
        client.write(file, offset, UNSTABLE, &pattern(1, offset, STEP))?;
    }
    Ok(())
}

/// A file system on which every write blocks until this is dropped.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn freeze(path: &'a Path) -> Result<Self> {
        setup::run_captured(Command::new("fsfreeze").arg("-f").arg(path))?;
        Ok(Self(path))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = setup::run_captured(Command::new("fsfreeze").arg("-u").arg(self.0));
    }
}

#[test]
fn blocked_writes_do_not_delay_other_clients() -> Result<()> {
    on_image(&["mkfs.ext4", "-q"], 128, |path| {
        let (server, mut other, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let file = create_file(&mut other, &root, "file", b"")?;
        write_dirty(&mut other, &file)?;
        let mut clients = Vec::new();
        for number in 0..6 {
            clients.push((server.connect()?, DIRTY + number * STEP as u64));
        }
        let frozen = Frozen::freeze(path)?;
        let done = AtomicUsize::new(0);
        thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = clients
                .iter_mut()
                .map(|(client, offset)| {
                    let (file, done) = (&file, &done);
                    scope.spawn(move || -> Result<Duration> {
                        let (start, data) = (Instant::now(), pattern(1, *offset, STEP));
                        client.write(file, *offset, UNSTABLE, &data)?;
                        done.fetch_add(1, Ordering::Relaxed);
                        Ok(start.elapsed())
                    })
                })
                .collect();
            for _ in 0..30 {
                other.attr(&root)?;
                let read = other.read(&file, DIRTY - 4096, 4096)?.0;
                ensure!(
                    read == pattern(1, DIRTY - 4096, 4096),
                    "READ returned other bytes than were written"
                );
                sleep(DISK / 30 + Duration::from_millis(5));
            }
            let outcome = ensure_late_after(&done, || drop(frozen), threads);
            outcome.context("WRITEs to a frozen file system")
        })?;
        other.commit(&file, 0, 0)?;
        check_pattern(&path.join("file"), DIRTY + 6 * STEP as u64)
    })
}

#[test]
fn worker_writes_with_the_callers_credentials() -> Result<()> {
    let directory = public_dir()?;
    let (_server, mut client, root) = serve(directory.path(), WRITABLE, ServerOptions::default())?;
    let file = create_file(&mut client, &root, "file", b"")?;
    let path = directory.path().join("file");
    chown(&path, Some(1000), Some(1000))?;
    client.auth = user(1000, 1000, &[]);
    write_dirty(&mut client, &file)?;
    // The kernel clears the setuid bit when an ordinary user writes, but not when root does.
    for (uid, mode) in [(0, 0o104_755), (1000, 0o100_755)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
        client.auth = user(uid, uid, &[]);
        let data = pattern(1, DIRTY, STEP);
        client.write(&file, DIRTY, UNSTABLE, &data)?;
        let actual = fs::metadata(&path)?.permissions().mode();
        ensure!(actual == mode, "mode {actual:o} after a WRITE by {uid}");
    }
    check_pattern(&path, DIRTY + STEP as u64)
}
