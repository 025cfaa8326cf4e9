//! sbom.cdx.json: the crates that are linked into the executables, with licence and sum, and the compiler (CycloneDX 1.5).
//!
//! `cargo tree` lists the crates, without build scripts' dependencies and proc macros, which run in the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Release, Tree, read};
use crate::build::{Arch, Role, compiler, workspace_root};
use crate::setup;

/// Path in the release.
const NAME: &str = "sbom.cdx.json";

/// A crate that is linked into the executables. Maps have it by its package URL, which is its reference in the document.
#[derive(Default)]
struct Linked {
    name: String,
    version: String,
    /// An SPDX expression.
    licence: String,
    repository: String,
    archs: BTreeSet<&'static str>,
    /// The crates that it uses.
    uses: BTreeSet<String>,
}

/// Adds the document.
pub(super) fn add(release: &Release, tree: &mut Tree, _: &Path) -> Result<()> {
    let mut linked = BTreeMap::new();
    let mut compilers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for &arch in &release.archs {
        add_linked(arch, &release.roles, &mut linked)?;
        let archs = compilers.entry(compiler(arch)?).or_default();
        archs.insert(arch.name());
    }
    let sums = sums(&read(&workspace_root().join("Cargo.lock"))?)?;
    let mut components = Vec::new();
    let mut product = None;
    let mut dependencies = Vec::new();
    for (reference, linked) in &linked {
        let mut component = component("library", reference, linked);
        component["purl"] = json!(reference);
        if !linked.repository.is_empty() {
            component["externalReferences"] = json!([{"type": "vcs", "url": linked.repository}]);
        }
        match sums.get(&(linked.name.clone(), linked.version.clone())) {
            Some(sum) => {
                component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
                components.push(component);
            }
            None => {
                component["type"] = json!("application");
                product = Some(component);
            }
        }
        let libraries = compilers.keys().map(|version| library(version));
        let uses: BTreeSet<_> = linked.uses.iter().cloned().chain(libraries).collect();
        dependencies.push(json!({"ref": reference, "dependsOn": uses}));
    }
    // The part of Rust's standard library that is linked: core, alloc and compiler_builtins.
    for (version, archs) in compilers {
        let linked = Linked {
            name: "rust-core-alloc".into(),
            licence: "(MIT OR Apache-2.0) AND (Apache-2.0 WITH LLVM-exception OR NCSA OR MIT)"
                .into(),
            archs,
            version,
            ..Linked::default()
        };
        components.push(component("library", &library(&linked.version), &linked));
    }
    let tool =
        json!({"vendor": "stowaway", "name": "cargo xtask release", "version": release.version});
    let mut document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": release.date("+%Y-%m-%dT%H:%M:%SZ")?,
            "tools": [tool],
            "component": product.context("stowaway is not in the list")?,
        },
        "components": components,
        "dependencies": dependencies,
    });
    document["serialNumber"] = json!(serial_number(document.to_string().as_bytes()));
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    tree.add(NAME.into(), bytes);
    Ok(())
}

fn component(kind: &str, reference: &str, linked: &Linked) -> Value {
    let archs: Vec<&str> = linked.archs.iter().copied().collect();
    json!({
        "type": kind,
        "bom-ref": reference,
        "name": linked.name,
        "version": linked.version,
        "licenses": [{"expression": linked.licence}],
        "properties": [{"name": "stowaway:architectures", "value": archs.join(",")}],
    })
}

/// The reference of Rust's standard library.
fn library(version: &str) -> String {
    format!("rust-core-alloc {version}")
}

/// Adds each crate that is linked into the executable for `arch`, including stowaway.
fn add_linked(arch: Arch, roles: &[Role], linked: &mut BTreeMap<String, Linked>) -> Result<()> {
    let features: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace_root());
    cargo.args(["tree", "--locked", "--quiet", "--package", "stowaway"]);
    cargo.args(["--edges", "normal,no-proc-macro", "--no-dedupe"]);
    // A line is `DEPTH<tab>NAME vVERSION<tab>LICENCE<tab>REPOSITORY`; crates of the workspace have a path after the version.
    cargo.args(["--prefix", "depth", "--format", "\t{p}\t{l}\t{r}"]);
    cargo.args(["--target", arch.triple(), "--no-default-features"]);
    cargo.args(["--features", &features.join(",")]);
    let printed = setup::run_captured(&mut cargo)?;
    // The crates from stowaway to that of the line.
    let mut path: Vec<String> = Vec::new();
    for line in printed.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [depth, package, licence, repository] = fields[..] else {
            anyhow::bail!("cargo tree: {line}");
        };
        let (name, version) = package.split_once(" v").context("no version")?;
        let version = version.split(' ').next().unwrap_or_default();
        let reference = format!("pkg:cargo/{name}@{version}");
        path.truncate(depth.parse()?);
        if let Some(user) = path.last().and_then(|user| linked.get_mut(user)) {
            user.uses.insert(reference.clone());
        }
        let entry = linked.entry(reference.clone()).or_default();
        entry.name = name.to_owned();
        entry.version = version.to_owned();
        // Older crates write a slash for OR.
        entry.licence = licence.replace('/', " OR ");
        entry.repository = repository.to_owned();
        entry.archs.insert(arch.name());
        path.push(reference);
    }
    Ok(())
}

/// Sums of the downloaded crates by name and version, from Cargo.lock.
fn sums(lock: &[u8]) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = std::str::from_utf8(lock)?.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let packages = packages.context("Cargo.lock has no packages")?;
    let rows = packages.iter().filter_map(|package| {
        let field = |name: &str| Some(package.get(name)?.as_str()?.to_owned());
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    Ok(rows.collect())
}

/// A serial number that depends on the document only: a UUID of version 8 (RFC 9562) from its SHA-256.
fn serial_number(document: &[u8]) -> String {
    let digest = Sha256::digest(document);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = super::hex(&bytes);
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
