//! The crates that others wrote: under which licences, from where, and in the file each only once.
//!
//! cargo tells what it would build for the processors that we build for. What is known to be broken in them is not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::build::Arch;
use crate::setup;

/// What is in the file may be passed on with no more than its notice.
const IN_THE_FILE: [&str; 8] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "MIT",
    "Unlicense",
    "Zlib",
];
/// Our tools are not passed on: what asks for its own source, too.
const IN_TOOLS: [&str; 4] = ["BSL-1.0", "MPL-2.0", "NCSA", "Unicode-3.0"];

/// In the file in two versions, and why that does no harm.
const TWICE: [(&str, &str); 1] = [
    // defmt 1 makes a set of flags by version 1, rustix its own by version 2; nothing of either stays in the file.
    ("bitflags", "defmt 1 and rustix 1 differ"),
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `cargo metadata` prints, as far as it matters.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Absent for our own.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `dev` or `build`; absent for what is linked.
    kind: Option<String>,
}

/// What is wrong with the crates of the project at `root`.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["metadata", "--format-version=1", "--locked", "--quiet"]);
    for arch in Arch::ALL {
        cargo.args(["--filter-platform", arch.triple()]);
    }
    let printed = setup::quietly(&mut cargo)?;
    let metadata = serde_json::from_str(&printed).context("cannot understand cargo metadata")?;
    Ok(breaches(&metadata, &TWICE))
}

fn breaches(metadata: &Metadata, twice: &[(&str, &str)]) -> Vec<String> {
    let in_file = in_file(metadata);
    let mut breaches = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        let Package { name, version, .. } = package;
        let is_in_file = in_file.contains(package.id.as_str());
        if is_in_file {
            versions.entry(name).or_default().insert(version);
        }
        let place = format!("Cargo.lock: {name} {version}");
        if !matches!(package.source.as_deref(), None | Some(CRATES_IO)) {
            breaches.push(format!("{place} is not from crates.io"));
        }
        if let Some(why) = refused(package.license.as_deref(), is_in_file) {
            breaches.push(format!("{place}: {why}"));
        }
    }
    for (name, versions) in &versions {
        if versions.len() > 1 && !twice.iter().any(|(known, _)| known == name) {
            let versions: Vec<&str> = versions.iter().copied().collect();
            let versions = versions.join(" and ");
            breaches.push(format!(
                "Cargo.lock: {name} is in the file as {versions}: let one do, or say why in xtask/src/tidy/crates.rs"
            ));
        }
    }
    for (name, _) in twice {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            breaches.push(format!(
                "xtask/src/tidy/crates.rs: {name} is in the file only once now"
            ));
        }
    }
    breaches
}

/// Why a crate with this licence cannot be used.
fn refused(license: Option<&str>, is_in_file: bool) -> Option<String> {
    let Some(license) = license else {
        return Some("it tells no licence".into());
    };
    // Older crates write a slash for OR.
    let parsed = match Expression::parse_mode(license, ParseMode::LAX) {
        Ok(parsed) => parsed,
        Err(why) => {
            return Some(format!(
                "its licence {license:?} is not one: {}",
                why.reason
            ));
        }
    };
    let fits = parsed.evaluate(|license| {
        let license = license.to_string();
        let license = license.as_str();
        IN_THE_FILE.contains(&license) || !is_in_file && IN_TOOLS.contains(&license)
    });
    let place = if is_in_file { "the file" } else { "tools" };
    (!fits).then(|| {
        format!("{license} is no licence for {place}; xtask/src/tidy/crates.rs has those that are")
    })
}

/// The packages that the file is linked of; macros run in the compiler only.
fn in_file(metadata: &Metadata) -> BTreeSet<&str> {
    let is_macro = |id: &str| {
        let mut targets = metadata.packages.iter().filter(|package| package.id == id);
        targets.any(|package| {
            let mut targets = package.targets.iter();
            targets.any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
        })
    };
    let ours = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none() && package.name == "stowaway");
    let mut waiting: Vec<&str> = ours.map(|package| package.id.as_str()).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if is_macro(id) || !found.insert(id) {
            continue;
        }
        let node = metadata.resolve.nodes.iter().find(|node| node.id == id);
        let linked = node.into_iter().flat_map(|node| &node.deps).filter(|dep| {
            let mut kinds = dep.dep_kinds.iter();
            kinds.any(|kind| kind.kind.is_none())
        });
        waiting.extend(linked.map(|dep| dep.pkg.as_str()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(id: &str, license: &str, source: Option<&str>) -> serde_json::Value {
        let (name, version) = id.split_once(' ').unwrap_or((id, "1.0.0"));
        let kind = if name == "macros" {
            "proc-macro"
        } else {
            "lib"
        };
        json!({"id": id, "name": name, "version": version, "license": license, "source": source, "targets": [{"kind": [kind]}]})
    }

    /// What is said when the file is linked of `linked`, and tools use `tools`.
    fn said(
        linked: &[(&str, &str)],
        tools: &[(&str, &str)],
        twice: &[(&str, &str)],
    ) -> Vec<String> {
        let mut packages = vec![package("stowaway", "MIT", None)];
        let all = linked.iter().chain(tools);
        packages.extend(all.map(|(id, license)| package(id, license, Some(CRATES_IO))));
        let deps = |list: &[(&str, &str)], kind: Option<&str>| -> Vec<serde_json::Value> {
            let dep = |(id, _): &(&str, &str)| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
            list.iter().map(dep).collect()
        };
        let deps = [deps(linked, None), deps(tools, Some("build"))].concat();
        let nodes = json!([{"id": "stowaway", "deps": deps}]);
        let metadata = json!({"packages": packages, "resolve": {"nodes": nodes}});
        breaches(&serde_json::from_value(metadata).unwrap(), twice)
    }

    #[test]
    fn licences_are_those_that_were_agreed_to() {
        let fits = ["MIT/Apache-2.0", "Unlicense OR GPL-3.0", "BSD-2-Clause"];
        for license in fits {
            assert_eq!(said(&[("a 1", license)], &[], &[]), [""; 0], "{license}");
        }
        for license in ["GPL-2.0-only", "MIT AND MPL-2.0", "MPL-2.0", "free beer"] {
            let said = said(&[("a 1", license)], &[], &[]);
            assert!(said.len() == 1 && said[0].contains("a 1"), "{said:?}");
        }
        // The tools may use more, but not all.
        assert_eq!(said(&[], &[("a 1", "MPL-2.0")], &[]), [""; 0]);
        assert_eq!(said(&[], &[("a 1", "AGPL-3.0-only")], &[]).len(), 1);
        assert!(refused(None, false).is_some());
    }

    #[test]
    fn no_crate_is_in_the_file_twice() {
        let two = [("a 1.0.0", "MIT"), ("a 2.0.0", "MIT")];
        let told = said(&two, &[], &[]);
        assert!(told[0].contains("1.0.0 and 2.0.0"), "{told:?}");
        assert_eq!(said(&two, &[], &[("a", "known")]), [""; 0]);
        assert_eq!(said(&two[..1], &two[1..], &[]), [""; 0]);
        // What is excused in vain is told, too.
        assert_eq!(said(&two[..1], &[], &[("a", "known")]).len(), 1);
        let macros = [("macros 1.0.0", "MIT"), ("macros 2.0.0", "MIT")];
        assert_eq!(said(&macros, &[], &[]), [""; 0]);
    }

    #[test]
    fn crates_come_from_crates_io() {
        let mut metadata: Metadata = serde_json::from_value(json!({
            "packages": [package("stowaway", "MIT", None), package("a 1", "MIT", Some("git+https://example.org/a"))],
            "resolve": {"nodes": []}
        }))
        .unwrap();
        let told = breaches(&metadata, &[]);
        assert!(told.len() == 1 && told[0].contains("not from crates.io"));
        metadata.packages[1].source = Some(CRATES_IO.into());
        assert_eq!(breaches(&metadata, &[]), [""; 0]);
    }
}
