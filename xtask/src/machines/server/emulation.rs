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
    match arch {
        // This host must be able to run a file named by STOWAWAY_BIN without emulation.
        _ if std::env::var_os("STOWAWAY_BIN").is_some() => None,
        Arch::X86_64 | Arch::I686 => None,
        Arch::Aarch64 => Some("qemu-aarch64-static"),
        Arch::Armv7 => Some("qemu-arm-static"),
    }
}

/// The path that runs the built file for `arch`; arguments are passed on.
pub fn runnable(arch: Arch) -> Result<PathBuf> {
    let file = binary(arch)?;
    let Some(emulator) = emulator(arch) else {
        return Ok(file);
    };
    let script = workspace_root()
        .join("target/programs")
        .join(arch.name())
        .join("stowaway");
    write(emulator, &file, &script)?;
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
