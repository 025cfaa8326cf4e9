//! A client of proxyDHCP, and dnsmasq's answers beside ours, field by field.

use super::serve;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;
use xtask::build::workspace_root;
use xtask::machines::server::{Namespace, Process, ip, public_dir, root_for};
use xtask::setup;

/// How often a request is repeated, and the pause.
const ATTEMPTS: usize = 60;
const PAUSE: Duration = Duration::from_millis(250);
/// Offset of the options in a message.
const OPTIONS_AT: usize = 240;

/// A DISCOVER of a machine that boots.
#[derive(Debug)]
pub(super) struct Discover {
    message: Vec<u8>,
}

impl Discover {
    /// EDK2's for x64, of machine `number`.
    pub(super) fn uefi(number: u8) -> Self {
        let class = b"PXEClient:Arch:00007:UNDI:003000";
        Self::new(number, &[(60, class), (93, &[0, 7])])
    }

    /// The DISCOVER of iPXE as a loader for x64.
    fn ipxe(number: u8) -> Self {
        let class = b"PXEClient:Arch:00007:UNDI:003010";
        let features = &[0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0];
        let options: [(u8, &[u8]); 4] =
            [(60, class), (93, &[0, 7]), (77, b"iPXE"), (175, features)];
        Self::new(number, &options)
    }

    /// The REQUEST of 192.0.2.2 to a boot server.
    fn at_proxy(mut self) -> Self {
        self.message[10] = 0;
        self.message[12..16].copy_from_slice(&[192, 0, 2, 2]);
        self.message[OPTIONS_AT + 2] = 3;
        self
    }

    fn new(number: u8, options: &[(u8, &[u8])]) -> Self {
        let mut message = vec![0; OPTIONS_AT];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[4..8].copy_from_slice(&[9, 9, 9, number]);
        // The broadcast flag.
        message[10] = 0x80;
        message[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 1, number]);
        message[236..240].copy_from_slice(&[99, 130, 83, 99]);
        let usual: [(u8, &[u8]); 4] = [
            (53, &[1]),
            (57, &[5, 192]),
            (55, &[1, 3, 43, 54, 60, 66, 67, 97]),
            (97, &[0; 17]),
        ];
        for (code, value) in usual.iter().chain(options) {
            message.extend([*code, value.len() as u8]);
            message.extend(*value);
        }
        message.push(255);
        Self { message }
    }
}

/// An answer: its fields and options by name or number, as text or in hexadecimal digits.
#[derive(Debug)]
pub(super) struct Offer {
    fields: BTreeMap<String, String>,
}

impl Offer {
    fn parse(message: &[u8]) -> Option<Self> {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
        };
        let mut fields = BTreeMap::new();
        for (name, start, end) in [
            ("op", 0, 1),
            ("htype", 1, 2),
            ("hlen", 2, 3),
            ("xid", 4, 8),
            ("flags", 10, 12),
            ("ciaddr", 12, 16),
            ("yiaddr", 16, 20),
            ("siaddr", 20, 24),
            ("giaddr", 24, 28),
            ("chaddr", 28, 44),
        ] {
            fields.insert(name.to_owned(), hex(message.get(start..end)?));
        }
        fields.insert("file".to_owned(), text(message.get(108..236)?));
        let mut rest = message.get(OPTIONS_AT..)?;
        while let [code, len, after @ ..] = rest {
            if *code == 255 {
                break;
            }
            let value = after.get(..usize::from(*len))?;
            let shown = match code {
                60 | 66 | 67 => text(value),
                _ => hex(value),
            };
            fields.insert(code.to_string(), shown);
            rest = &after[usize::from(*len)..];
        }
        Some(Self { fields })
    }

    /// A field or an option; empty: it is not there.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Sends a message until it is answered. Runs in the namespace of the calling thread.
fn ask(asked: &Discover, to: &str) -> Result<Offer> {
    let socket = UdpSocket::bind("0.0.0.0:68").context("cannot use port 68")?;
    socket.set_broadcast(true)?;
    socket.set_read_timeout(Some(PAUSE))?;
    let mut buffer = [0; 1500];
    for _ in 0..ATTEMPTS {
        socket.send_to(&asked.message, to)?;
        while let Ok(len) = socket.recv(&mut buffer) {
            let is_own = buffer[..len].get(4..8) == asked.message.get(4..8);
            if let Some(offer) = Offer::parse(&buffer[..len]).filter(|_| is_own) {
                return Ok(offer);
            }
        }
    }
    bail!("no answer to {asked:?}")
}

/// Two hosts, of which the second one can send to 255.255.255.255.
fn connected() -> Result<(Namespace, Namespace)> {
    let (host, other) = Namespace::pair()?;
    ip(&format!("-n {} route add default dev eth0", other.name()))?;
    Ok((host, other))
}

/// Sends a DISCOVER to all servers until one answers.
pub(super) fn discover(asked: &Discover) -> Result<Offer> {
    ask(asked, "255.255.255.255:67")
}

/// A field of an answer, and its values: of our OFFER and our ACK at port 4011, then of those of dnsmasq.
type Row = (&'static str, [&'static str; 4]);

#[rustfmt::skip]
const ROWS: [Row; 18] = [
    // dnsmasq has EDK2 ask at port 4011, by an OFFER without a file and without 43: a second exchange, which ours makes unnecessary.
    ("43", ["060108ff", "060108ff", "", ""]),
    ("53", ["02", "05", "02", "05"]),
    ("54", ["c0000201"; 4]),
    ("60", ["PXEClient"; 4]),
    // Both forms of the names: some firmware reads the options only.
    ("66", ["192.0.2.1", "192.0.2.1", "", ""]),
    ("67", ["snponly.efi", "snponly.efi", "", ""]),
    ("97", ["0000000000000000000000000000000000"; 4]),
    ("chaddr", ["52540000010100000000000000000000", "52540000010200000000000000000000", "52540000010100000000000000000000", "52540000010200000000000000000000"]),
    ("ciaddr", ["00000000", "c0000202", "00000000", "c0000202"]),
    ("file", ["snponly.efi", "snponly.efi", "", "snponly.efi"]),
    ("flags", ["8000", "0000", "8000", "0000"]),
    ("giaddr", ["00000000"; 4]),
    ("hlen", ["06"; 4]),
    ("htype", ["01"; 4]),
    ("op", ["02"; 4]),
    ("siaddr", ["c0000201"; 4]),
    ("xid", ["09090901", "09090902", "09090901", "09090902"]),
    ("yiaddr", ["00000000"; 4]),
];

/// dnsmasq's answers as a proxy, for the same loader on the same host, and ours.
#[test]
fn answers_are_those_of_dnsmasq() -> Result<()> {
    if !root_for("ports 67 and 69") {
        return Ok(());
    }
    setup::install_packages(&["dnsmasq-base", "iproute2"])?;
    let directory = public_dir()?;
    let root = directory.path();
    fs::write(root.join("snponly.efi"), "loader")?;
    let (host, other) = connected()?;
    let (asked, request) = (Discover::uefi(1), Discover::uefi(2).at_proxy());
    let answers = || -> Result<[Offer; 2]> {
        other.run(|| Ok([discover(&asked)?, ask(&request, "192.0.2.1:4011")?]))
    };
    let server = serve(&host, root, &["--interface", "eth0"])?;
    let ours = answers().with_context(|| format!("{:#?}", server.lines()))?;
    drop(server);
    let mut dnsmasq = host.command("dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"]);
    dnsmasq.args(["--user=root", "--pid-file", "--log-facility=-"]);
    dnsmasq.args(["--interface=eth0", "--dhcp-range=192.0.2.0,proxy"]);
    dnsmasq.arg("--pxe-service=X86-64_EFI,boot,snponly.efi");
    let dnsmasq = Process::start(&mut dnsmasq)?;
    let theirs = answers().with_context(|| format!("{:#?}", dnsmasq.lines()))?;
    let all: Vec<&Offer> = ours.iter().chain(&theirs).collect();
    let mut names: Vec<&String> = all.iter().flat_map(|offer| offer.fields.keys()).collect();
    names.sort();
    names.dedup();
    let found: Vec<_> = names
        .iter()
        .map(|name| {
            (
                name.as_str(),
                all.iter()
                    .map(|offer| offer.field(name))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    let expect: Vec<_> = ROWS
        .iter()
        .map(|(name, row)| (*name, row.to_vec()))
        .collect();
    ensure!(found == expect, "{found:#?}");
    Ok(())
}

/// The texts in back quotes of a server's row in the recipes.
fn recipe(server: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace_root().join("image/doc/recipes.md"))?;
    let start = format!("| {server} | ");
    let row = text.lines().find_map(|line| line.strip_prefix(&start));
    let row = row.with_context(|| format!("no row of {server}"))?;
    let texts = row.split('`').skip(1).step_by(2);
    Ok(texts.map(str::to_owned).collect())
}

/// With the lines of the recipes, the DHCP servers of others name this host, the loader, and the menu for iPXE.
#[test]
fn recipes_make_other_servers_name_the_loader() -> Result<()> {
    if !root_for("port 67") {
        return Ok(());
    }
    setup::install_packages(&[
        "dnsmasq-base",
        "isc-dhcp-server",
        "kea-dhcp4-server",
        "iproute2",
    ])?;
    let work = public_dir()?;
    let work = work.path();
    let (host, other) = connected()?;
    let dnsmasq = recipe("dnsmasq")?
        .into_iter()
        .map(|line| format!("--{line}"));
    let isc = format!(
        "authoritative;\n{}\nsubnet 192.0.2.0 netmask 255.255.255.0 {{ range 192.0.2.100 192.0.2.120; }}\n",
        recipe("ISC dhcpd")?.join("\n")
    );
    let [file, class] = recipe("Kea")?
        .try_into()
        .ok()
        .context("Kea's row has two texts")?;
    let kea = format!(
        r#"{{"Dhcp4": {{"interfaces-config": {{"interfaces": ["eth0"]}}, {file},
            "lease-database": {{"type": "memfile", "persist": false}},
            "client-classes": [{{"name": "ipxe", "test": "{class}", "boot-file-name": "http://192.0.2.1/boot.ipxe"}}],
            "subnet4": [{{"subnet": "192.0.2.0/24", "pools": [{{"pool": "192.0.2.100-192.0.2.120"}}]}}]}}}}"#
    );
    let [isc_file, leases, kea_file] = ["isc", "leases", "kea"].map(|name| work.join(name));
    fs::write(&isc_file, isc)?;
    fs::write(&leases, "")?;
    fs::write(&kea_file, kea)?;
    let mut servers = ["dnsmasq", "dhcpd", "kea-dhcp4"].map(|name| host.command(name));
    let [first, second, third] = &mut servers;
    first.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
    ]);
    first.args([
        "--no-ping",
        "--pid-file",
        "--leasefile-ro",
        "--log-facility=-",
    ]);
    first
        .arg("--dhcp-range=192.0.2.100,192.0.2.120")
        .args(dnsmasq);
    second.args(["-4", "-f", "-d", "--no-pid", "eth0", "-cf"]);
    second.arg(&isc_file).arg("-lf").arg(&leases);
    third.arg("-c").arg(&kea_file);
    third
        .env("KEA_PIDFILE_DIR", work)
        .env("KEA_LOCKFILE_DIR", work);
    for command in &mut servers {
        let server = Process::start(command.stdout(Stdio::null()))?;
        for (asked, expect) in [
            (Discover::uefi(1), "snponly.efi"),
            (Discover::ipxe(2), "http://192.0.2.1/boot.ipxe"),
        ] {
            let offer = other
                .run(|| discover(&asked))
                .with_context(|| format!("{:#?}", server.lines()))?;
            let file = match offer.field("file") {
                "" => offer.field("67"),
                file => file,
            };
            ensure!(
                file == expect && offer.field("siaddr") == "c0000201",
                "{offer:#?}\n{:#?}",
                server.lines()
            );
        }
    }
    Ok(())
}
