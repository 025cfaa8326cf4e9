//! Path MTU discovery: a client behind routers with a smaller MTU reads a file.

use super::world::{Link, World, shell, wait_for};
use anyhow::{Result, ensure};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use xtask::clients::nfs;
use xtask::machines::server::{Namespace, ip};

/// Length of each READ, in bytes.
const READ_BYTES: u32 = 1 << 20;

/// A client behind two routers: `World::theirs`, and another one. The link between the routers has an MTU of 1,400 bytes.
struct Client {
    host: Namespace,
    _router: Namespace,
}

impl Client {
    fn new(world: &World) -> Result<Self> {
        let (host, router) = (Namespace::new()?, Namespace::new()?);
        let [near, far, client] = [&world.theirs, &router, &host].map(Namespace::name);
        ip(&format!(
            "link add far netns {near} mtu 1400 type veth peer name near netns {far} mtu 1400"
        ))?;
        ip(&format!(
            "link add client netns {far} type veth peer name eth0 netns {client}"
        ))?;
        let forward =
            "for family in ipv4 ipv6; do echo 1 > /proc/sys/net/$family/conf/all/forwarding; done";
        shell(
            &world.theirs,
            &format!(
                "{forward}
                 ip addr add 198.51.100.1/24 dev far; ip addr add fd00:1::1/64 dev far nodad
                 ip link set far up
                 ip route add 203.0.113.0/24 via 198.51.100.2; ip route add fd00:2::/64 via fd00:1::2"
            ),
        )?;
        shell(
            &router,
            &format!(
                "{forward}
                 ip addr add 198.51.100.2/24 dev near; ip addr add fd00:1::2/64 dev near nodad
                 ip addr add 203.0.113.1/24 dev client; ip addr add fd00:2::1/64 dev client nodad
                 ip link set near up; ip link set client up
                 ip route add default via 198.51.100.1; ip route add default via fd00:1::1"
            ),
        )?;
        shell(
            &host,
            "ip addr add 203.0.113.2/24 dev eth0; ip addr add fd00:2::2/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 203.0.113.1; ip route add default via fd00:2::1",
        )?;
        Ok(Self {
            host,
            _router: router,
        })
    }
}

/// The client reads the file `first` of the server at `own` over a path with an MTU of 1,400 bytes.
fn read_file(link: Link, own: IpAddr, prefix: u8) -> Result<()> {
    let world = World::new(link)?;
    let client = Client::new(&world)?;
    let export = world.files().display().to_string();
    let running = world.start(
        "nfs",
        &["--ip", &format!("{own}/{prefix}"), "--export", &export],
    )?;
    let expected = fs::read(world.files().join("first"))?;
    client.host.run(|| {
        let server = SocketAddr::new(own, 2049);
        let mut nfs = wait_for("a connection", || Ok(nfs::Client::connect(server).ok()))?;
        let root = nfs.mount(&export)?;
        let file = nfs.lookup(&root, "first")?;
        let mut read = Vec::<u8>::new();
        while read.len() < expected.len() {
            let (data, is_end) = nfs.read(&file, read.len() as u64, READ_BYTES)?;
            ensure!(!data.is_empty(), "end of file: {is_end}");
            read.extend(data);
        }
        ensure!(read == expected, "the file's contents differ");
        Ok(())
    })?;
    running.stop()
}

#[test]
fn path_mtu_is_found_over_ipv4() -> Result<()> {
    for link in [Link::Packet, Link::Cable] {
        read_file(link, Ipv4Addr::new(192, 0, 2, 1).into(), 24)?;
    }
    Ok(())
}

#[test]
fn path_mtu_is_found_over_ipv6() -> Result<()> {
    for link in [Link::Packet, Link::Cable] {
        read_file(link, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(), 64)?;
    }
    Ok(())
}
