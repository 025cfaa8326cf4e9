//! `cargo xtask COMMAND`: runs `run` and `build` itself; passes `image oci` to the program `image`, and all other commands to
//! the program `workshop`.
//!
//! Both depend on more crates, `workshop` on many more, so they are compiled only when a command needs them.

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
More commands, compiled on first use; each has a --help:
  test       Run every test, from formatting to real clients
  bench      Benchmark stowaway and other servers side by side
  size       Compare the files' bytes with image/size.toml; print them per crate and module
  image      Build container images without a container engine
  release    Make everything that people download: executables, packages, images, sums
  qemu       Start the virtual machine that a file in qemu/ describes
  lockdown   Run a command as on a host that a file in qemu/hosts/ describes
  syscalls   Make the list of system calls and the seccomp profile from qemu/hosts/minimal.toml
  fuzz       Fuzz the protocol parsers and engines, guided by code coverage
  tidy       Check src/ against the import table and the house rules
  log        Decode defmt traces
  hello      Build two minimal programs whose code is inside the ELF headers"
)]
struct Cli {
    #[command(subcommand)]
    command: Invocation,
}

#[derive(Subcommand)]
enum Invocation {
    /// Build, then serve a directory over NFS until Ctrl-C
    Run(run::Args),
    /// Build the finished file; the last line printed is its path
    Build(build::Args),
    #[command(external_subcommand)]
    Workshop(Vec<OsString>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    xtask::run(|| match cli.command {
        Invocation::Run(args) if args.is_vm() => exec("workshop", env::args_os().skip(1)),
        Invocation::Run(args) => run::main(args),
        Invocation::Build(args) if args.is_packed() => exec("workshop", env::args_os().skip(1)),
        Invocation::Build(args) => build::main(args),
        Invocation::Workshop(arguments)
            if arguments.starts_with(&["image".into(), "oci".into()]) =>
        {
            exec("image", arguments.into_iter().skip(1))
        }
        Invocation::Workshop(arguments) => exec("workshop", arguments),
    })
}

/// Replaces this process with the program of the feature `program`, built and started by cargo (execve).
fn exec(program: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_bench = arguments.first().is_some_and(|command| command == "bench");
    let profile = if is_bench { "measure" } else { "tools" };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(build::workspace_root())
        .args(["run", "--profile", profile, "-p", "xtask"])
        .args(["--features", program, "--bin", program, "--"])
        .args(arguments);
    Err(cargo.exec()).map_err(|why| anyhow::anyhow!("cannot start cargo: {why}"))
}
