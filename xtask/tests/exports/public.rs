//! Entries as public configurations have them, and Debian's sample: read as exportfs reads them, and the clients that they admit.

use super::{Exports, FILES, parse, test_file};
use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use xtask::clients::nfs::Client;
use xtask::machines::iso::{EXPORTFS, unpack_package};
use xtask::machines::mounts;
use xtask::machines::server::{Server, ServerOptions, ip, public_dir};
use xtask::setup;

/// Entries of one path each. They are read with the options that most configurations lack, `insecure`, so that tests can mount.
const ENTRIES: [&str; 62] = [
    "*(rw,sync,no_subtree_check,no_root_squash)",
    "*(rw,sync,no_subtree_check,root_squash,anonuid=1001,anongid=1001)",
    "192.0.2.0/24(rw,sync,no_subtree_check)",
    "10.0.0.0/24(rw,sync,no_subtree_check,no_root_squash,insecure)",
    "192.168.5.0/24(rw,sync,no_subtree_check) 192.168.6.0/24(ro,no_subtree_check)",
    "master(rw,sync,no_subtree_check) trusty(ro,sync,no_subtree_check)",
    "*(rw,no_root_squash,async)",
    "*(rw,no_root_squash,async,insecure,no_subtree_check)",
    "192.168.16.0/24(rw,async) *(ro)",
    "192.168.0.0/24(rw,no_root_squash,async)",
    "vegeta(rw,no_root_squash,async,nohide)",
    "* (ro,all_squash)",
    "10.0.0.1(rw,no_root_squash,async)",
    "192.168.2.0/24(rw,no_root_squash)",
    "192.168.2.0/24(ro,no_root_squash)",
    "10.0.0.0/8(ro,no_root_squash) 172.16.0.0/12(ro,no_root_squash) 192.168.0.0/16(ro,no_root_squash)",
    "192.168.122.0/255.255.255.0(ro,no_root_squash,sync)",
    "localhost(ro,no_root_squash,async,insecure,no_subtree_check)",
    "10.0.0.0/24(rw,async,no_subtree_check,insecure)",
    "192.168.1.104(rw,no_root_squash,no_all_squash,sync)",
    "*(rw,no_root_squash,fsid=0,crossmnt)",
    "192.0.2.0/255.255.255.0(rw,sync,fsid=9,crossmnt,no_subtree_check)",
    "10.0.1.5/24(rw,sync,no_subtree_check)",
    "192.168.2.0/24(fsid=1,rw,sync,no_wdelay,insecure,anonuid=1000,anongid=1000,all_squash)",
    "192.168.56.1(rw,async,no_subtree_check,insecure,all_squash,anonuid=1000,anongid=1000)",
    "*(rw,sync,no_subtree_check,no_root_squash,insecure,all_squash,anonuid=0,anongid=0)",
    "10.1.108.0/24(rw,nohide,subtree_check,insecure,all_squash,anonuid=0,async)",
    "10.1.0.0/16(ro,fsid=2,root_squash,no_subtree_check,hide)",
    "*(rw,insecure,all_squash,anonuid=33,anongid=33,sync,no_wdelay)",
    "192.168.19.0/255.255.255.0(rw,sync,no_subtree_check,insecure,all_squash,anonuid=1000,anongid=1000)",
    "10.244.0.0/16(rw,sync,insecure,all_squash,anonuid=1000,anongid=1000,no_subtree_check)",
    "*(rw,sync,no_subtree_check,no_auth_nlm,insecure,all_squash,anonuid=65534,anongid=65534)",
    "192.168.0.0/255.255.255.0(rw)",
    "192.168.0.211(ro) ",
    "192.168.2.0/255.255.255.0(rw,insecure,no_subtree_check,nohide)",
    "192.168.122.0/255.255.255.0(rw,anonuid=1000,anongid=1000)",
    "192.168.111.38/255.255.255.0(rw,sync,no_subtree_check)",
    "192.168.1.254/255.255.255.0(rw,async,no_wdelay,no_root_squash,insecure_locks,sec=sys,anonuid=1025,anongid=100)",
    "2001:db8::/48(rw,sync) 192.168.1.0/24(rw,sync)",
    "host1.lan.example(rw,sync,no_root_squash,no_subtree_check)",
    "*.lan.example(rw,sync,no_subtree_check,crossmnt)",
    "*.lan.example(rw,async,crossmnt,no_subtree_check)",
    "192.168.1.3(rw,no_root_squash,no_subtree_check) 192.168.1.0/24(ro,all_squash)",
    "192.168.1.0/24(ro,sync,no_subtree_check,all_squash,anonuid=1000,anongid=1000) 100.64.0.0/10(ro,sync,no_subtree_check,all_squash)",
    "192.168.122.0/24(ro,sync,no_root_squash)",
    "192.168.0.1/24(ro,no_subtree_check,insecure,sync)",
    "*.example.com(rw)",
    "*.example.com(rw,no_root_squash,no_subtree_check)",
    "*(rw,fsid=3,insecure,no_subtree_check,async,no_root_squash)",
    "192.168.1.0/24 100.65.84.102 (rw,no_subtree_check,nohide,insecure,crossmnt)",
    "*(ro,sync,no_wdelay,insecure_locks,no_root_squash,insecure,no_subtree_check)",
    "*(rw,async,no_wdelay,no_subtree_check,no_root_squash,insecure,fsid=4)",
    "-rw,no_root_squash,async 172.17.1.176",
    "-rw,no_root_squash,no_subtree_check,crossmnt 192.168.1.0/24 2001:db8:804::/64",
    "-rw,no_root_squash,sync,subtree_check * # LDAP:share",
    "host1.lan.example(rw) trusty(ro,insecure)",
    "*(rw,sync,root_squash,no_all_squash)",
    "client2.example.com(ro,sync)",
    "172.16.0.0/12(rw,sync,root_squash,no_subtree_check,anonuid=1001,anongid=1004)",
    "192.168.50.11/32(rw,sync,root_squash)",
    "fc00:1:1::/48(rw,nohide,insecure,no_subtree_check,async,no_root_squash,fsid=5)",
    "10.10.2.0/24(rw,nohide,insecure,no_subtree_check) 10.10.3.0/24(rw,nohide) 100.97.94.63(rw,nohide,insecure)",
];
/// The clients, as /etc/hosts has them. Every client has a name, so that no name server is asked.
const CLIENTS: &str = "127.0.0.1 localhost\n192.0.2.9 master\n192.0.2.10 trusty\n192.0.2.11 pc001\n192.0.2.12 server\n192.168.1.3 host1.lan.example host1\n\
    192.168.1.104 host2.lan.example\n192.168.0.211 client2.example.com\n192.168.2.7 vegeta\n10.0.0.1 node1.example.com\n\
    10.0.1.77 n2.other.example\n10.1.108.4 n3.sub.example.com\n172.16.3.3 n4.lan.example.com\n100.65.84.102 n5\n\
    192.168.122.9 n6\n172.17.1.176 n7\n192.168.5.5 n8\n192.168.6.6 n9\n192.168.56.1 n10\n10.10.3.9 n11\n";
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Writes single hosts as addresses: exportfs prefers the name that /etc/hosts has for an address.
fn by_address(exports: Exports) -> Exports {
    let address = |hosts: String| {
        let mut lines = CLIENTS.lines();
        let line = lines.find(|line| line.split_whitespace().skip(1).any(|name| name == hosts));
        let address = line.and_then(|line| line.split_whitespace().next());
        let hosts = address.map_or(hosts, str::to_owned);
        hosts.trim_end_matches("/32").to_owned()
    };
    let all = exports.into_iter();
    all.map(|(path, hosts, options)| (path, address(hosts), options))
        .collect()
}

/// Returns the rank of hosts that contain the client; `None`: they do not.
fn rank(hosts: &str, client: Ipv4Addr, names: &[&str]) -> Option<u8> {
    if hosts == "*" {
        return Some(3);
    }
    if let Some((network, bits)) = hosts.split_once('/') {
        let (network, bits): (Ipv4Addr, u32) = (network.parse().ok()?, bits.parse().ok()?);
        let differs = (u32::from(network) ^ u32::from(client)).leading_zeros() < bits;
        return (!differs).then_some(1);
    }
    if let Ok(address) = hosts.parse::<Ipv4Addr>() {
        return (address == client).then_some(0);
    }
    match hosts.strip_prefix('*') {
        Some(end) => names.iter().any(|name| name.ends_with(end)).then_some(2),
        None => names.contains(&hosts).then_some(0),
    }
}

/// Returns true if the entries of exportfs let the client mount from a port above 1023.
fn admits(exports: &Exports, path: &str, client: Ipv4Addr, names: &[&str]) -> bool {
    let of_path = exports.iter().filter(|(of, ..)| of == path);
    let matching =
        of_path.filter_map(|(_, hosts, options)| Some((rank(hosts, client, names)?, options)));
    let best = matching.min_by_key(|(rank, _)| *rank);
    best.is_some_and(|(_, options)| {
        options
            .get("ports")
            .is_some_and(|ports| ports == "insecure")
    })
}

/// Mounts each directory from each client.
fn mount_from_all(server: &Server, theirs: &Exports, dir: &Path) -> Result<()> {
    let mut count = [0; 2];
    for line in CLIENTS.lines() {
        let mut words = line.split_whitespace();
        let client: Ipv4Addr = words.next().context("no address")?.parse()?;
        let names: Vec<_> = words.collect();
        if !client.is_loopback() {
            ip(&format!("addr add {client}/32 dev lo"))?;
        }
        let mut connection = Client::connect_from(client, (SERVER, server.nfs_port).into())?;
        for (number, entry) in ENTRIES.iter().enumerate() {
            let path = format!("{}/p{number}", dir.display());
            let expect = admits(theirs, &path, client, &names);
            let mounted = connection.mount(&path);
            ensure!(mounted.is_ok() == expect, "{client} {entry}: {mounted:?}");
            count[usize::from(expect)] += 1;
        }
    }
    println!("{} mounts were answered, {} refused", count[1], count[0]);
    ensure!(count.iter().all(|count| *count > 100));
    Ok(())
}

#[test]
fn public_entries_admit_the_clients_that_exportfs_names() -> Result<()> {
    setup::install_packages(&["nfs-common"])?;
    let package = unpack_package(EXPORTFS)?;
    let exportfs = package.join("usr/sbin/exportfs").display().to_string();
    mounts::private("a network", || {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network")?;
        ip("link set lo up")?;
        ip(&format!("addr add {SERVER}/32 dev lo"))?;
        let dir = public_dir()?;
        let path = |name: &str| dir.path().join(name);
        for name in ["state", "etc"] {
            fs::create_dir(path(name))?;
        }
        fs::write(path("etc/hosts"), CLIENTS)?;
        fs::write(path("etc/nsswitch.conf"), "hosts: files\n")?;
        fs::write(path("etc/resolv.conf"), "search lan.example\n")?;
        let here = dir.path().display();
        let bind = format!(
            "mkdir -p /var/lib/nfs && mount --bind {here}/state /var/lib/nfs && mount --bind {here}/etc/hosts /etc/hosts && \
             mount --bind {here}/etc/resolv.conf /etc/resolv.conf"
        );
        setup::run_captured(Command::new("sh").args(["-c", &bind]))?;
        let read = |text: &str| -> Result<Exports> {
            fs::write(path("etc/exports"), text)?;
            fs::write(path("state/etab"), "")?;
            let script = format!("mount --bind {here}/etc /etc && exec {exportfs} -ra");
            // exportfs warns about most of the entries.
            Command::new("unshare")
                .args(["-m", "sh", "-c", &script])
                .output()?;
            let theirs = by_address(parse(&fs::read_to_string(path("state/etab"))?)?);
            let ours = by_address(parse(&test_file(&path("etc/exports"))?)?);
            let differing: Vec<_> = ours.symmetric_difference(&theirs).collect();
            ensure!(
                differing.is_empty(),
                "{text} is read in two ways: {differing:#?}"
            );
            Ok(theirs)
        };
        for file in FILES {
            ensure!(!read(file)?.is_empty(), "{file}");
        }
        let sample = package.join("usr/share/nfs-kernel-server/conffiles/etc.exports");
        ensure!(read(&fs::read_to_string(sample)?)?.is_empty());
        let mut text = String::new();
        for (number, entry) in ENTRIES.iter().enumerate() {
            fs::create_dir(path(&format!("p{number}")))?;
            text += &format!("{here}/p{number} {entry}\n");
        }
        read(&text)?;
        let text = text.replace(" -rw", " -insecure,rw");
        let theirs = read(&text.replace('(', "(insecure,"))?;
        let file = path("etc/exports").display().to_string();
        let server = Server::start(ServerOptions {
            arguments: vec!["-e".into(), file],
            address: SERVER,
            ..ServerOptions::default()
        })?;
        mount_from_all(&server, &theirs, dir.path())
    })
}
