//! Parser of xtask/suites.toml: time budget, scheduling constraints and affecting paths of each suite.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::build::{self, Arch, Role, workspace_root};

/// Contents of xtask/suites.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suites {
    /// Duration of [`calibrate`] on the reference machine, where the budgets were measured, in milliseconds.
    reference_ms: f64,
    suite: BTreeMap<String, Suite>,
    /// Path prefixes whose changes affect every suite.
    reach_all: Vec<String>,
    /// Path prefixes of engines, and the suites that test them most directly: after a change there, `--changed` runs only these.
    near: BTreeMap<String, Vec<String>>,
}

/// A test suite, or a step of `cargo xtask test`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Time budget (seconds) for all tests of the suite, run sequentially on the reference machine.
    pub seconds: f64,
    /// Average number of processors that one test of the suite keeps busy.
    #[serde(default = "one")]
    pub share: f64,
    /// True if all tests of the suite run in one process, because they share something expensive, such as a virtual machine.
    #[serde(default)]
    pub together: bool,
    /// True if no other job may run at the same time as a test of the suite; the head of the suite's source says why.
    #[serde(default)]
    pub alone: bool,
    /// True if the temporary files of the tests are on the machine's disk, not in memory.
    #[serde(default)]
    pub disk: bool,
    /// Files that the tests of the suite start, besides all roles for x86_64.
    #[serde(default)]
    pub files: Vec<Files>,
    /// Path prefixes whose changes can make the suite fail.
    #[serde(default)]
    pub reach: Vec<String>,
}

/// Files that tests start, besides all roles for x86_64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Files {
    I686,
    Aarch64,
    Armv7,
    /// All roles, packed, for each native architecture.
    Packed,
    /// The role mdns alone, for x86_64.
    Mdns,
}

impl Files {
    pub const ALL: [Self; 5] = [
        Self::I686,
        Self::Aarch64,
        Self::Armv7,
        Self::Packed,
        Self::Mdns,
    ];

    /// Builds the files.
    pub fn build(self) -> Result<()> {
        match self {
            Self::I686 => build::build(Arch::I686).map(drop),
            Self::Aarch64 => build::build(Arch::Aarch64).map(drop),
            Self::Armv7 => build::build(Arch::Armv7).map(drop),
            Self::Packed => Arch::NATIVE
                .iter()
                .try_for_each(|&arch| build::build_packed(arch, Role::all()).map(drop)),
            Self::Mdns => build::build_roles(Arch::X86_64, &[Role::MDNS]).map(drop),
        }
    }

    /// The paths of the files once they are built.
    pub fn paths(self) -> Vec<PathBuf> {
        match self {
            Self::Packed => {
                let path = |arch| build::path(arch).with_extension("packed");
                Arch::NATIVE.map(path).into()
            }
            Self::Mdns => vec![build::path_with(Arch::X86_64, &[Role::MDNS])],
            Self::I686 => vec![build::path(Arch::I686)],
            Self::Aarch64 => vec![build::path(Arch::Aarch64)],
            Self::Armv7 => vec![build::path(Arch::Armv7)],
        }
    }
}

fn one() -> f64 {
    1.0
}

impl Suites {
    /// Reads xtask/suites.toml.
    pub fn load() -> Result<Self> {
        let path = workspace_root().join("xtask/suites.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
    }

    /// The suite named `name`. If the file does not list it, a default with a budget of one minute.
    pub fn find(&self, name: &str) -> Suite {
        self.suite.get(name).cloned().unwrap_or(Suite {
            seconds: 60.0,
            share: 0.5,
            together: false,
            alone: false,
            disk: false,
            files: Vec::new(),
            reach: Vec::new(),
        })
    }

    /// Names of all suites.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.suite.keys().map(String::as_str)
    }

    /// Suites that changes of `paths` can make fail; for a path in `near`, only those that it names. None means all: a path is in
    /// `reach_all`, or no suite lists it.
    pub fn affected<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Option<BTreeSet<&str>> {
        let mut affected = BTreeSet::new();
        for path in paths {
            let has_prefix =
                |list: &[String]| list.iter().any(|prefix| path.starts_with(prefix.as_str()));
            let near = self
                .near
                .iter()
                .find(|(prefix, _)| path.starts_with(prefix.as_str()));
            if let Some((_, suites)) = near {
                affected.extend(suites.iter().map(String::as_str));
                continue;
            }
            let mut names = self
                .suite
                .iter()
                .filter(|(_, suite)| has_prefix(&suite.reach))
                .map(|(name, _)| name.as_str())
                .peekable();
            if has_prefix(&self.reach_all) || names.peek().is_none() {
                return None;
            }
            affected.extend(names);
        }
        Some(affected)
    }

    /// Returns the duration of a fixed computation on this machine divided by its duration on the reference machine.
    pub fn slowness(&self) -> f64 {
        calibrate().as_secs_f64() * 1000.0 / self.reference_ms
    }
}

/// Duration of a fixed computation on this machine: integer work and copies of memory, with no instruction that only some processors
/// have. The shortest of several runs, in which no other process ran.
fn calibrate() -> Duration {
    let from = vec![0x5a_u8; 1 << 20];
    let mut to = vec![0; from.len()];
    let mut measure = || {
        let start = Instant::now();
        let mut number = black_box(1_u64);
        for _ in 0..100 {
            to.copy_from_slice(black_box(&from));
            for _ in 0..5_000 {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
            }
        }
        black_box((number, &to));
        start.elapsed()
    };
    (0..10).map(|_| measure()).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_a_budget() -> Result<()> {
        let suites = Suites::load()?;
        let main = fs::read_to_string(workspace_root().join("xtask/tests/main.rs"))?;
        let modules = main
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        for name in modules.chain(["guest", "isos"]) {
            assert!(suites.suite.contains_key(name), "{name} has no budget");
        }
        Ok(())
    }

    #[test]
    fn every_source_affects_a_suite_with_clients() -> Result<()> {
        let suites = Suites::load()?;
        let root = workspace_root();
        let tests = root.join("xtask/tests");
        for entry in walkdir::WalkDir::new(root.join("src")) {
            let entry = entry?;
            let path = entry.path().strip_prefix(&root)?.display().to_string();
            let Some(affected) = suites.affected([&*path].into_iter()) else {
                continue;
            };
            let has_client =
                |name: &str| tests.join(name).exists() || tests.join(format!("{name}.rs")).exists();
            // A suite that lists all of src in `reach` checks the form of the executable, not its behaviour, so such a suite does
            // not count. Sources in src/unpack need no other suite.
            let covers_all =
                |name: &str| suites.find(name).reach.iter().any(|prefix| prefix == "src");
            assert!(
                !entry.file_type().is_file()
                    || path.starts_with("src/unpack")
                    || affected
                        .iter()
                        .any(|name| has_client(name) && !covers_all(name)),
                "{path} affects only {affected:?}, but no suite that tests its behaviour"
            );
        }
        Ok(())
    }

    #[test]
    fn one_shared_or_unlisted_path_affects_all_suites() -> Result<()> {
        let suites = Suites::load()?;
        let affected = |paths: &[&'static str]| suites.affected(paths.iter().copied());
        let of_zone = affected(&["src/engine/mdns/zone.rs"]).context("all suites")?;
        assert!(
            of_zone.contains("mdns") && !of_zone.contains("sftp"),
            "{of_zone:?}"
        );
        assert_eq!(affected(&[]), Some(BTreeSet::new()));
        let of_near = suites.near.values().flatten();
        let unknown = of_near.filter(|name| !suites.suite.contains_key(*name));
        assert_eq!(unknown.count(), 0, "{:?}", suites.near);
        for path in ["Cargo.lock", "something/new.rs"] {
            assert_eq!(affected(&["src/engine/mdns/zone.rs", path]), None, "{path}");
        }
        Ok(())
    }
}
