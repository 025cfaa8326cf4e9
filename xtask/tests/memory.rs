//! Memory, descriptors and wake-ups of an idle server, under load, and with thousands of passive peers.
//!
//! The limits are read from `image/doc/promises.md`.

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

fn measure_idle_and_load(setting: &str) -> Result<()> {
    let (server, directory) = with_sparse_file()?;
    let idle = peak_kib(&server)?;
    ensure!(idle <= idle_max_kib()?, "{setting}: {idle} KiB idle");

    let (mut client, root) = server.open(directory.path())?;
    let file = client.lookup(&root, "sparse")?;
    let read = || read_through(&mut server.connect()?, &file, 32 * MIB);
    at_once([read; 64])?;
    let busy = peak_kib(&server)?;
    ensure!(
        busy <= busy_max_kib()?,
        "{setting}: {busy} KiB with 64 readers"
    );

    let flat = peak_kib(&server)?;
    read_through(&mut client, &file, 5 << 30)?;
    let peak = peak_kib(&server)?;
    ensure!(
        peak <= flat + 16,
        "{setting}: resident memory grew from {flat} to {peak} KiB while 5 GiB were read"
    );
    eprintln!("{setting}: {idle} KiB idle, {busy} KiB with 64 readers, {peak} KiB after 5 GiB");
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

fn measure_writers(setting: &str) -> Result<()> {
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
    ensure!(
        busy <= busy_max_kib()?,
        "{setting}: {busy} KiB with 64 writers"
    );
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
    eprintln!("{setting}: {busy} KiB with 64 writers");
    Ok(())
}

#[test]
fn memory_limits_hold_idle_and_under_load() -> Result<()> {
    let _lock = lock_test();
    measure_idle_and_load("huge pages unchanged")?;
    measure_writers("huge pages unchanged")
}

#[test]
fn memory_limits_hold_with_huge_pages() -> Result<()> {
    let _lock = lock_test();
    if !root_for("huge pages") {
        return Ok(());
    }
    let _always = HugePages::always()?;
    measure_idle_and_load("huge pages always")?;
    measure_writers("huge pages always")
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

/// A peer in a crowd: connects from `from`, sends NULL calls at intervals, and reconnects after it was disconnected.
struct CrowdPeer {
    from: Ipv4Addr,
    stream: Option<TcpStream>,
}

impl CrowdPeer {
    fn connect(&self, server: SocketAddrV4) -> Result<TcpStream> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        let from = SockaddrIn::from(SocketAddrV4::new(self.from, 0));
        bind(socket.as_raw_fd(), &from)?;
        match nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrIn::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads pending replies and sends another NULL call; reconnects if that fails.
    fn visit(&mut self, server: SocketAddrV4, null: &[u8]) -> Result<()> {
        if let Some(mut stream) = self.stream.as_ref() {
            let received = stream.read(&mut [0; 4096]).map_err(|error| error.kind());
            if matches!(received, Ok(1..) | Err(ErrorKind::WouldBlock))
                && stream.write(null).is_ok_and(|sent| sent == null.len())
            {
                return Ok(());
            }
        }
        // The connection was closed by the server or is not established yet.
        let stream = self.connect(server)?;
        let _ = (&stream).write(null);
        self.stream = Some(stream);
        Ok(())
    }
}

#[test]
fn crowd_from_few_addresses_does_not_block_clients() -> Result<()> {
    const ADDRESS_COUNT: u64 = 200;
    const ROUND: Duration = Duration::from_secs(10);
    // The server's limit on connections.
    const FULL: u64 = 12_288;
    let _lock = lock_test();
    let (server, directory) = with_sparse_file()?;
    let SocketAddr::V4(address) = server.nfs() else {
        anyhow::bail!("the server has no IPv4 address: {}", server.nfs())
    };
    let (mut before, root) = server.open(directory.path())?;
    let count = connections_possible(20_000)?;
    ensure!(count > FULL, "too few descriptors for a crowd: {count}");
    let null = record(&Call::null().message(1, &Auth::none()));
    let visitors = (0..count).map(|number| CrowdPeer {
        from: Ipv4Addr::new(127, 1, 0, 1 + (number % ADDRESS_COUNT) as u8),
        stream: None,
    });
    let mut visitors: Vec<CrowdPeer> = visitors.collect();
    let (is_over, round_count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                let parts = visitors.len().div_ceil(100);
                for (number, part) in (1..).zip(visitors.chunks_mut(parts)) {
                    for visitor in part {
                        visitor.visit(address, &null)?;
                    }
                    sleep((ROUND / 100 * number).saturating_sub(start.elapsed()));
                }
                round_count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let mut watch = || -> Result<()> {
            let (mut client_count, mut max_open) = (0, 0);
            while round_count.load(Ordering::Relaxed) < 4 && !crowd.is_finished() {
                ensure_prompt(&server, directory.path()).context("while a crowd connects")?;
                before
                    .attr(&root)
                    .context("a client that was connected before the crowd")?;
                max_open = max_open.max(server.fd_count()? as u64);
                client_count += 1;
                sleep(Duration::from_millis(100));
            }
            ensure!(
                max_open >= FULL,
                "the server never had more than {max_open} descriptors open"
            );
            eprintln!("{client_count} new clients while {count} visitors connected");
            Ok(())
        };
        let watched = watch();
        is_over.store(true, Ordering::Relaxed);
        crowd
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        watched
    })?;
    let peak = peak_kib(&server)?;
    ensure!(peak <= crowd_max_kib()?, "{peak} KiB with {count} visitors");
    drop(visitors);
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

#[test]
fn accept_without_free_descriptors_does_not_spin() -> Result<()> {
    const TICKS_MAX: u64 = 3;
    let _lock = lock_test();
    let directory = public_dir()?;
    let few = r#"ulimit -n 64 && exec "$@""#;
    let through = ["sh", "-c", few, "sh"].map(String::from).to_vec();
    let server = Server::start(ServerOptions {
        wrapper: through,
        ..ServerOptions::serving(&[directory.path()])
    })?;
    let crowd = (0..200)
        .map(|_| TcpStream::connect(server.nfs()))
        .collect::<std::io::Result<Vec<_>>>()?;
    sleep(Duration::from_secs(1));
    let ticks = server.cpu_ticks()?;
    sleep(Duration::from_secs(3));
    let ticks = server.cpu_ticks()? - ticks;
    ensure!(
        ticks <= TICKS_MAX,
        "{ticks} ticks of CPU in 3 s without a free descriptor"
    );
    drop(crowd);
    sleep(Duration::from_secs(1));
    ensure_prompt(&server, directory.path())
}
