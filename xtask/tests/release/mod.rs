//! The files of `cargo xtask release`, checked by the tools of those that receive them: dpkg and systemd of a fresh Debian, lintian,
//! rpm, three shells, ar, sha256sum, and CycloneDX's schema.
//!
//! The release has one architecture and one role, because it is made twice.

mod copy;
pub mod debian;
mod install;
mod packages;
mod sbom;

use anyhow::{Context as _, Result, ensure};
use sha1::Digest as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use walkdir::WalkDir;
use xtask::build::workspace_root;
use xtask::setup;

use copy::xtask_of_copy;

const ARGUMENTS: [&str; 5] = ["release", "--arch", "x86_64", "--roles", "nfs"];
/// SOURCE_DATE_EPOCH of both releases: 2026-01-02 03:04:05 UTC.
const TIME: &str = "1767323045";
/// Result of `date -u -d @TIME +%Y-%m-%dT%H:%M:%S`.
const DATE: &str = "2026-01-02T03:04:05";

/// The directory of the release, made once per process.
fn release() -> Result<PathBuf> {
    static MADE: Mutex<bool> = Mutex::new(false);
    let path = workspace_root().join("target/sample-release");
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if !*made {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command.args(ARGUMENTS).env("SOURCE_DATE_EPOCH", TIME);
        setup::run_captured(command.arg("--out").arg(&path))?;
        *made = true;
    }
    Ok(path)
}

/// The only file of the release's packages with this extension.
fn package(extension: &str) -> Result<PathBuf> {
    let dir = release()?.join("packages");
    let mut found = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = found.find(|path| path.extension().is_some_and(|it| it == extension));
    found.with_context(|| format!("no package *.{extension}"))
}

/// The bytes of each file below `dir`, by its path relative to `dir`.
fn contents(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut contents = BTreeMap::new();
    for entry in WalkDir::new(dir) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(dir)?.to_owned();
            contents.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(contents)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One source gives the same bytes (plain, packed and debug files, packages, images), for any user and in any directory.
#[test]
fn releases_from_two_directories_are_identical() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("out");
    let mut command = xtask_of_copy(directory.path())?;
    command.args(ARGUMENTS).env("SOURCE_DATE_EPOCH", TIME);
    setup::run_captured(command.arg("--out").arg(&out))?;
    let (one, other) = (contents(&release()?)?, contents(&out)?);
    ensure!(one.keys().eq(other.keys()), "the file names differ");
    let different: Vec<_> = one
        .keys()
        .filter(|path| one[*path] != other[*path])
        .collect();
    ensure!(different.is_empty(), "these files differ: {different:?}");
    Ok(())
}

#[test]
fn sums_cover_every_file() -> Result<()> {
    let dir = release()?;
    let mut check = Command::new("sha256sum");
    setup::run_captured(
        check
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(&dir),
    )?;
    let sums = fs::read_to_string(dir.join("SHA256SUMS"))?;
    let listed: Vec<&str> = sums.lines().filter_map(|line| line.get(66..)).collect();
    for path in contents(&dir)?.keys() {
        let name = path.display().to_string();
        ensure!(
            name == "SHA256SUMS" || listed.contains(&&*name),
            "no sum of {name}"
        );
    }
    for name in [
        "completions/_stowaway",
        "debug/x86_64/nfs.debug",
        "debug/x86_64/stowaway.debug",
        "docker.tar",
        "machines/firecracker.json",
        "machines/initramfs.cpio",
        "machines/libvirt.xml",
        "machines/qemu.sh",
        "man/stowaway-nfs.8",
        "oci/index.json",
        "packages/APKBUILD",
        "packages/default.nix",
        "packages/openwrt/Makefile",
        "packages/stowaway.rb",
        "packages/stowaway.vib",
        "sbom.cdx.json",
        "share.tar.gz",
        "x86_64/nfs",
        "x86_64/stowaway",
        "x86_64/stowaway.packed",
    ] {
        ensure!(listed.contains(&name), "the release has no {name}");
    }
    Ok(())
}

#[test]
fn directory_with_other_files_is_not_replaced() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("precious"), "")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(ARGUMENTS).env("SOURCE_DATE_EPOCH", TIME);
    let output = command.arg("--out").arg(dir.path()).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && stderr.contains("name another directory"),
        "{stderr}"
    );
    ensure!(dir.path().join("precious").exists());
    Ok(())
}

#[test]
fn recipes_have_the_sums_of_the_release() -> Result<()> {
    let dir = release()?;
    let sha256 = |path: &str| -> Result<String> {
        Ok(hex(&sha2::Sha256::digest(fs::read(dir.join(path))?)))
    };
    let sha512 = hex(&sha2::Sha512::digest(fs::read(
        dir.join("x86_64/stowaway"),
    )?));
    for (recipe, sum) in [
        ("APKBUILD", sha512),
        ("default.nix", sha256("x86_64/stowaway")?),
        ("stowaway.rb", sha256("share.tar.gz")?),
    ] {
        let text = fs::read_to_string(dir.join("packages").join(recipe))?;
        ensure!(text.contains(&sum), "{recipe} lacks {sum}:\n{text}");
        ensure!(
            !text.contains("@SHA"),
            "{recipe} has an unfilled sum:\n{text}"
        );
    }
    setup::run_captured(
        Command::new("sh")
            .arg("-n")
            .arg(dir.join("packages/APKBUILD")),
    )?;
    Ok(())
}

#[test]
fn machines_have_valid_configurations() -> Result<()> {
    let dir = release()?.join("machines");
    setup::run_captured(Command::new("sh").arg("-n").arg(dir.join("qemu.sh")))?;
    let firecracker: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("firecracker.json"))?)?;
    let kernel = &firecracker["boot-source"]["kernel_image_path"];
    ensure!(
        dir.join(kernel.as_str().unwrap_or("none")).exists(),
        "no kernel {kernel}"
    );
    let parse =
        "import sys, xml.etree.ElementTree as tree; print(tree.parse(sys.argv[1]).getroot().tag)";
    let mut python = Command::new(setup::PythonPackage::PYTHON);
    let root = setup::run_captured(python.args(["-c", parse]).arg(dir.join("libvirt.xml")))?;
    ensure!(root.trim() == "domain", "{root}");
    Ok(())
}
