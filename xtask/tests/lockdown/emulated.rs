//! The files for i686, ARM and 64-bit ARM under QEMU's user emulation, which lacks system calls and socket options: each role works.
//!
//! mDNS works over IPv6 only, because QEMU 7.2 lacks IP_MULTICAST_IF (qemu-project/qemu#1837).

use crate::mdns::world::{Avahi, World};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::build::Arch;
use xtask::clients::nfs::{How, Set, stable_how};
use xtask::clients::sftp::{Program, Sftp, SftpOptions};
use xtask::machines::server::{ServerOptions, emulated, public_dir, root_for};
use xtask::testing::{pattern, serve};

const LEN: usize = 300_007;

#[test]
fn emulated_i686_file_serves() -> Result<()> {
    serves(Arch::I686)
}

#[test]
fn emulated_armv7_file_serves() -> Result<()> {
    serves(Arch::Armv7)
}

#[test]
fn emulated_aarch64_file_serves() -> Result<()> {
    serves(Arch::Aarch64)
}

fn serves(arch: Arch) -> Result<()> {
    let file = emulated(arch)?;
    check_probe(&file).context("probe")?;
    check_sftp(&file).context("sftp-server")?;
    for role in ["nfs", "serve"] {
        check_nfs(&file, role).context(role)?;
    }
    if root_for("network namespaces") {
        check_mdns(file).context("mdns")?;
    }
    Ok(())
}

/// `help` and `probe --json`: each role works, perhaps without a feature.
fn check_probe(file: &Path) -> Result<()> {
    let help = Command::new(file).arg("--help").output()?;
    ensure!(help.stdout.starts_with(b"usage: stowaway ROLE"), "{help:?}");
    let output = Command::new(file).args(["probe", "--json"]).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let roles = report["role"].as_object().context("no roles")?;
    for (role, said) in roles {
        let said = said.as_str().context("no text")?;
        ensure!(said.starts_with("works"), "{role}: {said}");
    }
    ensure!(roles.len() == 8, "{report}");
    Ok(())
}

fn check_sftp(file: &Path) -> Result<()> {
    let directory = public_dir()?;
    let options = SftpOptions {
        program: Program::Other(file.to_owned()),
        ..SftpOptions::in_directory(directory.path())
    };
    let mut client = Sftp::start(&options.with_arguments(&["sftp-server"]))?;
    let data = pattern(1, 0, LEN);
    client.write_file("file", &data)?;
    ensure!(fs::read(directory.path().join("file"))? == data, "the file");
    ensure!(client.read_file("file")? == data, "READ");
    client.finish()?;
    Ok(())
}

fn check_nfs(file: &Path, role: &'static str) -> Result<()> {
    let directory = public_dir()?;
    let mut options = ServerOptions {
        file: Some(file.to_owned()),
        role,
        ..ServerOptions::default()
    };
    if role == "serve" {
        options.arguments = ["--no-mdns", "--loops", "2"].map(Into::into).into();
    }
    let (server, mut client, root) = serve(directory.path(), "rw,no_root_squash", options)?;
    let mut attempt = || -> Result<()> {
        let data = pattern(1, 0, LEN);
        let file = client.create(&root, "file", How::Guarded(Set::mode(0o640)))?;
        client.write_all(&file, 0, stable_how::FILE_SYNC, &data, 32 << 10)?;
        ensure!(fs::read(directory.path().join("file"))? == data, "the file");
        let (read, _) = client.read(&file, 4096, 32 << 10)?;
        ensure!(read == &data[4096..4096 + (32 << 10)], "READ");
        let size = client.attr(&file)?.size;
        ensure!(size == LEN as u64, "the size is {size}");
        Ok(())
    };
    attempt().with_context(|| format!("the server printed {:#?}", server.lines()))?;
    let (status, _) = server.terminate()?;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}

/// avahi resolves our host name, and `resolve` that of avahi.
fn check_mdns(file: PathBuf) -> Result<()> {
    let (world, scratch) = (World::of_file(file)?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let responder = world.announce(&["--name", "box", "--workstation"])?;
    responder.wait_for("announced box.local")?;
    for (family, address) in [("-6", "box.local\tfe80::"), ("-4", "box.local\t192.0.2.1")] {
        avahi.wait_for_output(&["avahi-resolve", family, "-n", "box.local"], &[address])?;
    }
    let found = world.resolve(&["-6", "-n", "other.local"])?;
    ensure!(found.stdout.starts_with("other.local\tfe80::"), "{found:?}");
    responder.stop()
}
