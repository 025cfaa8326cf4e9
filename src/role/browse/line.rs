//! What is printed of an event: for people, for programs as avahi-browse does it, or in JSON.

use super::super::print;
use crate::engine::mdns::browser::{Event, What};
use crate::event::Line;
use crate::text::{Ends as _, Text, text};
use crate::wire::dns::escape::{LABEL_TEXT_BYTES_MAX, escape};
use core::net::IpAddr;

/// How it is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    #[default]
    Columns,
    Fields,
    Json,
}
