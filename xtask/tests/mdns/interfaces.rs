//! A host with as many interfaces as a hypervisor with dozens of bridges.

use super::load::{cpu, field};
use super::world::{World, wait_for_v6};
use anyhow::{Context as _, Result, ensure};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Duration;
use xtask::setup;

/// Interfaces that are used: eth0 and v1 to v63.
const USED: usize = 64;

/// On 65 interfaces, responder and browser use the first 64 and report the other. Each link has the addresses of its interface
/// alone. At rest, the responder does not wake up.
#[test]
fn sixty_four_interfaces_are_announced_and_browsed() -> Result<()> {
    let world = World::new()?;
    let (mut ours, mut theirs) = (String::new(), String::new());
    for number in 1..=USED {
        let there = world.theirs.name();
        writeln!(
            ours,
            "ip link add v{number} type veth peer name v{number} netns {there}"
        )?;
        writeln!(ours, "ip addr add 10.0.{number}.1/24 dev v{number}")?;
        writeln!(theirs, "ip addr add 10.0.{number}.2/24 dev v{number}")?;
        for script in [&mut ours, &mut theirs] {
            writeln!(
                script,
                "echo 0 > /proc/sys/net/ipv6/conf/v{number}/accept_dad"
            )?;
            writeln!(script, "ip link set v{number} up")?;
        }
    }
    for (host, script) in [(&world.ours, &ours), (&world.theirs, &theirs)] {
        setup::run_captured(host.command("sh").args(["-ec", script]))?;
    }
    wait_for_v6(&world.ours, &format!("v{USED}"))?;
    let shown = world
        .ours
        .command("ip")
        .args(["-o", "addr", "show", "up"])
        .output()?;
    let mut expected = HashSet::new();
    for line in String::from_utf8(shown.stdout)?.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, name, family, address, ..] = words[..] else {
            anyhow::bail!("ip printed {line}");
        };
        let protocol = if family == "inet6" { "IPv6" } else { "IPv4" };
        let (address, _) = address
            .split_once('/')
            .context("an address without a prefix")?;
        if name != "lo" && name != format!("v{USED}") {
            expected.insert(format!(
                "=;{name};{protocol};ship;Web Site;local;box.local;{address};80;\"\""
            ));
        }
    }
    ensure!(expected.len() == 2 * USED, "{expected:?}");
    let responder = world.announce(&["--name", "box", "--service", "ship,_http._tcp,80"])?;
    responder.wait_for(&format!(
        "cannot use multicast DNS on v{USED}: too many interfaces"
    ))?;
    responder.wait_for("announced box.local")?;
    let found = world.browse_there_once(&["-artp"])?;
    let resolved = found.stdout.lines().filter(|line| line.starts_with("=;"));
    let resolved: HashSet<_> = resolved
        .map(|line| line.replace(";\"\"", ";") + "\"\"")
        .collect();
    let missing: Vec<_> = expected.difference(&resolved).collect();
    ensure!(
        resolved.len() == expected.len() && missing.is_empty(),
        "missing {missing:?} in {found:?}"
    );
    sleep(Duration::from_secs(4));
    let turns = || field(&responder, "status", "voluntary_ctxt_switches:");
    let before = (turns()?, cpu(&responder)?);
    sleep(Duration::from_secs(5));
    ensure!(
        (turns()?, cpu(&responder)?) == before,
        "the responder woke up"
    );
    println!("resident {} KiB", field(&responder, "status", "VmRSS:")?);
    responder.stop()
}
