//! The built file, booted by QEMU as a machine without an operating system (`-M microvm -kernel`), against real NFS clients.

mod boots;
mod bridge;
mod card;
mod disks;
mod sftp;
mod told;

use crate::stack::world::World;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::machines::qemu::bare::Bare;
use xtask::setup::{self, Package};

/// What the machine says when it can be reached.
const LEASED: &str = "address 10.0.2.15/24";

/// What is in the file that `path` of the machine leads to.
fn read(machine: &Bare, path: &str) -> Result<Vec<u8>> {
    setup::need(&[Package::LIBNFS])?;
    let cat = Command::new("nfs-cat").arg(machine.url(path)).output()?;
    ensure!(
        cat.status.success(),
        "{path}: {}; its console:\n{}",
        String::from_utf8_lossy(&cat.stderr),
        machine.said()
    );
    Ok(cat.stdout)
}

/// Compares files of the sample with what the machine gives for them.
fn compare(machine: &Bare, export: &str, tree: &Path) -> Result<()> {
    for file in [
        "hello.txt",
        "empty",
        "large",
        "a/b/c/d/e/f/g/h/i/j/k/bottom",
    ] {
        let got = read(machine, &format!("{export}/{file}"))?;
        let same = got == fs::read(tree.join(file))?;
        ensure!(same, "{export}/{file} is not what it should be");
    }
    Ok(())
}

/// Compares a file of the sample with what a machine at this address has in its module.
fn compare_at(world: &World, address: &str, tree: &Path) -> Result<()> {
    let url = format!("nfs://{address}/initrd/large?version=3&nfsport=2049&mountport=2049");
    let cat = world.theirs.command("nfs-cat").arg(url).output()?;
    let same = cat.stdout == fs::read(tree.join("large"))?;
    ensure!(same, "{}", String::from_utf8_lossy(&cat.stderr));
    Ok(())
}
