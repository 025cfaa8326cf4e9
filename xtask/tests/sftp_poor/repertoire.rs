//! Every feature of an SFTP server, once each, in an empty directory.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use xtask::clients::sftp::{Attrs, Sftp, Status, failure};

/// Length (bytes) of the test file: longer than any buffer, and not a multiple of one.
const LEN: usize = 700_001;

/// Plays all features in the empty `directory`, and leaves it empty.
pub(super) fn play(client: &mut Sftp, directory: &str) -> Result<()> {
    let at = |name: &str| format!("{directory}/{name}");
    let data: Vec<u8> = (0..LEN).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect();
    client.write_file(at("file"), &data)?;
    ensure!(
        client.read_file(at("file"))? == data,
        "the file has other bytes than were written"
    );
    attributes(client, &at("file")).context("attributes")?;
    names(client, &at).context("names")?;
    listing(client, directory, &at).context("listing")?;
    extensions(client, &at, &data).context("extensions")?;
    client.remove(at("file"))?;
    ensure!(!client.exists(at("file"))?, "a removed file still exists");
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

fn names(client: &mut Sftp, at: &impl Fn(&str) -> String) -> Result<()> {
    client.mkdir(at("directory"), Attrs::mode(0o755))?;
    ensure!(client.stat(at("directory"))?.is_directory());
    client.symlink("file", at("link"))?;
    ensure!(client.read_link(at("link"))? == b"file");
    ensure!(client.stat(at("link"))?.size == Some(LEN as u64));
    ensure!(client.lstat(at("link"))?.size == Some(4));
    client.write_file(at("one"), b"one")?;
    client.rename(at("one"), at("two"))?;
    client.write_file(at("one"), b"another")?;
    let refused = failure(client.rename(at("one"), at("two")))?;
    ensure!(
        refused == Some(Status::FAILURE),
        "RENAME onto a file: {refused:?}"
    );
    client.posix_rename(at("one"), at("two"))?;
    ensure!(client.read_file(at("two"))? == b"another");
    client.hard_link(at("two"), at("three"))?;
    client.write_file(at("three"), b"both")?;
    ensure!(client.read_file(at("two"))? == b"both");
    let real = client.real_path(at("directory/../two"))?;
    ensure!(
        real.starts_with(b"/") && real.ends_with(b"/two"),
        "{real:?}"
    );
    for name in ["link", "two", "three"] {
        client.remove(at(name))?;
    }
    client.rmdir(at("directory"))
}

fn listing(client: &mut Sftp, directory: &str, at: &impl Fn(&str) -> String) -> Result<()> {
    // Enough entries for several replies.
    const COUNT: usize = 120;
    for number in 0..COUNT {
        let handle = client.create(at(&format!("{number} {}", "n".repeat(100))))?;
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
        client.remove(at(&name))?;
    }
    Ok(())
}

fn extensions(client: &mut Sftp, at: &impl Fn(&str) -> String, data: &[u8]) -> Result<()> {
    let limits = client.limits()?;
    ensure!(limits.packet_len == 262_144, "{limits:?}");
    let from = client.open_read(at("file"))?;
    let to = client.create(at("copy"))?;
    let file_system = client.fstat_vfs(&from)?;
    ensure!(file_system.name_max > 0 && client.stat_vfs(at("file"))?.blocks == file_system.blocks);
    client.copy_data((&from, 1), 0, (&to, 0))?;
    client.fsync(&to)?;
    client.close(&to)?;
    ensure!(
        client.read_file(at("copy"))? == data[1..],
        "the copy differs"
    );
    client.set_lstat(at("copy"), Attrs::times(5, 6))?;
    ensure!(client.lstat(at("copy"))?.times == Some((5, 6)));
    ensure!(client.expand_path(at("copy"))?.ends_with(b"/copy"));
    if client.version.extension("home-directory").is_some() {
        // The account does not exist.
        let status = failure(client.home_directory("no such account"))?;
        ensure!(status.is_some(), "an unknown account has a home directory");
    }
    if client.version.extension("check-file").is_some() {
        let whole = client.check_name(at("file"), "sha256", (0, 0), 0)?;
        ensure!(whole.bytes == Sha256::digest(data).to_vec(), "{whole:02x?}");
        let parts = client.check_handle(&from, "md5,sha256", (0, 0), 65_536)?;
        ensure!(parts.algorithm == "md5" && parts.bytes.len() == LEN.div_ceil(65_536) * 16);
    }
    if client.version.extension("space-available").is_some() {
        let space = client.space(at("file"))?;
        ensure!(space.on_device >= space.unused_on_device, "{space:?}");
    }
    client.close(&from)?;
    client.remove(at("copy"))
}
