//! The lines that a server prints at its start about exports that do less than they seem to.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;
use xtask::build::Arch;
use xtask::machines::server::{binary, public_dir, root_for};
use xtask::setup;

/// The file of exports, or none; arguments; lines that are printed; and a part that no line has. `DIR` is the test's directory, with
/// file systems mounted at `DIR/m/a`, `DIR/m/b c` and, read-only, `DIR/ro`.
type Case = (
    Option<&'static str>,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const BELOW: &str = " is another file system: not entered; export it too";

#[rustfmt::skip]
const CASES: [Case; 12] = [
    (None, "nfs DIR/ro:rw", &["exporting DIR/ro: read-only: rw was asked, but the file system is read-only here (systemd: ReadWritePaths=DIR/ro)"], BELOW),
    (None, "nfs DIR/m", &["DIR/m/a is another file system: not entered; export it too", "DIR/m/b c is another file system: not entered; export it too"], "DIR/ro"),
    (None, "nfs DIR/m DIR/m/a", &["DIR/m/b c is another file system: not entered; export it too"], "DIR/m/a is another"),
    (Some("DIR/m *(ro,crossmnt,fsid=0)"), "nfs", &["options without effect crossmnt: export each file system that is mounted below another export", "option without effect fsid=0: version 4 has no other root; clients mount the export's path"], "nothing"),
    (Some(""), "nfs", &["nothing is exported yet in DIR/e: write an export there, and send SIGHUP"], "mount it with"),
    (None, "nfs", &["nothing to export: name a directory, as in stowaway nfs /srv, or write /etc/exports"], "usage"),
    (None, "serve --ip 192.0.2.1/24 DIR/m", &["--ip: only with --net, which runs a stack of its own beside the host's"], "listening"),
    (None, "http DIR/m:rw --http 80", &["rw has no effect on DIR/m: HTTP only reads; nfs, serve and sftp-server write", "exporting DIR/m: read-only"], "[::]:80/"),
    (None, "http DIR/m -l localhost", &["listening on 127.0.0.1:80 for HTTP (http://127.0.0.1/)"], "rw has"),
    (None, "serve DIR/m:rw --no-mdns -p --http :8080 --metrics 9100", &["listening on [::]:9100 for /metrics and /status (http://127.0.0.1:9100/status)"], "iPXE"),
    (None, "serve --isos DIR/m --no-mdns -p -l localhost --http 8080", &["listening on 127.0.0.1:8080 for iPXE (http://127.0.0.1:8080/boot.ipxe)"], "rw has"),
    (None, "mdns --mac 02:00:00:00:00:01", &["--mac: only with --net, which runs a stack of its own beside the host's"], "announc"),
];

#[test]
fn exports_that_do_less_are_named() -> Result<()> {
    if !root_for("mounts in a namespace") {
        return Ok(());
    }
    let top = public_dir()?;
    let dir = top.path().display().to_string();
    for (file, arguments, expected, absent) in CASES {
        let mut arguments = arguments.replace("DIR", &dir);
        if let Some(text) = file {
            fs::write(top.path().join("e"), text.replace("DIR", &dir))?;
            arguments += &format!(" -e {dir}/e");
        }
        if arguments.starts_with("nfs") {
            arguments += " -p --handles path";
        }
        let script = format!(
            "ip link set lo up; cd {dir}; mkdir -p m ro; mount -t tmpfs t m; mkdir m/a 'm/b c'; mount -t tmpfs t /etc
            mount -t tmpfs t m/a; mount -t tmpfs t 'm/b c'; mount -t tmpfs -o ro t ro
            timeout 1 {} {arguments} 2>&1",
            binary(Arch::X86_64)?.display()
        );
        let mut command = Command::new("unshare");
        let output = command.args(["-nm", "sh", "-c", &script]).output()?;
        let printed = String::from_utf8(output.stdout).context("the lines are not UTF-8")?;
        for line in expected {
            let line = format!("stowaway: {}\n", line.replace("DIR", &dir));
            ensure!(printed.contains(&line), "{arguments}: no {line}{printed}");
        }
        let absent = absent.replace("DIR", &dir);
        ensure!(!printed.contains(&absent), "{arguments}: {printed}");
    }
    Ok(())
}

/// System calls of a start, of which a container needs ten to find that it is one, and version 4.1 fourteen.
#[test]
fn nfs_waits_for_clients_after_few_calls() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    setup::install_packages(&["strace"])?;
    let top = public_dir()?;
    let script = format!(
        "ip link set lo up; mount -t tmpfs t /var/lib
        strace -f -o calls timeout 1 {} nfs -p -n 2049 -m 2049 {}",
        binary(Arch::X86_64)?.display(),
        top.path().display()
    );
    let mut command = Command::new("unshare");
    command.args(["-nm", "sh", "-c", &script]);
    command.current_dir(top.path()).output()?;
    let calls = fs::read_to_string(top.path().join("calls"))?;
    let mut all = calls
        .lines()
        .skip_while(|line| !line.contains("/stowaway\", ["));
    let (own, _) = all
        .next()
        .and_then(|line| line.split_once(' '))
        .context("no start")?;
    // Only those of the server, each once: on a busy host, strace prints a call and its end on two lines.
    let own = all.filter(|line| line.starts_with(own) && !line.contains(" resumed>"));
    // The first call of epoll_pwait does not wait.
    let start: Vec<&str> = own
        .take_while(|line| !line.contains("epoll_pwait(") || line.ends_with(" = 0"))
        .collect();
    ensure!(
        (100..=180).contains(&start.len()),
        "{}: {calls}",
        start.len()
    );
    Ok(())
}

/// Elsewhere, and in the background, it waits: `reloads`, `daemon::missing_export_does_not_keep_the_terminal`.
#[test]
fn missing_directory_on_a_terminal_ends_server() -> Result<()> {
    let top = public_dir()?;
    for role in ["http", "nfs -p -n 0", "serve --no-mdns -p -n 0"] {
        let file = binary(Arch::X86_64)?;
        let typed = format!(
            "timeout 5 {} {role} {}/x",
            file.display(),
            top.path().display()
        );
        let output = Command::new("script")
            .args(["-qec", &typed, "/dev/null"])
            .output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let end = "/x: does not exist; check the path\r\n";
        let is_one_line =
            printed.starts_with("stowaway: cannot export /") && printed.ends_with(end);
        ensure!(
            output.status.code() == Some(1) && is_one_line,
            "{role}: {printed}"
        );
    }
    Ok(())
}
