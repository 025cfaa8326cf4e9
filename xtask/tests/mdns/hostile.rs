//! Malformed datagrams from neighbours, and contradictory arguments, against the running programs.

use super::world::World;
use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use nix::unistd::Pid;
use simple_dns::rdata::RData;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::build::{self, Arch};
use xtask::clients::dns::{self, GROUP, Message, PORT, Querier, TYPE};
use xtask::machines::server::Namespace;
use xtask::setup;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Number of datagrams that are sent of each kind to each destination.
const COUNT: usize = 500;

/// A raw socket that sends UDP datagrams with forged headers.
struct Forger(OwnedFd);

impl Forger {
    fn new() -> Result<Self> {
        let protocol = SockProtocol::Udp;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Raw, flags, protocol);
        Ok(Self(socket.context("cannot forge datagrams")?))
    }

    /// Sends `payload` from port `from`. A `checksum` of 0 means that the datagram has none.
    fn send(&self, from: u16, to: Ipv4Addr, checksum: u16, payload: &[u8]) -> Result<()> {
        let len = 8 + payload.len() as u16;
        let head = [from, PORT, len, checksum].map(u16::to_be_bytes);
        let datagram = [head.as_flattened(), payload].concat();
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        sendto(self.0.as_raw_fd(), &datagram, &to, MsgFlags::empty())?;
        Ok(())
    }
}

/// Number of UDP datagrams that our host's kernel has delivered, and the number that it dropped because of a wrong checksum.
fn received(world: &World) -> Result<[u64; 2]> {
    let mut command = world.ours.command("cat");
    let output = command.arg("/proc/net/snmp").output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let mut line = || Some(lines.next()?.split_whitespace());
    let (names, counts) = line().zip(line()).context("nothing is counted")?;
    let counts: Vec<_> = names.zip(counts).collect();
    let find = |wanted| -> Result<u64> {
        let found = counts.iter().find(|(name, _)| *name == wanted);
        let (_, count) = found.with_context(|| format!("no {wanted}: {text}"))?;
        Ok(count.parse()?)
    };
    Ok([find("InDatagrams")?, find("InCsumErrors")?])
}

/// CVE-2008-5081, CVE-2010-2244, CVE-2011-1002: empty datagrams, source port 0 and wrong checksums, by multicast and by unicast.
#[test]
fn empty_or_malformed_datagrams_are_ignored() -> Result<()> {
    let world = World::new()?;
    let route = ["route", "add", "224.0.0.0/4", "dev", "eth0"];
    setup::run_captured(world.theirs.command("ip").args(route))?;
    let responder = world.announce(&["--name", "box"])?;
    let watch = world.browse(&["-p", "_x._tcp"])?;
    responder.wait_for("announced box.local")?;
    let (forger, querier) = world
        .theirs
        .run(|| Ok((Forger::new()?, Querier::one_shot(THEIRS)?)))?;
    let [before, broken_before] = received(&world)?;
    let question = dns::query(0, &[("box.local", TYPE::A)]);
    for _ in 0..COUNT {
        for to in [GROUP, OURS] {
            forger.send(PORT, to, 0, b"")?;
            forger.send(0, to, 0, b"")?;
            forger.send(0, to, 0, &question)?;
            forger.send(PORT, to, 0xdead, &question)?;
            forger.send(40_000, to, 0xdead, b"")?;
        }
        sleep(Duration::from_millis(1));
    }
    // The responder receives this query after all other datagrams.
    querier.send(&dns::query(3, &[("box.local", TYPE::A)]))?;
    let is_answer = |message: &Message| message.is_response && message.id == 3;
    let (answer, _) = querier
        .wait_for(Duration::from_secs(5), is_answer)?
        .context("the responder no longer answers")?;
    ensure!(answer.find("box.local", TYPE::A).is_some(), "{answer:?}");
    let [after, broken] = received(&world)?;
    // The forged datagrams reached our host's kernel, which delivered some and dropped others for their checksums.
    let counts = [after - before, broken - broken_before];
    ensure!(
        counts.iter().all(|count| *count > COUNT as u64),
        "{counts:?}"
    );
    // Neither program spins, even if the kernel woke it for a datagram that it then dropped.
    for pid in [responder.pid(), watch.pid()] {
        let cpu_ns = || -> Result<String> {
            let status = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
            Ok(status.split(' ').next().unwrap_or_default().to_owned())
        };
        sleep(Duration::from_millis(200));
        let before = cpu_ns()?.parse::<u64>()?;
        sleep(Duration::from_secs(1));
        let spent = Duration::from_nanos(cpu_ns()?.parse::<u64>()? - before);
        ensure!(spent < Duration::from_millis(50), "{pid}: {spent:?}");
    }
    watch.stop()?;
    responder.stop()
}

/// Avahi e3b58622: a legacy query from a link-local IPv6 address is answered by unicast, on the same link.
#[test]
fn legacy_query_from_link_local_address_is_answered() -> Result<()> {
    const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    let world = World::new()?;
    let responder = world.announce(&["--name", "box"])?;
    responder.wait_for("announced box.local")?;
    let (socket, link) = world.theirs.run(|| {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok((socket, if_nametoindex("eth0")?))
    })?;
    let question = dns::query(7, &[("box.local", TYPE::AAAA)]);
    socket.send_to(&question, SocketAddrV6::new(GROUP_V6, PORT, 0, link))?;
    let mut buffer = [0; 9000];
    let (len, from) = socket.recv_from(&mut buffer).context("no answer")?;
    let answer = Message::parse(&buffer[..len])?;
    let record = answer.find("box.local", TYPE::AAAA).context("no address")?;
    let SocketAddr::V6(from) = from else {
        anyhow::bail!("{from}");
    };
    ensure!(
        answer.id == 7 && from.port() == PORT && from.scope_id() == link,
        "{from}"
    );
    // The reply comes from the address that its AAAA record contains.
    let RData::AAAA(address) = &record.rdata else {
        anyhow::bail!("{record:?}");
    };
    ensure!(
        address.address == from.ip().to_bits(),
        "{record:?} from {from}"
    );
    responder.stop()
}

/// Returns a function that makes a command for a role of the full build, on a host without a network.
fn on(host: &Namespace) -> Result<impl Fn(&str, &[&str]) -> Command> {
    let file = build::build(Arch::X86_64)?;
    let enter = host.enter();
    Ok(move |role: &str, words: &[&str]| {
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(&file).arg(role).args(words);
        command
    })
}

/// Starts a program that may not end by itself; returns it with its command line.
fn spawn_quietly(mut command: Command) -> Result<(String, Child)> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((format!("{command:?}"), child))
}

/// CVE-2025-68276, CVE-2026-34933: every combination of flags, contradictory ones included. Each program refuses its arguments or
/// runs until SIGTERM; none crashes.
#[test]
fn contradictory_flags_never_crash() -> Result<()> {
    let host = Namespace::new()?;
    let (on_host, mut children) = (on(&host)?, Vec::new());
    for (role, flags, words) in [
        (
            "publish",
            "saRf",
            [
                &["box", "_x._tcp", "1"][..],
                &["box.local", "192.0.2.7"],
                &[],
            ],
        ),
        ("resolve", "na46", [&["box.local"], &["192.0.2.7"], &[]]),
        (
            "browse",
            "abrlpc",
            [&["_x._tcp"], &["-t"], &["--json", "-d", "LOCAL."]],
        ),
    ] {
        for mask in 0..1 << flags.len() {
            let chosen = flags.char_indices().filter(|(at, _)| mask >> at & 1 != 0);
            let chosen: Vec<String> = chosen.map(|(_, flag)| format!("-{flag}")).collect();
            for words in words {
                let all = chosen
                    .iter()
                    .map(String::as_str)
                    .chain(words.iter().copied());
                children.push(spawn_quietly(on_host(role, &all.collect::<Vec<_>>()))?);
            }
        }
    }
    // Refused arguments end a program at once. Programs that still wait for an answer or announce get SIGTERM.
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut counts = [0; 3];
    for (words, mut child) in children {
        let mut status = child.try_wait()?;
        while status.is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
            status = child.try_wait()?;
        }
        if status.is_none() {
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
        }
        let status = child.wait()?;
        let code = status.code().and_then(|code| counts.get_mut(code as usize));
        *code.with_context(|| format!("{words} ended with {status}"))? += 1;
    }
    println!("done, failed, refused: {counts:?}");
    ensure!(counts.iter().all(|count| *count > 10), "{counts:?}");
    Ok(())
}
