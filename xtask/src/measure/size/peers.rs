//! Other servers that are found on this machine, and what they weigh: their file, and every library that it needs.
//!
//! Libraries are found as ld.so finds them, by the crate lddtree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lddtree::DependencyAnalyzer;

/// Name, what it does, where it may be; then what it opens while it runs, without which it does nothing.
type Known = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const KNOWN: [Known; 9] = [
    (
        "OpenSSH's sftp-server",
        "SFTP",
        &[
            "/usr/lib/openssh/sftp-server",
            "/usr/libexec/sftp-server",
            "/usr/lib/ssh/sftp-server",
        ],
        &[],
    ),
    (
        "unfsd",
        "NFS 3",
        &["/usr/sbin/unfsd", "/usr/bin/unfsd"],
        &[],
    ),
    (
        "nfs-ganesha",
        "NFS 3 and 4",
        &["/usr/bin/ganesha.nfsd", "/usr/sbin/ganesha.nfsd"],
        &[
            "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so",
            "/usr/lib64/ganesha/libfsalvfs.so",
        ],
    ),
    (
        "rpc.mountd",
        "of the kernel's NFS server: MOUNT alone",
        &["/usr/sbin/rpc.mountd"],
        &[],
    ),
    (
        "rpcbind",
        "portmapper alone",
        &["/usr/sbin/rpcbind", "/sbin/rpcbind"],
        &[],
    ),
    (
        "avahi-daemon",
        "announcements",
        &["/usr/sbin/avahi-daemon"],
        &[],
    ),
    ("dropbear", "SSH without SFTP", &["/usr/sbin/dropbear"], &[]),
    (
        "busybox",
        "tools, no NFS, no SFTP",
        &["/usr/bin/busybox", "/bin/busybox"],
        &[],
    ),
    (
        "rclone",
        "SFTP, NFS and much else",
        &["/usr/bin/rclone"],
        &[],
    ),
];

/// A server on this machine.
pub(crate) struct Peer {
    pub name: &'static str,
    pub what: &'static str,
    /// Bytes of its own file.
    pub file: u64,
    /// Bytes of that and all that it needs.
    pub all: u64,
    /// How many libraries that are.
    pub libraries: usize,
}

/// Those that are here; the smallest first.
pub(super) fn found() -> Result<Vec<Peer>> {
    let is_there = |path: &&Path| path.is_file();
    let mut peers = Vec::new();
    for (name, what, places, opened) in KNOWN {
        if let Some(path) = places.iter().map(Path::new).find(is_there) {
            let opened = opened.iter().map(Path::new).filter(is_there);
            let weight = weigh(path, opened)?;
            peers.push(Peer {
                name,
                what,
                ..weight
            });
        }
    }
    peers.sort_by_key(|peer| peer.all);
    Ok(peers)
}

/// What a program weighs that opens these while it runs; it has no name yet.
pub(crate) fn weigh<'a>(path: &'a Path, opened: impl Iterator<Item = &'a Path>) -> Result<Peer> {
    let mut counted = BTreeSet::new();
    for file in std::iter::once(path).chain(opened) {
        let needs = || format!("cannot tell what {} needs", file.display());
        counted.insert(fs::canonicalize(file).with_context(needs)?);
        let tree = DependencyAnalyzer::default().analyze(file);
        for (library, found) in tree.with_context(needs)?.libraries {
            counted.insert(found.realpath.with_context(|| {
                format!("{} needs {library}, and it is not found", file.display())
            })?);
        }
    }
    let len = |path: &PathBuf| Ok(fs::metadata(path)?.len());
    Ok(Peer {
        name: "",
        what: "",
        file: fs::metadata(path)?.len(),
        all: counted.iter().map(len).sum::<Result<_>>()?,
        libraries: counted.len() - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_weighed_with_its_libraries_each_once() -> Result<()> {
        let shell = Path::new("/bin/sh");
        let alone = fs::metadata(shell)?.len();
        let peer = weigh(shell, std::iter::empty())?;
        assert_eq!(peer.file, alone);
        // The C library and what links it.
        assert!(peer.libraries >= 2 && peer.all > alone + 1_000_000);
        let twice = weigh(shell, std::iter::once(shell))?;
        assert_eq!((twice.all, twice.libraries), (peer.all, peer.libraries));
        Ok(())
    }

    #[test]
    fn a_library_that_is_not_there_is_told() -> Result<()> {
        let name = b"libc.so.6";
        let mut shell = fs::read("/bin/sh")?;
        let at = shell.windows(name.len()).position(|it| it == name);
        shell[at.context("the shell needs no C library")?] = b'x';
        let other = tempfile::NamedTempFile::new()?;
        fs::write(other.path(), shell)?;
        let why = weigh(other.path(), std::iter::empty()).err();
        let why = why.map(|why| why.to_string()).unwrap_or_default();
        assert!(why.contains("xibc.so.6, and it is not found"), "{why}");
        Ok(())
    }
}
