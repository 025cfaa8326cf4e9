//! Memory, descriptors and wake-ups of an idle server, under load, and with thousands of passive peers.
//!
//! The limits are read from `image/doc/promises.md`.

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{
    Auth, Call, Client, How, Outcome, Set, data, outcome, parse_write, record, stable_how,
};
use xtask::machines::at_once;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for, status_field};
use xtask::setup;
use xtask::testing::promised;

const MIB: u64 = 1 << 20;
const REPLY_MAX: Duration = Duration::from_secs(1);

fn idle_max_kib() -> Result<u64> {
    promised("`nfs`: at most ", " KiB resident at rest")
}

fn busy_max_kib() -> Result<u64> {
    Ok(promised("`nfs`: at most ", " MiB with 64 clients")? << 10)
}

fn crowd_max_kib() -> Result<u64> {
    Ok(promised("`nfs`: at most ", " MiB with 10,000 silent connections")? << 10)
}

/// Serializes the tests, which share the process's descriptor limit and the host's CPUs.
fn lock_test() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enables transparent huge pages for every process. Drop restores the setting.
struct HugePages {
    before: String,
}

impl HugePages {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

    fn always() -> Result<Self> {
        let text = fs::read_to_string(Self::PATH)
            .with_context(|| format!("cannot read {}", Self::PATH))?;
        let chosen = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
        let before = chosen
            .with_context(|| format!("{} has no selected value: {text}", Self::PATH))?
            .to_owned();
        fs::write(Self::PATH, "always").with_context(|| format!("cannot write {}", Self::PATH))?;
        Ok(Self { before })
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // An error is unlikely, as the file has been written before. A panic here would hide the test's own failure.
        let _ = fs::write(Self::PATH, &self.before);
    }
}

/// The server's peak resident memory in KiB.
fn peak_kib(server: &Server) -> Result<u64> {
    status_field(server.pid(), "VmHWM")
}

/// Makes `count` calls, two of which are in flight. `check` gets the results of each.
fn two_in_flight<'a>(
    client: &mut Client,
    count: u32,
    call: impl Fn(u32) -> Call<'a>,
    check: impl Fn(&[u8]) -> Result<()>,
) -> Result<()> {
    let auth = client.auth.clone();
    let send =
        |client: &mut Client, number| client.send(&record(&call(number).message(number, &auth)));
    send(client, 0)?;
    for number in 0..count {
        if number + 1 < count {
            send(client, number + 1)?;
        }
        let reply = client.receive()?;
        let (xid, outcome) = outcome(reply.context("the server closed the connection")?)?;
        let Outcome::Success(body) = outcome else {
            anyhow::bail!("call {number} was answered {outcome:?}")
        };
        ensure!(xid == number, "call {number} was answered with xid {xid}");
        check(body).with_context(|| format!("call {number}"))?;
    }
    Ok(())
}

/// Reads a file up to `to` by READs of 1 MiB.
fn read_through(client: &mut Client, file: &[u8], to: u64) -> Result<()> {
    let call = |number| Call::read(file, u64::from(number) * MIB, MIB as u32);
    two_in_flight(client, (to / MIB) as u32, call, |body| {
        let len = data(body)?.0.len();
        ensure!(len as u64 == MIB, "READ returned {len} bytes");
        Ok(())
    })
}

/// Starts a server that exports a sparse file of 5 GiB.
fn with_sparse_file() -> Result<(Server, tempfile::TempDir)> {
    let directory = public_dir()?;
    File::create(directory.path().join("sparse"))?.set_len(5 << 30)?;
    Ok((
        Server::start(ServerOptions::serving(&[directory.path()]))?,
        directory,
    ))
}

fn measure_idle_and_load() -> Result<()> {
    let (server, directory) = with_sparse_file()?;
    let idle = peak_kib(&server)?;
    ensure!(idle <= idle_max_kib()?, "{idle} KiB idle");

    let (mut client, root) = server.open(directory.path())?;
    let file = client.lookup(&root, "sparse")?;
    let read = || read_through(&mut server.connect()?, &file, 32 * MIB);
    at_once([read; 64])?;
    let busy = peak_kib(&server)?;
    ensure!(busy <= busy_max_kib()?, "{busy} KiB with 64 readers");

    let flat = peak_kib(&server)?;
    read_through(&mut client, &file, 5 << 30)?;
    let peak = peak_kib(&server)?;
    ensure!(
        peak <= flat + 16,
        "resident memory grew from {flat} to {peak} KiB while 5 GiB were read"
    );
    eprintln!("{idle} KiB idle, {busy} KiB with 64 readers, {peak} KiB after 5 GiB");
    Ok(())
}

/// Writes 1 MiB to the start of the file `name` `rounds` times, two WRITEs in flight. The last WRITE is FILE_SYNC.
fn write_often(server: &Server, root: &[u8], name: &str, rounds: u32) -> Result<()> {
    let mut client = server.connect()?;
    let how = How::Guarded(Set::mode(0o644));
    let file = client.create(root, name, how)?;
    let data = vec![name.len() as u8; MIB as usize];
    let call = |round| {
        let stable = if round + 1 == rounds {
            stable_how::FILE_SYNC
        } else {
            stable_how::UNSTABLE
        };
        Call::write(&file, 0, stable, &data)
    };
    two_in_flight(&mut client, rounds, call, |body| {
        let count = parse_write(body)?.count;
        ensure!(u64::from(count) == MIB, "WRITE wrote {count} bytes");
        Ok(())
    })
}

fn measure_writers() -> Result<()> {
    let directory = public_dir()?;
    let export = format!("{}:rw,no_root_squash", directory.path().display());
    let server = Server::start(ServerOptions {
        exports: vec![export],
        ..ServerOptions::default()
    })?;
    let (_, root) = server.open(directory.path())?;
    at_once((0..64).map(|number| {
        let (server, root) = (&server, &root);
        move || write_often(server, root, &format!("file {}", "x".repeat(number)), 16)
    }))?;
    let busy = peak_kib(&server)?;
    ensure!(busy <= busy_max_kib()?, "{busy} KiB with 64 writers");
    for entry in fs::read_dir(directory.path())? {
        let entry = entry?;
        let byte = entry.file_name().len() as u8;
        let data = fs::read(entry.path())?;
        ensure!(
            data.len() as u64 == MIB && data.iter().all(|b| *b == byte),
            "{:?} has the wrong contents",
            entry.path()
        );
    }
    eprintln!("{busy} KiB with 64 writers");
    Ok(())
}

/// Huge pages can only increase resident memory, so the limits are measured with them.
#[test]
fn memory_limits_hold_with_huge_pages() -> Result<()> {
    let _lock = lock_test();
    let _always = root_for("huge pages").then(HugePages::always).transpose()?;
    measure_idle_and_load()?;
    measure_writers()
}

/// Checks that a new client gets a reply within [`REPLY_MAX`].
fn ensure_prompt(server: &Server, directory: &Path) -> Result<()> {
    let start = Instant::now();
    let (mut client, root) = server.open(directory)?;
    client.attr(&root)?;
    ensure!(
        start.elapsed() <= REPLY_MAX,
        "a new client waited {:?}",
        start.elapsed()
    );
    Ok(())
}

/// The number of open descriptors of a server without clients.
fn idle_descriptor_count(server: &Server) -> Result<usize> {
    // The line "listening" is printed shortly before the start is complete.
    sleep(Duration::from_millis(200));
    server.fd_count()
}

/// Waits until the server has closed the descriptors of all connections and has at most `before` open.
fn wait_until_descriptors_close(server: &Server, before: usize) -> Result<()> {
    let start = Instant::now();
    while server.fd_count()? > before {
        let open = || {
            fs::read_dir(format!("/proc/{}/fd", server.pid()))?
                .map(|fd| fs::read_link(fd?.path()))
                .collect::<std::io::Result<Vec<_>>>()
        };
        ensure!(
            start.elapsed() < Duration::from_secs(10),
            "more than {before} descriptors are open: {:?}",
            open()?
        );
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Raises this process's descriptor limit. Returns the number of connections that it allows, at most `wanted`.
fn connections_possible(wanted: u64) -> Result<u64> {
    const OTHERS: u64 = 200;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(wanted + OTHERS), hard)
        .context("cannot raise RLIMIT_NOFILE")?;
    let possible = wanted.min(hard.saturating_sub(OTHERS));
    if possible < wanted {
        eprintln!(
            "only {possible} connections instead of {wanted}: the hard limit of descriptors is {hard}"
        );
    }
    Ok(possible)
}

#[test]
fn ten_thousand_silent_peers_do_not_delay_clients() -> Result<()> {
    let _lock = lock_test();
    let (server, directory) = with_sparse_file()?;
    let before = idle_descriptor_count(&server)?;
    let (mut client, root) = server.open(directory.path())?;
    let whole = record(&Call::get_attr(&root).message(1, &client.auth));
    let count = connections_possible(10_000)?;
    let mut crowd = Vec::new();
    for number in 0..count {
        let mut peer =
            TcpStream::connect(server.nfs()).with_context(|| format!("connection {number}"))?;
        // Each peer sends nothing, half of the record mark, part of a request, or all but the last byte.
        let part = [0, 2, 60, whole.len() - 1][number as usize % 4];
        std::io::Write::write_all(&mut peer, &whole[..part])?;
        crowd.push(peer);
    }
    ensure_prompt(&server, directory.path())?;
    client
        .attr(&root)
        .context("a client that was connected before the peers")?;
    let peak = peak_kib(&server)?;
    ensure!(
        peak <= crowd_max_kib()?,
        "{peak} KiB with {count} silent peers"
    );
    eprintln!("{peak} KiB with {count} silent peers");
    drop((crowd, client));
    wait_until_descriptors_close(&server, before)?;
    ensure_prompt(&server, directory.path())
}

#[test]
fn peers_that_stop_reading_do_not_delay_clients() -> Result<()> {
    let _lock = lock_test();
    let (server, directory) = with_sparse_file()?;
    let before = idle_descriptor_count(&server)?;
    let (mut client, root) = server.open(directory.path())?;
    let file = client.lookup(&root, "sparse")?;
    let data = record(&Call::read(&file, 0, MIB as u32).message(1, &Auth::root())).repeat(16);
    let attributes = record(&Call::get_attr(&root).message(1, &Auth::root())).repeat(20_000);
    let mut crowd = Vec::new();
    for number in 0..200 {
        let peer = TcpStream::connect(server.nfs())?;
        peer.set_nonblocking(true)?;
        // Each peer sends 16 calls with large replies, or 20,000 calls with small ones, as far as the socket accepts them.
        let _ = std::io::Write::write(
            &mut &peer,
            if number % 2 == 0 { &data } else { &attributes },
        )?;
        crowd.push(peer);
    }
    ensure_prompt(&server, directory.path())?;
    read_through(&mut client, &file, 64 * MIB).context("while other peers do not read")?;
    let peak = peak_kib(&server)?;
    ensure!(
        peak <= crowd_max_kib()?,
        "{peak} KiB with {} peers that do not read",
        crowd.len()
    );
    eprintln!("{peak} KiB with {} peers that do not read", crowd.len());
    drop((crowd, client));
    wait_until_descriptors_close(&server, before)?;
    ensure_prompt(&server, directory.path())
}

/// Checks that the server does not wake up for ten seconds.
fn ensure_asleep(server: &Server) -> Result<()> {
    // The server closes idle files up to two seconds after the last request.
    sleep(Duration::from_secs(5));
    let (wakeups, ticks) = (server.wakeups()?, server.cpu_ticks()?);
    sleep(Duration::from_secs(10));
    let (wakeups, ticks) = (server.wakeups()? - wakeups, server.cpu_ticks()? - ticks);
    ensure!(
        (wakeups, ticks) == (0, 0),
        "{wakeups} wake-ups and {ticks} ticks in ten idle seconds"
    );
    Ok(())
}

#[test]
fn idle_server_sleeps_after_clients_are_killed() -> Result<()> {
    let _lock = lock_test();
    setup::install_packages(&["libnfs-utils"])?;
    let (server, directory) = with_sparse_file()?;
    let before = idle_descriptor_count(&server)?;
    ensure_asleep(&server)?;
    let path = directory.path().join("sparse");
    let url = format!(
        "nfs://127.0.0.1{}?nfsport={}&mountport={}",
        path.display(),
        server.nfs_port,
        server.mount_port
    );
    let clients = (0..50).map(|_| {
        Command::new("nfs-cat")
            .arg(&url)
            .stdout(Stdio::null())
            .spawn()
    });
    let clients = clients
        .collect::<std::io::Result<Vec<_>>>()
        .context("cannot start nfs-cat")?;
    sleep(Duration::from_secs(1));
    for mut client in clients {
        ensure!(
            client.try_wait()?.is_none(),
            "a client ended before it was killed"
        );
        client.kill()?;
        client.wait()?;
    }
    wait_until_descriptors_close(&server, before)?;
    // A connected client that sends nothing must not wake the server.
    let (mut silent, root) = server.open(directory.path())?;
    ensure_asleep(&server)?;
    silent.attr(&root).map(drop)
}
