//! Checks third-party crates: licence, origin, and that the executable contains each crate in one version only.
//!
//! Input is `cargo tree` for all our architectures. Security advisories are not checked. xtask/deny.toml has the rules for
//! cargo-deny, which checks every crate of the tools for a second version, too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
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

/// Violations in the dependencies of the workspace at `root`.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let file = list(root, &["-p", "stowaway", "--edges=normal,no-proc-macro"])?;
    let tools = list(root, &["--workspace", "--all-features"])?;
    let mut breaches = second_versions(&file, &TWICE)?;
    for (crates, licences) in [
        (file, &IN_THE_FILE[..]),
        (tools, &[&IN_THE_FILE[..], &IN_TOOLS].concat()),
    ] {
        breaches.extend(crates.lines().filter_map(|line| refused(line, licences)));
    }
    breaches.sort();
    breaches.dedup();
    Ok(breaches)
}

/// A line for each crate: `NAME vVERSION<tab>LICENCE`. A crate that is not from crates.io has its origin after the version.
fn list(root: &Path, crates: &[&str]) -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["tree", "--locked", "--quiet"]);
    cargo.args(["--prefix", "none", "--format", "{p}\t{l}"]);
    for arch in Arch::ALL {
        cargo.args(["--target", arch.triple()]);
    }
    setup::run_captured(cargo.args(crates))
}

/// Violations by crates of which the executable contains two versions, except those `known`.
fn second_versions(crates: &str, known: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in crates.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split([' ', '\t']);
        let name = words.next().unwrap_or_default();
        let version = words.next().context("no version")?;
        let versions = versions.entry(name).or_default();
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let mut breaches = Vec::new();
    for (name, versions) in &versions {
        if versions.len() > 1 && !known.iter().any(|(known, _)| known == name) {
            let versions = versions.join(" and ");
            breaches.push(format!(
                "Cargo.lock: the executable contains {name} {versions}: use one version, or give a reason in {HERE}"
            ));
        }
    }
    for (name, _) in known {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            breaches.push(format!(
                "{HERE}: the executable contains {name} only once: remove the exception"
            ));
        }
    }
    Ok(breaches)
}

/// Returns the reason if the crate of a line may not be used, because of its origin or its licence.
fn refused(line: &str, licences: &[&str]) -> Option<String> {
    // Blank lines separate the members of the workspace; `(*)` marks a crate that was listed before.
    let line = line.trim_end_matches(" (*)");
    let (package, licence) = line.split_once('\t')?;
    let refusal = |why: &str| Some(format!("Cargo.lock: {package} {why}"));
    let origin = package.split_once(" (").map(|(_, origin)| origin);
    match origin.map(|origin| (origin, origin.starts_with('/'))) {
        None | Some(("proc-macro)", _)) => {}
        // A member of the workspace.
        Some((_, true)) => return None,
        Some(_) => return refusal("is not from crates.io"),
    }
    // Older crates write a slash instead of OR, which `ParseMode::LAX` accepts.
    let Ok(parsed) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return refusal(&format!("has no valid SPDX expression: {licence:?}"));
    };
    let is_allowed = parsed.evaluate(|licence| licences.contains(&licence.to_string().as_str()));
    match is_allowed {
        true => None,
        false => refusal(&format!(
            "has the licence {licence}; {HERE} lists the allowed ones"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_refused_by_licence_and_origin() {
        for (line, in_file, in_tools) in [
            ("a v1\tMIT/Apache-2.0 (*)", true, true),
            ("a v1 (proc-macro)\tUnlicense OR GPL-3.0", true, true),
            ("a v1\tBSD-2-Clause", true, true),
            ("a v1\tMPL-2.0", false, true),
            ("a v1\tMIT AND MPL-2.0", false, true),
            ("a v1\tGPL-2.0-only", false, false),
            ("a v1\tAGPL-3.0-only", false, false),
            ("a v1\tfree beer", false, false),
            ("a v1\t", false, false),
            ("a v1 (https://example.org/a#1)\tMIT", false, false),
            ("a v1 (registry `other`)\tMIT", false, false),
            ("stowaway v1 (/srv/stowaway)\t", true, true),
            ("", true, true),
        ] {
            let tools = [&IN_THE_FILE[..], &IN_TOOLS].concat();
            assert_eq!(refused(line, &IN_THE_FILE).is_none(), in_file, "{line}");
            assert_eq!(refused(line, &tools).is_none(), in_tools, "{line}");
        }
    }

    #[test]
    fn second_version_of_a_crate_is_refused() -> Result<()> {
        let two = "a v1.0.0\tMIT\nb v1.0.0\tMIT\na v2.0.0\tMIT\nb v1.0.0\tMIT (*)";
        let found = second_versions(two, &[])?;
        assert!(found.len() == 1 && found[0].contains("a v1.0.0 and v2.0.0"));
        assert_eq!(second_versions(two, &[("a", "known")])?, [""; 0]);
        // An exception for a crate that has only one version is reported.
        let known = [("a", "known"), ("b", "known")];
        assert_eq!(second_versions(two, &known)?.len(), 1);
        Ok(())
    }
}
