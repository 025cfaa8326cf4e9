//! Memory of stowaway's network stack, idle, with many clients and with little memory; and fair use of its connections.

use super::world::{Link, World, wait_for};
use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;
use xtask::clients::nfs::{Auth, Call, Client, record};
use xtask::machines::server::{ip, proc_field};
use xtask::setup;
use xtask::testing::promised;

const NFS: ([u8; 4], u16) = ([192, 0, 2, 1], 2049);
/// Memory limit (KiB) with NFS only and no connection.
const MIB: u64 = 1 << 20;

/// `count` clients at once each read the whole file `first`, 1 MiB per READ.
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
            .try_for_each(|reader| reader.join().expect("a reader panicked"))
    })
}

/// The memory figures in `image/doc/promises.md`: idle, and with 64 clients.
#[test]
fn memory_limits_hold_idle_and_with_64_clients() -> Result<()> {
    let of_net = "With `--net`, `nfs` takes at most ";
    let idle_max = promised(of_net, " KiB at rest")?;
    let busy_max = promised(of_net, " MiB with 64 clients")? << 10;
    let world = World::new(Link::Tap)?;
    let running = world.start_nfs()?;
    let pid = running.pid().as_raw() as u32;
    let path = world.files().display().to_string();
    // A reply shows that the server has started.
    world
        .theirs
        .run(|| Client::connect(NFS.into())?.call(&Call::null()).map(drop))?;
    let idle = proc_field(pid, "status", "VmHWM")?;
    world.theirs.run(|| read_by(64, &path))?;
    let busy = proc_field(pid, "status", "VmHWM")?;
    eprintln!("{idle} KiB idle, {busy} KiB with 64 clients");
    ensure!(idle <= idle_max, "{idle} KiB idle");
    ensure!(busy <= busy_max, "{busy} KiB with 64 clients");
    running.stop()
}

/// Sends 20,000 SYNs from forged addresses to the MAC address that the kernel has learned for 192.0.2.1.
const FLOOD: &str = "
import socket, struct
mac = next(line.split()[3] for line in open('/proc/net/arp') if line.startswith('192.0.2.1 '))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
own = s.getsockname()[4]
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff
to = bytes([192, 0, 2, 1])
for number in range(20000):
    source = struct.pack('!I', 0x0a000001 + number)
    head = lambda check: struct.pack('!BBHHHBBH', 0x45, 0, 40, 0, 0, 64, 6, check) + source + to
    segment = lambda check: struct.pack('!HHIIBBHHH', 1000, 2049, number, 0, 0x50, 2, 8192, check, 0)
    check = checksum(source + to + struct.pack('!HH', 6, 20) + segment(0))
    s.send(bytes.fromhex(mac.replace(':', '')) + own + b'\\x08\\0' + head(checksum(head(0))) + segment(check))
";

/// A SYN flood takes little memory: connections without data leave their buffers untouched. Meanwhile, an open
/// connection is served, and afterwards a client connects.
#[test]
fn syn_flood_takes_less_than_two_mebibytes() -> Result<()> {
    setup::install_packages(&["python3"])?;
    let world = World::new(Link::Tap)?;
    let running = world.start_nfs()?;
    let pid = running.pid().as_raw() as u32;
    let mut first = world.theirs.run(|| Client::connect(NFS.into()))?;
    first.call(&Call::null())?;
    let before = proc_field(pid, "status", "RssAnon")?;
    let mut command = world.theirs.command("python3");
    command.args(["-c", FLOOD]);
    let mut flood = command.spawn()?;
    while flood.try_wait()?.is_none() {
        first.call(&Call::null())?;
    }
    ensure!(flood.wait()?.success());
    world
        .theirs
        .run(|| Client::connect(NFS.into())?.call(&Call::null()).map(drop))?;
    let more = proc_field(pid, "status", "RssAnon")?.saturating_sub(before);
    eprintln!("{more} KiB more");
    ensure!(more < 2 << 10, "{more} KiB more");
    running.stop()
}

/// Opens up to 1400 connections and sends a NULL call on each.
fn crowd() -> Result<Vec<TcpStream>> {
    const COUNT: usize = 1400;
    let null = record(&Call::null().message(1, &Auth::none()));
    let mut crowd = Vec::new();
    while crowd.len() < COUNT
        && let Ok(mut stream) = TcpStream::connect_timeout(&NFS.into(), Duration::from_secs(2))
    {
        // The server may have closed the connection already.
        let _ = stream.write_all(&null);
        crowd.push(stream);
    }
    Ok(crowd)
}

/// A client with another address connects after a crowd has filled the table: once without a memory limit, once with memory for few
/// connections.
#[test]
fn full_connection_table_admits_another_client() -> Result<()> {
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
            let mut late_client = Client::connect_from(Ipv4Addr::new(192, 0, 2, 3), NFS.into())?;
            late_client.call(&Call::null()).map(drop)
        })?;
        running.stop()?;
    }
    Ok(())
}
