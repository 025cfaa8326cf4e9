//! A real Linux client: a Debian kernel in QEMU mounts exports by Debian's mount.nfs.
//!
//! Server and guest share a network namespace, in which port 111 is free. One guest runs all tests, one after another.

mod fixture;
mod kills;
mod locks;
mod posix;
mod replaced;
mod tree;
mod version4;
mod world;
mod writes;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use xtask::machines::mounts::on_image;
use xtask::machines::server::{ServerOptions, public_dir, root_for};
use xtask::setup;

use kills::*;
use locks::*;
use posix::*;
use replaced::*;
use tree::{DEPTH, FAR, FAR_LEN, MANY_COUNT, small_count};
use version4::*;
use world::{World, in_mount, ports_of};
use writes::*;

const NOBODY: u32 = 65534;
/// Time limit for a line from a server that already listens.
const SOON: Duration = Duration::from_secs(5);

type Test = fn(&mut World) -> Result<()>;

macro_rules! tests {
    ($($name:ident,)+) => { &[$((stringify!($name), $name as Test)),+] };
}

const TESTS: &[(&str, Test)] = tests![
    mount_without_a_port_finds_portmap,
    names_and_attributes_match_the_host,
    every_checksum_matches,
    tar_of_subvolumes_keeps_every_file,
    ten_thousand_entries_are_listed_once_each,
    data_past_four_gib_is_read,
    writing_is_refused_by_client_and_server,
    handles_outlive_restart_and_rename,
    directory_is_listed_over_4_1,
    image_is_a_submount_over_4_1,
    exports_below_others_are_entered_over_4_1,
    mount_without_an_option_takes_4_1,
    reads_over_4_1_outlive_kills,
    trees_over_4_1_outlive_kills,
    program_is_copied_over_4_1,
    locks_of_two_guests_outlive_kills,
    changes_of_every_kind_reach_the_host,
    i686_server_is_written,
    server_of_ordinary_user_is_written,
    sparse_writes_past_four_gib,
    thirty_thousand_operations_of_fsx,
    live_system_is_written,
    container_is_written,
    pjdfstest_passes,
    pjdfstest_passes_over_4_1,
    posix_results_match_local,
    posix_results_match_local_over_4_1,
    file_replaced_by_the_host_is_read,
    kills_lose_no_acknowledged_change,
    error_under_kills_is_shown_with_its_calls,
];

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let listing = arguments.list;
    if !listing && !root_for("a Linux client with port 111 in a network namespace") {
        return Ok(ExitCode::SUCCESS);
    }
    let world = if listing { None } else { Some(World::new()?) };
    let world = Arc::new(Mutex::new(world));
    let trials = TESTS.iter().map(|&(name, test)| {
        let world = world.clone();
        Trial::test(name, move || {
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            let world = world
                .as_mut()
                .ok_or("no guest runs while tests are listed")?;
            test(world).map_err(|error| format!("{error:#}").into())
        })
    });
    Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code())
}

fn mount_without_a_port_finds_portmap(world: &mut World) -> Result<()> {
    let tree = world.tree.path().display().to_string();
    // By default mount.nfs asks portmap and MOUNT over UDP.
    for (options, protocol) in [
        ("ro,nolock,vers=3", "mountproto=udp"),
        ("ro,nolock,vers=3,mountproto=tcp", "mountproto=tcp"),
    ] {
        let mounts = world.in_tree(options, "grep /mnt/1 /proc/mounts")?;
        for word in ["vers=3", "proto=tcp", "rsize=1048576", protocol] {
            ensure!(
                mounts.split([',', ' ']).any(|option| option == word),
                "no {word} in {mounts}"
            );
        }
    }
    world
        .server
        .wait_for_line(&format!("mounted {tree}"), SOON)?;
    Ok(())
}

fn names_and_attributes_match_the_host(world: &mut World) -> Result<()> {
    // Path, kind, mode, links, size, owner, mtime in nanoseconds, inode, target.
    let format = r"%P\t%y\t%m\t%n\t%s\t%U:%G\t%T@\t%i\t%l\0";
    let expected = world.on_host("find", &[".", "-printf", format])?;
    let script = format!(
        "{}find . -printf '{format}'",
        in_mount(world.tree.path(), "ro,nolock,vers=3")
    );
    let seen = world.guest.run(&script)?;
    ensure!(
        seen.code == 0,
        "find failed:\n{}",
        String::from_utf8_lossy(&seen.text)
    );

    let entries = |text: &[u8]| -> BTreeSet<String> {
        text.split(|&byte| byte == 0)
            .map(|entry| entry.escape_ascii().to_string())
            .collect()
    };
    let (expected, seen) = (entries(&expected), entries(&seen.text));
    ensure!(
        expected.len() > small_count() + MANY_COUNT,
        "find on the host sees only {} entries",
        expected.len()
    );
    let only = |these: &BTreeSet<String>, those| {
        these
            .difference(those)
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    };
    ensure!(
        expected == seen,
        "only on the host:\n{}\nonly on the client:\n{}",
        only(&expected, &seen),
        only(&seen, &expected)
    );
    Ok(())
}

fn every_checksum_matches(world: &mut World) -> Result<()> {
    let all = small_count();
    let script = "find small -type f | wc -l; sha256sum -c SHA256SUMS | grep -c ': OK$'";
    let counts = world.in_tree("ro,nolock,vers=3", script)?;
    ensure!(
        counts == format!("{all}\n{all}\n"),
        "expected {all} files and {all} matching checksums:\n{counts}"
    );
    Ok(())
}

/// The files of two btrfs subvolumes have the same inode numbers: tar must not store one as a hard link of the other.
fn tar_of_subvolumes_keeps_every_file(world: &mut World) -> Result<()> {
    on_image(&["mkfs.btrfs", "-q"], 256, |top| {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            setup::run_captured(command.args(["-c", script]).current_dir(top))
        };
        shell(
            "for name in a b c; do btrfs subvolume create $name
            echo original of $name >$name/original; ln $name/original $name/linked; echo $name >$name/own; done
            btrfs subvolume snapshot a snapshot; echo changed >snapshot/own",
        )?;
        let sums = "find . -type f | LC_ALL=C sort | xargs sha256sum";
        let expected = shell(sums)?;
        for form in ["kernel", "path"] {
            let server = world.serve(ServerOptions {
                arguments: ["--handles", form].map(Into::into).to_vec(),
                ..ServerOptions::serving(&[top])
            })?;
            // The guest reads its clock in whole seconds when it boots. A new file of the host may thus be up to a second in the
            // guest's future, of which tar must not warn.
            let script = in_mount(top, &ports_of(&server))
                + "rm -rf /tmp/tar /tmp/cp; mkdir /tmp/tar; tar -cf - . | tar --warning=no-timestamp -xf - -C /tmp/tar
                cp -a . /tmp/cp; diff -r /tmp/tar /tmp/cp; test $(du -s . | cut -f1) -gt 0; cd /tmp/tar\n"
                + sums;
            let seen = world.guest.run_ok(&script)?;
            ensure!(seen == expected, "{form}: {seen}\ninstead of\n{expected}");
        }
        Ok(())
    })
}

fn ten_thousand_entries_are_listed_once_each(world: &mut World) -> Result<()> {
    let expected: String = (0..MANY_COUNT)
        .map(|number| format!("entry-{number:05}\n"))
        .collect();
    // Lists the directory by READDIR only, and then by READDIRPLUS.
    for options in ["ro,nolock,vers=3,nordirplus", "ro,nolock,vers=3"] {
        let names = world.in_tree(options, "ls many")?;
        ensure!(
            names == expected,
            "{options}: {} names, expected {MANY_COUNT}, or the names differ",
            names.lines().count()
        );
    }
    Ok(())
}

fn data_past_four_gib_is_read(world: &mut World) -> Result<()> {
    let script = format!(
        "stat -c %s sparse
        dd if=sparse bs=65536 iflag=skip_bytes,count_bytes skip={FAR} count={FAR_LEN} 2>/dev/null | sha256sum
        tail -c 1000000 sparse | tr -d '\\0' | wc -c"
    );
    let seen = world.in_tree("ro,nolock,vers=3", &script)?;
    let expected = format!(
        "{}\n{}  -\n0\n",
        tree::SPARSE_LEN,
        tree::hex(&tree::content(1, FAR_LEN))
    );
    ensure!(
        seen == expected,
        "size, checksum and data bytes in the hole: expected\n{expected}but the client has\n{seen}"
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
        "rmdir small",
        "chmod 600 SHA256SUMS",
        "touch -d 2001-01-01 SHA256SUMS",
    ];
    // Each attempt prints one line with its error; a success prints an empty line.
    let script: String = attempts
        .iter()
        .map(|attempt| format!("output=$({attempt} 2>&1) || :; echo \"$output\"\n"))
        .collect();
    // On a mount with `ro`, the client itself refuses the change. With `rw`, the client sends a request, which the server refuses.
    for options in ["ro,nolock,vers=3", "rw,nolock,vers=3"] {
        let output = world.in_tree(options, &script)?;
        for (attempt, line) in attempts.iter().zip(output.lines()) {
            ensure!(
                line.contains("Read-only file system"),
                "{attempt}, mounted {options}: '{line}'"
            );
        }
        ensure!(
            output.lines().count() == attempts.len(),
            "{} attempts, mounted {options}:\n{output}",
            attempts.len()
        );
    }
    // Before a write the client sends ACCESS, so open(2) may fail with EACCES instead of EROFS. The text is not compared.
    world.in_tree("rw,nolock,vers=3", "! (echo more >>SHA256SUMS) 2>/dev/null")?;
    Ok(())
}

fn handles_outlive_restart_and_rename(world: &mut World) -> Result<()> {
    for handles in ["kernel", "path"] {
        outlive_restart_and_rename(world, handles, DEPTH)?;
    }
    Ok(())
}

/// A process in the guest has a file open and works `depth` directories deep. Meanwhile the server is killed, a directory above the
/// export is renamed, and a new server exports the new path.
fn outlive_restart_and_rename(world: &mut World, handles: &str, depth: usize) -> Result<()> {
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
    server.wait_for_line(&format!("{handles} handles"), SOON)?;
    let port = server.nfs_port;
    let below = tree::deep(Path::new("/mnt/1"), depth).display().to_string();
    world.guest.run_ok(&format!(
        "set -e; mkdir -p /mnt/1; mount -o {options} 10.0.2.2:{path} /mnt/1; cd {below}
        rm -f /run/go /run/done
        (
            trap 'touch /run/done' EXIT
            exec 4<open; dd bs=1000 count=1 <&4 2>/dev/null | wc -c
            until [ -e /run/go ]; do usleep 50000; done
            cat <&4 | sha256sum; cat beside; ls; cat /mnt/1/elsewhere/file
            cd ../..; find . -name beside; sha256sum <{below}/open
        ) >/run/seen 2>&1 &
        until [ -s /run/seen ]; do usleep 50000; done",
        options = ports_of(&server),
        path = export("before").display(),
    ))?;
    server.kill()?;
    std::fs::rename(
        directory.path().join("before"),
        directory.path().join("after"),
    )?;
    let _server = world.serve(options("after", port))?;
    // Drops the client's caches, so that data must come from the server.
    let seen = world.guest.run_ok(
        "echo 3 >/proc/sys/vm/drop_caches; touch /run/go
        timeout 60 sh -c 'until [ -e /run/done ]; do usleep 50000; done'
        cat /run/seen; umount /mnt/1 || umount -l /mnt/1",
    )?;
    let expected = format!(
        "1000\n{}  -\nbeside\nbeside\nopen\nelsewhere\n./level-{}/level-{depth}/beside\n{}  -\n",
        tree::hex(content.get(1000..).context("the file is too short")?),
        depth - 1,
        tree::hex(&content),
    );
    ensure!(
        seen == expected,
        "{handles} handles: expected\n{expected}but the guest has\n{seen}"
    );
    Ok(())
}
