//! All that comes from elsewhere, before the tests: they have no way out of their networks.

use anyhow::Result;

use super::Mode;
use super::schedule::{Job, Outcome};
use super::steps::cargo;
use crate::machines::{iso, qemu};
use crate::setup::{self, Package, PythonPackage};

/// The suite that fetches.
pub const PREPARE: &str = "prepare";

/// Debian's packages, crates, Python's packages, and the kernels of guests.
pub fn job(mode: &Mode) -> Job {
    let mut job = Job::new(PREPARE, || {
        setup::quietly(&mut cargo(&["fetch", "--locked"]))?;
        for package in PythonPackage::ALL {
            package.path()?;
        }
        qemu::prepare_all()?;
        for (package, _, _) in iso::SHIPPED {
            iso::shipped(package)?;
        }
        Ok(Outcome::default())
    });
    let budget = mode.suites.of(PREPARE);
    job.rank = 10;
    job.share = budget.share;
    job.usual = mode.usual(PREPARE, "", budget.seconds);
    job
}

/// Debian's packages: first of all, as the compilers of some jobs are among them.
pub fn packages() -> Result<()> {
    setup::need(&Package::ALL)
}
