//! The import table: which module may import which modules and crates. Each entry is a decision about the architecture.

use super::scan::{Found, Module};

/// Rules for a top-level module, or for a module within one. The entry with the longest matching name applies.
struct Layer {
    name: &'static str,
    /// Modules or items that may be imported. Items of the same top-level module are always allowed.
    modules: &'static [&'static str],
    /// Exceptions to `modules`: modules or items that may not be imported.
    never: &'static [&'static str],
    /// Crates that may be used. `core` is always allowed.
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
        modules: &["mem", "wire::exports", "wire::iso9660", "time", "config"],
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
        // The engine uses the traits of vfs, not the backends.
        never: &[
            "vfs::disks",
            "vfs::exports",
            "vfs::host",
            "vfs::iso",
            "vfs::kernel",
            "vfs::ram",
            "vfs::user",
        ],
        // crc, sha2: checksums of files.
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
    // Modules that most other modules use.
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
    // lib.rs declares the modules and imports nothing.
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
    // The unpacker, a separate program: shares no code with stowaway.
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

/// Violations of the table by `module`.
pub(super) fn check(module: &Module) -> Vec<String> {
    let own = module.name();
    let location = |line: usize| format!("src/{}:{line}", module.path.display());
    let Some(layer) = layer_of(&own) else {
        return vec![format!(
            "{}: module {} is not in the import table",
            location(1),
            first(&own)
        )];
    };
    let breach = |line: &usize, found: &Found| -> Option<String> {
        let message = match found {
            Found::Module(path) if layer.may_import(path) => return None,
            Found::Module(path) => format!("{own} may not import {path}"),
            Found::Crate(name) if layer.may_use(name) => return None,
            Found::Crate(name) => format!("{own} may not use the crate {name}"),
            // main.rs has the entry point, which cannot be safe.
            Found::Unsafe if ["mem", "sys", "main"].contains(&first(layer.name)) => return None,
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
    fn may_import(&self, path: &str) -> bool {
        // If the first name of a path is not a module, the path is an item of lib.rs.
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

/// Returns true if `path` is `outer` or inside it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}
