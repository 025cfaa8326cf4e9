//! `serve`: every role that has something to do, each in a process of its own. Takes the options of `nfs`.

use super::{Console, DONE, Status, nfs};
use crate::drive::supervisor::{self, Role};
use crate::event::Events;
use crate::sys::frames::BUILD_ID_BYTES;
use crate::text::{Text, text};
use core::mem::ManuallyDrop;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text =
    text!("  serve --export DIR ...\tthe same, started again when it ends\n");

#[inline(never)]
pub(super) fn run(options: &nfs::Options, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Status> {
    let serve = || nfs::run(options, build_id).err().unwrap_or(DONE);
    let mut events = ManuallyDrop::new(Events::to(Console::leak()));
    match supervisor::run(&mut Role::new("nfs", &serve), &mut events) {
        DONE => Ok(()),
        status => Err(status),
    }
}
