//! File systems without room: full, over a quota, or with the rest reserved for root.

use super::{WRITABLE, fails, make, serve};
use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Client, How, Set, nfsstat3, stable_how};
use xtask::machines::mounts::{on_btrfs, on_image, on_tmpfs};
use xtask::machines::server::ServerOptions;
use xtask::setup;
use xtask::testing::{holds, pattern};

/// A WRITE of so much at a time: no divisor of a block, so that the last one may fit in part.
const STEP: usize = 50_000;
/// How long what was removed may take up room.
const ROOM_MAX: Duration = Duration::from_secs(4);

/// Writes `name` until there is no room: how many bytes were acknowledged. The failure must be `expected`.
fn fill(
    client: &mut Client,
    dir: &[u8],
    name: &str,
    stable: stable_how,
    expected: nfsstat3,
) -> Result<u64> {
    let file = make(client, dir, name, b"")?;
    let mut len = 0;
    loop {
        match client.write(&file, len, stable, &pattern(1, len, STEP)) {
            Ok(wrote) => len += u64::from(wrote.count),
            Err(e) => {
                fails::<()>(Err(e), &[expected], format!("WRITE at {len} of {name}"))?;
                return Ok(len);
            }
        }
        ensure!(len < 1 << 30, "{name} never ends");
    }
}

/// What makes a name in a directory that has a file `spare`.
type Maker = fn(&mut Client, &[u8], &str) -> Result<()>;

const MAKERS: [(&str, Maker); 5] = [
    ("file", |client, dir, name| {
        let how = How::Guarded(Set::mode(0o644));
        client.create(dir, name, how).map(drop)
    }),
    ("exclusive", |client, dir, name| {
        let how = How::Exclusive([7; 8]);
        client.create(dir, name, how).map(drop)
    }),
    ("directory", |client, dir, name| {
        client.mkdir(dir, name, Set::mode(0o755)).map(drop)
    }),
    ("symlink", |client, dir, name| {
        client.symlink(dir, name, &"x".repeat(1000)).map(drop)
    }),
    ("link", |client, dir, name| {
        let spare = client.lookup(dir, "spare")?;
        client.link(&spare, dir, name)
    }),
];

/// Makes names of each kind until one fails: those that were acknowledged are there, that one is not.
fn fill_with_names(
    client: &mut Client,
    root: &[u8],
    path: &Path,
    expected: nfsstat3,
) -> Result<()> {
    for (kind, maker) in MAKERS {
        let before = free(path)?;
        let mut made = Vec::new();
        let failed = loop {
            let name = format!("{kind} {} {}", made.len(), "n".repeat(200));
            let result = maker(client, root, &name);
            if result.is_err() {
                fails(result, &[expected], &name)?;
                break name;
            }
            made.push(name);
            ensure!(
                made.len() < 1000,
                "{kind}: all names fit where there is no room"
            );
        };
        for name in &made {
            fs::symlink_metadata(path.join(name))
                .with_context(|| format!("{name} was acknowledged"))?;
        }
        let is_there = |name: &str| fs::symlink_metadata(path.join(name)).is_ok();
        ensure!(!is_there(&failed), "{failed} failed and is there");
        // Another name for a file may need room as well; the file has one of the two all the time.
        let renamed = client.rename(root, "spare", root, &failed);
        let moved = renamed.is_ok();
        if moved {
            ensure!(
                is_there(&failed) && !is_there("spare"),
                "RENAME did not rename"
            );
            client.rename(root, &failed, root, "spare")?;
        } else {
            fails(renamed, &[expected], "RENAME")?;
            ensure!(
                !is_there(&failed) && is_there("spare"),
                "RENAME half renamed"
            );
        }
        eprintln!("{kind}: {} names fitted; a RENAME: {moved}", made.len());
        for name in &made {
            if kind == "directory" {
                client.rmdir(root, name)?;
            } else {
                client.remove(root, name)?;
            }
        }
        // A directory stays as large as it was.
        has_room_again(path, free, (before.0, 0))?;
    }
    Ok(())
}

/// Fills the file system at `path` with data and with names, makes room, and writes again.
fn there_is_no_room(path: &Path, room: Room, expected: nfsstat3) -> Result<()> {
    let (mut server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
    make(&mut client, &root, "spare", b"spare")?;
    let empty = room(path)?;
    let unstable = fill(
        &mut client,
        &root,
        "unstable",
        stable_how::UNSTABLE,
        expected,
    )?;
    let file = client.lookup(&root, "unstable")?;
    // What was acknowledged has its place: to commit it cannot fail for want of room.
    client
        .commit(&file, 0, 0)
        .context("COMMIT of what fitted")?;
    holds(&path.join("unstable"), unstable)?;
    client
        .remove(&root, "unstable")
        .context("REMOVE of what is full")?;
    has_room_again(path, room, (empty.0, empty.1 / 2))?;
    let stable = fill(
        &mut client,
        &root,
        "stable",
        stable_how::FILE_SYNC,
        expected,
    )?;
    ensure!(
        unstable > 0 && stable > 0,
        "{unstable} and {stable} bytes fitted"
    );
    // To the last block, by a few bytes at the end.
    let last = client.lookup(&root, "stable")?;
    for _ in 0..200 {
        let at = fs::metadata(path.join("stable"))?.len();
        let wrote = client.write(&last, at, stable_how::FILE_SYNC, &pattern(1, at, 512));
        if wrote.is_err() {
            fails(wrote, &[expected], "a small WRITE")?;
            break;
        }
    }
    holds(&path.join("stable"), stable)?;
    if expected == nfsstat3::NFS3ERR_NOSPC {
        fill_with_names(&mut client, &root, path, expected)?;
    }
    holds(&path.join("stable"), stable)?;
    ensure!(fs::read(path.join("spare"))? == b"spare");
    // Room is made, and all is well.
    client.remove(&root, "stable")?;
    has_room_again(path, room, (empty.0, empty.1 / 2))?;
    let again = fill(&mut client, &root, "again", stable_how::FILE_SYNC, expected)?;
    ensure!(
        again >= stable / 2,
        "only {again} bytes fit where {stable} did"
    );
    holds(&path.join("again"), again)?;
    client.remove(&root, "again")?;
    has_room_again(path, room, (empty.0, empty.1 / 2))?;
    eprintln!("{unstable} bytes unstable, {stable} stable, {again} again");
    super::is_well(&mut server, path)
}

/// How much more fits: inodes and bytes.
type Room = fn(&Path) -> Result<(u64, u64)>;

fn free(path: &Path) -> Result<(u64, u64)> {
    let stat = statvfs(path)?;
    let bytes = stat.blocks_free() as u64 * stat.fragment_size() as u64;
    Ok((stat.files_free() as u64, bytes))
}

/// Waits until there is as much room again: the server has files open for up to two seconds after they were removed.
fn has_room_again(path: &Path, room: Room, before: (u64, u64)) -> Result<()> {
    let start = Instant::now();
    loop {
        setup::quietly(Command::new("sync").arg("-f").arg(path))?;
        let now = room(path)?;
        if now.0 >= before.0 && now.1 >= before.1 {
            return Ok(());
        }
        ensure!(
            start.elapsed() < ROOM_MAX,
            "of {before:?} inodes and bytes {now:?} came back"
        );
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_full_tmpfs_loses_nothing() -> Result<()> {
    on_tmpfs("size=2m,nr_inodes=64", |path| {
        there_is_no_room(path, free, nfsstat3::NFS3ERR_NOSPC)
    })
}

#[test]
fn a_full_ext4_loses_nothing() -> Result<()> {
    on_image(&["mkfs.ext4", "-q", "-m", "0", "-b", "1024"], 8, |path| {
        there_is_no_room(path, free, nfsstat3::NFS3ERR_NOSPC)
    })
}

#[test]
fn what_was_removed_gives_room_though_everybody_keeps_asking() -> Result<()> {
    on_tmpfs("size=4m", |path| {
        let (_server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let other = make(&mut client, &root, "other", b"other")?;
        let empty = free(path)?;
        let data = pattern(1, 0, 2 << 20);
        // Removed by way of the server, replaced by way of the server, and removed on the host.
        for how in ["remove", "rename", "host"] {
            make(&mut client, &root, "file", &data)?;
            let start = Instant::now();
            match how {
                "remove" => client.remove(&root, "file")?,
                "rename" => {
                    make(&mut client, &root, "new", b"")?;
                    client.rename(&root, "new", &root, "file")?;
                    client.remove(&root, "file")?;
                }
                _ => fs::remove_file(path.join("file"))?,
            }
            while free(path)?.1 < empty.1 {
                client.attr(&other)?;
                client.read(&other, 0, 5)?;
                client.write(&other, 0, stable_how::UNSTABLE, b"other")?;
                ensure!(start.elapsed() < ROOM_MAX, "{how} freed nothing");
            }
        }
        Ok(())
    })
}

/// Bytes that a file system may hold, however large it is.
const QUOTA: u64 = 8 << 20;

/// How much more fits below the quota.
fn below_quota(path: &Path) -> Result<(u64, u64)> {
    let said = setup::quietly(
        Command::new("btrfs")
            .args(["qgroup", "show", "--raw"])
            .arg(path),
    )?;
    // `0/5  16384  16384 …`: the whole file system and what it refers to.
    let used = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("0/5")?.split_whitespace().next())
        .with_context(|| format!("no quota in {said}"))?;
    Ok((0, QUOTA.saturating_sub(used.parse()?)))
}

#[test]
fn a_quota_is_heeded() -> Result<()> {
    on_btrfs(QUOTA, |path| {
        there_is_no_room(path, below_quota, nfsstat3::NFS3ERR_DQUOT)
    })
}

/// The privileges that a process has, a bit each.
fn effective(pid: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let word = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .context("no CapEff")?;
    Ok(u64::from_str_radix(word.trim(), 16)?)
}

#[test]
fn what_is_reserved_for_root_is_not_for_others() -> Result<()> {
    const CAP_SYS_RESOURCE: u64 = 24;
    // Half of it is root's.
    on_image(&["mkfs.ext4", "-q", "-m", "50", "-b", "1024"], 8, |path| {
        let (server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        client.set_attr(&root, Set::mode(0o777))?;
        let mut other = server.connect()?;
        other.auth = super::user(1000, 1000, &[]);
        let len = fill(
            &mut other,
            &root,
            "user's",
            stable_how::FILE_SYNC,
            nfsstat3::NFS3ERR_NOSPC,
        )?;
        let left = statvfs(path)?;
        let left = left.blocks_free() as u64 * left.fragment_size() as u64;
        ensure!(
            left >= 3 << 20,
            "of 8 MiB an ordinary user filled all but {left} bytes"
        );
        holds(&path.join("user's"), len)?;
        // Root, who is root here, may have it.
        make(&mut client, &root, "root's", &pattern(1, 0, 1 << 20))?;
        holds(&path.join("root's"), 1 << 20)?;
        if effective("self")? & (1 << CAP_SYS_RESOURCE) == 0 {
            eprintln!("SKIPPED: that the server gives a privilege up (root has not got it here)");
        }
        let effective = effective(&server.pid().to_string())?;
        ensure!(
            effective & (1 << CAP_SYS_RESOURCE) == 0,
            "quotas do not count for the server: {effective:#x}"
        );
        Ok(())
    })
}
