//! Limits on the system calls (counted by strace) and the memory of an SFTP session, and its confinement in a jail.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use std::fs;
use std::path::Path;
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::sftp::{
    Attrs, READ_MAX, Reply, Request, Sftp, SftpOptions, Status, Wire, open,
};
use xtask::machines::server::{self, public_dir, root_for};
use xtask::machines::wait_for;
use xtask::setup;
use xtask::testing::promised;

/// Longest wait for a session's sandbox.
const PATIENCE: Duration = Duration::from_secs(20);
/// Length (bytes) of a READ in the tests.
const BLOCK: u32 = 32 << 10;
/// Number of requests in one pipeline.
const DEPTH: usize = 64;
/// Number of pipelines in each measurement.
const ROUNDS: usize = 20;

/// Starts a server under strace, which logs to `log`.
fn traced(options: SftpOptions, log: &Path) -> Result<Sftp> {
    setup::install_packages(&["strace"])?;
    let through = ["strace", "-f", "-o"].map(str::to_owned).to_vec();
    Sftp::start(&SftpOptions {
        wrapper: [through, vec![log.display().to_string()]].concat(),
        ..options
    })
}

/// Names of the system calls in the log; the first one is execve.
fn calls(log: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(log)?;
    let names = text.lines().filter_map(|line| {
        let call = line.split_whitespace().nth(1)?;
        let (name, _) = call.split_once('(')?;
        Some(name.to_owned())
    });
    Ok(names.collect())
}

/// Runs `requests`, which must wait for all replies. Returns the number and names of the system calls.
fn cost(
    options: SftpOptions,
    requests: impl FnOnce(&mut Sftp) -> Result<()>,
) -> Result<(usize, Vec<String>)> {
    let directory = public_dir()?;
    let log = directory.path().join("calls");
    let mut client = traced(options, &log)?;
    // The first request causes one-time work, which is not measured.
    client.stat(".")?;
    let before = calls(&log)?.len();
    requests(&mut client)?;
    client.finish()?;
    let names = calls(&log)?;
    // The last two calls are not counted: the read that returns 0 at the session's end, and exit.
    let names = names.get(before..names.len() - 2).context("no calls")?;
    Ok((names.len(), names.to_vec()))
}

#[test]
fn version_is_sent_within_promised_calls() -> Result<()> {
    let most = promised("answers within ", " system calls of its start")?;
    for arch in Arch::NATIVE {
        for wire in [Wire::Pipes, Wire::SocketPair] {
            let directory = public_dir()?;
            let log = directory.path().join("calls");
            let options = SftpOptions::default().with_arch(arch).with_wire(wire);
            traced(options, &log)?.finish()?;
            let names = calls(&log)?;
            let sent = names
                .iter()
                .position(|name| name == "write" || name == "pwritev2");
            let count = sent.context("nothing was written")? + 1;
            ensure!(
                count as u64 <= most,
                "{} over {wire:?}: {count}: {names:?}",
                arch.name()
            );
        }
    }
    Ok(())
}

#[test]
fn read_takes_three_calls_even_jailed() -> Result<()> {
    let most = promised("An SFTP READ takes ", " system calls")? as usize;
    let tree = public_dir()?;
    fs::write(tree.path().join("file"), vec![7; 8 << 20])?;
    for jailed in [false, true] {
        for len in [BLOCK, READ_MAX] {
            let (count, names) = cost(SftpOptions::serving(tree.path(), jailed), |client| {
                let handle = client.open_read("file")?;
                for block in 0..30 {
                    let data = client.read(&handle, u64::from(block * len), len)?;
                    ensure!(data.is_some_and(|data| data.len() == len as usize));
                }
                Ok(())
            })?;
            // The allowance of 12 is for OPEN, and for enlarging the pipe once.
            ensure!(count <= most * 30 + 12, "{count} calls: {names:?}");
        }
    }
    Ok(())
}

/// In a pipe without space for two READ replies, server and client would wait for each other after every reply, so the server
/// enlarges the pipe.
#[test]
fn pipe_grows_once_a_batch_exceeds_it() -> Result<()> {
    const USUAL: usize = 64 << 10;
    let tree = public_dir()?;
    let content: Vec<u8> = (0..DEPTH as u32 * BLOCK)
        .map(|offset| (offset % 251) as u8)
        .collect();
    fs::write(tree.path().join("file"), &content)?;
    for arch in Arch::NATIVE {
        for jailed in [false, true] {
            let options = SftpOptions::serving(tree.path(), jailed).with_arch(arch);
            let mut client = Sftp::start(&options.with_wire(Wire::Pipes))?;
            let handle = client.open_read("file")?;
            client.read(&handle, 0, BLOCK)?;
            let before = client.pipe_bytes()?;
            ensure!(before <= USUAL, "one READ found a pipe of {before} bytes");
            let reads = content
                .chunks(BLOCK as usize)
                .zip((0..).step_by(BLOCK as usize));
            let mut pending = Vec::new();
            for (part, offset) in reads {
                let request = Request::Read(&handle, offset, BLOCK);
                let id = client.next_id();
                client.send(&request.packet(id))?;
                pending.push((id, request, part));
            }
            for (id, request, part) in pending {
                let Reply::Data(data) = client.answer(id, &request)? else {
                    bail!("{request:?} was not answered with data");
                };
                ensure!(
                    data == part,
                    "{request:?} returned other bytes than the file has"
                );
            }
            // The server blocked in write(2) on a full pipe. The replies to all requests that arrived meanwhile were one batch,
            // larger than the pipe, so the server enlarged the pipe.
            let after = client.pipe_bytes()?;
            ensure!(after > USUAL, "a full pipe keeps {after} bytes");
            client.finish()?;
        }
    }
    Ok(())
}

/// System calls per STAT in a pipeline.
fn stat_cost(options: SftpOptions) -> Result<f64> {
    let (count, _) = cost(options, |client| {
        let requests = vec![Request::Stat(b"dir/file"); DEPTH];
        for _ in 0..ROUNDS {
            client.pipeline(&requests)?;
        }
        Ok(())
    })?;
    Ok(count as f64 / (DEPTH * ROUNDS) as f64)
}

#[test]
fn pipelined_stat_takes_two_calls_four_jailed() -> Result<()> {
    let tree = public_dir()?;
    fs::create_dir(tree.path().join("dir"))?;
    fs::write(tree.path().join("dir/file"), "x")?;
    let plain = stat_cost(SftpOptions::in_directory(tree.path()))?;
    let most = promised("a STAT takes ", " (")? as f64;
    ensure!(plain <= most, "{plain} calls");
    let jailed = stat_cost(SftpOptions::jailed(tree.path()))?;
    let most = promised("(", " in a jail)")? as f64;
    ensure!(jailed <= most, "{jailed} calls in a jail");
    Ok(())
}

/// An open of a FIFO may block or unblock another process, and an open of a device may have side effects.
#[test]
fn fifos_and_jailed_devices_are_never_opened() -> Result<()> {
    if !root_for("devices") {
        return Ok(());
    }
    for jailed in [false, true] {
        let (tree, directory) = (public_dir()?, public_dir()?);
        let mode = Mode::from_bits_truncate(0o666);
        mkfifo(&tree.path().join("fifo"), mode)?;
        mknod(
            &tree.path().join("device"),
            SFlag::S_IFCHR,
            mode,
            makedev(1, 3),
        )?;
        let log = directory.path().join("calls");
        let mut client = traced(SftpOptions::serving(tree.path(), jailed), &log)?;
        for name in ["fifo", "device"] {
            let path = name.as_bytes();
            client.stat(name)?;
            client.error_status(&Request::SetStat(path, Attrs::mode(0o600)))?;
            let status = client.error_status(&Request::OpenDir(path))?;
            ensure!(status == Some(Status::NO_SUCH_FILE), "{name}: {status:?}");
        }
        client.list(".")?;
        let over = open::WRITE | open::CREATE | open::TRUNCATE;
        for flags in [open::READ, over] {
            let refused = client.error_status(&Request::Open(b"fifo", flags, Attrs::default()))?;
            ensure!(refused == Some(Status::PERMISSION_DENIED), "{refused:?}");
            let status = client.error_status(&Request::Open(b"device", flags, Attrs::default()))?;
            ensure!(
                status.is_some() == jailed,
                "in a jail: {jailed}: {status:?}"
            );
        }
        client.finish()?;
        let text = fs::read_to_string(&log)?;
        // Does not count opens with O_PATH, nor with O_DIRECTORY, which fail before the object is opened.
        let opened = |name: &str| {
            let calls = text.lines().filter(|line| {
                line.contains(" open")
                    && line.contains(&format!("{name}\""))
                    && !line.contains("O_PATH")
                    && !line.contains("O_DIRECTORY")
            });
            calls.count()
        };
        ensure!(opened("fifo") == 0, "{text}");
        ensure!(opened("device") == if jailed { 0 } else { 2 }, "{text}");
    }
    Ok(())
}

#[test]
fn session_memory_stays_below_limit() -> Result<()> {
    const PAGE_KIB: u64 = 4;
    let file = fs::metadata(server::binary(Arch::X86_64)?)?;
    let file_kib = file.len().div_ceil(PAGE_KIB << 10) * PAGE_KIB;
    let tree = public_dir()?;
    fs::write(tree.path().join("file"), vec![7; 16 << 20])?;
    for wire in [Wire::Pipes, Wire::SocketPair] {
        let options = SftpOptions::in_directory(tree.path()).with_wire(wire);
        let mut client = Sftp::start(&options)?;
        let file = client.open_read("file")?;
        let copy = client.create("copy")?;
        let block = vec![9; READ_MAX as usize];
        for offset in (0..16 << 20).step_by(READ_MAX as usize) {
            client.read(&file, offset, READ_MAX)?;
            client.read(&file, offset, BLOCK)?;
            client.write_at(&copy, offset, &block)?;
        }
        client.check_handle(&file, "sha256", (0, 0), 64 << 10)?;
        client.list("/usr/bin")?;
        let rss = client.process.rss_kib()?;
        // The first page fault may map the whole executable, if the page cache holds it as one folio.
        let max = promised("An SFTP session takes at most ", " KiB besides")? + file_kib;
        ensure!(rss <= max, "{rss} KiB of {max} over {wire:?}");
        client.finish()?;
    }
    Ok(())
}

/// Value of a field of the server's /proc/PID/status.
fn status(client: &Sftp, name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{}/status", client.process.pid()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line
        .context("/proc/PID/status has no such field")?
        .trim()
        .to_owned())
}

#[test]
fn session_is_confined_before_the_first_packet() -> Result<()> {
    let tree = public_dir()?;
    for (options, last) in [
        (SftpOptions::in_directory(tree.path()), "prctl"),
        (SftpOptions::jailed(tree.path()), "landlock_restrict_self"),
    ] {
        let client = Sftp::spawn(&options)?;
        // No byte was sent yet.
        let is_confined = || Ok((status(&client, "Seccomp:")? == "2").then_some(()));
        wait_for(PATIENCE, is_confined)?.context("no seccomp filter")?;
        ensure!(status(&client, "NoNewPrivs:")? == "1", "no no_new_privs");
        client.vanish()?;
        // Expected order of the calls: Landlock, seccomp, then the read of the first packet.
        let directory = public_dir()?;
        let log = directory.path().join("calls");
        traced(options, &log)?.finish()?;
        let names = calls(&log)?;
        let position = |name: &str| names.iter().rposition(|call| call == name);
        let first = names.iter().position(|call| call == "read");
        for name in [last, "prctl"] {
            ensure!(
                position(name).is_some() && position(name) < first,
                "{name}: {names:?}"
            );
        }
    }
    Ok(())
}
