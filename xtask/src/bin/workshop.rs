//! The program `workshop`: all commands of `cargo xtask`, including those with many dependencies (tests, benchmarks, images, QEMU).

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::build;
use xtask::commands::{
    fuzz, hello, image, lockdown, log, order, release, run, syscalls, test, tidy,
};
use xtask::machines::injection::Suspended;
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
    /// Build, then serve a directory over NFS, with --vm from a virtual machine
    Run(run::Args),
    /// Build the finished file; the last line printed is its path
    Build(build::Args),
    /// Compare the files' bytes with the ceilings in image/size.toml; print them per section, crate and module
    Size(size::Args),
    /// Check src/ against the import table and the house rules
    Tidy(tidy::Args),
    /// Decode defmt traces
    Log(log::Args),
    /// Benchmark stowaway and other servers side by side
    Bench(bench::Args),
    /// Fuzz the protocol parsers and engines, guided by code coverage
    Fuzz(fuzz::Args),
    /// Build container images without a container engine
    Image(image::Args),
    /// Make everything that people download: executables, packages, images, sums, list of crates
    Release(release::Args),
    /// Build two minimal programs whose code is inside the ELF headers, and an image of each
    Hello(hello::Args),
    /// Start the virtual machine that a file in qemu/ describes
    Qemu(qemu::Args),
    /// Run a command as on a host that a file in qemu/hosts/ describes, which lacks system calls
    Lockdown(lockdown::Args),
    /// Write linker/order.txt, the functions that run until a server is at rest, which stand together in the file
    Order,
    /// Make the list of system calls, the seccomp profile and the unit's filter from qemu/hosts/minimal.toml
    Syscalls(syscalls::Args),
    /// Run a command whose system calls another process decides, see machines::injection
    #[command(hide = true)]
    Suspend(Suspended),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    xtask::run(|| match command {
        Command::Test(args) => test::main(args),
        Command::Run(args) => run::main(args),
        Command::Build(args) => build::main(args),
        Command::Size(args) => size::main(args),
        Command::Tidy(args) => tidy::main(args),
        Command::Log(args) => log::main(args),
        Command::Order => order::main(),
        Command::Bench(args) => bench::main(args),
        Command::Fuzz(args) => fuzz::main(args),
        Command::Image(args) => image::main(args),
        Command::Release(args) => release::main(args),
        Command::Hello(args) => hello::main(args),
        Command::Qemu(args) => qemu::main(args),
        Command::Lockdown(args) => lockdown::main(args),
        Command::Syscalls(args) => syscalls::main(args),
        Command::Suspend(args) => args.exec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, Result, ensure};
    use std::fs;

    /// Commands in the code spans of a document, except those with a placeholder such as `NAME`.
    fn commands(document: &str) -> Vec<&str> {
        let spans = document.split('`').skip(1).step_by(2);
        let is_command =
            |span: &&str| span.starts_with("cargo xtask ") && !span.contains(['[', '…', '\n']);
        let is_complete = |span: &&str| {
            let mut words = span.split(' ');
            !words.any(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()))
        };
        spans.filter(is_command).filter(is_complete).collect()
    }

    #[test]
    fn commands_in_documents_exist() -> Result<()> {
        let root = build::workspace_root();
        let budgets: toml::Table = fs::read_to_string(root.join("xtask/suites.toml"))?.parse()?;
        let suites = budgets.get("suite").and_then(toml::Value::as_table);
        let suites = suites.context("no suites")?;
        let documents = fs::read_dir(root.join("image/doc"))?;
        let mut paths = vec![root.join("README.md")];
        for document in documents {
            paths.push(document?.path());
        }
        let mut count = 0;
        for path in paths {
            for line in fs::read_to_string(&path)?.lines() {
                for command in commands(line) {
                    let words: Vec<&str> = command.split(' ').skip(1).collect();
                    let parsed = Cli::try_parse_from(&words);
                    ensure!(
                        parsed.is_ok(),
                        "{}: `{command}` is not a command",
                        path.display()
                    );
                    if words.get(1) == Some(&"test") {
                        let mut names = words
                            .iter()
                            .skip(2)
                            .take_while(|word| !word.starts_with('-'));
                        let unknown = names.find(|name| {
                            let suite = name.split("::").next().unwrap_or_default();
                            !suites.contains_key(suite)
                        });
                        ensure!(
                            unknown.is_none(),
                            "{}: `{command}`: no such suite",
                            path.display()
                        );
                    }
                    count += 1;
                }
            }
        }
        ensure!(count > 50, "only {count} commands were found");
        Ok(())
    }
}
