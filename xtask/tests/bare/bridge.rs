//! A bare machine on a bridge with dnsmasq as DHCP server, and with a Linux guest, avahi and libnfs as clients.

use crate::mdns::world::Avahi;
use crate::stack::addresses::{count_leases, dnsmasq, resolved, resolved_v4};
use crate::stack::world::{Link, World, ip_on, shell, wait_for};
use anyhow::{Result, ensure};
use cases::random::seed;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::clients::fsx::{Fsx, MOSTLY_DATA};
use xtask::clients::nfs::{Call, Client};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::{Bare, Options};
use xtask::machines::qemu::{self, Guest, tap};
use xtask::machines::server::proc_field;
use xtask::setup;
use xtask::testing::is_full_run;

const GUEST: &str = "nfs-client";
/// MAC address; differs from the one that QEMU gives to its guests.
const MAC: &str = "52:54:00:00:00:01";
/// Length of each READ, in bytes.
const PIECE: u32 = 256 << 10;

/// A directory tree and its ISO image.
struct Image {
    tree: TempDir,
    file: std::path::PathBuf,
    _directory: TempDir,
}

impl Image {
    fn new() -> Result<Self> {
        let tree = sample(20, 50)?;
        let (directory, file) = image(ROCK_RIDGE[0], tree.path())?;
        Ok(Self {
            tree,
            file,
            _directory: directory,
        })
    }

    /// Reads the largest file of the image from the machine at `address`, and compares it with the tree's.
    fn is_read(&self, world: &World, address: IpAddr) -> Result<()> {
        let got = world.theirs.run(|| {
            let mut client = Client::connect(SocketAddr::new(address, 2049))?;
            // smoltcp doubles the wait before it retransmits a segment again.
            client
                .stream()
                .set_read_timeout(Some(Duration::from_secs(60)))?;
            let root = client.mount("/initrd")?;
            let file = client.lookup(&root, "large")?;
            let (mut all, mut is_end) = (Vec::new(), false);
            while !is_end {
                let (bytes, end) = client.read(&file, all.len() as u64, PIECE)?;
                ensure!(
                    !bytes.is_empty() || end,
                    "READ at {} returned no data before the end",
                    all.len()
                );
                all.extend_from_slice(bytes);
                is_end = end;
            }
            Ok(all)
        })?;
        let same = got == std::fs::read(self.tree.path().join("large"))?;
        ensure!(
            same,
            "the {} bytes that were read differ from the file",
            got.len()
        );
        Ok(())
    }
}

/// Starts a machine with the name `box` and the image, at a TAP interface of the bridge.
fn start(world: &World, words: &str, image: &Image) -> Result<Bare> {
    let mac = format!("virtio-net-device.mac={MAC}");
    world.ours.run(|| {
        Bare::start(Options {
            boot_arguments: &format!("name=box {words}"),
            module: Some(&image.file),
            more: &["-global", &mac],
            network: Some(&tap("tap0")),
            ..Options::default()
        })
    })
}

/// The sums of all files, as `sha256sum` prints them.
const SUMS: &str = "find . -type f -exec sha256sum {} + | LC_ALL=C sort -k 2";
const MOUNT: &str = "mount -o nolock,vers=3,proto=tcp,port=2049,mountport=2049";

#[test]
fn linux_guest_reads_and_writes_after_link_loss() -> Result<()> {
    qemu::prepare(GUEST)?;
    let (world, image) = (World::new(Link::Tap)?, Image::new()?);
    let _dhcp = dnsmasq(&world, &["--dhcp-range=192.0.2.50,192.0.2.60,1h"])?;
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let exports = "export=/initrd export=/ram:rw,no_root_squash";
    let machine = start(&world, exports, &image)?;
    let address = wait_for("a leased address", || {
        let address = resolved_v4(&avahi)?;
        Ok((50..=60).contains(&address.octets()[3]).then_some(address))
    })?;
    let leases = std::fs::read_to_string(world.directory.path().join("leases"))?;
    ensure!(
        leases.contains(&format!("{MAC} {address} box ")),
        "{leases}"
    );
    let at = format!("_nfs._tcp;local;box.local;{address};2049");
    avahi.wait_for_output(
        &["avahi-browse", "-artpk"],
        &[&at, "path=/initrd", "path=/ram"],
    )?;

    shell(
        &world.ours,
        "ip tuntap add tap1 mode tap; ip link set tap1 master br0 up",
    )?;
    let mut guest = world.ours.run(|| Guest::boot_on(GUEST, &tap("tap1")))?;
    let expected = setup::run_captured(
        Command::new("sh")
            .args(["-c", SUMS])
            .current_dir(image.tree.path()),
    )?;
    let seen = guest.run_ok(&format!(
        "set -e; ip address add 192.0.2.3/24 dev eth0; mkdir /mnt/1 /mnt/2
        {MOUNT} {address}:/initrd /mnt/1; {MOUNT} {address}:/ram /mnt/2; cd /mnt/1; {SUMS}"
    ))?;
    ensure!(seen == expected, "{seen}\ninstead of\n{expected}");

    let fsx = Fsx {
        operations: if is_full_run() { 25_000 } else { 3000 },
        seed: seed(),
        config: MOSTLY_DATA,
    };
    guest.run_ok(&fsx.command("fsx", "/mnt/2/file"))?;
    // Another client reads the file from the server, not from the guest's page cache.
    let url = format!("nfs://{address}/ram/file?version=3&nfsport=2049&mountport=2049");
    let cat = world.theirs.command("nfs-cat").arg(url).output()?;
    fsx.check(&cat.stdout)?;

    let before = count_leases(&world)?;
    machine.monitor("set_link net off")?;
    guest.run_ok(&format!(
        "echo 3 > /proc/sys/vm/drop_caches; (cd /mnt/1; {SUMS}) > /run/sums 2>&1 &"
    ))?;
    machine.monitor("set_link net on")?;
    wait_for("another lease", || {
        Ok((count_leases(&world)? > before).then_some(()))
    })?;
    let seen = guest.run_ok(
        "for try in $(seq 600); do [ -s /run/sums ] && break; usleep 200000; done; cat /run/sums",
    )?;
    ensure!(seen == expected, "{seen}\ninstead of\n{expected}");
    let said = machine.console();
    ensure!(said.matches("announced box.local").count() > 0, "{said}");
    Ok(())
}

#[test]
fn ipv6_only_host_is_found_and_read() -> Result<()> {
    let (world, image) = (World::new(Link::Tap)?, Image::new()?);
    shell(&world.theirs, "ip -4 addr flush dev eth0")?;
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let _machine = start(&world, "ip=fd00::1/64", &image)?;
    let address = resolved(&avahi, "-6")?;
    ensure!(address.is_ipv6(), "{address}");
    avahi.wait_for_output(&["avahi-browse", "-artp"], &["=;eth0;IPv6;box"])?;
    image.is_read(&world, "fd00::1".parse()?)?;
    // The announcements have ended: a responder that starts now must ask.
    drop(avahi);
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let address = resolved(&avahi, "-6")?;
    ensure!(address.is_ipv6(), "{address}");
    Ok(())
}

/// Connects `count` clients one after the other; each sends a NULL call and closes its connection.
fn come_and_go(world: &World, count: u32) -> Result<()> {
    world.theirs.run(|| {
        for _ in 0..count {
            let mut client = Client::connect(([192, 0, 2, 1], 2049).into())?;
            client.call(&Call::null())?;
        }
        Ok(())
    })
}

#[test]
fn closed_connections_take_no_memory() -> Result<()> {
    const HOUR: Duration = Duration::from_secs(3600);
    /// Growth (KiB) of the machine's resident memory that is allowed.
    const SLACK: u64 = 512;
    let (count, time) = match is_full_run() {
        true => (10_000, HOUR),
        false => (3000, Duration::ZERO),
    };
    // QEMU inherits this setting. With huge pages, the first touched byte would make 2 MiB resident.
    nix::sys::prctl::set_thp_disable(true)?;
    let (world, image) = (World::new(Link::Tap)?, Image::new()?);
    ip_on(&world.theirs, "addr add 192.0.2.3/24 dev eth0")?;
    let machine = start(&world, "ip=192.0.2.1/24", &image)?;
    let address = [192, 0, 2, 1].into();
    wait_for("its address", || {
        Ok(image.is_read(&world, address).is_ok().then_some(()))
    })?;
    // After these connections, all memory that connections need has been touched once. After 500 of them, 600 KiB are still to come.
    come_and_go(&world, 4000)?;
    let resident = || proc_field(machine.pid(), "status", "VmRSS");
    let before = resident()?;
    come_and_go(&world, count)?;
    let begin = Instant::now();
    while begin.elapsed() < time {
        thread::scope(|scope| {
            let others = [0; 4].map(|_| scope.spawn(|| image.is_read(&world, address)));
            come_and_go(&world, 100)?;
            others
                .into_iter()
                .try_for_each(|other| other.join().expect("it does not panic"))
        })?;
    }
    image.is_read(&world, address)?;
    let after = resident()?;
    println!("{before} -> {after} KiB");
    ensure!(
        after < before + SLACK,
        "resident memory grew from {before} to {after} KiB"
    );
    Ok(())
}
