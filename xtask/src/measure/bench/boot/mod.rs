//! `cargo xtask bench boot`: our file as a machine without an operating system, under QEMU's emulation. How long it takes from
//! QEMU's exec to the first answer, beside what QEMU takes by itself and beside the same file under Debian's cloud kernel; then what
//! READ and GETATTR cost, and what it takes at rest.

mod floor;

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
use super::ground::{BIG, STAMP_STEP};
use super::load::{Load, Refill};
use super::measure::{Cost, Spread, settled};
use super::nfs::connection::Connection;
use super::nfs::workload::read_through;
use super::table::verdict;
use super::{Common, existing};
use crate::build::{self, Arch};
use crate::clients::nfs::nfs3::GETATTR3res;
use crate::clients::nfs::{Call, Client, ok, read as read_results};
use crate::machines::iso::{ROCK_RIDGE, image};
use crate::machines::qemu::bare::{Bare, Options};
use crate::machines::qemu::{initramfs, system, tap};
use crate::machines::server::{Namespace, ip};
use crate::setup::{self, Package};

/// `cargo xtask bench boot`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Another file as ours [default: what cargo xtask build makes]
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

/// From exec to the first answer, in milliseconds: with an address of its own, more than the floor; with one of DHCP.
const STATIC_OVER_FLOOR_MS: f64 = 10.0;
const DHCP_MS: f64 = 45.0;
/// So many times as long should a kernel of Linux take with our file as its first process.
const LINUX_RATIO: f64 = 15.0;
/// READ of 1 MiB in MB/s; GETATTR in microseconds of the host's processor; at rest, of one processor.
const READ_RATE: f64 = 150.0;
const GETATTR_US: f64 = 400.0;
const IDLE_PERCENT: f64 = 1.0;
/// MiB that it should be content with.
const MEMORY_MIB: u32 = 4;

/// How long anything may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of one READ.
const READ_BYTES: u32 = 1 << 20;

/// One line.
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

    /// The median should be so much at most.
    fn at_most(mut self, limit: f64) -> Self {
        (self.aim, self.reached) = (Some(limit), Some(self.spread.median <= limit));
        self
    }

    /// The median should be so much at least.
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

/// Measures.
pub fn main(args: &Args) -> Result<()> {
    setup::need(&[Package::QEMU, Package::IPROUTE2, Package::XORRISO])?;
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
    // What is named takes the place of what is built.
    let init = match &args.ours {
        Some(_) => initramfs::of_own(&fs::read(&file)?)?,
        None => Vec::new(),
    };
    let boots = boots(&mut frame, &file, &init, rounds)?;
    let rates = rates(&mut frame, &file, quick)?;
    let rest = [at_rest(&mut frame, &file)?, memory(&mut frame, &file)?];
    for (name, title, rows) in [
        ("boots", "from QEMU's exec to the first answer", &boots[..]),
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
        "QEMU's microvm, emulated (accel=tcg); the answer is one to a NULL call of NFS",
        &format!(
            "Linux: {kernel} on QEMU's q35, emulated, with our file as /init and the modules of its devices"
        ),
    ])
}

/// Connects as soon as somebody listens, and asks; when it was answered.
fn first_answer(machine: &Bare, host: Ipv4Addr) -> Result<Duration> {
    let at = SocketAddr::from((host, machine.port));
    loop {
        let answered =
            Client::connect(at).and_then(|mut client| client.call(&Call::null()).map(drop));
        let took = machine.began.elapsed();
        match answered {
            Ok(()) => return Ok(took),
            Err(error) if took > TIME_MAX => {
                return Err(error.context(format!("its console:\n{}", machine.said())));
            }
            Err(_) => sleep(Duration::from_micros(200)),
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Boots by turns; `init` follows the initramfs of Linux.
fn boots(frame: &mut Frame<'_>, file: &Path, init: &[u8], rounds: u32) -> Result<[Row; 5]> {
    const TOLD: &str = "export=/ram ip=10.0.2.15/24 gw=10.0.2.2";
    // QEMU's network tries again after six seconds where a guest had no address for what was asked, and gives up what it does not
    // answer for a second: who has to wait for its address, or for long, is asked when its console says that it can answer.
    let ways = [
        (TOLD, None, ""),
        ("export=/ram ip=dhcp", None, "address 10.0.2.15"),
        (TOLD, Some(init), "for NFS"),
    ];
    let directory = tempfile::tempdir()?;
    let nothing = directory.path().join("nothing");
    floor::write(&nothing)?;
    let mut times = [const { Vec::new() }; 4];
    // Round 0 fills caches and is not counted.
    for round in 0..=rounds {
        frame.progress.say(format!("boot {round} of {rounds}"));
        let mut took = Vec::new();
        let mut machine = Bare::start(Options {
            file: Some(&nothing),
            ..Options::default()
        })?;
        let status = machine.wait_for_end()?;
        took.push(machine.began.elapsed());
        ensure!(status.code() == Some(1), "the floor ended with {status}");
        for (words, linux, line) in ways {
            let machine = Bare::start(Options {
                words,
                linux,
                file: linux.is_none().then_some(file),
                ..Options::default()
            })?;
            while !machine.said().contains(line) && machine.began.elapsed() < TIME_MAX {
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
        Row::new("bare, its address told", "ms", fixed)?.at_most(limit),
        Row::new("bare, DHCP over QEMU's network", "ms", dhcp)?.at_most(DHCP_MS),
        Row::new("Debian's cloud kernel, its address told", "ms", linux)?,
        Row::new("that, through bare, its address told", "×", ratios)?.at_least(LINUX_RATIO),
    ])
}

/// A machine that has an image, and who asks for what is in it.
struct Asked {
    machine: Bare,
    load: Load<Connection>,
    big: Vec<u8>,
}

impl Asked {
    fn new(machine: Bare, host: Ipv4Addr, path: &str) -> Result<Self> {
        first_answer(&machine, host)?;
        let at = SocketAddr::from((host, machine.port));
        let mut client = Client::connect(at)?;
        let root = client.mount(path)?;
        Ok(Self {
            big: client.lookup(&root, BIG)?,
            load: Load::connect(at)?,
            machine,
        })
    }

    /// READs, then GETATTRs one after the other; what each cost.
    fn turn(&mut self, bytes: u64) -> Result<[Cost; 2]> {
        const COUNT: u64 = 2000;
        let (pid, load, big) = (self.machine.pid(), &mut self.load, &self.big);
        let read = Cost::of(&[pid], || read_through(load, big, 0, bytes, READ_BYTES))?;
        let attr = Cost::of(&[pid], || {
            let check = |_, results: &[u8]| ok(read_results::<GETATTR3res>(results)?).map(drop);
            load.run(COUNT, Refill::Batch(1), |_| Call::get_attr(big), check)?;
            Ok(COUNT)
        })?;
        Ok([read, attr])
    }
}

/// An image with a large file.
fn big(bytes: u64) -> Result<(TempDir, PathBuf)> {
    let tree = tempfile::tempdir()?;
    let mut file = File::create(tree.path().join(BIG))?;
    let mut page = [0; STAMP_STEP];
    for at in (0..bytes).step_by(STAMP_STEP) {
        page[..8].copy_from_slice(&at.to_le_bytes());
        file.write_all(&page)?;
    }
    drop(file);
    image(ROCK_RIDGE[0], tree.path())
}

/// Over a TAP interface, which has offloads, of a module and of a disk; and over QEMU's own network.
fn rates(frame: &mut Frame<'_>, file: &Path, rounds: u32) -> Result<Vec<Row>> {
    const BYTES: u64 = 64 << 20;
    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    let (_directory, image) = big(BYTES)?;
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
        frame.progress.say(titles[0].to_owned());
        let network = Namespace::new()?;
        let words = match has_tap {
            true => "ip=192.0.2.1/24",
            false => "ip=10.0.2.15/24",
        };
        let more = ["-m", "128"];
        let tap = tap("tap0");
        let options = Options {
            words,
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
            Asked::new(Bare::start(options)?, host, path)
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

/// What it takes while nobody asks for anything.
fn at_rest(frame: &mut Frame<'_>, file: &Path) -> Result<Row> {
    const SECONDS: u32 = 5;
    frame.progress.say("at rest".to_owned());
    let mut machine = Bare::start(Options {
        words: "export=/ram ip=10.0.2.15/24",
        file: Some(file),
        ..Options::default()
    })?;
    first_answer(&machine, Ipv4Addr::LOCALHOST)?;
    // Its name is announced a second later, and once more after that.
    machine.wait_for_line("announced")?;
    sleep(Duration::from_secs(3));
    let mut shares = Vec::new();
    for _ in 0..3 {
        let (before, start) = (settled(machine.pid())?, Instant::now());
        sleep(Duration::from_secs(1) * SECONDS);
        let used = settled(machine.pid())? - before;
        shares.push(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0);
    }
    Ok(Row::new("at rest, in five seconds", "% of a processor", shares)?.at_most(IDLE_PERCENT))
}

/// The least memory with which it serves.
fn memory(frame: &mut Frame<'_>, file: &Path) -> Result<Row> {
    for size in MEMORY_MIB..64 {
        frame.progress.say(format!("with {size} MiB"));
        let mib = size.to_string();
        let mut machine = Bare::start(Options {
            words: "export=/ram ip=10.0.2.15/24",
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
    anyhow::bail!("it does not serve with 63 MiB")
}
