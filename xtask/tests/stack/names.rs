//! Multicast DNS over a link without IPv4, beside avahi, which has the name already, and a neighbor in the group ff02::fb.

use super::world::{Link, PATIENCE, World, shell};
use crate::mdns::world::{Avahi, Process, wait_for_v6};
use anyhow::{Context as _, Result, ensure};
use simple_dns::rdata::{AAAA, RData};
use simple_dns::{QTYPE, TYPE};
use std::net::Ipv6Addr;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::dns::{Message, Querier, query, query_with_known_answers};

/// Stowaway's address, and its name after the conflict.
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const NAME: &str = "box-2.local";
/// Time in which an answer arrives, and for which a multicast record is not sent again (RFC 6762 section 6).
const SECOND: Duration = Duration::from_millis(1200);

#[test]
fn names_work_beside_avahi_without_ipv4() -> Result<()> {
    let start = |world: &World| world.serve(&["--ip", "fd00::1/64"]);
    work_without_ipv4(Link::Packet, start, Process::stop)
}

/// Returns true if the message has stowaway's address under this name.
fn has_address(message: &Message, name: &str) -> bool {
    let is_ours = |data: &RData<'_>| matches!(data, RData::AAAA(AAAA { address }) if Ipv6Addr::from(*address) == ADDRESS);
    let mut records = message.records.iter();
    records.any(|record| record.name.to_string() == name && is_ours(&record.rdata))
}

/// Waits for a query for all records of `name` that proposes stowaway's address, from now on.
fn expect_probe(neighbor: &Querier, name: &str) -> Result<()> {
    let is_probe = |message: &Message| {
        let mut questions = message.questions.iter();
        let is_asked = questions
            .any(|question| question.qtype == QTYPE::ANY && question.qname.to_string() == name);
        !message.is_response && is_asked && has_address(message, name)
    };
    let probe = neighbor.wait_for(PATIENCE, is_probe)?;
    probe.with_context(|| format!("no probe for {name}"))?;
    Ok(())
}

/// Checks probes, conflict, answers, known answers and goodbyes. `start` starts stowaway as `box` with the address fd00::1/64,
/// `stop` stops it.
pub fn work_without_ipv4<T>(
    link: Link,
    start: impl FnOnce(&World) -> Result<T>,
    stop: impl FnOnce(T) -> Result<()>,
) -> Result<()> {
    let world = World::new(link)?;
    shell(&world.theirs, "ip -4 addr flush dev eth0")?;
    wait_for_v6(&world.theirs, "eth0")?;
    let avahi = Avahi::start_on(&world.theirs, "box", world.directory.path())?;
    let neighbor = world.theirs.run(|| Querier::over_ipv6("eth0"))?;
    let running = start(&world)?;
    expect_probe(&neighbor, "box.local")?;
    expect_probe(&neighbor, NAME)?;
    let is_answer = |message: &Message| message.is_response && has_address(message, NAME);
    let announcement = neighbor.wait_for(PATIENCE, is_answer)?;
    announcement.context("no announcement")?;
    let log = avahi.log();
    ensure!(!log.contains("conflict"), "avahi gave its name up:\n{log}");
    let resolve = |name| {
        let output = avahi.wait_for_output(&["avahi-resolve", "-6", "-n", name], &["\t"])?;
        anyhow::Ok(output.split_whitespace().nth(1).map(str::to_owned))
    };
    let both = [resolve("box.local")?, resolve(NAME)?];
    ensure!(both[0] != both[1], "one host has both names: {both:?}");
    let watch = avahi.watch("_nfs._tcp")?;
    watch.wait_for("+;eth0;IPv6;")?;

    while neighbor.wait_for(SECOND, is_answer)?.is_some() {}
    let ask = || {
        neighbor.send(&query(0, &[(NAME, TYPE::AAAA)]))?;
        neighbor.wait_for(SECOND, is_answer)?.context("no answer")
    };
    let (answer, _) = ask()?;
    sleep(SECOND);
    neighbor.send(&query_with_known_answers(NAME, TYPE::AAAA, &answer))?;
    let repeated = neighbor.wait_for(SECOND, is_answer)?;
    ensure!(repeated.is_none(), "a known answer was sent: {repeated:?}");
    ask()?;

    stop(running)?;
    watch.wait_for("-;eth0;IPv6;")?;
    Ok(())
}
