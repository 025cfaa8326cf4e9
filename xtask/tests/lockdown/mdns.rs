//! The mDNS roles under a profile, with avahi on the other host: announced, renamed, browsing, resolving.

use super::Host;
use crate::mdns::world::World;
use crate::mdns::{avahi_sees_us, browse, conflicts, resolve};
use anyhow::Result;
use xtask::machines::server::root_for;

/// Runs a test on a link with avahi, if that is possible.
fn with_avahi(host: Host, test: impl Fn(&World) -> Result<()>) -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    test(&World::under(host.profile, host.arch)?)
}

pub(super) fn mdns_is_seen_by_avahi(host: Host) -> Result<()> {
    with_avahi(host, avahi_sees_us)
}

pub(super) fn mdns_name_conflict_is_resolved(host: Host) -> Result<()> {
    with_avahi(host, conflicts::second_host_is_renamed)
}

pub(super) fn browse_sees_avahi(host: Host) -> Result<()> {
    with_avahi(host, browse::sees_avahi)
}

pub(super) fn resolve_finds_avahi(host: Host) -> Result<()> {
    with_avahi(host, resolve::finds_avahi)
}
