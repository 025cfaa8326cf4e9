//! The commands of `cargo xtask` that need more than a compiler: tests, measurements, images, machines.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::build;
use xtask::commands::{fuzz, hello, image, log, mutants, run, scorecard, test, tidy};
use xtask::machines::qemu;
use xtask::measure::{bench, size};

/// Builds, runs, tests and measures stowaway.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test, from formatting to real clients
    #[command(visible_alias = "ci")]
    Test(test::Args),
    /// Build, then serve a directory over NFS from a machine until it ends
    Run(run::Args),
    /// Build the finished file; the last line printed is its path
    Build(build::Args),
    /// Bytes per section, crate and module, against image/size.toml
    Size(size::Args),
    /// Hold the import table and the house rules against src/
    Tidy(tidy::Args),
    /// Every MUST of multicast DNS beside the tests that hold it
    Scorecard(scorecard::Args),
    /// Decode defmt traces
    Log(log::Args),
    /// Measure side by side with other servers
    Bench(bench::Args),
    /// Feed the protocols whatever reaches new code
    Fuzz(fuzz::Args),
    /// Plant faults, and count those that the unit tests find
    Mutants(mutants::Args),
    /// Container images without a container engine
    Image(image::Args),
    /// Two programs that say hello from inside their own headers, and an image of each
    Hello(hello::Args),
    /// Start the machine that a file in qemu/ describes
    Qemu(qemu::Args),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    xtask::run(|| match command {
        Command::Test(args) => test::main(args),
        Command::Run(args) => run::main(args),
        Command::Build(args) => build::main(args),
        Command::Size(args) => size::main(args),
        Command::Tidy(args) => tidy::main(args),
        Command::Scorecard(args) => scorecard::main(args),
        Command::Log(args) => log::main(args),
        Command::Bench(args) => bench::main(args),
        Command::Fuzz(args) => fuzz::main(args),
        Command::Mutants(args) => mutants::main(args),
        Command::Image(args) => image::main(args),
        Command::Hello(args) => hello::main(args),
        Command::Qemu(args) => qemu::main(args),
    })
}
