//! DESIGN's table: which module may import which modules and crates. A line here is a decision about the architecture.

use super::scan::{Found, Module};

/// A module of the top level, or one within it that has a rule of its own; the longest name that fits a file counts.
struct Layer {
    name: &'static str,
    /// Modules, or things in them, that it may import. Its own top level always.
    modules: &'static [&'static str],
    /// What it may not import of those, nor of its own.
    never: &'static [&'static str],
    /// Crates that it may use. `core` always.
    crates: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "mem",
        modules: &[],
        never: &[],
        crates: &["alloc", "linked_list_allocator"],
    },
    Layer {
        name: "wire",
        modules: &["mem"],
        never: &[],
        crates: &[],
    },
    Layer {
        name: "sys",
        modules: &["mem", "config", "time"],
        never: &[],
        crates: &["heapless"],
    },
    Layer {
        name: "sys::bare",
        modules: &["mem", "config", "time"],
        never: &["sys::linux"],
        crates: &["alloc", "heapless"],
    },
    Layer {
        name: "sys::linux",
        modules: &["mem", "config", "time"],
        never: &[],
        crates: &[
            "defmt",
            "embedded_io",
            "heapless",
            "linux_raw_sys",
            "rustix",
            "syscalls",
        ],
    },
    Layer {
        name: "vfs",
        modules: &["mem", "wire::iso9660", "time", "config"],
        never: &[],
        crates: &["alloc", "heapless"],
    },
    Layer {
        name: "vfs::host",
        modules: &["mem", "time", "config", "sys"],
        never: &[],
        crates: &["heapless", "rustix"],
    },
    Layer {
        name: "vfs::kernel",
        modules: &["mem", "time", "config", "sys"],
        never: &[],
        crates: &["heapless", "rustix"],
    },
    Layer {
        name: "vfs::user",
        modules: &["mem", "time", "config", "sys"],
        never: &[],
        crates: &["heapless", "rustix"],
    },
    Layer {
        name: "engine",
        modules: &[
            "mem", "wire", "vfs", "time", "config", "log", "event", "text",
        ],
        // The traits, not what is behind them.
        never: &[
            "vfs::disks",
            "vfs::exports",
            "vfs::host",
            "vfs::iso",
            "vfs::kernel",
            "vfs::ram",
            "vfs::user",
        ],
        // The last two: sums of files.
        crates: &["heapless", "crc", "sha2"],
    },
    Layer {
        name: "net",
        modules: &["mem", "time", "config", "log", "sys::interface"],
        never: &[],
        crates: &["heapless"],
    },
    Layer {
        name: "net::kernel",
        modules: &["mem", "time", "config", "log", "sys"],
        never: &[],
        crates: &["heapless"],
    },
    Layer {
        name: "net::link",
        modules: &["mem", "time", "config", "log", "sys"],
        never: &[],
        crates: &["heapless"],
    },
    Layer {
        name: "net::smol",
        modules: &["mem", "time", "config", "log"],
        never: &[],
        crates: &["alloc", "heapless", "smoltcp"],
    },
    Layer {
        name: "drive",
        modules: &[
            "net", "engine", "vfs", "event", "text", "mem", "sys", "time", "config", "log",
        ],
        never: &["sys::linux"],
        crates: &["heapless"],
    },
    Layer {
        name: "drive::platform",
        modules: &[
            "net", "engine", "vfs", "event", "text", "mem", "sys", "time", "config", "log",
        ],
        never: &[],
        crates: &["embedded_io", "heapless", "rustix"],
    },
    Layer {
        name: "role",
        modules: EVERY_MODULE,
        never: &["sys::linux"],
        crates: &["heapless"],
    },
    // What the others have in common.
    Layer {
        name: "config",
        modules: &["time"],
        never: &[],
        crates: &[],
    },
    Layer {
        name: "time",
        modules: &[],
        never: &[],
        crates: &[],
    },
    Layer {
        name: "log",
        modules: &[],
        never: &[],
        crates: &["defmt"],
    },
    Layer {
        name: "text",
        modules: &["mem"],
        never: &[],
        crates: &[],
    },
    Layer {
        name: "event",
        modules: &["config", "time", "log", "text", "mem"],
        never: &[],
        crates: &["heapless"],
    },
    // The map: it names the modules and nothing else.
    Layer {
        name: "lib",
        modules: &[],
        never: &[],
        crates: &["alloc"],
    },
    Layer {
        name: "main",
        modules: EVERY_MODULE,
        never: &[],
        crates: &[],
    },
    // A program of its own: it shares nothing with the file that it unpacks.
    Layer {
        name: "unpack",
        modules: &[],
        never: &[],
        crates: &["syscalls"],
    },
];

const EVERY_MODULE: &[&str] = &[
    "config", "drive", "engine", "event", "log", "mem", "net", "role", "sys", "text", "time",
    "vfs", "wire",
];

/// What `module` does that its line in the table does not allow.
pub(super) fn check(module: &Module) -> Vec<String> {
    let own = module.name();
    let place = |line: usize| format!("src/{}:{line}", module.path.display());
    let Some(layer) = layer_of(&own) else {
        return vec![format!(
            "{}: there is no module named {} in the table",
            place(1),
            first(&own)
        )];
    };
    let breach = |line: &usize, found: &Found| -> Option<String> {
        let what = match found {
            Found::Module(path) if layer.may_import(path) => return None,
            Found::Module(path) => format!("{own} may not import {path}"),
            Found::Crate(name) if layer.may_use(name) => return None,
            Found::Crate(name) => format!("{own} may not use the crate {name}"),
            // The entry cannot be safe.
            Found::Unsafe if ["mem", "sys", "main"].contains(&first(layer.name)) => return None,
            // Nor can that of the program that unpacks; its parts can.
            Found::Unsafe if own == "unpack" => return None,
            Found::Unsafe => "unsafe code lives in src/mem and src/sys".to_owned(),
        };
        Some(format!("{}: {what}", place(*line)))
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
    fn may_import(&self, path: &str) -> bool {
        // A single name is an item that stands in lib.rs, or the module itself.
        let own = first(self.name) == first(path) || !EVERY_MODULE.contains(&first(path));
        let listed = |list: &[&str]| list.iter().any(|entry| is_within(path, entry));
        own || listed(self.modules) && !listed(self.never)
    }

    fn may_use(&self, name: &str) -> bool {
        name == "core" || self.crates.contains(&name)
    }
}

fn layer_of(module: &str) -> Option<&'static Layer> {
    LAYERS
        .iter()
        .filter(|layer| is_within(module, layer.name))
        .max_by_key(|layer| layer.name.len())
}

/// Whether `path` is `outer` or lies in it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}
