//! `--changed COMMIT`: selects the test suites that the changes since COMMIT can affect.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::Result;

use super::suites::Suites;
use crate::build::workspace_root;
use crate::setup;

/// Returns the names of the suites that may be affected by changed or untracked files. None: all suites may be affected.
pub fn suites(all: &Suites, commit: &str) -> Result<Option<BTreeSet<String>>> {
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        setup::run_captured(git.current_dir(workspace_root()).args(args))
    };
    let mut paths = git(&["diff", "--name-only", commit])?;
    paths += &git(&["ls-files", "--others", "--exclude-standard"])?;
    Ok(affected(all, paths.lines()))
}

fn affected<'a>(all: &Suites, paths: impl Iterator<Item = &'a str>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in paths {
        names.extend(all.affected_by(path)?.into_iter().map(str::to_owned));
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shared_path_affects_all_suites() -> Result<()> {
        let all = Suites::load()?;
        assert_eq!(affected(&all, [].into_iter()), Some(BTreeSet::new()));
        let paths = ["src/engine/mdns/zone.rs", "Cargo.toml"];
        assert_eq!(affected(&all, paths.into_iter()), None);
        Ok(())
    }
}
