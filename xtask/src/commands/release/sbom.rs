//! sbom.cdx.json: the crates that are linked into the executables, with licence and sum, and the compiler (CycloneDX 1.5).
//!
//! `cargo tree` lists the crates, without build scripts' dependencies and proc macros, which run in the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use cyclonedx_bom::models::bom::UrnUuid;
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::external_reference::{
    ExternalReference, ExternalReferenceType, ExternalReferences,
};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata as BomMetadata;
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::{Tool, Tools};
use cyclonedx_bom::prelude::{
    Bom, DateTime, NormalizedString, Purl, SpdxExpression, Uri, Validate as _,
};
use sha2::{Digest as _, Sha256};

use super::{Release, Tree, read};
use crate::build::{Arch, Role, compiler, workspace_root};
use crate::setup;

/// Path in the release.
const NAME: &str = "sbom.cdx.json";
/// Key of the property that lists the architectures with a component.
const ARCHITECTURES: &str = "stowaway:architectures";

/// Name and version of a crate.
type Id = (String, String);

/// Adds the document.
pub(super) fn add(release: &Release, tree: &mut Tree, _: &Path) -> Result<()> {
    let mut linked: BTreeMap<Id, BTreeSet<&str>> = BTreeMap::new();
    for &arch in &release.archs {
        for id in linked_crates(arch, &release.roles)? {
            linked.entry(id).or_default().insert(arch.name());
        }
    }
    let mut options = vec!["--locked".to_owned()];
    for arch in &release.archs {
        options.extend(["--filter-platform".to_owned(), arch.triple().to_owned()]);
    }
    let metadata = MetadataCommand::new()
        .manifest_path(workspace_root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .context("cargo metadata failed")?;
    let sums = sums(&read(&workspace_root().join("Cargo.lock"))?)?;
    let mut packages = BTreeMap::new();
    for package in &metadata.packages {
        let id = (package.name.to_string(), package.version.to_string());
        if let Some(archs) = linked.get(&id) {
            packages.insert(reference(&id), (package, archs));
        }
    }
    let missing = linked
        .keys()
        .find(|id| !packages.contains_key(&reference(id)));
    if let Some((name, version)) = missing {
        return Err(anyhow!("cargo metadata has no {name} {version}"));
    }
    let mut components = Vec::new();
    let mut product = None;
    for (reference, (package, archs)) in &packages {
        let component = component(package, reference, archs, &sums)?;
        if package.source.is_none() {
            product = Some(component);
        } else {
            components.push(component);
        }
    }
    let compilers = compilers(release)?;
    components.extend(
        compilers
            .iter()
            .map(|(version, archs)| library(version, archs)),
    );
    let mut bom = Bom {
        metadata: Some(BomMetadata {
            timestamp: Some(DateTime::try_from(release.date("+%Y-%m-%dT%H:%M:%SZ")?)?),
            tools: Some(Tools::List(vec![Tool::new(
                "stowaway",
                "cargo xtask release",
                release.version,
            )])),
            component: product,
            ..BomMetadata::default()
        }),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(dependencies(&metadata, &packages, &compilers))),
        serial_number: None,
        ..Bom::default()
    };
    bom.serial_number = Some(urn(serial_number(&json(&bom)?))?);
    let result = bom.validate();
    if !result.passed() {
        return Err(anyhow!("the document is not valid CycloneDX: {result:?}"));
    }
    tree.add(NAME.into(), json(&bom)?);
    Ok(())
}

fn json(bom: &Bom) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bom.clone().output_as_json_v1_5(&mut bytes)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Name and version of each crate that is linked into the executable, including stowaway.
fn linked_crates(arch: Arch, roles: &[Role]) -> Result<Vec<Id>> {
    let features: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace_root())
        .args(["tree", "--locked", "--quiet"]);
    cargo.args(["--package", "stowaway", "--edges", "normal,no-proc-macro"]);
    cargo.args([
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--target",
        arch.triple(),
    ]);
    cargo.args(["--no-default-features", "--features", &features.join(",")]);
    let printed = setup::run_captured(&mut cargo)?;
    // A line is `NAME vVERSION`, and for crates of the workspace also a path.
    let ids = printed.lines().filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        let version = rest.split(' ').next()?;
        Some((name.to_owned(), version.to_owned()))
    });
    Ok(ids.collect())
}

/// Sums of the downloaded crates, from Cargo.lock.
fn sums(lock: &[u8]) -> Result<BTreeMap<Id, String>> {
    let lock: toml::Table = std::str::from_utf8(lock)?.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let packages = packages.context("Cargo.lock has no packages")?;
    let rows = packages.iter().filter_map(|package| {
        let field = |name: &str| Some(package.get(name)?.as_str()?.to_owned());
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    Ok(rows.collect())
}

/// The reference of a crate within the document: its package URL.
fn reference((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{version}")
}

fn component(
    package: &Package,
    reference: &str,
    archs: &BTreeSet<&str>,
    sums: &BTreeMap<Id, String>,
) -> Result<Component> {
    let (name, version) = (package.name.as_str(), package.version.to_string());
    let is_product = package.source.is_none();
    let kind = if is_product {
        Classification::Application
    } else {
        Classification::Library
    };
    let mut component = Component::new(kind, name, &version, Some(reference.to_owned()));
    component.purl = Some(Purl::new("cargo", name, &version)?);
    component.description = package.description.as_deref().map(NormalizedString::new);
    let license = package.license.as_deref();
    let license = license.with_context(|| format!("{name} {version} has no licence"))?;
    component.licenses = Some(licence(license));
    component.hashes = sums.get(&(name.to_owned(), version)).map(|sum| {
        Hashes(vec![Hash {
            alg: HashAlgorithm::SHA_256,
            content: HashValue(sum.clone()),
        }])
    });
    component.external_references = package.repository.as_deref().map(|url| {
        ExternalReferences(vec![ExternalReference::new(
            ExternalReferenceType::Vcs,
            Uri::new(url),
        )])
    });
    component.properties = Some(architectures(archs));
    Ok(component)
}

/// A licence as an SPDX expression. Older crates write a slash for OR.
fn licence(text: &str) -> Licenses {
    let expression = SpdxExpression::new(&text.replace('/', " OR "));
    Licenses(vec![LicenseChoice::Expression(expression)])
}

fn architectures(archs: &BTreeSet<&str>) -> Properties {
    let list: Vec<&str> = archs.iter().copied().collect();
    Properties(vec![Property::new(ARCHITECTURES, &list.join(","))])
}

/// The compilers by version, with the architectures that each built.
fn compilers(release: &Release) -> Result<BTreeMap<String, BTreeSet<&'static str>>> {
    let mut compilers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for &arch in &release.archs {
        compilers
            .entry(compiler(arch)?)
            .or_default()
            .insert(arch.name());
    }
    Ok(compilers)
}

/// The part of Rust's standard library that is linked: core, alloc and compiler_builtins.
fn library(version: &str, archs: &BTreeSet<&str>) -> Component {
    let mut component = Component::new(
        Classification::Library,
        "rust-core-alloc",
        version,
        Some(library_reference(version)),
    );
    component.description = Some(NormalizedString::new(
        "core, alloc and compiler_builtins of the Rust compiler that built the executables",
    ));
    component.licenses = Some(licence(
        "(MIT OR Apache-2.0) AND (Apache-2.0 WITH LLVM-exception OR NCSA OR MIT)",
    ));
    component.properties = Some(architectures(archs));
    component
}

fn library_reference(version: &str) -> String {
    format!("rust-core-alloc {version}")
}

/// The crates that each linked crate uses.
fn dependencies(
    metadata: &Metadata,
    packages: &BTreeMap<String, (&Package, &BTreeSet<&str>)>,
    compilers: &BTreeMap<String, BTreeSet<&str>>,
) -> Vec<Dependency> {
    let by_id: BTreeMap<_, &String> = packages
        .iter()
        .map(|(reference, (package, _))| (&package.id, reference))
        .collect();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let mut rows = Vec::new();
    for node in nodes {
        let Some(reference) = by_id.get(&node.id) else {
            continue;
        };
        let used = node.deps.iter().filter(|dep| {
            let mut kinds = dep.dep_kinds.iter();
            kinds.any(|kind| kind.kind == DependencyKind::Normal)
        });
        let used: BTreeSet<String> = used
            .filter_map(|dep| by_id.get(&dep.pkg).map(|reference| (*reference).clone()))
            .chain(compilers.keys().map(|version| library_reference(version)))
            .collect();
        rows.push(Dependency {
            dependency_ref: (*reference).clone(),
            dependencies: used.into_iter().collect(),
        });
    }
    rows.sort_by(|one, other| one.dependency_ref.cmp(&other.dependency_ref));
    rows
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

fn urn(number: String) -> Result<UrnUuid> {
    UrnUuid::new(number).map_err(|why| anyhow!("{why:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linked_crates_include_stack_only_with_its_role() -> Result<()> {
        let names = |roles: &[Role]| -> Result<BTreeSet<String>> {
            let ids = linked_crates(Arch::X86_64, roles)?;
            Ok(ids.into_iter().map(|(name, _)| name).collect())
        };
        let all = names(Role::all())?;
        assert!(
            all.contains("stowaway") && all.contains("smoltcp"),
            "{all:?}"
        );
        // Macros run in the compiler.
        assert!(
            !all.contains("defmt-macros") && !all.contains("syn"),
            "{all:?}"
        );
        assert!(!names(&[Role::SFTP_SERVER])?.contains("smoltcp"));
        Ok(())
    }

    #[test]
    fn serial_number_is_a_uuid_of_version_8() -> Result<()> {
        let number = serial_number(b"");
        assert_eq!(number, "urn:uuid:e3b0c442-98fc-8c14-9afb-f4c8996fb924");
        urn(number)?;
        Ok(())
    }
}
