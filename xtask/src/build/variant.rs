//! The file for x86_64 built in other ways, for `cargo xtask size --compare`: never shipped, in directories of their own.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Arch, minimise, run_cargo, toolchain, workspace_root};

/// A way to build, and where it differs from ours.
pub struct Variant {
    /// What a reader sees.
    pub name: &'static str,
    /// Instead of the profile's.
    pub opt_level: Option<&'static str>,
    /// Without one flag of ours: as `cargo build --release`.
    pub is_plain: bool,
    /// Panics tell their whole message, by core::fmt.
    pub formats: bool,
    /// By Debian's compiler, with the standard library from its source.
    pub from_source: bool,
    /// Panics end the process where they are. Needs the library's source.
    pub aborts: bool,
}

/// As ours.
const OURS: Variant = Variant {
    name: "",
    opt_level: None,
    is_plain: false,
    formats: false,
    from_source: false,
    aborts: false,
};

/// All of them.
pub const VARIANTS: [Variant; 6] = [
    Variant {
        name: "opt-level \"s\"",
        opt_level: Some("s"),
        ..OURS
    },
    Variant {
        name: "opt-level 3",
        opt_level: Some("3"),
        ..OURS
    },
    Variant {
        name: "cargo build --release, with no flag of ours",
        is_plain: true,
        ..OURS
    },
    Variant {
        name: "panics that format their message",
        formats: true,
        ..OURS
    },
    Variant {
        name: "Debian's rustc-web, core from its source",
        from_source: true,
        ..OURS
    },
    Variant {
        name: "the same, and panic=immediate-abort",
        from_source: true,
        aborts: true,
        ..OURS
    },
];

impl Variant {
    /// Builds it and returns how many of its bytes are mapped.
    pub fn bytes(&self) -> Result<u64> {
        let mut cargo = toolchain::for_file(Arch::X86_64)?;
        let name = "CARGO_ENCODED_RUSTFLAGS";
        let mut flags: Vec<String> = cargo
            .get_envs()
            .filter(|(key, _)| *key == name)
            .filter_map(|(_, flags)| flags?.to_str())
            .flat_map(|flags| flags.split('\x1f').map(str::to_owned))
            .collect();
        if self.is_plain {
            flags.clear();
        }
        if self.formats {
            flags.push("--cfg=measure_fmt".into());
        }
        if self.from_source {
            // rustup's linker may be older than what Debian's compiler hands it.
            flags.retain(|flag| flag != toolchain::LINKER_OPTIMIZES);
            flags.extend(toolchain::from_source(&mut cargo)?);
        }
        if self.aborts {
            flags.extend([
                "-Cpanic=immediate-abort".into(),
                "-Zunstable-options".into(),
            ]);
        }
        cargo.env(name, flags.join("\x1f"));
        if let Some(level) = self.opt_level {
            cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level);
        }
        let short: String = self
            .name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        cargo.env(
            "CARGO_TARGET_DIR",
            workspace_root().join("target/compare").join(short),
        );
        cargo.args(["--quiet", "--bin", "stowaway", "--release"]);
        let linked = run_cargo(cargo, self.name)?;
        let elf = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
        minimise::mapped_len(&elf)
    }
}

/// Builds the file with all roles from a copy of the workspace, and returns how many of its bytes are mapped.
pub fn bytes_of_copy(root: &Path) -> Result<u64> {
    let mut cargo = toolchain::for_file(Arch::X86_64)?;
    let name = "CARGO_ENCODED_RUSTFLAGS";
    let flags = cargo.get_envs().find(|(key, _)| *key == name);
    let flags = flags.and_then(|(_, flags)| flags?.to_str());
    let flags = format!(
        "{}\x1f--remap-path-prefix={}/=",
        flags.unwrap_or_default(),
        root.display()
    );
    cargo.env(name, flags).current_dir(root);
    cargo.env(
        "CARGO_TARGET_DIR",
        workspace_root().join("target/attributes/target"),
    );
    cargo.args(["--quiet", "--bin", "stowaway", "--release"]);
    let linked = run_cargo(cargo, "a copy of stowaway")?;
    let elf = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    minimise::mapped_len(&elf)
}
