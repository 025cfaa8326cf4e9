//! What only a host with processes has: loops over its own sockets or over a stack of our own, the supervisor that forks them, a
//! process for each connection, sessions on standard input and output.

#[cfg(feature = "check")]
pub mod client;
#[cfg(feature = "browse")]
pub mod exec;
#[cfg(any(feature = "mdns", feature = "browse", feature = "nfs"))]
pub mod files;
#[cfg(feature = "init")]
pub mod init;
#[cfg(feature = "serve")]
pub mod loops;
pub mod network;
#[cfg(feature = "sftp-server")]
pub mod per_connection;
#[cfg(feature = "smol")]
pub mod stack;
#[cfg(feature = "sftp-server")]
pub mod stdio;
#[cfg(feature = "serve")]
pub mod supervisor;
#[cfg(feature = "sftp-server")]
pub mod syslog;

#[cfg(feature = "sftp-server")]
pub use crate::sys::linux::sandbox::{restrict_to, set_undumpable};

use super::{Loop, Task};
use crate::config::{RX_BYTES, TX_BYTES};
use crate::event::{Events, Fatal, Sink};
use crate::mem;
use crate::net::Signals;
use crate::sys;
use crate::sys::linux::process;
use crate::vfs::Tree;
use network::Network;

/// A tree without anything in it, which lasts as long as the process. It is made here, and not beside the code of the tree, which
/// roles without files would have in memory with it (linker/stowaway.ld).
#[inline(never)]
pub fn tree() -> &'static mut Tree {
    mem::leak(Tree::default())
}

/// Runs tasks that need no files, as [`serve`].
///
/// # Errors
/// As [`serve`].
#[cfg(any(feature = "multicast", feature = "browse"))]
pub fn run(
    network: &Network,
    tasks: &mut [&mut dyn Task],
    sink: &'static mut dyn Sink,
    signals: Signals,
) -> Result<(), Fatal> {
    serve(network, tasks, tree(), sink, signals)
}

/// Runs tasks over this network and these files until the process is asked to stop, or one of them ends the loop. What they tell
/// goes to `sink`; `signals` are those they want to be told of beside that.
///
/// # Errors
/// The status to exit with, after it was said why.
#[inline(never)]
pub fn serve(
    network: &Network,
    tasks: &mut [&mut dyn Task],
    tree: &mut Tree,
    sink: &'static mut dyn Sink,
    signals: Signals,
) -> Result<(), Fatal> {
    let signals = match sys::is_bare() {
        true => None,
        false => process::signals(signals.reload, signals.child),
    };
    let net = network.open(signals, sink)?;
    let (rx, tx) = (mem::bytes(RX_BYTES), mem::bytes(TX_BYTES));
    let mut events = Events::to(sink);
    Loop::new(net, tree, tasks, &mut events, rx, tx, sys::now()).run()
}

/// Gives up the privilege of filling a disk beyond its quotas: clients have none.
#[cfg(feature = "nfs")]
pub fn obey_quotas() {
    crate::sys::linux::fsuid::obey_quotas();
}
