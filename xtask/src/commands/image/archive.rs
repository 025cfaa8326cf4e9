//! The archive for `docker load`: blobs with the same paths as in an OCI layout, and manifest.json, which assigns tags.
//!
//! This is the format of `docker save`. It has no index of platforms, so each platform's image has its own tag; the first one is
//! also tagged `latest`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tar::{EntryType, Header};
use tempfile::NamedTempFile;

use super::Image;
use super::layout::{blob_path, digest};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TarEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: [String; 1],
}

/// Writes the archive of `images` to `path`, replacing an older archive.
pub(super) fn write(name: &str, images: &[Image], path: &Path) -> Result<()> {
    let parent = path
        .parent()
        .context("the archive's path has no parent directory")?;
    fs::create_dir_all(parent)?;
    let mut archive = tar::Builder::new(NamedTempFile::new_in(parent)?);
    let mut entries = Vec::new();
    for image in images {
        let config = blob_path(&digest(&image.config));
        let layer = blob_path(&digest(&image.layer.compressed));
        append(&mut archive, &config, &image.config)?;
        append(&mut archive, &layer, &image.layer.compressed)?;
        let mut repo_tags = vec![format!("{name}:{}", image.platform.name())];
        if entries.is_empty() {
            repo_tags.push(format!("{name}:latest"));
        }
        entries.push(TarEntry {
            config,
            repo_tags,
            layers: [layer],
        });
    }
    append(
        &mut archive,
        "manifest.json",
        &serde_json::to_vec(&entries)?,
    )?;
    let file = archive.into_inner()?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

fn append(archive: &mut tar::Builder<NamedTempFile>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_entry_type(EntryType::Regular);
    Ok(archive.append_data(&mut header, name, content)?)
}
