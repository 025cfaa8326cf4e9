//! The commands and URLs that the server prints: a client in another network namespace carries each of them out.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use xtask::build::Arch;
use xtask::machines::server::{Namespace, binary, ip, public_dir, root_for};
use xtask::setup;

const MARK: &str = "mount it with: ";
const NAME: &str = "file-of-the-export";

/// Addresses of the server's host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Host {
    /// 192.0.2.1 and 2001:db8::1.
    Both,
    /// 2001:db8::1.
    Ipv6,
    /// As `Both`, without a default route.
    Unrouted,
}

/// Directories below the test's own, arguments after the exports, host, UID, and parts of each command.
type Case = (
    &'static [&'static str],
    &'static [&'static str],
    Host,
    Option<u32>,
    &'static [&'static str],
);

/// Commands of a server that also offers version 4.1.
#[rustfmt::skip]
const CASES_4: [Case; 4] = [
    (&["a", "it's $HOME"], &[], Host::Both, None, &["mount -t nfs "]),
    (&["a"], &["-p"], Host::Both, None, &["mount -t nfs 192.0.2.1:"]),
    (&["a"], &["-n", "4049"], Host::Both, None, &["mount -t nfs -o port=4049 192.0.2.1:"]),
    (&["a"], &["-l", "2001:db8::1"], Host::Both, None, &["mount -t nfs '[2001:db8::1]:"]),
];

/// Commands of a server that offers version 3 alone.
#[rustfmt::skip]
const CASES: [Case; 14] = [
    (&["a"], &[], Host::Both, None, &["vers=3 192.0.2.1:"]),
    (&["a", "b"], &[], Host::Both, None, &["vers=3 192.0.2.1:"]),
    (&["a"], &["-p"], Host::Both, None, &[",proto=tcp,port=2049,mountport=2049 192.0.2.1:"]),
    (&["a"], &["-n", "4049"], Host::Both, None, &["vers=3 192.0.2.1:"]),
    (&["a"], &["-m", "4050"], Host::Both, None, &["vers=3 192.0.2.1:"]),
    (&["a"], &["-n", "4049", "-m", "4050", "-p"], Host::Both, None, &["port=4049,mountport=4050"]),
    (&["a b", "it's $HOME"], &[], Host::Both, None, &[" '192.0.2.1:"]),
    (&["a"], &["-l", "192.0.2.1"], Host::Both, None, &[" 192.0.2.1:"]),
    (&["a"], &["-l", "2001:db8::1"], Host::Both, None, &[" '[2001:db8::1]:"]),
    (&["a"], &["-l", "[2001:db8::1]", "-p"], Host::Both, None, &["mountport=2049 '[2001:db8::1]:"]),
    (&["a"], &[], Host::Ipv6, None, &[" '[2001:db8::1]:"]),
    (&["a"], &[], Host::Unrouted, None, &[" 192.0.2.1:"]),
    (&["a"], &[], Host::Both, Some(65534), &[",port=2049,mountport=2049 192.0.2.1:"]),
    (&["a"], &["--net", "packet:eth0", "--ip", "192.0.2.7/24", "--gw", "192.0.2.2"], Host::Both, None, &[" 192.0.2.7:"]),
];

/// Ends the server.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hosts(kind: Host) -> Result<(Namespace, Namespace)> {
    let (server, client) = Namespace::pair()?;
    for (host, number) in [(&server, 1), (&client, 2)] {
        let name = host.name();
        ip(&format!(
            "-n {name} -6 addr add 2001:db8::{number}/64 dev eth0 nodad"
        ))?;
        if kind == Host::Ipv6 {
            ip(&format!("-n {name} addr del 192.0.2.{number}/24 dev eth0"))?;
        }
    }
    let name = server.name();
    match kind {
        Host::Both => ip(&format!("-n {name} route add default via 192.0.2.2"))?,
        Host::Ipv6 => ip(&format!("-n {name} -6 route add default via 2001:db8::2"))?,
        Host::Unrouted => {}
    }
    Ok((server, client))
}

/// Lets a shell split the command, and lists the directory with the host, path and ports of its words.
fn carry_out(client: &Namespace, command: &str) -> Result<()> {
    let script = format!("mount() {{ printf '%s\\n' \"$@\"; }}; {command}");
    let words = setup::run_captured(client.command("sh").args(["-c", &script]))?;
    let words: Vec<&str> = words.lines().collect();
    let (options, source) = match words[..] {
        ["-t", "nfs", "-o", options, source, "/mnt"] => (options, source),
        // By version 4.1: NFS and MOUNT are on one port.
        ["-t", "nfs", source, "/mnt"] => ("port=2049", source),
        _ => anyhow::bail!("{command}: {words:?}"),
    };
    let (host, path) = match source.strip_prefix('[') {
        Some(inside) => inside.split_once("]:").context("no ]:")?,
        None => source.split_once(':').context("no colon")?,
    };
    let mut query = "version=3".to_owned();
    for option in options.split(',') {
        match option.split_once('=') {
            Some(("port", port)) => query += &format!("&nfsport={port}"),
            Some(("mountport", port)) => query += &format!("&mountport={port}"),
            Some(("vers", "3")) => {}
            Some(("proto", proto)) => ensure!(host.contains(':') == (proto == "tcp6")),
            None if option == "nolock" => {}
            _ => anyhow::bail!("{command}: unknown option {option}"),
        }
    }
    if !options.contains("vers=3") {
        query += &query.replace("version=3&nfsport", "&mountport");
    }
    let url = format!("nfs://{host}{path}?{query}");
    let listed = setup::run_captured(client.command("nfs-ls").arg(&url))?;
    ensure!(listed.contains(NAME), "{url}: {listed}");
    Ok(())
}

fn check(top: &Path, versions: &str, (names, arguments, host, user, parts): Case) -> Result<()> {
    let (server, client) = hosts(host)?;
    let mut command = server.command("/usr/bin/setpriv");
    if let Some(user) = user {
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
        command.arg("--clear-groups");
    }
    command.arg(binary(Arch::X86_64)?).arg("nfs");
    command.args(names.iter().map(|name| top.join(name)));
    command.args(arguments).args(["--handles", "path"]);
    command.args(["--nfs-versions", versions]);
    let mut child = Ended(command.stderr(Stdio::piped()).spawn()?);
    let lines = BufReader::new(child.0.stderr.take().context("no stderr")?).lines();
    let lines = lines.map_while(Result::ok);
    let commands = lines.filter_map(|line| Some(line.split_once(MARK)?.1.to_owned()));
    let commands: Vec<String> = commands.take(names.len()).collect();
    ensure!(commands.len() == names.len(), "{commands:?}");
    for command in commands {
        for part in parts {
            ensure!(command.contains(part), "{command}: no {part}");
        }
        carry_out(&client, &command)?;
    }
    Ok(())
}

#[test]
fn printed_commands_mount_the_exports() -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    setup::install_packages(&["libnfs-utils"])?;
    let top = public_dir()?;
    for name in ["a", "b", "a b", "it's $HOME"] {
        fs::create_dir(top.path().join(name))?;
        fs::write(top.path().join(name).join(NAME), "")?;
    }
    for (versions, cases) in [("3", &CASES[..]), ("3,4.1", &CASES_4)] {
        for case in cases {
            check(top.path(), versions, *case)
                .with_context(|| format!("{versions} {:?} {:?}", case.0, case.1))?;
        }
    }
    Ok(())
}

/// Arguments after the export, host, and the URLs.
type UrlCase = (&'static str, Host, &'static [&'static str]);

#[rustfmt::skip]
const URL_CASES: [UrlCase; 6] = [
    ("", Host::Both, &["http://192.0.2.1/", "http://[2001:db8::1]/"]),
    ("--http 8080", Host::Unrouted, &["http://192.0.2.1:8080/", "http://[2001:db8::1]:8080/"]),
    ("--http :81", Host::Ipv6, &["http://[2001:db8::1]:81/"]),
    ("-l 0.0.0.0", Host::Both, &["http://192.0.2.1/"]),
    ("-l 192.0.2.1 --metrics 9100 --metrics-from 192.0.2.2", Host::Both, &["http://192.0.2.1/", "http://192.0.2.1:9100/status"]),
    ("--net packet:eth0 --ip 192.0.2.7/24", Host::Both, &["http://192.0.2.7/"]),
];

fn check_urls(directory: &Path, (arguments, host, expected): UrlCase) -> Result<()> {
    let (server, client) = hosts(host)?;
    let mut command = server.command(&binary(Arch::X86_64)?.display().to_string());
    command
        .arg("http")
        .arg(directory)
        .args(arguments.split(' ').filter(|word| !word.is_empty()));
    let mut child = Ended(command.stderr(Stdio::piped()).spawn()?);
    let lines = BufReader::new(child.0.stderr.take().context("no stderr")?).lines();
    let words = lines.map_while(Result::ok).flat_map(|line| {
        let words = line
            .split([' ', '(', ')'])
            .filter(|word| word.starts_with("http://"));
        words.map(str::to_owned).collect::<Vec<_>>()
    });
    let urls: Vec<String> = words.take(expected.len()).collect();
    ensure!(urls == expected, "{urls:?}");
    for url in urls {
        setup::run_captured(
            client
                .command("curl")
                .args(["-sfg", "--max-time", "5", &url]),
        )?;
    }
    Ok(())
}

#[test]
fn printed_urls_open_the_server() -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    setup::install_packages(&["curl"])?;
    let top = public_dir()?;
    for case in URL_CASES {
        check_urls(top.path(), case).with_context(|| format!("{case:?}"))?;
    }
    Ok(())
}
