//! File systems without free space: full, at a quota, or with the remaining blocks reserved for root.

use super::{WRITABLE, create_file, fails, serve};
use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::nfsstat3::{NFS3ERR_DQUOT, NFS3ERR_NOSPC};
use xtask::clients::nfs::stable_how::{FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{Client, Set, nfsstat3, stable_how};
use xtask::machines::mounts::{on_btrfs, on_image, on_tmpfs};
use xtask::machines::server::ServerOptions;
use xtask::setup;
use xtask::testing::{check_pattern, pattern};

/// Length (bytes) of a WRITE: not a multiple of the block size, so that the last one may fit in part.
const STEP: usize = 50_000;
/// Longest time until the space of a removed file is free again.
const ROOM_MAX: Duration = Duration::from_secs(4);

/// Writes `name` until no space is left; the last WRITE must fail with `expected`. Returns the number of acknowledged bytes.
fn fill(
    client: &mut Client,
    dir: &[u8],
    name: &str,
    stable: stable_how,
    expected: nfsstat3,
) -> Result<u64> {
    let file = create_file(client, dir, name, b"")?;
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

/// Fills the file system at `path` with data and with names, removes them, and writes again.
fn check_full_file_system(path: &Path, room: FreeSpace, expected: nfsstat3) -> Result<()> {
    let (mut server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
    create_file(&mut client, &root, "spare", b"spare")?;
    let empty = room(path)?;
    let unstable = fill(&mut client, &root, "unstable", UNSTABLE, expected)?;
    let file = client.lookup(&root, "unstable")?;
    // Space for acknowledged data is allocated, so COMMIT cannot fail with ENOSPC.
    client
        .commit(&file, 0, 0)
        .context("COMMIT of what fitted")?;
    check_pattern(&path.join("unstable"), unstable)?;
    client
        .remove(&root, "unstable")
        .context("REMOVE of what is full")?;
    wait_for_room(path, room, (empty.0, empty.1 / 2))?;
    let stable = fill(&mut client, &root, "stable", FILE_SYNC, expected)?;
    ensure!(
        unstable > 0 && stable > 0,
        "{unstable} and {stable} bytes fitted"
    );
    // Small WRITEs fill the last block.
    let last = client.lookup(&root, "stable")?;
    for _ in 0..200 {
        let offset = fs::metadata(path.join("stable"))?.len();
        let wrote = client.write(&last, offset, FILE_SYNC, &pattern(1, offset, 512));
        if wrote.is_err() {
            fails(wrote, &[expected], "a small WRITE")?;
            break;
        }
    }
    check_pattern(&path.join("stable"), stable)?;
    ensure!(fs::read(path.join("spare"))? == b"spare");
    // After REMOVE, the space can be used again.
    client.remove(&root, "stable")?;
    wait_for_room(path, room, (empty.0, empty.1 / 2))?;
    let refilled = fill(&mut client, &root, "refilled", FILE_SYNC, expected)?;
    ensure!(
        refilled >= stable / 2,
        "only {refilled} bytes fit where {stable} did"
    );
    check_pattern(&path.join("refilled"), refilled)?;
    client.remove(&root, "refilled")?;
    wait_for_room(path, room, (empty.0, empty.1 / 2))?;
    eprintln!("{unstable} bytes unstable, {stable} stable, {refilled} after REMOVE");
    super::check_alive(&mut server, path)
}

/// A function that returns the number of free inodes and of free bytes.
type FreeSpace = fn(&Path) -> Result<(u64, u64)>;

fn free(path: &Path) -> Result<(u64, u64)> {
    let stat = statvfs(path)?;
    let bytes = stat.blocks_free() as u64 * stat.fragment_size() as u64;
    Ok((stat.files_free() as u64, bytes))
}

/// Waits until as many inodes and bytes are free as in `before`. The server keeps removed files open for up to two seconds.
fn wait_for_room(path: &Path, room: FreeSpace, before: (u64, u64)) -> Result<()> {
    let start = Instant::now();
    loop {
        setup::run_captured(Command::new("sync").arg("-f").arg(path))?;
        let now = room(path)?;
        if now.0 >= before.0 && now.1 >= before.1 {
            return Ok(());
        }
        ensure!(
            start.elapsed() < ROOM_MAX,
            "inodes and bytes free: {now:?} instead of {before:?}"
        );
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn full_tmpfs_keeps_acknowledged_data() -> Result<()> {
    on_tmpfs("size=2m,nr_inodes=64", |path| {
        check_full_file_system(path, free, NFS3ERR_NOSPC)
    })
}

#[test]
fn full_ext4_keeps_acknowledged_data() -> Result<()> {
    on_image(&["mkfs.ext4", "-q", "-m", "0", "-b", "1024"], 8, |path| {
        check_full_file_system(path, free, NFS3ERR_NOSPC)
    })
}

#[test]
fn removed_files_are_freed_during_constant_calls() -> Result<()> {
    on_tmpfs("size=4m", |path| {
        let (_server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let other = create_file(&mut client, &root, "other", b"other")?;
        let empty = free(path)?;
        let data = pattern(1, 0, 2 << 20);
        // The file is removed by REMOVE, replaced by RENAME, or removed on the host.
        for how in ["remove", "rename", "host"] {
            create_file(&mut client, &root, "file", &data)?;
            let start = Instant::now();
            match how {
                "remove" => client.remove(&root, "file")?,
                "rename" => {
                    create_file(&mut client, &root, "new", b"")?;
                    client.rename(&root, "new", &root, "file")?;
                    client.remove(&root, "file")?;
                }
                _ => fs::remove_file(path.join("file"))?,
            }
            while free(path)?.1 < empty.1 {
                client.attr(&other)?;
                client.read(&other, 0, 5)?;
                client.write(&other, 0, UNSTABLE, b"other")?;
                ensure!(start.elapsed() < ROOM_MAX, "{how} freed nothing");
            }
        }
        Ok(())
    })
}

/// Limit (bytes) of the btrfs quota.
const QUOTA: u64 = 8 << 20;

/// Returns 0 instead of the free inodes, and the bytes that remain of the quota.
fn below_quota(path: &Path) -> Result<(u64, u64)> {
    let output = setup::run_captured(
        Command::new("btrfs")
            .args(["qgroup", "show", "--raw"])
            .arg(path),
    )?;
    // `0/5  16384  16384 …`: the ID of the whole file system's quota group, and its referenced bytes.
    let used = output
        .lines()
        .find_map(|line| line.trim().strip_prefix("0/5")?.split_whitespace().next())
        .with_context(|| format!("no quota in {output}"))?;
    Ok((0, QUOTA.saturating_sub(used.parse()?)))
}

#[test]
fn exceeded_quota_returns_dquot() -> Result<()> {
    on_btrfs(QUOTA, |path| {
        check_full_file_system(path, below_quota, NFS3ERR_DQUOT)
    })
}

/// Effective capabilities of a process, as a bit mask.
fn effective_capabilities(pid: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let word = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .context("no CapEff")?;
    Ok(u64::from_str_radix(word.trim(), 16)?)
}

#[test]
fn reserved_blocks_are_refused_to_ordinary_users() -> Result<()> {
    const CAP_SYS_RESOURCE: u64 = 24;
    // Half of the blocks are reserved for root.
    on_image(&["mkfs.ext4", "-q", "-m", "50", "-b", "1024"], 8, |path| {
        let (server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        client.set_attr(&root, Set::mode(0o777))?;
        let mut user = server.connect()?;
        user.auth = super::user(1000, 1000, &[]);
        let len = fill(&mut user, &root, "user's", FILE_SYNC, NFS3ERR_NOSPC)?;
        let free_bytes = statvfs(path)?;
        let free_bytes = free_bytes.blocks_free() as u64 * free_bytes.fragment_size() as u64;
        ensure!(
            free_bytes >= 3 << 20,
            "an ordinary user filled the 8 MiB up to {free_bytes} bytes"
        );
        check_pattern(&path.join("user's"), len)?;
        // Root may use the reserved blocks, because root is not squashed here.
        create_file(&mut client, &root, "root's", &pattern(1, 0, 1 << 20))?;
        check_pattern(&path.join("root's"), 1 << 20)?;
        if effective_capabilities("self")? & (1 << CAP_SYS_RESOURCE) == 0 {
            eprintln!(
                "SKIPPED: the server drops CAP_SYS_RESOURCE (this machine's root does not have it)"
            );
        }
        let effective = effective_capabilities(&server.pid().to_string())?;
        ensure!(
            effective & (1 << CAP_SYS_RESOURCE) == 0,
            "the server has CAP_SYS_RESOURCE, so that quotas do not apply to it: {effective:#x}"
        );
        Ok(())
    })
}
