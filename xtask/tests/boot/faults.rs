//! Network boot on a bad network: loss, duplicates, late and damaged frames; floods; FIFOs and links in the directory.

use super::offers::{Discover, discover};
use super::serve;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::Duration;
use xtask::machines::cable::Cable;
use xtask::machines::iso::unpack_package;
use xtask::machines::server::{Namespace, ip, public_dir, root_for};
use xtask::setup;

/// Loss, and each other fault (in thousandths of the frames).
const FAULTS: usize = 50;
/// Requests of a flood.
const FLOOD: u16 = 10_000;
/// Longest time (seconds) of a client's transfer. Beside a flood, a server without a bound for each client address takes minutes.
const PATIENCE: &str = "20";

/// Connects two hosts, 192.0.2.1 and 192.0.2.2, by two cables that are joined. The faults of the first one are those of both directions.
fn connect(hosts: [&Namespace; 2], directory: &Path) -> Result<Cable> {
    let mut cables = Vec::new();
    let mut ends = Vec::new();
    for (number, host) in (1..).zip(hosts) {
        let socket = directory.join(format!("cable{number}"));
        let cable = host.run(|| Cable::new("tap0", &socket, Duration::ZERO, number))?;
        for words in [
            format!("addr add 192.0.2.{number}/24 dev tap0"),
            "link set tap0 up".to_owned(),
            "route add default dev tap0".to_owned(),
        ] {
            ip(&format!("-n {} {words}", host.name()))?;
        }
        ends.push(UnixStream::connect(&socket)?);
        cables.push(cable);
    }
    for [from, to] in [[0, 1], [1, 0]] {
        let (mut from, mut to) = (ends[from].try_clone()?, ends[to].try_clone()?);
        // Ends with the process.
        thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
    Ok(cables.swap_remove(0))
}

/// Each client of others fetches a file as it is, and each machine is offered a loader, where the network loses, repeats, delays and
/// damages one frame in twenty each.
#[test]
fn bad_networks_only_take_time() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    setup::install_packages(&["curl", "busybox-static", "iproute2"])?;
    let directory = public_dir()?;
    let root = directory.path();
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(60_000)
        .collect();
    fs::write(root.join("file"), &content)?;
    fs::write(root.join("snponly.efi"), "loader")?;
    let (host, other) = (Namespace::new()?, Namespace::new()?);
    let work = tempfile::tempdir()?;
    let cable = connect([&host, &other], work.path())?;
    let server = serve(&host, root, &["--interface", "tap0"])?;
    cable.set_faults(FAULTS);
    let atftp = unpack_package("atftp")?.join("usr/bin/atftp");
    let hpa = unpack_package("tftp-hpa")?.join("usr/bin/tftp");
    let out = work.path().join("out");
    for client in [
        "busybox tftp -g -b 1432 -r file -l OUT 192.0.2.1".to_owned(),
        "curl -sf --tftp-blksize 1468 -o OUT tftp://192.0.2.1/file".to_owned(),
        // With options, a repeated OACK ends atftp.
        format!("{} -g -r file -l OUT 192.0.2.1", atftp.display()),
        format!("{} -m binary 192.0.2.1 -c get file OUT", hpa.display()),
    ] {
        let line = client.replace("OUT", &out.display().to_string());
        let ran = other.command("sh").args(["-c", &line]).output()?;
        let fetched = fs::read(&out).unwrap_or_default();
        let len = fetched.len();
        ensure!(
            fetched == content,
            "{line}: {len} bytes, {ran:?}, {:#?}",
            server.lines()
        );
        fs::remove_file(&out)?;
    }
    for number in 0..20 {
        let asked = Discover::uefi(number);
        let offer = other.run(|| discover(&asked))?;
        ensure!(offer.field("file") == "snponly.efi", "{offer:#?}");
    }
    Ok(())
}

/// Fetches a file by curl on the same host.
fn fetch(host: &Namespace, name: &str) -> Result<Output> {
    let url = format!("tftp://127.0.0.1/{name}");
    let mut command = host.command("curl");
    let output = command.args(["-sf", "--max-time", PATIENCE, &url]).output();
    output.context("cannot start curl")
}

/// Requests from 10,000 ports that never acknowledge anything, and a client that wants its file.
#[test]
fn client_is_served_beside_a_flood() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    setup::install_packages(&["curl", "iproute2"])?;
    let directory = public_dir()?;
    fs::write(directory.path().join("file"), vec![7; 100_000])?;
    let host = Namespace::new()?;
    let server = serve(&host, directory.path(), &["--interface", "lo"])?;
    thread::scope(|scope| -> Result<()> {
        let flood = scope.spawn(|| {
            host.run(|| {
                for port in 20_000..20_000 + FLOOD {
                    let socket = UdpSocket::bind(("127.0.0.2", port))?;
                    socket.send_to(b"\0\x01file\0octet\0blksize\x008192\0", "127.0.0.1:69")?;
                }
                Ok(())
            })
        });
        let mut count = 0;
        while !flood.is_finished() || count == 0 {
            let got = fetch(&host, "file")?;
            let len = got.stdout.len();
            ensure!(
                len == 100_000,
                "{len} bytes, {got:?}\n{:#?}",
                server.lines()
            );
            count += 1;
        }
        flood.join().ok().context("the flood has panicked")?
    })?;
    Ok(())
}

/// A FIFO, a directory and a link to the outside are not found, at once; links within the directory are followed.
#[test]
fn only_files_of_the_directory_are_served() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    setup::install_packages(&["curl", "iproute2"])?;
    let (directory, outside) = (public_dir()?, public_dir()?);
    let root = directory.path();
    fs::create_dir(root.join("dir"))?;
    fs::write(root.join("dir/file"), "content")?;
    fs::write(outside.path().join("secret"), "secret")?;
    nix::unistd::mkfifo(
        &root.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )?;
    for (name, target) in [
        ("within", "dir/file"),
        ("folder", "dir"),
        ("loop", "loop"),
        ("pipe", "fifo"),
    ] {
        symlink(target, root.join(name))?;
    }
    symlink(outside.path(), root.join("out"))?;
    symlink(outside.path().join("secret"), root.join("leak"))?;
    let host = Namespace::new()?;
    let server = serve(&host, root, &["--interface", "lo"])?;
    for (name, expect) in [
        ("within", "content"),
        ("folder/file", "content"),
        ("fifo", ""),
        ("pipe", ""),
        ("dir", ""),
        ("loop", ""),
        (&*"l".repeat(300), ""),
        ("leak", ""),
        ("out/secret", ""),
        ("dir/file", "content"),
    ] {
        let got = fetch(&host, name)?;
        // curl's status for a file that the server does not have, or that it refuses.
        let status_fits = match expect {
            "" => matches!(got.status.code(), Some(68 | 69)),
            _ => got.status.success(),
        };
        let has_failed = server.lines().iter().any(|line| line.contains("disk"));
        ensure!(
            status_fits && got.stdout == expect.as_bytes() && !has_failed,
            "{name}: {got:?}\n{:#?}",
            server.lines()
        );
    }
    Ok(())
}
