//! Files of exports: read as nfs-utils' exportfs reads them, or refused with line and column.

use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use xtask::build::Arch;
use xtask::machines::iso::{EXPORTFS, unpack_package};
use xtask::machines::server::{binary, public_dir, root_for};
use xtask::setup::{self, Package};

/// Faults: a line, the column of the word that is wrong, and a part of the message.
const FAULTS: [(&str, usize, &str); 36] = [
    ("rel *(ro)", 1, "absolute path"),
    ("/a/../b *(ro)", 1, "without .."),
    ("/a \"*(ro)", 4, "quoted part"),
    ("\"/a *(ro)", 1, "quoted part"),
    ("/a *(ro", 4, "do not end"),
    ("/a *( ro)", 4, "do not end"),
    ("/a *(ro )", 4, "do not end"),
    ("/a *(ro)(rw)", 4, "do not end"),
    ("/a *()x", 4, "do not end"),
    ("/a *(ro) (rw", 10, "do not end"),
    ("/a *(bogus)", 6, "unknown option"),
    ("/a *(ro,bogus)", 9, "unknown option"),
    ("/a *(ro) x(rw,Bogus=1)", 15, "unknown option"),
    ("/a -ro,bogus *(rw)", 8, "unknown option"),
    ("/a -bad_host(ro)", 5, "unknown option"),
    ("/a *(fsid=)", 6, "a number"),
    ("/a *(fsid=x)", 6, "a number"),
    ("/a *(anonuid=4294967295)", 6, "a number"),
    ("/a *(anonuid)", 6, "a number"),
    ("/a *(anongid=-1)", 6, "a number"),
    ("/a *(rw=1)", 6, "have a value"),
    ("/a *(sec=krb5)", 6, "only AUTH_SYS"),
    ("/a *(sec=sys:krb5p)", 6, "only AUTH_SYS"),
    ("/a *(xprtsec=tls)", 6, "not supported"),
    ("/a *(refer=/x@y)", 6, "referrals"),
    ("/a *(replicas=/x@y)", 6, "replicas"),
    ("/a *(mountpoint=/x)", 6, "not supported"),
    ("/a @group(ro)", 4, "netgroups"),
    ("/a x @group(ro)", 6, "netgroups"),
    ("/a gss/krb5(rw)", 4, "no such network"),
    ("/a 192.0.2.0/33(ro)", 4, "no such network"),
    ("/a 192.0.2.0/255.0.255.0(ro)", 4, "no such network"),
    ("/a 2001:db8::/129(ro)", 4, "no such network"),
    ("/a [::1](ro)", 4, "no such network"),
    ("/a host:port(ro)", 4, "no such network"),
    ("/a a,b(ro)", 4, "not a host name"),
];
/// Lines before a fault, and how many lines and columns they add to its position.
const BEFORE: [(&str, usize, usize); 4] = [
    ("", 0, 0),
    ("# a comment\n\n", 2, 0),
    ("/ok *(ro)\n\t", 1, 1),
    ("/ok \\\n  *(ro) # continued\n  ", 2, 2),
];

/// Runs `nfs -T -e FILE`. Returns its standard output; an error has that of standard error.
fn test_file(path: &Path) -> Result<String> {
    let output = Command::new(binary(Arch::X86_64)?)
        .args(["nfs", "-T", "-e"])
        .arg(path)
        .output()?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{message}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn broken_files_are_reported_with_line_and_column() -> Result<()> {
    let dir = public_dir()?;
    let path = dir.path().join("exports");
    let mut count = 0;
    for (before, lines, columns) in BEFORE {
        for (line, column, part) in FAULTS {
            fs::write(&path, format!("{before}{line}\n/last *(ro)\n"))?;
            let refused = test_file(&path).err().map(|error| error.to_string());
            let message = refused.with_context(|| format!("{before}{line} is accepted"))?;
            let place = format!(
                "malformed exports {}:{}:{}: ",
                path.display(),
                lines + 1,
                column + columns
            );
            ensure!(
                message.contains(&place) && message.contains(part) && message.lines().count() == 1,
                "{before}{line}: {message}"
            );
            count += 1;
        }
    }
    ensure!(count > 100);
    Ok(())
}

/// Files that both programs accept: the examples of exports(5), and its syntax.
const FILES: [&str; 24] = [
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
    "/a *(rw,fsid=5)\n/b *(fsid=0)\n/c *(fsid=root)\n",
    "/a *(rw,ro) master(ro,rw) trusty(all_squash,no_all_squash)\n",
    "/a *(rw,sync,wdelay,hide,secure,subtree_check,acl,secure_locks,sec=sys)\n",
    "/a *(rw,no_wdelay,nohide,crossmnt,no_subtree_check,no_acl,insecure_locks,pnfs,security_label)\n",
    "/a master(rw)\n/a trusty(ro)\n/a/b master(ro)\n",
];
/// The hosts of these files.
const HOSTS: &str = "192.0.2.9 master\n192.0.2.10 trusty\n192.0.2.11 pc001\n192.0.2.12 server\n";

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
        // exportfs keeps a netmask as it was written.
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

/// exportfs runs in a mount namespace, where /etc and /var/lib/nfs have the files of the test only.
#[test]
fn files_are_read_as_exportfs_reads_them() -> Result<()> {
    if !root_for("a mount namespace") {
        return Ok(());
    }
    setup::install_packages(&[Package::NFS_COMMON])?;
    let exportfs = unpack_package(EXPORTFS)?.join("usr/sbin/exportfs");
    let dir = public_dir()?;
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("state"))?;
    fs::create_dir(path("etc"))?;
    fs::write(path("etc/hosts"), HOSTS)?;
    fs::write(path("etc/nsswitch.conf"), "hosts: files\n")?;
    let script = format!(
        "mkdir -p /var/lib/nfs && mount --bind {dir}/state /var/lib/nfs && : >/var/lib/nfs/etab && \
         mount --bind {dir}/etc /etc && {exportfs} -ra",
        dir = dir.path().display(),
        exportfs = exportfs.display(),
    );
    for file in FILES {
        fs::write(path("etc/exports"), file)?;
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .output()?;
        let theirs = parse(&fs::read_to_string(path("state/etab"))?)?;
        let ours = parse(&test_file(&path("etc/exports"))?)?;
        ensure!(
            ours == theirs && !theirs.is_empty(),
            "{file}: {ours:#?} is not {theirs:#?}; exportfs: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
