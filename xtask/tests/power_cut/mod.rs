//! Power cuts: what the server said is on the disk is there when the power comes back, and nothing else.
//!
//! A guest serves a disk that lies in this process and logs what reaches it. One run gives a log; each round cuts it at a
//! random place, keeps what a flush had made safe and a random part of the rest, recovers the disk and looks for everything
//! that had been promised by then. STOWAWAY_FULL=1 cuts more often; STOWAWAY_SEED=N asks and cuts as seed N does.

mod content;
mod load;
mod op;
mod rounds;
mod seen;
mod tree;
mod verdict;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use cases::random::{Random, seed};
use xtask::clients::nfs::Client;
use xtask::machines::nbd::Disk;
use xtask::machines::qemu::{Guest, linux};
use xtask::machines::{ext4, mounts};
use xtask::testing::full;

use load::Load;
use rounds::{Broken, Run, directory};

const CLIENTS: usize = 3;
const NFS_PORT: u16 = 2049;

/// Boots a guest, starts the server by way of the words `through`, and lets every client make `calls` calls at once.
fn run(through: &str, calls: usize, seed: u64) -> Result<Run> {
    let mut guest = Guest::boot("nfs-server")?;
    let names: Vec<String> = (0..CLIENTS).map(directory).collect();
    guest.sh(&format!(
        "cd /disk && mkdir {} && sync
        serve {through} >/run/said 2>&1 &
        timeout 20 sh -c 'until grep -q listening /run/said; do usleep 20000; done' || {{ cat /run/said; false; }}",
        names.join(" ")
    ))?;
    let loads = load(guest.port(NFS_PORT)?, "/disk", guest.disk()?, calls, seed);
    loads.or_else(|error| {
        let said = guest.sh("cat /run/said")?;
        Err(error.context(format!("the server said:\n{said}")))
    })
}

/// Lets every client make `calls` calls at once, each in a directory of its own of what the server exports from this disk.
fn load(server: SocketAddr, export: &str, disk: &Disk, calls: usize, seed: u64) -> Result<Run> {
    let root = Client::connect(server)?.mount(export)?;
    let start = disk.position();
    let begin = Instant::now();
    let loads = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(directory)
            .zip(seed..)
            .map(|(name, seed)| {
                let root = &root;
                scope.spawn(move || {
                    let mut client = Client::connect(server)?;
                    let directory = client.lookup(root, &name)?;
                    Load::new(client, directory, disk, seed)
                        .run(calls)
                        .with_context(|| name.clone())
                })
            })
            .collect();
        let join = |client: std::thread::ScopedJoinHandle<'_, _>| {
            client
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        clients.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let log = disk.log();
    eprintln!(
        "{CLIENTS} clients made {calls} calls each in {:.1} s: {} events on the disk",
        begin.elapsed().as_secs_f32(),
        log.events.len() - start
    );
    Ok(Run { log, start, loads })
}

/// How the rounds went; the first of them in full.
fn summary(broken: &[Broken], count: usize) -> String {
    let first = broken.first().map_or("", |round| round.report.as_str());
    format!(
        "{} of {count} rounds lost something that was promised\n{first}",
        broken.len()
    )
}

#[test]
fn what_is_acknowledged_survives_a_power_cut() -> Result<()> {
    mounts::private("power cuts", survival)
}

fn survival() -> Result<()> {
    let seed = seed();
    let (calls, count) = if full() { (2000, 1000) } else { (500, 200) };
    let run = run("", calls, seed)?;
    let begin = Instant::now();
    let broken = run.rounds(count, &mut Random::new(seed))?;
    eprintln!("{count} rounds in {:.1} s", begin.elapsed().as_secs_f32());
    ensure!(broken.is_empty(), "{}", summary(&broken, count));

    // The rounds are worth something only if they notice a disk that lies about its flushes.
    let count = 20;
    let forgetful = Run {
        log: run.log.without_flushes(),
        ..run
    };
    let broken = forgetful.rounds(count, &mut Random::new(seed))?;
    ensure!(
        !broken.is_empty(),
        "a disk that ignores flushes was not noticed in {count} rounds"
    );
    eprintln!(
        "a disk that ignores flushes is noticed in {} of {count} rounds",
        broken.len()
    );
    Ok(())
}

#[test]
fn what_is_acknowledged_survives_a_power_cut_of_a_machine_that_is_ours_alone() -> Result<()> {
    mounts::private("power cuts", survival_of_init)
}

/// The file is the first process of the machine, and mounts the disk itself.
fn survival_of_init() -> Result<()> {
    let seed = seed();
    let (calls, count) = if full() { (2000, 1000) } else { (300, 100) };
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
    let run = load(server, "/vda", &disk, calls, seed)
        .with_context(|| format!("its console:\n{}", machine.said()))?;
    let broken = run.rounds(count, &mut Random::new(seed))?;
    ensure!(broken.is_empty(), "{}", summary(&broken, count));
    Ok(())
}

#[test]
fn a_server_that_does_not_sync_directories_is_found() -> Result<()> {
    mounts::private("power cuts", discovery)
}

fn discovery() -> Result<()> {
    let seed = seed();
    let directories: String = (0..CLIENTS)
        .map(|client| format!(" -P /disk/{}", directory(client)))
        .collect();
    let through = format!(
        "strace -f -q -o /dev/null {directories} -e trace=fsync,fdatasync -e inject=fsync,fdatasync:retval=0"
    );
    let (calls, count) = if full() { (2000, 200) } else { (300, 40) };
    let broken = run(&through, calls, seed)?.rounds(count, &mut Random::new(seed))?;
    ensure!(
        !broken.is_empty(),
        "directories were not synced, and {count} rounds did not notice"
    );
    // What is lost is names; the disk itself did what it should.
    ensure!(
        broken.iter().all(|round| !round.unreadable),
        "{}",
        summary(&broken, count)
    );
    eprintln!("found: {}", summary(&broken, count));
    Ok(())
}
