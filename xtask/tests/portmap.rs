//! Port 111: what showmount and rpcinfo print, which calls portmap refuses, and a port that is already in use.
//!
//! Most tests use a network namespace of their own, so that port 111 is free.

use anyhow::{Result, ensure};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::clients::nfs::{Auth, Call, Client, mount};
use xtask::machines::mounts;
use xtask::machines::server::{Namespace, Process, Server, ServerOptions, public_dir, root_for};
use xtask::setup;

const PORTMAP: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 111);

struct Scene {
    // Dropped before the namespace in which the server runs.
    server: Server,
    namespace: Namespace,
    directory: TempDir,
}

impl Scene {
    /// Starts a server with portmap in a new namespace, with the arguments `extra`.
    fn new(extra: &[&str]) -> Result<Self> {
        setup::install_packages(&["iproute2", "nfs-common", "rpcbind"])?;
        let (namespace, directory) = (Namespace::new()?, public_dir()?);
        let server = serve(&namespace, directory.path(), extra)?;
        Ok(Self {
            server,
            namespace,
            directory,
        })
    }

    fn output_of(&self, program: &str, words: &[&str]) -> Result<String> {
        let output = self.namespace.command(program).args(words).output()?;
        ensure!(
            output.status.success(),
            "{program} {words:?} failed: {}",
            stderr_of(&output)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn serve(namespace: &Namespace, directory: &Path, extra: &[&str]) -> Result<Server> {
    serve_as("nfs", namespace, directory, extra)
}

fn serve_as(
    role: &'static str,
    namespace: &Namespace,
    directory: &Path,
    extra: &[&str],
) -> Result<Server> {
    Server::start(ServerOptions {
        role,
        portmap: true,
        wrapper: namespace.enter(),
        arguments: extra.iter().map(|&word| word.into()).collect(),
        ..ServerOptions::serving(&[directory])
    })
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn showmount_and_rpcinfo_see_the_server() -> Result<()> {
    if !root_for("portmap on port 111") {
        return Ok(());
    }
    let scene = Scene::new(&[])?;
    let path = scene.directory.path().display().to_string();
    let exports = scene.output_of("showmount", &["-e", "127.0.0.1"])?;
    ensure!(
        exports.lines().skip(1).any(|line| line.starts_with(&path)),
        "showmount -e printed:\n{exports}"
    );

    // A mounted client is listed until UMNT.
    scene.namespace.run(|| {
        let mut client = Client::connect(scene.server.mount())?;
        client.mount(&path)?;
        Ok(())
    })?;
    let all = scene.output_of("showmount", &["-a", "127.0.0.1"])?;
    ensure!(
        all.lines().any(|line| line == format!("127.0.0.1:{path}")),
        "showmount -a printed:\n{all}"
    );
    let directories = scene.output_of("showmount", &["-d", "127.0.0.1"])?;
    ensure!(
        directories.lines().any(|line| line == path),
        "showmount -d printed:\n{directories}"
    );
    scene.namespace.run(|| {
        let mut client = Client::connect(scene.server.mount())?;
        client.answer(&Call::unmount(path.as_bytes())).map(drop)
    })?;
    let all = scene.output_of("showmount", &["-a", "127.0.0.1"])?;
    ensure!(
        !all.contains(&path),
        "after UMNT showmount -a still printed:\n{all}"
    );

    let programs = scene.output_of("rpcinfo", &["-p", "127.0.0.1"])?;
    let rows: Vec<Vec<&str>> = programs
        .lines()
        .map(|line| line.split_whitespace().take(4).collect())
        .collect();
    let port = scene.server.nfs_port.to_string();
    for row in [
        ["100000", "2", "tcp", "111"],
        ["100000", "2", "udp", "111"],
        ["100000", "3", "tcp", "111"],
        ["100000", "4", "udp", "111"],
        ["100003", "3", "tcp", &port],
        ["100005", "1", "tcp", &port],
        ["100005", "3", "tcp", &port],
        ["100005", "1", "udp", &port],
        ["100005", "2", "udp", &port],
        ["100005", "3", "udp", &port],
    ] {
        ensure!(
            rows.iter().any(|r| r == &row),
            "rpcinfo -p has no {row:?}:\n{programs}"
        );
    }
    Ok(())
}

/// A host with two interfaces, and a client at both. As media players do, the client sends to the broadcast address. A reply leaves
/// from the address that was asked, or for a broadcast from that of its interface. The CALLIT of MNT before each gets no reply.
#[test]
fn server_is_found_by_broadcast() -> Result<()> {
    if !root_for("portmap on port 111") {
        return Ok(());
    }
    setup::install_packages(&["iproute2", "libnfs-utils", "rpcbind"])?;
    let ((host, client), directory) = (Namespace::pair()?, public_dir()?);
    for words in [
        format!("-n {} addr add 192.0.2.9/24 dev eth0", host.name()),
        format!(
            "link add eth1 netns {} type veth peer name eth1 netns {}",
            host.name(),
            client.name()
        ),
        format!("-n {} addr add 198.51.100.1/24 brd + dev eth1", host.name()),
        format!(
            "-n {} addr add 198.51.100.2/24 brd + dev eth1",
            client.name()
        ),
        format!("-n {} link set eth1 up", host.name()),
        format!("-n {} link set eth1 up", client.name()),
    ] {
        setup::run_captured(Command::new("ip").args(words.split(' ')))?;
    }
    let server = serve(&host, directory.path(), &["-l", "::"])?;
    let [high, low] = server.nfs_port.to_be_bytes();
    client.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let call = Call::call_it(mount::PROGRAM, 1, 0).message(7, &Auth::none());
        for (to, from) in [
            ("192.0.2.255", "192.0.2.1"),
            ("198.51.100.255", "198.51.100.1"),
            ("192.0.2.9", "192.0.2.9"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            let of_version = |version: u8| {
                let mut call = call.clone();
                call[19] = version;
                call
            };
            let silent = Call::call_it(mount::PROGRAM, 3, 1).message(6, &Auth::none());
            for version in [2, 3] {
                socket.send_to(&silent, (to, 111))?;
                socket.send_to(&of_version(version), (to, 111))?;
                let mut reply = [0; 100];
                let (len, sender) = socket.recv_from(&mut reply)?;
                ensure!(
                    sender.to_string() == format!("{from}:111"),
                    "{to}: {sender}"
                );
                let address = format!("{from}.{high}.{low}");
                let is_right = match version {
                    2 => reply[24..32] == [0, 0, high, low, 0, 0, 0, 0],
                    _ => reply[28..].starts_with(address.as_bytes()),
                };
                ensure!(is_right && len <= call.len(), "{to}: {:?}", &reply[..len]);
            }
        }
        Ok(())
    })?;
    let found = client.command("nfs-ls").args(["-D", "nfs://"]).output()?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    for own in ["192.0.2.1", "198.51.100.1"] {
        let url = format!("nfs://{own}\n");
        ensure!(found.contains(&url), "nfs-ls -D has no {url}: {found}");
    }
    Ok(())
}

#[test]
fn port_111_in_use_is_reported_nfs_continues() -> Result<()> {
    if !root_for("portmap on port 111") {
        return Ok(());
    }
    setup::install_packages(&["iproute2"])?;
    let (namespace, directory) = (Namespace::new()?, public_dir()?);
    let _taken = namespace.run(|| Ok(std::net::TcpListener::bind(PORTMAP)?))?;
    let server = serve(&namespace, directory.path(), &[])?;
    let options = format!("mount -t nfs -o port={} ", server.nfs_port);
    server.wait_for_line(&options, Duration::from_secs(10))?;
    let lines = server.lines();
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    ensure!(
        count("port 111") == 1 && count(&options) == 1,
        "not one line each with port 111 and with {options}: {lines:#?}"
    );
    namespace.run(|| server.open(directory.path()).map(drop))
}

/// Waits at most ten seconds.
fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        ensure!(Instant::now() < end, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The rows of NFS and MOUNT in the list of rpcbind: version, transport, address.
fn registered(namespace: &Namespace) -> Result<Vec<String>> {
    let output = namespace
        .command("rpcinfo")
        .arg("127.0.0.1")
        .stderr(Stdio::null())
        .output()?;
    let list = String::from_utf8(output.stdout)?;
    let words = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        words.join(" ")
    };
    let rows = list.lines().map(words);
    let mut rows: Vec<_> = rows
        .filter(|row| row.starts_with("10000") && !row.starts_with("100000"))
        .collect();
    rows.sort();
    Ok(rows)
}

/// The rows of a server on `port`. NFS is served over TCP only.
fn rows(port: u16, netids: &[&str]) -> Vec<String> {
    let [high, low] = port.to_be_bytes();
    let mut rows = Vec::new();
    for (program, version) in [(100_003, 3), (100_005, 1), (100_005, 2), (100_005, 3)] {
        let is_mount = program == 100_005;
        for netid in netids
            .iter()
            .filter(|netid| is_mount || netid.starts_with("tcp"))
        {
            let host = if netid.ends_with('6') {
                "::"
            } else {
                "0.0.0.0"
            };
            rows.push(format!("{program} {version} {netid} {host}.{high}.{low}"));
        }
    }
    rows
}

fn ensure_registered(namespace: &Namespace, expect: &[String], when: &str) -> Result<()> {
    let found = registered(namespace)?;
    ensure!(found == expect, "{when}: {found:?} instead of {expect:?}");
    Ok(())
}

/// Debian's rpcbind owns port 111. The first server is killed, so that the second finds its mappings.
#[test]
fn programs_are_registered_with_a_foreign_rpcbind() -> Result<()> {
    setup::install_packages(&["iproute2", "nfs-common", "rpcbind", "libnfs-utils"])?;
    mounts::private("rpcbind beside the server", || {
        mounts::mount("tmpfs", "mode=755", Path::new("/run"))?;
        let (namespace, directory) = (Namespace::new()?, public_dir()?);
        let path = directory.path().display().to_string();
        std::fs::write(directory.path().join("found"), "")?;
        let before = serve(&namespace, directory.path(), &["-l", "::"])?;
        let late = Process::start(namespace.command("rpcbind").arg("-f"))?;
        let socket = Path::new("/run/rpcbind.sock");
        wait_until("rpcbind listens", || socket.exists())?;
        let list = namespace
            .command("showmount")
            .args(["-e", "127.0.0.1"])
            .output()?;
        ensure!(
            stdout_of(&list).contains(&path),
            "rpcbind started later broke ours: {list:?}"
        );
        before.terminate()?;
        drop(late);
        std::fs::remove_file(socket)?;
        let _rpcbind = Process::start(namespace.command("rpcbind").arg("-f"))?;
        wait_until("rpcbind listens", || socket.exists())?;

        let start = |role, extra: &[&str]| serve_as(role, &namespace, directory.path(), extra);
        start("nfs", &["-l", "::"])?.kill()?;
        let cases: [(&str, &[&str], &[&str]); 3] = [
            ("nfs", &["-t", "-l", "::"], &["tcp", "tcp6"]),
            ("nfs", &[], &["tcp", "udp"]),
            (
                "serve",
                &["--no-mdns", "--loops", "2", "-n", "2049", "-l", "::"],
                &["tcp", "tcp6", "udp", "udp6"],
            ),
        ];
        for (role, extra, netids) in cases {
            let server = start(role, extra)?;
            let expect = rows(server.nfs_port, netids);
            ensure_registered(&namespace, &expect, "at the start")?;
            if role == "serve" {
                let first = server.children()?[0];
                setup::run_captured(Command::new("kill").arg(first.to_string()))?;
                server.wait_for_line("restarting", Duration::from_secs(10))?;
                let again = || {
                    let lines = server.lines();
                    lines.iter().filter(|line| line.contains("rpcbind")).count() == 2
                };
                wait_until("the loop is back", again)?;
                ensure_registered(&namespace, &expect, "after a restart")?;
            }
            let url = format!("nfs://127.0.0.1{path}");
            let list = namespace.command("nfs-ls").arg(url).output()?;
            ensure!(
                stdout_of(&list).contains("found"),
                "{role} {extra:?}: nfs-ls without ports: {list:?}"
            );
            server.terminate()?;
            ensure_registered(&namespace, &[], "after the end")?;
        }
        Ok(())
    })
}

/// The portmapper of another server protects the mappings of its own programs.
#[test]
fn portmapper_that_refuses_is_reported() -> Result<()> {
    if !root_for("portmap on port 111") {
        return Ok(());
    }
    let scene = Scene::new(&[])?;
    let second = serve(&scene.namespace, scene.directory.path(), &[])?;
    let options = format!("mount -t nfs -o port={} ", second.nfs_port);
    second.wait_for_line("refuses to register NFS", Duration::from_secs(5))?;
    second.wait_for_line(&options, Duration::from_secs(5))?;
    Ok(())
}

#[test]
fn mount_option_sets_its_own_port() -> Result<()> {
    if !root_for("portmap on port 111") {
        return Ok(());
    }
    let scene = Scene::new(&["-m", "30005"])?;
    ensure!(
        scene.server.mount_port == 30005,
        "MOUNT listens on {}",
        scene.server.mount_port
    );
    let programs = scene.output_of("rpcinfo", &["-p", "127.0.0.1"])?;
    let mount: Vec<&str> = programs
        .lines()
        .filter(|line| line.contains("100005"))
        .collect();
    ensure!(
        !mount.is_empty() && mount.iter().all(|line| line.contains(" 30005")),
        "rpcinfo -p printed:\n{programs}"
    );
    scene
        .namespace
        .run(|| scene.server.open(scene.directory.path()).map(drop))
}
