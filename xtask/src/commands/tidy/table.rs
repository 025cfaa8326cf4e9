//! The import table, layers.toml: which module may import which modules and crates.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::scan::{Found, Module};

/// Rules for a top-level module, or for a module within one. The entry with the longest matching name applies.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Layer {
    /// Modules or items that may be imported; `*` for all. Items of the same top-level module are always allowed.
    modules: Vec<String>,
    /// Exceptions to `modules`: modules or items that may not be imported.
    never: Vec<String>,
    /// Crates that may be used. `core` is always allowed.
    crates: Vec<String>,
}

static LAYERS: LazyLock<BTreeMap<String, Layer>> =
    LazyLock::new(|| toml::from_str(include_str!("layers.toml")).expect("layers.toml is valid"));

const EVERY_MODULE: &[&str] = &[
    "config", "drive", "engine", "event", "log", "mem", "net", "role", "sys", "text", "time",
    "vfs", "wire",
];

/// Violations of the table by `module`.
pub(super) fn check(module: &Module) -> Vec<String> {
    let own = module.name();
    let location = |line: usize| format!("src/{}:{line}", module.path.display());
    let Some((name, layer)) = layer_of(&own) else {
        return vec![format!(
            "{}: module {} is not in the import table",
            location(1),
            first(&own)
        )];
    };
    let breach = |line: &usize, found: &Found| -> Option<String> {
        let message = match found {
            Found::Module(path) if layer.may_import(first(name), path) => return None,
            Found::Module(path) => format!("{own} may not import {path}"),
            Found::Crate(name) if layer.may_use(name) => return None,
            Found::Crate(name) => format!("{own} may not use the crate {name}"),
            // main.rs has the entry point, which cannot be safe.
            Found::Unsafe if ["mem", "sys", "main"].contains(&first(name)) => return None,
            // The unpacker's main.rs has an entry point, too; its other modules must be safe.
            Found::Unsafe if own == "unpack" => return None,
            Found::Unsafe => {
                "unsafe code is allowed only in src/mem, src/sys and main.rs".to_owned()
            }
        };
        Some(format!("{}: {message}", location(*line)))
    };
    let mut breaches: Vec<String> = module
        .found
        .iter()
        .filter_map(|(line, found)| breach(line, found))
        .collect();
    breaches.dedup();
    breaches
}

impl Layer {
    /// Returns true if the path may be imported by a module in the top-level module `top`.
    fn may_import(&self, top: &str, path: &str) -> bool {
        // If the first name of a path is not a module, the path is an item of lib.rs.
        let own = top == first(path) || !EVERY_MODULE.contains(&first(path));
        let listed = |list: &[String]| list.iter().any(|it| it == "*" || is_within(path, it));
        own || listed(&self.modules) && !listed(&self.never)
    }

    fn may_use(&self, name: &str) -> bool {
        name == "core" || self.crates.iter().any(|known| known == name)
    }
}

fn layer_of(module: &str) -> Option<(&'static String, &'static Layer)> {
    LAYERS
        .iter()
        .filter(|(name, _)| is_within(module, name))
        .max_by_key(|(name, _)| name.len())
}

/// Returns true if `path` is `outer` or inside it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}
