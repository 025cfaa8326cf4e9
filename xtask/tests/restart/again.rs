//! The server under `serve` is killed and restarted, and its clients retransmit unanswered calls: no call is carried out twice, and
//! none fails because the killed server had carried it out.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::clients::nfs::{Call, Client, How, Outcome, Set, nfsstat3, outcome, record, status_of};
use xtask::machines::at_once;
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir, users};

/// Longest time until a server accepts connections again. The supervisor waits up to 30 s before a restart.
const START_MAX: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(5);

/// A supervisor with its server, and a client that reconnects.
struct Scene {
    server: Server,
    client: Client,
    root: Vec<u8>,
    directory: TempDir,
    /// Reserves the port, so that the next server gets the same one.
    _port: Port,
}

impl Scene {
    fn new(user: Option<u32>, loops: &str) -> Result<Self> {
        let directory = public_dir()?;
        std::os::unix::fs::chown(directory.path(), user, user)?;
        let port = Port::reserve()?;
        let server = Server::start(ServerOptions {
            role: "serve",
            exports: vec![format!("{}:rw,no_root_squash", directory.path().display())],
            port: port.number(),
            arguments: ["--no-mdns", "--loops", loops].map(Into::into).to_vec(),
            user,
            ..ServerOptions::default()
        })?;
        let (client, root) = server.open(directory.path())?;
        Ok(Self {
            server,
            client,
            root,
            directory,
            _port: port,
        })
    }

    /// PID of the server process that the client is connected to.
    fn child(&self) -> Result<u32> {
        serving(&self.server, &self.client)
    }

    /// Kills the server process `child`, and waits until it is gone.
    fn kill(&self, child: u32) -> Result<()> {
        kill(Pid::from_raw(child.try_into()?), Signal::SIGKILL)
            .context("cannot kill the server")?;
        // A killed server may accept connections until its process is gone.
        while self.server.children()?.contains(&child) {
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Connects to the next server as soon as it listens.
    fn reconnect(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.server.connect() {
                Ok(client) => {
                    self.client = client;
                    return Ok(());
                }
                Err(e) if start.elapsed() > START_MAX => return Err(e),
                Err(_) => sleep(PAUSE),
            }
        }
    }
}

/// PID of the supervisor's child that owns the other end of the client's connection.
pub(super) fn serving(server: &Server, client: &Client) -> Result<u32> {
    let local = client.stream().local_addr()?.port();
    let address_pair = format!(":{:04X} 0100007F:{local:04X} ", server.nfs_port);
    // A connection that is not accepted yet has no owner.
    for _ in 0..1000 {
        let table = fs::read_to_string("/proc/net/tcp")?;
        let row = table.lines().find(|line| line.contains(&address_pair));
        let inode = row.and_then(|row| row.split_whitespace().nth(9));
        let socket = format!("socket:[{}]", inode.context("no connection")?);
        for child in server.children()? {
            let files = fs::read_dir(format!("/proc/{child}/fd"))?;
            let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            if targets.any(|target| target == Path::new(&socket)) {
                return Ok(child);
            }
        }
        sleep(PAUSE);
    }
    bail!("no process has the connection")
}

pub(super) fn status(reply: &[u8]) -> Result<nfsstat3> {
    match outcome(reply)? {
        (_, Outcome::Success(results)) => status_of(results),
        (_, other) => bail!("answered {other:?}"),
    }
}

/// Every call that is not idempotent, in an order in which all succeed; `file` is the handle of "file".
pub(super) fn calls<'a>(dir: &'a [u8], file: &'a [u8]) -> [Call<'a>; 10] {
    let set = Set::mode(0o600);
    [
        Call::set_attr(file, set, None),
        Call::create(dir, b"created", How::Guarded(set)),
        Call::create(dir, b"exclusive", How::Exclusive([7; 8])),
        Call::mkdir(dir, b"made", set),
        Call::symlink(dir, b"link", Set::default(), b"target"),
        Call::fifo(dir, b"fifo", set),
        Call::link(file, dir, b"second"),
        Call::rename(dir, b"second", dir, b"moved"),
        Call::remove(dir, b"moved"),
        Call::rmdir(dir, b"made"),
    ]
}

/// The host's view of a directory: name, mode, size, link count and ctime of each object.
pub(super) fn tree(directory: &Path) -> Result<Vec<String>> {
    use std::os::unix::fs::MetadataExt;
    let mut names = fs::read_dir(directory)?
        .map(|entry| {
            let entry = entry?;
            let meta = entry.metadata()?;
            let (mode, size, links) = (meta.mode(), meta.size(), meta.nlink());
            let (name, time) = (entry.file_name(), (meta.ctime(), meta.ctime_nsec()));
            Ok(format!("{name:?} {mode:o} {size} {links} {time:?}"))
        })
        .collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

#[test]
fn cached_replies_survive_a_kill() -> Result<()> {
    for (user, loops) in users()
        .into_iter()
        .flat_map(|user| [(user, "1"), (user, "2")])
    {
        let mut scene = Scene::new(user, loops)?;
        let root = scene.root.clone();
        let file = scene
            .client
            .create(&root, "file", How::Guarded(Set::default()))?;
        let auth = scene.client.auth.clone();
        let mut replies = Vec::new();
        for (xid, call) in (0x0a6a_6000..).zip(calls(&root, &file)) {
            let message = call.message(xid, &auth);
            scene.client.send(&record(&message))?;
            let answer = scene.client.receive()?.context("closed")?.to_vec();
            ensure!(status(&answer)? == nfsstat3::NFS3_OK, "{call:?}");
            replies.push((message, answer));
        }
        let after = tree(scene.directory.path())?;
        for _ in 0..2 {
            scene.kill(scene.child()?)?;
            scene.reconnect()?;
            for (message, answer) in &replies {
                scene.client.send(&record(message))?;
                let second = scene.client.receive()?.context("closed")?;
                ensure!(
                    second == answer,
                    "after a kill, {message:?} is answered {:?}, user {user:?}",
                    status(second)
                );
            }
            ensure!(
                tree(scene.directory.path())? == after,
                "a retransmitted call was carried out twice"
            );
        }
    }
    Ok(())
}

/// Number of servers that are killed in parallel. Many kills of one server would take long, because the supervisor's restart delay
/// doubles with each kill.
const SERVERS: usize = 4;
/// Number of times that each server is killed.
const KILLS: usize = 7;
/// Number of times that each server is killed in full runs.
const KILLS_FULL: usize = 13;
/// Number of batches in a round. All calls of a round (nine per batch) are in flight at once, and the duplicate request cache has
/// room for their replies.
const ROUND: usize = 6;

/// Returns nine calls for one pipeline. Later calls succeed only after the earlier ones; `file` has the ctime `guard`.
fn batch<'a>(
    dir: &'a [u8],
    names: &'a [String; 4],
    file: &'a [u8],
    guard: (u32, u32),
) -> [Call<'a>; 9] {
    let [made, created, moved, link] = names.each_ref().map(|name| name.as_bytes());
    let set = Set::mode(0o755);
    [
        Call::mkdir(dir, made, set),
        Call::create(dir, created, How::Guarded(set)),
        Call::rename(dir, created, dir, moved),
        Call::symlink(dir, link, Set::default(), b"target"),
        Call::rmdir(dir, made),
        Call::rename(dir, link, dir, created),
        Call::remove(dir, moved),
        Call::mkdir(dir, moved, set),
        Call::set_attr(file, set, Some(guard)),
    ]
}

/// Sends rounds of batches to a server that is killed during each round; returns the number of retransmitted calls.
fn run_with_kills(user: Option<u32>, loops: &str, kills: usize) -> Result<usize> {
    let mut scene = Scene::new(user, loops)?;
    let root = scene.root.clone();
    let auth = scene.client.auth.clone();
    let mut files = Vec::new();
    for number in 0..ROUND {
        let how = How::Guarded(Set::default());
        files.push(scene.client.create(&root, &format!("file {number}"), how)?);
    }
    let (mut xid, mut retransmitted) = (0x0a6b_0000, 0);
    // Duration of a round, measured in the first one, in which the server is not killed.
    let mut round_time = None;
    for kill in 0..=kills {
        let (mut expected, mut messages) = (Vec::new(), Vec::new());
        for (number, file) in files.iter().enumerate() {
            let names =
                ["made", "created", "moved", "link"].map(|name| format!("{kill} {number} {name}"));
            let ctime = scene.client.attr(file)?.ctime;
            let guard = (ctime.seconds, ctime.nseconds);
            for call in batch(&root, &names, file, guard) {
                xid += 1;
                messages.push((format!("{call:?}"), call.message(xid, &auth)));
            }
            expected.extend([names[1].clone(), names[2].clone()]);
        }
        let child = scene.child()?;
        let start = Instant::now();
        send_all(&mut scene.client, &messages)?;
        if let Some(time) = round_time {
            let delay = Duration::mul_f64(time, fastrand::f64());
            sleep(delay.saturating_sub(start.elapsed()));
            scene.kill(child)?;
        }
        let mut answered = 0;
        while answered < messages.len() && receive_ok(&mut scene.client, &messages[answered].0)? {
            answered += 1;
        }
        round_time.get_or_insert_with(|| start.elapsed());
        if kill > 0 {
            scene.reconnect()?;
        }
        let unanswered = &messages[answered..];
        retransmitted += unanswered.len();
        send_all(&mut scene.client, unanswered)?;
        for (call, _) in unanswered {
            let answered = receive_ok(&mut scene.client, call)
                .with_context(|| format!("retransmitted after kill {kill} as user {user:?}"))?;
            ensure!(answered, "the connection was closed");
        }
        for name in &expected {
            let path = scene.directory.path().join(name);
            let meta = fs::symlink_metadata(&path).with_context(|| name.clone())?;
            if meta.is_dir() {
                fs::remove_dir(&path)?;
            } else {
                ensure!(meta.is_symlink(), "{name} is {meta:?}");
                fs::remove_file(&path)?;
            }
        }
        let remaining = tree(scene.directory.path())?;
        ensure!(
            remaining.len() == ROUND,
            "after kill {kill} the directory has {remaining:?}"
        );
    }
    Ok(retransmitted)
}

/// Sends calls in one pipeline.
fn send_all(client: &mut Client, messages: &[(String, Vec<u8>)]) -> Result<()> {
    let bytes: Vec<u8> = messages.iter().flat_map(|(_, m)| record(m)).collect();
    client.send(&bytes)
}

/// Returns true if a reply came, which must be NFS3_OK, and false if the connection was closed.
fn receive_ok(client: &mut Client, call: &str) -> Result<bool> {
    let answer = match client.receive() {
        Ok(answer) => answer,
        // A killed server's connection is reset.
        Err(e) if e.downcast_ref::<std::io::Error>().is_some() => None,
        Err(e) => return Err(e),
    };
    let Some(answer) = answer else {
        return Ok(false);
    };
    let status = status(answer)?;
    ensure!(
        status == nfsstat3::NFS3_OK,
        "{call} was answered {status:?}"
    );
    Ok(true)
}

#[test]
fn repeated_kills_lose_no_calls() -> Result<()> {
    let kills = if xtask::testing::is_full_run() {
        KILLS_FULL
    } else {
        KILLS
    };
    let users = users();
    let retransmitted = at_once((0..SERVERS).map(|server| {
        let user = users[server % users.len()];
        let loops = if server < SERVERS / 2 { "1" } else { "2" };
        move || run_with_kills(user, loops, kills)
    }))?;
    let retransmitted: usize = retransmitted.into_iter().sum();
    let kills = SERVERS * kills;
    eprintln!("{retransmitted} calls were retransmitted after {kills} kills");
    ensure!(retransmitted > kills, "too few calls were retransmitted");
    Ok(())
}
