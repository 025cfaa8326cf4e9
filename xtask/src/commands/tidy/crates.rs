//! Checks third-party crates: licence, origin, and that the executable contains each crate in one version only.
//!
//! Input is `cargo metadata` for all our architectures. Security advisories are not checked. xtask/deny.toml has the rules for
//! cargo-deny, which checks every crate of the tools for a second version, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::build::Arch;
use crate::setup;

/// Licences allowed in the executable: they permit redistribution with at most a copyright notice.
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
/// Further licences allowed in xtask, which is not redistributed in binary form.
const IN_TOOLS: [&str; 4] = ["BSL-1.0", "MPL-2.0", "NCSA", "Unicode-3.0"];

/// Crates allowed in the executable in two versions, with the reason.
const TWICE: [(&str, &str); 1] = [
    // defmt 1 uses bitflags 1, rustix bitflags 2. The linker removes the code of both.
    ("bitflags", "defmt 1 and rustix 1 differ"),
];

/// Path of this file, for messages.
const HERE: &str = "xtask/src/commands/tidy/crates.rs";

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Output of `cargo metadata`, the fields that we need.
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
    /// The registry or repository of the crate; None for crates of the workspace.
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
    /// `dev` or `build`; None for a normal dependency, which is linked.
    kind: Option<String>,
}

/// Violations in the dependencies of the workspace at `root`.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["metadata", "--format-version=1", "--locked", "--quiet"]);
    for arch in Arch::ALL {
        cargo.args(["--filter-platform", arch.triple()]);
    }
    let printed = setup::run_captured(&mut cargo)?;
    let metadata =
        serde_json::from_str(&printed).context("cannot parse the output of cargo metadata")?;
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
                "Cargo.lock: the executable contains {name} {versions}: use one version, or give a reason in {HERE}"
            ));
        }
    }
    for (name, _) in twice {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            breaches.push(format!(
                "{HERE}: the executable contains {name} only once: remove the exception"
            ));
        }
    }
    breaches
}

/// Returns the reason if a crate with this licence may not be used.
fn refused(license: Option<&str>, is_in_file: bool) -> Option<String> {
    let Some(license) = license else {
        return Some("Cargo.toml has no license field".into());
    };
    // Older crates write a slash instead of OR, which `ParseMode::LAX` accepts.
    let parsed = match Expression::parse_mode(license, ParseMode::LAX) {
        Ok(parsed) => parsed,
        Err(why) => {
            return Some(format!(
                "licence {license:?} is not a valid SPDX expression: {}",
                why.reason
            ));
        }
    };
    let fits = parsed.evaluate(|license| {
        let license = license.to_string();
        let license = license.as_str();
        IN_THE_FILE.contains(&license) || !is_in_file && IN_TOOLS.contains(&license)
    });
    let part = if is_in_file {
        "the executable"
    } else {
        "tools"
    };
    (!fits).then(|| {
        format!("licence {license} is not allowed for {part}; {HERE} lists the allowed ones")
    })
}

/// IDs of the packages linked into the executable: normal dependencies, without proc macros, which run in the compiler.
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
    let mut pending: Vec<&str> = ours.map(|package| package.id.as_str()).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = pending.pop() {
        if is_macro(id) || !found.insert(id) {
            continue;
        }
        let node = metadata.resolve.nodes.iter().find(|node| node.id == id);
        let linked = node.into_iter().flat_map(|node| &node.deps).filter(|dep| {
            let mut kinds = dep.dep_kinds.iter();
            kinds.any(|kind| kind.kind.is_none())
        });
        pending.extend(linked.map(|dep| dep.pkg.as_str()));
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

    /// The violations if the executable contains the crates `linked`, and tools use the crates `tools`.
    fn violations(
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
    fn licences_outside_the_list_are_refused() {
        let fits = ["MIT/Apache-2.0", "Unlicense OR GPL-3.0", "BSD-2-Clause"];
        for license in fits {
            assert_eq!(
                violations(&[("a 1", license)], &[], &[]),
                [""; 0],
                "{license}"
            );
        }
        for license in ["GPL-2.0-only", "MIT AND MPL-2.0", "MPL-2.0", "free beer"] {
            let found = violations(&[("a 1", license)], &[], &[]);
            assert!(found.len() == 1 && found[0].contains("a 1"), "{found:?}");
        }
        // MPL-2.0 is allowed for tools, but not every licence is.
        assert_eq!(violations(&[], &[("a 1", "MPL-2.0")], &[]), [""; 0]);
        assert_eq!(violations(&[], &[("a 1", "AGPL-3.0-only")], &[]).len(), 1);
        assert!(refused(None, false).is_some());
    }

    #[test]
    fn second_version_of_a_crate_is_refused() {
        let two = [("a 1.0.0", "MIT"), ("a 2.0.0", "MIT")];
        let found = violations(&two, &[], &[]);
        assert!(found[0].contains("1.0.0 and 2.0.0"), "{found:?}");
        assert_eq!(violations(&two, &[], &[("a", "known")]), [""; 0]);
        assert_eq!(violations(&two[..1], &two[1..], &[]), [""; 0]);
        // An exception for a crate that has only one version is reported.
        assert_eq!(violations(&two[..1], &[], &[("a", "known")]).len(), 1);
        let macros = [("macros 1.0.0", "MIT"), ("macros 2.0.0", "MIT")];
        assert_eq!(violations(&macros, &[], &[]), [""; 0]);
    }

    #[test]
    fn crate_from_git_is_refused() {
        let mut metadata: Metadata = serde_json::from_value(json!({
            "packages": [package("stowaway", "MIT", None), package("a 1", "MIT", Some("git+https://example.org/a"))],
            "resolve": {"nodes": []}
        }))
        .unwrap();
        let found = breaches(&metadata, &[]);
        assert!(found.len() == 1 && found[0].contains("not from crates.io"));
        metadata.packages[1].source = Some(CRATES_IO.into());
        assert_eq!(breaches(&metadata, &[]), [""; 0]);
    }
}
