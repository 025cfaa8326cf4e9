//! `--changed COMMIT`: the suites that what changed since then can reach.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::Result;

use super::suites::Suites;
use crate::build::workspace_root;
use crate::setup;

/// Names of suites; None when all may be reached.
pub fn suites(all: &Suites, commit: &str) -> Result<Option<BTreeSet<String>>> {
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        setup::quietly(git.current_dir(workspace_root()).args(args))
    };
    let mut paths = git(&["diff", "--name-only", commit])?;
    paths += &git(&["ls-files", "--others", "--exclude-standard"])?;
    Ok(reached(all, paths.lines()))
}

fn reached<'a>(all: &Suites, paths: impl Iterator<Item = &'a str>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in paths {
        names.extend(all.reaches(path)?.into_iter().map(str::to_owned));
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_that_reaches_all_is_enough_and_none_reach_nothing() -> Result<()> {
        let all = Suites::load()?;
        assert_eq!(reached(&all, [].into_iter()), Some(BTreeSet::new()));
        let paths = ["src/engine/mdns/zone.rs", "Cargo.toml"];
        assert_eq!(reached(&all, paths.into_iter()), None);
        Ok(())
    }
}
