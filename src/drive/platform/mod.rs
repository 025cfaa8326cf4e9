//! The platform of a loop: a host with processes, or a machine without an operating system.
//!
//! `network` opens the kernel's sockets or our own stack (`stack`); `host` needs processes; `machine` has the disks of a machine
//! without an operating system.

pub mod host;
#[cfg(bare)]
pub mod machine;
pub mod network;
#[cfg_attr(not(feature = "smol"), path = "no_stack.rs")]
pub mod stack;

use super::{Loop, TASK_COUNT_MAX, Task};
use crate::config::{RX_BYTES, TX_BYTES, TX_BYTES_MIN};
use crate::event::{Events, Fatal, Sink};
use crate::mem;
use crate::net::Signals;
use crate::stats::Meter;
use crate::sys::linux::process;
use crate::sys::{self, Calls, Needs};
use crate::vfs::Tree;
use network::Network;

/// Creates an empty tree with static lifetime. It is in this module, not in `vfs`, so that roles without files do not load the
/// tree's code pages (linker/stowaway.ld).
pub fn tree() -> &'static mut Tree {
    mem::leak(Tree::default())
}

/// Runs tasks that need no files, as [`serve`].
///
/// # Errors
/// As [`serve`].
pub fn run(
    role: &'static str,
    network: &Network,
    tasks: &mut [&mut dyn Task],
    sink: &'static mut dyn Sink,
    signals: Signals,
) -> Result<(), Fatal> {
    serve(role, network, tasks, tree(), sink, signals)
}

/// Runs tasks until the process gets a signal to stop, or a task ends the loop. `role` is the name under which the process counts;
/// empty: it does not. Events go to `sink`; `signals` are additional
/// signals that the tasks handle.
///
/// # Errors
/// The exit status; the reason is already reported.
pub fn serve(
    role: &'static str,
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
    let tx_bytes = mem::scaled(TX_BYTES_MIN, TX_BYTES);
    let (rx, tx) = (mem::bytes(RX_BYTES), mem::bytes(tx_bytes));
    let mut events = Events::to(sink);
    let mut all = heapless::Vec::<&mut dyn Task, TASK_COUNT_MAX>::new();
    for task in tasks {
        let _ = all.push(&mut **task);
    }
    let stats = mem::leak(Meter::IDLE);
    if let Some((meter, status)) = host::status::start(role) {
        *stats = meter;
        if !sys::is_bare() {
            let _ = all.push(status);
        }
    }
    let mut serving = Loop::new(
        net,
        tree,
        &mut all,
        &mut events,
        [rx, tx],
        stats,
        sys::now(),
    );
    if let Some(beats) = host::supervisor::beats() {
        serving.set_beats(beats);
    }
    serving.start()?;
    if !sys::is_bare() {
        let mut needs = Needs::none();
        if network.is_own() {
            needs.add(Calls::LINK);
        }
        serving.confine(needs);
    }
    serving.run()
}
