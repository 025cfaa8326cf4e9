//! Finds the workspace.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The root directory of the workspace.
///
/// Determined at run time, so that a checkout that was copied together with its target directory builds itself. Under cargo,
/// searches upwards from CARGO_MANIFEST_DIR; otherwise from this executable, which is in the workspace's target directory.
pub fn workspace_root() -> PathBuf {
    let started =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(env::current_exe, |dir| Ok(dir.into()));
    started
        .iter()
        .flat_map(|path| path.ancestors())
        // File::open instead of exists(): some tests forbid the stat calls that exists() makes.
        .find(|dir| File::open(dir.join("xtask/Cargo.toml")).is_ok())
        .map_or_else(PathBuf::new, Path::to_path_buf)
}
