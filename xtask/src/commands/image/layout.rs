//! An OCI image layout on disk: blobs named by their digests, and index.json, which references them.
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
use super::description::Annotations;

/// Media types of blobs.
pub mod media_type {
    /// A list of manifests, one per platform.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// The image of one platform: references its configuration and layers.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image's configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An image's files.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
}

/// Key of the annotation that holds an image's tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Digest of `bytes`, as `sha256:` and hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Path of a blob in a layout, and in the archive for `docker load`.
pub fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// A reference to a blob.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: &'static str,
    size: usize,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: Annotations,
}

impl Descriptor {
    /// A descriptor of a blob with these bytes.
    pub fn for_blob(media_type: &'static str, bytes: &[u8]) -> Self {
        Self {
            media_type,
            size: bytes.len(),
            digest: digest(bytes),
            platform: None,
            annotations: Annotations::new(),
        }
    }

    /// Adds the platform to the descriptor.
    pub fn with_platform(self, platform: Platform) -> Self {
        Self {
            platform: Some(platform),
            ..self
        }
    }

    /// Adds a tag to the descriptor.
    pub fn with_tag(mut self, tag: &str) -> Self {
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
    annotations: &'a Annotations,
}

/// The JSON of an index of `manifests`.
pub fn index(manifests: Vec<Descriptor>, annotations: &Annotations) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Index {
        schema_version: 2,
        media_type: media_type::INDEX,
        manifests,
        annotations,
    })?)
}

/// A layout under construction, in a temporary directory beside its final path.
pub struct Layout {
    fresh: TempDir,
    path: PathBuf,
}

impl Layout {
    /// Starts a layout that `finish` will move to `path`.
    pub fn new(path: &Path) -> Result<Self> {
        let parent = path
            .parent()
            .context("the layout's path has no parent directory")?;
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
            path: path.to_owned(),
        })
    }

    /// Writes a blob and returns its descriptor.
    pub fn write_blob(&self, media_type: &'static str, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::for_blob(media_type, bytes);
        fs::write(self.fresh.path().join(blob_path(&descriptor.digest)), bytes)?;
        Ok(descriptor)
    }

    /// Writes index.json with the `tagged` descriptors and moves the layout to its final path, replacing an older one.
    pub fn finish(self, tagged: Vec<Descriptor>) -> Result<()> {
        let index = index(tagged, &Annotations::new())?;
        fs::write(self.fresh.path().join("index.json"), index)?;
        if self.path.exists() {
            fs::remove_dir_all(&self.path)?;
        }
        fs::rename(self.fresh.keep(), &self.path)?;
        Ok(())
    }
}
