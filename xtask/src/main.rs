//! `cargo xtask COMMAND`: builds and runs; what needs more crates is the program `workshop`, compiled when a command asks for it.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::build;
use xtask::commands::run;

/// Builds, runs, tests and measures stowaway.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "\
More commands, compiled when first asked for; each has a --help:
  test       Run every test, from formatting to real clients
  bench      Measure side by side with other servers
  size       Bytes per section, crate and module, against image/size.toml
  image      Container images without a container engine
  qemu       Start the machine that a file in qemu/ describes
  fuzz       Feed the protocols whatever reaches new code
  mutants    The share of planted faults that unit tests find
  tidy       Hold the import table and the house rules against src/
  scorecard  Every MUST of multicast DNS beside the tests that hold it
  log        Decode defmt traces
  hello      Two programs that say hello from inside their own headers"
)]
struct Cli {
    #[command(subcommand)]
    command: Own,
}

#[derive(Subcommand)]
enum Own {
    /// Build, then serve a directory over NFS until Ctrl-C
    Run(run::Args),
    /// Build the finished file; the last line printed is its path
    Build(build::Args),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    xtask::run(|| match cli.command {
        Own::Run(args) if args.is_vm() => workshop(env::args_os().skip(1)),
        Own::Run(args) => run::main(args),
        Own::Build(args) if args.is_packed() => workshop(env::args_os().skip(1)),
        Own::Build(args) => build::main(args),
        Own::Other(arguments) => workshop(arguments),
    })
}

/// Becomes the workshop with these arguments.
fn workshop(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(build::workspace_root())
        .args(["run", "--profile", "tools", "-p", "xtask"])
        .args(["--features", "workshop", "--bin", "workshop", "--"])
        .args(arguments);
    Err(cargo.exec()).map_err(|why| anyhow::anyhow!("cannot start cargo: {why}"))
}
