//! What is on a disk after a power cut: recovered and mounted as a Debian host does it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use xtask::machines::mounts;

use super::content::Content;
use super::tree::{Attributes, Kind, Node};

/// A directory and all beneath it, as it is on a disk.
pub struct Seen {
    pub node: Node,
    pub inode: u64,
    pub link_count: u64,
    pub children: BTreeMap<String, Self>,
}

/// Writes `image` to a file in `directory`, recovers it, mounts it and reads it from its root.
pub fn recover(image: &[u8], directory: &Path) -> Result<Seen> {
    let (file, place) = (directory.join("disk"), directory.join("mounted"));
    let mut options = OpenOptions::new();
    // Not truncated: a file that is there keeps its memory.
    let disk = options.write(true).create(true).truncate(false).open(&file);
    disk.and_then(|disk| disk.write_all_at(image, 0))
        .with_context(|| format!("cannot write {}", file.display()))?;
    fsck(&file)?;
    if !place.exists() {
        fs::create_dir(&place)?;
    }
    mounts::mount_file(&file, &place)?;
    let seen = fs::symlink_metadata(&place)
        .map_err(anyhow::Error::from)
        .and_then(|metadata| look(&place, &metadata));
    umount2(&place, MntFlags::empty()).context("cannot unmount the recovered disk")?;
    seen
}

/// Replays the journal and looks at everything. 1 means that orphans were cleared or that something was counted anew.
fn fsck(file: &Path) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("e2fsck")
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .args(["-f", "-p"])
        .arg(file)
        .output()
        .context("cannot start e2fsck")?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "e2fsck ends with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn look(path: &Path, metadata: &Metadata) -> Result<Seen> {
    let what = || format!("{} on the recovered disk", path.display());
    let mut children = BTreeMap::new();
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        for entry in fs::read_dir(path).with_context(what)? {
            let entry = entry.with_context(what)?;
            let child = look(&entry.path(), &entry.metadata().with_context(what)?)?;
            children.insert(entry.file_name().to_string_lossy().into_owned(), child);
        }
        Kind::default()
    } else if kind.is_file() {
        Kind::File(Content {
            settled: fs::read(path).with_context(what)?,
            pending: Vec::new(),
        })
    } else if kind.is_symlink() {
        let target = fs::read_link(path).with_context(what)?;
        Kind::SymLink(target.display().to_string())
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        bail!("{} is a {kind:?}", what())
    };
    let attributes = Attributes {
        mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        mtime: Some((
            metadata.mtime().try_into()?,
            metadata.mtime_nsec().try_into()?,
        )),
    };
    Ok(Seen {
        node: Node { kind, attributes },
        inode: metadata.ino(),
        link_count: metadata.nlink(),
        children,
    })
}
