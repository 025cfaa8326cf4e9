//! How stowaway's network stack gets addresses, by DHCP, link-local or router advertisement, and handles address conflicts.

use super::world::{Daemon, Link, PATIENCE, World, ip_on, shell, wait_for};
use crate::mdns::world::{Avahi, Process};
use anyhow::{Context as _, Result, ensure};
use simple_dns::rdata::{AAAA, RData};
use std::fs;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;
use xtask::clients::dns::{self, Message, Querier, TYPE};
use xtask::clients::nfs::Client;
use xtask::machines::server::{self, Namespace};
use xtask::setup;

/// MAC address of stowaway's interface, and the IPv6 interface identifier derived from it.
const MAC: &str = "02:00:00:00:00:01";
const IDENTIFIER: &str = "ff:fe00:1";

/// A DHCP server. With `--enable-ra` it also advertises fd00::/64 as a router.
pub fn dnsmasq(world: &World, words: &[&str]) -> Result<Daemon> {
    setup::install_packages(&["dnsmasq-base"])?;
    let mut command = world.theirs.command("dnsmasq");
    let leases = world.directory.path().join("leases");
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
        .args(["--user=root", "--interface=eth0", "--bind-dynamic"])
        .args(["--no-ping", "--pid-file", "--log-facility=-", "--log-dhcp"])
        .arg(format!("--dhcp-leasefile={}", leases.display()))
        .args(words);
    Daemon::start(command, &world.directory.path().join("dnsmasq.log"))
}

/// The address of this family to which the other host resolves `box.local`.
pub fn resolved(avahi: &Avahi, family: &str) -> Result<IpAddr> {
    wait_for("an address of box.local", || {
        let output = avahi
            .command("avahi-resolve")
            .args([family, "-n", "box.local"])
            .output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let word = stdout.split_whitespace().nth(1);
        Ok(word.and_then(|word| word.parse().ok()))
    })
}

pub fn resolved_v4(avahi: &Avahi) -> Result<Ipv4Addr> {
    match resolved(avahi, "-4")? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => anyhow::bail!("{address}"),
    }
}

fn announced(world: &World, words: &[&str]) -> Result<(Avahi, Process)> {
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let running = world.serve(&[&["--mac", MAC][..], words].concat())?;
    running.wait_for_within("announced box.local", super::world::PATIENCE)?;
    Ok((avahi, running))
}

/// Sends an ARP announcement in which another host claims `address`.
fn claim(world: &World, address: Ipv4Addr) -> Result<()> {
    let address: String = address
        .octets()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (to, from) = ("ffffffffffff", "020000000099");
    world.send(&format!(
        "{to}{from}0806000108000604 0001{from}{address}000000000000{address}"
    ))
}

#[test]
fn dhcp_leases_an_address_under_its_name() -> Result<()> {
    let world = World::new(Link::Tap)?;
    let _dhcp = dnsmasq(&world, &["--dhcp-range=192.0.2.50,192.0.2.60,2m"])?;
    let (avahi, running) = announced(&world, &[])?;
    let address = wait_for("a leased address", || {
        let address = resolved_v4(&avahi)?;
        Ok((50..=60).contains(&address.octets()[3]).then_some(address))
    })?;
    let leases = fs::read_to_string(world.directory.path().join("leases"))?;
    let line = format!("{MAC} {address} box ");
    ensure!(leases.contains(&line), "{leases}");
    world.use_files(&address.to_string())?;
    world.ensure_host_has_none()?;
    running.stop()
}

/// A DHCP server with a lease time of twelve seconds.
fn udhcpd(world: &World) -> Result<Daemon> {
    setup::install_packages(&["udhcpd"])?;
    let directory = world.directory.path();
    let (leases, settings) = (directory.join("leases"), directory.join("udhcpd.conf"));
    fs::write(&leases, "")?;
    fs::write(
        &settings,
        format!(
            "interface eth0\nstart 192.0.2.50\nend 192.0.2.60\noption subnet 255.255.255.0\noption lease 12\nmin_lease 5\n\
             lease_file {}\npidfile {}\n",
            leases.display(),
            directory.join("udhcpd.pid").display()
        ),
    )?;
    let mut command = world.theirs.command("udhcpd");
    command.arg("-f").arg(&settings);
    Daemon::start(command, &directory.join("udhcpd.log"))
}

#[test]
fn lease_is_renewed_and_expired_address_is_released() -> Result<()> {
    let world = World::new(Link::Tap)?;
    let dhcp = udhcpd(&world)?;
    let (avahi, running) = announced(&world, &[])?;
    let leased = |description| {
        wait_for(description, || {
            let address = resolved_v4(&avahi)?;
            Ok((50..=60).contains(&address.octets()[3]).then_some(address))
        })
    };
    let address = leased("a leased address")?;
    wait_for("a lease that is renewed twice", || {
        let log = fs::read_to_string(world.directory.path().join("udhcpd.log"))?;
        Ok((log.matches("sending ACK").count() > 2).then_some(()))
    })?;
    world.use_files(&address.to_string())?;
    drop(dhcp);
    let link_local = wait_for("an address of the link", || {
        let address = resolved_v4(&avahi)?;
        Ok(address.is_link_local().then_some(address))
    })?;
    world.use_files(&link_local.to_string())?;
    let connects = |address: Ipv4Addr| {
        let mut command = world.theirs.command("timeout");
        let script = format!(": < /dev/tcp/{address}/2049");
        setup::run_captured(command.args(["5", "bash", "-c", &script]))
    };
    connects(link_local)?;
    ip_on(&world.theirs, "neigh flush dev eth0")?;
    ensure!(
        connects(address).is_err(),
        "{address} is still in use after its lease has ended"
    );
    let _dhcp = udhcpd(&world)?;
    let address = leased("another lease")?;
    world.use_files(&address.to_string())?;
    running.stop()
}

/// Returns how many DHCPACKs dnsmasq has logged.
pub fn count_leases(world: &World) -> Result<usize> {
    let log = fs::read_to_string(world.directory.path().join("dnsmasq.log"))?;
    Ok(log.matches("DHCPACK").count())
}

/// After an interruption, the interface may be connected to another network, so the server requests an address again.
#[test]
fn returning_link_requests_a_new_lease() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let _dhcp = dnsmasq(&world, &["--dhcp-range=192.0.2.50,192.0.2.60,2m"])?;
    let (avahi, running) = announced(&world, &[])?;
    let address = resolved_v4(&avahi)?;
    // In the first pass, stowaway's interface goes down. In the second, the Linux host's end goes down, so stowaway's interface
    // loses its carrier.
    for host in [&world.ours, &world.theirs] {
        let before = count_leases(&world)?;
        ip_on(host, "link set eth0 down")?;
        wait_for("a link that is gone", || {
            let sockets = shell(&world.ours, "wc -l < /proc/net/packet")?;
            Ok((sockets.trim() == "1").then_some(()))
        })?;
        ip_on(host, "link set eth0 up")?;
        wait_for("another lease", || {
            Ok((count_leases(&world)? > before).then_some(()))
        })?;
        wait_for("files", || {
            Ok(world.use_files(&address.to_string()).is_ok().then_some(()))
        })?;
    }
    running.stop()
}

/// dnsmasq runs with `--no-ping`, so it leases the address although it is in use.
#[test]
fn leased_address_in_use_is_declined() -> Result<()> {
    let world = World::new(Link::Tap)?;
    ip_on(&world.ours, "addr add 192.0.2.50/32 dev br0")?;
    let words = ["--dhcp-range=192.0.2.60,192.0.2.69,2m", "--dhcp-host"];
    let host = format!("{MAC},192.0.2.50");
    let _dhcp = dnsmasq(&world, &[&words[..], &[&host]].concat())?;
    let (avahi, running) = announced(&world, &[])?;
    let address = wait_for("another leased address", || {
        let address = resolved_v4(&avahi)?;
        ensure!(
            address != Ipv4Addr::new(192, 0, 2, 50),
            "192.0.2.50 is used although another host has it"
        );
        Ok((60..=69).contains(&address.octets()[3]).then_some(address))
    })?;
    let log = fs::read_to_string(world.directory.path().join("dnsmasq.log"))?;
    let line = format!("DHCPDECLINE(eth0) 192.0.2.50 {MAC}");
    ensure!(log.contains(&line), "{log}");
    world.use_files(&address.to_string())?;
    running.stop()
}

/// Prints the first two addresses for which an ARP probe is seen.
const TWO_PROBES: &str = "
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
s.settimeout(60)
seen = []
while len(seen) < 2:
    frame = s.recv(99)
    if frame[28:32] == bytes(4) and frame[38:42] not in seen:
        seen.append(frame[38:42])
        print(socket.inet_ntoa(frame[38:42]), flush=True)
";

#[test]
fn link_local_address_in_use_is_not_taken() -> Result<()> {
    setup::install_packages(&["python3"])?;
    let world = World::new(Link::Tap)?;
    // The host at the bridge answers ARP for all link-local addresses.
    ip_on(&world.ours, "route add local 169.254.0.0/16 dev lo")?;
    let mut watching = world.theirs.command("python3");
    let watching = thread::spawn(move || setup::run_captured(watching.args(["-c", TWO_PROBES])));
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let running = world.serve(&["--mac", MAC, "--ip", "link-local"])?;
    let probed = watching.join().expect("the watcher panicked")?;
    ip_on(&world.ours, "route del local 169.254.0.0/16 dev lo")?;
    let address = resolved_v4(&avahi)?;
    let first = probed.lines().next().context("no address was probed")?;
    ensure!(
        address.is_link_local() && address.to_string() != first,
        "{address} after {probed}"
    );
    world.use_files(&address.to_string())?;
    running.stop()
}

#[test]
fn without_dhcp_a_link_local_address_is_used() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let (avahi, running) = announced(&world, &[])?;
    let address = resolved_v4(&avahi)?;
    ensure!(address.is_link_local(), "{address}");
    // The mount command.
    running.wait_for_within(&format!(" {address}:/"), super::world::PATIENCE)?;
    world.use_files(&address.to_string())?;
    running.stop()
}

#[test]
fn link_local_address_is_defended_once_then_replaced() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let (avahi, running) = announced(&world, &["--ip", "link-local"])?;
    let first = resolved_v4(&avahi)?;
    ensure!(first.is_link_local(), "{first}");
    claim(&world, first)?;
    world.use_files(&first.to_string())?;
    // A second conflict follows within ten seconds, so stowaway must choose another address.
    claim(&world, first)?;
    claim(&world, first)?;
    let second = wait_for("another address", || {
        let address = resolved_v4(&avahi)?;
        Ok((address != first).then_some(address))
    })?;
    ensure!(second.is_link_local(), "{second}");
    world.use_files(&second.to_string())?;
    running.stop()
}

/// Checks that NFS answers at an IPv6 address.
fn ensure_answers(world: &World, address: Ipv6Addr) -> Result<()> {
    let path = world.files().display().to_string();
    world.theirs.run(move || {
        let mut client = Client::connect(SocketAddr::new(address.into(), 2049))?;
        let root = client.mount(&path)?;
        client.lookup(&root, "first").map(drop)
    })
}

#[test]
fn static_address_conflict_is_reported_once_and_kept() -> Result<()> {
    const LINE: &str = "another host uses the address 192.0.2.1: change one of the two";
    let world = World::new(Link::Packet)?;
    // Linux answers ARP requests for the address, but does not announce it.
    ip_on(&world.theirs, "addr add 192.0.2.1/32 dev eth0")?;
    let running = world.serve(&["--mac", MAC, "--ip", "192.0.2.1/24"])?;
    running.wait_for(LINE)?;
    // Further conflicts are not reported again.
    for _ in 0..3 {
        claim(&world, Ipv4Addr::new(192, 0, 2, 1))?;
    }
    ip_on(&world.theirs, "addr del 192.0.2.1/32 dev eth0")?;
    ip_on(&world.theirs, "neigh flush dev eth0")?;
    world.use_files("192.0.2.1")?;
    let log = running.stop_and_read()?;
    ensure!(!log.contains("another host uses"), "{log}");
    Ok(())
}

#[test]
fn ipv6_alone_is_enough() -> Result<()> {
    let world = World::new(Link::Packet)?;
    shell(&world.theirs, "ip -4 addr flush dev eth0")?;
    let (avahi, running) = announced(&world, &["--ip", "fd00::1/64"])?;
    wait_for("the given address", || {
        ensure_answers(&world, "fd00::1".parse()?).map_or(Ok(None), |()| Ok(Some(())))
    })?;
    avahi.wait_for_output(&["avahi-browse", "-artp"], &["=;eth0;IPv6;box"])?;
    running.stop()
}

#[test]
fn advertised_prefix_gives_a_unique_ipv6_address() -> Result<()> {
    let world = World::new(Link::Tap)?;
    let words = ["--enable-ra", "--dhcp-range=fd00::,ra-only"];
    let _router = dnsmasq(&world, &words)?;
    let (_avahi, running) = announced(&world, &["--ip", "192.0.2.1/24"])?;
    let predicted: Ipv6Addr = format!("fd00::{IDENTIFIER}").parse()?;
    wait_for("an address by the router's prefix", || {
        ensure_answers(&world, predicted).map_or(Ok(None), |()| Ok(Some(())))
    })?;
    running.stop()?;
    // The other host takes the predicted address, so stowaway must derive another one.
    shell(
        &world.theirs,
        &format!("ip addr add {predicted}/64 dev eth0 nodad"),
    )?;
    let (_avahi, running) = announced(&world, &["--ip", "192.0.2.1/24"])?;
    let querier = world
        .theirs
        .run(|| Querier::with_mdns_port([192, 0, 2, 2].into()))?;
    let question = dns::query(7, &[("box.local", TYPE::AAAA)]);
    let mut found = None;
    let mut is_derived = |message: &Message| {
        let mut addresses = message
            .records
            .iter()
            .filter_map(|record| match record.rdata {
                RData::AAAA(AAAA { address }) if record.name.to_string() == "box.local" => {
                    Some(Ipv6Addr::from(address))
                }
                _ => None,
            });
        found = addresses.find(|address| *address != predicted && address.segments()[0] == 0xfd00);
        found.is_some()
    };
    // Duplicate address detection comes first, so the address appears after a while.
    wait_for("another address", || {
        querier.send(&question)?;
        querier.wait_for(Duration::from_secs(2), &mut is_derived)
    })?;
    ensure_answers(&world, found.context("no derived address")?)?;
    running.stop()
}

/// ISC's DHCP server names a router that is not on the link.
#[test]
fn lease_with_router_off_link_is_used() -> Result<()> {
    setup::install_packages(&["isc-dhcp-server"])?;
    let world = World::new(Link::Tap)?;
    let directory = world.directory.path();
    let [settings, leases, pid] = ["dhcpd.conf", "leases", "pid"].map(|name| directory.join(name));
    fs::write(&leases, "")?;
    fs::write(
        &settings,
        "subnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.50 192.0.2.60; option routers 198.51.100.1; }\n",
    )?;
    let mut command = world.theirs.command("dhcpd");
    command.args(["-f", "-d", "-cf"]).arg(&settings);
    command
        .arg("-lf")
        .arg(&leases)
        .arg("-pf")
        .arg(&pid)
        .arg("eth0");
    let _dhcp = Daemon::start(command, &directory.join("dhcpd.log"))?;
    let (avahi, running) = announced(&world, &[])?;
    let address = wait_for("a leased address", || {
        let address = resolved_v4(&avahi)?;
        Ok((50..=60).contains(&address.octets()[3]).then_some(address))
    })?;
    world.use_files(&address.to_string())?;
    running.stop()
}

#[test]
fn prefix_of_radvd_gives_an_address() -> Result<()> {
    setup::install_packages(&["radvd"])?;
    let world = World::new(Link::Tap)?;
    let directory = world.directory.path();
    let [settings, pid] = ["radvd.conf", "radvd.pid"].map(|name| directory.join(name));
    fs::write(
        &settings,
        "interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix fd00:1::/64 {}; };\n",
    )?;
    shell(
        &world.theirs,
        "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
    )?;
    let mut command = world.theirs.command("radvd");
    command
        .args(["--nodaemon", "--logmethod", "stderr", "--config"])
        .arg(&settings);
    command.arg("--pidfile").arg(&pid);
    let _router = Daemon::start(command, &directory.join("radvd.log"))?;
    ip_on(&world.theirs, "addr add fd00:1::1/64 dev eth0 nodad")?;
    let (_avahi, running) = announced(&world, &["--ip", "192.0.2.1/24"])?;
    let own: Ipv6Addr = format!("fd00:1::{IDENTIFIER}").parse()?;
    wait_for("an address by the router's prefix", || {
        ensure_answers(&world, own).map_or(Ok(None), |()| Ok(Some(())))
    })?;
    running.stop()
}

/// Adds a host whose interface eth0 is connected to a bridge on `bridged`.
fn host_at_bridge(bridged: &Namespace, port: &str) -> Result<Namespace> {
    let host = Namespace::new()?;
    let (name, bridged_name) = (host.name(), bridged.name());
    server::ip(&format!(
        "link add eth0 netns {name} type veth peer name {port} netns {bridged_name}"
    ))?;
    ip_on(bridged, &format!("link set {port} master br0 up"))?;
    shell(
        &host,
        "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip link set eth0 up",
    )?;
    Ok(host)
}

/// Two hosts of one name, whose links have one name too.
#[test]
fn hosts_with_equal_names_have_different_mac_addresses() -> Result<()> {
    let mut world = World::new(Link::Packet)?;
    shell(
        &world.ours,
        "ip link add br0 type bridge mcast_snooping 0
         ip link set eth0 master br0
         ip link set br0 up",
    )?;
    let hosts = ["port1", "port2"].map(|port| host_at_bridge(&world.ours, port));
    let [first, second] = hosts;
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let _bridged = mem::replace(&mut world.ours, first?);
    let running = world.serve(&["--ip", "192.0.2.11/24"])?;
    running.wait_for_within("announced box.local", PATIENCE)?;
    let _first = mem::replace(&mut world.ours, second?);
    let renamed = world.serve(&["--ip", "192.0.2.12/24"])?;
    renamed.wait_for_within("announced box-2.local", PATIENCE)?;
    for (name, address) in [("box.local", "192.0.2.11"), ("box-2.local", "192.0.2.12")] {
        avahi.wait_for_output(&["avahi-resolve", "-4", "-n", name], &[address])?;
        world.use_files(address)?;
    }
    let neighbors = shell(&world.theirs, "ip -4 neigh show dev eth0")?;
    let macs = ["192.0.2.11 ", "192.0.2.12 "].map(|address| {
        let mut lines = neighbors.lines();
        let line = lines.find(|line| line.starts_with(address));
        line.and_then(|line| line.split_whitespace().nth(2))
    });
    ensure!(macs[0].is_some() && macs[0] != macs[1], "{neighbors}");
    renamed.stop()?;
    running.stop()
}
