//! Tests of the boot server over the model tree: scripts of packets, and the answers in words.

use super::testing::{self, OWN};
use super::*;
use crate::vfs::ram::Ram;
use crate::wire::dhcp::{Head, Kind, Op, Options, Writer as DhcpWriter, option};
use core::ops::{Deref, DerefMut};
use std::collections::BTreeMap;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

struct Bench {
    bench: testing::Bench,
    /// The sockets from which clients were answered last, by the client's port.
    sockets: BTreeMap<u16, u16>,
}

impl Deref for Bench {
    type Target = testing::Bench;

    fn deref(&self) -> &testing::Bench {
        &self.bench
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut testing::Bench {
        &mut self.bench
    }
}

impl Bench {
    fn new(ram: Ram) -> Self {
        Self {
            bench: testing::Bench::of(ram),
            sockets: BTreeMap::new(),
        }
    }

    /// The tree of the tests, at /export.
    fn files() -> Self {
        let mut ram = Ram::model(b"/export");
        ram.file("hello", b"hello world");
        ram.file("text", b"a\nb\rc\n");
        ram.file("Empty.EFI", b"");
        ram.file("big", &(0..200_000).map(|at| at as u8).collect::<Vec<_>>());
        ram.dir("EFI");
        ram.dir("EFI/boot");
        ram.file("EFI/boot/shim.efi", &[1; 10]);
        ram.file("EFI/boot/grubx64.efi", &[2; 20]);
        ram.file("snponly.efi", &[3; 30]);
        ram.fifo("fifo");
        ram.dir("dir");
        ram.symlink("out", b"/etc/passwd");
        ram.symlink("loop", b"loop");
        Self::new(ram)
    }

    /// Passes a packet from a client's port to a socket.
    fn pass(&mut self, port: u16, socket: u16, packet: &[u8]) -> Option<Transmit> {
        let from = SocketAddr::from(([192, 0, 2, 50], port));
        let sent = self.bench.pass(from, socket, packet);
        if let Some(sent) = sent {
            assert_eq!((sent.to, sent.from.address), (from, Some(OWN.into())));
            self.sockets.insert(port, sent.from.socket);
        }
        sent
    }

    /// The packets that are due, in words.
    fn due(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(sent) = self.bench.due() {
            all.push(shown(&self.out[..sent.len]));
        }
        all
    }

    /// Plays one line of a script: an optional port and ":", then a packet in words, or a pause in ms. Returns the answers in words.
    fn play(&mut self, line: &str) -> String {
        let (port, line) = line.split_once(": ").unwrap_or(("1", line));
        let port = port.parse().unwrap();
        let mut words = line.split(' ');
        let mut packet = Vec::new();
        match words.next().unwrap() {
            "wait" => {
                let (ms, mut all) = (words.next().unwrap().parse().unwrap(), Vec::new());
                self.wait(ms, &mut |packet| all.push(shown(packet)));
                return all.join("; ");
            }
            "jobs" => {
                self.end_jobs();
                return self.due().join("; ");
            }
            "get" => {
                packet.extend([0, 1]);
                for word in words {
                    packet.extend(word.replace('~', "\u{7f}").as_bytes());
                    packet.push(0);
                }
                let answer = self.pass(port, TFTP_SOCKET, &packet);
                return self.answers(answer);
            }
            "ack" => {
                let block: u16 = words.next().unwrap().parse().unwrap();
                packet.extend([0, 4]);
                packet.extend(block.to_be_bytes());
            }
            "error" => packet.extend([0, 5, 0, 0, b'x', 0]),
            "put" => packet.extend(b"\0\x02x\0octet\0"),
            "data" => packet.extend([0, 3, 0, 1, 0]),
            other => panic!("{other}"),
        }
        let socket = match words.next() {
            Some(to) => self.sockets[&to.parse().unwrap()],
            None => self.sockets.get(&port).copied().unwrap_or(TFTP_SOCKET),
        };
        let answer = self.pass(port, socket, &packet);
        self.answers(answer)
    }

    fn answers(&mut self, first: Option<Transmit>) -> String {
        let first = first.map(|sent| shown(&self.out[..sent.len]));
        let mut all: Vec<_> = first.into_iter().collect();
        all.extend(self.due());
        all.join("; ")
    }

    fn check(&mut self, script: &[(&str, &str)]) {
        for (number, (line, expect)) in script.iter().enumerate() {
            assert_eq!(self.play(line), *expect, "line {number}: {line}");
        }
    }
}

/// A packet in words: short content as it is, of long content its length.
fn shown(packet: &[u8]) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .replace('\0', " ")
            .trim_end_matches(' ')
            .to_owned()
    };
    let number = u16::from_be_bytes([packet[2], packet[3]]);
    match (packet[1], &packet[4..]) {
        (3, content) if content.len() < 12 => format!("data {number} {:?}", text(content)),
        (3, content) => format!("data {number} +{}", content.len()),
        (5, message) => format!("error {number} {}", text(message)),
        (6, _) => format!("oack {}", text(&packet[2..])),
        other => panic!("{other:?}"),
    }
}

/// A request with a name that no file system has.
const LONG: &str = "get llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll octet";

#[test]
fn transfers_follow_the_rfcs() {
    let scripts: &[&[(&str, &str)]] = &[
        // A file shorter than a block; then nothing is left.
        &[
            ("get hello octet", "data 1 \"hello world\""),
            ("ack 1", ""),
            ("ack 1", "error 5 unknown transfer"),
            ("wait 100000", ""),
        ],
        // An empty file, in another case, with an odd byte, beside the export's path.
        &[("get \\empty.efi~ octet", "data 1 \"\""), ("ack 1", "")],
        &[(
            "get /export//EFI/./BOOT/shim.efi octet",
            "data 1 \"\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\"",
        )],
        // Options are accepted if the client asked for them, in the server's limits.
        &[
            (
                "get hello octet blksize 8 tsize 0",
                "oack blksize 8 tsize 11",
            ),
            ("ack 1", ""),
            ("ack 0", "data 1 \"hello wo\""),
            ("ack 0", ""),
            ("ack 1", "data 2 \"rld\""),
            ("ack 1", ""),
            ("ack 3", ""),
            ("ack 2", ""),
        ],
        &[("get hello octet blksize -1 x y", "data 1 \"hello world\"")],
        &[(
            "get big octet blksize 65464 windowsize 65535 timeout 2",
            "oack blksize 65464 timeout 2 windowsize 2",
        )],
        &[(
            "get big octet blksize 8 windowsize 65535",
            "oack blksize 8 windowsize 64",
        )],
        // A window; an ACK within it goes on after it.
        &[
            ("get big octet windowsize 3", "oack windowsize 3"),
            ("ack 0", "data 1 +512; data 2 +512; data 3 +512"),
            ("ack 1", "data 2 +512; data 3 +512; data 4 +512"),
            ("ack 1", ""),
            ("ack 4", "data 5 +512; data 6 +512; data 7 +512"),
            ("wait 150", "data 5 +512; data 6 +512; data 7 +512"),
            ("ack 7", "data 8 +512; data 9 +512; data 10 +512"),
        ],
        // Netascii: no length, no window.
        &[
            (
                "get text netascii tsize 0 windowsize 4 blksize 8",
                "oack blksize 8",
            ),
            ("ack 0", "data 1 \"a\\r\\nb\\r c\\r\""),
            ("wait 150", "data 1 \"a\\r\\nb\\r c\\r\""),
            ("ack 1", "data 2 \"\\n\""),
            ("ack 2", ""),
        ],
        // Errors, and answers to none.
        &[
            ("get none octet", "error 1 no such file"),
            ("get fifo octet", "error 1 no such file"),
            ("get dir octet", "error 1 no such file"),
            ("get out octet", "error 1 no such file"),
            ("get loop octet", "error 1 no such file"),
            (LONG, "error 1 no such file"),
            ("get ../export/hello octet", "error 2 access denied"),
            ("get hello mail", "error 2 files can only be read"),
            ("put", "error 2 files can only be read"),
            ("data", "error 4 illegal operation"),
            ("error", ""),
            ("ack 1", "error 5 unknown transfer"),
        ],
        // Another port gets an error, and the transfer goes on.
        &[
            ("get hello octet blksize 8", "oack blksize 8"),
            ("2: ack 0 1", "error 5 unknown transfer"),
            ("2: error 1", ""),
            ("ack 0", "data 1 \"hello wo\""),
            ("error", ""),
            ("wait 100000", ""),
        ],
        // A repeated request belongs to its transfer; another one ends that.
        &[
            ("get hello octet blksize 8", "oack blksize 8"),
            ("get hello octet blksize 8", "oack blksize 8"),
            ("ack 0", "data 1 \"hello wo\""),
            ("get hello octet blksize 8", ""),
            ("ack 1", "data 2 \"rld\""),
            ("get text octet", "data 1 \"a\\nb\\rc\\n\""),
            ("ack 1", ""),
        ],
        // Without an ACK: three packets more, then nothing.
        &[
            ("get hello octet", "data 1 \"hello world\""),
            (
                "wait 7900",
                "data 1 \"hello world\"; data 1 \"hello world\"; data 1 \"hello world\"",
            ),
            ("wait 100000", ""),
            ("ack 1", "error 5 unknown transfer"),
        ],
        // Shim asks for files beside the last one that was served; misses do not count.
        &[
            (
                "get EFI/BOOT/shim.efi octet",
                "data 1 \"\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\\u{1}\"",
            ),
            ("ack 1", ""),
            ("2: get revocations.efi octet", "error 1 no such file"),
            ("3: get grubx64.efi octet windowsize 4", "oack windowsize 4"),
            ("3: ack 0", "data 1 +20"),
        ],
    ];
    for script in scripts {
        Bench::files().check(script);
    }
}

/// A listing of 1,024 names costs 4 ms. After 500 ms, names in another case are not looked for, and their clients ask again.
#[test]
fn listings_of_large_directories_are_bounded() {
    let mut ram = Ram::model(b"/export");
    ram.file("loader", b"x");
    for number in 1..1024 {
        ram.file(&format!("image-{number}"), b"");
    }
    let mut bench = Bench::new(ram);
    for _ in 0..126 {
        assert_eq!(bench.play("get absent octet"), "error 1 no such file");
    }
    bench.check(&[
        ("get absent octet", ""),
        ("2: get LOADER octet", ""),
        ("3: get loader octet", "data 1 \"x\""),
        ("wait 4", ""),
        ("2: get LOADER octet", "data 1 \"x\""),
    ]);
}

#[test]
fn block_numbers_roll_over() {
    let mut bench = Bench::files();
    assert_eq!(
        bench.play("get big octet blksize 8 windowsize 64"),
        "oack blksize 8 windowsize 64"
    );
    let mut bench2 = Bench::files();
    assert_eq!(bench2.play("get big octet blksize 8"), "oack blksize 8");
    let count = 200_000 / 8 + 1;
    bench2.play("ack 0");
    for block in 1..count {
        let next = bench2.play(&format!("ack {block}"));
        assert!(next.starts_with(&format!("data {}", block + 1)), "{next}");
    }
    // More than 65,535 blocks.
    let mut ram = Ram::model(b"/export");
    ram.sparse("long", 8 * 140_000, 0, b"");
    let mut bench = Bench::new(ram);
    bench.play("get long octet blksize 8 windowsize 64");
    let (mut block, mut total) = (0_u64, 0);
    loop {
        let sent = bench.play(&format!("ack {}", block as u16));
        if sent.is_empty() {
            break;
        }
        let count = sent.split("; ").count() as u64;
        (block, total) = (block + count, total + count);
    }
    assert_eq!(total, 140_001);
}

#[test]
fn cold_reads_do_not_hold_other_clients() {
    let mut bench = Bench::files();
    bench.tree.host.has_threads.set(true);
    bench.tree.start_jobs(&mut |_| true);
    bench.tree.host.has_descriptors.set(true);
    bench.tree.host.is_cold.set(true);
    assert_eq!(bench.play("get hello octet"), "");
    bench.tree.host.is_cold.set(false);
    assert_eq!(bench.play("2: get text octet"), "data 1 \"a\\nb\\rc\\n\"");
    assert_eq!(bench.play("jobs"), "data 1 \"hello world\"");
}

#[test]
fn floods_make_room_for_clients_that_answer() {
    let mut bench = Bench::files();
    assert_eq!(bench.play("9: get hello octet blksize 8"), "oack blksize 8");
    assert_eq!(bench.play("9: ack 0"), "data 1 \"hello wo\"");
    for port in 1000..11_000 {
        assert_eq!(
            bench.play(&format!("{port}: get hello octet")),
            "data 1 \"hello world\""
        );
    }
    assert_eq!(bench.play("9: ack 1"), "data 2 \"rld\"");
    assert_eq!(bench.play("8: get hello octet"), "data 1 \"hello world\"");
    assert_eq!(bench.play("8: ack 1"), "");
    // Repetitions are few, and end.
    let sent = bench.play("wait 100000");
    assert!(sent.split("; ").count() < 32 * 4);
    assert!(bench.is_idle());
}

#[test]
fn menu_is_served_under_its_names() {
    let mut bench = Bench::files();
    let first = bench.play("get EFI/autoexec.ipxe octet tsize 0 blksize 1428");
    let size: usize = first.rsplit(' ').next().unwrap().parse().unwrap();
    bench.play("ack 0");
    let text = String::from_utf8_lossy(&bench.out[4..4 + size]).into_owned();
    assert!(
        text.starts_with("#!ipxe\nset server 192.0.2.1\nset http http://192.0.2.1:80\n"),
        "{text}"
    );
    assert!(text.ends_with("goto menu\n"), "{text}");
}

/// A DISCOVER or REQUEST with these options.
fn dhcp(kind: Kind, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut buffer = vec![0; 1500];
    let mut head = Head::request(7, Ipv4Addr::UNSPECIFIED, MAC);
    head.flags = 0x8000;
    let mut writer = DhcpWriter::new(&mut buffer, &head, kind);
    for (code, value) in options {
        writer.option(*code, value);
    }
    let len = writer.finish().unwrap();
    buffer.truncate(len);
    buffer
}

/// An answer in words: its type, the file, and the codes of its options.
fn shown_offer(packet: &[u8], sent: &Transmit) -> String {
    let (head, options) = crate::wire::dhcp::parse(packet).unwrap();
    assert_eq!(
        (head.op, head.xid, head.chaddr, head.siaddr),
        (Op::Reply, 7, MAC, OWN)
    );
    assert!(packet.len() >= 300 && head.yiaddr.is_unspecified());
    let value = |options: &Options<'_>, code| {
        let mut buffer = [0; 300];
        let value = options.joined(code, &mut buffer).unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    let field = packet[108..236].split(|byte| *byte == 0).next().unwrap();
    assert_eq!(
        String::from_utf8_lossy(field),
        value(&options, option::BOOT_FILE)
    );
    let codes: Vec<_> = options
        .clone()
        .map(|one| one.unwrap().code.to_string())
        .collect();
    let kind = packet[242];
    format!(
        "{kind} {} {} [{}] to {}",
        value(&options, option::CLASS),
        value(&options, option::BOOT_FILE),
        codes.join(" "),
        sent.to
    )
}

/// A request: its type, true at port 4011, its options; and the answer in words.
type Row<'a> = (Kind, bool, &'a [(u8, &'a [u8])], String);

#[test]
fn offers_follow_pxe() {
    const PXE: (u8, &[u8]) = (option::CLASS, b"PXEClient:Arch:00007:UNDI:003000");
    const HTTP: (u8, &[u8]) = (option::CLASS, b"HTTPClient:Arch:00016:UNDI:003001");
    const UUID: (u8, &[u8]) = (option::MACHINE, &[0; 17]);
    const X64: (u8, &[u8]) = (option::ARCHITECTURE, &[0, 7]);
    const ALL: &str = "255.255.255.255:68";
    let from = SocketAddr::from(([192, 0, 2, 50], 68));
    let offer = |what: &str| format!("2 PXEClient {what} to {ALL}");
    let loader = "snponly.efi [53 54 60 97 43 66 67]";
    let menu = "http://192.0.2.1/boot.ipxe [53 54 60 97 43 66 67]";
    let ack = |what: &str| format!("5 PXEClient {what} to {from}");
    let (no, discover, request) = (String::new(), Kind::Discover, Kind::Request);
    #[rustfmt::skip]
    let rows: &[Row<'_>] = &[
        (discover, false, &[PXE, UUID, X64], offer(loader)),
        (discover, false, &[PXE, UUID, (option::ARCHITECTURE, &[0, 9])], offer(loader)),
        (discover, false, &[PXE, UUID, (option::ARCHITECTURE, &[0, 31, 0, 7])], offer(loader)),
        (discover, false, &[PXE, X64], offer("snponly.efi [53 54 60 43 66 67]")),
        // Split options.
        (discover, false, &[(option::CLASS, b"PXECl"), (option::CLASS, b"ient:x"), X64, UUID], offer(loader)),
        // iPXE, by its user class in both forms, and by its options.
        (discover, false, &[PXE, X64, UUID, (option::USER_CLASS, b"iPXE")], offer(menu)),
        (discover, false, &[PXE, X64, UUID, (option::USER_CLASS, b"\x04iPXE")], offer(menu)),
        (discover, false, &[PXE, X64, UUID, (option::IPXE, b"\xb1\x01\x01")], offer(menu)),
        (request, true, &[PXE, X64, UUID, (option::USER_CLASS, b"iPXE")], ack(menu)),
        (request, true, &[PXE, X64, UUID], ack(loader)),
        (Kind::Inform, true, &[PXE, X64, UUID], ack(loader)),
        (discover, false, &[HTTP, UUID, (option::ARCHITECTURE, &[0, 16])], format!("2 HTTPClient http://192.0.2.1/export/snponly.efi [53 54 60 97 66 67] to {ALL}")),
        // For another server, or from no machine that boots.
        (request, false, &[PXE, X64, UUID], no.clone()),
        (discover, true, &[PXE, X64, UUID], no.clone()),
        (discover, false, &[X64, UUID], no.clone()),
        (discover, false, &[(option::CLASS, b"MSFT 5.0"), X64], no.clone()),
        (Kind::Release, true, &[PXE, X64], no.clone()),
        // No loader.
        (discover, false, &[PXE, UUID, (option::ARCHITECTURE, &[0, 31])], no.clone()),
        (discover, false, &[PXE, UUID], no),
    ];
    let mut bench = Bench::files();
    for (kind, is_proxy, options, expect) in rows {
        let packet = dhcp(*kind, options);
        let socket = DHCP_SOCKET + u16::from(*is_proxy);
        let at = Local::of(socket);
        let sent = bench.bench.pass(from, at.socket, &packet);
        let answer = sent.map_or(String::new(), |sent| {
            assert_eq!((sent.from.socket, sent.from.interface), (socket, 2));
            shown_offer(&bench.out[..sent.len], &sent)
        });
        assert_eq!(answer, *expect, "{kind:?} {options:?}");
        for len in 0..packet.len() {
            bench.bench.pass(from, at.socket, &packet[..len]);
        }
    }
    // A relay gets the answer, with its own option.
    let mut packet = dhcp(discover, &[PXE, UUID, X64, (option::RELAY, b"\x01\x02ab")]);
    packet[24..28].copy_from_slice(&[198, 51, 100, 7]);
    let at = Local::of(DHCP_SOCKET);
    let sent = bench.bench.pass(from, at.socket, &packet);
    let shown = shown_offer(&bench.out[..sent.unwrap().len], &sent.unwrap());
    assert_eq!(
        shown,
        "2 PXEClient snponly.efi [53 54 60 97 43 66 67 82] to 198.51.100.7:67"
    );
}

#[test]
fn other_servers_that_name_a_file_are_reported() {
    let mut bench = Bench::files();
    let other = Ipv4Addr::new(192, 0, 2, 9);
    for (siaddr, server, file) in [
        (other, other, "pxelinux.0"),
        (other, other, ""),
        (OWN, other, "a"),
        (OWN, OWN, "b"),
    ] {
        let mut buffer = vec![0; 600];
        let mut head = Head::request(7, Ipv4Addr::UNSPECIFIED, MAC);
        (head.op, head.siaddr) = (Op::Reply, siaddr);
        let mut writer = DhcpWriter::new(&mut buffer, &head, Kind::Offer);
        writer.option(option::SERVER, &server.octets());
        let len = writer.finish().unwrap();
        crate::wire::dhcp::set_file(&mut buffer, file.as_bytes());
        let from = SocketAddr::from((server, 67));
        assert_eq!(
            bench.bench.pass(from, DHCP_SOCKET + 2, &buffer[..len]),
            None
        );
    }
    let expect = [
        "stowaway: 192.0.2.9 also names a file to machines that boot: pxelinux.0: some may take that",
    ];
    assert_eq!(bench.sink.lines(), expect);
}

#[test]
fn steps_of_machines_are_reported_once() {
    let mut bench = Bench::files();
    let from = SocketAddr::from(([0, 0, 0, 0], 68));
    let at = Local::of(DHCP_SOCKET);
    let pxe: [(u8, &[u8]); 2] = [
        (option::CLASS, b"PXEClient"),
        (option::ARCHITECTURE, &[0, 7]),
    ];
    let wanted: [(u8, &[u8]); 1] = [(option::REQUESTED_ADDRESS, &[192, 0, 2, 50])];
    for packet in [
        dhcp(Kind::Discover, &pxe),
        dhcp(Kind::Discover, &pxe),
        dhcp(Kind::Request, &wanted),
    ] {
        bench.bench.pass(from, at.socket, &packet);
    }
    bench.check(&[
        ("get //snponly.efi octet", "data 1 +30"),
        ("ack 1", ""),
        ("wait 40000", ""),
        ("get autoexec.cfg octet", "error 1 no such file"),
        ("get ../autoexec.cfg octet", "error 2 access denied"),
    ]);
    let mac = "stowaway: 52:54:00:12:34:56";
    let address = "(192.0.2.50)";
    let expect = [
        format!("{mac} is offered snponly.efi"),
        format!("{mac} {address} got by TFTP /export/snponly.efi"),
        format!(
            "{mac} {address} has been silent since it got /export/snponly.efi: does Secure Boot refuse an unsigned loader?"
        ),
        format!(
            "{mac} {address} asked for a file that is not there: autoexec.cfg: put it into the directory"
        ),
        format!(
            "{mac} {address} asked for a file that is refused: ../autoexec.cfg: let everyone read it (chmod); names have no .."
        ),
    ];
    assert_eq!(bench.sink.lines(), expect);
}
