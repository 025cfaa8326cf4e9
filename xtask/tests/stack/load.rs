//! What our stack takes of memory, at rest, with many clients, and where there is little; and who has its connections.

use super::world::{Link, World, wait_for};
use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;
use xtask::clients::nfs::{Auth, Call, Client, record};
use xtask::machines::server::{ip, proc_field};

const NFS: ([u8; 4], u16) = ([192, 0, 2, 1], 2049);
/// With NFS alone, and nobody connected.
const REST_MAX_KIB: u64 = 768;
const MIB: u64 = 1 << 20;

/// As many clients as there may be ask for all of a file, a mebibyte at a time, all at once.
fn read_by(count: usize, path: &str) -> Result<()> {
    thread::scope(|scope| {
        let readers: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(NFS.into())?;
                    let root = client.mount(path)?;
                    let file = client.lookup(&root, "first")?;
                    for offset in (0..8 * MIB).step_by(MIB as usize) {
                        let (data, _) = client.read(&file, offset, MIB as u32)?;
                        ensure!(data.len() as u64 == MIB, "{} bytes", data.len());
                    }
                    Ok(())
                })
            })
            .collect();
        readers
            .into_iter()
            .try_for_each(|reader| reader.join().expect("it does not panic"))
    })
}

/// What it takes at rest, and with 64 clients (README).
#[test]
fn memory_is_small_at_rest_and_with_64_clients() -> Result<()> {
    const BUSY_MAX_KIB: u64 = 16 << 10;
    let world = World::new(Link::Tap)?;
    let running = world.start_nfs()?;
    let pid = running.pid().as_raw() as u32;
    let path = world.files().display().to_string();
    // It is there once somebody was answered.
    world
        .theirs
        .run(|| Client::connect(NFS.into())?.call(&Call::null()).map(drop))?;
    let rest = proc_field(pid, "status", "VmHWM")?;
    world.theirs.run(|| read_by(64, &path))?;
    let busy = proc_field(pid, "status", "VmHWM")?;
    eprintln!("{rest} KiB at rest, {busy} KiB with 64 clients");
    ensure!(rest <= REST_MAX_KIB, "{rest} KiB at rest");
    ensure!(busy <= BUSY_MAX_KIB, "{busy} KiB with 64 clients");
    running.stop()
}

/// Connects as often as it can, and asks once over each.
fn crowd() -> Result<Vec<TcpStream>> {
    const COUNT: usize = 1400;
    let null = record(&Call::null().message(1, &Auth::none()));
    let mut crowd = Vec::new();
    while crowd.len() < COUNT
        && let Ok(mut stream) = TcpStream::connect_timeout(&NFS.into(), Duration::from_secs(2))
    {
        // It may be closed already.
        let _ = stream.write_all(&null);
        crowd.push(stream);
    }
    Ok(crowd)
}

/// Also where there is memory for few.
#[test]
fn who_has_all_connections_makes_way_for_another() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(4096), most)?;
    for limit in ["unlimited", "32000"] {
        let world = World::new(Link::Tap)?;
        ip(&format!(
            "-n {} addr add 192.0.2.3/24 dev eth0",
            world.theirs.name()
        ))?;
        let running = world.start_nfs_within(limit)?;
        wait_for("the address", || {
            Ok(world.use_files("192.0.2.1").is_ok().then_some(()))
        })?;
        let crowd = world.theirs.run(crowd)?;
        eprintln!("{limit}: {} connected", crowd.len());
        world.theirs.run(|| {
            let mut other = Client::connect_from(Ipv4Addr::new(192, 0, 2, 3), NFS.into())?;
            other.call(&Call::null()).map(drop)
        })?;
        running.stop()?;
    }
    Ok(())
}
