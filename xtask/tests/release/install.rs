//! The .deb in a fresh Debian, whose systemd runs in a container.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use xtask::build::{Arch, workspace_root};
use xtask::machines::server::{binary, public_dir, root_for};

use super::debian::Debian;
use super::{package, release};
use crate::recipes::Recipe;

/// Follows the comments at the head of image/stowaway.service.
fn try_sample(debian: &Debian<'_>) -> Result<()> {
    let image = workspace_root().join("image/stowaway.service");
    let unit = fs::read_to_string(&image)?;
    fs::copy(&image, debian.root.join("root/stowaway.service"))?;
    fs::copy(binary(Arch::X86_64)?, debian.root.join("root/stowaway"))?;
    let commands = commented(&unit, "#   ");
    debian.shell(&format!("cd /root && set -e\n{commands}"))?;
    debian.wait_for_export("/srv", "one")?;
    debian.run(&["systemctl", "reload", "stowaway"])?;
    debian.wait_for_state("is-active stowaway", &["active"])?;
    let dir = debian.root.join("etc/systemd/system/stowaway.service.d");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("override.conf"), commented(&unit, "#     "))?;
    debian.shell("chmod 1777 /srv && systemctl daemon-reload && systemctl restart stowaway")?;
    debian.ensure_writable("/srv")?;
    debian.run(&["systemctl", "reload", "stowaway"])?;
    debian
        .run(&["test", "-s", "/var/lib/stowaway/handle.key"])
        .map(drop)
}

/// Lines of the comments in `text` that begin with `indent` and no further space.
fn commented(text: &str, indent: &str) -> String {
    let lines = text.lines().filter_map(|line| line.strip_prefix(indent));
    let lines = lines.filter(|line| !line.starts_with(' '));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn deb_installs_starts_reloads_and_leaves_nothing() -> Result<()> {
    if !root_for("a container with systemd") {
        return Ok(());
    }
    let deb = package("deb")?;
    let directory = public_dir()?;
    let root = &Debian::copy(directory.path())?;
    for (path, text) in [("srv/one/hello.txt", "one\n"), ("srv/two/bye.txt", "two\n")] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("no directory")?)?;
        fs::write(path, text)?;
    }
    let packages = root.join("root/packages");
    fs::create_dir(&packages)?;
    fs::copy(&deb, packages.join(deb.file_name().context("no name")?))?;
    let debian = Debian::boot(root)?;
    let before = debian.files()?;

    let install = Recipe::load("install")?;
    let install = install.text().lines().find(|line| line.starts_with("dpkg"));
    let install = install.context("no line with dpkg")?;
    debian.shell(&format!("cd /root && {install}"))?;
    debian.wait_for_state("is-active stowaway", &["inactive"])?;
    debian.wait_for_state("is-enabled stowaway", &["disabled"])?;
    let page = debian.run(&["man", "-P", "cat", "stowaway"])?;
    ensure!(page.contains("one static file"), "{page}");
    // systemd only warns of an unknown setting, so nothing may be printed.
    let complaints = debian.shell("systemd-analyze verify stowaway.service 2>&1")?;
    ensure!(complaints.is_empty(), "{complaints}");

    debian.add_export("/srv/one *(ro,insecure)")?;
    debian.run(&["systemctl", "enable", "--now", "stowaway"])?;
    debian.wait_for_export("/srv/one", "hello.txt")?;
    debian.add_export("/srv/two *(ro,insecure)")?;
    debian.run(&["systemctl", "reload", "stowaway"])?;
    debian.wait_for_export("/srv/two", "bye.txt")?;
    debian.wait_for_state("is-active stowaway", &["active"])?;
    debian.ensure_operable("/srv/two", "bye.txt")?;

    debian.run(&["dpkg", "--purge", "stowaway"])?;
    debian.wait_for_state("is-active stowaway", &["inactive"])?;
    let after = debian.files()?;
    let differences: Vec<&String> = before.symmetric_difference(&after).collect();
    ensure!(differences.is_empty(), "the purge left: {differences:#?}");

    // The examples and the sample of the unit, by the commands in their comments.
    debian.shell(&format!("cd /root && {install}"))?;
    debian.run(&["systemctl", "enable", "--now", "stowaway"])?;
    for name in ["stowaway.sysusers", "stowaway.tmpfiles", "fixed-user.conf"] {
        let examples = "/usr/share/doc/stowaway/examples";
        let text = debian.run(&["cat", &format!("{examples}/{name}")])?;
        let commands = commented(&text, "#   ").replace("(rw)", "(rw,insecure)");
        debian.shell(&format!("cd {examples} && set -e\n{commands}"))?;
    }
    debian.ensure_writable("/srv/stowaway")?;
    debian.run(&["dpkg", "--purge", "stowaway"])?;
    debian.run(&["rm", "-r", "/etc/systemd/system/stowaway.service.d"])?;
    try_sample(&debian)
}

/// README's lines for installing name files that a release has.
#[test]
fn readme_installs_files_of_a_release() -> Result<()> {
    let dir = release()?;
    let install = Recipe::load("install")?;
    let commands = install
        .text()
        .lines()
        .filter_map(|line| line.split('#').next());
    let words: Vec<&str> = commands.flat_map(str::split_whitespace).collect();
    let is_file = |word: &&str| word.contains('.') || word.ends_with("/stowaway");
    let files: Vec<&str> = words.into_iter().filter(is_file).collect();
    ensure!(files.len() >= 5, "only {files:?}");
    for file in files {
        ensure!(dir.join(file).exists(), "the release has no {file}");
    }
    Ok(())
}
