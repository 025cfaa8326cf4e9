//! The .deb in a fresh Debian, whose systemd runs in a container.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use xtask::build::{Arch, workspace_root};
use xtask::clients::nfs::{Client, How, Set};
use xtask::machines::debian;
use xtask::machines::server::{Namespace, binary, public_dir, root_for};
use xtask::machines::wait_for;
use xtask::setup;

use super::{package, release};
use crate::image::podman::Podman;
use crate::recipes::{Recipe, ensure_exported};

/// Time limit for systemd to start, and for a changed list of exports to be served.
const PATIENCE: Duration = Duration::from_secs(60);
/// The container's name.
const NAME: &str = "debian";
/// Directories that also change without the package: dpkg's record of the purge, times of systemd's timers, formatted man pages.
const CHANGING: [&str; 10] = [
    "/dev",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",
    "/var/cache/man",
    "/var/lib/dpkg",
    "/var/lib/systemd/timers",
    "/var/log",
];

/// A running Debian.
struct Debian<'a> {
    podman: Podman,
    root: &'a Path,
}

impl Debian<'_> {
    fn run(&self, words: &[&str]) -> Result<String> {
        self.podman.podman(&[&["exec", NAME], words].concat())
    }

    fn shell(&self, line: &str) -> Result<String> {
        self.run(&["sh", "-c", line])
    }

    /// Path, type, mode, owner and size of each file outside of `CHANGING`; directories without their size.
    fn files(&self) -> Result<BTreeSet<String>> {
        let changing = CHANGING.join(" -o -path ");
        let listed = self.shell(&format!(
            "find / -xdev \\( -path {changing} \\) -prune \\
             -o -type d -printf '%p %y %m %U:%G\\n' -o -printf '%p %y %m %U:%G %s\\n'"
        ))?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// Waits until `systemctl WORDS` prints one of `states`; the exit status does not count.
    fn wait_for_state(&self, words: &str, states: &[&str]) -> Result<()> {
        let mut state = String::new();
        let found = wait_for(PATIENCE, || {
            state = self.shell(&format!("systemctl {words} 2>&1 || true"))?;
            Ok(states.contains(&state.trim()).then_some(()))
        });
        found?.with_context(|| format!("systemctl {words}: {state}"))
    }

    /// Adds a line to the exports of the unit.
    fn add_export(&self, line: &str) -> Result<()> {
        let path = self.root.join("etc/stowaway/exports");
        let mut exports = OpenOptions::new().append(true).open(path)?;
        Ok(writeln!(exports, "{line}")?)
    }

    /// Waits until a client can mount `export` and finds `name` there.
    fn wait_for_export(&self, export: &str, name: &str) -> Result<()> {
        let mut last = Ok(());
        let found = wait_for(PATIENCE, || {
            last = self.podman.inside(|| ensure_exported(export, name));
            Ok(last.is_ok().then_some(()))
        })?;
        found.map_or(last, Ok).with_context(|| {
            let log = self.run(&["journalctl", "-u", "stowaway", "--no-pager"]);
            format!("{export} is not served:\n{}", log.unwrap_or_default())
        })
    }

    /// Checks that a client can make a file in `export`.
    fn ensure_writable(&self, export: &str) -> Result<()> {
        self.wait_for_export(export, ".")?;
        self.podman.inside(|| {
            let mut client = Client::connect((Ipv4Addr::LOCALHOST, 2049).into())?;
            let root = client.mount(export)?;
            let how = How::Guarded(Set::mode(0o640));
            client.create(&root, "new", how).map(drop)
        })
    }

    /// Follows the comments at the head of image/stowaway.service.
    fn try_sample(&self) -> Result<()> {
        let image = workspace_root().join("image/stowaway.service");
        let unit = fs::read_to_string(&image)?;
        fs::copy(&image, self.root.join("root/stowaway.service"))?;
        fs::copy(binary(Arch::X86_64)?, self.root.join("root/stowaway"))?;
        let commands = commented(&unit, "#   ");
        self.shell(&format!("cd /root && set -e\n{commands}"))?;
        self.wait_for_export("/srv", "one")?;
        self.run(&["systemctl", "reload", "stowaway"])?;
        self.wait_for_state("is-active stowaway", &["active"])?;
        let dir = self.root.join("etc/systemd/system/stowaway.service.d");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("override.conf"), commented(&unit, "#     "))?;
        self.shell("chmod 1777 /srv && systemctl daemon-reload && systemctl restart stowaway")?;
        self.ensure_writable("/srv")?;
        self.run(&["systemctl", "reload", "stowaway"])?;
        self.run(&["test", "-s", "/var/lib/stowaway/handle.key"])
            .map(drop)
    }
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
    let root = &directory.path().join("system");
    setup::run_captured(
        Command::new("cp")
            .arg("-a")
            .arg(debian::system()?)
            .arg(root),
    )?;
    for (path, text) in [("srv/one/hello.txt", "one\n"), ("srv/two/bye.txt", "two\n")] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("no directory")?)?;
        fs::write(path, text)?;
    }
    let packages = root.join("root/packages");
    fs::create_dir(&packages)?;
    fs::copy(&deb, packages.join(deb.file_name().context("no name")?))?;
    let podman = Podman::new(Some(Namespace::new()?))?;
    let place = root.display().to_string();
    let system = ["--privileged", "--systemd=always", "--rootfs", &place];
    podman.run(&[&["-d", "--name", NAME], &system[..], &["/sbin/init"]].concat())?;
    let debian = Debian { podman, root };
    debian.wait_for_state("is-system-running", &["running", "degraded"])?;
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
    debian.try_sample()
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
