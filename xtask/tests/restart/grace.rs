//! NFS 4.1: after a stop and a start, clients with a record reclaim their opens before others open anything.

use anyhow::{Context, Result, ensure};
use cases::nfs4::opens::{close, open};
use cases::nfs4::{Op, Peer, op, status, with};
use std::fs;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::clients::nfs::{Client, first_xid, record};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir};

/// The lease, and the time that a test allows beyond it.
const LEASE: Duration = Duration::from_secs(30);
const SPARE: Duration = Duration::from_secs(5);

/// An export, a directory of state and a port, which outlive the servers.
struct Scene {
    directory: TempDir,
    state: TempDir,
    port: Port,
    role: &'static str,
}

impl Scene {
    fn new(role: &'static str) -> Result<Self> {
        let scene = Self {
            directory: public_dir()?,
            state: public_dir()?,
            port: Port::reserve()?,
            role,
        };
        fs::write(scene.directory.path().join("file"), "text")?;
        Ok(scene)
    }

    /// Starts a server.
    fn start(&self) -> Result<Server> {
        self.start_at(Ipv4Addr::LOCALHOST)
    }

    /// Starts a server at this address.
    fn start_at(&self, address: Ipv4Addr) -> Result<Server> {
        let state = self.state.path().display().to_string();
        let mut arguments = ["--nfs-versions", "4.1", "--state-dir", &state].to_vec();
        if self.role == "serve" {
            arguments.extend(["--no-mdns", "--loops", "2"]);
        }
        Server::start(ServerOptions {
            role: self.role,
            address,
            port: self.port.number(),
            key_file: Some(self.state.path().join("key")),
            arguments: arguments.into_iter().map(Into::into).collect(),
            exports: vec![format!("{}:rw", self.directory.path().display())],
            ..ServerOptions::default()
        })
    }

    /// Makes calls as a client with this name, which has a session.
    fn with<T>(
        &self,
        server: &Server,
        name: &str,
        calls: impl FnOnce(&mut Peer<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut connection = server.connect()?;
        let mut exchange = |message: &[u8]| {
            connection.send(&record(message))?;
            Ok(Client::receive(&mut connection)?
                .context("closed")?
                .to_vec())
        };
        let top = self.directory.path().display().to_string();
        let mut peer = Peer::new(&mut exchange, &top, name, first_xid());
        peer.begun()?;
        calls(&mut peer)
    }
}

/// The number of clients that a started server waits for; 0 if it reports none.
fn awaited(server: &Server) -> Result<u32> {
    let lines = server.lines();
    let mut lines = lines.iter();
    let number = lines.find_map(|line| line.split_once("to reclaim their opens: "));
    number.map_or(Ok(0), |(_, number)| Ok(number.parse()?))
}

fn complete(peer: &mut Peer<'_>) -> Result<u32> {
    Ok(peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?.status)
}

/// The status of an OPEN of the file, which is new or reclaims one.
fn open_file(peer: &mut Peer<'_>, reclaims: bool) -> Result<u32> {
    let mut last: Op = open("owner", 1, 0, None);
    if reclaims {
        *last.last_mut().context("no claim")? = 1;
        last.push(0);
    }
    let way = peer.way("file", &[last, close([1, 0, 0, 0])]);
    Ok(peer.next(&way)?.status)
}

#[test]
fn recorded_clients_reclaim_before_strangers_open() -> Result<()> {
    for role in ["nfs", "serve"] {
        let scene = Scene::new(role)?;
        let server = scene.start()?;
        ensure!(awaited(&server)? == 0);
        scene.with(&server, "known", |known| {
            ensure!(complete(known)? == status::OK && open_file(known, false)? == status::OK);
            ensure!(open_file(known, true)? == status::NO_GRACE);
            Ok(())
        })?;
        server.terminate()?;
        for round in 0..2 {
            let server = scene.start()?;
            let expect = 1 + round;
            ensure!(awaited(&server)? == expect, "{:?}", server.lines());
            scene.with(&server, "stranger", |stranger| {
                ensure!(
                    open_file(stranger, true)?
                        == if round == 0 {
                            status::NO_GRACE
                        } else {
                            status::OK
                        }
                );
                ensure!(complete(stranger)? == status::OK);
                ensure!(open_file(stranger, false)? == status::GRACE, "{role}");
                scene.with(&server, "known", |known| {
                    ensure!(open_file(known, false)? == status::GRACE);
                    ensure!(open_file(known, true)? == status::OK);
                    ensure!(complete(known)? == status::OK);
                    ensure!(open_file(known, false)? == status::OK, "{role}");
                    Ok(())
                })?;
                ensure!(open_file(stranger, false)? == status::OK, "{role}");
                Ok(())
            })?;
            server.terminate()?;
        }
    }
    Ok(())
}

#[test]
fn strangers_wait_for_absent_clients_no_longer_than_the_lease() -> Result<()> {
    let scene = Scene::new("nfs")?;
    let server = scene.start()?;
    scene.with(&server, "absent", |absent| {
        ensure!(complete(absent)? == status::OK && open_file(absent, false)? == status::OK);
        Ok(())
    })?;
    server.terminate()?;
    let (server, start) = (scene.start()?, Instant::now());
    scene.with(&server, "stranger", |stranger| {
        ensure!(complete(stranger)? == status::OK);
        loop {
            match open_file(stranger, false)? {
                status::OK => break,
                refused => ensure!(refused == status::GRACE, "{refused}"),
            }
            sleep(Duration::from_millis(200));
        }
        let waited = start.elapsed();
        ensure!(
            (LEASE - SPARE..LEASE + SPARE).contains(&waited),
            "waited {waited:?}"
        );
        Ok(())
    })?;
    // The absent client has no record any more.
    server.terminate()?;
    ensure!(awaited(&scene.start()?)? == 1);
    Ok(())
}

/// A second server of the same port and directory, at another address, leaves the records of the first one alone, and says so.
#[test]
fn second_server_leaves_the_records_alone() -> Result<()> {
    let scene = Scene::new("nfs")?;
    let server = scene.start()?;
    scene.with(&server, "known", |known| {
        ensure!(complete(known)? == status::OK && open_file(known, false)? == status::OK);
        Ok(())
    })?;
    let other = scene.start_at(Ipv4Addr::new(127, 0, 0, 2))?;
    let lines = other.lines();
    let is_locked = lines
        .iter()
        .any(|line| line.contains("a running server has locked it"));
    ensure!(awaited(&other)? == 0 && is_locked, "{lines:?}");
    scene.with(&other, "stranger", |stranger| {
        ensure!(complete(stranger)? == status::OK);
        ensure!(open_file(stranger, false)? == status::OK);
        Ok(())
    })?;
    other.terminate()?;
    server.terminate()?;
    ensure!(awaited(&scene.start()?)? == 1);
    Ok(())
}

/// Servers that are killed while they write records, which are fewer than the table has rows: each client whose RECLAIM_COMPLETE was answered has one.
#[test]
fn killed_servers_keep_the_records_that_they_answered() -> Result<()> {
    let scene = Scene::new("nfs")?;
    let mut answered = 0;
    for round in 0..4_u64 {
        let server = scene.start()?;
        let found = awaited(&server)?;
        // A request that was not answered may have a record, too.
        ensure!(
            (answered..=answered + round as u32).contains(&found),
            "{found} records, {answered} answers"
        );
        answered = found;
        let pid = nix::unistd::Pid::from_raw(server.pid() as i32);
        let killer = std::thread::spawn(move || {
            sleep(Duration::from_millis(30 + 17 * round));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
        });
        for number in 0..240 {
            let name = format!("{round} {number}");
            let done = scene.with(&server, &name, |peer| {
                let done = complete(peer)?;
                if round == 0 && number == 0 {
                    ensure!(open_file(peer, false)? == status::OK);
                }
                Ok(done)
            });
            match done {
                Ok(done) => ensure!(done == status::OK, "{done}"),
                Err(_) => break,
            }
            answered += 1;
        }
        killer.join().expect("the thread ends")?;
        server.wait_for_end()?;
    }
    ensure!(answered > 4, "{answered} answers");
    Ok(())
}
