//! A path by which this host can run the built file: the file itself or, for a foreign architecture, a script that runs QEMU's user
//! emulation.
//!
//! A script is used because daemons start the file by one path, and because binfmt_misc would change the whole host.

use super::binary;
use crate::build::{self, Arch, workspace_root};
use crate::setup;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The emulator for `arch`; None if this host can run the file itself.
fn emulator(arch: Arch) -> Option<&'static str> {
    // This host must be able to run a file named by STOWAWAY_BIN without emulation.
    let is_native = Arch::NATIVE.contains(&arch) || std::env::var_os("STOWAWAY_BIN").is_some();
    (!is_native).then(|| emulator_for(arch))
}

const fn emulator_for(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-x86_64-static",
        Arch::I686 => "qemu-i386-static",
        Arch::Aarch64 => "qemu-aarch64-static",
        Arch::Armv7 => "qemu-arm-static",
    }
}

/// The path that runs the built file for `arch`; arguments are passed on.
pub fn runnable(arch: Arch) -> Result<PathBuf> {
    match emulator(arch) {
        None => binary(arch),
        Some(_) => emulated(arch),
    }
}

/// The path that runs the built file for `arch` by emulation, even if this host can run it itself.
pub fn emulated(arch: Arch) -> Result<PathBuf> {
    let script = workspace_root()
        .join("target/programs")
        .join(arch.name())
        .join("stowaway");
    write(emulator_for(arch), &binary(arch)?, &script)?;
    Ok(script)
}

/// Copies `file` to `copy` and returns a path that runs it. The name of `copy` may select a role. All users with access
/// to its directory can run it.
pub fn copy(file: &Path, copy: &Path, arch: Arch) -> Result<PathBuf> {
    let emulator = emulator(arch);
    let path = match emulator {
        None => copy.to_path_buf(),
        Some(_) => copy.with_extension(arch.name()),
    };
    // cp writes the copy, not this process: if another thread of this process forked during the write, its child would keep the
    // descriptor open until its exec, and running the copy would fail with ETXTBSY.
    setup::run_captured(Command::new("cp").args([file, &path]))?;
    if let Some(emulator) = emulator {
        write(emulator, &path, copy)?;
    }
    Ok(copy.to_path_buf())
}

/// Writes a script that execs the emulator, which passes the script's own `argv[0]` to `file`.
fn write(emulator: &str, file: &Path, script: &Path) -> Result<()> {
    setup::install_packages(&["qemu-user-static"])?;
    let emulator = which::which(emulator).with_context(|| format!("cannot find {emulator}"))?;
    let (emulator, file) = (emulator.to_string_lossy(), file.to_string_lossy());
    let text = format!(
        "#!/bin/sh\nexec {} -0 \"$0\" {} \"$@\"\n",
        shlex::try_quote(&emulator)?,
        shlex::try_quote(&file)?
    );
    build::replace_file(script, text.as_bytes())
}
