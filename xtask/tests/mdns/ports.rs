//! Source ports and destination addresses of our multicast DNS messages.

use super::world::World;
use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use xtask::clients::dns::{self, Message, Querier, TYPE};
use xtask::setup;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A querier on the other host that sends from port 5353, as a multicast DNS querier does.
fn neighbour(world: &World) -> Result<Querier> {
    let mut ip = world.theirs.command("ip");
    setup::run_captured(ip.args(["route", "add", "224.0.0.0/4", "dev", "eth0"]))?;
    world.theirs.run(|| Querier::with_mdns_port(THEIRS))
}

/// Waits for the next query of our host; returns it with its source address.
fn next_query(querier: &Querier) -> Result<(Message, SocketAddr)> {
    next_message(querier, false)
}

/// Waits for the next response of our host; returns it with its source address.
fn next_response(querier: &Querier) -> Result<(Message, SocketAddr)> {
    next_message(querier, true)
}

fn next_message(querier: &Querier, is_response: bool) -> Result<(Message, SocketAddr)> {
    let (deadline, mut buffer) = (Instant::now() + Duration::from_secs(40), [0; 9000]);
    while Instant::now() < deadline {
        let received = querier.receive_from(&mut buffer, Duration::from_secs(1))?;
        if let Some((datagram, from)) = received
            && from.ip() == OURS
        {
            let message = Message::parse(datagram)?;
            if message.is_response == is_response {
                return Ok((message, from));
            }
        }
    }
    anyhow::bail!("no such message within 40 s")
}

/// RFC 6762 section 6: "The source UDP port in all Multicast DNS responses MUST be 5353", "The destination UDP port in all
/// Multicast DNS responses MUST be 5353".
#[test]
fn probes_and_responses_use_port_5353() -> Result<()> {
    let world = World::new()?;
    let neighbour = neighbour(&world)?;
    let responder = world.announce(&["--name", "box"])?;
    // Checks the source port of a probe, an announcement, a multicast answer and a unicast answer. Their destination port is also
    // 5353, because the neighbour receives them there.
    ensure!(next_query(&neighbour)?.1.port() == dns::PORT);
    ensure!(next_response(&neighbour)?.1.port() == dns::PORT);
    responder.wait_for("announced box.local")?;
    next_response(&neighbour)?;
    for query in [dns::query, dns::unicast_query] {
        neighbour.send(&query(0, &[("box.local", TYPE::A)]))?;
        let (message, from) = next_response(&neighbour)?;
        ensure!(from.port() == dns::PORT, "{from}");
        message.find("box.local", TYPE::A).context("no answer")?;
    }
    // The reply to a legacy query, which comes from a port other than 5353, is also sent from port 5353.
    let stranger = world.theirs.run(|| Querier::one_shot(THEIRS))?;
    stranger.send(&dns::query(9, &[("box.local", TYPE::A)]))?;
    let (message, from) = next_response(&stranger)?;
    ensure!(from.port() == dns::PORT && message.id == 9, "{from}");
    responder.stop()
}

/// RFC 6762 section 3: "Any DNS query for a name ending with ".local." MUST be sent to the mDNS IPv4 link-local multicast address
/// 224.0.0.251 (or its IPv6 equivalent FF02::FB)."
/// RFC 6762 section 4: "Any DNS query for a name ending with "254.169.in-addr.arpa." MUST be sent to" these.
/// RFC 6762 section 4: "Likewise, any DNS query for a name within the reverse mapping domains for IPv6 link-local addresses".
/// RFC 6762 section 5.2: "MUST send its Multicast DNS queries from UDP source port 5353 (the well-known port assigned to mDNS)".
#[test]
fn queries_go_from_port_5353_to_both_groups() -> Result<()> {
    let world = World::new()?;
    // Sockets bound to the groups receive no unicast.
    let sockets = world.theirs.run(|| {
        let link = if_nametoindex("eth0")?;
        let v4 = UdpSocket::bind((dns::GROUP, dns::PORT))?;
        v4.join_multicast_v4(&dns::GROUP, &THEIRS)?;
        let v6 = UdpSocket::bind(SocketAddrV6::new(dns::GROUP_V6, dns::PORT, 0, link))?;
        v6.join_multicast_v6(&dns::GROUP_V6, link)?;
        Ok([v4, v6])
    })?;
    let names = ["h.local", "9.0.254.169.in-addr.arpa", ".0.8.e.f.ip6.arpa"];
    thread::scope(|scope| {
        for words in [["-n", "h.local"], ["-a", "169.254.0.9"], ["-a", "fe80::9"]] {
            let world = &world;
            scope.spawn(move || world.resolve(&words));
        }
    });
    for socket in &sockets {
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let (mut buffer, mut asked) = ([0; 9000], Vec::new());
        // The queries sent during the resolves are in the socket's buffer.
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            ensure!(from.port() == dns::PORT, "{from}");
            let message = Message::parse(&buffer[..len])?;
            asked.extend(message.questions.iter().map(|it| it.qname.to_string()));
        }
        for name in names {
            let is_asked = asked.iter().any(|asked| asked.ends_with(name));
            ensure!(is_asked, "{name} at {:?}: {asked:?}", socket.local_addr());
        }
    }
    Ok(())
}
