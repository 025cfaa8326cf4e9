//! `serve`: every role that has something to do, each in a process of its own. Takes the options of `nfs`.

use super::{Console, Status, nfs, print};
use crate::drive::supervisor::{self, Role};
use crate::event::Events;
use crate::sys::frames::BUILD_ID_BYTES;
use crate::sys::start::Args;
use alloc::boxed::Box;

pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Status> {
    // Wrong usage is said once, by the supervisor.
    let Some(options) = nfs::Options::parse(args)? else {
        return print(nfs::HELP);
    };
    let serve = || nfs::serve(&options, build_id).err().unwrap_or(0);
    let mut role = Role::new("nfs", &serve);
    match supervisor::run(&mut role, &mut Events::new(Box::new(Console))) {
        0 => Ok(()),
        status => Err(status),
    }
}
