//! `install` and `uninstall` on each kind of host: busybox ash in a tree that has nothing else, ESXi with a stand-in for esxcli,
//! Debian's systemd, OpenRC and System V init. Their scripts beside servers that were killed and PID files with numbers of others.

use anyhow::{Context as _, Result, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use walkdir::WalkDir;
use xtask::build::Arch;
use xtask::machines::debian::{self, INITS};
use xtask::machines::iso::unpack_package;
use xtask::machines::port::Port;
use xtask::machines::server::{binary, public_dir, root_for};
use xtask::setup;

use crate::release::debian::Debian;

const DATASTORE: &str = "/vmfs/volumes/datastore1";
/// A local.sh as ESXi has it.
const LOCAL: &str = "#!/bin/sh ++group=host/vim/vmvisor/boot\n\nexit 0\n";

/// A line for the shell, its exit status, and parts of its output.
type Step<'a> = (&'a str, i32, &'a [&'a str]);

/// A service whose script is used as an administrator does.
struct Service {
    install: &'static str,
    uninstall: &'static str,
    /// Directory of exports and options.
    config: &'static str,
    /// The command before `start`.
    command: &'static str,
    /// Exit statuses of `reload` for a stopped server, and of an unknown action.
    statuses: [i32; 2],
}

/// Runs the program that the PID file is to name wrongly.
const STRANGER: &str = "sleep 300 >/dev/null 2>&1 & echo $! >/run/stranger";
/// Kills the server; its PID file then has the number of another program.
const KILL: &str = "kill -9 $(cat /run/stowaway.pid); \
     while /media/stowaway status --pid-file /run/stowaway.pid 2>/dev/null; do :; done; \
     cp /run/stranger /run/stowaway.pid";

/// A tree with a shell and the executable.
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
        // The scripts of install use all but the last two.
        let applets = "sh cat rm sleep sed grep ls mv chmod mkdir rmdir ln sync cp mount";
        for applet in applets.split(' ') {
            symlink("busybox", host.path("bin").join(applet))?;
        }
        fs::copy(binary(Arch::X86_64)?, host.path("media/stowaway"))?;
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&host.path("dev/null"), SFlag::S_IFCHR, mode, makedev(1, 3))?;
        Ok(host)
    }

    /// A Debian on which System V init or, with `openrc-run`, OpenRC starts the services.
    fn debian(inits: &[&str]) -> Result<Self> {
        let host = Self {
            tree: public_dir()?,
            port: Port::reserve()?,
        };
        let root = host.tree.path();
        let copy = "cp -a \"$0/.\" \"$1\" && rm -rf \"$1/run\" \"$1/lib/systemd/systemd\" && mkdir \"$1/run\"";
        run_shell(copy, &debian::system()?, root)?;
        for package in inits {
            // /bin and others are links, which stay.
            let unpack = "tar -C \"$0\" -c . | tar -x --keep-directory-symlink -C \"$1\"";
            run_shell(unpack, &unpack_package(package)?, root)?;
        }
        fs::copy(binary(Arch::X86_64)?, host.path("media/stowaway"))?;
        Ok(host)
    }

    /// Takes steps in namespaces of their own, which end with all processes. /run is empty, as after a start of the host.
    fn play(&self, steps: &[Step<'_>]) -> Result<()> {
        let mut lines = String::from(
            "cd / && mount -t tmpfs t /run && { [ ! -d /sys ] || mount -t proc p /proc; } || exit\n",
        );
        for (line, ..) in steps {
            lines += &format!("({line}) 2>&1\necho \"=== $?\"\n");
        }
        let unshare = ["-mpf", "--kill-child", "chroot"];
        let output = Command::new("unshare")
            .args(unshare)
            .arg(self.tree.path())
            .args(["/bin/sh", "-c", &lines])
            .env_clear()
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .env("PORT", self.port.number().to_string())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut rest = &text[..];
        for (line, status, parts) in steps {
            let (printed, after) = rest.split_once("=== ").context("no status")?;
            let (found, after) = after.split_once('\n').context("no line")?;
            rest = after;
            ensure!(
                found == status.to_string() && parts.iter().all(|part| printed.contains(part)),
                "{line}: status {found}, not {status}, or no {parts:?} in:\n{text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Checks that `service` starts, reloads, stops and vanishes, with a killed server and another program's number in between, and
    /// that each file is then as it was.
    fn ensure_life(&self, service: &Service) -> Result<()> {
        let before = self.files()?;
        let Service {
            install,
            uninstall,
            config,
            command,
            statuses: [not_running, unknown],
        } = service;
        let lines = [
            format!("echo '/srv 127.0.0.1(ro,insecure)' >>{config}/exports"),
            format!(
                "echo \"ROLE='nfs -e {config}/exports -p -l 127.0.0.1 -n $PORT --log {config}/log'\" >{config}/options"
            ),
            format!("rm {config}/options {config}/log"),
        ];
        let call = |action: &str| format!("{command} {action}");
        let [start, stop, restart] = ["start", "stop", "restart"].map(call);
        let [reload, status, other] = ["reload", "status", "bogus"].map(call);
        let [check, exporting] = ["/media/stowaway check nfs -n $PORT", "exporting /srv"];
        let runs = "stowaway runs, process ";
        self.play(&[
            (STRANGER, 0, &[]),
            (install, 0, &["next: edit "]),
            (&lines[0], 0, &[]),
            (&lines[1], 0, &[]),
            (&status, 3, &[]),
            (&stop, 0, &[]),
            ("cp /run/stranger /run/stowaway.pid", 0, &[]),
            (&start, 0, &[exporting]),
            (&start, 0, &[]),
            (&status, 0, &[runs]),
            (check, 0, &["exports: 1"]),
            (&reload, 0, &[]),
            (KILL, 0, &[]),
            (&status, 3, &[]),
            (&reload, *not_running, &[]),
            (&stop, 0, &[]),
            (&start, 0, &[exporting]),
            (KILL, 0, &[]),
            (&restart, 0, &[exporting]),
            (check, 0, &["exports: 1"]),
            (&other, *unknown, &[]),
            ("kill -0 $(cat /run/stranger)", 0, &[]),
            (uninstall, 0, &["/exports: edited"]),
            (check, 1, &[]),
            ("cat /run/stowaway.pid", 1, &[]),
            ("kill -0 $(cat /run/stranger)", 0, &[]),
            (&lines[2], 0, &[]),
            (
                &format!("grep '^/srv' {config}/exports && rm {config}/exports"),
                0,
                &[],
            ),
            (&format!("rmdir {config} 2>/dev/null || true"), 0, &[]),
        ])?;
        let after = self.files()?;
        let keys = |files: &BTreeMap<_, _>| files.keys().cloned().collect::<Vec<PathBuf>>();
        ensure!(
            keys(&before) == keys(&after),
            "uninstall left or took files"
        );
        let changed: Vec<_> = before
            .iter()
            .filter(|(path, content)| after.get(*path) != Some(content))
            .map(|(path, _)| path)
            .collect();
        ensure!(changed.is_empty(), "uninstall changed {changed:?}");
        Ok(())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.path().join(path.trim_start_matches('/'))
    }

    /// Mode and content, or target, of each file and link. Logs, keys and /run are the server's.
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
            let others = ["run", "var/log", "var/lib/stowaway"];
            if !others.iter().any(|dir| path.starts_with(dir)) {
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
            .args(["/bin/sh", "-c", line])
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

/// Runs `line` with two paths as `$0` and `$1`.
fn run_shell(line: &str, from: &Path, to: &Path) -> Result<()> {
    let mut shell = Command::new("sh");
    setup::run_captured(shell.args(["-c", line]).args([from, to])).map(drop)
}

#[test]
fn killed_servers_and_stale_numbers_hurt_no_other_program() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new(&["opt"])?;
    fs::write(host.path("etc/inittab"), "::sysinit:/etc/init.d/rcS\n")?;
    host.ensure_life(&Service {
        install: "/media/stowaway install /opt",
        uninstall: "/media/stowaway uninstall /opt",
        config: "/etc/stowaway",
        command: "/etc/init.d/S80stowaway",
        statuses: [7, 2],
    })?;
    let host = Host::new(&[DATASTORE, "etc/vmware/firewall", "etc/rc.local.d", "sbin"])?;
    fs::write(host.path("etc/rc.local.d/local.sh"), LOCAL)?;
    fs::write(host.path("bin/esxcli"), "#!/bin/sh\n")?;
    fs::set_permissions(host.path("bin/esxcli"), fs::Permissions::from_mode(0o755))?;
    host.ensure_life(&Service {
        install: "/media/stowaway install /vmfs/volumes/datastore1",
        uninstall: "/media/stowaway uninstall /vmfs/volumes/datastore1",
        config: DATASTORE,
        command: "/vmfs/volumes/datastore1/stowaway.sh",
        statuses: [7, 2],
    })?;
    let host = Host::debian(&INITS)?;
    host.ensure_life(&Service {
        install: "for level in sysinit boot default; do openrc $level; done; /media/stowaway install /usr/local/sbin",
        uninstall: "/media/stowaway uninstall /usr/local/sbin",
        config: "/etc/stowaway",
        command: "rc-service stowaway",
        statuses: [1, 1],
    })?;
    fs::remove_file(host.path("sbin/openrc-run"))?;
    host.play(&[("insserv", 0, &[])])?;
    host.ensure_life(&Service {
        install: "/media/stowaway install /usr/local/sbin",
        uninstall: "/media/stowaway uninstall /usr/local/sbin",
        config: "/etc/stowaway",
        command: "service stowaway",
        statuses: [7, 2],
    })
}

#[test]
fn kind_is_found_by_files_and_other_programs_stay() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new(&["opt", "sbin", "usr/sbin", "lib/systemd", "run/systemd"])?;
    let unknown = "recipes.md (On each kind of host)";
    let sysvinit = "run /etc/init.d/stowaway enable\n";
    let openrc = "run rc-update add stowaway default\n";
    let systemd = "run systemctl enable stowaway.service\n";
    for (change, status, part) in [
        (":", 1, unknown),
        ("echo '# rcS' >/etc/inittab", 1, unknown),
        (
            "echo ::sysinit:/etc/init.d/rcS >/etc/inittab",
            0,
            "write /etc/init.d/S80stowaway\n",
        ),
        (">/etc/rc.common", 1, unknown),
        (">/sbin/chkconfig", 1, unknown),
        (">/sbin/init", 0, sysvinit),
        (">/bin/esxcli", 2, "ESXi keeps only /vmfs/volumes"),
        (">/sbin/openrc-run", 0, openrc),
        (">/lib/systemd/systemd", 0, systemd),
        (">/run/initctl; >/usr/sbin/update-rc.d", 0, sysvinit),
        ("/bin/busybox mkdir /run/openrc", 0, openrc),
        ("/bin/busybox mkdir /run/systemd/system", 0, systemd),
    ] {
        host.ensure(
            &format!("{change}; /media/stowaway install /opt --dry-run"),
            status,
            &[part],
        )?;
    }
    let install = "/media/stowaway install /opt --for busybox";
    host.ensure_all(&[
        (
            "/media/stowaway status --pid-file ''",
            2,
            &["missing file (--pid-file)"],
        ),
        ("echo theirs >/opt/stowaway", 0, &[]),
        (
            install,
            1,
            &["cannot replace /opt/stowaway: another program's file; to replace it, add --force"],
        ),
        ("cat /opt/stowaway", 0, &["theirs"]),
        ("cat /etc/init.d/S80stowaway", 1, &[]),
        (
            &format!("{install} --force"),
            0,
            &["copy this program to /opt/stowaway\n"],
        ),
        ("cat /opt/unfsd", 1, &[]),
        ("echo another version >>/opt/stowaway", 0, &[]),
        (install, 0, &["copy this program to /opt/stowaway\n"]),
        (
            "rm /opt/stowaway && ln -s /srv/target /opt/stowaway",
            0,
            &[],
        ),
        (install, 1, &["cannot replace /opt/stowaway: another"]),
        ("ln -s /srv/target /opt/stowaway.new", 0, &[]),
        (&format!("{install} --force"), 0, &["copy this program to "]),
        ("cat /srv/target", 1, &[]),
        ("rm /opt/stowaway && mkdir /opt/stowaway", 0, &[]),
        (
            &format!("{install} --force"),
            1,
            &["cannot change /opt/stowaway: ", "s a directory"],
        ),
        (
            &format!("mv /bin/sh /sh; {install}; code=$?; mv /sh /bin/sh; exit $code"),
            1,
            &["cannot run /bin/sh: does not exist; install needs a shell"],
        ),
        (
            &format!("exec -a odd {install}"),
            1,
            &["cannot find odd, the name of this program: start it by its path"],
        ),
    ])
}

#[test]
fn busybox_host_installs_serves_and_uninstalls() -> Result<()> {
    if !root_for("chroot") {
        return Ok(());
    }
    let host = Host::new(&["opt", "var/log"])?;
    fs::write(
        host.path("etc/inittab"),
        "::sysinit:/etc/init.d/rcS
",
    )?;
    let before = host.files()?;
    host.ensure_repeatable("/media/stowaway install /opt/")?;
    host.ensure_repeatable("/media/stowaway uninstall /opt")?;
    ensure!(before == host.files()?, "a trace of an unused installation");
    const SCRIPT: &str = "/etc/init.d/S80stowaway";
    host.ensure_all(&[
        ("echo theirs >/opt/unfsd", 0, &[]),
        ("/media/stowaway install /opt --links", 0, &["keep /opt/unfsd: another program\n", "link /opt/sftp-server\n"]),
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
    // While the image is built, nothing runs.
    fs::remove_dir_all(root.join("run"))?;
    fs::create_dir(root.join("run"))?;
    for verb in ["install", "uninstall"] {
        let mut chroot = Command::new("chroot");
        chroot.arg(root).args([
            "/root/stowaway",
            verb,
            "/usr/local/sbin",
            "--for",
            "systemd",
        ]);
        let steps = setup::run_captured(&mut chroot)?;
        ensure!(
            steps.contains(
                "able stowaway.service
"
            ),
            "{steps}"
        );
    }
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
    let status = debian.run(&["/usr/local/sbin/stowaway", "status"])?;
    ensure!(status.contains("/srv/one"), "{status}");
    debian.ensure_operable("/srv/one", "hello.txt")?;
    debian.run(&["/usr/local/sbin/stowaway", "uninstall", "/usr/local/sbin"])?;
    debian.wait_for_state("is-active stowaway", &["inactive"])?;
    debian.run(&["rm", "-r", "/etc/stowaway"])?;
    let after = debian.files()?;
    let differences: Vec<&String> = before.symmetric_difference(&after).collect();
    ensure!(differences.is_empty(), "uninstall left: {differences:#?}");
    Ok(())
}
