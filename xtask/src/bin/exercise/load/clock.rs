//! Detects whether the server was killed during an operation.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A clock that advances when the server is killed and again when the server is back: odd while the server is down.
pub struct Clock {
    file: PathBuf,
}

/// A reading of the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(u64);

impl Clock {
    /// Uses the length of `file` as the time.
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
        }
    }

    /// Reads the clock.
    pub fn now(&self) -> io::Result<Moment> {
        Ok(Moment(fs::metadata(&self.file)?.len()))
    }
}

impl Moment {
    /// Returns true if the server was down at any time between `self` and `end`.
    pub fn saw_kill(self, end: Self) -> bool {
        self.0 % 2 == 1 || self != end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kill_counts_only_during_the_operation() {
        for (start, end, expected) in [
            (0, 0, false),
            (0, 1, true),
            (1, 1, true),
            (1, 2, true),
            (2, 2, false),
            (2, 4, true),
        ] {
            assert_eq!(
                Moment(start).saw_kill(Moment(end)),
                expected,
                "from {start} to {end}"
            );
        }
    }
}
