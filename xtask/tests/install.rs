//! `install` and `uninstall` on each kind of host: busybox ash in a tree that has nothing else, ESXi with a stand-in for esxcli,
//! Debian's systemd.

use anyhow::{Context as _, Result, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;
use walkdir::WalkDir;
use xtask::build::Arch;
use xtask::machines::port::Port;
use xtask::machines::server::{binary, public_dir, root_for};
use xtask::setup;

use crate::release::debian::Debian;

const DATASTORE: &str = "/vmfs/volumes/datastore1";
/// A local.sh as ESXi has it.
const LOCAL: &str = "#!/bin/sh ++group=host/vim/vmvisor/boot\n\nexit 0\n";

/// A tree with busybox and the executable.
struct Host {
    tree: TempDir,
    port: Port,
}

impl Host {
    fn new(directories: &[&str]) -> Result<Self> {
        setup::install_packages(&["busybox-static"])?;
        let host = Self {
            tree: public_dir()?,
            port: Port::reserve()?,
        };
        for dir in [&["bin", "dev", "run", "srv", "media", "etc"], directories].concat() {
            fs::create_dir_all(host.path(dir))?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
        let busybox = busybox.iter().find(|path| path.exists());
        fs::copy(busybox.context("no busybox")?, host.path("bin/busybox"))?;
        for applet in ["sh", "cat", "rm", "sleep"] {
            symlink("busybox", host.path("bin").join(applet))?;
        }
        fs::copy(binary(Arch::X86_64)?, host.path("media/stowaway"))?;
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&host.path("dev/null"), SFlag::S_IFCHR, mode, makedev(1, 3))?;
        Ok(host)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.path().join(path.trim_start_matches('/'))
    }

    /// Mode and content, or target, of each file and link. Logs and /run are the server's.
    fn files(&self) -> Result<BTreeMap<PathBuf, (u32, Vec<u8>)>> {
        let mut files = BTreeMap::new();
        for entry in WalkDir::new(self.tree.path()) {
            let entry = entry?;
            let path = entry.path().strip_prefix(self.tree.path())?.to_owned();
            let content = match entry.file_type() {
                kind if kind.is_file() => fs::read(entry.path())?,
                kind if kind.is_symlink() => fs::read_link(entry.path())?
                    .to_string_lossy()
                    .into_owned()
                    .into(),
                _ => continue,
            };
            if !path.starts_with("run") && !path.starts_with("var/log") {
                let mode = entry.metadata()?.permissions().mode();
                files.insert(path, (mode, content));
            }
        }
        Ok(files)
    }

    /// Runs `line` by busybox ash in the tree; `$PORT` is the host's. It must end with `status` and print each of `parts`.
    fn ensure(&self, line: &str, status: i32, parts: &[&str]) -> Result<String> {
        let output = Command::new("chroot")
            .arg(self.tree.path())
            .args(["/bin/busybox", "ash", "-c", line])
            .env_clear()
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .env("PORT", self.port.number().to_string())
            .output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text)?;
        ensure!(
            output.status.code() == Some(status),
            "{line}: {}, not {status}:\n{text}",
            output.status
        );
        for part in parts {
            ensure!(text.contains(part), "{line}: no {part:?} in\n{text}");
        }
        Ok(text)
    }

    /// Takes the steps of a table: a line for the shell, its exit status, and parts of its output.
    fn ensure_all(&self, steps: &[(&str, i32, &[&str])]) -> Result<()> {
        steps
            .iter()
            .try_for_each(|(line, status, parts)| self.ensure(line, *status, parts).map(drop))
    }

    /// Checks that `line` and its dry run print the same, that only `line` changes files, and that a second run changes nothing.
    fn ensure_repeatable(&self, line: &str) -> Result<()> {
        let before = self.files()?;
        let planned = self.ensure(&format!("{line} --dry-run"), 0, &[])?;
        ensure!(before == self.files()?, "{line} --dry-run changed files");
        let done = self.ensure(line, 0, &[])?;
        ensure!(planned == done, "planned:\n{planned}done:\n{done}");
        let after = self.files()?;
        ensure!(before != after, "{line} changed nothing");
        let again = self.ensure(line, 0, &[])?;
        ensure!(after == self.files()?, "the second {line} changed files");
        let steps = again.lines().filter(|line| line.contains(" /"));
        let steps: Vec<&str> = steps.filter(|line| !line.starts_with("next: ")).collect();
        let is_done = |line: &&str| {
            ["unchanged ", "absent ", "keep "]
                .iter()
                .any(|word| line.starts_with(word))
        };
        let undone: Vec<_> = steps
            .iter()
            .filter(|line| !is_done(line) && !line.contains("/var/lib"))
            .collect();
        ensure!(undone.is_empty(), "{undone:?}");
        Ok(())
    }
}

#[test]
fn busybox_host_installs_serves_and_uninstalls() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new(&["opt", "var/log"])?;
    let before = host.files()?;
    host.ensure_repeatable("/media/stowaway install /opt/")?;
    host.ensure_repeatable("/media/stowaway uninstall /opt")?;
    ensure!(before == host.files()?, "a trace of an unused installation");
    const SCRIPT: &str = "/etc/init.d/S80stowaway";
    host.ensure_all(&[
        ("echo theirs >/opt/unfsd", 0, &[]),
        ("/media/stowaway install /opt", 0, &["keep /opt/unfsd: another program\n", "link /opt/sftp-server\n"]),
        ("/opt/sftp-server -Q requests", 0, &["posix-rename"]),
        ("/etc/init.d/S80stowaway status", 3, &[]),
        ("echo '/srv 127.0.0.1(ro,insecure)' >/etc/stowaway/exports", 0, &[]),
        ("echo \"ROLE='nfs -e /etc/stowaway/exports -p -l 127.0.0.1 -n $PORT --log /var/log/stowaway'\" >/etc/stowaway/options", 0, &[]),
        ("/etc/init.d/S80stowaway start; /etc/init.d/S80stowaway start", 0, &["exporting /srv"]),
        ("/etc/init.d/S80stowaway status", 0, &["stowaway runs, process "]),
        ("/opt/stowaway check nfs -n $PORT", 0, &["nfs"]),
        ("echo '/media 127.0.0.1(ro,insecure)' >/etc/stowaway/exports && /etc/init.d/S80stowaway reload && sleep 1", 0, &[]),
        ("cat /var/log/stowaway", 0, &["exporting /media"]),
        ("/etc/init.d/S80stowaway stop", 0, &[]),
        ("/etc/init.d/S80stowaway status", 3, &[]),
        ("/etc/init.d/S80stowaway restart", 0, &["exporting /media"]),
        ("/opt/stowaway uninstall /opt", 0, &["run /etc/init.d/S80stowaway stop\n", "keep /etc/stowaway/exports: edited", "keep /opt/unfsd: edited"]),
        ("cat /var/log/stowaway", 0, &["stopping"]),
        ("rm -r /etc/stowaway /opt/unfsd", 0, &[]),
    ])?;
    ensure!(!host.path(SCRIPT).exists());
    ensure!(before == host.files()?, "a trace of a used installation");
    Ok(())
}

#[test]
fn esxi_keeps_its_installation_on_a_datastore() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new(&[DATASTORE, "etc/vmware/firewall", "etc/rc.local.d", "sbin"])?;
    let local = host.path("etc/rc.local.d/local.sh");
    fs::write(&local, LOCAL)?;
    // As on ESXi: files with the sticky bit are kept over a restart.
    fs::set_permissions(&local, fs::Permissions::from_mode(0o1755))?;
    let esxcli = host.path("bin/esxcli");
    fs::write(
        &esxcli,
        "#!/bin/sh\necho \"$@\" >>/run/esxcli\ncase \"$*\" in *kernel*) echo 'execinstalledonly  Bool  TRUE' ;; esac\n",
    )?;
    fs::set_permissions(&esxcli, fs::Permissions::from_mode(0o755))?;
    let before = host.files()?;
    let line = format!("/media/stowaway install {DATASTORE}");
    host.ensure(
        &format!("{line} --dry-run"),
        0,
        &["execInstalledOnly", "run esxcli network firewall refresh\n"],
    )?;
    ensure!(before == host.files()? && !host.path("run/esxcli").exists());
    host.ensure(
        &line,
        0,
        &[
            "execinstalledonly  Bool  TRUE\n",
            "next: edit /vmfs/volumes/datastore1/exports",
        ],
    )?;
    let installed = host.files()?;
    let script = fs::read_to_string(&local)?;
    ensure!(
        script.ends_with("/datastore1/stowaway.sh start\n# stowaway end\nexit 0\n"),
        "{script}"
    );
    ensure!(fs::metadata(&local)?.permissions().mode() & 0o7777 == 0o1755);
    // The next start of the host: files outside of the datastore have gone, and local.sh runs.
    for path in ["sbin/stowaway", "etc/vmware/firewall/stowaway.xml"] {
        fs::remove_file(host.path(path))?;
    }
    host.ensure_all(&[
        ("echo \"ROLE='nfs -e /vmfs/volumes/datastore1/exports -p -l 127.0.0.1 -n $PORT --log /vmfs/volumes/datastore1/log'\" >/vmfs/volumes/datastore1/options", 0, &[]),
        ("sh /etc/rc.local.d/local.sh", 0, &["listening on 127.0.0.1"]),
        ("rm /vmfs/volumes/datastore1/options", 0, &[]),
        ("/sbin/stowaway install /opt", 2, &["ESXi keeps only /vmfs/volumes over a restart"]),
        ("/sbin/stowaway install /opt --force", 1, &["cannot install into /opt: does not exist"]),
        ("rm /vmfs/volumes/datastore1/log", 0, &[]),
    ])?;
    ensure!(
        installed == host.files()?,
        "local.sh does not restore the installation"
    );
    host.ensure(
        "/media/stowaway uninstall /vmfs/volumes/datastore1",
        0,
        &["run /vmfs/volumes/datastore1/stowaway.sh stop\n"],
    )?;
    ensure!(before == host.files()?, "uninstall left a trace");
    let calls = fs::read_to_string(host.path("run/esxcli"))?;
    let calls: Vec<&str> = calls.lines().collect();
    let [refresh, list] = [
        "network firewall refresh",
        "system settings kernel list -o execinstalledonly",
    ];
    ensure!(
        calls == [refresh, list, refresh, list, refresh],
        "{calls:?}"
    );
    Ok(())
}

#[test]
fn systemd_of_debian_starts_the_unit() -> Result<()> {
    if !root_for("a container with systemd") {
        return Ok(());
    }
    let directory = public_dir()?;
    let root = &Debian::copy(directory.path())?;
    fs::create_dir_all(root.join("srv/one"))?;
    fs::write(root.join("srv/one/hello.txt"), "one\n")?;
    fs::copy(binary(Arch::X86_64)?, root.join("root/stowaway"))?;
    let debian = Debian::boot(root)?;
    let before = debian.files()?;
    debian.run(&["/root/stowaway", "install", "/usr/local/sbin"])?;
    debian.wait_for_state("is-enabled stowaway", &["enabled"])?;
    debian.wait_for_state("is-active stowaway", &["inactive"])?;
    let complaints = debian.shell("systemd-analyze verify stowaway.service 2>&1")?;
    ensure!(complaints.is_empty(), "{complaints}");
    let again = debian.run(&["/root/stowaway", "install", "/usr/local/sbin"])?;
    ensure!(
        !again.contains("run ") && !again.contains("write "),
        "{again}"
    );
    debian.run(&["systemctl", "start", "stowaway"])?;
    debian.add_export("/srv/one *(ro,insecure)")?;
    debian.run(&["systemctl", "reload", "stowaway"])?;
    debian.wait_for_export("/srv/one", "hello.txt")?;
    debian.wait_for_state("is-active stowaway", &["active"])?;
    debian.run(&["/usr/local/sbin/stowaway", "uninstall", "/usr/local/sbin"])?;
    debian.wait_for_state("is-active stowaway", &["inactive"])?;
    debian.run(&["rm", "-r", "/etc/stowaway"])?;
    let after = debian.files()?;
    let differences: Vec<&String> = before.symmetric_difference(&after).collect();
    ensure!(differences.is_empty(), "uninstall left: {differences:#?}");
    Ok(())
}
