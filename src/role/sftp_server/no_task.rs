//! The interface of `task` in an executable without loops for SFTP.

use super::{Fatal, Options};
use crate::drive::platform::network::Network;

/// Never called: no network is the server's own.
pub(super) const fn serve_all(_: &Network, _: &Options) -> Result<(), Fatal> {
    Ok(())
}
