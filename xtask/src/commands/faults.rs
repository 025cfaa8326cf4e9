//! `cargo xtask faults [ROLE]`: disturbs each system call of a role, and prints a table of what comes of it.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::ValueEnum as _;

use crate::machines::injection::table::{Choice, Table, Use};
use crate::machines::injection::{Fault, Role};
use crate::machines::server::root_for;

/// `cargo xtask faults`
#[derive(clap::Args)]
pub struct Args {
    /// Roles; without one, all
    roles: Vec<Role>,
    /// Disturb this system call only
    #[arg(long)]
    call: Option<String>,
    /// Use this fault only: an errno, or "no effect"
    #[arg(long)]
    fault: Option<String>,
    /// Disturb the first use only
    #[arg(long)]
    first: bool,
    /// Print the reason of each outcome
    #[arg(long)]
    verbose: bool,
    /// Sessions that run at the same time (default: depends on the role)
    #[arg(long)]
    workers: Option<usize>,
}

/// Prints a table for each role, and fails if an outcome is a failure that is not expected.
pub fn main(args: Args) -> Result<()> {
    ensure!(root_for("network namespaces"), "needs root");
    let roles = match &args.roles[..] {
        [] => Role::value_variants(),
        roles => roles,
    };
    let mut faults = Fault::ALL.to_vec();
    if let Some(name) = &args.fault {
        faults.retain(|fault| fault.to_string() == *name);
        ensure!(!faults.is_empty(), "no fault {name}");
    }
    let mut choice = Choice {
        uses: if args.first {
            vec![Use::First]
        } else {
            Use::ALL.into()
        },
        faults,
        call: args.call,
        workers: 0,
    };
    let is_complete = choice.call.is_none() && args.fault.is_none() && !args.first;
    let mut failures = Vec::new();
    for &role in roles {
        let start = Instant::now();
        choice.workers = args.workers.unwrap_or(role.worker_count());
        let table = Table::of(role, &choice)?;
        println!("{}", table.markdown(&choice.faults)?);
        println!(
            "{} ({:.0} s)\n",
            table.summary(),
            start.elapsed().as_secs_f32()
        );
        if args.verbose {
            table.lines().for_each(|line| println!("{line}"));
        }
        failures.extend(table.failures());
        if is_complete {
            table
                .corrected()
                .iter()
                .for_each(|line| println!("{line}\n"));
        }
    }
    ensure!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}
