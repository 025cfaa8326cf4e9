//! Loops beside each other that serve the same files: whichever of them a client reaches, there is one server.

use super::again::{calls, serving, status, tree};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use tempfile::{NamedTempFile, TempDir};
use xtask::clients::nfs::Outcome;
use xtask::clients::nfs::{
    Attributes, Before, Body, Call, Client, How, Set, body, nfsstat3, outcome, record, stable_how,
};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::setup::{self, Package};

/// A server with two loops, and a client of each.
struct Scene {
    clients: [Client; 2],
    root: Vec<u8>,
    server: Server,
    directory: TempDir,
    _port: Port,
}

impl Scene {
    fn new(directory: TempDir) -> Result<Self> {
        Self::beside(directory, &[], "")
    }

    /// A server of other directories, too, which the command `through` starts.
    fn beside(directory: TempDir, others: &[&Path], through: &str) -> Result<Self> {
        let port = Port::reserve()?;
        let exports = [directory.path()].into_iter().chain(others.iter().copied());
        let server = Server::start(ServerOptions {
            role: "serve",
            exports: exports
                .map(|path| format!("{}:rw,no_root_squash", path.display()))
                .collect(),
            port: port.number(),
            arguments: ["--no-mdns", "--loops", "2"].map(Into::into).to_vec(),
            through: through.split_whitespace().map(Into::into).collect(),
            ..ServerOptions::default()
        })?;
        let (first, root) = server.open(directory.path())?;
        let loop_of = |client: &Client| serving(&server, client);
        let its = loop_of(&first)?;
        // Which loop a connection gets to depends on its port.
        let second = loop {
            let other = server.connect()?;
            if loop_of(&other)? != its {
                break other;
            }
        };
        Ok(Self {
            clients: [first, second],
            root,
            server,
            directory,
            _port: port,
        })
    }

    /// Has each client call at the same time; what they were answered.
    fn both(&mut self, xid: u32, calls: [&Call<'_>; 2]) -> Result<[Body; 2]> {
        for (number, (client, call)) in (0..).zip(self.clients.iter_mut().zip(calls)) {
            let message = call.message(xid + number, &client.auth);
            client.send(&record(&message))?;
        }
        let mut bodies = Vec::new();
        for (client, call) in self.clients.iter_mut().zip(calls) {
            let answer = client.receive()?.context("closed")?;
            let (_, Outcome::Success(results)) = outcome(answer)? else {
                anyhow::bail!("refused");
            };
            bodies.push(body(call.place, results)?);
        }
        bodies.try_into().ok().context("two answers")
    }
}

#[test]
fn what_one_loop_answered_another_knows() -> Result<()> {
    let mut scene = Scene::new(public_dir()?)?;
    let root = scene.root.clone();
    let [first, second] = &mut scene.clients;
    let file = first.create(&root, "file", How::Guarded(Set::default()))?;
    let mut after = Vec::new();
    for (xid, call) in (0x0a6c_0000..).zip(calls(&root, &file)) {
        let message = record(&call.message(xid, &first.auth));
        let mut answers = Vec::new();
        for client in [&mut *first, &mut *second] {
            client.send(&message)?;
            let answer = client.receive()?.context("closed")?.to_vec();
            ensure!(status(&answer)? == nfsstat3::NFS3_OK, "{call:?}");
            // What the second does is nothing.
            let now = tree(scene.directory.path())?;
            ensure!(
                answers.is_empty() || now == after,
                "{call:?} was done twice"
            );
            after = now;
            answers.push(answer);
        }
        ensure!(answers[0] == answers[1], "{call:?} has two answers");
    }
    // What one has taken the other makes durable, and one that is killed breaks no promise silently.
    let wrote = first.write(&file, 0, stable_how::UNSTABLE, b"data")?;
    ensure!(second.commit(&file, 0, 0)? == wrote.verifier);
    Ok(())
}

#[test]
fn replay_by_another_loop_syncs_one_export() -> Result<()> {
    setup::need(&[Package::STRACE])?;
    let (others, log) = ([public_dir()?, public_dir()?], NamedTempFile::new()?);
    let trace = format!("strace -D -f -o {} -e trace=syncfs", log.path().display());
    let others = others.each_ref().map(TempDir::path);
    let mut scene = Scene::beside(public_dir()?, &others, &trace)?;
    let call = Call::mkdir(&scene.root, b"made", Set::default());
    let message = record(&call.message(0x5c_0001, &scene.clients[0].auth));
    for client in &mut scene.clients {
        client.send(&message)?;
        let answer = client.receive()?.context("closed")?.to_vec();
        ensure!(status(&answer)? == nfsstat3::NFS3_OK, "{call:?}");
    }
    let said = fs::read_to_string(log.path())?;
    let syncs = said.lines().filter(|line| line.contains("syncfs("));
    ensure!(syncs.count() == 1, "of three exports: {said}");
    Ok(())
}

/// On a host whose sockets have no port in common there is one loop.
#[test]
fn without_ports_in_common_there_is_one_loop() -> Result<()> {
    setup::need(&[Package::STRACE])?;
    let (directory, log) = (public_dir()?, NamedTempFile::new()?);
    let port = Port::reserve()?;
    // The first socket that listens is the one that asks for it: its sixth option.
    let trace = format!(
        "strace -D -o {} -e trace=setsockopt -e inject=setsockopt:error=ENOPROTOOPT:when=6",
        log.path().display()
    );
    let server = Server::start(ServerOptions {
        role: "serve",
        exports: vec![directory.path().display().to_string()],
        port: port.number(),
        arguments: ["--no-mdns", "--loops", "2"].map(Into::into).to_vec(),
        through: trace.split_whitespace().map(Into::into).collect(),
        ..ServerOptions::default()
    })?;
    server.open(directory.path())?;
    ensure!(server.children()?.len() == 1, "not one loop");
    let told = fs::read_to_string(log.path())?;
    let refused = told.lines().find(|line| line.contains("INJECTED"));
    ensure!(
        refused.is_some_and(|line| line.contains("SO_REUSEPORT")),
        "{told}"
    );
    Ok(())
}

/// Bytes that an entry adds to the size of a directory of tmpfs.
const ENTRY_BYTES: u64 = 20;

/// By how much the directory grew, as the answer tells it.
fn growth(body: &Body) -> Result<i64> {
    fn size(high: u32, low: u32) -> u64 {
        u64::from(high) << 32 | u64::from(low)
    }
    let before: Before = body.before.first().copied().flatten().context("before")?;
    let after: Attributes = body.attributes.last().copied().flatten().context("after")?;
    Ok(size(after[5], after[6]).wrapping_sub(size(before[0], before[1])) as i64)
}

/// In each round two clients of two loops do something to the same object at the same time.
#[test]
fn two_who_race_for_one_object_find_one_server() -> Result<()> {
    let rounds = if xtask::testing::full() { 10_000 } else { 500 };
    // Directories of tmpfs tell by their size how many entries they have.
    let mut scene = Scene::new(tempfile::tempdir_in("/dev/shm")?)?;
    let root = scene.root.clone();
    let shared = scene.clients[0].create(&root, "shared", How::Guarded(Set::default()))?;
    let (ok, exists, gone) = (
        nfsstat3::NFS3_OK as u32,
        nfsstat3::NFS3ERR_EXIST as u32,
        nfsstat3::NFS3ERR_NOENT as u32,
    );
    for round in 0..rounds {
        let xid = 0x0b00_0000 + round * 16;
        let told = format!("round {round}");
        // Of two who make one name or take it away, one does, and it alone is seen to have changed the directory.
        let (made, moved) = (format!("made {round}"), format!("moved {round}"));
        let (made, moved) = (made.as_bytes(), moved.as_bytes());
        let guarded = || How::Guarded(Set::default());
        let create = Call::create(&root, made, guarded());
        let mkdir = Call::mkdir(&root, made, Set::default());
        let remove = Call::remove(&root, made);
        let rename = Call::rename(&root, made, &root, moved);
        for (at, (calls, other)) in [
            ([&create, &create], exists),
            ([&remove, &remove], gone),
            ([&create, &mkdir], exists),
        ]
        .into_iter()
        .enumerate()
        {
            let bodies = scene.both(xid + 2 * at as u32, calls)?;
            let mut statuses = [bodies[0].status, bodies[1].status];
            statuses.sort_unstable();
            ensure!(statuses == [ok, other], "{told}: {calls:?}: {statuses:?}");
            for body in &bodies {
                let entries = match (body.status == ok, other == gone) {
                    (false, _) => 0,
                    (true, false) => 1,
                    (true, true) => -1,
                };
                let grown = growth(body)?;
                ensure!(
                    grown == entries * ENTRY_BYTES as i64,
                    "{told}: {calls:?}: the directory grew by {grown}"
                );
            }
        }
        // A file or a directory stands there now: it is moved by one, and the other finds it, or finds nothing.
        let bodies = scene.both(xid + 6, [&rename, &rename])?;
        let mut statuses = [bodies[0].status, bodies[1].status];
        statuses.sort_unstable();
        ensure!(statuses == [ok, gone], "{told}: {statuses:?}");
        let place = scene.directory.path().join(std::str::from_utf8(moved)?);
        fs::remove_file(&place).or_else(|_| fs::remove_dir(&place))?;

        // Blocks of one file are the one's or the other's, and both see the same.
        let blocks = [[round as u8; 4096], [!round as u8; 4096]];
        let write = |number: usize| Call::write(&shared, 0, stable_how::FILE_SYNC, &blocks[number]);
        let cut = Call::set_attr(&shared, Set::size(100), None);
        let (one, other) = (write(0), write(1));
        let is_cut = round % 2 == 1;
        let bodies = scene.both(xid + 8, [&one, if is_cut { &cut } else { &other }])?;
        ensure!(
            bodies.iter().all(|body| body.status == ok),
            "{told}: {bodies:?}"
        );
        let mut seen = Vec::new();
        for client in &mut scene.clients {
            seen.push(client.read(&shared, 0, 8192)?.0.to_vec());
        }
        let is_whole = seen[0] == blocks[0] || !is_cut && seen[0] == blocks[1];
        let is_short = is_cut && seen[0] == blocks[0][..100];
        ensure!(
            seen[0] == seen[1] && (is_whole || is_short),
            "{told}: {seen:?}"
        );
    }
    ensure!(scene.server.children()?.len() == 2, "a loop has ended");
    Ok(())
}
