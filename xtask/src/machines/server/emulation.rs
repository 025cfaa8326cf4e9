//! The built file as something that this machine can start: itself or, for other processors, a script that has QEMU run it.
//!
//! A script, because daemons start it too, and know one path; and because binfmt_misc is the whole machine's.

use super::binary;
use crate::build::{self, Arch, workspace_root};
use crate::setup::{self, Package};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The emulator, where this machine's processor is another.
fn emulator(arch: Arch) -> Option<&'static str> {
    match arch {
        // Whoever named another file names one that can be started.
        _ if std::env::var_os("STOWAWAY_BIN").is_some() => None,
        Arch::X86_64 | Arch::I686 => None,
        Arch::Aarch64 => Some("qemu-aarch64-static"),
        Arch::Armv7 => Some("qemu-arm-static"),
    }
}

/// What starts the finished file for `arch`, with the file's own arguments.
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

/// The same for everybody who may enter the directory of `copy`, with a copy of `file`, the name of which may be a role's.
pub fn copy(file: &Path, copy: &Path, arch: Arch) -> Result<PathBuf> {
    let emulator = emulator(arch);
    let place = match emulator {
        None => copy.to_path_buf(),
        Some(_) => copy.with_extension(arch.name()),
    };
    // By another process: what a process that is being forked has open for writing, its child has open too until it is another
    // program, and so long the copy cannot be run (ETXTBSY). Tests start servers from several threads.
    setup::quietly(Command::new("cp").args([file, &place]))?;
    if let Some(emulator) = emulator {
        write(emulator, &place, copy)?;
    }
    Ok(copy.to_path_buf())
}

/// Writes a script that becomes the emulator, which tells the file the name that the script was started by.
fn write(emulator: &str, file: &Path, script: &Path) -> Result<()> {
    setup::need(&[Package::QEMU_USER])?;
    let emulator = which::which(emulator).with_context(|| format!("cannot find {emulator}"))?;
    let (emulator, file) = (emulator.to_string_lossy(), file.to_string_lossy());
    let text = format!(
        "#!/bin/sh\nexec {} -0 \"$0\" {} \"$@\"\n",
        shlex::try_quote(&emulator)?,
        shlex::try_quote(&file)?
    );
    build::put(script, text.as_bytes())
}
