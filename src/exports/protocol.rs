//! The protocol by which the exports are served.

/// The protocol of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientKind {
    /// Clients have handles, and name their users and groups.
    Nfs,
    /// Clients have paths, and are the export's anonymous user.
    #[cfg(feature = "http")]
    Http,
}

impl ClientKind {
    /// Returns true for NFS.
    pub const fn is_nfs(self) -> bool {
        matches!(self, Self::Nfs)
    }
}
