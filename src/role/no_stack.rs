//! The options of the built-in network stack in an executable without it.

use super::flags::{Flags, ParsedFlag};
use super::{AnyFlag, Fatal};
use crate::drive::platform::network::Network;
use crate::drive::platform::stack::Stack;
use crate::text::Text;

/// No line of `--help`.
pub(super) const HELP: Text = Text::NOTHING;
pub(super) const FLAGS: Option<&Flags> = None;

pub(super) const fn has(_: AnyFlag) -> bool {
    false
}

pub(super) const fn set(_: &mut Network, _: ParsedFlag) -> Option<()> {
    None
}

pub(super) const fn check_gateway(_: &Stack) -> Result<(), Fatal> {
    Ok(())
}

pub(super) const fn check_link(_: &Network) -> Result<(), Fatal> {
    Ok(())
}
