//! An OCI image layout on the disk: blobs named by their digests, and the index that leads to them.
//!
//! OCI image specification 1.0, image-layout.md and image-index.md.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::Platform;
use super::description::Words;

/// What blobs say they are.
pub mod media_type {
    /// Many manifests.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An image for one platform.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// Its configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Its files.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
}

/// The annotation that is a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// Where a blob lies in a layout, and in our archives.
pub fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// Names a blob.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: &'static str,
    size: usize,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: Words,
}

impl Descriptor {
    /// That of these bytes.
    pub fn of(media_type: &'static str, bytes: &[u8]) -> Self {
        Self {
            media_type,
            size: bytes.len(),
            digest: digest(bytes),
            platform: None,
            annotations: Words::new(),
        }
    }

    /// The same, for one platform.
    pub fn on(self, platform: Platform) -> Self {
        Self {
            platform: Some(platform),
            ..self
        }
    }

    /// The same under a name that people use.
    pub fn tagged(mut self, tag: &str) -> Self {
        self.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        self
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a Words,
}

/// An index of these manifests.
pub fn index(manifests: Vec<Descriptor>, annotations: &Words) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Index {
        schema_version: 2,
        media_type: media_type::INDEX,
        manifests,
        annotations,
    })?)
}

/// A layout under construction, beside the place that it is for.
pub struct Layout {
    fresh: TempDir,
    place: PathBuf,
}

impl Layout {
    /// Begins one for `place`.
    pub fn new(place: &Path) -> Result<Self> {
        let parent = place.parent().context("it has no directory")?;
        fs::create_dir_all(parent)?;
        let fresh = tempfile::Builder::new()
            .prefix(".oci-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(parent)?;
        fs::create_dir_all(fresh.path().join("blobs/sha256"))?;
        fs::write(
            fresh.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        Ok(Self {
            fresh,
            place: place.to_owned(),
        })
    }

    /// Adds a blob.
    pub fn put(&self, media_type: &'static str, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(self.fresh.path().join(blob_path(&descriptor.digest)), bytes)?;
        Ok(descriptor)
    }

    /// Writes the index of what has a tag, and puts the whole where it belongs.
    pub fn finish(self, tagged: Vec<Descriptor>) -> Result<()> {
        let index = index(tagged, &Words::new())?;
        fs::write(self.fresh.path().join("index.json"), index)?;
        if self.place.exists() {
            fs::remove_dir_all(&self.place)?;
        }
        fs::rename(self.fresh.keep(), &self.place)?;
        Ok(())
    }
}
