//! `cargo xtask bench boot`: stowaway as a machine without an operating system, emulated by QEMU. Measures the time from QEMU's
//! exec to the first reply, compared with QEMU alone and with the same file under Debian's cloud kernel.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use super::frame::{self, Frame};
use super::measure::{Cost, read_stable_cpu};
use super::table::{Reference, Subject, Unit, WALL};
use super::{Choice, Common};
use crate::build::pieces::assemble;
use crate::clients::nfs::{Call, Client};
use crate::machines::qemu::bare::{Bare, Options};
use crate::machines::qemu::{initramfs, system};
use crate::setup;

/// `cargo xtask bench boot`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Boot>,
}

/// Name of the peer in tables.
const PEER: &str = "Debian's kernel";
/// Title of [`Boot::Floor`].
const FLOOR: &str = "QEMU alone";
/// Longest time until a machine replies.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A boot.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Boot {
    /// A guest that ends at once: the time that QEMU itself takes
    Floor,
    /// With a static address
    Static,
    /// With an address from DHCP over QEMU's network
    Dhcp,
}

impl frame::Workload for Boot {
    fn subject(&self) -> Subject {
        let boot = |title| Subject::new(title, Unit::Start);
        match self {
            Self::Floor => boot(FLOOR),
            Self::Static => boot("static address")
                .gate(WALL, 1.5, Reference::Line(FLOOR))
                .gate(WALL, 0.07, Reference::Peer),
            Self::Dhcp => boot("DHCP").gate(WALL, 2.0, Reference::Line(FLOOR)),
        }
    }
}

/// Boots the machines, round by round.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["qemu-system-x86"])?;
    let files = args.choice.files(&args.common)?;
    let (kernel, _) = system("linux")?;
    // This initramfs follows the built one and replaces its /init.
    let init = initramfs::of_own(&fs::read(&files[0].1)?)?;
    let directory = tempfile::tempdir()?;
    let floor = directory.path().join("floor");
    fs::write(&floor, assemble(include_str!("floor.txt"))?)?;

    let names = args.choice.sides(PEER, &args.common);
    let mut frame = Frame::compare("boot", names, &args.common, [5, 20])?;
    frame.rounds(args.choice.workloads(), |boot, side| {
        let file = files.get(side).map(|(_, file)| &**file);
        match (boot, file) {
            (Boot::Floor, _) if side == 0 => measure_floor(&floor).map(Some),
            // Linux has no DHCP client here.
            (Boot::Floor, _) | (Boot::Dhcp, None) => Ok(None),
            _ => boot.measure(file, &init).map(Some),
        }
    })?;
    let kernel = kernel.file_name().unwrap_or_default().display();
    frame.finish(&[
        "QEMU's microvm, emulated (accel=tcg); the first reply is one to an NFS NULL call",
        &format!("{PEER}: {kernel} on QEMU's q35, emulated, with our file as /init and the modules of its devices"),
    ])
}

/// Measures QEMU with a guest that ends at once.
fn measure_floor(floor: &Path) -> Result<Cost> {
    let mut machine = Bare::start(Options {
        file: Some(floor),
        ..Options::default()
    })?;
    let status = machine.wait_for_end()?;
    let wall = machine.started_at.elapsed().as_secs_f64();
    ensure!(status.code() == Some(1), "the floor ended with {status}");
    Ok(Cost {
        amount: 1,
        wall,
        ..Cost::default()
    })
}

impl Boot {
    /// Boots `file`, or Linux with `init` if there is none, and measures the time since QEMU's exec until a NULL call is answered.
    fn measure(self, file: Option<&Path>, init: &[u8]) -> Result<Cost> {
        let is_linux = file.is_none();
        // QEMU's user network retries a connection after six seconds if the guest has no address yet, and resets it if the guest
        // does not answer for a second. So the client connects to a guest with DHCP, or to one that boots slowly, only after the
        // guest's console has printed this line.
        let line = match self {
            Self::Dhcp => "address 10.0.2.15",
            _ if is_linux => "for NFS",
            _ => "",
        };
        let machine = Bare::start(Options {
            boot_arguments: match self {
                Self::Dhcp => "export=/ram ip=dhcp",
                _ => "export=/ram ip=10.0.2.15/24 gw=10.0.2.2",
            },
            linux: is_linux.then_some(init),
            file,
            ..Options::default()
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, machine.port));
        let is_answered = || Client::connect(address)?.call(&Call::null()).map(drop);
        while !machine.console().contains(line) || is_answered().is_err() {
            if machine.started_at.elapsed() > TIME_MAX {
                let console = machine.console();
                bail!("the machine does not answer within {TIME_MAX:?}; its console:\n{console}");
            }
            sleep(Duration::from_micros(200));
        }
        Ok(Cost {
            amount: 1,
            wall: machine.started_at.elapsed().as_secs_f64(),
            server: read_stable_cpu(machine.pid())?.as_secs_f64(),
            ..Cost::default()
        })
    }
}
