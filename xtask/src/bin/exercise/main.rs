//! What a client does to a file system in the tests: it runs in a guest on what is mounted there, and on a local one.
//!
//! It knows nothing of NFS and of stowaway: what it asks for must hold for every file system. Each command is a file.

mod crowd;
mod inventory;
mod load;
mod manifest;
mod posix;
mod race;
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
    /// A directory of many entries, of which some go while it is read
    Crowd(crowd::Args),
    /// The same directory, seen by two clients that make the same names
    Race(race::Args),
    /// Changes of every kind, while the server is killed
    Load(load::Args),
    /// A line for each thing below a directory
    Manifest(manifest::Args),
    /// A line for each thing below a directory, with all that is known of it
    Inventory(inventory::Args),
    /// What calls of POSIX do in a directory, a line each
    Posix(posix::Args),
    /// One file, here and there
    Reads(reads::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Crowd(args) => crowd::main(args),
        Command::Race(args) => race::main(args),
        Command::Load(args) => load::main(args),
        Command::Manifest(args) => manifest::main(args),
        Command::Reads(args) => reads::main(args),
        Command::Inventory(args) => inventory::main(args),
        Command::Posix(args) => posix::main(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}
