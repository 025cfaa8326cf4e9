//! Random reads in a file of 5 GiB inside an image: correct data, and no growth of memory.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xtask::build::{self, Arch};
use xtask::clients::sshfs::{Listening, Sshfs};
use xtask::machines::mounts;
use xtask::machines::server::{binary, children, status_field};
use xtask::setup::{self, run_captured};

use crate::images::HUGE;
use crate::world::World;

/// Random reads (64 KiB each) in the longer of two runs.
const COUNT: &str = "2000";
/// Random reads in the shorter run, whose peak memory is the baseline.
const FEW: &str = "100";
/// Limit (KiB) of the growth of the server's peak memory from the shorter to the longer run.
const SERVER_GROWS_KIB_MAX: u64 = 16;
/// Limit (KiB) of the growth of the client's peak memory from the shorter to the longer run. Clients are the reading process and
/// sshfs.
const CLIENT_GROWS_KIB_MAX: u64 = 1024;

/// Parses the output of `exercise reads`: the hash of the data, and the peak memory in KiB.
fn parse_reads(text: &str) -> Result<(String, u64)> {
    let (sum, peak) = text.trim().split_once('\n').context("not two lines")?;
    Ok((sum.into(), peak.parse()?))
}

/// Runs `exercise reads` on this host.
fn reads(file: &Path, count: &str) -> Result<(String, u64)> {
    let mut exercise = Command::new(build::program("exercise")?);
    parse_reads(&run_captured(
        exercise.arg("reads").arg(file).args(["--count", count]),
    )?)
}

/// The path of the file of 5 GiB from which the image was made.
fn source(world: &World) -> std::path::PathBuf {
    world.images.path().join(HUGE).with_file_name("tree/huge")
}

fn ensure_flat(process: &str, few: u64, many: u64, max: u64) -> Result<()> {
    eprintln!("{process}: {few} KiB after {FEW} reads, {many} KiB after {COUNT}");
    ensure!(many <= few + max, "{process} grew from {few} to {many} KiB");
    Ok(())
}

/// The guest mounts an image over NFS and reads its file. The data must be correct, and the peak memory of client and server must
/// not grow with the number of reads.
pub fn over_nfs(world: &mut World) -> Result<()> {
    let pid = world.server.pid();
    let path = world.images.path().join(HUGE);
    let mut costs = Vec::new();
    for count in [FEW, COUNT] {
        let text = world.in_mount(
            "ro,nolock,vers=3",
            &path,
            &format!("exercise reads huge --count {count}"),
        )?;
        let (sum, peak) = parse_reads(&text)?;
        let (expected, _) = reads(&source(world), count)?;
        ensure!(sum == expected, "the client read wrong data");
        costs.push((peak, status_field(pid, "VmHWM")?));
    }
    let [few, many] = costs[..] else {
        anyhow::bail!("expected two measurements, got {}", costs.len())
    };
    ensure_flat("the client", few.0, many.0, CLIENT_GROWS_KIB_MAX)?;
    ensure_flat("the server", few.1, many.1, SERVER_GROWS_KIB_MAX)
}

/// This host mounts an image by sshfs and reads its file. The data must be correct, and the peak memory of client and server must
/// not grow with the number of reads.
pub fn over_sshfs(world: &mut World) -> Result<()> {
    setup::install_packages(&["sshfs"])?;
    let root = world.images.path().to_owned();
    let source = source(world);
    mounts::private("sshfs", move || {
        let listening = Listening::start(&binary(Arch::X86_64)?, &root)?;
        let directory = tempfile::tempdir()?;
        let mut command = Command::new("sshfs");
        command.args(["-f", &format!("127.0.0.1:/{HUGE}/"), "-o"]);
        command.arg(format!("ro,directport={}", listening.port));
        let sshfs = Sshfs::mount(command, &directory.path().join("mounted"))?;
        let server = *children(listening.pid())?.first().context("no session")?;
        let mut costs = Vec::new();
        for count in [FEW, COUNT] {
            let (sum, _) = reads(&sshfs.mount_point.join("huge"), count)?;
            let (expected, _) = reads(&source, count)?;
            ensure!(sum == expected, "the client read wrong data");
            costs.push((
                status_field(sshfs.pid(), "VmHWM")?,
                status_field(server, "VmHWM")?,
            ));
        }
        drop(sshfs);
        let [few, many] = costs[..] else {
            anyhow::bail!("expected two measurements, got {}", costs.len())
        };
        ensure_flat("sshfs", few.0, many.0, CLIENT_GROWS_KIB_MAX)?;
        ensure_flat("the server", few.1, many.1, SERVER_GROWS_KIB_MAX)
    })
}
