//! The arguments of a role with a network: its own, and those that say which network.

use super::Fatal;
use super::flags::{Flags, Given};
#[cfg(feature = "smol")]
use super::stack;
use crate::drive::platform::network::Network;
use crate::sys::Args;

/// A role's own flags, and those of a network behind them.
#[cfg_attr(not(feature = "smol"), expect(unused_mut))]
pub(super) const fn with(mut own: Flags) -> Flags {
    #[cfg(feature = "smol")]
    {
        own.more = Some(&stack::FLAGS);
    }
    own
}

/// Reads arguments as [`Flags::read`]; the network that they ask for. `flags` end with those of [`with`].
#[cfg(feature = "smol")]
pub(super) fn read(
    flags: &Flags,
    args: Args,
    set: &mut dyn FnMut(Given) -> Option<()>,
) -> Result<Network, Fatal> {
    let mut network = Network::default();
    let last = core::iter::successors(flags.more, |flags| flags.more).count();
    flags.read(args, &mut |given| match given.table == last {
        true => stack::set(&mut network, given),
        false => set(given),
    })?;
    Ok(network)
}

/// As [`Flags::read`]: there is one network alone.
#[cfg(not(feature = "smol"))]
pub(super) fn read(
    flags: &Flags,
    args: Args,
    set: &mut dyn FnMut(Given) -> Option<()>,
) -> Result<Network, Fatal> {
    flags.read(args, set)?;
    Ok(Network::default())
}
