//! Reading anywhere in a file of 5 GiB that is inside an image: it is the right bytes, and nobody needs more memory for it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xtask::build::{self, Arch};
use xtask::clients::sshfs::{Listening, Sshfs};
use xtask::machines::mounts;
use xtask::machines::server::{binary, children, status_field};
use xtask::setup::{self, Package, quietly};

use crate::images::HUGE;
use crate::world::World;

/// So often 64 KiB are read …
const COUNT: &str = "2000";
/// … after so often, which shows what is needed at all.
const FEW: &str = "100";
/// No server needs more for it than this.
const SERVER_GROWS_KIB_MAX: u64 = 16;
/// Nor does what reads, and what mounts.
const CLIENT_GROWS_KIB_MAX: u64 = 1024;

/// What `exercise reads` told: the sum of what it read, and KiB of memory.
fn told(text: &str) -> Result<(String, u64)> {
    let (sum, peak) = text.trim().split_once('\n').context("not two lines")?;
    Ok((sum.into(), peak.parse()?))
}

/// The same on this host.
fn reads(file: &Path, count: &str) -> Result<(String, u64)> {
    let mut exercise = Command::new(build::program("exercise")?);
    told(&quietly(
        exercise.arg("reads").arg(file).args(["--count", count]),
    )?)
}

/// What the image was made of.
fn source(world: &World) -> std::path::PathBuf {
    world.images.path().join(HUGE).with_file_name("tree/huge")
}

fn grew(who: &str, few: u64, many: u64, max: u64) -> Result<()> {
    eprintln!("{who}: {few} KiB after {FEW} reads, {many} KiB after {COUNT}");
    ensure!(many <= few + max, "{who} grew from {few} to {many} KiB");
    Ok(())
}

/// A guest reads a file of the image that it mounted.
pub fn over_nfs(world: &mut World) -> Result<()> {
    let pid = world.server.pid();
    let path = world.images.path().join(HUGE);
    let mut costs = Vec::new();
    for count in [FEW, COUNT] {
        let text = world.in_mount(
            "ro,nolock",
            &path,
            &format!("exercise reads huge --count {count}"),
        )?;
        let (sum, peak) = told(&text)?;
        let (expected, _) = reads(&source(world), count)?;
        ensure!(sum == expected, "it read other bytes");
        costs.push((peak, status_field(pid, "VmHWM")?));
    }
    let [few, many] = costs[..] else {
        anyhow::bail!("there are {} costs", costs.len())
    };
    grew("the client", few.0, many.0, CLIENT_GROWS_KIB_MAX)?;
    grew("the server", few.1, many.1, SERVER_GROWS_KIB_MAX)
}

/// sshfs on this host shows the image's inside.
pub fn over_sshfs(world: &mut World) -> Result<()> {
    setup::need(&[Package::SSHFS])?;
    let top = world.images.path().to_owned();
    let source = source(world);
    mounts::private("sshfs", move || {
        let listening = Listening::start(&binary(Arch::X86_64)?, &top)?;
        let place = tempfile::tempdir()?;
        let mut command = Command::new("sshfs");
        command.args(["-f", &format!("127.0.0.1:/{HUGE}/"), "-o"]);
        command.arg(format!("ro,directport={}", listening.port));
        let sshfs = Sshfs::mount(command, &place.path().join("mounted"))?;
        let server = *children(listening.pid())?.first().context("no session")?;
        let mut costs = Vec::new();
        for count in [FEW, COUNT] {
            let (sum, _) = reads(&sshfs.at.join("huge"), count)?;
            let (expected, _) = reads(&source, count)?;
            ensure!(sum == expected, "it read other bytes");
            costs.push((
                status_field(sshfs.pid(), "VmHWM")?,
                status_field(server, "VmHWM")?,
            ));
        }
        drop(sshfs);
        let [few, many] = costs[..] else {
            anyhow::bail!("there are {} costs", costs.len())
        };
        grew("sshfs", few.0, many.0, CLIENT_GROWS_KIB_MAX)?;
        grew("its server", few.1, many.1, SERVER_GROWS_KIB_MAX)
    })
}
