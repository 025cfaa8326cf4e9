//! Several loops that serve the same files: clients of different loops see one server.

use super::again::{calls, serving, status, tree};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};
use xtask::clients::nfs::Outcome;
use xtask::clients::nfs::nfsstat3::{NFS3_OK, NFS3ERR_EXIST, NFS3ERR_NOENT};
use xtask::clients::nfs::{
    Attributes, Before, Body, Call, Client, How, Set, body, outcome, record, stable_how,
};
use xtask::machines::mounts::{self, mount};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::setup;

/// A server with two loops, and a client of each loop.
struct Scene {
    clients: [Client; 2],
    root: Vec<u8>,
    server: Server,
    directory: TempDir,
    _port: Port,
}

impl Scene {
    fn new(directory: TempDir) -> Result<Self> {
        Self::with_exports(directory, &[])
    }

    /// A server with further exports.
    fn with_exports(directory: TempDir, others: &[&Path]) -> Result<Self> {
        let port = Port::reserve()?;
        let exports = [directory.path()].into_iter().chain(others.iter().copied());
        let server = Server::start(ServerOptions {
            role: "serve",
            exports: exports
                .map(|path| format!("{}:rw,no_root_squash", path.display()))
                .collect(),
            port: port.number(),
            arguments: ["--no-mdns", "--loops", "2"].map(Into::into).to_vec(),
            ..ServerOptions::default()
        })?;
        let (first, root) = server.open(directory.path())?;
        let second = another_loop(&server, serving(&server, &first)?)?;
        Ok(Self {
            clients: [first, second],
            root,
            server,
            directory,
            _port: port,
        })
    }

    /// Sends a call from each client at the same time; returns both results.
    fn both(&mut self, xid: u32, calls: [&Call<'_>; 2]) -> Result<[Body; 2]> {
        for (number, (client, call)) in (0..).zip(self.clients.iter_mut().zip(calls)) {
            let message = call.message(xid + number, &client.auth);
            client.send(&record(&message))?;
        }
        let mut bodies = Vec::new();
        for (client, call) in self.clients.iter_mut().zip(calls) {
            let answer = client.receive()?.context("closed")?;
            let (_, Outcome::Success(results)) = outcome(answer)? else {
                anyhow::bail!("the call was rejected by RPC");
            };
            bodies.push(body(call.procedure, results)?);
        }
        bodies.try_into().ok().context("there are two replies")
    }
}

/// Connects to a loop other than `used`. The kernel chooses the loop by the connection's ports.
pub(super) fn another_loop(server: &Server, used: u32) -> Result<Client> {
    loop {
        let client = server.connect()?;
        if serving(server, &client)? != used {
            return Ok(client);
        }
    }
}

#[test]
fn retransmission_to_another_loop_is_not_repeated() -> Result<()> {
    let mut scene = Scene::new(public_dir()?)?;
    let root = scene.root.clone();
    let [first, second] = &mut scene.clients;
    let file = first.create(&root, "file", How::Guarded(Set::default()))?;
    let messages = (0x0a6c_0000..).zip(calls(&root, &file));
    let messages: Vec<_> = messages
        .map(|(xid, call)| (format!("{call:?}"), record(&call.message(xid, &first.auth))))
        .collect();
    let answer = |client: &mut Client, (call, message): &(String, Vec<u8>)| -> Result<_> {
        client.send(message)?;
        let answer = client.receive()?.context("closed")?.to_vec();
        ensure!(status(&answer)? == NFS3_OK, "{call}");
        Ok(answer)
    };
    let mut replies = Vec::new();
    for message in &messages {
        replies.push(answer(first, message)?);
    }
    // The client loses its connection, and its next one is another loop's.
    let after = tree(scene.directory.path())?;
    let first_loop = serving(&scene.server, first)?;
    first.reset_at_close()?;
    *first = scene.server.connect()?;
    let mut third = another_loop(&scene.server, first_loop)?;
    for (message, reply) in messages.iter().zip(&replies) {
        ensure!(answer(&mut third, message)? == *reply, "{}", message.0);
    }
    ensure!(
        tree(scene.directory.path())? == after,
        "a retransmitted call was carried out twice"
    );
    // One loop's COMMIT covers the other loop's unstable WRITE, and both have the same write verifier.
    let wrote = first.write(&file, 0, stable_how::UNSTABLE, b"data")?;
    ensure!(second.commit(&file, 0, 0)? == wrote.verifier);
    Ok(())
}

/// An export that is replaced, mounted over or new is opened by each loop before the client of another loop uses its handle.
#[test]
fn changed_export_is_opened_by_every_loop() -> Result<()> {
    mounts::private("a mount over an export", || {
        let others = public_dir()?;
        let paths = ["replaced", "mounted", "later"].map(|name| others.path().join(name));
        let [replaced, mounted, later] = &paths;
        fs::create_dir(replaced)?;
        fs::create_dir(mounted)?;
        let paths = paths.each_ref().map(PathBuf::as_path);
        let mut scene = Scene::with_exports(public_dir()?, &paths)?;
        for round in 0..4 {
            fs::rename(replaced, others.path().join(round.to_string()))?;
            fs::create_dir(replaced)?;
            mount("tmpfs", "mode=755", mounted)?;
            match fs::create_dir(later) {
                Ok(()) => {}
                Err(_) => fs::remove_dir(later)?,
            }
            for path in paths.iter().filter(|path| path.exists()) {
                scene.clients.swap(0, 1);
                let [first, second] = &mut scene.clients;
                let root = first.mount(&path.display().to_string())?;
                for client in [second, first] {
                    let attributes = client.attr(&root);
                    attributes.with_context(|| format!("{}, round {round}", path.display()))?;
                }
            }
        }
        Ok(())
    })
}

/// If SO_REUSEPORT fails, the server uses one loop.
#[test]
fn without_reuseport_one_loop_serves() -> Result<()> {
    setup::install_packages(&["strace"])?;
    let (directory, log) = (public_dir()?, NamedTempFile::new()?);
    let port = Port::reserve()?;
    // The sixth setsockopt call is the one that sets SO_REUSEPORT, on the first listening socket.
    let trace = format!(
        "strace -D -o {} -e trace=setsockopt -e inject=setsockopt:error=ENOPROTOOPT:when=6",
        log.path().display()
    );
    let server = Server::start(ServerOptions {
        role: "serve",
        exports: vec![directory.path().display().to_string()],
        port: port.number(),
        arguments: ["--no-mdns", "--loops", "2"].map(Into::into).to_vec(),
        wrapper: trace.split_whitespace().map(Into::into).collect(),
        ..ServerOptions::default()
    })?;
    server.open(directory.path())?;
    ensure!(
        server.children()?.len() == 1,
        "the server has more than one loop"
    );
    let log_text = fs::read_to_string(log.path())?;
    let refused = log_text.lines().find(|line| line.contains("INJECTED"));
    ensure!(
        refused.is_some_and(|line| line.contains("SO_REUSEPORT")),
        "{log_text}"
    );
    Ok(())
}

/// Growth (bytes) of a tmpfs directory for each entry.
const ENTRY_BYTES: i64 = 20;

/// Growth of the directory according to the reply's WCC data.
fn growth(body: &Body) -> Result<i64> {
    fn size(high: u32, low: u32) -> u64 {
        u64::from(high) << 32 | u64::from(low)
    }
    let before: Before = body.before.first().copied().flatten().context("before")?;
    let after: Attributes = body.attributes.last().copied().flatten().context("after")?;
    Ok(size(after[5], after[6]).wrapping_sub(size(before[0], before[1])) as i64)
}

const OK: u32 = NFS3_OK as u32;
const EXISTS: u32 = NFS3ERR_EXIST as u32;
const GONE: u32 = NFS3ERR_NOENT as u32;

/// Two calls create, remove or rename the same name: exactly one succeeds, and only its WCC data shows a change of the directory.
fn race_for_names(scene: &mut Scene, round: u32, xid: u32) -> Result<()> {
    let root = scene.root.clone();
    let (made, moved) = (format!("made {round}"), format!("moved {round}"));
    let (made, moved_to) = (made.as_bytes(), moved.as_bytes());
    let create = Call::create(&root, made, How::Guarded(Set::default()));
    let mkdir = Call::mkdir(&root, made, Set::default());
    let remove = Call::remove(&root, made);
    // The name is a file or a directory by then.
    let rename = Call::rename(&root, made, &root, moved_to);
    for (xid, (calls, loser, entries)) in (xid..).step_by(2).zip([
        ([&create, &create], EXISTS, 1),
        ([&remove, &remove], GONE, -1),
        ([&create, &mkdir], EXISTS, 1),
        ([&rename, &rename], GONE, 0),
    ]) {
        let bodies = scene.both(xid, calls)?;
        let mut statuses = [bodies[0].status, bodies[1].status];
        statuses.sort_unstable();
        ensure!(statuses == [OK, loser], "{calls:?}: {statuses:?}");
        for body in bodies.iter().filter(|_| entries != 0) {
            let expect = if body.status == OK { entries } else { 0 } * ENTRY_BYTES;
            let grown = growth(body)?;
            ensure!(grown == expect, "{calls:?}: the directory grew by {grown}");
        }
    }
    let path = scene.directory.path().join(moved);
    Ok(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path))?)
}

/// Two calls change the same file: it has the data of one of them, and both clients see the same.
fn race_for_contents(scene: &mut Scene, file: &[u8], round: u32, xid: u32) -> Result<()> {
    let blocks = [[round as u8; 4096], [!round as u8; 4096]];
    let [first, second] = blocks
        .each_ref()
        .map(|block| Call::write(file, 0, stable_how::FILE_SYNC, block));
    let cut = Call::set_attr(file, Set::size(100), None);
    let is_cut = round % 2 == 1;
    let bodies = scene.both(xid, [&first, if is_cut { &cut } else { &second }])?;
    ensure!(bodies.iter().all(|body| body.status == OK), "{bodies:?}");
    let mut seen = Vec::new();
    for client in &mut scene.clients {
        seen.push(client.read(file, 0, 8192)?.0.to_vec());
    }
    let is_whole = seen[0] == blocks[0] || !is_cut && seen[0] == blocks[1];
    let is_short = is_cut && seen[0] == blocks[0][..100];
    ensure!(seen[0] == seen[1] && (is_whole || is_short), "{seen:?}");
    Ok(())
}

/// In each round, two clients of different loops change the same objects at the same time.
#[test]
fn racing_clients_of_two_loops_agree() -> Result<()> {
    let rounds = if xtask::testing::is_full_run() {
        10_000
    } else {
        500
    };
    // The size of a tmpfs directory shows its number of entries.
    let mut scene = Scene::new(tempfile::tempdir_in("/dev/shm")?)?;
    let root = scene.root.clone();
    let shared = scene.clients[0].create(&root, "shared", How::Guarded(Set::default()))?;
    for round in 0..rounds {
        let xid = 0x0b00_0000 + round * 16;
        race_for_names(&mut scene, round, xid)
            .and_then(|()| race_for_contents(&mut scene, &shared, round, xid + 8))
            .with_context(|| format!("round {round}"))?;
    }
    ensure!(scene.server.children()?.len() == 2, "a loop has ended");
    Ok(())
}
