//! Several hosts on bridged links, with avahi and python-zeroconf as peers. Our own multicasts that return through a bridge
//! cause no name conflict.

use super::world::{Avahi, Process};
use anyhow::{Result, ensure};
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;
use xtask::machines::server::{Namespace, ip};
use xtask::setup::{self, PythonPackage};

/// A namespace with Linux bridges. Each bridge is a link of its own until `join` connects two.
pub(super) struct Bridges {
    switch: Namespace,
}

impl Bridges {
    /// Creates `count` separate bridges.
    pub(super) fn new(count: usize) -> Result<Self> {
        setup::install_packages(&["iproute2", "avahi-daemon", "avahi-utils", "dbus-daemon"])?;
        let switch = Namespace::new()?;
        let name = switch.name();
        for bridge in 0..count {
            // No IGMP/MLD snooping: the bridge forwards all multicast.
            ip(&format!(
                "-n {name} link add br{bridge} type bridge mcast_snooping 0"
            ))?;
            ip(&format!("-n {name} link set br{bridge} up"))?;
        }
        Ok(Self { switch })
    }

    /// Connects the first two bridges by a veth pair, so that they form one link.
    fn join(&self) -> Result<()> {
        let name = self.switch.name();
        ip(&format!(
            "-n {name} link add join0 type veth peer name join1"
        ))?;
        for (port, bridge) in [("join0", 0), ("join1", 1)] {
            ip(&format!("-n {name} link set {port} master br{bridge}"))?;
            ip(&format!("-n {name} link set {port} up"))?;
        }
        Ok(())
    }

    /// Plugs a host's interface into a bridge.
    fn plug(&self, host: &Namespace, eth: &str, address: Ipv4Addr, bridge: usize) -> Result<()> {
        let (name, switch) = (host.name(), self.switch.name());
        let port = format!("p{}", address.octets()[3]);
        ip(&format!(
            "link add {eth} netns {name} type veth peer name {port} netns {switch}"
        ))?;
        ip(&format!("-n {switch} link set {port} master br{bridge} up"))?;
        let without_dad = format!("echo 0 > /proc/sys/net/ipv6/conf/{eth}/accept_dad");
        setup::run_captured(host.command("sh").args(["-c", &without_dad]))?;
        ip(&format!("-n {name} addr add {address}/24 dev {eth}"))?;
        ip(&format!("-n {name} link set {eth} up"))?;
        // Route for programs that do not choose an interface themselves.
        setup::run_captured(host.command("ip").args([
            "route",
            "replace",
            "224.0.0.0/4",
            "dev",
            eth,
        ]))?;
        Ok(())
    }

    /// Creates a host with one interface, at 192.0.2.`number`.
    pub(super) fn host(&self, number: u8, bridge: usize) -> Result<(Namespace, Ipv4Addr)> {
        let (host, address) = (Namespace::new()?, Ipv4Addr::new(192, 0, 2, number));
        self.plug(&host, "eth0", address, bridge)?;
        Ok((host, address))
    }
}

const SERVICE: &str = "_sftp-ssh._tcp";

/// Announces a service by python-zeroconf until it is dropped.
fn zeroconf_announces(host: &Namespace, address: Ipv4Addr) -> Result<Process> {
    let script = "import socket, sys, time\n\
        from zeroconf import ServiceInfo, Zeroconf\n\
        kind, address = sys.argv[1] + '.local.', sys.argv[2]\n\
        net = Zeroconf(interfaces=[address])\n\
        net.register_service(ServiceInfo(kind, 'snake.' + kind, port=2222, properties={'by': 'python'},\n\
            addresses=[socket.inet_aton(address)], server='snake.local.'))\n\
        print('announced', flush=True)\n\
        time.sleep(600)\n";
    let mut python = host.command(PythonPackage::PYTHON);
    python
        .env("PYTHONPATH", PythonPackage::ZEROCONF.path()?)
        .args(["-c", script, SERVICE, &address.to_string()]);
    let watch = Process::printing(python)?;
    watch.wait_for("announced")?;
    Ok(watch)
}

/// Our responder has an interface on each of two links, with avahi on the first and python-zeroconf on the second.
#[test]
fn each_link_sees_its_own_address() -> Result<()> {
    let (bridges, scratch) = (Bridges::new(2)?, tempfile::tempdir()?);
    let ours = Namespace::new()?;
    bridges.plug(&ours, "eth0", Ipv4Addr::new(192, 0, 2, 1), 0)?;
    bridges.plug(&ours, "eth1", Ipv4Addr::new(198, 51, 100, 7), 1)?;
    let (theirs, _) = bridges.host(2, 0)?;
    let python = Namespace::new()?;
    let python_address = Ipv4Addr::new(198, 51, 100, 3);
    bridges.plug(&python, "eth0", python_address, 1)?;
    let avahi = Avahi::start_on(&theirs, "other", scratch.path())?;
    let _published = avahi.publish(&["bird", SERVICE, "2223", "by=avahi"])?;
    let _snake = zeroconf_announces(&python, python_address)?;
    let words = [
        "--name",
        "box",
        "--service",
        "ship,_sftp-ssh._tcp,22,by=us",
        "--service",
        "boat,_sftp-ssh._tcp,22,interface=eth1",
    ];
    let responder = Process::responder(&ours, &words)?;
    responder.wait_for("announced box.local")?;
    // avahi lists our service with addresses of both families, and its own service, and nothing of the second link.
    let seen = avahi.wait_for_output(
        &["avahi-browse", "-rtp", SERVICE],
        &[
            "=;eth0;IPv4;ship;SFTP File Transfer;local;box.local;192.0.2.1;22;\"by=us\"",
            "=;eth0;IPv6;ship;SFTP File Transfer;local;box.local;",
            "=;eth0;IPv4;bird;SFTP File Transfer;local;other.local;192.0.2.2;2223;",
        ],
    )?;
    ensure!(
        ["snake", "198.51", "boat"]
            .iter()
            .all(|part| !seen.contains(part)),
        "{seen}"
    );
    // Our browser lists all services, each with its interface.
    let watch = Process::browser(&ours, &["-r", "-p", "-k", SERVICE])?;
    watch.wait_for_all(&[
        "=;eth0;IPv4;bird;_sftp-ssh._tcp;local;other.local;192.0.2.2;2223;\"by=avahi\"",
        "=;eth0;IPv6;bird;_sftp-ssh._tcp;local;other.local;fe80::",
        "=;eth0;IPv4;ship;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;",
        "=;eth1;IPv4;ship;_sftp-ssh._tcp;local;box.local;198.51.100.7;22;",
        "=;eth1;IPv4;boat;_sftp-ssh._tcp;local;box.local;198.51.100.7;22;",
        "=;eth1;IPv4;snake;_sftp-ssh._tcp;local;snake.local;198.51.100.3;2222;\"by=python\"",
    ])?;
    // python-zeroconf resolves our service to the address on the second link.
    let mut browser = python.command(PythonPackage::PYTHON);
    let look = include_str!("zeroconf.py").replace("192.0.2.2", &python_address.to_string());
    browser
        .env("PYTHONPATH", PythonPackage::ZEROCONF.path()?)
        .args(["-c", &look, "_sftp-ssh._tcp.local."]);
    let found = Process::printing(browser)?;
    let line = found.wait_for("+ ship._sftp-ssh._tcp.local. box.local.:22 [by=us]")?;
    ensure!(
        line.contains(" 198.51.100.7") && !line.contains("192.0.2."),
        "{line}"
    );
    responder.stop()
}

/// Our host has two interfaces. The test joins their bridges to one link, so that each interface receives the multicasts that the
/// other sends. The responder must not take these for another host's.
#[test]
fn own_packets_that_return_are_no_conflict() -> Result<()> {
    let (bridges, scratch) = (Bridges::new(2)?, tempfile::tempdir()?);
    bridges.join()?;
    let ours = Namespace::new()?;
    bridges.plug(&ours, "eth0", Ipv4Addr::new(192, 0, 2, 1), 0)?;
    bridges.plug(&ours, "eth1", Ipv4Addr::new(192, 0, 2, 7), 1)?;
    let (theirs, _) = bridges.host(2, 0)?;
    let avahi = Avahi::start_on(&theirs, "other", scratch.path())?;
    let words = ["--name", "box", "--service", "ship,_sftp-ssh._tcp,22,by=us"];
    let responder = Process::responder(&ours, &words)?;
    responder.wait_for("announced box.local")?;
    sleep(Duration::from_secs(5));
    avahi.wait_for_output(&["avahi-resolve", "-4", "-n", "box.local"], &["192.0.2."])?;
    let seen = avahi.wait_for_output(
        &["avahi-browse", "-rtp", SERVICE],
        &["=;eth0;IPv4;ship;SFTP File Transfer;local;box.local;192.0.2."],
    )?;
    ensure!(
        !seen.contains("box-2") && !seen.contains("ship\\032"),
        "{seen}"
    );
    // The responder has kept its name.
    let output = responder.stop_and_read()?;
    ensure!(!output.contains("is now called"), "{output}");
    Ok(())
}
