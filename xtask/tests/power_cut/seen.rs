//! The objects on a disk after a power cut; recovered and mounted as a Debian host does.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use xtask::machines::mounts;

use super::content::Content;
use super::tree::{Attributes, Node, ObjectType};

/// An object on a disk and, for a directory, everything in it.
pub struct Seen {
    pub node: Node,
    pub inode: u64,
    pub link_count: u64,
    pub children: BTreeMap<String, Self>,
}

/// Writes `image` to a file in `directory`, recovers and mounts it, and reads all objects.
pub fn recover(image: &[u8], directory: &Path) -> Result<Seen> {
    let (file, mount_point) = (directory.join("disk"), directory.join("mounted"));
    let mut options = OpenOptions::new();
    // Without truncation, so that the file keeps its allocated pages.
    let disk = options.write(true).create(true).truncate(false).open(&file);
    disk.and_then(|disk| disk.write_all_at(image, 0))
        .with_context(|| format!("cannot write {}", file.display()))?;
    fsck(&file)?;
    if !mount_point.exists() {
        fs::create_dir(&mount_point)?;
    }
    mounts::mount_file(&file, &mount_point)?;
    let seen = fs::symlink_metadata(&mount_point)
        .map_err(anyhow::Error::from)
        .and_then(|metadata| read_tree(&mount_point, &metadata));
    umount2(&mount_point, MntFlags::empty()).context("cannot unmount the recovered disk")?;
    seen
}

/// Replays the journal and checks the file system. Exit code 1: orphans were cleared or counters corrected.
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
        "e2fsck ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn read_tree(path: &Path, metadata: &Metadata) -> Result<Seen> {
    let context = || format!("{} on the recovered disk", path.display());
    let mut children = BTreeMap::new();
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        for entry in fs::read_dir(path).with_context(context)? {
            let entry = entry.with_context(context)?;
            let child = read_tree(&entry.path(), &entry.metadata().with_context(context)?)?;
            children.insert(entry.file_name().to_string_lossy().into_owned(), child);
        }
        ObjectType::default()
    } else if kind.is_file() {
        ObjectType::File(Content {
            settled: fs::read(path).with_context(context)?,
            pending: Vec::new(),
        })
    } else if kind.is_symlink() {
        let target = fs::read_link(path).with_context(context)?;
        ObjectType::SymLink(target.display().to_string())
    } else if kind.is_fifo() {
        ObjectType::Fifo
    } else {
        bail!("{} is a {kind:?}", context())
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
