//! Roles over a network stack of their own: the host that they run on has no address, and is not touched.

mod addresses;
mod files;
mod links;
mod world;

use anyhow::{Result, ensure};
use std::fs;
use std::process::Command;
use xtask::build::{self, Arch, Role};

#[test]
fn a_file_without_the_stack_does_not_carry_it() -> Result<()> {
    let path = build::build_roles(Arch::X86_64, &[Role::Mdns])?;
    let said = Command::new(&path)
        .args(["mdns", "--net", "tap:tap0"])
        .output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.contains("there is no option --net"), "{said}");
    let symbols = |path: &std::path::Path| -> Result<bool> {
        let debug = fs::read(path.with_extension("debug"))?;
        Ok(debug.windows(7).any(|bytes| bytes == b"smoltcp"))
    };
    ensure!(symbols(&build::build(Arch::X86_64)?)? && !symbols(&path)?);
    Ok(())
}
