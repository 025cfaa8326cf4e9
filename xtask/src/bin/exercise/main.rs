//! `exercise`: file system operations for the tests. Runs in a virtual machine on an NFS mount, and on a local file system.
//!
//! Contains nothing specific to NFS or stowaway: every file system must pass its checks. One module per command.

mod count;
mod inventory;
mod load;
mod manifest;
mod posix;
mod reads;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exercises a file system.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Change a tree in every way while the server is killed and restarted
    Load(load::Args),
    /// Print a line for each file and directory, with the attributes that must survive a server restart
    Manifest(manifest::Args),
    /// Print a line for each file and directory, with all attributes
    Inventory(inventory::Args),
    /// Print the results of POSIX calls in a directory, one line each
    Posix(posix::Args),
    /// Add to a number in a file, under a lock
    Count(count::Args),
    /// Read a file at random offsets
    Reads(reads::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Load(args) => load::main(args),
        Command::Manifest(args) => manifest::main(args),
        Command::Reads(args) => reads::main(args),
        Command::Inventory(args) => inventory::main(args),
        Command::Posix(args) => posix::main(args),
        Command::Count(args) => count::main(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}
