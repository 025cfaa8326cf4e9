//! Every feature of an SFTP server, once each, in an empty directory.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use xtask::clients::sftp::{Attrs, Sftp, Status, failed_status};

/// Length (bytes) of the test file: longer than any buffer, and not a multiple of one.
const LEN: usize = 700_001;

/// Uses every feature once in the empty `directory`, and leaves the directory empty.
pub(super) fn play(client: &mut Sftp, directory: &str) -> Result<()> {
    let path_of = |name: &str| format!("{directory}/{name}");
    let data: Vec<u8> = (0..LEN)
        .map(|index| (index ^ index >> 8 ^ index >> 16) as u8)
        .collect();
    client.write_file(path_of("file"), &data)?;
    ensure!(
        client.read_file(path_of("file"))? == data,
        "the file has other bytes than were written"
    );
    attributes(client, &path_of("file")).context("attributes")?;
    names(client, &path_of).context("names")?;
    listing(client, directory, &path_of).context("listing")?;
    extensions(client, &path_of, &data).context("extensions")?;
    client.remove(path_of("file"))?;
    ensure!(
        !client.exists(path_of("file"))?,
        "a removed file still exists"
    );
    let entries: Vec<_> = client.list(directory)?;
    ensure!(entries.len() == 2, "left over: {entries:?}");
    Ok(())
}

fn attributes(client: &mut Sftp, file: &str) -> Result<()> {
    let attrs = client.stat(file)?;
    ensure!(attrs.size == Some(LEN as u64), "{attrs:?}");
    ensure!(client.lstat(file)? == attrs, "STAT and LSTAT differ");
    let handle = client.open_both(file)?;
    ensure!(client.fstat(&handle)? == attrs, "STAT and FSTAT differ");
    client.set_fstat(&handle, Attrs::mode(0o600))?;
    client.set_fstat(&handle, Attrs::times(1, 2))?;
    client.close(&handle)?;
    let attrs = client.stat(file)?;
    ensure!(attrs.mode == Some(0o100_600), "{attrs:?}");
    ensure!(attrs.times == Some((1, 2)), "{attrs:?}");
    client.set_stat(file, Attrs::mode(0o640))?;
    client.set_stat(file, Attrs::times(3, 4))?;
    let (user, group) = attrs.owner.context("no owner")?;
    client.set_stat(file, Attrs::owner(user, group))?;
    let attrs = client.stat(file)?;
    ensure!(attrs.mode == Some(0o100_640), "{attrs:?}");
    ensure!(attrs.times == Some((3, 4)), "{attrs:?}");
    Ok(())
}

fn names(client: &mut Sftp, path_of: &impl Fn(&str) -> String) -> Result<()> {
    client.mkdir(path_of("directory"), Attrs::mode(0o755))?;
    ensure!(client.stat(path_of("directory"))?.is_directory());
    client.symlink("file", path_of("link"))?;
    ensure!(client.read_link(path_of("link"))? == b"file");
    ensure!(client.stat(path_of("link"))?.size == Some(LEN as u64));
    ensure!(client.lstat(path_of("link"))?.size == Some(4));
    client.write_file(path_of("one"), b"one")?;
    client.rename(path_of("one"), path_of("two"))?;
    client.write_file(path_of("one"), b"another")?;
    let refused = failed_status(client.rename(path_of("one"), path_of("two")))?;
    ensure!(
        refused == Some(Status::FAILURE),
        "RENAME onto a file: {refused:?}"
    );
    client.posix_rename(path_of("one"), path_of("two"))?;
    ensure!(client.read_file(path_of("two"))? == b"another");
    client.hard_link(path_of("two"), path_of("three"))?;
    client.write_file(path_of("three"), b"both")?;
    ensure!(client.read_file(path_of("two"))? == b"both");
    let real = client.real_path(path_of("directory/../two"))?;
    ensure!(
        real.starts_with(b"/") && real.ends_with(b"/two"),
        "{real:?}"
    );
    for name in ["link", "two", "three"] {
        client.remove(path_of(name))?;
    }
    client.rmdir(path_of("directory"))
}

fn listing(client: &mut Sftp, directory: &str, path_of: &impl Fn(&str) -> String) -> Result<()> {
    // Number of files. Their listing needs several replies.
    const COUNT: usize = 120;
    for number in 0..COUNT {
        let handle = client.create(path_of(&format!("{number} {}", "n".repeat(100))))?;
        client.close(&handle)?;
    }
    let entries = client.list(directory)?;
    ensure!(entries.len() == COUNT + 3, "{} names", entries.len());
    for number in 0..COUNT {
        let name = format!("{number} {}", "n".repeat(100));
        let entry = entries
            .iter()
            .find(|entry| entry.name == name.as_bytes())
            .with_context(|| format!("no {name}"))?;
        ensure!(
            entry.long_name.starts_with(b"-rw-") && entry.long_name.ends_with(name.as_bytes()),
            "{:?}",
            String::from_utf8_lossy(&entry.long_name)
        );
        ensure!(entry.attrs.size == Some(0), "{:?}", entry.attrs);
        client.remove(path_of(&name))?;
    }
    Ok(())
}

fn extensions(client: &mut Sftp, path_of: &impl Fn(&str) -> String, data: &[u8]) -> Result<()> {
    let limits = client.limits()?;
    ensure!(limits.packet_len == 262_144, "{limits:?}");
    let from = client.open_read(path_of("file"))?;
    let to = client.create(path_of("copy"))?;
    let file_system = client.fstat_vfs(&from)?;
    ensure!(
        file_system.name_max > 0 && client.stat_vfs(path_of("file"))?.blocks == file_system.blocks
    );
    client.copy_data((&from, 1), 0, (&to, 0))?;
    client.fsync(&to)?;
    client.close(&to)?;
    ensure!(
        client.read_file(path_of("copy"))? == data[1..],
        "the copy differs"
    );
    client.set_lstat(path_of("copy"), Attrs::times(5, 6))?;
    ensure!(client.lstat(path_of("copy"))?.times == Some((5, 6)));
    ensure!(client.expand_path(path_of("copy"))?.ends_with(b"/copy"));
    if client.version.extension("home-directory").is_some() {
        let status = failed_status(client.home_directory("no such account"))?;
        ensure!(status.is_some(), "an unknown account has a home directory");
    }
    if client.version.extension("check-file").is_some() {
        let whole = client.check_name(path_of("file"), "sha256", (0, 0), 0)?;
        ensure!(whole.bytes == Sha256::digest(data).to_vec(), "{whole:02x?}");
        let parts = client.check_handle(&from, "md5,sha256", (0, 0), 65_536)?;
        ensure!(parts.algorithm == "md5" && parts.bytes.len() == LEN.div_ceil(65_536) * 16);
    }
    if client.version.extension("space-available").is_some() {
        let space = client.space(path_of("file"))?;
        ensure!(space.on_device >= space.unused_on_device, "{space:?}");
    }
    client.close(&from)?;
    client.remove(path_of("copy"))
}
