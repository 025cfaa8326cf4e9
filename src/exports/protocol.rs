//! The protocol by which the exports are served.

use crate::config::HAS_HTTP;

/// The protocol of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientKind {
    /// Clients have handles, and name their users and groups.
    Nfs,
    /// Clients have paths, and are the export's anonymous user.
    Http,
}

impl ClientKind {
    /// Returns true for NFS.
    pub const fn is_nfs(self) -> bool {
        !HAS_HTTP || matches!(self, Self::Nfs)
    }
}
