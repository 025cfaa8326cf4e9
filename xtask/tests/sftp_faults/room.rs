//! File systems without room: full, over a quota, read-only, or with a limit of their own. What was acknowledged is there.

use super::{fails, is_well};
use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::clients::sftp::{Attrs, Reply, Request, Sftp, SftpOptions, Status, open};
use xtask::machines::mounts::{on_btrfs, on_image, on_tmpfs, remount};
use xtask::machines::server::public_dir;
use xtask::setup;
use xtask::testing::{holds, pattern};

/// A WRITE of so much at a time: no divisor of a block, so that the last one may fit in part.
const STEP: usize = 50_000;

/// Writes `name` until there is no room: how many bytes were acknowledged.
fn fill(client: &mut Sftp, name: &str, word: &str) -> Result<u64> {
    let handle = client.create(name)?;
    let mut len = 0;
    loop {
        let data = pattern(1, len, STEP);
        let request = Request::Write(&handle, len, &data);
        match client.exchange(&request)? {
            Reply::Status(Status::OK, _) => len += STEP as u64,
            Reply::Status(Status::FAILURE, text) => {
                ensure!(text.contains(word), "people are told '{text}'");
                break;
            }
            other => anyhow::bail!("{other:?} to a WRITE at {len}"),
        }
        ensure!(len < 1 << 30, "{name} never ends");
    }
    // What was acknowledged has its place.
    client.fsync(&handle).context("fsync of what fitted")?;
    client.close(&handle)?;
    Ok(len)
}

/// Makes names of each kind until one fails: those that were acknowledged are there, that one is not.
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
                "{kind}: all names fit where there is no room"
            );
        };
        for name in &made {
            fs::symlink_metadata(path.join(name))
                .with_context(|| format!("{name} was acknowledged"))?;
        }
        ensure!(
            fs::symlink_metadata(path.join(&failed)).is_err(),
            "{failed} failed and is there"
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

/// Fills the file system at `path` with data and with names, makes room, and writes again.
fn there_is_no_room(path: &Path, word: &str) -> Result<()> {
    let mut client = Sftp::start(&SftpOptions::at(path))?;
    client.write_file("spare", b"spare")?;
    let first = fill(&mut client, "first", word)?;
    ensure!(first > 0, "nothing fitted");
    holds(&path.join("first"), first)?;
    // A copy has no more room than what is written.
    let from = client.open_read("first")?;
    let to = client.create("copy");
    if let Ok(to) = to {
        let request = Request::copy(&from, &to);
        let text = fails(&mut client, &request, Status::FAILURE)?;
        ensure!(text.contains(word), "people are told '{text}'");
        client.close(&to)?;
        client.remove("copy")?;
    }
    client.close(&from)?;
    if word == "full" {
        fill_with_names(&mut client, path)?;
    }
    holds(&path.join("first"), first)?;
    ensure!(fs::read(path.join("spare"))? == b"spare");
    // Room is made, and all is well.
    client.remove("first")?;
    setup::quietly(Command::new("sync").arg("-f").arg(path))?;
    let again = fill(&mut client, "again", word)?;
    ensure!(
        again >= first / 2,
        "only {again} bytes fit where {first} did"
    );
    holds(&path.join("again"), again)?;
    client.remove("again")?;
    setup::quietly(Command::new("sync").arg("-f").arg(path))?;
    is_well(&mut client)?;
    ensure!(client.finish()?.1.code() == Some(0));
    Ok(())
}

#[test]
fn a_full_tmpfs_loses_nothing() -> Result<()> {
    on_tmpfs("size=2m,nr_inodes=64", |path| {
        there_is_no_room(path, "full")
    })
}

#[test]
fn a_full_ext4_loses_nothing() -> Result<()> {
    let make = ["mkfs.ext4", "-q", "-m", "0", "-b", "1024"];
    on_image(&make, 8, |path| there_is_no_room(path, "full"))
}

#[test]
fn a_quota_is_heeded() -> Result<()> {
    const QUOTA: u64 = 8 << 20;
    on_btrfs(QUOTA, |path| there_is_no_room(path, "quota"))
}

#[test]
fn what_may_not_be_written_is_read() -> Result<()> {
    on_tmpfs("size=2m", |path| {
        fs::write(path.join("file"), "content")?;
        fs::create_dir(path.join("directory"))?;
        std::os::unix::fs::symlink("file", path.join("link"))?;
        let mut client = Sftp::start(&SftpOptions::at(path))?;
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
                "people are told '{text}' of {request:?}"
            );
        }
        ensure!(client.read_file("file")? == b"content");
        ensure!(client.list(".")?.len() == 5);
        ensure!(
            client.stat_vfs(".")?.flags & 1 == 1,
            "not said to be read-only"
        );
        remount("rw", path)?;
        is_well(&mut client)
    })
}

#[test]
fn a_limit_of_file_sizes_is_no_end() -> Result<()> {
    // Half a mebibyte; nobody ignores the signal for us.
    let script = "ulimit -f 1024 && exec \"$@\"";
    let directory = public_dir()?;
    let mut client = Sftp::start(&SftpOptions::at(directory.path()).after(script))?;
    let len = fill(&mut client, "file", "large")?;
    ensure!((400_000..=524_288).contains(&len), "{len} bytes fitted");
    holds(&directory.path().join("file"), len)?;
    let request = Request::SetStat(b"file", Attrs::size(1 << 30));
    fails(&mut client, &request, Status::FAILURE)?;
    is_well(&mut client)
}

#[test]
fn room_is_told_as_the_host_tells_it() -> Result<()> {
    on_tmpfs("size=3m,nr_inodes=100", |path| {
        let mut client = Sftp::start(&SftpOptions::at(path))?;
        client.write_file("file", &vec![7; 1 << 20])?;
        let handle = client.open_read("file")?;
        let host = statvfs(path)?;
        for told in [client.stat_vfs("file")?, client.fstat_vfs(&handle)?] {
            ensure!(
                told.blocks == host.blocks() as u64
                    && told.blocks_free == host.blocks_free() as u64
                    && told.fragment_size == host.fragment_size() as u64
                    && told.files == host.files() as u64
                    && told.files_free == host.files_free() as u64
                    && told.name_max == host.name_max() as u64,
                "{told:?} of {host:?}"
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
