//! Renewal at T1 and rebinding at T2 (options 58 and 59) with the DHCP servers that people have.

use super::addresses::dnsmasq;
use super::world::{Daemon, Link, World, shell, wait_for};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use xtask::setup;

/// T1 and T2, in seconds after an ACK. The lease lasts longer.
const TIMES: [u64; 2] = [4, 8];

const DHCPD: &str = "default-lease-time 20; max-lease-time 20; option dhcp-renewal-time 4; option dhcp-rebinding-time 8;
    subnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.50 192.0.2.60; }\n";
const KEA: &str = r#"{"Dhcp4": {
    "interfaces-config": {"interfaces": ["eth0/192.0.2.2"]}, "lease-database": {"type": "memfile", "persist": false},
    "valid-lifetime": 20, "renew-timer": 4, "rebind-timer": 8, "multi-threading": {"enable-multi-threading": false},
    "subnet4": [{"subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.50 - 192.0.2.60"}]}],
    "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]}]}}"#;

/// Name, which is also that of the log, start, and the word that the server logs for each ACK.
type Server = (&'static str, fn(&World) -> Result<Daemon>, &'static str);

const SERVERS: [Server; 3] = [
    ("dnsmasq", start_dnsmasq, "DHCPACK("),
    ("dhcpd", start_dhcpd, "DHCPACK on"),
    ("kea", start_kea, "DHCP4_LEASE_ALLOC"),
];

fn start_dnsmasq(world: &World) -> Result<Daemon> {
    let times = ["--dhcp-option=option:T1,4", "--dhcp-option=option:T2,8"];
    let range = ["--dhcp-range=192.0.2.50,192.0.2.60,2m"];
    dnsmasq(world, &[&range[..], &times].concat())
}

fn start_dhcpd(world: &World) -> Result<Daemon> {
    setup::install_packages(&["isc-dhcp-server"])?;
    let directory = world.directory.path();
    let [settings, leases, pid] = ["dhcpd.conf", "leases", "pid"].map(|name| directory.join(name));
    fs::write(&leases, "")?;
    fs::write(&settings, DHCPD)?;
    let mut command = world.theirs.command("dhcpd");
    let files: [(&str, &Path); 3] = [("-cf", &settings), ("-lf", &leases), ("-pf", &pid)];
    command.args(["-f", "-d"]);
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    command.arg("eth0");
    Daemon::start(command, &directory.join("dhcpd.log"))
}

fn start_kea(world: &World) -> Result<Daemon> {
    setup::install_packages(&["kea-dhcp4-server"])?;
    let directory = world.directory.path();
    let settings = directory.join("kea.conf");
    fs::write(&settings, KEA)?;
    let mut command = world.theirs.command("kea-dhcp4");
    for variable in ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"] {
        command.env(variable, directory);
    }
    command.arg("-c").arg(&settings);
    Daemon::start(command, &directory.join("kea.log"))
}

#[test]
fn lease_renews_at_t1_rebinds_at_t2() -> Result<()> {
    for (name, start, ack) in SERVERS {
        check(name, start, ack).context(name)?;
    }
    Ok(())
}

fn check(name: &str, start: fn(&World) -> Result<Daemon>, ack: &str) -> Result<()> {
    let world = World::new(Link::Tap)?;
    let _dhcp = start(&world)?;
    let running = world.serve(&[])?;
    let log = world.directory.path().join(format!("{name}.log"));
    let wait_for_ack = |number: usize| {
        wait_for(&format!("ACK {number}"), || {
            let count = fs::read_to_string(&log)?.matches(ack).count();
            Ok((count >= number).then(Instant::now))
        })
    };
    let mut before = wait_for_ack(1)?;
    for (number, secs) in (2..).zip(TIMES) {
        let after = wait_for_ack(number)?;
        let (waited, due) = (after - before, Duration::from_secs(secs));
        let log = fs::read_to_string(&log)?;
        ensure!(
            waited + Duration::from_secs(1) > due && waited < due + Duration::from_secs(2),
            "extended after {waited:?}, not {due:?}:\n{log}"
        );
        before = after;
        // From now on, the bridge drops frames to the server's MAC address: only broadcasts reach it.
        let link = shell(&world.theirs, "ip -o link show eth0")?;
        let (_, mac) = link.split_once("link/ether ").context("no MAC address")?;
        let (mac, _) = mac.split_once(' ').context("no MAC address")?;
        shell(
            &world.ours,
            &format!("bridge fdb replace {mac} dev tap0 master static sticky"),
        )?;
    }
    running.stop()
}
