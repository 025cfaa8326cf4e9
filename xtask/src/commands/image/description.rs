//! image/container.toml: what an image says about itself and how it is run. The platform's own words for both.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::build::workspace_root;

/// Labels, annotations.
pub type Words = BTreeMap<String, String>;

/// Where it is described.
const FILE: &str = "image/container.toml";

/// What a container of ours is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What it is called where images are kept.
    pub name: String,
    /// The program, which is the image's only file, and arguments that always stay.
    entrypoint: Vec<String>,
    /// The arguments unless the user gives others.
    cmd: Vec<String>,
    /// `USER:GROUP` in numbers: there is no file with names.
    user: String,
    /// `PORT/PROTOCOL` where it listens.
    ports: Vec<String>,
    /// Where directories of the host are expected.
    volumes: Vec<String>,
    /// In the configuration.
    labels: Words,
    /// In the index, of which there is one whatever it weighs.
    pub index_annotations: Words,
    /// In each platform's manifest.
    pub manifest_annotations: Words,
}

impl Description {
    /// Reads it, and puts the version there where it says `VERSION`.
    pub fn load() -> Result<Self> {
        let path = workspace_root().join(FILE);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot understand {}", path.display()))
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
        let numbers = |user: &str| user.split(':').all(|id| id.parse::<u32>().is_ok());
        ensure!(
            numbers(&description.user),
            "user = {:?}: name a user and a group by numbers, since the image has no /etc/passwd",
            description.user
        );
        for port in &description.ports {
            let sides = port.split_once('/');
            ensure!(
                sides.is_some_and(|(number, protocol)| number.parse::<u16>().is_ok()
                    && matches!(protocol, "tcp" | "udp")),
                "ports: {port:?} is not a number below 65536 with /tcp or /udp"
            );
        }
        for path in &description.volumes {
            ensure!(
                path.starts_with('/'),
                "volumes: {path:?} does not begin with /"
            );
        }
        description.file_name()?;
        Ok(description)
    }

    /// The path of the only file, as archives write it.
    pub fn file_name(&self) -> Result<&str> {
        self.entrypoint
            .first()
            .and_then(|path| path.strip_prefix('/'))
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .with_context(|| {
                format!(
                    "entrypoint = {:?}: begin with the file, directly below /",
                    self.entrypoint
                )
            })
    }

    /// What an image's configuration says of the process.
    pub fn process(&self) -> Process {
        let keys = |list: &[String]| list.iter().map(|key| (key.clone(), Nothing {})).collect();
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

/// The part of an image's configuration that says what to run. What is empty is left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Process {
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: Words,
}

impl Process {
    /// This program, and nothing said about it.
    pub fn of(program: &str) -> Self {
        Self {
            entrypoint: vec![program.to_owned()],
            ..Self::default()
        }
    }
}

/// `{}`, which stands beside the keys of a set.
#[derive(Serialize)]
struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "n"
        entrypoint = ["/file"]
        cmd = []
        user = "1:2"
        ports = ["1/tcp"]
        volumes = ["/v"]
        [labels]
        [index_annotations]
        [manifest_annotations]
        version = "VERSION"
    "#;

    #[test]
    fn versions_are_put_in_and_what_is_empty_is_left_out() -> Result<()> {
        let description = Description::parse(GOOD)?;
        assert_eq!(
            description.manifest_annotations["version"],
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(
            serde_json::to_string(&description.process())?,
            r#"{"User":"1:2","ExposedPorts":{"1/tcp":{}},"Entrypoint":["/file"],"Volumes":{"/v":{}}}"#
        );
        Ok(())
    }

    #[test]
    fn what_no_engine_would_understand_is_refused_by_its_key() {
        for (good, bad, key) in [
            ("1:2", "nobody", "user"),
            ("1/tcp", "1", "ports"),
            ("1/tcp", "65536/tcp", "ports"),
            ("\"/v\"", "\"v\"", "volumes"),
            ("/file", "file", "entrypoint"),
            ("/file", "/bin/file", "entrypoint"),
            ("cmd", "command", "command"),
        ] {
            let why = Description::parse(&GOOD.replace(good, bad)).err();
            let why = format!("{:#}", why.expect(bad));
            assert!(why.contains(key), "{bad}: {why}");
        }
    }
}
