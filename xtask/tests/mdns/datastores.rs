//! Virtual machines on storage that several hosts share, or that does not answer.

use super::bridge::Bridges;
use super::world::{Process, World, ours};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use simple_dns::rdata::RData;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::clients::dns::{self, Message, Querier, TYPE};
use xtask::machines::faulty::Faulty;
use xtask::machines::mounts;
use xtask::machines::server::{Namespace, public_dir};

const HOST_COUNT: usize = 5;
const MACHINE_COUNT: usize = 100;
/// Maximum number of lines that a host may log.
const LINE_COUNT_MAX: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn uuid(number: usize) -> String {
    format!("564d8a1c-5e2f-3b4c-9d0e-{number:012x}")
}

/// Writes the VMX files of all machines; those of even numbers have the lock of a running machine.
fn write_tree(tree: &Path) -> Result<()> {
    for number in 0..MACHINE_COUNT {
        let dir = tree.join(format!("vm-{number}"));
        fs::create_dir_all(&dir)?;
        fs::write(
            dir.join("a.vmx"),
            format!(
                "displayName = \"vm-{number}\"\nguestOS = \"other\"\nuuid.bios = \"{}\"\n",
                uuid(number)
            ),
        )?;
        if number % 2 == 0 {
            fs::write(dir.join("a.vmx.lck"), "")?;
        }
    }
    Ok(())
}

/// Writes the lists of the machines whose number modulo the number of hosts is `host`, in the format of ESXi, libvirt (host 3) or
/// Proxmox (host 4). Even machines run.
fn write_lists(host: usize, tree: &Path, lists: &Path) -> Result<()> {
    let mut esxi = "<ConfigRoot>\n".to_owned();
    let dirs = [
        "etc/vmware/hostd",
        "etc/libvirt/qemu",
        "run/libvirt/qemu",
        "etc/pve/qemu-server",
        "run/qemu-server",
    ];
    for dir in dirs {
        fs::create_dir_all(lists.join(dir))?;
    }
    for number in (host..MACHINE_COUNT).step_by(HOST_COUNT) {
        let (uuid, is_running) = (uuid(number), number % 2 == 0);
        let domain = format!(
            "<domain type='kvm'>\n  <name>vm-{number}</name>\n  <uuid>{uuid}</uuid>\n</domain>\n"
        );
        let status =
            format!("<domstatus state='running' reason='booted' pid='7'>\n{domain}</domstatus>\n");
        match host {
            3 => {
                fs::write(
                    lists.join(format!("etc/libvirt/qemu/vm-{number}.xml")),
                    domain,
                )?;
                if is_running {
                    fs::write(
                        lists.join(format!("run/libvirt/qemu/vm-{number}.xml")),
                        status,
                    )?;
                }
            }
            4 => {
                let text = format!("name: vm-{number}\nostype: other\nsmbios1: uuid={uuid}\n");
                fs::write(
                    lists.join(format!("etc/pve/qemu-server/{number}.conf")),
                    text,
                )?;
                if is_running {
                    fs::write(lists.join(format!("run/qemu-server/{number}.pid")), "7\n")?;
                }
            }
            _ => writeln!(
                esxi,
                "  <ConfigEntry id=\"{number:04}\">\n    <objID>{number}</objID>\n    <vmxCfgPath>{}/vm-{number}/a.vmx</vmxCfgPath>\n  </ConfigEntry>",
                tree.display()
            )?,
        }
    }
    if host < 3 {
        fs::write(
            lists.join("etc/vmware/hostd/vmInventory.xml"),
            esxi + "</ConfigRoot>\n",
        )?;
    }
    Ok(())
}

/// Starts the responder of a host whose /etc and /run are those in `root`.
fn announce(namespace: &Namespace, host: usize, tree: &Path, root: &Path) -> Result<Process> {
    let inner = ours(namespace, "mdns")?;
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$R/etc\" /etc && mount --bind \"$R/run/libvirt\" /run/libvirt && mount --bind \"$R/run/qemu-server\" /run/qemu-server && exec \"$0\" \"$@\"";
    // `ip netns exec` needs /run/netns, so only the directories of the lists are mounted in /run.
    for dir in ["/run/libvirt", "/run/qemu-server"] {
        fs::create_dir_all(dir)?;
    }
    for dir in ["etc", "run/libvirt", "run/qemu-server"] {
        fs::create_dir_all(root.join(dir))?;
    }
    command
        .env("R", root)
        .args(["--mount", "sh", "-c", script])
        .arg(inner.get_program())
        .args(inner.get_args())
        .args(["--name", &format!("host-{host}"), "--vms"])
        .arg(tree);
    Process::logging(command)
}

/// Asks all hosts for machines, and adds the hosts that announce each, with the machine's SRV target and TXT strings.
fn ask(querier: &Querier, seen: &mut BTreeMap<String, BTreeSet<(IpAddr, String)>>) -> Result<()> {
    querier.send(&dns::query(0, &[("_vm._tcp.local", TYPE::PTR)]))?;
    let (end, mut buffer) = (Instant::now() + Duration::from_secs(2), [0; 9000]);
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        let Some((bytes, from)) = querier.receive_from(&mut buffer, rest)? else {
            break;
        };
        let message = Message::parse(bytes)?;
        for record in &message.records {
            if let RData::PTR(target) = &record.rdata
                && record.name.to_string() == "_vm._tcp.local"
                && message.is_response
                && from.is_ipv4()
            {
                let entry = seen.entry(target.0.to_string()).or_default();
                match record.ttl {
                    0 => entry.retain(|(host, _)| *host != from.ip()),
                    _ => _ = entry.insert((from.ip(), target.0.to_string())),
                }
            }
        }
    }
    Ok(())
}

/// Starts all hosts, with or without lists. Checks that each machine is announced by one host, which is that of `number` modulo the
/// number of hosts if there are lists, and that no name was changed.
fn machines_have_one_host(has_lists: bool) -> Result<()> {
    let (bridges, scratch) = (Bridges::new(1)?, public_dir()?);
    let tree = scratch.path().join("tree");
    write_tree(&tree)?;
    let (client, address) = bridges.host(100, 0)?;
    let querier = client.run(|| Querier::with_mdns_port(address))?;
    let mut hosts = Vec::new();
    for host in 0..HOST_COUNT {
        hosts.push(bridges.host(host as u8 + 1, 0)?.0);
    }
    let mut responders = Vec::new();
    for (host, namespace) in hosts.iter().enumerate() {
        let root = scratch.path().join(format!("root-{host}"));
        if has_lists {
            write_lists(host, &tree, &root)?;
        }
        responders.push(announce(namespace, host, &tree, &root)?);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut seen = BTreeMap::new();
        ask(&querier, &mut seen)?;
        let is_single = seen.values().all(|hosts| hosts.len() == 1);
        if seen.len() == MACHINE_COUNT && is_single {
            for (name, hosts) in &seen {
                let number: usize = name
                    .trim_start_matches("vm-")
                    .trim_end_matches("._vm._tcp.local")
                    .parse()
                    .with_context(|| format!("{name} was renamed"))?;
                let host = Ipv4Addr::new(192, 0, 2, (number % HOST_COUNT) as u8 + 1);
                let is_its = hosts.iter().all(|(from, _)| *from == host);
                ensure!(!has_lists || is_its, "{name}: {hosts:?}");
            }
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{} machines: {seen:?}",
            seen.len()
        );
    }
    // A host does not repeat over IPv4 a record that it multicast less than 1 s before (RFC 6762 section 6). The browser would hear
    // that record over IPv6 only, and its next query would list the record as known.
    std::thread::sleep(Duration::from_secs(1));
    let output = ours(&client, "browse")?
        .args(["-rptk", "_vm._tcp"])
        .output()?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    for number in 0..MACHINE_COUNT {
        let start = format!("=;eth0;IPv4;vm-{number};");
        let line = output.lines().find(|line| line.starts_with(&start));
        let line = line.with_context(|| format!("no {start} in:\n{output}"))?;
        let is_running = line.contains("\"state=running\"");
        ensure!(
            is_running == (number % 2 == 0) && line.contains(&uuid(number)),
            "{line}"
        );
    }
    let mut announced = 0;
    for responder in responders {
        let line = responder.wait_for("virtual machines below")?;
        let (_, rest) = line.split_once("announcing ").context("no number")?;
        let number: usize = rest.split(' ').next().unwrap_or_default().parse()?;
        announced += number;
        let of_all = format!("{number} of {MACHINE_COUNT} virtual");
        let is_right = has_lists || number == MACHINE_COUNT || rest.starts_with(&of_all);
        let log = responder.stop_and_read()?;
        let is_repeated = ["is now called", "virtual machine", "not announce"]
            .iter()
            .any(|part| log.contains(part));
        ensure!(is_right && !is_repeated, "{line}\n{log}");
        ensure!(log.lines().count() <= LINE_COUNT_MAX, "{log}");
        println!("{line}\n{log}");
    }
    ensure!(announced == MACHINE_COUNT, "{announced} machines reported");
    Ok(())
}

#[test]
fn machines_on_shared_storage_have_one_host() -> Result<()> {
    machines_have_one_host(false)
}

#[test]
fn listed_machines_are_announced_by_their_host() -> Result<()> {
    machines_have_one_host(true)
}

/// The datastore no longer answers. The host and its machines stay announced, the silence is reported once, and SIGTERM ends the
/// responder.
#[test]
fn silent_datastore_does_not_stop_the_responder() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    mounts::private("a file system that does not answer", || {
        let (world, faulty) = (World::new()?, Faulty::mount(path)?);
        fs::write(path.join("a.vmx"), "displayName = \"Alpha\"\n")?;
        let querier = world
            .theirs
            .run(|| Querier::one_shot(Ipv4Addr::new(192, 0, 2, 2)))?;
        let responder = world.announce(&["--name", "box", "--vms", &path.to_string_lossy()])?;
        responder.wait_for_all(&["announcing 1 virtual machines", "announced box.local"])?;
        let frozen = faulty.freeze();
        let (start, mut slowest) = (Instant::now(), Duration::ZERO);
        let mut id = 0;
        // A scan begins every 10 s; the silence is reported 10 s later.
        while start.elapsed() < Duration::from_secs(25) {
            for (name, kind) in [("box.local", TYPE::A), ("_vm._tcp.local", TYPE::PTR)] {
                id += 1;
                querier.send(&dns::query(id, &[(name, kind)]))?;
                let is_answer = |message: &Message| message.find(name, kind).is_some();
                let answer = querier.wait_for(Duration::from_secs(2), is_answer)?;
                let (_, took) = answer.with_context(|| format!("{name} was not answered"))?;
                slowest = slowest.max(took);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let stopped = Instant::now();
        kill(responder.pid(), Signal::SIGTERM)?;
        let log = responder.read_all()?;
        println!(
            "slowest answer {slowest:?}, ended {:?} after SIGTERM",
            stopped.elapsed()
        );
        ensure!(
            stopped.elapsed() < Duration::from_secs(5),
            "{:?}",
            stopped.elapsed()
        );
        ensure!(log.matches("no answer for 10 s").count() == 1, "{log}");
        drop(frozen);
        Ok(())
    })
}
