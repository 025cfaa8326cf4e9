//! `serve`: every role that has something to do, each in a process of its own. Takes the options of `nfs`.

use super::{Failure, Outcome, nfs, print};
use crate::drive::supervisor::{self, Role};
use crate::event::{Events, Line};
use crate::sys::frames::BUILD_ID_BYTES;
use crate::sys::start::Args;
use crate::sys::stdio::Stdio;
use alloc::boxed::Box;

pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Outcome {
    // Wrong usage is said once, by the supervisor.
    let options = match nfs::Options::parse(args, "serve")? {
        nfs::Parsed::Options(options) => options,
        nfs::Parsed::Shown(text) => return print(text),
    };
    let nfs = Role {
        name: "nfs",
        run: &|| super::status(nfs::serve(&options, build_id)),
    };
    let mut events = Events::new(Box::new(Stdio::error()));
    match supervisor::run(&[nfs], &mut events) {
        0 => Ok(()),
        // The role has said why.
        status => Err(Failure {
            status,
            line: Line::default(),
        }),
    }
}
