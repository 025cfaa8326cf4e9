//! NFS 4.1: all slots of several sessions have a request in flight while servers under `serve` are killed at random moments. The
//! clients send unanswered requests again on new connections: each is carried out once, and the reply to a repeated request is the
//! same to the last byte.

use anyhow::{Context, Result, ensure};
use cases::calls::{Auth, head};
use cases::nfs4::changes::{changes, guarded, make, mode, on_names, open_new, set, write_by};
use cases::nfs4::opens::{close, downgrade, open};
use cases::nfs4::{Op, Peer, Results, compound, lookup, op, status, with};
use cases::random::{Random, seed};
use cases::replies::{Outcome, outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Client, first_xid, record};
use xtask::machines::at_once;
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir};

const SESSIONS: usize = 4;
const SLOTS: u32 = 64;
/// Number of times that each of two servers is killed, and that in full runs.
const KILLS: usize = 20;
const KILLS_FULL: usize = 100;
/// Replies that must arrive between two kills.
const PROGRESS: u64 = 30;
/// Upper bound (µs) of the random pause between progress and kill.
const PAUSE_MAX_US: usize = 40_000;
/// Time limit for progress, and for a new connection.
const WAIT_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);
/// Share of requests (percent) that are sent again after their reply.
const REPLAYS: usize = 15;
/// Directories that all slots change.
const DIRECTORIES: [&str; 2] = ["left", "right"];
const BOTH: u32 = 3;
/// Amount (ns) by which the attribute change may fall: `vfs::recent` adds less to a ctime, and may evict a directory's entry within a
/// tick in which many files change.
const SUM_MAX: u64 = 1 << 19;

/// Contents of the regular files, by directory and name; none of other objects.
type Names = BTreeMap<(usize, String), Option<Vec<u8>>>;

/// A slot with its request in flight, and the model of the objects that it makes.
struct Slot {
    number: u32,
    sequence: u32,
    step: usize,
    round: u32,
    xid: u32,
    ops: Vec<Op>,
    /// The reply to the request, after its xid, once it came.
    reply: Option<Vec<u8>>,
    is_idle: bool,
    file: Vec<u32>,
    state: [u32; 4],
    names: Names,
}

/// A client with a session.
struct Driver<'a> {
    scene: &'a Scene,
    name: usize,
    client: Client,
    session: [u32; 4],
    slots: Vec<Slot>,
    random: Random,
    /// Handles of the directories.
    handles: Vec<Vec<u32>>,
    /// The directory, and its attribute change before and after each change.
    changes: Vec<(usize, [u64; 2])>,
    xid: u32,
    replay_count: usize,
    resent_count: usize,
    delay_count: usize,
}

struct Scene {
    server: Server,
    top: String,
    replies: AtomicU64,
    is_over: AtomicBool,
}

impl Slot {
    /// The directory of most steps.
    fn dir(&self) -> usize {
        self.number as usize % DIRECTORIES.len()
    }

    /// The object of the current round with this prefix.
    fn name(&self, driver: usize, prefix: &str) -> String {
        format!("{prefix} {driver} {} {}", self.number, self.round)
    }

    fn data(&self) -> Vec<u8> {
        format!("data of {} in round {}", self.number, self.round)
            .repeat(3)
            .into()
    }

    /// The operations of the current step, after SEQUENCE.
    fn next_ops(&self, driver: usize, handles: &[Vec<u32>]) -> Vec<Op> {
        let put = |dir: usize| with(op::PUTFH, &handles[dir]);
        let (own, other) = (put(self.dir()), put(1 - self.dir()));
        let file = with(op::PUTFH, &self.file);
        let [first, second, third] = ["first", "second", "third"].map(|at| self.name(driver, at));
        let owner = format!("owner {driver} {}", self.number);
        let save = vec![op::SAVEFH];
        let remove = |name: &str| on_names(op::REMOVE, &[name]);
        let rename = |from: &str, to: &str| on_names(op::RENAME, &[from, to]);
        let directory = make(&[2], &first, &mode(0o755));
        let exclusive = [&[3, self.number, self.round][..], &mode(0o600)].concat();
        let symbolic = [&[5][..], &cases::nfs4::opaque(b"target")].concat();
        match self.step {
            0 => vec![
                own,
                open_new(&owner, BOTH, 0, &guarded(&mode(0o600)), &first),
            ],
            1 => vec![own, lookup(&first), vec![op::GETFH]],
            2 => vec![file, write_by(self.state, 2, &self.data())],
            3 => vec![file, open(&owner, 1, 0, None)],
            4 => vec![file, downgrade(self.state, 1, 0)],
            5 => vec![file, set([0; 4], &mode(0o640))],
            6 => vec![file, save, own, on_names(op::LINK, &[&second])],
            7 => vec![own, save, other, rename(&second, &third)],
            8 => vec![other, remove(&third)],
            9 => vec![file, close(self.state)],
            10 => vec![own, remove(&first)],
            11 => vec![own, directory],
            12 => vec![own, save, rename(&first, &second)],
            13 => vec![own, remove(&second)],
            14 => vec![other, make(&symbolic, &first, &mode(0o777))],
            15 => vec![other, remove(&first)],
            16 => vec![own, open_new(&owner, BOTH, 0, &exclusive, &second)],
            17 => vec![own, remove(&second)],
            _ => vec![own.clone(), directory, own, remove(&first)],
        }
    }

    /// Checks the last result of a step, and applies the step to the model. Returns the directories that it changed.
    fn apply(&mut self, driver: usize, last: &[u32]) -> Result<Vec<(usize, [u64; 2])>> {
        let (own, other) = (self.dir(), 1 - self.dir());
        let [first, second, third] = ["first", "second", "third"].map(|at| self.name(driver, at));
        let mut state = |sequence: u32| -> Result<()> {
            let next: [u32; 4] = last.get(..4).context("too short")?.try_into()?;
            ensure!(
                next[0] == sequence && (sequence == 1 || next[1..] == self.state[1..]),
                "state ID {next:?} after {:?}",
                self.state
            );
            self.state = next;
            Ok(())
        };
        let info = |at: usize| changes(last.get(at..at + 5).context("too short")?);
        let removed = |names: &mut Names, dir: usize, name: String| {
            names
                .remove(&(dir, name))
                .context("the model has no such name")
        };
        let changed = match self.step {
            0 | 16 => {
                state(1)?;
                let name = if self.step == 0 { first } else { second };
                self.names.insert((own, name), Some(Vec::new()));
                vec![(own, info(4)?)]
            }
            1 => {
                self.file = last.to_vec();
                vec![]
            }
            2 => {
                let data = self.data();
                ensure!(last[..2] == [data.len() as u32, 2], "WRITE: {last:?}");
                self.names.insert((own, first), Some(data));
                vec![]
            }
            3 => state(2).map(|()| vec![])?,
            4 => state(3).map(|()| vec![])?,
            6 => {
                let linked = self.names.get(&(own, first)).cloned();
                self.names.insert((own, second), linked.flatten());
                vec![(own, info(0)?)]
            }
            7 => {
                let moved = removed(&mut self.names, own, second)?;
                self.names.insert((other, third), moved);
                vec![(own, info(0)?), (other, info(5)?)]
            }
            8 => {
                removed(&mut self.names, other, third)?;
                vec![(other, info(0)?)]
            }
            10 => {
                removed(&mut self.names, own, first)?;
                vec![(own, info(0)?)]
            }
            11 => {
                self.names.insert((own, first), None);
                vec![(own, info(0)?)]
            }
            12 => {
                let moved = removed(&mut self.names, own, first)?;
                self.names.insert((own, second), moved);
                // Both are of the one directory.
                ensure!(info(0)? == info(5)?, "{last:?}");
                vec![(own, info(0)?)]
            }
            13 | 17 => {
                removed(&mut self.names, own, second)?;
                vec![(own, info(0)?)]
            }
            14 => {
                self.names.insert((other, first), None);
                vec![(other, info(0)?)]
            }
            15 => {
                removed(&mut self.names, other, first)?;
                vec![(other, info(0)?)]
            }
            18 => vec![(own, info(0)?)],
            _ => vec![],
        };
        self.step += 1;
        if self.step > 18 {
            (self.step, self.round) = (0, self.round + 1);
        }
        Ok(changed)
    }
}

impl<'a> Driver<'a> {
    fn new(scene: &'a Scene, name: usize, seed: u64) -> Result<Self> {
        let mut client = scene.server.connect()?;
        let mut exchange = |message: &[u8]| {
            client.send(&record(message))?;
            Ok(client.receive()?.context("closed")?.to_vec())
        };
        let owner = format!("client {name}");
        let mut peer = Peer::new(&mut exchange, &scene.top, &owner, first_xid());
        peer.begun()?;
        let done = peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?;
        ensure!(done.status == status::OK, "{done:?}");
        let mut handles = Vec::new();
        for directory in DIRECTORIES {
            let way = peer.way(directory, &[vec![op::GETFH]]);
            handles.push(peer.next(&way)?.last);
        }
        let (session, used) = (peer.session, peer.sequence);
        let slots = (0..SLOTS).map(|number| Slot {
            number,
            sequence: if number == 0 { used } else { 0 },
            step: 0,
            round: 0,
            xid: 0,
            ops: Vec::new(),
            reply: None,
            is_idle: true,
            file: Vec::new(),
            state: [0; 4],
            names: Names::new(),
        });
        Ok(Self {
            scene,
            name,
            session,
            slots: slots.collect(),
            random: Random::new(seed),
            handles,
            changes: Vec::new(),
            xid: (name as u32) << 24,
            replay_count: 0,
            resent_count: 0,
            delay_count: 0,
            client,
        })
    }

    /// Sends the request of a slot, with a new xid.
    fn send(&mut self, at: usize) {
        self.xid += 1;
        let slot = &mut self.slots[at];
        (slot.xid, slot.is_idle) = (self.xid, false);
        let numbers = [slot.sequence, slot.number, SLOTS - 1, 1];
        let sequence = with(op::SEQUENCE, &[&self.session[..], &numbers].concat());
        let mut message = head(slot.xid, 2, (100_003, 4, 1), &Auth::root());
        message.extend(compound(1, &[&[sequence], &slot.ops[..]].concat()));
        // If the connection is lost, the next look for a reply finds it.
        let _ = self.client.send(&record(&message));
    }

    /// Makes the next request of a slot.
    fn advance(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.ops = slot.next_ops(self.name, &self.handles);
        slot.sequence += 1;
        slot.reply = None;
        self.send(at);
    }

    /// Connects again, and sends all requests in flight again.
    fn reconnect(&mut self) -> Result<()> {
        let start = Instant::now();
        self.client = loop {
            match self.scene.server.connect() {
                Ok(client) => break client,
                Err(error) if start.elapsed() > WAIT_MAX => return Err(error),
                Err(_) => sleep(PAUSE),
            }
        };
        for at in 0..self.slots.len() {
            if !self.slots[at].is_idle {
                self.resent_count += 1;
                self.send(at);
            }
        }
        Ok(())
    }

    /// Checks a reply. Returns true if the slot is ready for its next request.
    fn check(&mut self, at: usize, reply: Vec<u8>) -> Result<bool> {
        let slot = &mut self.slots[at];
        let (_, Outcome::Success(results)) = outcome(&reply)? else {
            anyhow::bail!("{reply:02x?}");
        };
        let results = Results::parse(results)?;
        if results.done == [(op::SEQUENCE, status::DELAY)] {
            self.delay_count += 1;
            sleep(PAUSE);
            self.send(at);
            return Ok(false);
        }
        slot.is_idle = true;
        if let Some(first) = &slot.reply {
            ensure!(
                *first == reply[4..],
                "a repeated request was answered {results:?}, not {first:02x?}"
            );
            self.replay_count += 1;
            return Ok(true);
        }
        slot.reply = Some(reply[4..].to_vec());
        if results.status == status::DELAY {
            self.delay_count += 1;
            return Ok(true);
        }
        ensure!(results.status == status::OK, "{results:?}");
        self.changes.extend(slot.apply(self.name, &results.last)?);
        Ok(true)
    }

    /// Receives replies until no request is in flight. `goes_on` returns true if a slot that is ready makes another request.
    fn run(&mut self, goes_on: impl Fn(&Self) -> bool) -> Result<()> {
        while self.slots.iter().any(|slot| !slot.is_idle) {
            let reply = match self.client.receive() {
                Ok(Some(reply)) => reply.to_vec(),
                Ok(None) => {
                    self.reconnect()?;
                    continue;
                }
                // A killed server's connection is reset.
                Err(error) if error.downcast_ref::<std::io::Error>().is_some() => {
                    self.reconnect()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.scene.replies.fetch_add(1, Ordering::Relaxed);
            let xid = u32::from_be_bytes(*reply.first_chunk().context("no xid")?);
            let at = self.slots.iter().position(|slot| slot.xid == xid);
            let at = at.context("a reply to another call")?;
            let slot = &self.slots[at];
            let was = format!(
                "session {}, slot {at}, round {}, step {}, sequence number {}",
                self.name, slot.round, slot.step, slot.sequence
            );
            if self.check(at, reply).context(was)? && goes_on(self) {
                match self.random.chance(REPLAYS) {
                    true => self.send(at),
                    false => self.advance(at),
                }
            }
        }
        Ok(())
    }
}

impl Scene {
    fn new(loops: &str, directory: &Path, port: u16) -> Result<Self> {
        for name in DIRECTORIES {
            fs::create_dir(directory.join(name))?;
        }
        let top = directory.display().to_string();
        let server = Server::start(ServerOptions {
            role: "serve",
            exports: vec![format!("{top}:rw,no_root_squash")],
            port,
            arguments: ["--no-mdns", "--nfs-versions", "4.1", "--loops", loops]
                .map(Into::into)
                .to_vec(),
            ..ServerOptions::default()
        })?;
        Ok(Self {
            server,
            top,
            replies: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    /// Kills a random server process at a random moment after progress.
    fn kill_one(&self, random: &mut Random) -> Result<()> {
        let (start, before) = (Instant::now(), self.replies.load(Ordering::Relaxed));
        while self.replies.load(Ordering::Relaxed) < before + PROGRESS {
            ensure!(start.elapsed() < WAIT_MAX, "no progress");
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            sleep(Duration::from_micros(200));
        }
        sleep(Duration::from_micros(random.below(PAUSE_MAX_US) as u64));
        let children = self.server.children()?;
        if !children.is_empty() {
            let child = *random.pick(&children);
            kill(Pid::from_raw(child.try_into()?), Signal::SIGKILL)?;
            while self.server.children()?.contains(&child) {
                sleep(PAUSE);
            }
        }
        Ok(())
    }
}

/// Fails unless the host shows the names and contents of the model.
fn check_tree(directory: &Path, names: &Names) -> Result<()> {
    let mut seen = Names::new();
    for (at, dir) in DIRECTORIES.iter().enumerate() {
        for entry in fs::read_dir(directory.join(dir))? {
            let entry = entry?;
            let content = match entry.file_type()?.is_file() {
                true => Some(fs::read(entry.path())?),
                false => None,
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            seen.insert((at, name), content);
        }
    }
    for (key, content) in names {
        ensure!(
            seen.get(key) == Some(content),
            "{key:?} is {:?}",
            seen.get(key)
        );
    }
    let more: Vec<_> = seen
        .keys()
        .filter(|key| !names.contains_key(*key))
        .collect();
    ensure!(more.is_empty(), "unexpected names: {more:?}");
    Ok(())
}

/// Kills the server `kills` times while all slots work. Returns a report.
fn run_with_kills(loops: &str, kills: usize, seed: u64) -> Result<String> {
    let (directory, port) = (public_dir()?, Port::reserve()?);
    let scene = Scene::new(loops, directory.path(), port.number())?;
    let drivers = (0..SESSIONS).map(|name| Driver::new(&scene, name, seed + name as u64));
    let drivers = drivers.collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let (mut drivers, killed) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut random = Random::new(seed ^ 99);
            let killed = (0..kills).try_for_each(|_| scene.kill_one(&mut random));
            scene.is_over.store(true, Ordering::Relaxed);
            killed
        });
        let done = at_once(drivers.into_iter().map(|mut driver| {
            let scene = &scene;
            move || {
                for at in 0..driver.slots.len() {
                    driver.advance(at);
                }
                let done = driver.run(|_| !scene.is_over.load(Ordering::Relaxed));
                scene.is_over.fetch_or(done.is_err(), Ordering::Relaxed);
                done.map(|()| driver)
            }
        }));
        let killed = killer.join().expect("the killer panicked");
        done.map(|drivers| (drivers, killed))
    })?;
    killed?;
    let time = start.elapsed();
    // The last request of each slot again, by new connections to a new server.
    for child in scene.server.children()? {
        kill(Pid::from_raw(child.try_into()?), Signal::SIGKILL)?;
    }
    for driver in &mut drivers {
        for at in 0..driver.slots.len() {
            driver.send(at);
        }
        driver.run(|_| false)?;
    }
    let names = drivers.iter().flat_map(|driver| &driver.slots);
    let names = names.flat_map(|slot| slot.names.clone()).collect();
    check_tree(directory.path(), &names)?;
    let mut all: Vec<_> = drivers
        .iter()
        .flat_map(|driver| driver.changes.clone())
        .collect();
    all.sort_unstable();
    for (dir, [before, after]) in &all {
        ensure!(before < after, "{before} to {after} in {dir}");
    }
    for pair in all.windows(2) {
        let ((dir, [_, after]), (next_dir, [before, _])) = (pair[0], pair[1]);
        ensure!(
            dir != next_dir || after <= before + SUM_MAX,
            "changes overlap: {pair:?}"
        );
    }
    let sum = |count: fn(&Driver<'_>) -> usize| drivers.iter().map(count).sum::<usize>();
    let [resent, replayed] = [
        sum(|driver| driver.resent_count),
        sum(|driver| driver.replay_count),
    ];
    ensure!(
        resent > kills && replayed > kills,
        "{resent} requests were sent again by new connections, {replayed} after their replies"
    );
    Ok(format!(
        "{loops} loops: {kills} kills in {:.1} s, {} changes of names, {resent} requests sent again, {replayed} replies compared, {} delays",
        time.as_secs_f32(),
        all.len(),
        sum(|driver| driver.delay_count)
    ))
}

#[test]
fn kills_repeat_no_request_of_any_slot() -> Result<()> {
    let kills = match xtask::testing::is_full_run() {
        true => KILLS_FULL,
        false => KILLS,
    };
    let seed = seed();
    let reports = at_once(["1", "2"].map(|loops| move || run_with_kills(loops, kills, seed)))?;
    reports.iter().for_each(|report| eprintln!("{report}"));
    Ok(())
}
