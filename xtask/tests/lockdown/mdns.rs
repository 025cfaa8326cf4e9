//! The mDNS roles under a profile, with avahi on the other host: announced, renamed, browsing, resolving.

use crate::mdns::world::World;
use crate::mdns::{avahi_sees_us, browse, conflicts, resolve};
use anyhow::Result;
use xtask::machines::server::root_for;

/// Runs a test on a link with avahi, if that is possible.
fn with_avahi(profile: &'static str, test: impl Fn(&World) -> Result<()>) -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    test(&World::under(profile)?)
}

pub(super) fn mdns_is_seen_by_avahi(profile: &'static str) -> Result<()> {
    with_avahi(profile, avahi_sees_us)
}

pub(super) fn mdns_name_conflict_is_resolved(profile: &'static str) -> Result<()> {
    with_avahi(profile, conflicts::second_host_is_renamed)
}

pub(super) fn browse_sees_avahi(profile: &'static str) -> Result<()> {
    with_avahi(profile, browse::sees_avahi)
}

pub(super) fn resolve_finds_avahi(profile: &'static str) -> Result<()> {
    with_avahi(profile, resolve::finds_avahi)
}
