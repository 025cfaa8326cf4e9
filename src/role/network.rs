//! The arguments of a role that uses the network: the role's own flags, and those that select the network stack (`--net`).

use super::Fatal;
use super::flags::{Flags, ParsedFlag};
use super::stack;
pub(super) use super::stack::{HELP, check_link};
use crate::drive::platform::network::Network;
use crate::sys::Args;

/// Appends the flags of the network stack to the flags of a role.
pub(super) const fn with(mut own: Flags) -> Flags {
    own.more = stack::FLAGS;
    own
}

/// Parses arguments as [`parse`], and refuses addresses for a network stack that they do not select.
pub(super) fn read(
    flags: &Flags,
    args: Args,
    set: &mut dyn FnMut(ParsedFlag) -> Option<()>,
) -> Result<Network, Fatal> {
    let network = parse(flags, args, set)?;
    stack::check_link(&network)?;
    Ok(network)
}

/// Parses arguments like [`Flags::read`] and returns the network that they select. `flags` must end with the table added by
/// [`with`].
pub(super) fn parse(
    flags: &Flags,
    args: Args,
    set: &mut dyn FnMut(ParsedFlag) -> Option<()>,
) -> Result<Network, Fatal> {
    let mut network = Network::default();
    flags.read(args, &mut |given| match stack::has(given.flag) {
        true => stack::set(&mut network, given),
        false => set(given),
    })?;
    stack::check_gateway(&network.stack)?;
    Ok(network)
}

#[cfg(all(test, all_roles))]
mod tests {
    use super::*;

    const FLAGS: Flags = with(Flags::of(&[], &[]));

    #[test]
    fn off_link_gateway_is_refused() {
        let result = |line| parse(&FLAGS, Args::split(line), &mut |_| Some(())).map(drop);
        assert_eq!(result(b"--ip=192.0.2.1/24 --gw=192.0.2.9"), Ok(()));
        let refused = result(b"--gw=192.0.3.9 --ip=192.0.2.1/24");
        assert_eq!(refused, Err(super::super::USAGE));
    }
}
