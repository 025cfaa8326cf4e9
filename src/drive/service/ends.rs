//! The ends of jobs and of peers.

use super::Served;
use crate::drive::task::World;
use crate::engine::service::{ConnectionId, Service};
use crate::net::Socket;
use crate::vfs::Tree;

impl Served {
    /// Returns true if a job has ended that a connection may wait for.
    pub(super) fn may_have_ended(&self, tree: &Tree) -> bool {
        self.group.has_ended() || tree.ended_count() != self.heard_count
    }
}

/// Lets the service know that the peer has ended the connection.
pub(super) fn pass_end(
    world: &mut World<'_>,
    service: &mut dyn Service,
    id: ConnectionId,
    socket: Socket,
) {
    let net = &mut *world.net;
    service.ended_by_peer(id, &mut || net.has_delivered(socket));
}
