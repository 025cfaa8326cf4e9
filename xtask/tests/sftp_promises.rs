//! What a session costs: system calls, as strace sees them, and memory; and what it has given up.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use std::fs;
use std::path::Path;
use xtask::build::Arch;
use xtask::clients::sftp::{
    Attrs, READ_MAX, Reply, Request, Sftp, SftpOptions, Status, Wire, open,
};
use xtask::machines::server::{public_dir, root_for};
use xtask::setup::{self, Package};

/// Bytes of the requests whose calls are counted.
const BLOCK: u32 = 32 << 10;
/// Requests that come together.
const DEPTH: usize = 64;
/// How often.
const ROUNDS: usize = 20;
/// What a session may have in memory. The kernel may map all of the file at the first touch, where it keeps it in one piece.
const RSS_KIB_MAX: u64 = 704;

/// A server that strace writes about to `log`.
fn traced(options: SftpOptions, log: &Path) -> Result<Sftp> {
    setup::need(&[Package::STRACE])?;
    let through = ["strace", "-f", "-o"].map(str::to_owned).to_vec();
    Sftp::start(&SftpOptions {
        through: [through, vec![log.display().to_string()]].concat(),
        ..options
    })
}

/// The names of the calls so far, the first of which is execve.
fn calls(log: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(log)?;
    let names = text.lines().filter_map(|line| {
        let call = line.split_whitespace().nth(1)?;
        let (name, _) = call.split_once('(')?;
        Some(name.to_owned())
    });
    Ok(names.collect())
}

/// How many calls `requests` make, all of which have answers.
fn cost(
    options: SftpOptions,
    requests: impl FnOnce(&mut Sftp) -> Result<()>,
) -> Result<(usize, Vec<String>)> {
    let place = public_dir()?;
    let log = place.path().join("calls");
    let mut client = traced(options, &log)?;
    // What is done only once is done before.
    client.stat(".")?;
    let before = calls(&log)?.len();
    requests(&mut client)?;
    client.finish()?;
    let made = calls(&log)?;
    // The end of the session: a read, and the exit.
    let made = made.get(before..made.len() - 2).context("no calls")?;
    Ok((made.len(), made.to_vec()))
}

#[test]
fn version_leaves_within_fifteen_calls() -> Result<()> {
    for arch in Arch::NATIVE {
        for wire in [Wire::Pipes, Wire::SocketPair] {
            let place = public_dir()?;
            let log = place.path().join("calls");
            let options = SftpOptions::default().by(arch).over(wire);
            traced(options, &log)?.finish()?;
            let made = calls(&log)?;
            let sent = made.iter().position(|name| name == "write");
            let count = sent.context("nothing was written")? + 1;
            ensure!(
                count <= 15,
                "{} over {wire:?}: {count}: {made:?}",
                arch.name()
            );
        }
    }
    Ok(())
}

#[test]
fn read_makes_three_calls_also_in_a_jail() -> Result<()> {
    let tree = public_dir()?;
    fs::write(tree.path().join("file"), vec![7; 8 << 20])?;
    for jailed in [false, true] {
        for len in [BLOCK, READ_MAX] {
            let (count, made) = cost(SftpOptions::serving(tree.path(), jailed), |client| {
                let handle = client.open_read("file")?;
                for at in 0..30 {
                    let data = client.read(&handle, u64::from(at * len), len)?;
                    ensure!(data.is_some_and(|data| data.len() == len as usize));
                }
                Ok(())
            })?;
            // OPEN makes a handful; the pipe is made larger once.
            ensure!(count <= 3 * 30 + 12, "{count} calls: {made:?}");
        }
    }
    Ok(())
}

/// Where a pipe has no place for two READs, server and client wait for each other after every one.
#[test]
fn pipe_grows_once_a_batch_exceeds_it() -> Result<()> {
    const USUAL: usize = 64 << 10;
    let tree = public_dir()?;
    let content: Vec<u8> = (0..DEPTH as u32 * BLOCK)
        .map(|at| (at % 251) as u8)
        .collect();
    fs::write(tree.path().join("file"), &content)?;
    for arch in Arch::NATIVE {
        for jailed in [false, true] {
            let options = SftpOptions::serving(tree.path(), jailed).by(arch);
            let mut client = Sftp::start(&options.over(Wire::Pipes))?;
            let handle = client.open_read("file")?;
            client.read(&handle, 0, BLOCK)?;
            let before = client.pipe_bytes()?;
            ensure!(before <= USUAL, "one READ found a pipe of {before} bytes");
            let reads = content
                .chunks(BLOCK as usize)
                .zip((0..).step_by(BLOCK as usize));
            let mut asked = Vec::new();
            for (part, at) in reads {
                let request = Request::Read(&handle, at, BLOCK);
                let id = client.next_id();
                client.send(&request.packet(id))?;
                asked.push((id, request, part));
            }
            for (id, request, part) in asked {
                let Reply::Data(data) = client.answer(id, &request)? else {
                    bail!("{request:?} is not answered by data");
                };
                ensure!(data == part, "{request:?} is answered by something else");
            }
            // The server blocked in write(2) on a full pipe, and then found all other requests in its input.
            let after = client.pipe_bytes()?;
            ensure!(after > USUAL, "a full pipe keeps {after} bytes");
            client.finish()?;
        }
    }
    Ok(())
}

/// Calls of one STAT among many that come together.
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
fn a_stat_among_many_makes_two_calls_and_four_in_a_jail() -> Result<()> {
    let tree = public_dir()?;
    fs::create_dir(tree.path().join("dir"))?;
    fs::write(tree.path().join("dir/file"), "x")?;
    let plain = stat_cost(SftpOptions::at(tree.path()))?;
    ensure!(plain <= 2.0, "{plain} calls");
    let jailed = stat_cost(SftpOptions::jailed(tree.path()))?;
    ensure!(jailed <= 4.0, "{jailed} calls in a jail");
    Ok(())
}

/// To open a FIFO waits for another process or ends its waiting, and to open a device may start something.
#[test]
fn what_is_refused_or_only_looked_at_is_never_opened() -> Result<()> {
    if !root_for("devices") {
        return Ok(());
    }
    for jailed in [false, true] {
        let (tree, place) = (public_dir()?, public_dir()?);
        let mode = Mode::from_bits_truncate(0o666);
        mkfifo(&tree.path().join("fifo"), mode)?;
        mknod(
            &tree.path().join("device"),
            SFlag::S_IFCHR,
            mode,
            makedev(1, 3),
        )?;
        let log = place.path().join("calls");
        let mut client = traced(SftpOptions::serving(tree.path(), jailed), &log)?;
        for name in ["fifo", "device"] {
            let path = name.as_bytes();
            client.stat(name)?;
            client.told(&Request::SetStat(path, Attrs::mode(0o600)))?;
            let refused = client.told(&Request::OpenDir(path))?;
            ensure!(refused == Some(Status::NO_SUCH_FILE), "{name}: {refused:?}");
        }
        client.list(".")?;
        let over = open::WRITE | open::CREATE | open::TRUNCATE;
        for flags in [open::READ, over] {
            let refused = client.told(&Request::Open(b"fifo", flags, Attrs::default()))?;
            ensure!(refused == Some(Status::PERMISSION_DENIED), "{refused:?}");
            let told = client.told(&Request::Open(b"device", flags, Attrs::default()))?;
            ensure!(told.is_some() == jailed, "in a jail: {jailed}: {told:?}");
        }
        client.finish()?;
        let text = fs::read_to_string(&log)?;
        // Neither by its path alone nor as a directory: that is refused before anything is opened.
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
fn a_session_stays_small() -> Result<()> {
    let tree = public_dir()?;
    fs::write(tree.path().join("file"), vec![7; 16 << 20])?;
    for wire in [Wire::Pipes, Wire::SocketPair] {
        let options = SftpOptions::at(tree.path()).over(wire);
        let mut client = Sftp::start(&options)?;
        let file = client.open_read("file")?;
        let copy = client.create("copy")?;
        let block = vec![9; READ_MAX as usize];
        for at in (0..16 << 20).step_by(READ_MAX as usize) {
            client.read(&file, at, READ_MAX)?;
            client.read(&file, at, BLOCK)?;
            client.write_at(&copy, at, &block)?;
        }
        client.check_handle(&file, "sha256", (0, 0), 64 << 10)?;
        client.list("/usr/bin")?;
        let rss = client.process.rss_kib()?;
        ensure!(rss < RSS_KIB_MAX, "{rss} KiB over {wire:?}");
        client.finish()?;
    }
    Ok(())
}

/// A line of the server's status in /proc.
fn status(client: &Sftp, name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{}/status", client.process.pid()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("no such line")?.trim().to_owned())
}

#[test]
fn walls_stand_before_the_second_packet() -> Result<()> {
    let tree = public_dir()?;
    let mut free = Sftp::start(&SftpOptions::at(tree.path()))?;
    free.stat(".")?;
    ensure!(
        status(&free, "Seccomp:")? == "0",
        "without a jail there are none"
    );
    let mut jailed = Sftp::start(&SftpOptions::jailed(tree.path()))?;
    jailed.stat(".")?;
    ensure!(status(&jailed, "Seccomp:")? == "2", "no filter");
    ensure!(
        status(&jailed, "NoNewPrivs:")? == "1",
        "privileges could grow"
    );
    // In the order of the calls: the greeting, the walls, and only then what came behind it.
    let place = public_dir()?;
    let log = place.path().join("calls");
    let mut client = traced(SftpOptions::jailed(tree.path()), &log)?;
    client.stat(".")?;
    client.finish()?;
    let made = calls(&log)?;
    let at = |name: &str| made.iter().position(|call| call == name);
    let (greeted, confined) = (at("write"), at("landlock_restrict_self"));
    let second = made
        .iter()
        .skip(greeted.unwrap_or(0))
        .position(|call| call == "read");
    let second = second.context("no second read")? + greeted.context("no greeting")?;
    ensure!(
        confined > greeted && confined < Some(second),
        "Landlock is not where it should be: {made:?}"
    );
    let filtered = made.iter().rposition(|call| call == "prctl");
    ensure!(filtered > greeted && filtered < Some(second), "{made:?}");
    Ok(())
}
