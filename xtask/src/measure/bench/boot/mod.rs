//! `cargo xtask bench boot`: stowaway as a machine without an operating system, emulated by QEMU. Measures the time from QEMU's
//! exec to the first reply, compared with QEMU alone and with the same file under Debian's cloud kernel; then READ and GETATTR, the
//! CPU time at rest, and the least memory that suffices.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tempfile::TempDir;

use super::frame::Frame;
use super::load::{Load, Refill};
use super::measure::{Cost, Spread, read_stable_cpu};
use super::nfs::connection::Connection;
use super::nfs::workload::read_through;
use super::table::verdict;
use super::workspace::{BIG, STAMP_STEP};
use super::{Common, existing};
use crate::build::{self, Arch};
use crate::clients::nfs::nfs3::GETATTR3res;
use crate::clients::nfs::{Call, Client, ok, read as read_results};
use crate::commands::hello;
use crate::machines::iso::{ROCK_RIDGE, image};
use crate::machines::qemu::bare::{Bare, Options};
use crate::machines::qemu::{initramfs, system, tap};
use crate::machines::server::{Namespace, ip};
use crate::setup;

/// `cargo xtask bench boot`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Measure this file of stowaway [default: a new build]
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

/// Aim: largest time from exec to the first reply minus the floor's, in ms, with a static address.
const STATIC_OVER_FLOOR_MS: f64 = 10.0;
/// Aim: largest time from exec to the first reply, in ms, with an address from DHCP.
const DHCP_MS: f64 = 45.0;
/// Aim: smallest ratio of the time to the first reply as init under Debian's kernel to that on the bare machine.
const LINUX_RATIO: f64 = 15.0;
/// Aim: smallest rate of READs of 1 MiB, in MB/s.
const READ_RATE: f64 = 150.0;
/// Aim: largest CPU time of the host for a GETATTR, in µs.
const GETATTR_US: f64 = 400.0;
/// Aim: largest CPU time of the host for a machine without requests, in percent of one processor.
const IDLE_PERCENT: f64 = 1.0;
/// Aim: largest memory (MiB) that the machine needs to serve. The search for the least memory starts at this size.
const MEMORY_MIB: u32 = 4;

/// Longest time until a machine replies.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Length of a READ in bytes.
const READ_BYTES: u32 = 1 << 20;

/// A row of the tables.
#[derive(Serialize)]
struct Row {
    title: &'static str,
    unit: &'static str,
    spread: Spread,
    aim: Option<f64>,
    reached: Option<bool>,
}

impl Row {
    fn new(
        title: &'static str,
        unit: &'static str,
        values: impl IntoIterator<Item = f64>,
    ) -> Result<Self> {
        Ok(Self {
            title,
            unit,
            spread: Spread::of(values).context("nothing was measured")?,
            aim: None,
            reached: None,
        })
    }

    /// Sets the aim: the median is at most `limit`.
    fn at_most(mut self, limit: f64) -> Self {
        (self.aim, self.reached) = (Some(limit), Some(self.spread.median <= limit));
        self
    }

    /// Sets the aim: the median is at least `limit`.
    fn at_least(mut self, limit: f64) -> Self {
        (self.aim, self.reached) = (Some(limit), Some(self.spread.median >= limit));
        self
    }

    fn cells(&self) -> Vec<String> {
        let aim = self.aim.map(|aim| format!("aim {aim:.1}"));
        let reached = self.reached.map(|reached| verdict(reached).to_owned());
        vec![
            self.title.to_owned(),
            self.spread.to_string(),
            self.unit.to_owned(),
            aim.unwrap_or_default(),
            reached.unwrap_or_default(),
        ]
    }
}

/// Measures the time to the first reply, the rates of READ and GETATTR, the CPU time at rest and the least memory.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["qemu-system-x86", "iproute2", "xorriso"])?;
    let file = match &args.ours {
        Some(file) => existing(file)?,
        None => build::build(Arch::X86_64)?,
    };
    let mut frame = Frame::new("boot", ["stowaway", "none"], &args.common, [5, 20])?;
    let [quick, rounds] = match args.common.quick {
        true => [1, 5],
        false => [5, 20],
    };
    let rounds = args.common.rounds.unwrap_or(rounds);
    let (kernel, _) = system("linux")?;
    // With `--ours`, a second initramfs with that file follows the built one and replaces its /init.
    let init = match &args.ours {
        Some(_) => initramfs::of_own(&fs::read(&file)?)?,
        None => Vec::new(),
    };
    let boots = boots(&mut frame, &file, &init, rounds)?;
    let rates = rates(&mut frame, &file, quick)?;
    let rest = [at_rest(&mut frame, &file)?, memory(&mut frame, &file)?];
    for (name, title, rows) in [
        ("boots", "from QEMU's exec to the first reply", &boots[..]),
        (
            "rates",
            "one connection: 16 READs in flight, GETATTR one after the other",
            &rates[..],
        ),
        ("rest", "at rest", &rest[..]),
    ] {
        frame.section(name, title, &rows, rows.iter().map(Row::cells).collect())?;
    }
    let kernel = kernel.file_name().unwrap_or_default().display();
    frame.finish(&[
        "QEMU's microvm, emulated (accel=tcg); the first reply is one to an NFS NULL call",
        &format!(
            "Linux: {kernel} on QEMU's q35, emulated, with our file as /init and the modules of its devices"
        ),
    ])
}

/// Connects repeatedly until a NULL call is answered. Returns the time since QEMU's exec.
fn first_answer(machine: &Bare, host: Ipv4Addr) -> Result<Duration> {
    let address = SocketAddr::from((host, machine.port));
    loop {
        let answered =
            Client::connect(address).and_then(|mut client| client.call(&Call::null()).map(drop));
        let took = machine.started_at.elapsed();
        match answered {
            Ok(()) => return Ok(took),
            Err(error) if took > TIME_MAX => {
                return Err(error.context(format!(
                    "the machine does not answer within {TIME_MAX:?}; its console:\n{}",
                    machine.console()
                )));
            }
            Err(_) => sleep(Duration::from_micros(200)),
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// In each round, boots the floor, the bare machine with a static address and with one from DHCP, and Linux. Returns the rows of
/// their times to the first reply. `init` is appended to the initramfs of Linux.
fn boots(frame: &mut Frame<'_>, file: &Path, init: &[u8], rounds: u32) -> Result<[Row; 5]> {
    const STATIC: &str = "export=/ram ip=10.0.2.15/24 gw=10.0.2.2";
    // QEMU's user network retries a connection after six seconds if the guest has no address yet, and resets it if the guest does
    // not answer for a second. So the client connects to a guest with DHCP, or to one that boots slowly, only after the guest's
    // console has printed the text in the third column.
    let ways = [
        (STATIC, None, ""),
        ("export=/ram ip=dhcp", None, "address 10.0.2.15"),
        (STATIC, Some(init), "for NFS"),
    ];
    let directory = tempfile::tempdir()?;
    let floor = directory.path().join("floor");
    fs::write(&floor, hello::assemble(include_str!("floor.txt"))?)?;
    let mut times = [const { Vec::new() }; 4];
    // Round 0 fills caches and does not count.
    for round in 0..=rounds {
        frame
            .progress
            .set_message(format!("boot {round} of {rounds}"));
        let mut took = Vec::new();
        let mut machine = Bare::start(Options {
            file: Some(&floor),
            ..Options::default()
        })?;
        let status = machine.wait_for_end()?;
        took.push(machine.started_at.elapsed());
        ensure!(status.code() == Some(1), "the floor ended with {status}");
        for (words, linux, line) in ways {
            let machine = Bare::start(Options {
                boot_arguments: words,
                linux,
                file: linux.is_none().then_some(file),
                ..Options::default()
            })?;
            while !machine.console().contains(line) && machine.started_at.elapsed() < TIME_MAX {
                sleep(Duration::from_micros(200));
            }
            took.push(first_answer(&machine, Ipv4Addr::LOCALHOST)?);
        }
        for (times, took) in times.iter_mut().zip(took).filter(|_| round > 0) {
            times.push(ms(took));
        }
    }
    let [floor, fixed, dhcp, linux] = times;
    let ratios: Vec<f64> = linux
        .iter()
        .zip(&fixed)
        .map(|(linux, bare)| linux / bare)
        .collect();
    let floor = Row::new("QEMU's floor: a guest that ends at once", "ms", floor)?;
    let limit = floor.spread.median + STATIC_OVER_FLOOR_MS;
    Ok([
        floor,
        Row::new("bare, static address", "ms", fixed)?.at_most(limit),
        Row::new("bare, DHCP over QEMU's network", "ms", dhcp)?.at_most(DHCP_MS),
        Row::new("Debian's cloud kernel, static address", "ms", linux)?,
        Row::new("Debian's cloud kernel / bare", "×", ratios)?.at_least(LINUX_RATIO),
    ])
}

/// A machine that exports an image, and a client that reads from it.
struct ReadBench {
    machine: Bare,
    load: Load<Connection>,
    big: Vec<u8>,
}

impl ReadBench {
    /// Waits until the machine serves, and looks up the large file of the export `path`.
    fn new(machine: Bare, host: Ipv4Addr, path: &str) -> Result<Self> {
        first_answer(&machine, host)?;
        let address = SocketAddr::from((host, machine.port));
        let mut client = Client::connect(address)?;
        let root = client.mount(path)?;
        Ok(Self {
            big: client.lookup(&root, BIG)?,
            load: Load::connect(address)?,
            machine,
        })
    }

    /// Measures READs of the whole file, then GETATTRs, one after the other. Returns both costs.
    fn turn(&mut self, bytes: u64) -> Result<[Cost; 2]> {
        const COUNT: u64 = 2000;
        let (pid, load, big) = (self.machine.pid(), &mut self.load, &self.big);
        let read = Cost::measure(&[pid], || read_through(load, big, 0, bytes, READ_BYTES))?;
        let attr = Cost::measure(&[pid], || {
            let check = |_, results: &[u8]| ok(read_results::<GETATTR3res>(results)?).map(drop);
            load.run(COUNT, Refill::Batch(1), |_| Call::get_attr(big), check)?;
            Ok(COUNT)
        })?;
        Ok([read, attr])
    }
}

/// Makes an ISO image with a large file of `bytes`.
fn make_image(bytes: u64) -> Result<(TempDir, PathBuf)> {
    let tree = tempfile::tempdir()?;
    let mut file = File::create(tree.path().join(BIG))?;
    let mut page = [0; STAMP_STEP];
    for offset in (0..bytes).step_by(STAMP_STEP) {
        page[..8].copy_from_slice(&offset.to_le_bytes());
        file.write_all(&page)?;
    }
    drop(file);
    image(ROCK_RIDGE[0], tree.path())
}

/// Measures READs of an image that is a boot module or a disk, over a TAP interface (which has offloads), and of the module over
/// QEMU's user network; measures GETATTR over both networks.
fn rates(frame: &mut Frame<'_>, file: &Path, rounds: u32) -> Result<Vec<Row>> {
    const BYTES: u64 = 64 << 20;
    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    let (_directory, image) = make_image(BYTES)?;
    let drive = format!(
        "if=none,id=disk,format=raw,readonly=on,file={}",
        image.display()
    );
    let disk = ["-drive", &drive, "-device", "virtio-blk-device,drive=disk"];
    let disk = [&["-m", "128"], &disk[..]].concat();
    let mut rows = Vec::new();
    for (titles, is_disk, has_tap) in [
        (["READ 1 MiB, module, TAP", "GETATTR, TAP"], false, true),
        (["READ 1 MiB, disk, TAP", ""], true, true),
        (
            [
                "READ 1 MiB, module, QEMU's network",
                "GETATTR, QEMU's network",
            ],
            false,
            false,
        ),
    ] {
        frame.progress.set_message(titles[0].to_owned());
        let network = Namespace::new()?;
        let words = match has_tap {
            true => "ip=192.0.2.1/24",
            false => "ip=10.0.2.15/24",
        };
        let more = ["-m", "128"];
        let tap = tap("tap0");
        let options = Options {
            boot_arguments: words,
            module: (!is_disk).then_some(&*image),
            more: if is_disk { &disk } else { &more },
            file: Some(file),
            network: has_tap.then_some(&*tap),
            ..Options::default()
        };
        let path = if is_disk { "/vda" } else { "/initrd" };
        let mut asked = network.run(|| {
            if has_tap {
                ip("tuntap add tap0 mode tap vnet_hdr")?;
                ip("addr add 192.0.2.2/24 dev tap0")?;
                ip("link set tap0 up")?;
            }
            let host = if has_tap { HOST } else { Ipv4Addr::LOCALHOST };
            ReadBench::new(Bare::start(options)?, host, path)
        })?;
        let mut costs = [const { Vec::new() }; 2];
        for round in 0..=rounds {
            let turn = asked.turn(BYTES)?;
            for (costs, cost) in costs.iter_mut().zip(turn).filter(|_| round > 0) {
                costs.push(cost);
            }
        }
        let [read, attr] = costs;
        let rate = |cost: &Cost| cost.amount as f64 / 1e6 / cost.wall;
        let each = |cost: &Cost| cost.server * 1e6 / cost.amount as f64;
        let read = Row::new(titles[0], "MB/s", read.iter().map(rate))?;
        rows.push(read.at_least(READ_RATE));
        if !titles[1].is_empty() {
            let attr = Row::new(
                titles[1],
                "µs of the host's processor",
                attr.iter().map(each),
            )?;
            rows.push(attr.at_most(GETATTR_US));
        }
    }
    Ok(rows)
}

/// Measures the host's CPU time for a machine without requests, in percent of one processor.
fn at_rest(frame: &mut Frame<'_>, file: &Path) -> Result<Row> {
    const SECONDS: u32 = 5;
    frame.progress.set_message("at rest".to_owned());
    let mut machine = Bare::start(Options {
        boot_arguments: "export=/ram ip=10.0.2.15/24",
        file: Some(file),
        ..Options::default()
    })?;
    first_answer(&machine, Ipv4Addr::LOCALHOST)?;
    // The machine announces its name by mDNS twice, one second apart. Both must be over before CPU time is measured.
    machine.wait_for_line("announced")?;
    sleep(Duration::from_secs(3));
    let mut shares = Vec::new();
    for _ in 0..3 {
        let (before, start) = (read_stable_cpu(machine.pid())?, Instant::now());
        sleep(Duration::from_secs(1) * SECONDS);
        let used = read_stable_cpu(machine.pid())? - before;
        shares.push(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0);
    }
    Ok(Row::new("at rest, in five seconds", "% of a processor", shares)?.at_most(IDLE_PERCENT))
}

/// The least memory with which a machine serves.
fn memory(frame: &mut Frame<'_>, file: &Path) -> Result<Row> {
    for size in MEMORY_MIB..64 {
        frame.progress.set_message(format!("with {size} MiB"));
        let mib = size.to_string();
        let mut machine = Bare::start(Options {
            boot_arguments: "export=/ram ip=10.0.2.15/24",
            more: &["-m", &mib],
            file: Some(file),
            ..Options::default()
        })?;
        if machine.wait_for_line("for NFS").is_ok()
            && first_answer(&machine, Ipv4Addr::LOCALHOST).is_ok()
        {
            let row = Row::new("the least memory that serves (-m)", "MiB", [size.into()])?;
            return Ok(row.at_most(MEMORY_MIB.into()));
        }
    }
    anyhow::bail!("the machine does not serve with 63 MiB of memory")
}
