//! `browse --exec`: the programs that events start, how many at a time, and with what environment.

use super::WORDS;
use super::world::{Output, Process, World, wait_for_text, wait_for_v6};
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::machines::server::Namespace;
use xtask::setup::run_captured;

/// Writes an executable shell script and returns its path.
fn script(path: &Path, text: &str) -> Result<String> {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(path.to_string_lossy().into_owned())
}

#[test]
fn exec_runs_one_program_per_event() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let log = scratch.path().join("log");
    let program = script(
        &scratch.path().join("program"),
        &format!(
            "exec 3>>{}\necho \"begin $DNSSD_EVENT $DNSSD_FAMILY $DNSSD_NAME|$DNSSD_TYPE|$DNSSD_HOST|$DNSSD_ADDRESS|$DNSSD_PORT|\
             $DNSSD_TXT_path|$DNSSD_TXT_u|$KEPT$#\" >&3\necho \"open $(ls -l /proc/$$/fd | grep -c 'socket:\\|anon_inode:')\" >&3\nsleep 0.3\necho end >&3",
            log.display()
        ),
    )?;
    let mut browser = world.browser(&world.ours, &["-p", "--exec", &program, "_sftp-ssh._tcp"])?;
    browser.env("KEPT", "kept").env("DNSSD_TXT_path", "stale");
    let watch = Process::printing(browser)?;
    let responder = world.announce(&WORDS)?;
    let text = wait_for_text(&log, |text| text.matches("end").count() == 2)?;
    ensure!(
        text.contains(
            "begin add IPv4 My Files, all|_sftp-ssh._tcp|box.local|192.0.2.1|22|/srv|me|kept0"
        ),
        "{text}"
    );
    ensure!(
        text.contains("begin add IPv6 My Files, all|_sftp-ssh._tcp|box.local|fe80::"),
        "{text}"
    );
    responder.stop()?;
    let text = wait_for_text(&log, |text| text.matches("end").count() == 4)?;
    ensure!(
        text.contains("begin remove IPv4 My Files, all|_sftp-ssh._tcp||||||kept0"),
        "{text}"
    );
    // The browser never runs two --exec programs at once, and they inherit neither its sockets nor its event descriptors.
    let lines: Vec<_> = text.lines().collect();
    for run in lines.chunks(3) {
        let [begin_line, open_line, end_line] = run else {
            anyhow::bail!("{text}");
        };
        ensure!(
            begin_line.starts_with("begin") && *end_line == "end",
            "{text}"
        );
        ensure!(*open_line == "open 0", "{text}");
    }
    // The browser has no zombies: it has reaped all --exec programs.
    sleep(Duration::from_millis(500));
    let pid = watch.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    ensure!(children.trim().is_empty(), "{children}");
    watch.stop()
}

/// With `--jobs`, programs of several services run at the same time, but those of one service run one after the other. SIGHUP ends
/// neither the browser nor a program.
#[test]
fn jobs_are_parallel_but_ordered_per_service() -> Result<()> {
    const SERVICE_COUNT: usize = 20;
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    world.without_ipv6_on(&world.ours)?;
    let log = scratch.path().join("log");
    let program = script(
        &scratch.path().join("program"),
        &format!(
            "echo \"begin $DNSSD_EVENT $DNSSD_NAME\" >>{0}\nsleep 0.2\necho \"end $DNSSD_EVENT $DNSSD_NAME\" >>{0}",
            log.display()
        ),
    )?;
    let watch = world.browse(&["--jobs", "10", "--exec", &program, "_http._tcp"])?;
    let services: Vec<_> = (0..SERVICE_COUNT)
        .map(|number| format!("service{number},_http._tcp,80"))
        .collect();
    let mut words = vec!["--name", "box"];
    for service in &services {
        words.extend(["--service", service]);
    }
    let responder = world.announce(&words)?;
    wait_for_text(&log, |text| text.contains("begin add"))?;
    kill(watch.pid(), Signal::SIGHUP)?;
    wait_for_text(&log, |text| {
        text.matches("begin add").count() == SERVICE_COUNT
    })?;
    // The goodbyes arrive while the last programs still run.
    responder.stop()?;
    let text = wait_for_text(&log, |text| {
        text.matches("end remove").count() == SERVICE_COUNT
    })?;
    let (mut running, mut most) = (0, 0);
    for line in text.lines() {
        if line.starts_with("begin") {
            running += 1;
        } else {
            running -= 1;
        }
        most = most.max(running);
    }
    ensure!((5..=10).contains(&most), "{most} at a time: {text}");
    for number in 0..SERVICE_COUNT {
        let suffix = format!(" service{number}");
        let of: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_suffix(&suffix))
            .collect();
        ensure!(
            of == ["begin add", "end add", "begin remove", "end remove"],
            "{text}"
        );
    }
    watch.stop()
}

/// With `--once`, a service that a host announces on two interfaces and in both families causes one call, which has all addresses.
#[test]
fn once_runs_one_program_for_all_interfaces() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let ip = |host: &Namespace, words: &str| {
        run_captured(host.command("ip").args(words.split(' '))).map(drop)
    };
    let peer = world.theirs.path();
    ip(
        &world.ours,
        &format!("link add eth1 type veth peer name eth1 netns {peer}"),
    )?;
    for (host, address) in [
        (&world.ours, "198.51.100.1"),
        (&world.theirs, "198.51.100.2"),
    ] {
        ip(host, &format!("address add {address}/24 dev eth1"))?;
        ip(host, "link set eth1 up")?;
    }
    for host in [&world.ours, &world.theirs] {
        wait_for_v6(host, "eth1")?;
    }
    let log = scratch.path().join("log");
    let program = script(
        &scratch.path().join("program"),
        &format!(
            "echo \"$DNSSD_EVENT $DNSSD_NAME $DNSSD_HOST $DNSSD_PORT $DNSSD_ADDRESSES\" >>{}",
            log.display()
        ),
    )?;
    let watch = world.browse_from_theirs(&["--once", "-p", "--exec", &program, "_http._tcp"])?;
    let responder = world.announce(&["--name", "box", "--service", "Web,_http._tcp,80"])?;
    // A second service ends the wait: its program runs after those of the first one.
    watch.wait_for("=;")?;
    let second = world.start(
        "publish",
        &["--no-host", "-H", "box", "End", "_http._tcp", "81"],
    )?;
    let text = wait_for_text(&log, |text| text.contains("add End box.local 81 "))?;
    let of: Vec<_> = text.lines().filter(|line| line.contains(" Web ")).collect();
    ensure!(
        of.len() == 1 && of[0].starts_with("add Web box.local 80 "),
        "{text}"
    );
    let addresses: Vec<_> = of[0].split(' ').skip(4).collect();
    let distinct: BTreeSet<_> = addresses.iter().collect();
    let has = |start: &str, end: &str| {
        let mut all = addresses.iter();
        all.any(|address| address.starts_with(start) && address.ends_with(end))
    };
    ensure!(
        distinct.len() == addresses.len()
            && has("192.0.2.1", "")
            && has("198.51.100.1", "")
            && has("fe80::", "%eth0")
            && has("fe80::", "%eth1"),
        "{text}"
    );
    second.stop()?;
    responder.stop()?;
    let text = wait_for_text(&log, |text| text.contains("remove Web"))?;
    ensure!(text.lines().count() <= 4, "{text}");
    watch.stop()
}

#[test]
fn failed_or_missing_exec_program_is_reported() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let file = scratch.path().join("file");
    fs::write(&file, "text")?;
    let file = file.to_string_lossy();
    for program in ["/nowhere/program", &file, "/"] {
        let output =
            Output::of(&mut world.browser(&world.ours, &["-t", "--exec", program, "_http._tcp"])?)?;
        ensure!(
            output.code == Some(1) && output.stderr.contains("no such program"),
            "{output:?}"
        );
    }
    fs::set_permissions(&*file, fs::Permissions::from_mode(0o755))?;
    let bad = script(&scratch.path().join("bad"), "exit 3")?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    for (program, part) in [
        (&*file, "cannot run the program"),
        (&bad, "error from the program"),
    ] {
        let output = Output::of(
            &mut world.browser(&world.ours, &["-t", "--exec", program, "_sftp-ssh._tcp"])?,
        )?;
        ensure!(
            output.code == Some(0) && output.stderr.contains(&format!("{part} {program}")),
            "{output:?}"
        );
    }
    responder.stop()
}
