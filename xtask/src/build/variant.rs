//! Builds of the x86_64 executable with other flags, for `cargo xtask size --compare`. Not shipped; each has its own directory.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Arch, minimise, run_cargo, toolchain, workspace_root};

/// A variant of the build; the fields are the differences from the shipped one.
pub struct Variant {
    /// Name of the variant in the printed table.
    pub name: &'static str,
    /// The opt-level to build with. None: that of the profile.
    pub opt_level: Option<&'static str>,
    /// True to build with none of our compiler flags, as `cargo build --release` does.
    pub is_plain: bool,
    /// True if panics format and print their message with core::fmt.
    pub formats: bool,
    /// True to build with Debian's compiler and the standard library from source.
    pub from_source: bool,
    /// True for `-Cpanic=immediate-abort`: panics abort without calling the handler. Requires `from_source`.
    pub aborts: bool,
}

/// The shipped build.
const OURS: Variant = Variant {
    name: "",
    opt_level: None,
    is_plain: false,
    formats: false,
    from_source: false,
    aborts: false,
};

/// The variants to compare with the shipped build.
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
        name: "cargo build --release, without our flags",
        is_plain: true,
        ..OURS
    },
    Variant {
        name: "panics with formatted messages",
        formats: true,
        ..OURS
    },
    Variant {
        name: "Debian's rustc-web, core built from source",
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
    /// Builds the variant and returns the length of its mapped part in bytes.
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
            // Without linker-plugin LTO: the LLVM of rustup's rust-lld may be too old for the bitcode of Debian's compiler.
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

/// Builds the executable with all roles from a copy of the workspace at `root`; returns the length of its mapped part in bytes.
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
