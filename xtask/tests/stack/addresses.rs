//! Addresses that our stack gets by itself, and those that somebody else has, too.

use super::world::{Daemon, Link, World, ip_on, shell, wait_for};
use crate::mdns::world::{Avahi, Running};
use anyhow::{Context as _, Result, ensure};
use simple_dns::rdata::{AAAA, RData};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;
use xtask::clients::dns::{self, Asker, Message, TYPE};
use xtask::clients::nfs::Client;
use xtask::setup::{self, Package};

/// The number of ours on the Ethernet, and the identifier that follows from it.
const MAC: &str = "02:00:00:00:00:01";
const IDENTIFIER: &str = "ff:fe00:1";

/// A server of DHCP, and if it is asked to be, a router that tells of fd00::/64.
pub fn dnsmasq(world: &World, words: &[&str]) -> Result<Daemon> {
    setup::need(&[Package::DNSMASQ])?;
    let mut command = world.theirs.command("dnsmasq");
    let leases = world.place.path().join("leases");
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
        .args(["--user=root", "--interface=eth0", "--bind-dynamic"])
        .args(["--no-ping", "--pid-file", "--log-facility=-", "--log-dhcp"])
        .arg(format!("--dhcp-leasefile={}", leases.display()))
        .args(words);
    Daemon::start(command, &world.place.path().join("dnsmasq.log"))
}

/// What `box.local` resolves to at the other host, in this family.
pub fn resolved(avahi: &Avahi, family: &str) -> Result<IpAddr> {
    wait_for("an address of box.local", || {
        let output = avahi
            .command("avahi-resolve")
            .args([family, "-n", "box.local"])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let word = said.split_whitespace().nth(1);
        Ok(word.and_then(|word| word.parse().ok()))
    })
}

pub fn resolved_v4(avahi: &Avahi) -> Result<Ipv4Addr> {
    match resolved(avahi, "-4")? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => anyhow::bail!("{address}"),
    }
}

fn announced(world: &World, words: &[&str]) -> Result<(Avahi, Running)> {
    let avahi = Avahi::on(&world.theirs, "other", true, world.place.path())?;
    let running = world.serve(&[&["--mac", MAC][..], words].concat())?;
    running.wait_for_within("announced box.local", super::world::PATIENCE)?;
    Ok((avahi, running))
}

/// ARP from another host that says to have this address.
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
    let leases = fs::read_to_string(world.place.path().join("leases"))?;
    let line = format!("{MAC} {address} box ");
    ensure!(leases.contains(&line), "{leases}");
    world.use_files(&address.to_string())?;
    world.ensure_host_has_none()?;
    running.stop()
}

/// A server of DHCP that leases for twelve seconds.
fn udhcpd(world: &World) -> Result<Daemon> {
    setup::need(&[Package::UDHCPD])?;
    let place = world.place.path();
    let (leases, settings) = (place.join("leases"), place.join("udhcpd.conf"));
    fs::write(&leases, "")?;
    fs::write(
        &settings,
        format!(
            "interface eth0\nstart 192.0.2.50\nend 192.0.2.60\noption subnet 255.255.255.0\noption lease 12\nmin_lease 5\n\
             lease_file {}\npidfile {}\n",
            leases.display(),
            place.join("udhcpd.pid").display()
        ),
    )?;
    let mut command = world.theirs.command("udhcpd");
    command.arg("-f").arg(&settings);
    Daemon::start(command, &place.join("udhcpd.log"))
}

#[test]
fn a_lease_is_renewed_and_an_address_whose_lease_has_ended_is_left() -> Result<()> {
    let world = World::new(Link::Tap)?;
    let dhcp = udhcpd(&world)?;
    let (avahi, running) = announced(&world, &[])?;
    let leased = |what| {
        wait_for(what, || {
            let address = resolved_v4(&avahi)?;
            Ok((50..=60).contains(&address.octets()[3]).then_some(address))
        })
    };
    let address = leased("a leased address")?;
    wait_for("a lease that is renewed twice", || {
        let said = fs::read_to_string(world.place.path().join("udhcpd.log"))?;
        Ok((said.matches("sending ACK").count() > 2).then_some(()))
    })?;
    world.use_files(&address.to_string())?;
    drop(dhcp);
    let own = wait_for("an address of the link", || {
        let address = resolved_v4(&avahi)?;
        Ok(address.is_link_local().then_some(address))
    })?;
    world.use_files(&own.to_string())?;
    let connects = |address: Ipv4Addr| {
        let mut command = world.theirs.command("timeout");
        let script = format!(": < /dev/tcp/{address}/2049");
        setup::quietly(command.args(["5", "bash", "-c", &script]))
    };
    connects(own)?;
    ip_on(&world.theirs, "neigh flush dev eth0")?;
    ensure!(connects(address).is_err(), "{address} is still there");
    let _dhcp = udhcpd(&world)?;
    let address = leased("another lease")?;
    world.use_files(&address.to_string())?;
    running.stop()
}

/// How often the server has leased an address.
pub fn count_leases(world: &World) -> Result<usize> {
    let said = fs::read_to_string(world.place.path().join("dnsmasq.log"))?;
    Ok(said.matches("DHCPACK").count())
}

/// It may be another network.
#[test]
fn a_link_that_is_back_is_asked_for_an_address_again() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let _dhcp = dnsmasq(&world, &["--dhcp-range=192.0.2.50,192.0.2.60,2m"])?;
    let (avahi, running) = announced(&world, &[])?;
    let address = resolved_v4(&avahi)?;
    // The interface is down; the other end is, so that there is no carrier.
    for end in [&world.ours, &world.theirs] {
        let before = count_leases(&world)?;
        ip_on(end, "link set eth0 down")?;
        wait_for("a link that is gone", || {
            let sockets = shell(&world.ours, "wc -l < /proc/net/packet")?;
            Ok((sockets.trim() == "1").then_some(()))
        })?;
        ip_on(end, "link set eth0 up")?;
        wait_for("another lease", || {
            Ok((count_leases(&world)? > before).then_some(()))
        })?;
        wait_for("files", || {
            Ok(world.use_files(&address.to_string()).is_ok().then_some(()))
        })?;
    }
    running.stop()
}

/// The server does not look whether anybody has what it leases.
#[test]
fn a_leased_address_that_somebody_has_is_declined() -> Result<()> {
    let world = World::new(Link::Tap)?;
    ip_on(&world.ours, "addr add 192.0.2.50/32 dev br0")?;
    let words = ["--dhcp-range=192.0.2.60,192.0.2.69,2m", "--dhcp-host"];
    let host = format!("{MAC},192.0.2.50");
    let _dhcp = dnsmasq(&world, &[&words[..], &[&host]].concat())?;
    let (avahi, running) = announced(&world, &[])?;
    let address = wait_for("another leased address", || {
        let address = resolved_v4(&avahi)?;
        ensure!(address != Ipv4Addr::new(192, 0, 2, 50), "it is taken");
        Ok((60..=69).contains(&address.octets()[3]).then_some(address))
    })?;
    let said = fs::read_to_string(world.place.path().join("dnsmasq.log"))?;
    let line = format!("DHCPDECLINE(eth0) 192.0.2.50 {MAC}");
    ensure!(said.contains(&line), "{said}");
    world.use_files(&address.to_string())?;
    running.stop()
}

/// Prints the first two addresses that are asked for before they are taken.
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
fn an_address_of_the_link_that_somebody_has_is_not_taken() -> Result<()> {
    setup::need(&[Package::PYTHON])?;
    let world = World::new(Link::Tap)?;
    // The host at the bridge has them all.
    ip_on(&world.ours, "route add local 169.254.0.0/16 dev lo")?;
    let mut watching = world.theirs.command("python3");
    let watching = thread::spawn(move || setup::quietly(watching.args(["-c", TWO_PROBES])));
    let avahi = Avahi::on(&world.theirs, "other", true, world.place.path())?;
    let running = world.serve(&["--mac", MAC, "--ip", "link-local"])?;
    let refused = watching.join().expect("it does not panic")?;
    ip_on(&world.ours, "route del local 169.254.0.0/16 dev lo")?;
    let address = resolved_v4(&avahi)?;
    let first = refused.lines().next().context("none was asked for")?;
    ensure!(
        address.is_link_local() && address.to_string() != first,
        "{address} after {refused}"
    );
    world.use_files(&address.to_string())?;
    running.stop()
}

#[test]
fn without_dhcp_it_takes_an_address_of_the_link() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let (avahi, running) = announced(&world, &[])?;
    let address = resolved_v4(&avahi)?;
    ensure!(address.is_link_local(), "{address}");
    world.use_files(&address.to_string())?;
    running.stop()
}

#[test]
fn a_link_local_address_is_defended_once_and_then_given_up() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let (avahi, running) = announced(&world, &["--ip", "link-local"])?;
    let first = resolved_v4(&avahi)?;
    ensure!(first.is_link_local(), "{first}");
    claim(&world, first)?;
    world.use_files(&first.to_string())?;
    // Within ten seconds of the first.
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

/// Whether NFS answers there.
fn answers(world: &World, address: Ipv6Addr) -> Result<()> {
    let path = world.files().display().to_string();
    world.theirs.run(move || {
        let mut client = Client::connect(SocketAddr::new(address.into(), 2049))?;
        let root = client.mount(&path)?;
        client.lookup(&root, "first").map(drop)
    })
}

#[test]
fn a_given_address_that_somebody_has_is_kept_and_told_of_once() -> Result<()> {
    const LINE: &str = "another host has the address 192.0.2.1: give one of the two another one";
    let world = World::new(Link::Packet)?;
    // A Linux host, which says nothing of it unless it is asked.
    ip_on(&world.theirs, "addr add 192.0.2.1/32 dev eth0")?;
    let running = world.serve(&["--mac", MAC, "--ip", "192.0.2.1/24"])?;
    running.wait_for(LINE)?;
    // As it goes on, it is not told again.
    for _ in 0..3 {
        claim(&world, Ipv4Addr::new(192, 0, 2, 1))?;
    }
    ip_on(&world.theirs, "addr del 192.0.2.1/32 dev eth0")?;
    ip_on(&world.theirs, "neigh flush dev eth0")?;
    world.use_files("192.0.2.1")?;
    let said = running.stop_and_read()?;
    ensure!(!said.contains("another host has"), "{said}");
    Ok(())
}

#[test]
fn it_does_with_ipv6_alone() -> Result<()> {
    let world = World::new(Link::Packet)?;
    shell(&world.theirs, "ip -4 addr flush dev eth0")?;
    let (avahi, running) = announced(&world, &["--ip", "fd00::1/64"])?;
    wait_for("the given address", || {
        answers(&world, "fd00::1".parse()?).map_or(Ok(None), |()| Ok(Some(())))
    })?;
    avahi.see(&["avahi-browse", "-artp"], &["=;eth0;IPv6;box"])?;
    running.stop()
}

#[test]
fn routers_give_addresses_of_ipv6_that_nobody_else_has() -> Result<()> {
    let world = World::new(Link::Tap)?;
    let words = ["--enable-ra", "--dhcp-range=fd00::,ra-only"];
    let _router = dnsmasq(&world, &words)?;
    let (_avahi, running) = announced(&world, &["--ip", "192.0.2.1/24"])?;
    let own: Ipv6Addr = format!("fd00::{IDENTIFIER}").parse()?;
    wait_for("an address by the router's prefix", || {
        answers(&world, own).map_or(Ok(None), |()| Ok(Some(())))
    })?;
    running.stop()?;
    // The other host has it: ours is called differently there.
    shell(
        &world.theirs,
        &format!("ip addr add {own}/64 dev eth0 nodad"),
    )?;
    let (_avahi, running) = announced(&world, &["--ip", "192.0.2.1/24"])?;
    let asker = world.theirs.run(|| Asker::member([192, 0, 2, 2].into()))?;
    let question = dns::query(7, &[("box.local", TYPE::AAAA)], false);
    let mut other = None;
    let mut is_other = |message: &Message| {
        let mut addresses = message
            .records
            .iter()
            .filter_map(|record| match record.rdata {
                RData::AAAA(AAAA { address }) if record.name.to_string() == "box.local" => {
                    Some(Ipv6Addr::from(address))
                }
                _ => None,
            });
        other = addresses.find(|found| *found != own && found.segments()[0] == 0xfd00);
        other.is_some()
    };
    // It asks first whether anybody has it.
    wait_for("another address", || {
        asker.send(&question)?;
        asker.wait_for(Duration::from_secs(2), &mut is_other)
    })?;
    answers(&world, other.context("an address was found")?)?;
    running.stop()
}
