//! fsx, the file system exerciser (the crate of that name): random operations on one file; each read is compared with a model.
//!
//! The operations depend only on the seed. So fsx runs a second time on a local file, and the server's file must have the same
//! contents.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build;
use crate::setup;

/// A mix of mostly reads and writes. Other operations make a client flush its writes and wait.
pub const MOSTLY_DATA: &str = "
    flen = 131072
    nomsyncafterwrite = true
    opsize = { min = 1, max = 16384 }
    [weights]
    read = 350
    write = 380
    mapread = 120
    mapwrite = 116
    truncate = 14
    fsync = 3
    fdatasync = 3
    invalidate = 3
    posix_fadvise = 18
    close_open = 3
";

/// A run of fsx.
pub struct Fsx<'a> {
    /// Number of operations.
    pub operations: u64,
    /// The seed. The same seed repeats the same operations.
    pub seed: u64,
    /// fsx's configuration file: sizes and weights.
    pub config: &'a str,
}

impl Fsx<'_> {
    /// The shell command that runs `program` (the path of fsx) on `file`, which fsx creates.
    pub fn command(&self, program: &str, file: &str) -> String {
        let Self {
            operations,
            seed,
            config,
        } = self;
        format!(
            "{program} -f /proc/self/fd/0 -N {operations} -S {seed} {file} <<'END'\n{config}\nEND\n"
        )
    }

    /// Runs fsx on `file`, relative to the working directory. The error contains fsx's findings.
    pub fn run(&self, file: &str) -> Result<()> {
        let program = build::program("fsx")?;
        let command = self.command(&program.display().to_string(), file);
        setup::run_captured(Command::new("sh").args(["-c", &command])).map(drop)
    }

    /// Compares the server's contents of the file, `seen`, with the result of the same operations on a local file.
    pub fn check(&self, seen: &[u8]) -> Result<()> {
        let directory = tempfile::tempdir().context("cannot create a directory for fsx")?;
        let local = directory.path().join("local");
        self.run(&local.display().to_string())?;
        let expected = fs::read(local)?;
        ensure!(
            seen == expected,
            "seed {}: the server's file ({} bytes) differs from the local one ({} bytes)",
            self.seed,
            seen.len(),
            expected.len()
        );
        Ok(())
    }
}
