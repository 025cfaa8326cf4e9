//! Two programs of one host use equal xids, each on its own connection, while loops of the server are killed: no program gets the
//! other's reply, and no call is carried out twice.

use super::again::serving;
use super::loops::another_loop;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::nfs::nfsstat3::{NFS3_OK, NFS3ERR_EXIST, NFS3ERR_NOENT};
use xtask::clients::nfs::{Call, Client, How, Outcome, Set, nfsstat3, outcome, record, status_of};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir};

/// Number of names that the programs make and remove.
const NAMES: usize = 6;
/// Rounds of one call of each program, and rounds after which a loop is killed.
const ROUNDS: (usize, usize) = (4_000, 1_500);
/// Rounds of the long form, and rounds after which a loop is killed.
const ROUNDS_FULL: (usize, usize) = (100_000, 12_000);

/// A call, of which the model knows the effect: makes or removes a directory or file of this name.
#[derive(Clone, Copy, Debug)]
struct Step {
    makes: bool,
    is_dir: bool,
    name: usize,
}

impl Step {
    /// A random step with one of the names from `first` on.
    fn random(first: usize) -> Self {
        let name = first + fastrand::usize(..NAMES);
        Self {
            makes: fastrand::bool(),
            is_dir: name.is_multiple_of(2),
            name,
        }
    }

    fn message(self, xid: u32, root: &[u8], client: &Client) -> Vec<u8> {
        let name = self.name.to_string();
        let name = name.as_bytes();
        let call = match (self.makes, self.is_dir) {
            (true, true) => Call::mkdir(root, name, Set::default()),
            (true, false) => Call::create(root, name, How::Guarded(Set::default())),
            (false, true) => Call::rmdir(root, name),
            (false, false) => Call::remove(root, name),
        };
        record(&call.message(xid, &client.auth))
    }

    /// Carries out the step in the model. Returns the status that the server must reply.
    fn apply(self, model: &mut BTreeSet<usize>) -> nfsstat3 {
        let (is_done, error) = match self.makes {
            true => (model.insert(self.name), NFS3ERR_EXIST),
            false => (model.remove(&self.name), NFS3ERR_NOENT),
        };
        if is_done { NFS3_OK } else { error }
    }
}

/// Returns the status of the next reply; `None` if the connection was closed.
fn receive(client: &mut Client) -> Result<Option<nfsstat3>> {
    let answer = match client.receive() {
        // A killed loop's connection is reset.
        Err(e) if e.downcast_ref::<std::io::Error>().is_some() => None,
        answer => answer?,
    };
    let Some(answer) = answer else {
        return Ok(None);
    };
    match outcome(answer)? {
        (_, Outcome::Success(results)) => Ok(Some(status_of(results)?)),
        (_, other) => anyhow::bail!("answered {other:?}"),
    }
}

/// Connects as soon as a loop accepts the connection.
fn connect(server: &Server) -> Client {
    loop {
        match server.connect() {
            Ok(client) => return client,
            Err(_) => sleep(Duration::from_millis(2)),
        }
    }
}

/// The names that exist on the host.
fn names(directory: &Path) -> Result<BTreeSet<usize>> {
    let names = fs::read_dir(directory)?.map(|entry| {
        let name = entry?.file_name();
        Ok(name.to_str().context("another name")?.parse()?)
    });
    names.collect()
}

#[test]
fn programs_with_equal_xids_get_their_own_replies() -> Result<()> {
    let (rounds, rounds_per_kill) = match xtask::testing::is_full_run() {
        true => ROUNDS_FULL,
        false => ROUNDS,
    };
    let (directory, port) = (public_dir()?, Port::reserve()?);
    let server = Server::start(ServerOptions {
        role: "serve",
        exports: vec![format!(
            "{}:rw,no_root_squash,async",
            directory.path().display()
        )],
        port: port.number(),
        arguments: ["--no-mdns", "--loops", "2"].map(Into::into).to_vec(),
        ..ServerOptions::default()
    })?;
    let (first, root) = server.open(directory.path())?;
    let second = another_loop(&server, serving(&server, &first)?)?;
    let mut clients = [first, second];
    let mut model = BTreeSet::new();
    let (mut resent, mut kills) = (0, 0);
    for round in 1..=rounds {
        let kills_now = round % rounds_per_kill == 0 && server.children()?.len() == 2;
        // In most rounds both send the same call. When a loop is killed, a call of one of them may not be taken for the other's.
        let shared = Step::random(0);
        let steps = match kills_now || fastrand::usize(..4) == 0 {
            true => [NAMES, 2 * NAMES].map(Step::random),
            false => [shared; 2],
        };
        let victim = match kills_now {
            true => Some(serving(&server, &clients[kills % 2])?),
            false => None,
        };
        let xid = round as u32;
        for (client, step) in clients.iter_mut().zip(steps) {
            let message = step.message(xid, &root, client);
            client.send(&message)?;
        }
        if let Some(victim) = victim {
            sleep(Duration::from_micros(fastrand::u64(..100)));
            kill(Pid::from_raw(victim.try_into()?), Signal::SIGKILL)?;
            kills += 1;
        }
        let mut got = Vec::new();
        for (client, step) in clients.iter_mut().zip(steps) {
            let mut status = receive(client)?;
            while status.is_none() {
                resent += 1;
                *client = connect(&server);
                let message = step.message(xid, &root, client);
                let _ = client.send(&message);
                status = receive(client)?;
            }
            got.push(status.context("no status")?);
        }
        let mut expected = steps.map(|step| step.apply(&mut model));
        // Either of two equal calls may come first.
        if steps[0].name == steps[1].name && got[0] != expected[0] {
            expected.reverse();
        }
        ensure!(got == expected, "round {round}: {steps:?} got {got:?}");
        if round % 100 == 0 {
            let names = names(directory.path())?;
            ensure!(names == model, "round {round}: {names:?}");
        }
    }
    eprintln!("{kills} loops were killed, {resent} calls sent again");
    ensure!(kills > 0 && resent > 0, "no call was sent again");
    Ok(())
}
