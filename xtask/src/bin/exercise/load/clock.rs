//! Whether a server was killed while something was done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Reads the time in kills: odd while the server is gone, even while it serves.
pub struct Clock {
    file: PathBuf,
}

/// A moment on that clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(u64);

impl Clock {
    /// The length of `file` is the time.
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
        }
    }

    /// Which moment it is.
    pub fn now(&self) -> io::Result<Moment> {
        Ok(Moment(fs::metadata(&self.file)?.len()))
    }
}

impl Moment {
    /// Whether the server was gone at some time from `self` to `end`.
    pub fn saw_kill(self, end: Self) -> bool {
        self.0 % 2 == 1 || self != end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kill_within_the_time_counts() {
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
