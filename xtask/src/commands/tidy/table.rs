//! The import table, layers.toml: which module may import which modules and crates, and the named exceptions to other rules.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::reexports::{Aliases, first};
use super::scan::{Found, Module};

/// Path of the table, for messages.
const HERE: &str = "xtask/src/commands/tidy/layers.toml";

/// The contents of layers.toml.
#[derive(Deserialize)]
pub(super) struct Rules {
    /// For each kind of violation the names of those that are known, with a reason.
    #[serde(default)]
    pub(super) exceptions: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(flatten)]
    layers: BTreeMap<String, Layer>,
}

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
    /// Items that this top-level module re-exports count as its own.
    facade: bool,
}

/// A violation. If it has a name, layers.toml may list it in the table of exceptions.
pub(super) struct Breach {
    pub(super) name: Option<(&'static str, String)>,
    pub(super) message: String,
}

const EVERY_MODULE: &[&str] = &[
    "config", "drive", "engine", "event", "log", "mem", "net", "role", "sys", "text", "time",
    "vfs", "wire",
];

impl Rules {
    pub(super) fn parse() -> Result<Self> {
        toml::from_str(include_str!("layers.toml")).context(HERE)
    }

    /// Violations of the table by `module`.
    pub(super) fn check(&self, module: &Module, aliases: &Aliases<'_>) -> Vec<Breach> {
        let own = module.name();
        let location = |line: usize| format!("src/{}:{line}", module.path.display());
        let Some((name, layer)) = self.layer_of(&own) else {
            let top = first(&own);
            let message = format!("{}: module {top} is not in the import table", location(1));
            return vec![Breach {
                name: None,
                message,
            }];
        };
        let facades = self.layers.iter().filter(|(_, layer)| layer.facade);
        let facades: Vec<&str> = facades.map(|(name, _)| name.as_str()).collect();
        let mut breaches: Vec<Breach> = Vec::new();
        for (line, import) in &module.found {
            let refusal = |found: &Found| {
                let refusal = layer.refusal(name, &own, found)?;
                Some(format!("{}: {refusal}", location(*line)))
            };
            if let Some(message) = refusal(import) {
                breaches.push(Breach {
                    name: None,
                    message,
                });
                continue;
            }
            for (alias, found) in aliases.follow(import, &facades) {
                let name = Some(("reexports", alias.clone()));
                // The first use of an alias is enough.
                if let Some(message) = refusal(&found)
                    && breaches.iter().all(|breach| breach.name != name)
                {
                    let message = format!("{message}, which {alias} re-exports");
                    breaches.push(Breach { name, message });
                }
            }
        }
        breaches.dedup_by(|a, b| a.message == b.message);
        breaches
    }

    /// Messages of the violations that are no known exceptions, and of exceptions that nothing needs.
    pub(super) fn judge(&self, breaches: Vec<Breach>) -> Vec<String> {
        let covers = |table: &str, outer: &str, breach: &Breach| {
            let name = breach.name.as_ref();
            name.is_some_and(|(kind, name)| *kind == table && is_within(name, outer))
        };
        let known = self
            .exceptions
            .iter()
            .flat_map(|(table, names)| names.keys().map(move |name| (table, name)));
        let stale = known
            .clone()
            .filter(|(table, name)| !breaches.iter().any(|breach| covers(table, name, breach)));
        let stale: Vec<String> = stale
            .map(|(table, name)| {
                format!("{HERE}: nothing needs {name} in [exceptions.{table}]: delete this line")
            })
            .collect();
        let new = breaches.into_iter().filter(|breach| {
            !known
                .clone()
                .any(|(table, name)| covers(table, name, breach))
        });
        new.map(|breach| breach.message).chain(stale).collect()
    }

    fn layer_of(&self, module: &str) -> Option<(&String, &Layer)> {
        let layers = self.layers.iter();
        layers
            .filter(|(name, _)| is_within(module, name))
            .max_by_key(|(name, _)| name.len())
    }
}

impl Layer {
    /// Returns a message if the module `own`, for which the entry `name` applies, may not use `found`.
    fn refusal(&self, name: &str, own: &str, found: &Found) -> Option<String> {
        match found {
            Found::Module(path) if self.may_import(first(name), path) => None,
            Found::Module(path) => Some(format!("{own} may not import {path}")),
            Found::Crate(name) if self.may_use(name) => None,
            Found::Crate(name) => Some(format!("{own} may not use the crate {name}")),
            // main.rs has the entry point, which cannot be safe.
            Found::Unsafe if ["mem", "sys", "main"].contains(&first(name)) => None,
            // The unpacker's main.rs has an entry point, too; its other modules must be safe.
            Found::Unsafe if own == "unpack" => None,
            Found::Unsafe => {
                Some("unsafe code is allowed only in src/mem, src/sys and main.rs".into())
            }
        }
    }

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

/// Returns true if `path` is `outer` or inside it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
