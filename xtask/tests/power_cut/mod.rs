//! Power cuts: after a cut, everything that the server had acknowledged as durable is on the disk, and nothing else.
//!
//! A guest serves a disk that this process emulates and whose writes and flushes it logs. One run yields one log; each round cuts
//! it at a random position, keeps all flushed writes and a random part of the others, recovers the disk, and checks all promises up to
//! that position. STOWAWAY_FULL=1 runs more rounds; STOWAWAY_SEED=N replays seed N.

mod content;
mod load;
mod op;
mod rounds;
mod seen;
mod tree;
mod verdict;
mod version4;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use cases::random::{Random, seed};
use xtask::clients::nfs::Client;
use xtask::machines::nbd::Disk;
use xtask::machines::qemu::{Guest, linux};
use xtask::machines::{at_once, ext4, mounts};
use xtask::testing::is_full_run;

use load::Load;
use rounds::{Run, directory};
use version4::Session;

const CLIENTS: usize = 3;
const NFS_PORT: u16 = 2049;

/// Boots a guest, starts the server, and runs the load.
fn run_guest(calls: usize, seed: u64) -> Result<Run> {
    let mut guest = Guest::boot("nfs-server")?;
    let names: Vec<String> = (0..CLIENTS).map(directory).collect();
    guest.run_ok(&format!(
        "cd /disk && mkdir {} && sync
        serve >/run/said 2>&1 &
        timeout 20 sh -c 'until grep -q listening /run/said; do usleep 20000; done' || {{ cat /run/said; false; }}",
        names.join(" ")
    ))?;
    let loads = run_load(guest.port(NFS_PORT)?, "/disk", guest.disk()?, calls, seed);
    loads.or_else(|error| {
        let output = guest.run_ok("cat /run/said")?;
        Err(error.context(format!("the server said:\n{output}")))
    })
}

/// Runs all clients at once. Each makes `calls` calls in its own directory of the export, which is on `disk`.
fn run_load(server: SocketAddr, export: &str, disk: &Disk, calls: usize, seed: u64) -> Result<Run> {
    let root = Client::connect(server)?.mount(export)?;
    let start = disk.position();
    let start_time = Instant::now();
    let clients = (0..CLIENTS)
        .map(|number| (number, directory(number)))
        .zip(seed..);
    let loads = at_once(clients.map(|((number, name), seed)| {
        let root = &root;
        move || {
            let mut client = Client::connect(server)?;
            let directory = client.lookup(root, &name)?;
            // Every other client makes its changes by version 4.1.
            let session = (number % 2 == 1)
                .then(|| Session::begin(&mut client, &name))
                .transpose()?;
            let load = Load::new(client, session, directory, disk, seed);
            load.run(calls).context(name)
        }
    }))?;
    let log = disk.log();
    eprintln!(
        "{CLIENTS} clients made {calls} calls each in {:.1} s: {} events on the disk",
        start_time.elapsed().as_secs_f32(),
        log.events.len() - start
    );
    Ok(Run { log, start, loads })
}

/// Number of failed rounds, and the report of the first one.
fn summary(broken: &[String], count: usize) -> String {
    let first = broken.first().map_or("", String::as_str);
    format!(
        "{} of {count} rounds lost acknowledged changes\n{first}",
        broken.len()
    )
}

#[test]
fn acknowledged_changes_survive_power_cut() -> Result<()> {
    mounts::private("power cuts", check_guest)
}

fn check_guest() -> Result<()> {
    let seed = seed();
    let (calls, count) = if is_full_run() {
        (2000, 1000)
    } else {
        (500, 200)
    };
    let run = run_guest(calls, seed)?;
    let start_time = Instant::now();
    let broken = run.rounds(count, &mut Random::new(seed))?;
    eprintln!(
        "{count} rounds in {:.1} s",
        start_time.elapsed().as_secs_f32()
    );
    ensure!(broken.is_empty(), "{}", summary(&broken, count));

    // Checks the test itself: the rounds must detect a disk that ignores flushes.
    let count = 20;
    let forgetful = Run {
        log: run.log.without_flushes(),
        ..run
    };
    let broken = forgetful.rounds(count, &mut Random::new(seed))?;
    ensure!(
        !broken.is_empty(),
        "a disk that ignores flushes was not detected in {count} rounds"
    );
    eprintln!(
        "a disk that ignores flushes is detected in {} of {count} rounds",
        broken.len()
    );
    Ok(())
}

#[test]
fn acknowledged_changes_survive_power_cut_under_init() -> Result<()> {
    mounts::private("power cuts", check_init)
}

/// Runs the rounds with a machine whose first process is the executable, which mounts the disk itself.
fn check_init() -> Result<()> {
    let seed = seed();
    let (calls, count) = if is_full_run() {
        (2000, 1000)
    } else {
        (300, 100)
    };
    let tree = tempfile::tempdir()?;
    for client in 0..CLIENTS {
        fs::create_dir(tree.path().join(directory(client)))?;
    }
    let disk = Disk::serve(fs::read(ext4::image(tree.path())?.path())?)?;
    let block = format!(
        "driver=nbd,node-name=disk,server.type=unix,server.path={},cache.direct=on",
        disk.socket().display()
    );
    let device = "virtio-blk-pci,drive=disk,write-cache=on,request-merging=off";
    let more = ["-blockdev", &block, "-device", device];
    let mut machine = linux::boot("export=/vda:rw,no_root_squash handles=kernel", &[], &more)?;
    machine.wait_for_line("for NFS and MOUNT")?;
    machine.wait_for_line("address ")?;
    let server = (Ipv4Addr::LOCALHOST, machine.port).into();
    let run = run_load(server, "/vda", &disk, calls, seed)
        .with_context(|| format!("the machine's console:\n{}", machine.console()))?;
    let broken = run.rounds(count, &mut Random::new(seed))?;
    ensure!(broken.is_empty(), "{}", summary(&broken, count));
    Ok(())
}
