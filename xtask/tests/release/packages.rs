//! The packages: .deb by dpkg-deb and lintian, .rpm by rpm, .vib by ar.

use anyhow::{Context as _, Result, ensure};
use sha1::{Digest as _, Sha1};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use xtask::setup;

use super::{DATE, hex, package, release};

/// Paths that each package installs.
const INSTALLED: [&str; 7] = [
    "/etc/stowaway/exports",
    "/usr/bin/stowaway",
    "/usr/lib/systemd/system/stowaway.service",
    "/usr/share/bash-completion/completions/stowaway",
    "/usr/share/doc/stowaway/copyright",
    "/usr/share/doc/stowaway/examples/stowaway.sysusers",
    "/usr/share/man/man8/stowaway.8.gz",
];

fn check_starts(program: &Path) -> Result<()> {
    let version = setup::run_captured(Command::new(program).arg0("stowaway").arg("--version"))?;
    let expected = env!("CARGO_PKG_VERSION");
    ensure!(version.contains(expected), "{version}");
    Ok(())
}

#[test]
fn deb_has_program_pages_unit_and_configuration() -> Result<()> {
    let deb = package("deb")?;
    let field =
        |name: &str| setup::run_captured(Command::new("dpkg-deb").arg("-f").arg(&deb).arg(name));
    ensure!(field("Package")?.trim() == "stowaway");
    ensure!(field("Architecture")?.trim() == "amd64");
    // A static program: only the scripts depend on something.
    ensure!(field("Depends")?.trim() == "init-system-helpers (>= 1.52)");
    let dir = tempfile::tempdir()?;
    let [control, root] = ["control", "root"].map(|name| dir.path().join(name));
    setup::run_captured(Command::new("dpkg-deb").arg("-e").arg(&deb).arg(&control))?;
    setup::run_captured(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
    for path in INSTALLED {
        ensure!(root.join(&path[1..]).exists(), "no {path}");
    }
    check_starts(&root.join("usr/bin/stowaway"))?;
    ensure!(fs::read_to_string(control.join("conffiles"))? == "/etc/stowaway/exports\n");
    // Installing must neither enable nor start the unit; a unit that was enabled before a removal is enabled again.
    for script in ["postinst", "preinst"] {
        let text = fs::read_to_string(control.join(script)).unwrap_or_default();
        for word in ["deb-systemd-invoke start", "systemctl start", "$_dh_action"] {
            ensure!(!text.contains(word), "{script} has {word}:\n{text}");
        }
        let count = |word: &str| text.matches(word).count();
        let enables = count("deb-systemd-helper enable");
        ensure!(
            enables == count("if deb-systemd-helper --quiet was-enabled"),
            "{script}:\n{text}"
        );
    }
    let purge = fs::read_to_string(control.join("postrm"))?;
    ensure!(purge.contains("rm -rf /var/lib/stowaway"), "{purge}");
    Ok(())
}

#[test]
fn lintian_has_no_complaint() -> Result<()> {
    setup::install_packages(&["lintian"])?;
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0"]);
    let output = lintian.arg(package("deb")?).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn rpm_has_program_pages_unit_and_configuration() -> Result<()> {
    setup::install_packages(&["rpm"])?;
    let rpm = package("rpm")?;
    let dir = tempfile::tempdir()?;
    let query = |option: &str| {
        let mut command = Command::new("rpm");
        command
            .arg("--dbpath")
            .arg(dir.path().join("db"))
            .arg(option);
        setup::run_captured(command.arg(&rpm))
    };
    let about = query("-qip")?;
    for line in [
        "Name        : stowaway",
        "Architecture: x86_64",
        "License     : MIT OR Apache-2.0",
    ] {
        ensure!(about.contains(line), "no {line:?}:\n{about}");
    }
    let listed = query("-qlp")?;
    for path in INSTALLED {
        ensure!(
            listed.lines().any(|line| line == path),
            "no {path}:\n{listed}"
        );
    }
    ensure!(query("-qcp")?.trim() == "/etc/stowaway/exports");
    query("-K")?;
    let scripts = setup::run_captured(Command::new("rpm").args(["-qp", "--scripts"]).arg(&rpm))?;
    ensure!(
        !scripts.contains("enable") && !scripts.contains("postinstall"),
        "{scripts}"
    );
    // rpm2cpio of Debian needs cpio; rpm's own unpacking needs root.
    if nix::unistd::geteuid().is_root() {
        let root = dir.path().join("root");
        let mut install = Command::new("rpm");
        install
            .args(["-i", "--nodeps", "--noscripts", "--root"])
            .arg(&root);
        setup::run_captured(install.arg(&rpm))?;
        check_starts(&root.join("usr/bin/stowaway"))?;
    }
    Ok(())
}

#[test]
fn vib_has_the_members_that_its_descriptor_describes() -> Result<()> {
    let vib = package("vib")?;
    let members = setup::run_captured(Command::new("ar").arg("t").arg(&vib))?;
    ensure!(
        members
            .lines()
            .eq(["descriptor.xml", "sig.pkcs7", "payload1"]),
        "{members}"
    );
    let dir = tempfile::tempdir()?;
    setup::run_captured(
        Command::new("ar")
            .arg("x")
            .arg(&vib)
            .current_dir(dir.path()),
    )?;
    let descriptor = fs::read_to_string(dir.path().join("descriptor.xml"))?;
    let payload = fs::read(dir.path().join("payload1"))?;
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*payload), &mut tar)?;
    let compressed_sum = hex(&sha2::Sha256::digest(&payload));
    for expected in [
        format!("type=\"tgz\" size=\"{}\"", payload.len()),
        format!("<checksum checksum-type=\"sha-256\">{compressed_sum}<"),
        format!(
            "sha-256\" verify-process=\"gunzip\">{}<",
            hex(&sha2::Sha256::digest(&tar))
        ),
        format!(
            "sha-1\" verify-process=\"gunzip\">{}<",
            hex(&Sha1::digest(&tar))
        ),
        format!("<release-date>{DATE}<"),
        "<file>opt/stowaway/bin/stowaway</file>".to_owned(),
    ] {
        ensure!(
            descriptor.contains(&expected),
            "no {expected}:\n{descriptor}"
        );
    }
    let mut unpack = Command::new("tar");
    setup::run_captured(unpack.arg("-xzf").arg("payload1").current_dir(dir.path()))?;
    let program = dir.path().join("opt/stowaway/bin/stowaway");
    let bytes = fs::read(&program).context("the payload has no program")?;
    ensure!(bytes == fs::read(release()?.join("x86_64/stowaway"))?);
    check_starts(&program)
}
