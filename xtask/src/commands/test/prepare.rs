//! Downloads everything that the tests need. The tests themselves cannot: their network namespaces have only loopback.

use anyhow::Result;

use super::schedule::{Job, Outcome};
use super::steps::cargo;
use super::{Mode, isolation};
use crate::machines::{debian, iso, qemu};
use crate::setup::{self, PythonPackage};

/// Name of the step that downloads.
pub const PREPARE: &str = "prepare";

/// A job that fetches crates, Python packages, kernels for virtual machines, Debian's boot images and, as root, a Debian system.
pub fn job(mode: &Mode) -> Job {
    let mut job = Job::new(PREPARE, || {
        setup::run_captured(&mut cargo(&["fetch", "--locked"]))?;
        for package in PythonPackage::ALL {
            package.path()?;
        }
        qemu::prepare_all()?;
        let packages = iso::SHIPPED.map(|(package, _, _)| package);
        for package in packages.into_iter().chain([iso::EXPORTFS]) {
            iso::unpack_package(package)?;
        }
        if isolation::is_possible() {
            debian::system()?;
        }
        Ok(Outcome::default())
    });
    let budget = mode.suites.find(PREPARE);
    job.rank = 10;
    job.share = budget.share;
    job.usual = mode.usual(PREPARE, "", budget.seconds);
    job
}

/// Installs the Debian packages. Runs before all jobs, because some jobs need compilers from these packages.
pub fn packages() -> Result<()> {
    setup::install_all()
}
