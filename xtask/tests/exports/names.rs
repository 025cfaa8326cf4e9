//! Exports by host name, wildcard and `.local` name. The clients are addresses of an interface; dnsmasq is asked through a relay that
//! is slow, lies or is silent.

use super::{ensure_refused, test_file};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::http;
use xtask::clients::nfs::Client;
use xtask::machines::http::HttpServer;
use xtask::machines::mounts;
use xtask::machines::server::{Server, ServerOptions, binary, ip, public_dir};
use xtask::machines::wait_for;
use xtask::setup;

/// The server's address; those of clients have another last byte.
const SERVER: [u8; 4] = [192, 0, 2, 1];
const RELAY: &str = "127.0.0.53:53";
const DNSMASQ: &str = "127.0.0.54:53";
/// The address that lies give to every name.
const LIAR: [u8; 4] = [192, 0, 2, 4];
/// Longest time of a MNT that waits for names: 2 s, and the time of a busy machine.
const WAIT_MAX: Duration = Duration::from_millis(2900);
const PATIENCE: Duration = Duration::from_secs(30);

const HONEST: u8 = 0;
const SLOW: u8 = 1;
const LYING: u8 = 2;
const SILENT: u8 = 3;

/// The behaviour of the relay.
static BEHAVIOUR: AtomicU8 = AtomicU8::new(HONEST);

/// Relays questions to dnsmasq until `ends`.
fn relay(ends: &AtomicBool) -> Result<()> {
    let front = UdpSocket::bind(RELAY)?;
    front.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut late = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        late.retain(|(at, bytes, to): &(Instant, Vec<u8>, _)| {
            let is_early = *at > Instant::now();
            is_early || front.send_to(bytes, to).is_err()
        });
        let mut buffer = [0; 1500];
        let Ok((len, from)) = front.recv_from(&mut buffer) else {
            continue;
        };
        let behaviour = BEHAVIOUR.load(Ordering::Relaxed);
        if behaviour == SILENT {
            continue;
        }
        let back = UdpSocket::bind("127.0.0.1:0")?;
        back.set_read_timeout(Some(Duration::from_secs(1)))?;
        back.send_to(&buffer[..len], DNSMASQ)?;
        let Ok(len) = back.recv(&mut buffer) else {
            continue;
        };
        let answer = buffer[..len].to_vec();
        match behaviour {
            SLOW => late.push((Instant::now() + Duration::from_millis(1200), answer, from)),
            LYING => {
                for lie in lies(&answer) {
                    front.send_to(&lie, from)?;
                }
                late.push((Instant::now() + Duration::from_millis(20), answer, from));
            }
            _ => _ = front.send_to(&answer, from)?,
        }
    }
    Ok(())
}

/// Forged answers with the liar's address: another ID, another question, no question, truncated.
fn lies(answer: &[u8]) -> [Vec<u8>; 3] {
    let mut lie = answer.to_vec();
    let at = lie.windows(3).rposition(|bytes| bytes == [192, 0, 2]);
    if let Some(at) = at.filter(|at| at + 4 <= lie.len()) {
        lie[at..at + 4].copy_from_slice(&LIAR);
    }
    let (mut id, mut question, mut none) = (lie.clone(), lie.clone(), lie);
    id[1] ^= 1;
    // A letter of the name, not of its case.
    question[13] = if question[13] == b'x' { b'y' } else { b'x' };
    none[5] = 0;
    [id, question, none]
}

/// A network with a name server, a responder of multicast DNS, and an exported directory.
struct Scene {
    dir: TempDir,
    helpers: Vec<Child>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for helper in &mut self.helpers {
            let _ = helper.kill();
            let _ = helper.wait();
        }
    }
}

impl Scene {
    /// Runs `work` in a network and mounts of its own.
    fn with(dns_hosts: &str, work: impl FnOnce(&Self) -> Result<()> + Send) -> Result<()> {
        setup::install_packages(&["dnsmasq-base"])?;
        mounts::private("a network", || {
            let scene = Self::new(dns_hosts)?;
            BEHAVIOUR.store(HONEST, Ordering::Relaxed);
            let ends = AtomicBool::new(false);
            thread::scope(|scope| {
                let relay = scope.spawn(|| relay(&ends));
                let outcome = work(&scene);
                ends.store(true, Ordering::Relaxed);
                outcome.and(relay.join().expect("the relay does not panic"))
            })
        })
    }

    fn new(dns_hosts: &str) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network")?;
        for words in [
            "link set lo up",
            "link add eth0 type veth peer name eth1",
            "link set eth1 up",
            "link set eth0 up",
        ] {
            ip(words)?;
        }
        for host in 1..=9 {
            ip(&format!("addr add 192.0.2.{host}/24 dev eth0"))?;
        }
        let dir = public_dir()?;
        fs::create_dir(dir.path().join("srv"))?;
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text);
        write("hosts", "127.0.0.1 localhost\n192.0.2.5 five.home five\n")?;
        let conf = "nameserver 127.0.0.53\nsearch lan.example\noptions timeout:1 attempts:2\n";
        write("resolv.conf", conf)?;
        write("dns", dns_hosts)?;
        write("local", "192.0.2.6 six.local\n")?;
        for name in ["hosts", "resolv.conf"] {
            let target = Path::new("/etc").join(name);
            let mut bind = Command::new("mount");
            bind.arg("--bind").arg(dir.path().join(name)).arg(target);
            setup::run_captured(&mut bind)?;
        }
        let mut scene = Self {
            dir,
            helpers: Vec::new(),
        };
        let dns = scene.dir.path().join("dns").display().to_string();
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args([
            "-k",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
        ]);
        dnsmasq.args([
            "--listen-address=127.0.0.54",
            "--bind-interfaces",
            "--pid-file=",
        ]);
        dnsmasq.args([
            "--local=/example/",
            "--local=/arpa/",
            "--cname=alias.lan.example,two.lan.example",
        ]);
        dnsmasq.args(["--ptr-record=4.2.0.192.in-addr.arpa,liar.wild.example"]);
        dnsmasq.arg(format!("--addn-hosts={dns}"));
        scene.start(dnsmasq)?;
        let mut responder = Command::new(binary(Arch::X86_64)?);
        responder
            .args(["mdns", "--hosts"])
            .arg(scene.dir.path().join("local"));
        scene.start(responder)?;
        let resolves = wait_for(PATIENCE, || {
            let mut resolve = Command::new(binary(Arch::X86_64)?);
            resolve
                .args(["resolve", "-n", "six.local"])
                .stderr(Stdio::null())
                .stdout(Stdio::null());
            let is_bound = UdpSocket::bind(DNSMASQ).is_err();
            Ok((resolve.status()?.success() && is_bound).then_some(()))
        })?;
        resolves.context("six.local is not announced")?;
        Ok(scene)
    }

    fn start(&mut self, mut command: Command) -> Result<()> {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.helpers.push(quiet.spawn()?);
        Ok(())
    }

    fn path(&self) -> String {
        self.dir.path().join("srv").display().to_string()
    }

    /// Writes the file of exports; `@` before a blank is the exported directory.
    fn write_exports(&self, text: &str) -> Result<()> {
        let text = text.replace("@ ", &format!("{} ", self.path()));
        Ok(fs::write(self.dir.path().join("exports"), text)?)
    }

    /// Starts a server that knows no results of an earlier one.
    fn serve(&self, role: &'static str, exports: &str) -> Result<Server> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        self.serve_with(role, exports, 0, &format!("state{number}"))
    }

    /// Starts a server at a port (0: any), with a directory of state.
    fn serve_with(
        &self,
        role: &'static str,
        exports: &str,
        port: u16,
        state: &str,
    ) -> Result<Server> {
        self.write_exports(exports)?;
        let file = self.dir.path().join("exports").display().to_string();
        let state = self.dir.path().join(state);
        fs::create_dir_all(&state)?;
        let mut arguments = vec!["-e".into(), file];
        arguments.extend(["--state-dir".into(), state.display().to_string()]);
        if role == "serve" {
            arguments.push("--no-mdns".into());
        }
        Server::start(ServerOptions {
            role,
            arguments,
            address: SERVER.into(),
            key_file: Some(self.dir.path().join("key")),
            port,
            ..ServerOptions::default()
        })
    }

    /// Mounts from 192.0.2.`host`. Returns the client, the handle and the time.
    fn mount(&self, server: &Server, host: u8) -> Result<(Client, Vec<u8>, Duration)> {
        let at = (SERVER, server.nfs_port).into();
        let mut client = Client::connect_from(Ipv4Addr::new(192, 0, 2, host), at)?;
        let begin = Instant::now();
        let root = client.mount(&self.path());
        let time = begin.elapsed();
        ensure!(time < WAIT_MAX, "MNT of host {host} took {time:?}");
        Ok((client, root?, time))
    }

    /// The answer to GETATTR of the export's top from 192.0.2.`host`.
    fn ask(&self, server: &Server, host: u8, root: &[u8]) -> Result<()> {
        let at = (SERVER, server.nfs_port).into();
        let mut client = Client::connect_from(Ipv4Addr::new(192, 0, 2, host), at)?;
        client.attr(root).map(drop)
    }

    fn ensure_refused(&self, server: &Server, host: u8) -> Result<()> {
        ensure_refused(self.mount(server, host).map(drop), "ACCES")
            .with_context(|| format!("host {host}"))
    }
}

const DNS: &str = "192.0.2.2 two.lan.example\n192.0.2.3 n3.wild.example\n192.0.2.7 n7.wild.example\n\
    192.0.2.9 liar.wild.example\n";
const EXPORTS: &str =
    "@ two(rw,insecure) *.wild.example(ro,insecure) five(ro,insecure) six.local(ro,insecure)\n";

#[test]
fn names_and_wildcards_admit_their_hosts_only() -> Result<()> {
    Scene::with(DNS, |scene| {
        for role in ["nfs", "serve"] {
            for behaviour in [HONEST, LYING, SLOW] {
                BEHAVIOUR.store(behaviour, Ordering::Relaxed);
                let server = scene.serve(role, EXPORTS)?;
                for host in [2, 5, 6] {
                    scene.mount(&server, host)?;
                }
                // A slow server's answers come after the wait, and count for the next MNT.
                if behaviour == SLOW {
                    scene.ensure_refused(&server, 3)?;
                    thread::sleep(Duration::from_millis(1200));
                }
                let (mut client, root, _) = scene.mount(&server, 3)?;
                for host in [1, 4] {
                    scene.ensure_refused(&server, host)?;
                }
                // The server of names is gone: nothing changes for known clients, and others are refused.
                BEHAVIOUR.store(SILENT, Ordering::Relaxed);
                scene.ensure_refused(&server, 7)?;
                client.attr(&root)?;
                server.signal(Signal::SIGHUP)?;
                thread::sleep(Duration::from_millis(300));
                for host in [2, 3] {
                    scene.mount(&server, host)?;
                }
            }
        }
        Ok(())
    })
}

/// A client of a server that was restarted does not get ESTALE because its name is not known yet.
#[test]
fn restarted_server_looks_names_up_before_it_refuses() -> Result<()> {
    Scene::with(DNS, |scene| {
        let server = scene.serve("serve", EXPORTS)?;
        let (_, root, _) = scene.mount(&server, 3)?;
        drop(server);
        BEHAVIOUR.store(SLOW, Ordering::Relaxed);
        let server = scene.serve("serve", EXPORTS)?;
        let at = (SERVER, server.nfs_port).into();
        let mut client = Client::connect_from(Ipv4Addr::new(192, 0, 2, 3), at)?;
        let first = client.attr(&root).map(drop);
        ensure_refused(first, "JUKEBOX")?;
        thread::sleep(Duration::from_millis(2600));
        client.attr(&root)?;
        Ok(())
    })
}

/// Exports by name and wildcard, and to 192.0.2.8 by its address.
const MIXED: &str = "@ two(rw,insecure) *.wild.example(ro,insecure) 192.0.2.8(ro,insecure)\n";

#[test]
fn known_names_survive_a_kill_while_dns_is_silent() -> Result<()> {
    Scene::with(DNS, |scene| {
        let server = scene.serve_with("serve", MIXED, 2049, "state")?;
        let (_, root, _) = scene.mount(&server, 3)?;
        scene.mount(&server, 2)?;
        BEHAVIOUR.store(SILENT, Ordering::Relaxed);
        let [killed] = server.children()?[..] else {
            bail!("not one process");
        };
        nix::sys::signal::kill(Pid::from_raw(killed.try_into()?), Signal::SIGKILL)?;
        wait_for(PATIENCE, || {
            Ok(scene.ask(&server, 8, &root).is_ok().then_some(()))
        })?;
        ensure!(server.children()? != [killed], "the server was not killed");
        for host in [2, 3, 8] {
            scene.mount(&server, host)?;
        }
        // Not known: one that the wildcard may admit, and a stranger.
        for host in [7, 4] {
            ensure_refused(scene.ask(&server, host, &root), "JUKEBOX")?;
            scene.ensure_refused(&server, host)?;
        }
        Ok(())
    })
}

#[test]
fn undecided_clients_wait_for_dns() -> Result<()> {
    Scene::with(DNS, |scene| {
        fs::write(scene.dir.path().join("srv/file"), "text")?;
        let serve = |role| scene.serve_with(role, MIXED, 0, "state");
        let server = serve("nfs")?;
        let (_, root, _) = scene.mount(&server, 3)?;
        scene.mount(&server, 2)?;
        server.terminate()?;
        BEHAVIOUR.store(SILENT, Ordering::Relaxed);
        // Each server knows what the first one saved; a killed server saves nothing.
        for role in ["nfs", "serve"] {
            let server = serve(role)?;
            for host in [2, 3, 8] {
                scene.mount(&server, host)?;
            }
            ensure_refused(scene.ask(&server, 4, &root), "JUKEBOX")?;
            server.kill()?;
        }
        let server = scene.serve("nfs", MIXED)?;
        scene.ask(&server, 8, &root)?;
        for _ in 0..2 {
            for host in [2, 3, 4] {
                ensure_refused(scene.ask(&server, host, &root), "JUKEBOX")?;
            }
            thread::sleep(Duration::from_secs(4));
        }
        let exports = scene.dir.path().join("exports");
        let http = HttpServer::start_at(
            (SERVER, 80).into(),
            "http",
            ["-e".as_ref(), exports.as_os_str()],
        )?;
        let get = |host| {
            let from = Ipv4Addr::new(192, 0, 2, host);
            let mut client = http::Client::connect_from(from, http.address())?;
            let path = format!("{}/file", scene.path());
            client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
            let reply = client.receive()?;
            let is_repeated = reply.head.field("Retry-After").is_some();
            anyhow::Ok((reply.head.status, is_repeated))
        };
        ensure!(get(8)? == (200, false));
        for host in [2, 3, 4] {
            let answer = get(host)?;
            ensure!(answer == (503, true), "host {host}: {answer:?}");
        }
        BEHAVIOUR.store(HONEST, Ordering::Relaxed);
        for host in [2, 3] {
            let answered = wait_for(PATIENCE, || {
                Ok(scene.ask(&server, host, &root).is_ok().then_some(()))
            })?;
            answered.with_context(|| format!("host {host}"))?;
        }
        let refused = wait_for(PATIENCE, || {
            let asked = scene.ask(&server, 4, &root);
            Ok(ensure_refused(asked, "STALE").ok())
        })?;
        refused.context("a stranger is not refused")
    })
}

/// The time (µs) that 99 of 100 calls do not exceed.
fn p99(client: &mut Client, root: &[u8], until: impl Fn(usize) -> bool) -> Result<u128> {
    let mut times = Vec::new();
    while until(times.len()) {
        let begin = Instant::now();
        client.attr(root)?;
        times.push(begin.elapsed().as_micros());
    }
    times.sort_unstable();
    println!("median of GETATTR: {} us", times[times.len() / 2]);
    Ok(times[times.len() * 99 / 100])
}

#[test]
fn slow_look_ups_delay_no_other_call() -> Result<()> {
    Scene::with(DNS, |scene| {
        let mut exports = EXPORTS.trim_end().to_owned();
        for number in 0..100 {
            write!(exports, " gone{number}.example(ro)")?;
        }
        let server = scene.serve("nfs", &exports)?;
        let (mut client, root, _) = scene.mount(&server, 2)?;
        let at_rest = p99(&mut client, &root, |count| count < 20_000)?;
        BEHAVIOUR.store(SILENT, Ordering::Relaxed);
        server.signal(Signal::SIGHUP)?;
        let begin = Instant::now();
        let beside = thread::scope(|scope| {
            // A client that waits for its own name.
            let other = scope.spawn(|| scene.ensure_refused(&server, 7));
            let beside = p99(&mut client, &root, |_| {
                begin.elapsed() < Duration::from_secs(4)
            });
            other.join().expect("the client does not panic").and(beside)
        })?;
        println!("p99 of GETATTR: {at_rest} us at rest, {beside} us beside 100 look-ups");
        ensure!(
            beside < 2 * at_rest + 20_000,
            "{beside} us, at rest {at_rest} us"
        );
        Ok(())
    })
}

#[test]
fn four_thousand_names_are_looked_up_at_once() -> Result<()> {
    let (mut dns, mut exports) = (String::new(), "@ -insecure,ro".to_owned());
    for number in 0..4090 {
        writeln!(
            dns,
            "10.9.{}.{} n{number}.lan.example",
            number / 250,
            number % 250 + 1
        )?;
        write!(exports, " n{number}")?;
    }
    Scene::with(&(dns + DNS), |scene| {
        // The relay is slower than dnsmasq.
        fs::write(
            scene.dir.path().join("resolv.conf"),
            "nameserver 127.0.0.54\nsearch lan.example\n",
        )?;
        let server = scene.serve("nfs", "@ two(ro,insecure)\n")?;
        let (mut client, root, _) = scene.mount(&server, 2)?;
        let alone = p99(&mut client, &root, |count| count < 5000)?;
        drop(server);
        let server = scene.serve("nfs", &format!("{exports} two *.wild.example\n"))?;
        let begin = Instant::now();
        let mounted = wait_for(PATIENCE, || Ok(scene.mount(&server, 2).ok()))?;
        let (mut client, root, time) = mounted.context("the last name admits no client")?;
        println!(
            "MNT beside 4,092 names: {time:?}, {:?} after the start",
            begin.elapsed()
        );
        let listed = p99(&mut client, &root, |count| count < 5000)?;
        println!("p99 of GETATTR: {alone} us by the only name, {listed} us by the last of 4,092");
        scene.mount(&server, 3)?;
        scene.ensure_refused(&server, 8)?;
        ensure!(listed < 2 * alone + 20_000, "{listed} us, alone {alone} us");
        Ok(())
    })
}

/// Hosts that are doubtful or unknown, each with the column of its word and a part of the message.
#[test]
fn doubtful_hosts_are_reported_with_position() -> Result<()> {
    Scene::with(DNS, |scene| {
        let columns = scene.path().len() + 2;
        for (hosts, offset, parts) in [
            (
                "everyone(ro)",
                0,
                &["check the hosts", "for every host write *"][..],
            ),
            (
                "** five(ro)",
                0,
                &["check the hosts", "for every host write *"],
            ),
            (
                "five 192.168.1.(ro)",
                5,
                &["check the hosts", "for a network write"],
            ),
            (
                "five 192.168.*.*(ro)",
                5,
                &["check the hosts", "for a network write"],
            ),
            (
                "five @group(ro)",
                5,
                &["check the hosts", "so no host matches"],
            ),
            (
                "five nohost.example(ro)",
                5,
                &["unknown host", "neither /etc/hosts nor DNS"],
            ),
            (
                "five none.local(ro)",
                5,
                &["unknown host", "by multicast DNS"],
            ),
            (
                "five a..b(ro)",
                5,
                &["unknown host", "no host can have this name"],
            ),
            (
                "five two alias six.local localhost *.wild.example 192.0.2.0/24(ro)",
                0,
                &[],
            ),
        ] {
            scene.write_exports(&format!("# comment\n@ {hosts}\n"))?;
            let path = scene.dir.path().join("exports");
            let output = Command::new(binary(Arch::X86_64)?)
                .args(["nfs", "-T", "-e"])
                .arg(&path)
                .output()?;
            let message = String::from_utf8(output.stderr)?;
            let place = format!("{}:2:{} ", path.display(), columns + offset);
            let is_right = parts.iter().all(|part| message.contains(part));
            let count = usize::from(!parts.is_empty());
            ensure!(
                output.status.success()
                    && is_right
                    && message.lines().count() == count
                    && message.contains(&place) == (count > 0),
                "{hosts}: {message}"
            );
        }
        test_file(&scene.dir.path().join("exports")).map(drop)
    })
}
