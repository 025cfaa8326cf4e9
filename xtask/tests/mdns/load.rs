//! Memory and CPU at rest and under a flood of queries.

use super::world::{Process, World};
use anyhow::{Context as _, Result, ensure};
use nix::time::ClockId;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use xtask::build::{self, Arch};
use xtask::clients::dns::{self, Message, Querier, TYPE};
use xtask::setup;
use xtask::testing::{is_full_run, promised};

const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

/// Queries per second of the flood.
const FLOOD_RATE: u32 = 10_000;
/// Largest share of one processor during the flood.
const CPU_SHARE_MAX: f64 = 0.5;

const WORDS: [&str; 5] = [
    "--name",
    "box",
    "--service",
    "ship,_sftp-ssh._tcp,22",
    "--workstation",
];

/// The first number after `name` in a file of the process's /proc directory.
pub(super) fn field(responder: &Process, file: &str, name: &str) -> Result<u64> {
    let path = format!("/proc/{}/{file}", responder.pid());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no {name}"))
}

fn resident_kib(responder: &Process) -> Result<u64> {
    field(responder, "smaps_rollup", "Rss:")
}

pub(super) fn cpu(responder: &Process) -> Result<Duration> {
    Ok(ClockId::pid_cpu_clock_id(responder.pid())?.now()?.into())
}

/// Starts a responder and waits until it has sent both announcements.
fn at_rest(world: &World) -> Result<Process> {
    wait_for_rest(world.announce(&WORDS)?)
}

fn wait_for_rest(responder: Process) -> Result<Process> {
    responder.wait_for("announced box.local")?;
    sleep(Duration::from_secs(4));
    Ok(responder)
}

#[test]
fn idle_responder_never_wakes_up() -> Result<()> {
    let world = World::new()?;
    let file = build::build(Arch::X86_64)?;
    let mut command = world.ours.command(&file.to_string_lossy());
    command.arg("mdns").args(WORDS);
    let responder = wait_for_rest(Process::logging(command)?)?;
    let turns = || -> Result<_> {
        Ok((
            field(&responder, "status", "voluntary_ctxt_switches:")?,
            field(&responder, "status", "nonvoluntary_ctxt_switches:")?,
        ))
    };
    let (before, cpu_before) = (turns()?, cpu(&responder)?);
    let watched = Duration::from_secs(if is_full_run() { 120 } else { 10 });
    sleep(watched);
    // The kernel keeps VmRSS, which ps and top show, less exactly than the sum over all mappings.
    let resident = resident_kib(&responder)?.max(field(&responder, "status", "VmRSS:")?);
    println!(
        "resident {resident} KiB; after {watched:?} turns {before:?} -> {:?}",
        turns()?
    );
    ensure!(
        turns()? == before,
        "the responder woke up: {before:?} -> {:?}",
        turns()?
    );
    ensure!(
        cpu(&responder)? == cpu_before,
        "the responder used CPU time"
    );
    let most = promised("`mdns` at rest takes at most ", " KiB")?;
    ensure!(resident <= most, "{resident} KiB of {most}");
    responder.stop()
}

/// Three interfaces, then also 20 service files and 100 virtual machines.
#[test]
fn memory_limits_hold_with_interfaces_and_files() -> Result<()> {
    let (world, scratch) = (
        World::of_file(build::build(Arch::X86_64)?)?,
        tempfile::tempdir()?,
    );
    for number in [3, 4] {
        let add = format!(
            "ip link add more{number} type veth peer name peer{number} && ip link set peer{number} up && \
             ip addr add 192.0.{number}.1/24 dev more{number} && ip link set more{number} up"
        );
        setup::run_captured(world.ours.command("sh").args(["-c", &add]))?;
    }
    let (services, machines) = (scratch.path().join("services"), scratch.path().join("vms"));
    fs::create_dir_all(&services)?;
    for number in 0..20 {
        let service = format!(
            "<service-group><name>s{number}</name><service><type>_http._tcp</type><port>80</port></service></service-group>\n"
        );
        fs::write(services.join(format!("{number}.service")), service)?;
    }
    for number in 0..100 {
        let machine = machines.join(number.to_string());
        fs::create_dir_all(&machine)?;
        let vmx = format!(
            "displayName = \"machine {number}\"\nuuid.bios = \"56 4d 00 00 00 00 00 00-00 00 00 00 00 00 00 {number:02x}\"\n"
        );
        fs::write(machine.join("machine.vmx"), vmx)?;
    }
    let [services, machines] = [services, machines].map(|path| path.display().to_string());
    let files = [&WORDS[..], &["--services", &services, "--vms", &machines]].concat();
    let of_mdns = "`mdns` at rest takes at most ";
    for (words, most) in [
        (&WORDS[..], promised(of_mdns, " KiB")?),
        (&files, promised(" and ", " KiB with 20 service files")?),
    ] {
        let responder = wait_for_rest(world.announce(words)?)?;
        let resident = resident_kib(&responder)?.max(field(&responder, "status", "VmRSS:")?);
        println!("resident {resident} KiB of {most}");
        ensure!(resident <= most, "{resident} KiB of {most}: {words:?}");
        responder.stop()?;
    }
    Ok(())
}

/// Sends FLOOD_RATE queries per second from one address until `done` is set; returns their number.
fn flood(querier: &Querier, done: &AtomicBool) -> Result<u64> {
    let (start, mut sent) = (Instant::now(), 0);
    let known = dns::query(0, &[("box.local", TYPE::A)]);
    let pointer = dns::unicast_query(0, &[("_sftp-ssh._tcp.local", TYPE::PTR)]);
    let unknown = dns::query(
        0,
        &[("other.local", TYPE::A), ("x.local", TYPE::Unknown(255))],
    );
    while !done.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(FLOOD_RATE)) as u64;
        while sent < due {
            let question = [&known, &pointer, &unknown][(sent % 3) as usize];
            querier.send(question)?;
            sent += 1;
        }
        sleep(Duration::from_millis(1));
    }
    Ok(sent)
}

/// Time until a query is answered; retried after one second, up to three attempts.
fn time_to_answer(querier: &Querier, id: u16) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..3 {
        querier.send(&dns::query(id, &[("box.local", TYPE::A)]))?;
        let is_answer = |message: &Message| message.is_response && message.id == id;
        if let Some((message, _)) = querier.wait_for(Duration::from_secs(1), is_answer)? {
            ensure!(message.find("box.local", TYPE::A).is_some(), "{message:?}");
            return Ok(start.elapsed());
        }
    }
    anyhow::bail!("three queries got no answer")
}

#[test]
fn flood_of_queries_does_not_starve_neighbours() -> Result<()> {
    let world = World::new()?;
    for words in [
        ["addr", "add", "192.0.2.3/24", "dev", "eth0"],
        ["route", "add", "224.0.0.0/4", "dev", "eth0"],
    ] {
        setup::run_captured(world.theirs.command("ip").args(words))?;
    }
    let responder = at_rest(&world)?;
    let (flooder, neighbour) = world
        .theirs
        .run(|| Ok((Querier::with_mdns_port(THEIRS)?, Querier::one_shot(OTHER)?)))?;
    // The first answer may fault in a page or two, which must not count as growth.
    time_to_answer(&neighbour, 1)?;
    let (resident, cpu_before) = (resident_kib(&responder)?, cpu(&responder)?);
    let length = Duration::from_secs(if is_full_run() { 10 } else { 2 });
    let (start, done) = (Instant::now(), AtomicBool::new(false));
    let (sent, mut waited) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&flooder, &done));
        let mut waited = Vec::new();
        let asked = (|| {
            while start.elapsed() < length {
                sleep(Duration::from_millis(50));
                waited.push(time_to_answer(&neighbour, waited.len() as u16 + 2)?);
            }
            anyhow::Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        let sent = flooding.join().expect("the flood does not panic");
        asked.and(sent).map(|sent| (sent, waited))
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    let share = (cpu(&responder)? - cpu_before).as_secs_f64() / elapsed;
    waited.sort();
    let (middle, longest) = (waited[waited.len() / 2], waited[waited.len() - 1]);
    let after = resident_kib(&responder)?;
    println!(
        "{:.0} questions a second for {elapsed:.1} s: {:.1} % of a processor, resident {resident} -> {after} KiB; \
         {} queries of a neighbour were answered after {middle:?}, at most {longest:?}",
        sent as f64 / elapsed,
        share * 100.0,
        waited.len(),
    );
    // A busy machine sends fewer queries; their share of CPU time is smaller, too.
    let reached = sent as f64 / elapsed / f64::from(FLOOD_RATE);
    ensure!(reached > 0.25, "only {reached} of the rate was sent");
    ensure!(share < CPU_SHARE_MAX * reached, "{share} of a processor");
    ensure!(after == resident, "{resident} -> {after} KiB");
    responder.stop()
}
