//! The interface of `meter` in an executable that counts nothing. A meter has no size, so that nothing is passed on.

use super::{Family, Figure, Operation, Outcome, Sheet};
use crate::time::Instant;
use core::net::Ipv6Addr;
use core::sync::atomic::AtomicU32;

/// The meter, which is missing.
#[derive(Debug, Default)]
pub struct Meter;

#[allow(clippy::unused_self, reason = "the interface of meter.rs")]
#[allow(missing_docs, reason = "as in meter.rs")]
impl Meter {
    pub const IDLE: Self = Self;

    pub const fn new(_: Sheet, _: &'static [Sheet], _: fn() -> u64) -> Self {
        Self
    }

    pub const fn sheets(&self) -> &'static [Sheet] {
        &[]
    }

    pub const fn watch_nfs4(&mut self, _: &'static [AtomicU32]) {}

    pub const fn turn(&mut self, _: Instant) {}

    pub const fn serve(&mut self, _: Family, _: u16, _: Instant) {}

    pub const fn received(&mut self, _: usize) {}

    pub const fn sent(&mut self, _: usize) {}

    pub const fn served(&mut self) {}

    pub const fn called(&mut self, _: Option<Operation>, _: Outcome) {}

    pub const fn add(&self, _: Family, _: Figure, _: u64) {}

    pub const fn set(&self, _: Family, _: Figure, _: u64) {}

    pub const fn opened(&self, _: Family, _: Ipv6Addr, _: Instant) -> u16 {
        super::CLIENT_NONE
    }

    pub const fn closed(&self, _: Family, _: u16) {}

    pub const fn mounted(&self, _: Ipv6Addr, _: usize) {}
}
