//! Files of exports: read as nfs-utils' exportfs reads them, or refused with line and column; and the hosts that they admit, which
//! are addresses of the loopback interface here.

mod names;
mod public;
mod root;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::nfs::{Client, How, Set};
use xtask::machines::mounts::{self, mount};
use xtask::machines::server::{Server, ServerOptions, binary, public_dir, root_for};
use xtask::machines::wait_for;

/// Time limit for a server to close the files of an ended export.
const PATIENCE: Duration = Duration::from_secs(20);

/// Faults: a line, the column of the word that is wrong, and a part of the message. One line for each message; the unit tests of the
/// parser have more.
const FAULTS: [(&str, usize, &str); 20] = [
    ("rel *(ro)", 1, "absolute path"),
    ("/a/../b *(ro)", 1, "without .."),
    ("\"/a *(ro)", 1, "quoted part"),
    ("/a *(ro) (rw", 10, "do not end"),
    ("/a *(ro) x(rw,Bogus=1)", 15, "unknown option"),
    ("/a *(anonuid=4294967295)", 6, "a number"),
    ("/a *(sync=1)", 6, "have a value"),
    ("/a *(sec=krb5)", 6, "only AUTH_SYS"),
    ("/a *(xprtsec=tls)", 6, "without Kerberos and TLS"),
    ("/a *(refer=/x@y)", 6, "this option"),
    ("/a *(replicas=/x@y)", 6, "this option"),
    ("/a *(password=x)", 6, "unknown option"),
    ("/a *(mountpoint=/x)", 6, "only mountpoint without a path"),
    ("/a gss/krb5(rw)", 4, "only AUTH_SYS"),
    ("/a /b h", 4, "a second path"),
    ("/a -ro -alldirs h", 9, "BSD or Solaris"),
    ("share -F nfs /a", 1, "BSD or Solaris"),
    ("/a h \"\"", 6, "not a host name"),
    ("/a 192.0.2.0/33(ro)", 4, "no such network"),
    ("/a host:port(ro)", 4, "no such network"),
];
/// Lines before a fault, and how many lines and columns they add to its position.
const BEFORE: [(&str, usize, usize); 4] = [
    ("", 0, 0),
    ("# a comment\n\n", 2, 0),
    ("/ok *(ro)\n\t", 1, 1),
    ("/ok \\\n  *(ro) # continued\n  ", 2, 2),
];

/// Runs `nfs -T -e FILE`. Returns the exports that it prints, also of missing paths; an error has the reason why it refuses the file.
fn test_file(path: &Path) -> Result<String> {
    let output = Command::new(binary(Arch::X86_64)?)
        .args(["nfs", "-T", "-e"])
        .arg(path)
        .output()?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_read = output.status.success() || !output.stdout.is_empty();
    ensure!(is_read, "{message}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn broken_files_are_reported_with_line_and_column() -> Result<()> {
    let dir = public_dir()?;
    let path = dir.path().join("exports");
    for ((line, column, part), (before, lines, columns)) in FAULTS.iter().zip(BEFORE.iter().cycle())
    {
        fs::write(&path, format!("{before}{line}\n/last *(ro)\n"))?;
        let refused = test_file(&path).err().map(|error| error.to_string());
        let message = refused.with_context(|| format!("{before}{line} is accepted"))?;
        let what = match part.contains("only ") || part.contains("TLS") || *part == "this option" {
            true => "cannot export",
            false => "malformed exports",
        };
        let place = format!(
            "{what} {}:{}:{}",
            path.display(),
            lines + 1,
            column + columns
        );
        ensure!(
            message.contains(&place) && message.contains(part) && message.lines().count() == 1,
            "{before}{line}: {message}"
        );
    }
    Ok(())
}

#[test]
fn only_nested_options_have_the_hint() -> Result<()> {
    let dir = public_dir()?;
    let path = dir.path().join("exports");
    fs::write(
        &path,
        format!("{} *(wdelay,crossmnt,acl)\n", dir.path().display()),
    )?;
    let output = Command::new(binary(Arch::X86_64)?)
        .args(["nfs", "-T", "-e"])
        .arg(&path)
        .output()?;
    let message = String::from_utf8(output.stderr)?;
    let lines: Vec<_> = message.lines().collect();
    ensure!(
        lines.len() == 2
            && lines[0].ends_with("options without effect wdelay,acl")
            && lines[1].contains("crossmnt: export each file system"),
        "{message}"
    );
    Ok(())
}

/// Warnings about an accepted file: duplicates, of which the first applies (as for exportfs), and missing paths. With a byte order
/// mark, the file is refused.
#[test]
fn duplicates_and_missing_paths_are_reported() -> Result<()> {
    let dir = public_dir()?;
    let (path, here) = (dir.path().join("exports"), dir.path().display());
    let lines = format!(
        "{here} 192.0.2.1(rw) *(ro) \\\n  ::ffff:192.0.2.1(ro)\n{here}/gone h(ro)\n{here} *(ro)\n{here}/. h(ro)\n"
    );
    for (before, expect) in [
        ("\u{feff}", vec![":1:1: a byte order mark".to_owned()]),
        (
            "",
            vec![
                ":2:3: the path is exported".to_owned(),
                ":4:".to_owned(),
                ":3:".to_owned() + &(here.to_string().len() + 7).to_string() + " h: ",
                format!("cannot export {here}/gone: does not exist"),
            ],
        ),
    ] {
        fs::write(&path, before.to_owned() + &lines)?;
        let output = Command::new(binary(Arch::X86_64)?)
            .args(["nfs", "-T", "-e"])
            .arg(&path)
            .output()?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_right = expect.iter().all(|part| message.contains(part));
        ensure!(
            is_right && message.lines().count() == expect.len(),
            "{message}"
        );
        ensure!(output.status.code() == Some(1), "{message}");
        // The first of two entries applies.
        let shown = String::from_utf8(output.stdout)?;
        let first = shown
            .lines()
            .filter(|line| line.contains("192.0.2.1(") && line.contains("rw"));
        ensure!(first.count() == usize::from(before.is_empty()), "{shown}");
    }
    Ok(())
}

/// Files that both programs accept: the examples of exports(5), and its syntax.
const FILES: [&str; 28] = [
    "/               master(rw) trusty(rw,no_root_squash)\n",
    "/projects       proj*.local.domain(rw)\n",
    "/usr            *.local.domain(ro)\n",
    "/home/joe       pc001(rw,all_squash,anonuid=150,anongid=100)\n",
    "/pub            *(ro,insecure,all_squash)\n",
    "/srv/www        -sync,rw server\n",
    "/foo            2001:db8:9:e54::/64(rw) 192.0.2.0/24(rw)\n",
    "/build          buildhost[0-9].local.domain(rw)\n",
    "/srv (ro)\n",
    "/srv\n",
    "/srv *\n",
    "/srv *(rw,async)\n",
    "/srv 192.0.2.0/255.255.255.0(rw) 192.0.2.1(ro)\n",
    "/srv 192.0.2.0/255.255.255.252(no_root_squash)\n",
    "/srv 2001:db8::1(rw) 2001:db8::/32\n",
    "\"/with blank\" *(rw)\n/with\\040octal *(ro)\n/tab\\011 *(ro)\n",
    "/a *(ro) # a comment\n# /b *(ro)\n\n   \n/c *(rw)\n",
    "/a \\\n  master(rw) \\\n  trusty(ro)\n",
    "/a -rw,no_root_squash,anonuid=7 master trusty(ro) -ro pc001\n",
    "/a *(rw,fsid=5)\n/b *(fsid=0)\n/c *(fsid=root)\n/d *(fsid=0x10)\n/e *(fsid=017)\n",
    "/a *(rw,ro) master(ro,rw) trusty(all_squash,no_all_squash)\n",
    "/a *(rw,sync,wdelay,hide,secure,subtree_check,acl,secure_locks,sec=sys)\n",
    "/a *(rw,no_wdelay,nohide,crossmnt,no_subtree_check,no_acl,insecure_locks,pnfs,security_label)\n",
    "/a master(rw)\n/a trusty(ro)\n/a/b master(ro)\n",
    "/a \"master(rw)\" \"-ro\" \"trusty\"(rw) \"*(ro, insecure)\"\n",
    "/a\x0bmaster(rw)\x0ctrusty(ro)\x0b*\n",
    "/a ::ffff:192.0.2.1(rw) \"192.0.2.0/24(ro)\"\n",
    "/a @group(rw) \"@other(ro)\" *(ro)\n",
];

/// Each export for each host, with the options that both programs know.
type Exports = BTreeSet<(String, String, BTreeMap<String, String>)>;

/// Parses lines of `PATH<tab>HOSTS(OPTION,...)`. Of options that exclude each other, the last one counts.
fn parse(text: &str) -> Result<Exports> {
    let mut exports = Exports::new();
    for line in text.lines() {
        let (path, rest) = line.rsplit_once('\t').context("no tab")?;
        let (hosts, options) = rest.split_once('(').context("no options")?;
        let mut set: BTreeMap<String, String> = [("anonuid", "65534"), ("anongid", "65534")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        for option in options.trim_end_matches(')').split(',') {
            let (name, value) = option.split_once('=').unwrap_or((option, "yes"));
            let (name, value) = match option {
                "rw" | "ro" => ("access", option),
                "sync" | "async" => ("sync", option),
                "secure" | "insecure" => ("ports", option),
                "root_squash" | "no_root_squash" => ("root", option),
                "all_squash" | "no_all_squash" => ("all", option),
                _ => (name, value),
            };
            let known = [
                "access", "sync", "ports", "root", "all", "anonuid", "anongid", "fsid",
            ];
            if known.contains(&name) {
                set.insert(name.to_owned(), value.to_owned());
            }
        }
        // exportfs keeps netmasks and IPv4-mapped addresses as they were written.
        let hosts = hosts.strip_prefix("::ffff:").unwrap_or(hosts);
        let hosts = match hosts.split_once('/') {
            Some((network, mask)) if mask.contains('.') => {
                let mask: Ipv4Addr = mask.parse()?;
                format!("{network}/{}", u32::from(mask).count_ones())
            }
            // exportfs writes no host for a path without hosts.
            _ if hosts.is_empty() => "*".to_owned(),
            _ => hosts.to_owned(),
        };
        let path = path.replace("\\040", " ").replace("\\011", "\t");
        exports.insert((path, hosts, set));
    }
    Ok(exports)
}

/// A server that reads a file of exports, for one exported directory.
struct Exporting {
    dir: TempDir,
    server: Server,
}

impl Exporting {
    fn new(role: &'static str, clients: &str) -> Result<Self> {
        let dir = public_dir()?;
        fs::create_dir(dir.path().join("srv"))?;
        fs::write(dir.path().join("srv/secret"), "for root only")?;
        let secret = dir.path().join("srv/secret");
        fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        write_exports(&dir, clients)?;
        let server = start(role, &dir.path().join("exports"))?;
        Ok(Self { dir, server })
    }

    fn path(&self) -> String {
        self.dir.path().join("srv").display().to_string()
    }

    /// Connects from 127.0.0.`host`.
    fn client(&self, host: u8) -> Result<Client> {
        let at = ([127, 0, 0, 1], self.server.nfs_port).into();
        Client::connect_from(Ipv4Addr::new(127, 0, 0, host), at)
    }

    /// Replaces the export's clients, and waits until the server has read the file.
    fn reload(&self, clients: &str) -> Result<()> {
        write_exports(&self.dir, clients)?;
        let part = if clients.contains("bogus") {
            "malformed exports"
        } else {
            "exporting "
        };
        let count = || {
            let lines = self.server.lines();
            lines.iter().filter(|line| line.contains(part)).count()
        };
        let before = count();
        self.server.signal(Signal::SIGHUP)?;
        for _ in 0..500 {
            if count() > before {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("no new line {part:?} in {:#?}", self.server.lines())
    }
}

/// Starts a server that reads the file `exports`.
fn start(role: &'static str, exports: &Path) -> Result<Server> {
    let mut arguments = vec!["-e".into(), exports.display().to_string()];
    if role == "serve" {
        arguments.push("--no-mdns".into());
    }
    Server::start(ServerOptions {
        role,
        arguments,
        ..ServerOptions::default()
    })
}

fn write_exports(dir: &TempDir, clients: &str) -> Result<()> {
    let path = dir.path().join("srv");
    let text = format!("{} {clients}\n", path.display());
    fs::write(dir.path().join("exports"), text)?;
    Ok(())
}

/// Fails unless the outcome is an error that names `status`.
fn ensure_refused<T>(outcome: Result<T>, status: &str) -> Result<()> {
    let error = outcome.err().context("the call was answered")?;
    ensure!(format!("{error:#}").contains(status), "{error:#}");
    Ok(())
}

/// The rules of a call are those of the host that sends it, whichever host obtained the handle. As with knfsd, a handle is stale
/// for a host that may not mount the export.
#[test]
fn handle_of_another_host_opens_nothing() -> Result<()> {
    if !root_for("users") {
        return Ok(());
    }
    for role in ["nfs", "serve"] {
        let exporting = Exporting::new(
            role,
            "127.0.0.2(rw,insecure,no_root_squash) 127.0.0.4/31(ro,insecure)",
        )?;
        let path = exporting.path();
        let mut writer = exporting.client(2)?;
        let root = writer.mount(&path)?;
        let file = writer.create(&root, "file", How::Unchecked(Set::default()))?;
        for host in [4, 5] {
            let mut reader = exporting.client(host)?;
            ensure!(reader.mount(&path)? == root);
            reader.attr(&file)?;
            let created = reader.create(&root, "other", How::Unchecked(Set::default()));
            ensure_refused(created, "ROFS")?;
        }
        for host in [3, 6] {
            let mut other = exporting.client(host)?;
            ensure_refused(other.mount(&path), "ACCES")?;
            ensure_refused(other.attr(&file), "STALE")?;
            ensure_refused(other.lookup(&root, "file"), "STALE")?;
            ensure_refused(other.read(&file, 0, 10).map(drop), "STALE")?;
        }
    }
    Ok(())
}

/// A file system whose export has ended can be unmounted: the server has closed the files of that export.
#[test]
fn ended_export_can_be_unmounted() -> Result<()> {
    mounts::private("a mount", || {
        for role in ["nfs", "serve"] {
            let dir = public_dir()?;
            let [kept, ended] = ["kept", "ended"].map(|name| dir.path().join(name));
            for path in [&kept, &ended] {
                fs::create_dir(path)?;
            }
            mount("tmpfs", "mode=755", &ended)?;
            fs::write(ended.join("file"), "content")?;
            let exports = dir.path().join("exports");
            let line = |path: &Path| format!("{} *(ro,insecure)\n", path.display());
            fs::write(&exports, line(&kept) + &line(&ended))?;
            let server = start(role, &exports)?;
            let mut client = Client::connect((Ipv4Addr::LOCALHOST, server.nfs_port).into())?;
            let root = client.mount(&ended.display().to_string())?;
            let file = client.lookup(&root, "file")?;
            ensure!(client.read(&file, 0, 100)?.0 == b"content");
            fs::write(&exports, line(&kept))?;
            server.signal(Signal::SIGHUP)?;
            let unmounted = wait_for(PATIENCE, || {
                let status = Command::new("umount")
                    .arg(&ended)
                    .stderr(Stdio::null())
                    .status()?;
                Ok(status.success().then_some(()))
            })?;
            unmounted.with_context(|| format!("{role} keeps files of an ended export open"))?;
        }
        Ok(())
    })
}

/// A client that stays in the list never notices that the file is read again; one that is taken from it is refused at its next
/// call; a malformed file changes nothing.
#[test]
fn exports_are_read_again_under_load() -> Result<()> {
    if !root_for("users") {
        return Ok(());
    }
    let stays = "127.0.0.2(rw,insecure,no_root_squash)";
    for role in ["nfs", "serve"] {
        let exporting = Exporting::new(role, &format!("{stays} 127.0.0.3(ro,insecure)"))?;
        let path = exporting.path();
        let mut client = exporting.client(2)?;
        let root = client.mount(&path)?;
        let (ends, count) = (AtomicBool::new(false), AtomicU32::new(0));
        let changed = thread::scope(|scope| -> Result<_> {
            let load = scope.spawn(|| -> Result<()> {
                while !ends.load(Ordering::Relaxed) {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    let file = client.create(
                        &root,
                        &format!("file-{}", number % 100),
                        How::Unchecked(Set::default()),
                    )?;
                    client.attr(&file)?;
                }
                Ok(())
            });
            let changed = || -> Result<()> {
                let (mut host, mut former, mut round) = (3, 4, 0u32);
                // A slow disk must not end the changes before the load has made its calls.
                while round < 20 || (count.load(Ordering::Relaxed) < 100 && !load.is_finished()) {
                    exporting.reload(&format!("{stays} 127.0.0.{host}(ro,insecure)"))?;
                    exporting.client(host)?.mount(&path)?;
                    ensure_refused(exporting.client(former)?.mount(&path), "ACCES")?;
                    exporting.reload(&format!("{stays} 127.0.0.{former}(bogus)"))?;
                    exporting.client(host)?.mount(&path)?;
                    (host, former, round) = (former, host, round + 1);
                }
                Ok(())
            }();
            ends.store(true, Ordering::Relaxed);
            load.join().expect("the load does not panic")?;
            Ok(changed)
        })?;
        changed?;
    }
    Ok(())
}
