//! File systems without free space: full, at a quota, read-only, or with a limit on file sizes. Acknowledged data is in the file.

use super::{check_alive, fails};
use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::clients::sftp::{Attrs, Reply, Request, Sftp, SftpOptions, Status, open};
use xtask::machines::mounts::{on_btrfs, on_image, on_tmpfs, remount};
use xtask::machines::server::public_dir;
use xtask::setup;
use xtask::testing::{check_pattern, pattern};

/// Length (bytes) of a WRITE: not a multiple of the block size, so that the last one may fit in part.
const STEP: usize = 50_000;

/// Writes `name` until no space is left; returns the number of acknowledged bytes. The error's text must contain `word`.
fn fill(client: &mut Sftp, name: &str, word: &str) -> Result<u64> {
    let handle = client.create(name)?;
    let mut len = 0;
    loop {
        let data = pattern(1, len, STEP);
        let request = Request::Write(&handle, len, &data);
        match client.exchange(&request)? {
            Reply::Status(Status::OK, _) => len += STEP as u64,
            Reply::Status(Status::FAILURE, text) => {
                ensure!(
                    text.contains(word),
                    "the text for a full file system is '{text}'"
                );
                break;
            }
            other => anyhow::bail!("{other:?} to a WRITE at {len}"),
        }
        ensure!(len < 1 << 30, "{name} never ends");
    }
    // Space for acknowledged data is allocated, so fsync must succeed.
    client.fsync(&handle).context("fsync of what fitted")?;
    client.close(&handle)?;
    Ok(len)
}

/// Creates names of each type until one fails. Names that were acknowledged must exist, and the one that failed must not.
fn fill_with_names(client: &mut Sftp, path: &Path) -> Result<()> {
    for kind in ["file", "directory", "symlink", "link"] {
        let mut made = Vec::new();
        let failed = loop {
            let name = format!("{kind} {} {}", made.len(), "n".repeat(200));
            let (bytes, attrs) = (name.as_bytes(), Attrs::default());
            let target = "x".repeat(1000);
            let request = match kind {
                "file" => Request::Open(bytes, open::WRITE | open::CREATE | open::EXCLUSIVE, attrs),
                "directory" => Request::MkDir(bytes, attrs),
                "symlink" => Request::SymLink(target.as_bytes(), bytes),
                _ => Request::HardLink(b"spare", bytes),
            };
            match client.exchange(&request)? {
                Reply::Handle(handle) => client.close(&handle)?,
                Reply::Status(Status::OK, _) => {}
                Reply::Status(Status::FAILURE, text) if text.contains("full") => break name,
                other => anyhow::bail!("{other:?} to {kind} {}", made.len()),
            }
            made.push(name);
            ensure!(
                made.len() < 2000,
                "{kind}: all names fit on a full file system"
            );
        };
        for name in &made {
            fs::symlink_metadata(path.join(name))
                .with_context(|| format!("{name} was acknowledged"))?;
        }
        ensure!(
            fs::symlink_metadata(path.join(&failed)).is_err(),
            "{failed} exists although the call failed"
        );
        for name in &made {
            if kind == "directory" {
                client.rmdir(name)?;
            } else {
                client.remove(name)?;
            }
        }
    }
    Ok(())
}

/// Fills the file system at `path` with data and with names, removes them, and writes again.
fn check_full_file_system(path: &Path, word: &str) -> Result<()> {
    let mut client = Sftp::start(&SftpOptions::in_directory(path))?;
    client.write_file("spare", b"spare")?;
    let first = fill(&mut client, "first", word)?;
    ensure!(first > 0, "nothing fitted");
    check_pattern(&path.join("first"), first)?;
    // copy-data fails for want of space, too.
    let from = client.open_read("first")?;
    let to = client.create("copy");
    if let Ok(to) = to {
        let request = Request::copy(&from, &to);
        let text = fails(&mut client, &request, Status::FAILURE)?;
        ensure!(
            text.contains(word),
            "the text for a failed copy is '{text}'"
        );
        client.close(&to)?;
        client.remove("copy")?;
    }
    client.close(&from)?;
    if word == "full" {
        fill_with_names(&mut client, path)?;
    }
    check_pattern(&path.join("first"), first)?;
    ensure!(fs::read(path.join("spare"))? == b"spare");
    // After REMOVE, the space can be used again.
    client.remove("first")?;
    setup::run_captured(Command::new("sync").arg("-f").arg(path))?;
    let refilled = fill(&mut client, "again", word)?;
    ensure!(
        refilled >= first / 2,
        "only {refilled} bytes fit where {first} did"
    );
    check_pattern(&path.join("again"), refilled)?;
    client.remove("again")?;
    setup::run_captured(Command::new("sync").arg("-f").arg(path))?;
    check_alive(&mut client)?;
    ensure!(client.finish()?.1.code() == Some(0));
    Ok(())
}

#[test]
fn full_tmpfs_keeps_acknowledged_data() -> Result<()> {
    on_tmpfs("size=2m,nr_inodes=64", |path| {
        check_full_file_system(path, "full")
    })
}

#[test]
fn full_ext4_keeps_acknowledged_data() -> Result<()> {
    let make = ["mkfs.ext4", "-q", "-m", "0", "-b", "1024"];
    on_image(&make, 8, |path| check_full_file_system(path, "full"))
}

#[test]
fn exceeded_quota_fails_the_write() -> Result<()> {
    const QUOTA: u64 = 8 << 20;
    on_btrfs(QUOTA, |path| check_full_file_system(path, "quota"))
}

#[test]
fn read_only_file_system_refuses_changes() -> Result<()> {
    on_tmpfs("size=2m", |path| {
        fs::write(path.join("file"), "content")?;
        fs::create_dir(path.join("directory"))?;
        std::os::unix::fs::symlink("file", path.join("link"))?;
        let mut client = Sftp::start(&SftpOptions::in_directory(path))?;
        let reading = client.open_read("file")?;
        remount("ro", path)?;
        let (name, made) = (b"file".as_slice(), b"made".as_slice());
        let attrs = Attrs::default();
        for request in [
            Request::Open(name, open::WRITE, attrs.clone()),
            Request::Open(made, open::WRITE | open::CREATE, attrs.clone()),
            Request::SetStat(name, Attrs::mode(0o600)),
            Request::SetStat(name, Attrs::size(1)),
            Request::FSetStat(&reading, Attrs::times(1, 2)),
            Request::LSetStat(b"link", Attrs::times(1, 2)),
            Request::MkDir(made, attrs),
            Request::RmDir(b"directory"),
            Request::Remove(name),
            Request::Rename(name, made),
            Request::PosixRename(name, made),
            Request::SymLink(name, made),
            Request::HardLink(name, made),
        ] {
            let text = fails(&mut client, &request, Status::FAILURE)?;
            ensure!(
                text.contains("read-only"),
                "the text for {request:?} is '{text}'"
            );
        }
        ensure!(client.read_file("file")? == b"content");
        ensure!(client.list(".")?.len() == 5);
        ensure!(
            client.stat_vfs(".")?.flags & 1 == 1,
            "STATVFS does not report a read-only file system"
        );
        remount("rw", path)?;
        check_alive(&mut client)
    })
}

#[test]
fn file_size_limit_does_not_end_session() -> Result<()> {
    // A limit of 512 KiB (1024 blocks of 512 bytes). A WRITE beyond it raises SIGXFSZ, which would kill the server if it did not
    // ignore it.
    let script = "ulimit -f 1024 && exec \"$@\"";
    let directory = public_dir()?;
    let mut client =
        Sftp::start(&SftpOptions::in_directory(directory.path()).through_shell(script))?;
    let len = fill(&mut client, "file", "large")?;
    ensure!((400_000..=524_288).contains(&len), "{len} bytes fitted");
    check_pattern(&directory.path().join("file"), len)?;
    let request = Request::SetStat(b"file", Attrs::size(1 << 30));
    fails(&mut client, &request, Status::FAILURE)?;
    check_alive(&mut client)
}

#[test]
fn statvfs_and_space_agree_with_host() -> Result<()> {
    on_tmpfs("size=3m,nr_inodes=100", |path| {
        let mut client = Sftp::start(&SftpOptions::in_directory(path))?;
        client.write_file("file", &vec![7; 1 << 20])?;
        let handle = client.open_read("file")?;
        let host = statvfs(path)?;
        for reply in [client.stat_vfs("file")?, client.fstat_vfs(&handle)?] {
            ensure!(
                reply.blocks == host.blocks() as u64
                    && reply.blocks_free == host.blocks_free() as u64
                    && reply.fragment_size == host.fragment_size() as u64
                    && reply.files == host.files() as u64
                    && reply.files_free == host.files_free() as u64
                    && reply.name_max == host.name_max() as u64,
                "{reply:?} of {host:?}"
            );
        }
        let space = client.space("file")?;
        let unit = host.fragment_size() as u64;
        ensure!(
            space.on_device == 3 << 20
                && space.unused_on_device == host.blocks_free() as u64 * unit,
            "{space:?}"
        );
        Ok(())
    })
}
