//! The table: which room may import which rooms and crates. A line here is a decision about the architecture.

use super::scan::{Found, Module};

/// A room, or a part of one with a rule of its own; the longest name that fits a module counts.
struct Room {
    name: &'static str,
    /// Rooms, or things in them, that it may import. Its own room always.
    rooms: &'static [&'static str],
    /// Exceptions from `rooms`.
    never: &'static [&'static str],
    /// Crates that it may use. `core` always.
    crates: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room {
        name: "mem",
        rooms: &["config::ARENA_BYTES"],
        never: &[],
        crates: &["alloc"],
    },
    Room {
        name: "config",
        rooms: &["time"],
        never: &[],
        crates: &[],
    },
    Room {
        name: "time",
        rooms: &[],
        never: &[],
        crates: &[],
    },
    Room {
        name: "log",
        rooms: &[],
        never: &[],
        crates: &["defmt"],
    },
    Room {
        name: "text",
        // Memory to unpack texts into.
        rooms: &["mem"],
        never: &[],
        crates: &[],
    },
    Room {
        name: "event",
        rooms: &["config", "time", "log", "text", "mem"],
        never: &[],
        crates: &["alloc", "heapless"],
    },
    Room {
        name: "wire",
        rooms: &["mem"],
        never: &[],
        crates: &[],
    },
    Room {
        name: "vfs",
        rooms: &["time", "config", "mem"],
        never: &[],
        crates: &["alloc", "heapless"],
    },
    Room {
        name: "vfs::host",
        rooms: &["time", "config", "mem", "sys"],
        never: &[],
        crates: &["heapless", "rustix"],
    },
    Room {
        name: "vfs::iso",
        rooms: &["config", "mem", "wire::iso9660"],
        never: &[],
        crates: &[],
    },
    Room {
        name: "vfs::kernel",
        rooms: &["time", "config", "mem", "sys"],
        never: &[],
        crates: &["heapless", "rustix"],
    },
    Room {
        name: "vfs::user",
        rooms: &["time", "config", "mem", "sys"],
        never: &[],
        crates: &["heapless", "rustix"],
    },
    Room {
        name: "engine",
        rooms: &[
            "wire", "vfs", "time", "config", "log", "event", "text", "mem",
        ],
        // The trait, not what is behind it.
        never: &["vfs::host", "vfs::ram", "vfs::user"],
        crates: &["heapless"],
    },
    Room {
        name: "engine::mdns",
        // Its tables are cut at start.
        rooms: &["wire", "time", "config", "event", "text", "mem"],
        never: &[],
        crates: &["heapless"],
    },
    Room {
        name: "engine::sftp",
        rooms: &[
            "wire", "vfs", "time", "config", "log", "event", "text", "mem",
        ],
        never: &["vfs::host", "vfs::ram"],
        // Sums of files.
        crates: &["crc", "heapless", "sha2"],
    },
    Room {
        name: "net",
        // What a tree may lend to be sent.
        rooms: &["vfs::Descriptor", "time", "config", "log", "mem", "sys"],
        never: &[],
        crates: &["heapless", "rustix"],
    },
    Room {
        name: "sys",
        rooms: &["config", "log", "mem", "time"],
        never: &[],
        crates: &[
            "alloc",
            "defmt",
            "embedded_io",
            "heapless",
            "linux_raw_sys",
            "rustix",
            "syscalls",
        ],
    },
    Room {
        name: "drive",
        rooms: &[
            "net", "engine", "vfs", "event", "time", "config", "log", "mem", "sys", "text",
        ],
        never: &[],
        crates: &["embedded_io", "heapless"],
    },
    Room {
        name: "role",
        rooms: EVERY_ROOM,
        never: &[],
        crates: &["alloc", "heapless", "rustix"],
    },
    // The map: it names the rooms and nothing else.
    Room {
        name: "lib",
        rooms: &[],
        never: &[],
        crates: &["alloc"],
    },
    Room {
        name: "main",
        rooms: EVERY_ROOM,
        never: &[],
        crates: &["embedded_io"],
    },
    // A program of its own: it shares nothing with the file that it unpacks.
    Room {
        name: "unpack",
        rooms: &[],
        never: &[],
        crates: &["syscalls"],
    },
];

const EVERY_ROOM: &[&str] = &[
    "config", "drive", "engine", "event", "log", "mem", "net", "role", "sys", "text", "time",
    "vfs", "wire",
];

/// What `module` does that its room's line in the table does not allow.
pub(super) fn check(module: &Module) -> Vec<String> {
    let own = module.name();
    let place = |line: usize| format!("src/{}:{line}", module.path.display());
    let Some(room) = room_of(&own) else {
        return vec![format!(
            "{}: there is no room named {} in the table",
            place(1),
            first(&own)
        )];
    };
    let breach = |line: &usize, found: &Found| -> Option<String> {
        let what = match found {
            Found::Room(path) if room.may_enter(path) => return None,
            Found::Room(path) => format!("{own} may not import {path}"),
            Found::Crate(name) if room.may_use(name) => return None,
            Found::Crate(name) => format!("{own} may not use the crate {name}"),
            // The entry cannot be safe.
            Found::Unsafe if ["mem", "sys", "main"].contains(&room.name) => return None,
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

impl Room {
    fn may_enter(&self, path: &str) -> bool {
        // A single name is an item that stands in lib.rs, or the room itself.
        let own = first(self.name) == first(path) || !EVERY_ROOM.contains(&first(path));
        let allowed = |list: &[&str]| list.iter().any(|entry| is_within(path, entry));
        own || allowed(self.rooms) && !allowed(self.never)
    }

    fn may_use(&self, name: &str) -> bool {
        name == "core" || self.crates.contains(&name)
    }
}

fn room_of(module: &str) -> Option<&'static Room> {
    ROOMS
        .iter()
        .filter(|room| is_within(module, room.name))
        .max_by_key(|room| room.name.len())
}

/// Whether `path` is `outer` or lies in it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}
