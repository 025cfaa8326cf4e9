//! The program `image`: `cargo xtask image oci`, without the crates that other commands need.

use std::process::ExitCode;

use clap::Parser;
use xtask::commands::image;

/// Build container images without a container engine
#[derive(Parser)]
#[command(name = "cargo xtask image", bin_name = "cargo xtask image")]
struct Cli {
    #[command(flatten)]
    args: image::Args,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    xtask::run(|| image::main(cli.args))
}
