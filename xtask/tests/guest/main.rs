//! A real Linux client: a Debian kernel in QEMU mounts what we serve, with the mount program that Debian's users have.
//!
//! Server and guest share a network namespace of their own, where port 111 is free. One guest serves all tests, one after
//! the other, and ends with them.

mod tree;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;
use tree::{DEPTH, FAR, FAR_LEN, MANY_COUNT, SMALL_COUNT};
use xtask::build::Arch;
use xtask::qemu::{self, Guest};
use xtask::server::{self, Namespace, Server, ServerOptions, public_dir, root_for};
use xtask::setup::{self, Package};

const MACHINE: &str = "nfs-client";
const NOBODY: u32 = 65534;

/// What all tests use. What is dropped first comes first.
struct World {
    guest: Guest,
    /// On ports 111 and 2049; exports `tree` and `other`.
    server: Server,
    namespace: Namespace,
    tree: TempDir,
    other: TempDir,
}

type Test = fn(&mut World) -> Result<()>;

macro_rules! tests {
    ($($name:ident,)+) => { &[$((stringify!($name), $name as Test)),+] };
}

const TESTS: &[(&str, Test)] = tests![
    mount_without_a_port_finds_portmap,
    showmount_and_rpcinfo_see_the_server,
    every_name_and_attribute_is_the_hosts,
    every_checksum_matches,
    tar_makes_the_same_archive,
    ten_thousand_entries_are_listed_once_each,
    data_past_four_gib_is_read,
    two_exports_and_one_export_twice_at_once,
    writing_is_refused_by_client_and_server,
    kernel_handles_outlive_restart_and_rename,
    path_handles_outlive_restart_and_rename,
    an_ordinary_user_serves,
    the_i686_file_serves,
];

fn main() -> Result<std::process::ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let listing = arguments.list;
    if !listing && !root_for("a Linux client, with port 111 in a network of its own") {
        return Ok(std::process::ExitCode::SUCCESS);
    }
    let world = if listing { None } else { Some(World::new()?) };
    let world = Arc::new(Mutex::new(world));
    let trials = TESTS.iter().map(|&(name, test)| {
        let world = world.clone();
        Trial::test(name, move || {
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            let world = world.as_mut().ok_or("nothing to test with")?;
            let t = std::time::Instant::now();
            let r = test(world).map_err(|error| format!("{error:?}").into());
            eprintln!("{name} {:?}", t.elapsed());
            r
        })
    });
    Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code())
}

impl World {
    fn new() -> Result<Self> {
        setup::need(&[Package::IPROUTE2, Package::NFS_COMMON, Package::RPCBIND])?;
        // All that comes from elsewhere comes now: the namespace has no way out.
        qemu::prepare(MACHINE)?;
        server::binary(Arch::X86_64)?;
        server::binary(Arch::I686)?;

        let (tree, other) = (public_dir()?, public_dir()?);
        tree::grow(tree.path()).context("cannot make the tree to serve")?;
        tree::create(&other.path().join("other"), b"the other export")?;
        let namespace = Namespace::new()?;
        let exports = ServerOptions::serving(&[tree.path(), other.path()]);
        let options = ServerOptions {
            port: 2049,
            portmap: true,
            ..exports
        };
        let (server, guest) =
            namespace.run(|| Ok((Server::start(options)?, Guest::boot(MACHINE)?)))?;
        Ok(Self {
            guest,
            server,
            namespace,
            tree,
            other,
        })
    }

    /// Starts another server where the guest can reach it.
    fn serve(&self, options: ServerOptions) -> Result<Server> {
        self.namespace.run(|| Server::start(options))
    }

    /// Runs a command on the host, in the namespace and the served tree; it must succeed.
    fn on_host(&self, program: &str, words: &[&str]) -> Result<Vec<u8>> {
        let mut command: Command = self.namespace.command(program);
        let output = command.args(words).current_dir(self.tree.path()).output()?;
        ensure!(
            output.status.success(),
            "{program} {words:?} on the host: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }
}

/// The beginning of a script that works in a mounted directory and unmounts it when it ends.
fn in_mount(directory: &Path, options: &str) -> String {
    let directory = directory.display();
    format!(
        "set -e; mkdir -p /mnt/1; mount -o {options} 10.0.2.2:{directory} /mnt/1\n\
         trap 'cd /; umount /mnt/1' EXIT; cd /mnt/1\n"
    )
}

/// The options with which `server` is mounted when it does not listen on 111.
fn ports_of(server: &Server) -> String {
    format!(
        "ro,nolock,vers=3,port={},mountport={},mountproto=tcp",
        server.nfs_port, server.mount_port
    )
}

fn mount_without_a_port_finds_portmap(world: &mut World) -> Result<()> {
    // As it comes, mount.nfs tries version 4 first, then asks portmap and MOUNT over UDP.
    for (options, expected) in [
        ("ro,nolock", "mountproto=udp"),
        ("ro,nolock,mountproto=tcp", "mountproto=tcp"),
    ] {
        let mounts = world.guest.sh(&format!(
            "{}grep /mnt/1 /proc/mounts",
            in_mount(world.tree.path(), options)
        ))?;
        for word in ["vers=3", "proto=tcp", "rsize=1048576", expected] {
            ensure!(
                mounts.split([',', ' ']).any(|option| option == word),
                "no {word} in {mounts}"
            );
        }
    }
    Ok(())
}

fn showmount_and_rpcinfo_see_the_server(world: &mut World) -> Result<()> {
    let tree = world.tree.path().display().to_string();
    let showmount = |world: &World, flag| -> Result<String> {
        Ok(String::from_utf8(world.on_host(
            "showmount",
            &["--no-headers", flag, "127.0.0.1"],
        )?)?)
    };
    let exports = showmount(world, "-e")?;
    for export in [&world.tree, &world.other] {
        let path = export.path().display().to_string();
        ensure!(
            exports.lines().any(|line| line.starts_with(&path)),
            "showmount -e does not show {path}:\n{exports}"
        );
    }
    world.guest.sh(&format!(
        "mkdir -p /mnt/2; mount -o ro,nolock 10.0.2.2:{tree} /mnt/2"
    ))?;
    let (clients, directories) = (showmount(world, "-a")?, showmount(world, "-d")?);
    world.guest.sh("umount /mnt/2")?;
    ensure!(
        clients.trim() == format!("127.0.0.1:{tree}"),
        "showmount -a shows:\n{clients}"
    );
    ensure!(
        directories.trim() == tree,
        "showmount -d shows:\n{directories}"
    );
    ensure!(
        showmount(world, "-a")?.is_empty(),
        "showmount -a still shows a client that unmounted"
    );

    let services = String::from_utf8(world.on_host("rpcinfo", &["-p", "127.0.0.1"])?)?;
    let services: BTreeSet<_> = services
        .lines()
        .map(|line| {
            line.split_whitespace()
                .take(4)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let port = world.server.mount_port;
    for service in [
        "100000 2 tcp 111",
        "100000 2 udp 111",
        "100003 3 tcp 2049",
        &format!("100005 3 udp {port}"),
        &format!("100005 1 tcp {port}"),
    ] {
        ensure!(
            services.contains(service),
            "rpcinfo -p does not show {service}: {services:?}"
        );
    }
    Ok(())
}

fn every_name_and_attribute_is_the_hosts(world: &mut World) -> Result<()> {
    // Path, kind, mode, links, size, owner, time of change in nanoseconds, inode, target.
    let format = r"%P\t%y\t%m\t%n\t%s\t%U:%G\t%T@\t%i\t%l\0";
    let expected = world.on_host("find", &[".", "-printf", format])?;
    let seen = world.guest.run(&format!(
        "{}find . -printf '{format}'",
        in_mount(world.tree.path(), "ro,nolock")
    ))?;
    ensure!(
        seen.code == 0,
        "find failed:\n{}",
        String::from_utf8_lossy(&seen.text)
    );
    let lines = |text: &[u8]| {
        text.split(|&byte| byte == 0)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect::<Vec<_>>()
    };
    let (mut expected, mut seen) = (lines(&expected), lines(&seen.text));
    expected.sort();
    seen.sort();
    ensure!(
        expected.len() > SMALL_COUNT + MANY_COUNT,
        "find on the host found only {} entries",
        expected.len()
    );
    let at = expected
        .iter()
        .zip(&seen)
        .position(|(expected, seen)| expected != seen);
    if let Some(at) = at {
        anyhow::bail!(
            "the host has {:?}, the client sees {:?}",
            expected[at],
            seen[at]
        );
    }
    ensure!(
        expected.len() == seen.len(),
        "the host has {} entries, the client sees {}",
        expected.len(),
        seen.len()
    );
    Ok(())
}

fn every_checksum_matches(world: &mut World) -> Result<()> {
    checksums_match(
        &mut world.guest,
        world.tree.path(),
        "ro,nolock",
        SMALL_COUNT,
    )
}

/// Counts the files of `small/` and reads the first `count` of them.
fn checksums_match(guest: &mut Guest, tree: &Path, options: &str, count: usize) -> Result<()> {
    let script = format!(
        "find small -type f | wc -l; head -n {count} SHA256SUMS | sha256sum -c | grep -c ': OK$'"
    );
    let counts = guest.sh(&(in_mount(tree, options) + &script))?;
    ensure!(
        counts == format!("{SMALL_COUNT}\n{count}\n"),
        "of {SMALL_COUNT} files, and {count} of them read:\n{counts}"
    );
    Ok(())
}

fn tar_makes_the_same_archive(world: &mut World) -> Result<()> {
    let words = [
        "--sort=name",
        "--numeric-owner",
        "-c",
        "small",
        "deep",
        "names",
    ];
    let expected = tree::hex(&world.on_host("tar", &words)?);
    let script = format!(
        "{}tar {} | sha256sum",
        in_mount(world.tree.path(), "ro,nolock"),
        words.join(" ")
    );
    let seen = world.guest.sh(&script)?;
    ensure!(
        seen.starts_with(&expected),
        "the host's archive has SHA-256 {expected}, the client's {seen}"
    );
    Ok(())
}

fn ten_thousand_entries_are_listed_once_each(world: &mut World) -> Result<()> {
    let listing = world.guest.sh(&format!(
        "{}find many -type f -printf '%f\\n'",
        in_mount(world.tree.path(), "ro,nolock,nordirplus")
    ))?;
    let mut names: Vec<&str> = listing.lines().collect();
    names.sort_unstable();
    let expected: Vec<String> = (0..MANY_COUNT)
        .map(|number| format!("entry-{number:05}"))
        .collect();
    ensure!(
        names == expected,
        "{} names, of {MANY_COUNT} expected; lost or twice",
        names.len()
    );
    Ok(())
}

fn data_past_four_gib_is_read(world: &mut World) -> Result<()> {
    far_data_is_read(&mut world.guest, world.tree.path(), "ro,nolock")
}

fn far_data_is_read(guest: &mut Guest, tree: &Path, options: &str) -> Result<()> {
    let script = format!(
        "stat -c %s sparse
        dd if=sparse bs=65536 iflag=skip_bytes,count_bytes skip={FAR} count={FAR_LEN} 2>/dev/null | sha256sum
        tail -c 1000000 sparse | tr -d '\\0' | wc -c",
    );
    let seen = guest.sh(&(in_mount(tree, options) + &script))?;
    let expected = format!(
        "{}\n{}  -\n0\n",
        5_u64 << 30,
        tree::hex(&tree::content(1, FAR_LEN))
    );
    ensure!(
        seen == expected,
        "size, checksum and zeros should be\n{expected}and are\n{seen}"
    );
    Ok(())
}

fn two_exports_and_one_export_twice_at_once(world: &mut World) -> Result<()> {
    let (tree, other) = (world.tree.path().display(), world.other.path().display());
    let seen = world.guest.sh(&format!(
        "set -e; mkdir -p /mnt/1 /mnt/2 /mnt/3
        mount -o ro,nolock 10.0.2.2:{tree} /mnt/1
        mount -o ro,nolock 10.0.2.2:{other} /mnt/2
        mount -o ro,nolock,nosharecache 10.0.2.2:{tree} /mnt/3
        for mount in 1 3; do
            (cd /mnt/$mount; head -n 500 SHA256SUMS | sha256sum -c | grep -c ': OK$' >/run/count-$mount) &
        done
        cat /mnt/2/other; echo
        wait
        cat /run/count-1 /run/count-3
        umount /mnt/1; cat /mnt/2/other; ls /mnt/3 | wc -l
        umount /mnt/2 /mnt/3"
    ))?;
    let roots_count = std::fs::read_dir(world.tree.path())?.count();
    let expected = format!("the other export\n500\n500\nthe other export{roots_count}\n");
    ensure!(
        seen == expected,
        "two exports and one twice should show\n{expected}and show\n{seen}"
    );
    Ok(())
}

fn writing_is_refused_by_client_and_server(world: &mut World) -> Result<()> {
    let attempts = [
        "touch new",
        "mkdir new",
        "mkfifo new",
        "ln -s target new",
        "ln SHA256SUMS new",
        "mv SHA256SUMS new",
        "rm -f SHA256SUMS",
        "chmod 600 SHA256SUMS",
        "touch -d 2001-01-01 SHA256SUMS",
        "rmdir small",
    ];
    // Mounted ro, the client refuses by itself; mounted rw, it asks the server.
    for options in ["ro,nolock", "rw,nolock"] {
        for attempt in attempts {
            let answer = world
                .guest
                .run(&(in_mount(world.tree.path(), options) + attempt))?;
            let text = String::from_utf8_lossy(&answer.text);
            ensure!(
                answer.code != 0 && text.contains("Read-only file system"),
                "{attempt}, mounted {options}: {text}"
            );
        }
    }
    // Before it writes into a file the client asks for permission.
    let append = world
        .guest
        .run(&(in_mount(world.tree.path(), "rw,nolock") + "echo more >>SHA256SUMS"))?;
    ensure!(append.code != 0, "appending to a file succeeded");
    Ok(())
}

fn kernel_handles_outlive_restart_and_rename(world: &mut World) -> Result<()> {
    outlives_restart_and_rename(world, "kernel", DEPTH)
}

fn path_handles_outlive_restart_and_rename(world: &mut World) -> Result<()> {
    outlives_restart_and_rename(world, "path", 12)
}

/// A process in the guest has a file open and works `depth` directories down while the server is killed, what lies above
/// the export gets another name, and the server comes back with the new path.
fn outlives_restart_and_rename(world: &mut World, handles: &str, depth: usize) -> Result<()> {
    let (directory, keys) = (public_dir()?, public_dir()?);
    let export = |parent: &str| directory.path().join(parent).join("export");
    let content = tree::content(2, 3_000_000);
    let bottom = tree::deep(&export("before"), depth);
    tree::create(&bottom.join("open"), &content)?;
    tree::create(&bottom.join("beside"), b"beside\n")?;
    tree::create(&export("before").join("elsewhere/file"), b"elsewhere\n")?;
    let options = |parent: &str, port| ServerOptions {
        port,
        key_file: Some(keys.path().join("key")),
        arguments: vec!["--handles".into(), handles.into()],
        ..ServerOptions::serving(&[&export(parent)])
    };

    let server = world.serve(options("before", 0))?;
    let port = server.nfs_port;
    let below = tree::deep(Path::new("."), depth);
    world.guest.sh(&format!(
        "set -e; mkdir -p /mnt/1; mount -o {} 10.0.2.2:{} /mnt/1; cd /mnt/1/{}
        rm -f /run/go /run/done; mkfifo /run/go
        (
            exec 4<open; dd bs=1000 count=1 <&4 2>/dev/null | wc -c
            read -r _ </run/go
            cat <&4 | sha256sum; cat beside; ls; cat /mnt/1/elsewhere/file; cd ../..; find . -name beside; sha256sum </mnt/1/{0}/open
            touch /run/done
        ) >/run/seen 2>&1 &",
        ports_of(&server), export("before").display(), below.display(),
    ).replace("{0}", &below.display().to_string()))?;
    server.kill()?;
    std::fs::rename(
        directory.path().join("before"),
        directory.path().join("after"),
    )?;
    let _server = world.serve(options("after", port))?;
    let seen = world
        .guest
        .sh("echo 3 >/proc/sys/vm/drop_caches; echo >/run/go
        until [ -e /run/done ]; do usleep 50000; done
        umount /mnt/1; cat /run/seen")?;
    let expected = format!(
        "1000\n{}  -\nbeside\nbeside\nopen\nelsewhere\n./level-{}/level-{depth}/beside\n{}  -\n",
        tree::hex(&content[1000..]),
        depth - 1,
        tree::hex(&content),
    );
    ensure!(
        seen == expected,
        "with {handles} handles, over restart and rename, the guest should see\n{expected}and sees\n{seen}"
    );
    Ok(())
}

fn an_ordinary_user_serves(world: &mut World) -> Result<()> {
    let options = ServerOptions {
        user: Some(NOBODY),
        ..ServerOptions::serving(&[world.tree.path()])
    };
    let server = world.serve(options)?;
    ensure!(
        server
            .lines()
            .iter()
            .any(|line| line.contains("path handles")),
        "not kind P: {:?}",
        server.lines()
    );
    checksums_match(
        &mut world.guest,
        world.tree.path(),
        &ports_of(&server),
        SMALL_COUNT,
    )
}

fn the_i686_file_serves(world: &mut World) -> Result<()> {
    let options = ServerOptions {
        arch: Arch::I686,
        ..ServerOptions::serving(&[world.tree.path()])
    };
    let server = world.serve(options)?;
    checksums_match(&mut world.guest, world.tree.path(), &ports_of(&server), 500)?;
    far_data_is_read(&mut world.guest, world.tree.path(), &ports_of(&server))
}
