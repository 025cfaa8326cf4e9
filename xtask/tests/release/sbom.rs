//! The list of linked crates, against CycloneDX's schema and the symbols of the executable.

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use xtask::build::workspace_root;
use xtask::setup::{self, PythonPackage};

use super::{DATE, release};

/// Prints what the JSON schema of CycloneDX 1.5 refuses in a file.
const VALIDATE: &str = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
print(error or 'valid')
";

fn document() -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(
        release()?.join("sbom.cdx.json"),
    )?)?)
}

/// Names of the components, as in Rust paths.
fn names(document: &Value) -> Result<BTreeSet<String>> {
    let components = document["components"].as_array().context("no components")?;
    let names = components
        .iter()
        .filter_map(|component| component["name"].as_str());
    Ok(names.map(|name| name.replace('-', "_")).collect())
}

#[test]
fn document_is_valid_by_its_schema() -> Result<()> {
    let mut python = Command::new(PythonPackage::PYTHON);
    python.env("PYTHONPATH", PythonPackage::CYCLONEDX.path()?);
    let file = release()?.join("sbom.cdx.json");
    let result = setup::run_captured(python.args(["-c", VALIDATE]).arg(file))?;
    ensure!(result.trim() == "valid", "{result}");
    Ok(())
}

#[test]
fn every_component_has_licence_sum_and_version() -> Result<()> {
    let document = document()?;
    ensure!(document["metadata"]["component"]["name"] == "stowaway");
    ensure!(document["metadata"]["timestamp"] == format!("{DATE}Z"));
    let components = document["components"].as_array().context("no components")?;
    for component in components {
        let licence = &component["licenses"][0]["expression"];
        ensure!(
            licence.is_string() && component["version"].is_string(),
            "{component}"
        );
        let is_compiler = component["name"] == "rust-core-alloc";
        ensure!(
            is_compiler || component["hashes"][0]["alg"] == "SHA-256",
            "{component}"
        );
    }
    ensure!(names(&document)?.contains("rust_core_alloc"));
    // The release has only nfs, which has no use for smoltcp.
    ensure!(!names(&document)?.contains("smoltcp"));
    Ok(())
}

#[test]
fn every_crate_with_a_symbol_is_listed() -> Result<()> {
    let lock: toml::Table = fs::read_to_string(workspace_root().join("Cargo.lock"))?.parse()?;
    let packages = lock["package"].as_array().context("no packages")?;
    let crates: BTreeSet<String> = packages
        .iter()
        .filter_map(|package| Some(package.get("name")?.as_str()?.replace('-', "_")))
        .collect();
    let listed = names(&document()?)?;
    let linked = fs::read(release()?.join("debug/x86_64/stowaway.debug"))?;
    let file = object::File::parse(&*linked)?;
    let mut found = BTreeSet::new();
    for symbol in file.symbols() {
        let path = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
        // The first part of each path in `<a::B as c::D<e::F>>::g` is a crate.
        let paths = path.split(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter));
        let firsts = paths.filter_map(|path| path.split_once("::"));
        found.extend(firsts.map(|(first, _)| first.to_owned()));
    }
    let linked: Vec<&String> = found.intersection(&crates).collect();
    ensure!(
        linked.iter().any(|name| *name == "rustix"),
        "only {linked:?}"
    );
    for name in linked {
        ensure!(
            name == "stowaway" || listed.contains(name),
            "{name} is linked, but not listed"
        );
    }
    Ok(())
}
