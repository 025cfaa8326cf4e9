//! Other servers installed on this machine, and their size in bytes: the program's file and every library that it loads.
//!
//! The crate lddtree resolves libraries by the rules of ld.so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lddtree::DependencyAnalyzer;

/// The known servers, a line each.
const KNOWN: &str = include_str!("peers.csv");

/// A server installed on this machine.
pub(crate) struct Peer {
    pub name: &'static str,
    pub purpose: &'static str,
    /// Size of the program's file in bytes.
    pub file: u64,
    /// Size of the program's file, its plug-ins and all libraries, in bytes.
    pub total_bytes: u64,
    /// Number of libraries and plug-ins.
    pub libraries: usize,
}

/// The known servers that are installed on this machine, smallest first.
pub(crate) fn find_installed() -> Result<Vec<Peer>> {
    let is_installed = |path: &&Path| path.is_file();
    let mut peers = Vec::new();
    for line in KNOWN.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.split(';').collect();
        let [name, purpose, places, plugins] = columns[..] else {
            bail!("peers.csv: {line}: expected four columns");
        };
        if let Some(path) = places.split(' ').map(Path::new).find(is_installed) {
            let plugins = plugins.split(' ').map(Path::new).filter(is_installed);
            let size = measure(path, plugins)?;
            peers.push(Peer {
                name,
                purpose,
                ..size
            });
        }
    }
    peers.sort_by_key(|peer| peer.total_bytes);
    Ok(peers)
}

/// Measures the program at `path` with its libraries, and with the `plugins` that it loads at run time. Leaves `name` and `purpose`
/// empty.
fn measure<'a>(path: &'a Path, plugins: impl Iterator<Item = &'a Path>) -> Result<Peer> {
    let mut counted = BTreeSet::new();
    for file in std::iter::once(path).chain(plugins) {
        let needs = || format!("cannot list the libraries of {}", file.display());
        counted.insert(fs::canonicalize(file).with_context(needs)?);
        let tree = DependencyAnalyzer::default().analyze(file);
        for (library, found) in tree.with_context(needs)?.libraries {
            counted.insert(found.realpath.with_context(|| {
                format!("{} needs {library}, which was not found", file.display())
            })?);
        }
    }
    let len = |path: &PathBuf| Ok(fs::metadata(path)?.len());
    Ok(Peer {
        name: "",
        purpose: "",
        file: fs::metadata(path)?.len(),
        total_bytes: counted.iter().map(len).sum::<Result<_>>()?,
        libraries: counted.len() - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_library_of_a_program_counts_once() -> Result<()> {
        let shell = Path::new("/bin/sh");
        let alone = fs::metadata(shell)?.len();
        let peer = measure(shell, std::iter::empty())?;
        assert_eq!(peer.file, alone);
        // The shell loads the C library and the dynamic linker, together more than 1 MB.
        assert!(peer.libraries >= 2 && peer.total_bytes > alone + 1_000_000);
        let twice = measure(shell, std::iter::once(shell))?;
        assert_eq!(
            (twice.total_bytes, twice.libraries),
            (peer.total_bytes, peer.libraries)
        );
        Ok(())
    }
}
