//! Parser of image/container.toml: the container image's metadata and process configuration, in OCI's terms.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::build::workspace_root;

/// Labels or annotations: keys and values.
pub type Annotations = BTreeMap<String, String>;

/// Path of the description, relative to the workspace root.
const FILE: &str = "image/container.toml";

/// Contents of image/container.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Name of the image in a registry.
    pub name: String,
    /// The program, which is the image's only file, and its fixed arguments.
    entrypoint: Vec<String>,
    /// Default arguments; arguments from the user replace them.
    cmd: Vec<String>,
    /// `UID:GID` as numbers, because the image has no /etc/passwd.
    user: String,
    /// Listening ports, as `PORT/PROTOCOL`.
    ports: Vec<String>,
    /// Mount points for directories of the host.
    volumes: Vec<String>,
    /// Labels in the image configuration.
    labels: Annotations,
    /// Annotations of the index. The index exists once for all platforms, so its annotations do not count against an image's size
    /// limit.
    pub index_annotations: Annotations,
    /// Annotations of each platform's manifest.
    pub manifest_annotations: Annotations,
}

impl Description {
    /// Reads image/container.toml and replaces `VERSION` by the version number.
    pub fn load() -> Result<Self> {
        let path = workspace_root().join(FILE);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot parse {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut description: Self = toml::from_str(text)?;
        let Self {
            labels,
            index_annotations,
            manifest_annotations,
            ..
        } = &mut description;
        let annotations = index_annotations
            .values_mut()
            .chain(manifest_annotations.values_mut());
        for word in labels.values_mut().chain(annotations) {
            *word = word.replace("VERSION", env!("CARGO_PKG_VERSION"));
        }
        description.file_name()?;
        Ok(description)
    }

    /// Path of the image's only file, without the leading slash, as in a tar archive.
    pub fn file_name(&self) -> Result<&str> {
        self.entrypoint
            .first()
            .and_then(|path| path.strip_prefix('/'))
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .with_context(|| {
                format!(
                    "entrypoint = {:?}: the program must be directly below /",
                    self.entrypoint
                )
            })
    }

    /// The process part of an image configuration.
    pub fn process(&self) -> Process {
        let keys = |list: &[String]| list.iter().map(|key| (key.clone(), Empty {})).collect();
        Process {
            user: self.user.clone(),
            exposed_ports: keys(&self.ports),
            entrypoint: self.entrypoint.clone(),
            cmd: self.cmd.clone(),
            volumes: keys(&self.volumes),
            labels: self.labels.clone(),
        }
    }
}

/// The part of an image configuration that describes the process. Empty fields are omitted from the JSON.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Process {
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: Annotations,
}

impl Process {
    /// Returns a description that runs `program`, with all other fields empty.
    pub fn for_program(program: &str) -> Self {
        Self {
            entrypoint: vec![program.to_owned()],
            ..Self::default()
        }
    }
}

/// Serialised as `{}`: OCI represents a set as an object whose values are empty objects.
#[derive(Serialize)]
struct Empty {}
