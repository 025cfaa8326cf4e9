//! A resolver between a tree and a scripted network, with virtual time.

use super::message::Answer;
use super::*;
use crate::config::{NAME_REFRESH, NAME_RETRY_SECS_MAX};
use crate::event::testing::Sink;
use crate::vfs::{Client, FsError, FsResult, Peer, Room, Rules};
use crate::wire::dns::{CLASS_IN, Head, Name, Section, Writer, flag, kind};
use crate::wire::exports::hosts;
use std::boxed::Box;

/// A look-up must end before the rules are known.
const UNDECIDED: FsError = FsError::AwaitsNames;
/// No server has answered the look-up.
const UNANSWERED: FsError = FsError::TryLater;

/// The behaviour of the name servers.
type Zone = fn(name: &str, kind: u16) -> Reply;

#[derive(Clone)]
enum Reply {
    /// No answer.
    Silence,
    /// Records: their types and values.
    Records(&'static [(u16, &'static str)]),
    Code(u16),
    /// A truncated answer.
    Truncated,
    /// Records of another name.
    Other(&'static str),
}

struct Bench {
    now: Instant,
    tree: Tree,
    events: Events,
    sink: Sink,
    /// Lines of the sink that [`Self::lines`] has returned.
    line_count: usize,
    resolver: Resolver,
    zone: Zone,
    /// Time (ms) that servers take.
    delay_ms: u32,
    /// Every question: the server, the name and its type.
    asked: Vec<(SocketAddr, String, u16)>,
    /// Answers that have not arrived yet.
    queue: Vec<(Instant, u16, SocketAddr, Vec<u8>)>,
}

fn text_of(name: Name<'_>) -> String {
    let labels: Vec<_> = name.labels().map(String::from_utf8_lossy).collect();
    labels.join(".")
}

fn wire_of(name: &str) -> Vec<u8> {
    let mut buffer = [0; 300];
    let len = dns::escape::parse(name.as_bytes(), &mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn labels(writer: &mut dyn FnMut(&mut dyn Iterator<Item = dns::Label<'_>>), name: &str) {
    let wire = wire_of(name);
    writer(&mut Name::of(&wire).unnumbered());
}

/// Writes the answer to a question.
fn answer(id: u16, name: &str, kind: u16, reply: &Reply) -> Vec<u8> {
    let mut buffer = [0; 1500];
    let mut writer = Writer::new(&mut buffer, id, flag::RESPONSE);
    let asked = match reply {
        Reply::Other(other) => other,
        _ => name,
    };
    labels(
        &mut |labels| _ = writer.question(labels, kind, CLASS_IN),
        asked,
    );
    let mut owner = asked.to_owned();
    match reply {
        Reply::Code(code) => writer.flag(*code),
        Reply::Truncated => writer.flag(flag::TRUNCATED),
        Reply::Other(_) => add(&mut writer, &owner, kind::A, "192.0.2.66"),
        Reply::Records(records) => {
            for (kind, value) in *records {
                add(&mut writer, &owner, *kind, value);
                if *kind == kind::CNAME {
                    owner = (*value).to_owned();
                }
            }
        }
        Reply::Silence => {}
    }
    let len = writer.finish();
    buffer[..len].to_vec()
}

fn add(writer: &mut Writer<'_>, owner: &str, kind: u16, value: &str) {
    let data = match value.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.octets().to_vec(),
        Ok(IpAddr::V6(address)) => address.octets().to_vec(),
        Err(_) => wire_of(value),
    };
    let head = Head {
        kind,
        class: CLASS_IN,
        ttl: 60,
    };
    labels(
        &mut |labels| {
            writer.record(Section::Answer, labels, head, &mut |writer| {
                writer.put(&data);
            });
        },
        owner,
    );
}

impl Bench {
    /// A bench whose tree exports /srv to these hosts.
    fn new(entries: &[&str], conf: &str, zone: Zone) -> Self {
        let mut tree = Tree::default();
        tree.reserve(&Room {
            paths: 2,
            entries: 8192,
            names: 4096,
            bytes: 200_000,
        });
        let sink = Sink::default();
        let mut bench = Self {
            now: Instant::from_ms(1_000_000),
            tree,
            events: Events::new(Box::new(sink.clone())),
            sink,
            line_count: 0,
            resolver: Resolver::new([7; 16], 4096, true),
            zone,
            delay_ms: 1,
            asked: Vec::new(),
            queue: Vec::new(),
        };
        bench.resolver.set_socket_count(8);
        let config = Config::parse(conf.as_bytes(), b"", &|_| 0);
        bench.resolver.set_config(config);
        bench.export(entries);
        bench
    }

    fn export(&mut self, entries: &[&str]) {
        for (line, entry) in entries.iter().enumerate() {
            let client = Client {
                hosts: hosts(entry.as_bytes()).unwrap(),
                rules: Rules::DEFAULT,
            };
            self.tree.add_client(b"/srv", &client).unwrap();
            self.tree.locate_name(b"/etc/exports", (line as u32 + 1, 6));
        }
        self.tree.replace_clients(&mut |_, _, _| ());
        self.resolver.restart(self.now, &mut self.tree);
    }

    /// Sends the due questions, and queues the answers.
    fn send(&mut self) {
        if self.tree.take_new_peer() {
            self.resolver.wake(self.now);
        }
        let mut out = [0; 512];
        while let Some(sent) =
            self.resolver
                .next_question_due(self.now, &mut self.tree, &mut self.events, &mut out)
        {
            let message = Message::parse(&out[..sent.len]).unwrap();
            let question = message.questions().next().unwrap();
            let (name, kind) = (text_of(question.name), question.kind);
            let has_edns = message.records().next().is_some();
            self.asked.push((sent.to, name.clone(), kind));
            let reply = (self.zone)(&name, kind);
            let reply = match reply {
                // A server without EDNS.
                Reply::Code(1) if !has_edns => Reply::Records(&[(kind::A, "192.0.2.11")]),
                reply => reply,
            };
            if matches!(reply, Reply::Silence) {
                continue;
            }
            let at = self.now.after(Duration::from_ms(self.delay_ms));
            let from = match sent.to.ip() {
                ip if ip.is_multicast() => "192.0.2.99:5353".parse().unwrap(),
                ip => SocketAddr::new(ip, sent.to.port()),
            };
            let bytes = answer(message.id(), &name, kind, &reply);
            self.queue.push((at, sent.from.socket, from, bytes));
        }
    }

    /// Lets this time pass.
    fn run(&mut self, ms: u32) {
        let end = self.now.after(Duration::from_ms(ms));
        loop {
            self.send();
            let arrives = self.queue.iter().map(|(at, ..)| *at).min();
            let next = self
                .resolver
                .poll_at()
                .min(arrives.unwrap_or(Instant::NEVER));
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            while let Some(at) = self.queue.iter().position(|(at, ..)| *at <= self.now) {
                let (_, socket, from, bytes) = self.queue.remove(at);
                let (tree, events) = (&mut self.tree, &mut self.events);
                self.resolver
                    .handle(self.now, (socket, from), &bytes, tree, events);
            }
        }
        self.now = end;
    }

    fn rules(&mut self, from: &str) -> FsResult<()> {
        let peer = Peer::new(SocketAddr::new(from.parse().unwrap(), 700));
        self.tree.rules(0, &peer).map(drop)
    }

    /// Checks that these clients, and no others, are admitted.
    fn check(&mut self, admitted: &[&str], refused: &[&str]) {
        for from in admitted {
            assert_eq!(self.rules(from), Ok(()), "{from}");
        }
        for from in refused {
            assert_eq!(self.rules(from), Err(FsError::Stale), "{from}");
        }
    }

    /// The lines reported since the last call.
    fn lines(&mut self) -> Vec<String> {
        let lines = self.sink.lines().split_off(self.line_count);
        self.line_count += lines.len();
        lines
    }

    fn names_asked(&mut self) -> Vec<String> {
        let asked = core::mem::take(&mut self.asked);
        asked
            .into_iter()
            .map(|(to, name, kind)| format!("{} {name} {kind}", to.ip()))
            .collect()
    }
}

const CONF: &str = "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example b.example\n";

fn usual(name: &str, kind: u16) -> Reply {
    Reply::Records(match (name, kind) {
        ("one.a.example", kind::A) => &[(kind::A, "192.0.2.1"), (kind::A, "192.0.2.2")],
        ("one.a.example", kind::AAAA) => &[(kind::AAAA, "2001:db8::1")],
        ("two.b.example", kind::A) => &[(kind::CNAME, "real.example"), (kind::A, "192.0.2.3")],
        ("two.b.example" | "six.example", kind::AAAA) | ("six.example", kind::A) => &[],
        ("old.example", kind::A) => return Reply::Code(1),
        ("cut.example", _) => return Reply::Truncated,
        ("lie.example", _) => return Reply::Other("other.example"),
        ("slow.example" | "7.2.0.192.in-addr.arpa", _) => return Reply::Silence,
        ("4.2.0.192.in-addr.arpa", _) => &[
            (kind::PTR, "liar.wild.example"),
            (kind::PTR, "n4.wild.example"),
        ],
        ("5.2.0.192.in-addr.arpa", _) => &[(kind::PTR, "liar.wild.example")],
        ("n4.wild.example", kind::A) => &[(kind::A, "192.0.2.4")],
        ("liar.wild.example", kind::A) => &[(kind::A, "192.0.2.200")],
        ("box.local", kind::A) => &[(kind::A, "192.0.2.9")],
        ("9.2.0.192.in-addr.arpa", _) => return Reply::Code(3),
        _ => return Reply::Code(3),
    })
}

#[test]
fn names_resolve_by_search_list_alias_and_family() {
    let mut bench = Bench::new(&["one", "two", "six.example", "old.example"], CONF, usual);
    assert_eq!(bench.rules("192.0.2.1"), Err(UNDECIDED));
    bench.run(100);
    let admitted = [
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "192.0.2.3",
        "192.0.2.11",
    ];
    bench.check(&admitted, &["192.0.2.4", "2001:db8::2"]);
    let asked = bench.names_asked();
    assert!(asked.iter().any(|text| text == "10.0.0.1 two.a.example 1"));
    let lines = bench.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("unknown host /etc/exports:3:6 six.example: neither"),
        "{lines:?}"
    );
    // Again after five minutes, without a message.
    bench.run(NAME_REFRESH.as_ms() as u32 - 200);
    assert!(bench.names_asked().is_empty());
    bench.run(400);
    assert!(!bench.names_asked().is_empty());
    assert!(bench.lines().is_empty());
}

#[test]
fn netgroup_is_not_looked_up_and_matches_nobody() {
    let mut bench = Bench::new(&["@trusted", "@all*"], CONF, usual);
    bench.check(&[], &["192.0.2.1"]);
    bench.run(100);
    bench.check(&[], &["192.0.2.1"]);
    assert!(bench.names_asked().is_empty());
    assert!(bench.lines().is_empty());
}

#[test]
fn hosts_file_precedes_name_servers() {
    let mut bench = Bench::new(&["one", "*.home"], CONF, usual);
    let text = b"192.0.2.70 gate.home gate One # x\n2001:db8::70 one\n";
    bench.resolver.hosts_buffer()[..text.len()].copy_from_slice(text);
    bench.resolver.set_hosts(text.len());
    assert_eq!(bench.rules("192.0.2.70"), Err(UNDECIDED));
    bench.run(10);
    bench.check(&["192.0.2.70", "2001:db8::70"], &[]);
    assert!(bench.names_asked().is_empty());
}

#[test]
fn client_without_forward_confirmation_is_refused() {
    let mut bench = Bench::new(&["*.wild.example"], CONF, usual);
    bench.run(10);
    for from in ["192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"] {
        assert_eq!(bench.rules(from), Err(UNDECIDED), "{from}");
    }
    bench.run(1900);
    bench.check(&["192.0.2.4"], &["192.0.2.5", "192.0.2.6"]);
    // No answer: a MNT waits for two seconds, other calls are sent away.
    assert_eq!(bench.rules("192.0.2.7"), Err(UNDECIDED));
    bench.run(200);
    bench.check(&["192.0.2.4"], &["192.0.2.5"]);
    assert_eq!(bench.rules("192.0.2.7"), Err(UNANSWERED));
    // Remembered for five minutes, and refreshed without a pause if it was used.
    bench.names_asked();
    bench.run(NAME_REFRESH.as_ms() as u32);
    let asked = bench.names_asked();
    assert!(
        asked
            .iter()
            .any(|text| text.contains(" 4.2.0.192.in-addr.arpa"))
    );
    bench.check(&["192.0.2.4"], &[]);
}

#[test]
fn wrong_or_truncated_answers_are_ignored() {
    let mut bench = Bench::new(
        &["lie.example", "cut.example", "one.a.example"],
        CONF,
        usual,
    );
    bench.run(25_000);
    bench.check(&["192.0.2.1"], &[]);
    assert_eq!(bench.rules("192.0.2.66"), Err(UNANSWERED));
    let lines = bench.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("too long for UDP")));
    assert!(lines.iter().any(|line| line.contains("no name server of")));
    // Another ID, another sender, another socket, a query.
    let mut bench = Bench::new(&["slow.example"], CONF, usual);
    bench.send();
    let out = &mut [0; 512];
    let ask = bench.resolver.names[0];
    let server = "10.0.0.1:53".parse().unwrap();
    let records = Reply::Records(&[(kind::A, "192.0.2.66")]);
    let (socket, id) = (u16::from(ask.socket), ask.id);
    let good = answer(id, "slow.example", kind::A, &records);
    let query = [&good[..2], &[0, 0], &good[4..]].concat();
    let cases = [
        (
            socket,
            server,
            answer(id ^ 1, "slow.example", kind::A, &records),
        ),
        (socket ^ 1, server, good.clone()),
        (socket, "10.0.0.3:53".parse().unwrap(), good.clone()),
        (socket, "10.0.0.1:5353".parse().unwrap(), good.clone()),
        (
            socket,
            server,
            answer(id, "slow.example", kind::AAAA, &records),
        ),
        (
            socket,
            server,
            answer(id, "slow2.example", kind::A, &records),
        ),
        (socket, server, query),
    ];
    let (now, tree, events) = (bench.now, &mut bench.tree, &mut bench.events);
    for (socket, from, bytes) in cases {
        bench
            .resolver
            .handle(now, (socket, from), &bytes, tree, events);
        for len in 0..bytes.len() {
            bench
                .resolver
                .handle(now, (socket, from), &bytes[..len], tree, events);
        }
        assert!(
            bench
                .resolver
                .next_question_due(now, tree, events, out)
                .is_none()
        );
    }
    bench
        .resolver
        .handle(now, (socket, server), &good, tree, events);
    bench.check(&["192.0.2.66"], &[]);
}

#[test]
fn late_answer_and_second_server_count() {
    let mut bench = Bench::new(&["one.a.example"], CONF, usual);
    bench.delay_ms = 7000;
    bench.run(6000);
    let asked = bench.names_asked();
    assert_eq!(
        asked,
        ["10.0.0.1 one.a.example 1", "10.0.0.2 one.a.example 1"]
    );
    bench.run(2000);
    bench.check(&["192.0.2.1"], &[]);
    // A server that fails is passed over at once.
    let mut bench = Bench::new(&["one.a.example"], CONF, |_, _| Reply::Code(2));
    bench.run(100);
    let asked = bench.names_asked();
    assert_eq!(
        asked[..2],
        ["10.0.0.1 one.a.example 1", "10.0.0.2 one.a.example 1"]
    );
}

#[test]
fn vanished_server_leaves_known_names_a_while() {
    let mut bench = Bench::new(&["one.a.example", "*.wild.example"], CONF, usual);
    bench.run(50);
    let _ = bench.rules("192.0.2.4");
    bench.run(50);
    bench.check(&["192.0.2.1", "192.0.2.4"], &[]);
    bench.zone = |_, _| Reply::Silence;
    for _ in 0..3 {
        bench.run(200_000);
        bench.check(&["192.0.2.1", "192.0.2.4"], &[]);
    }
    // A reload does not lose them either.
    bench.export(&["x.a.example", "one.a.example", "*.wild.example"]);
    bench.run(100_000);
    bench.check(&["192.0.2.1", "192.0.2.4"], &[]);
    bench.run(1_000_000);
    // Its own name is asked for, because of the wildcards.
    assert_eq!(bench.rules("192.0.2.1"), Err(UNDECIDED));
    bench.run(2100);
    assert_eq!(bench.rules("192.0.2.1"), Err(UNANSWERED));
    bench.zone = usual;
    bench.run(NAME_RETRY_SECS_MAX * 1000 + 25_000);
    bench.check(&["192.0.2.1"], &[]);
    // An answer that there is no such host counts at once.
    bench.zone = |_, _| Reply::Code(3);
    bench.run(NAME_REFRESH.as_ms() as u32 + 1000);
    bench.check(&[], &["192.0.2.1"]);
}

/// A client that was mounted before a restart is not refused while DNS is silent, and one with an address in the exports does not
/// wait.
#[test]
fn silent_servers_leave_clients_undecided_for_15_minutes() {
    let entries = [
        "one.a.example",
        "*.wild.example",
        "192.0.2.20",
        "192.0.3.0/24",
    ];
    let mut bench = Bench::new(&entries, CONF, |_, _| Reply::Silence);
    bench.check(&["192.0.2.20", "192.0.3.1"], &[]);
    let named = ["192.0.2.1", "192.0.2.4"];
    for from in named {
        assert_eq!(bench.rules(from), Err(UNDECIDED));
    }
    // Each client calls again and again, as one does that got JUKEBOX.
    for _ in 0..85 {
        bench.run(10_000);
        for from in named {
            assert_eq!(bench.rules(from), Err(UNANSWERED), "{:?}", bench.now);
        }
    }
    assert_eq!(bench.lines().len(), 1, "the name is unknown");
    bench.run(80_000);
    bench.check(&["192.0.2.20", "192.0.3.1"], &named);
    let lines = bench.lines();
    assert!(
        lines.len() == 1 && lines[0].contains("unknown hosts: no name server has answered"),
        "{lines:?}"
    );
    bench.zone = usual;
    bench.run(60_000);
    bench.check(&named, &[]);
}

#[test]
fn unanswered_name_is_asked_again_after_growing_pauses() {
    // The servers answer that they failed.
    let mut bench = Bench::new(&["one.a.example"], CONF, |_, _| Reply::Code(2));
    let mut times = Vec::new();
    for second in 0..130 {
        bench.run(1000);
        if !bench.names_asked().is_empty() {
            times.push(second);
        }
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
    bench.zone = usual;
    bench.run(30_000);
    bench.check(&["192.0.2.1"], &[]);
}

/// The server is killed, and its successor gets no answer.
#[test]
fn saved_results_are_used_by_next_server() {
    let mut old = Bench::new(
        &["one.a.example", "two.b.example", "*.wild.example"],
        CONF,
        usual,
    );
    old.run(50);
    let _ = old.rules("192.0.2.4");
    old.run(1000);
    let mut saved = [0; 420];
    let len = Resolver::save(0, &old.tree, &mut saved);
    let start = |saved: &[u8], now: Instant| {
        let entries = [
            "new.example",
            "two.b.example",
            "*.wild.example",
            "one.a.example",
        ];
        let mut bench = Bench::new(&[], CONF, |_, _| Reply::Silence);
        bench.now = now;
        bench.export(&entries);
        Resolver::restore(saved, now, 0, &mut bench.tree);
        bench
    };
    let known = [
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "192.0.2.3",
        "192.0.2.4",
    ];
    let mut new = start(&saved[..len], old.now);
    new.check(&known, &[]);
    // Again, from what the second server saves.
    new.run(400_000);
    new.check(&known, &[]);
    let len = Resolver::save(0, &new.tree, &mut saved);
    let mut third = start(&saved[..len], new.now);
    third.run(400_000);
    third.check(&known, &[]);
    third.run(130_000);
    assert_eq!(
        third.rules("192.0.2.4"),
        Err(UNDECIDED),
        "it is asked for anew"
    );
    // The host was off for 90 s, and started a minute ago.
    let mut file = [0; 500];
    let file_len = Resolver::save(1_800_000_000, &new.tree, &mut file);
    let started = 1_800_000_000 + i64::from(new.now.secs()) + 90 - 60;
    let wake = |file: &[u8], started| {
        let mut bench = start(b"", Instant::from_ms(60_000));
        Resolver::restore(file, bench.now, started, &mut bench.tree);
        bench
    };
    wake(&file[..file_len], started).check(&["192.0.2.3"], &[]);
    assert_eq!(
        wake(&file, started + 900).rules("192.0.2.3"),
        Err(UNDECIDED)
    );
    for at in 0..file_len {
        let mut torn = file;
        torn[at] ^= 1;
        assert_eq!(wake(&torn, started).rules("192.0.2.3"), Err(UNDECIDED));
    }
    // Too old, from another clock, cut.
    let later = old.now.after(crate::config::NAME_KEEP);
    for now in [later, Instant::from_ms(1)] {
        let mut late = start(&saved[..len], now);
        assert_eq!(late.rules("192.0.2.1"), Err(UNDECIDED));
    }
    for cut in 0..len {
        start(&saved[..cut], old.now);
    }
    // Without space, whole results are saved.
    let mut whole = Vec::new();
    for space in 0..len {
        whole.push(Resolver::save(0, &old.tree, &mut vec![0; space]));
    }
    whole.dedup();
    assert!(whole.len() < 7, "{whole:?}");
}

#[test]
fn client_with_same_rules_by_address_waits_for_no_name() {
    let mut bench = Bench::new(&[], CONF, |_, _| Reply::Silence);
    let mut add = |entry: &[u8], rules| {
        let hosts = hosts(entry).unwrap();
        let client = Client { hosts, rules };
        bench.tree.add_client(b"/srv", &client).unwrap();
    };
    add(b"one.a.example", Rules::DEFAULT);
    add(b"192.0.2.0/24", Rules::DEFAULT);
    let mut other = Rules::DEFAULT;
    other.set ^= Rules::WRITABLE;
    add(b"192.0.3.0/24", other);
    bench.tree.replace_clients(&mut |_, _, _| ());
    bench.resolver.restart(bench.now, &mut bench.tree);
    bench.check(&["192.0.2.1"], &[]);
    // The name has other rules.
    assert_eq!(bench.rules("192.0.3.1"), Err(UNDECIDED));
    bench.run(2100);
    bench.check(&["192.0.2.1", "192.0.3.1"], &[]);
}

#[test]
fn local_names_are_asked_by_multicast() {
    let mut bench = Bench::new(
        &["box.local", "gone.local"],
        CONF,
        |name, kind| match name {
            "gone.local" => Reply::Silence,
            name => usual(name, kind),
        },
    );
    let links = ["192.0.2.100", "fe80::1"].map(|own| (own.parse().unwrap(), 3));
    bench.resolver.set_links(&mut links.into_iter());
    bench.run(100);
    bench.check(&["192.0.2.9"], &[]);
    assert_eq!(bench.rules("192.0.2.8"), Err(UNDECIDED));
    let asked = bench.names_asked();
    assert!(
        asked
            .iter()
            .all(|text| text.starts_with("224.0.0.251 ") || text.starts_with("ff02::fb ")),
        "{asked:?}"
    );
    bench.run(8000);
    bench.check(&["192.0.2.9"], &[]);
    assert_eq!(bench.rules("192.0.2.8"), Err(UNANSWERED));
    let lines = bench.lines();
    assert!(
        lines.len() == 1 && lines[0].contains("gone.local: no host answers"),
        "{lines:?}"
    );
}

#[test]
fn given_up_name_is_reported_and_done() {
    let mut bench = Bench::new(&["slow.example", "one", "*.wild.example"], CONF, usual);
    bench.run(2700);
    assert!(!bench.resolver.is_done());
    let (tree, events) = (&mut bench.tree, &mut bench.events);
    bench.resolver.give_up(bench.now, tree, events);
    assert!(bench.resolver.is_done());
    let lines = bench.lines();
    assert!(
        lines.len() == 1 && lines[0].contains("slow.example: no name server"),
        "{lines:?}"
    );
}

#[test]
fn silent_names_delay_no_other_of_four_thousand() {
    let entries: Vec<_> = (0..4096)
        .map(|number| match number {
            4095 => "one.a.example".to_owned(),
            _ => format!("h{number}.slow"),
        })
        .collect();
    let entries: Vec<_> = entries.iter().map(|entry| &**entry).collect();
    let zone: Zone = |name, kind| match name.ends_with(".slow") {
        true => Reply::Silence,
        false => usual(name, kind),
    };
    let mut bench = Bench::new(&entries, CONF, zone);
    bench.run(1000);
    // RFC 5452 section 9.2: a forger has to guess the port, too.
    let sockets = bench.resolver.names.iter().map(|ask| 1 << ask.socket);
    assert_eq!(sockets.fold(0, |all, one: u32| all | one), 0xff);
    bench.check(&["192.0.2.1"], &[]);
    assert_eq!(bench.rules("192.0.2.99"), Err(UNDECIDED));
    bench.run(1100);
    bench.check(&["192.0.2.1"], &[]);
    assert_eq!(bench.rules("192.0.2.99"), Err(UNANSWERED));
}

#[test]
fn reload_keeps_addresses_by_name() {
    let mut bench = Bench::new(&["one.a.example", "two.b.example"], CONF, usual);
    bench.run(100);
    bench.zone = |_, _| Reply::Silence;
    bench.export(&[
        "new.example",
        "two.b.example",
        "other.example",
        "one.a.example",
    ]);
    bench.check(&["192.0.2.1", "192.0.2.3"], &[]);
    bench.export(&["two.b.example"]);
    bench.check(&["192.0.2.3"], &["192.0.2.1"]);
}

#[test]
fn ids_differ_and_depend_on_seed() {
    let draw = |seed| {
        let mut chance = Chance::new([seed; 16]);
        (0..1000).map(|_| chance.next()).collect::<Vec<_>>()
    };
    let (one, other) = (draw(1), draw(2));
    let distinct: std::collections::BTreeSet<_> = one.iter().chain(&other).collect();
    assert!(distinct.len() > 1990);
    assert_eq!(draw(1), one);
}

#[test]
fn answers_never_exceed_their_tables() {
    let question = Question::of(b"many.example", kind::A).unwrap();
    let mut buffer = [0; 4000];
    let mut writer = Writer::new(&mut buffer, 1, flag::RESPONSE);
    let name = wire_of("many.example");
    writer.question(&mut Name::of(&name).unnumbered(), kind::A, CLASS_IN);
    for number in 0..60 {
        add(
            &mut writer,
            "many.example",
            kind::A,
            &format!("192.0.2.{number}"),
        );
    }
    let len = writer.finish();
    let message = Message::parse(&buffer[..len]).unwrap();
    let Some(Answer::Addresses(list)) = question.parse(&message) else {
        panic!()
    };
    assert_eq!(list.len(), 16);
}
