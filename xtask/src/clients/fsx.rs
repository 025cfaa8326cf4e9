//! fsx, the file system exerciser (the crate of that name): random operations on one file, each read held against a model.
//!
//! The seed alone says what it does. So it runs a second time on a local file, and that is what the server must have.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build;
use crate::setup;

/// Mostly reads and writes: all else makes a client send what it has, and wait.
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

/// One run.
pub struct Fsx<'a> {
    /// How many operations.
    pub operations: u64,
    /// The seed: the same one repeats the same operations.
    pub seed: u64,
    /// Sizes and weights, as its configuration file has them.
    pub config: &'a str,
}

impl Fsx<'_> {
    /// A shell's command that works on `file`, which it makes; `program` is the path of fsx.
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

    /// The same in this process' working directory or below; fails with what fsx found.
    pub fn run(&self, file: &str) -> Result<()> {
        let program = build::program("fsx")?;
        let command = self.command(&program.display().to_string(), file);
        setup::quietly(Command::new("sh").args(["-c", &command])).map(drop)
    }

    /// Compares what a server has with what the same operations leave in a local file.
    pub fn check(&self, seen: &[u8]) -> Result<()> {
        let directory = tempfile::tempdir().context("cannot make a directory for fsx")?;
        let local = directory.path().join("local");
        self.run(&local.display().to_string())?;
        let expected = fs::read(local)?;
        ensure!(
            seen == expected,
            "with seed {} the server has {} bytes, and a local file {} or other ones",
            self.seed,
            seen.len(),
            expected.len()
        );
        Ok(())
    }
}
