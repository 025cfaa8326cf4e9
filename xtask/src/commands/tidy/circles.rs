//! Finds import cycles between sibling modules: of two siblings, at most one may import the other, directly or through others.
//!
//! A folder counts as one module with everything in it. Imports from the parent module are not checked, even if the parent
//! re-exports an item of a sibling. An import of a type is not checked in files that contain methods of this type.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{Found, Module};

/// Imports between the modules of one folder: importing module, imported module, file and line of one such import.
type Imports<'a> = BTreeMap<&'a str, BTreeMap<&'a str, String>>;

/// Reports each cycle once, with file and line of its imports.
pub(super) fn check(modules: &[&Module]) -> Vec<String> {
    let names: Vec<String> = modules.iter().map(|module| module.name()).collect();
    let known: BTreeSet<&str> = names.iter().flat_map(|name| ancestors(name)).collect();
    let mut folders: BTreeMap<&str, Imports<'_>> = BTreeMap::new();
    for (module, own) in modules.iter().zip(&names) {
        let own_types = own_types(module);
        for (line, found) in &module.found {
            if let Found::Module(path) = found
                && let Some((folder, from, to)) = siblings(own, path)
                && let Some(to) = known.get(join(folder, to).as_str())
                && !own_types.contains(to)
            {
                let place = format!("src/{}:{line}", module.path.display());
                let imports = folders.entry(folder).or_default().entry(from).or_default();
                imports.entry(last(to)).or_insert(place);
            }
        }
    }
    let mut cycles = Vec::new();
    for (folder, imports) in &folders {
        let mut done = BTreeSet::new();
        for start in imports.keys() {
            if let Some(cycle) = cycle(imports, start, &done) {
                cycles.push(describe(folder, imports, &cycle));
                done.extend(cycle);
            }
            done.insert(start);
        }
    }
    cycles
}

/// The modules that define the types whose methods are in `module`.
fn own_types(module: &Module) -> BTreeSet<&str> {
    let imported = module.found.iter().filter_map(|(_, found)| match found {
        Found::Module(path) => path.rsplit_once("::"),
        _ => None,
    });
    let own = imported.filter(|(_, name)| module.types.iter().any(|own| own == name));
    own.map(|(from, _)| from).collect()
}

/// The shortest import cycle through `start` that visits no module in `done` (breadth-first search).
fn cycle<'a>(
    imports: &Imports<'a>,
    start: &'a str,
    done: &BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    let mut paths = vec![vec![start]];
    let mut seen = done.clone();
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for path in paths {
            for next in imports
                .get(path.last()?)
                .into_iter()
                .flat_map(BTreeMap::keys)
            {
                if *next == start {
                    return Some(path);
                }
                if seen.insert(next) {
                    longer.push([path.clone(), vec![next]].concat());
                }
            }
        }
        paths = longer;
    }
    None
}

/// Returns the message about an import cycle, with each import and where it is.
fn describe(folder: &str, imports: &Imports<'_>, cycle: &[&str]) -> String {
    let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
    let steps = steps.map(|(from, to)| format!("{from} imports {to} ({})", imports[from][to]));
    let steps: Vec<String> = steps.collect();
    let inside = match folder {
        "" => "src".to_owned(),
        folder => format!("src/{}", folder.replace("::", "/")),
    };
    format!("{inside}: import cycle: {}", steps.join(", "))
}

/// The innermost common ancestor of a module and an imported path, and the ancestor's child modules that contain each of them.
/// None if one contains the other.
fn siblings<'a, 'p>(own: &'a str, path: &'p str) -> Option<(&'a str, &'a str, &'p str)> {
    let mut common = 0;
    for (a, b) in own.split("::").zip(path.split("::")) {
        if a != b {
            let folder = own[..common].strip_suffix("::").unwrap_or_default();
            return Some((folder, a, b));
        }
        common += a.len() + 2;
        if common > own.len() {
            return None;
        }
    }
    None
}

/// A module's name and the names of its ancestors.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices("::").map(|(index, _)| index);
    ends.chain([name.len()]).map(|end| &name[..end])
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}::{name}"),
    }
}

fn last(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}
