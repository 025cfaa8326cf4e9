//! `cargo xtask COMMAND`: reads the command line and hands over to the module of that name.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::build;
use xtask::commands::fuzz;
use xtask::commands::hello;
use xtask::commands::image;
use xtask::commands::log;
use xtask::commands::run;
use xtask::commands::scorecard;
use xtask::commands::test;
use xtask::commands::tidy;
use xtask::machines::qemu;
use xtask::measure::bench;
use xtask::measure::size;

/// Builds, runs, tests and measures stowaway.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, then serve a directory over NFS until Ctrl-C
    Run(run::Args),
    /// Run every test, from formatting to real clients
    #[command(visible_alias = "ci")]
    Test(test::Args),
    /// Build the finished file; the last line printed is its path
    Build(build::Args),
    /// Bytes per section, crate and room, against image/size.toml
    Size(size::Args),
    /// Hold the rooms' import table and the house rules against src/
    Tidy(tidy::Args),
    /// Every MUST of multicast DNS beside the tests that hold it
    Scorecard(scorecard::Args),
    /// Decode defmt traces
    Log(log::Args),
    /// Measure side by side with other servers
    Bench(bench::Args),
    /// Feed the protocols whatever reaches new code
    Fuzz(fuzz::Args),
    /// Container images without a container engine
    Image(image::Args),
    /// Two programs that say hello from inside their own headers, and an image of each
    Hello(hello::Args),
    /// Start the machine that a file in qemu/ describes
    Qemu(qemu::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::main(args),
        Command::Test(args) => test::main(args),
        Command::Build(args) => build::main(args),
        Command::Size(args) => size::main(args),
        Command::Tidy(args) => tidy::main(args),
        Command::Scorecard(args) => scorecard::main(args),
        Command::Log(args) => log::main(args),
        Command::Bench(args) => bench::main(args),
        Command::Fuzz(args) => fuzz::main(args),
        Command::Image(args) => image::main(args),
        Command::Hello(args) => hello::main(args),
        Command::Qemu(args) => qemu::main(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}
