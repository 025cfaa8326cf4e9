//! Finds circles: sibling modules that import each other, directly or through others, and files whose methods call each other.
//!
//! For imports, a folder counts as one module with everything in it. Imports from the parent module are not checked, even if the
//! parent re-exports an item of a sibling. Calls of methods are resolved by name within the type and the folder; those from and to
//! the file that defines the type are not checked, like imports from the parent.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{Found, Function, Module};
use super::table::Breach;

/// Imports (or calls) between the modules of one folder: importing module, imported module, file and line of one such import.
type Imports<'a> = BTreeMap<&'a str, BTreeMap<&'a str, String>>;

/// Reports each cycle of imports in the crate at `root` once, with file and line of its imports.
pub(super) fn check(root: &str, modules: &[&Module]) -> Vec<Breach> {
    let names: Vec<String> = modules.iter().map(|module| module.name()).collect();
    let known: BTreeSet<&str> = names.iter().flat_map(|name| ancestors(name)).collect();
    let mut folders: BTreeMap<&str, Imports<'_>> = BTreeMap::new();
    for (module, own) in modules.iter().zip(&names) {
        for (line, found) in &module.found {
            if let Found::Module(path) = found
                && let Some((folder, from, to)) = siblings(own, path)
                && let Some(to) = known.get(join(folder, to).as_str())
            {
                let place = format!("{root}/{}:{line}", module.path.display());
                let imports = folders.entry(folder).or_default().entry(from).or_default();
                imports.entry(last(to)).or_insert(place);
            }
        }
    }
    let mut breaches = Vec::new();
    for (folder, imports) in &folders {
        breaches.extend(cycles(imports).iter().map(|cycle| Breach {
            name: Some((
                "circles",
                format!("{}: {}", inside(root, folder), cycle.join(", ")),
            )),
            message: format!(
                "{}: import cycle: {}",
                inside(root, folder),
                describe(imports, cycle, "imports")
            ),
        }));
    }
    breaches
}

/// Reports each circle of files in which methods of one type call each other, with file and line of a call of each.
pub(super) fn check_methods(modules: &[&Module]) -> Vec<Breach> {
    let methods = modules.iter().flat_map(|module| {
        module.functions.iter().filter_map(|function| {
            let is_trunk = module.defined.contains(function.owner.as_ref()?);
            let folder = module.path.parent().filter(|_| !is_trunk)?.to_str()?;
            Some((
                (folder, function.owner.as_deref()?),
                (module.path.file_stem()?.to_str()?, function),
            ))
        })
    });
    let mut types: BTreeMap<(&str, &str), Vec<(&str, &Function)>> = BTreeMap::new();
    for (owner, method) in methods {
        types.entry(owner).or_default().push(method);
    }
    let mut breaches = Vec::new();
    for ((folder, owner), methods) in types {
        let calls = calls(folder, &methods);
        breaches.extend(cycles(&calls).iter().map(|cycle| Breach {
            name: Some((
                "method_circles",
                format!("{}::{owner}", folder.replace('/', "::")),
            )),
            message: format!(
                "src/{folder}: circle of methods of {owner}: {}",
                describe(&calls, cycle, "calls")
            ),
        }));
    }
    breaches
}

/// The calls between the files that contain the `methods` of a type.
fn calls<'a>(folder: &str, methods: &[(&'a str, &'a Function)]) -> Imports<'a> {
    let mut calls: Imports<'_> = BTreeMap::new();
    for (file, method) in methods {
        for (line, name) in &method.calls {
            let mut called = methods.iter().filter(|(_, method)| method.name == *name);
            let own = called.clone().find(|(other, _)| other == file);
            if let Some((other, _)) = called.next()
                && own.is_none()
            {
                let place = format!("{name}: src/{folder}/{file}.rs:{line}");
                calls.entry(file).or_default().entry(other).or_insert(place);
            }
        }
    }
    calls
}

/// The cycles in `imports`, each once.
fn cycles<'a>(imports: &Imports<'a>) -> Vec<Vec<&'a str>> {
    let mut cycles = Vec::new();
    let mut done = BTreeSet::new();
    for start in imports.keys() {
        if let Some(cycle) = cycle(imports, start, &done) {
            done.extend(cycle.iter().copied());
            cycles.push(cycle);
        }
        done.insert(*start);
    }
    cycles
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

/// Names each step of a cycle and where it is; `verb` says what one file does with the next.
fn describe(imports: &Imports<'_>, cycle: &[&str], verb: &str) -> String {
    let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
    let steps = steps.map(|(from, to)| format!("{from} {verb} {to} ({})", imports[from][to]));
    steps.collect::<Vec<String>>().join(", ")
}

/// The folder of a module.
fn inside(root: &str, module: &str) -> String {
    match module {
        "" => root.to_owned(),
        module => format!("{root}/{}", module.replace("::", "/")),
    }
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
