//! Follows the names that `use` items make, so that an import of a re-export counts as an import of the re-exported item.
//!
//! Private `use` items are followed, too, because child modules can import their names. Type aliases are not followed.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{Found, Module};

/// Every name that a `use` item of the product makes, with the items that it stands for (more than one, if `cfg` decides).
pub(super) struct Aliases<'a>(BTreeMap<&'a str, Vec<&'a Found>>);

impl<'a> Aliases<'a> {
    pub(super) fn of(modules: &[&'a Module]) -> Self {
        let mut aliases: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
        for (name, target) in modules.iter().flat_map(|module| &module.aliases) {
            aliases.entry(name).or_default().push(target);
        }
        Self(aliases)
    }

    /// The items of other top-level modules, and the crates, that an import reaches through aliases outside the `facades`, each with
    /// the alias that led there. An alias for an item of the same top-level module is followed, but is no dependency.
    pub(super) fn follow(&self, import: &Found, facades: &[&str]) -> Vec<(String, Found)> {
        let mut pending = vec![import.clone()];
        let mut seen = BTreeSet::new();
        let mut reached = Vec::new();
        while let Some(found) = pending.pop() {
            let Found::Module(path) = &found else {
                continue;
            };
            if facades.contains(&first(path)) {
                continue;
            }
            for (alias, target) in self.targets(path) {
                // `use a::a` would lead from m::a to m::a::a, and so on: each alias is followed once.
                if !seen.insert(alias.to_owned()) {
                    continue;
                }
                if !matches!(&target, Found::Module(target) if first(target) == first(path)) {
                    reached.push((alias.to_owned(), target.clone()));
                }
                pending.push(target);
            }
        }
        reached
    }

    /// If one of the names in `path` is an alias: this alias, and the path with the aliased item in its place.
    fn targets<'p>(&self, path: &'p str) -> Vec<(&'p str, Found)> {
        let ends = path
            .match_indices("::")
            .map(|(index, _)| index)
            .chain([path.len()]);
        let of_alias = |end: usize| {
            let (alias, rest) = path.split_at(end);
            let targets = self.0.get(alias).into_iter().flatten();
            targets.map(move |target| match target {
                Found::Module(target) => (alias, Found::Module(format!("{target}{rest}"))),
                other => (alias, (*other).clone()),
            })
        };
        ends.flat_map(of_alias).collect()
    }
}

/// The top-level module of a path.
pub(super) fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}
