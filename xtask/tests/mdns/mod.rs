//! The multicast DNS roles, tested with avahi and python-zeroconf on links of network namespaces.

mod bridge;
pub(crate) mod browse;
pub(crate) mod conflicts;
mod datastores;
mod exec;
mod files;
mod hostile;
mod interfaces;
mod load;
mod naming;
mod one_process;
mod poor;
mod ports;
mod publish;
mod reread;
pub(crate) mod resolve;
mod same_host;
mod serve;
pub(crate) mod world;
mod zeroconf;

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::Ipv4Addr;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use world::{Avahi, World};
use xtask::clients::dns::{Message, Querier};
use xtask::setup;

/// Arguments of a responder with a service, a workstation record and a device-info record.
const WORDS: [&str; 7] = [
    "--name",
    "box",
    "--service",
    r"My Files\, all,_sftp-ssh._tcp,22,u=me,path=/srv",
    "--workstation",
    "--hwid",
    "Maker,Thing",
];

/// Lines that avahi-browse prints for these services.
const SEEN: [&str; 5] = [
    r#"=;eth0;IPv4;My\032Files\044\032all;SFTP File Transfer;local;box.local;192.0.2.1;22;"path=/srv" "u=me""#,
    r"=;eth0;IPv6;My\032Files\044\032all;SFTP File Transfer;local;box.local;",
    "=;eth0;IPv4;box;Workstation;local;box.local;192.0.2.1;9;",
    r#";box;Device Info;local;box.local;192.0.2.1;0;"vendor=Maker" "model=Thing""#,
    "=;eth0;IPv6;box;Device Info;local;box.local;",
];

/// Checks all that avahi's tools can query: services, both addresses, and the reverse mapping.
fn avahi_sees_all(avahi: &Avahi) -> Result<()> {
    avahi.wait_for_output(&["avahi-browse", "-artp"], &SEEN)?;
    avahi.wait_for_output(
        &["avahi-resolve", "-n", "box.local"],
        &["box.local\t192.0.2.1"],
    )?;
    avahi.wait_for_output(
        &["avahi-resolve", "-6", "-n", "box.local"],
        &["box.local\tfe80::"],
    )?;
    avahi.wait_for_output(
        &["avahi-resolve", "-a", "192.0.2.1"],
        &["192.0.2.1\tbox.local"],
    )?;
    Ok(())
}

#[test]
fn avahi_sees_host_services_and_hardware() -> Result<()> {
    avahi_sees_us(&World::new()?)
}

pub(crate) fn avahi_sees_us(world: &World) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let avahi = Avahi::start(world, "other", scratch.path())?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    avahi_sees_all(&avahi)?;
    responder.stop()
}

#[test]
fn zeroconf_sees_services_and_addresses() -> Result<()> {
    let world = World::new()?;
    let kinds =
        ["_sftp-ssh", "_device-info", "_workstation"].map(|kind| format!("{kind}._tcp.local."));
    let watch = zeroconf::browse(&world, &kinds.each_ref().map(String::as_str))?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    // zeroconf prints the TXT strings in brackets (an empty TXT record as "="), and the addresses of both families.
    watch.wait_for_all(&[
        "+ My Files, all._sftp-ssh._tcp.local. box.local.:22 [path=/srv,u=me] 192.0.2.1 fe80::",
        "+ box._device-info._tcp.local. box.local.:0 [model=Thing,vendor=Maker] 192.0.2.1 fe80::",
        "+ box._workstation._tcp.local. box.local.:9 [=] 192.0.2.1 fe80::",
    ])?;
    responder.stop()?;
    watch.wait_for("- My Files, all._sftp-ssh._tcp.local.")?;
    Ok(())
}

#[test]
fn sigterm_removes_services_from_browsers_at_once() -> Result<()> {
    check_goodbye(&World::new()?)
}

fn check_goodbye(world: &World) -> Result<()> {
    const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    /// Time in which a goodbye removes a service from a list. Caches keep its records for one more second (RFC 6762 section 10.1);
    /// the rest is for the list's programs on a busy machine. Without a goodbye, the PTR record would expire after 75 minutes.
    const REMOVED_MAX: Duration = Duration::from_secs(10);
    let scratch = tempfile::tempdir()?;
    let route = ["route", "add", "224.0.0.0/4", "dev", "eth0"];
    setup::run_captured(world.theirs.command("ip").args(route))?;
    let neighbour = world.theirs.run(|| Querier::with_mdns_port(THEIRS))?;
    let avahi = Avahi::start(world, "other", scratch.path())?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let lists = [
        (avahi.watch("_sftp-ssh._tcp")?, ";eth0;IPv4;My"),
        (
            zeroconf::browse(world, &["_sftp-ssh._tcp.local."])?,
            " My Files, all",
        ),
        (
            world.browse_from_theirs(&["-p", "_sftp-ssh._tcp"])?,
            ";eth0;IPv4;My",
        ),
    ];
    for (list, name) in &lists {
        list.wait_for(&format!("+{name}"))?;
    }
    let is_goodbye = |message: &Message| {
        let mut records = message.records.iter();
        records.any(|record| record.name.to_string() == "_sftp-ssh._tcp.local" && record.ttl == 0)
    };
    let asked = Instant::now();
    // Times are taken while the responder ends: the kernel may need seconds to free its mount namespace while others are freed.
    let goodbye = spawn(move || {
        let goodbye = neighbour.wait_for(REMOVED_MAX, is_goodbye)?;
        goodbye.context("no goodbye").map(|_| asked.elapsed())
    });
    let lists = lists.map(|(list, name)| {
        spawn(move || list.wait_for(&format!("-{name}")).map(|_| asked.elapsed()))
    });
    responder.stop()?;
    let sent_after = goodbye.join().expect("the neighbour panicked")?;
    let gone = lists.map(|list| list.join().expect("a reader panicked"));
    let times = format!("goodbye after {sent_after:?}, removed from the lists after {gone:?}");
    println!("{times}");
    ensure!(sent_after < Duration::from_secs(1), "{times}");
    let is_removed = |gone: &Result<Duration>| gone.as_ref().is_ok_and(|gone| *gone < REMOVED_MAX);
    ensure!(gone.iter().all(is_removed), "{times}");
    Ok(())
}

#[test]
fn services_and_machines_are_read_from_files() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let (services, machines) = (scratch.path().join("services"), scratch.path().join("vms"));
    fs::create_dir_all(&services)?;
    fs::create_dir_all(machines.join("alpha"))?;
    fs::write(
        services.join("web.service"),
        "<?xml version=\"1.0\"?>\n<!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">\n<service-group>\n\
         <name replace-wildcards=\"yes\">Web on %h</name>\n<service><type>_http._tcp</type>\n\
         <subtype>_printer._sub._http._tcp</subtype><port>80</port><txt-record>path=/</txt-record></service>\n</service-group>\n",
    )?;
    fs::write(
        services.join("shell.dnssd"),
        "[Service]\nName=Shell on %H\nType=_ssh._tcp\nPort=22\nTxtText=a=b \"c=d e\"\n",
    )?;
    fs::write(
        services.join("broken.service"),
        "<service-group>\n<name>x</nam>\n",
    )?;
    fs::write(
        machines.join("alpha/alpha.vmx"),
        "displayName = \"Alpha Machine\"\nguestOS = \"debian12-64\"\n",
    )?;
    let (services, machines) = (services.to_string_lossy(), machines.to_string_lossy());
    let words = ["--name", "box", "--services", &services, "--vms", &machines];
    let responder = world.announce(&words)?;
    responder.wait_for("left out")?;
    responder.wait_for("announced box.local")?;
    let seen = avahi.wait_for_output(
        &["avahi-browse", "-artp"],
        &[
            r#"Web\032on\032box;Web Site;local;box.local;192.0.2.1;80;"path=/""#,
            r#"Shell\032on\032box;SSH Remote Terminal;local;box.local;192.0.2.1;22;"c=d e" "a=b""#,
            r#"Alpha\032Machine;_vm._tcp;local;box.local;192.0.2.1;0;"guest=debian12-64" "path=/"#,
        ],
    )?;
    ensure!(seen.contains("/vms/alpha/alpha.vmx"), "{seen}");
    avahi.wait_for_output(
        &["avahi-browse", "-tp", "_printer._sub._http._tcp"],
        &[r"Web\032on\032box"],
    )?;
    responder.stop()
}

/// The VMX file is moved out of the directory, as when a virtual machine migrates to another host: the service is withdrawn here.
#[test]
fn changed_vmx_files_update_announcements() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let vms = scratch.path().join("vms");
    fs::create_dir_all(&vms)?;
    let responder = world.announce(&["--name", "box", "--vms", &vms.to_string_lossy()])?;
    responder.wait_for("announced box.local")?;
    let watch = avahi.watch("_vm._tcp")?;
    fs::write(vms.join("a.vmx"), "displayName = \"Alpha\"\n")?;
    watch.wait_for("+;eth0;IPv4;Alpha;")?;
    fs::write(
        vms.join("a.vmx"),
        "displayName = \"Alpha\"\nguestOS = \"other\"\n",
    )?;
    avahi.wait_for_output(
        &["avahi-browse", "-rtp", "_vm._tcp"],
        &["Alpha;_vm._tcp;local;box.local;192.0.2.1;0;\"guest=other\""],
    )?;
    fs::rename(vms.join("a.vmx"), scratch.path().join("a.vmx"))?;
    watch.wait_for("-;eth0;IPv4;Alpha;")?;
    responder.stop()
}

/// The responder announces a new address, and withdraws a removed one. After the link was down, it announces the host again.
#[test]
fn changed_addresses_update_announcements() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let change = |words: &[&str]| -> Result<()> {
        let status = world.ours.command("ip").args(words).status()?;
        ensure!(status.success(), "ip {words:?}");
        Ok(())
    };
    change(&["addr", "add", "192.0.2.7/24", "dev", "eth0"])?;
    change(&["addr", "del", "192.0.2.1/24", "dev", "eth0"])?;
    // The kernel removes the secondary addresses together with the first one.
    change(&["addr", "replace", "192.0.2.7/24", "dev", "eth0"])?;
    avahi.wait_for_output(&["avahi-resolve", "-4", "-n", "box.local"], &["192.0.2.7"])?;
    change(&["link", "set", "eth0", "down"])?;
    sleep(Duration::from_millis(500));
    change(&["link", "set", "eth0", "up"])?;
    change(&["addr", "replace", "192.0.2.8/24", "dev", "eth0"])?;
    avahi.wait_for_output(&["avahi-resolve", "-4", "-a", "192.0.2.8"], &["box.local"])?;
    responder.stop()
}
