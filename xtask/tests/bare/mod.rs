//! The built file as a machine without an operating system (QEMU, `-M microvm -kernel`), against real NFS clients.

mod boots;
mod bridge;
mod card;
mod disks;
mod firecracker;
mod machines;
mod media;
mod platform;
mod sftp;

use crate::stack::world::World;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::machines::qemu::bare::Bare;
use xtask::setup;

/// Console text after which the machine can be reached.
const LEASED: &str = "address 10.0.2.15/24";

/// Reads the file `path` of the machine by nfs-cat.
fn read(machine: &Bare, path: &str) -> Result<Vec<u8>> {
    setup::install_packages(&["libnfs-utils"])?;
    let cat = Command::new("nfs-cat").arg(machine.url(path)).output()?;
    ensure!(
        cat.status.success(),
        "cannot read {path}: {}; console:\n{}",
        String::from_utf8_lossy(&cat.stderr),
        machine.console()
    );
    Ok(cat.stdout)
}

/// Compares sample files in `tree` with the machine's copies in `export`.
fn compare(machine: &Bare, export: &str, tree: &Path) -> Result<()> {
    for file in [
        "hello.txt",
        "empty",
        "large",
        "a/b/c/d/e/f/g/h/i/j/k/bottom",
    ] {
        let got = read(machine, &format!("{export}/{file}"))?;
        let same = got == fs::read(tree.join(file))?;
        ensure!(same, "{export}/{file} differs from the sample");
    }
    Ok(())
}

/// Compares the sample file `large` with the copy in the module of the machine at `address`.
fn compare_at(world: &World, address: &str, tree: &Path) -> Result<()> {
    let url = format!("nfs://{address}/initrd/large?version=3&nfsport=2049&mountport=2049");
    let cat = world.theirs.command("nfs-cat").arg(url).output()?;
    let same = cat.stdout == fs::read(tree.join("large"))?;
    ensure!(same, "{}", String::from_utf8_lossy(&cat.stderr));
    Ok(())
}
