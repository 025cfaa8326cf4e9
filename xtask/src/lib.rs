//! Everything that builds, runs, tests and measures stowaway. One command per module.
//!
//! A command's module has `Args` and `main(Args)`. `run` and `build` need few crates and are compiled without features;
//! `image` enables `image oci`, and `workshop` all commands. xtask does not link stowaway's library: its tests run the built executable.

pub mod build;
#[cfg(feature = "workshop")]
pub mod clients;
pub mod commands;
#[cfg(feature = "workshop")]
pub mod machines;
#[cfg(feature = "workshop")]
pub mod measure;
#[cfg(feature = "workshop")]
pub mod pictures;
mod root;
pub mod setup;
#[cfg(feature = "workshop")]
pub mod testing;

use std::process::ExitCode;

/// Runs a command; prints its error and returns the exit code.
pub fn run(command: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}
