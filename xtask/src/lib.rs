//! Everything that builds, runs, tests and measures stowaway. One command per module.
//!
//! A command's module has `Args` and `main(Args)`. `run` and `build` need few crates and are compiled first; the rest is behind
//! the feature `workshop`. Nothing here links stowaway's own library: what is tested is the file.

pub mod build;
#[cfg(feature = "workshop")]
pub mod clients;
pub mod commands;
#[cfg(feature = "workshop")]
pub mod machines;
#[cfg(feature = "workshop")]
pub mod measure;
pub mod setup;
#[cfg(feature = "workshop")]
pub mod testing;

use std::process::ExitCode;

/// Runs a command and tells why it failed.
pub fn run(command: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}
