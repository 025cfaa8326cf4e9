//! Circles of imports between modules beside each other: which of two is beneath the other must be seen from their imports.
//!
//! A folder counts as one with all that is in it. What a module imports from the one above it is not looked at, nor where what is
//! re-exported there comes from. A type's methods may stand in several files, which are one for this.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{Found, Module};

/// Which modules of a folder import which others of it, and where one of these imports stands.
type Imports<'a> = BTreeMap<&'a str, BTreeMap<&'a str, String>>;

/// Every circle, once, with the places of its imports.
pub(super) fn check(modules: &[&Module]) -> Vec<String> {
    let names: Vec<String> = modules.iter().map(|module| module.name()).collect();
    let known: BTreeSet<&str> = names.iter().flat_map(|name| outers(name)).collect();
    let mut folders: BTreeMap<&str, Imports<'_>> = BTreeMap::new();
    for (module, own) in modules.iter().zip(&names) {
        let own_types = own_types(module);
        for (line, found) in &module.found {
            if let Found::Module(path) = found
                && let Some((folder, from, to)) = beside(own, path)
                && let Some(to) = known.get(join(folder, to).as_str())
                && !own_types.contains(to)
            {
                let place = format!("src/{}:{line}", module.path.display());
                let imports = folders.entry(folder).or_default().entry(from).or_default();
                imports.entry(last(to)).or_insert(place);
            }
        }
    }
    let mut circles = Vec::new();
    for (folder, imports) in &folders {
        let mut done = BTreeSet::new();
        for start in imports.keys() {
            if let Some(circle) = circle(imports, start, &done) {
                circles.push(told(folder, imports, &circle));
                done.extend(circle);
            }
            done.insert(start);
        }
    }
    circles
}

/// The modules of the types whose methods stand in this one.
fn own_types(module: &Module) -> BTreeSet<&str> {
    let imported = module.found.iter().filter_map(|(_, found)| match found {
        Found::Module(path) => path.rsplit_once("::"),
        _ => None,
    });
    let own = imported.filter(|(_, name)| module.types.iter().any(|own| own == name));
    own.map(|(from, _)| from).collect()
}

/// The shortest way from a module back to itself that leads over none of those that are `done`.
fn circle<'a>(
    imports: &Imports<'a>,
    start: &'a str,
    done: &BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = done.clone();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in imports
                .get(way.last()?)
                .into_iter()
                .flat_map(BTreeMap::keys)
            {
                if *next == start {
                    return Some(way);
                }
                if seen.insert(next) {
                    longer.push([way.clone(), vec![next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// A circle in words.
fn told(folder: &str, imports: &Imports<'_>, circle: &[&str]) -> String {
    let steps = circle.iter().zip(circle.iter().cycle().skip(1));
    let steps = steps.map(|(from, to)| format!("{from} imports {to} ({})", imports[from][to]));
    let steps: Vec<String> = steps.collect();
    let inside = match folder {
        "" => "src".to_owned(),
        folder => format!("src/{}", folder.replace("::", "/")),
    };
    format!("{inside}: a circle of imports: {}", steps.join(", "))
}

/// Of a module and a path that it imports: the innermost module that both are in, and what each is in there.
fn beside<'a, 'p>(own: &'a str, path: &'p str) -> Option<(&'a str, &'a str, &'p str)> {
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

/// A module's name, and those of the modules that it is in.
fn outers(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices("::").map(|(at, _)| at);
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
