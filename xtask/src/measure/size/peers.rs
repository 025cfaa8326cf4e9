//! Other servers installed on this machine, and their size in bytes: the program's file and every library that it loads.
//!
//! The crate lddtree resolves libraries by the rules of ld.so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lddtree::DependencyAnalyzer;

/// Name, purpose, possible paths, and the paths of plug-ins that the program loads with dlopen and cannot serve without.
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
pub(super) fn find_installed() -> Result<Vec<Peer>> {
    let is_installed = |path: &&Path| path.is_file();
    let mut peers = Vec::new();
    for (name, purpose, places, plugins) in KNOWN {
        if let Some(path) = places.iter().map(Path::new).find(is_installed) {
            let plugins = plugins.iter().map(Path::new).filter(is_installed);
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
pub(crate) fn measure<'a>(path: &'a Path, plugins: impl Iterator<Item = &'a Path>) -> Result<Peer> {
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

    #[test]
    fn missing_library_is_named_in_the_error() -> Result<()> {
        let name = b"libc.so.6";
        let mut shell = fs::read("/bin/sh")?;
        let offset = shell.windows(name.len()).position(|it| it == name);
        shell[offset.context("/bin/sh does not name libc.so.6")?] = b'x';
        let changed = tempfile::NamedTempFile::new()?;
        fs::write(changed.path(), shell)?;
        let why = measure(changed.path(), std::iter::empty()).err();
        let why = why.map(|why| why.to_string()).unwrap_or_default();
        assert!(why.contains("xibc.so.6, which was not found"), "{why}");
        Ok(())
    }
}
