//! The role `nfs`, also called `unfsd`: NFSv3, MOUNT and a built-in portmapper. RFC 1813, RFC 1833.
//!
//! The flags of one letter are those of unfsd(8), except -T and -D.

mod background;
mod common;
#[cfg(bare)]
pub(super) mod machine;
mod options;
mod rpcbind;
mod sockets;
#[cfg_attr(not(any(feature = "nfs4", test)), path = "no_versions.rs")]
mod versions;

use super::{Console, Fatal};
use crate::config::{
    CONNECTION_COUNT_MIN, DATAGRAM_BYTES, DESCRIPTOR_RESERVE, HAS_SERVE, NODE_COUNT_MAX,
    NODE_COUNT_MIN, REPLY_BLOCK_COUNT, REPLY_BYTES, REQUEST_BLOCK_COUNT, REQUEST_BYTES,
};
use crate::console::reasons::{self, Reason, reason};
use crate::drive::platform::network::Network;
use crate::drive::service::{Limits, Served, Server, Serving};
use crate::drive::{Tasks, World, platform};
use crate::engine::sessions::Rpc;
use crate::event::Line;
use crate::exports::{self, ClientKind, Lookout, Mounting, Part, Report, Upkeep};
use crate::log;
use crate::mem::{self, scaled};
use crate::net::{NetError, Signals};
use crate::stats;
use crate::sys::{self, Args, BUILD_ID_BYTES, Calls, Errno, Needs};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::Tree;
use common::{Common, common};
use core::net::SocketAddrV6;
pub(super) use options::{FLAGS, Flag, Options, refuse_port};
use rpcbind::Rpcbind;
pub(super) use rpcbind::end_registration;
use sockets::Sockets;
pub(super) use sockets::{check_ports, listen};
pub(super) use versions::WORD_COUNT;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  nfs --export DIR ...\tserves directories over NFS; also as unfsd\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    versions::HELP,
    #[cfg(feature = "iso")]
    text!(include_str!("isos.txt")),
    super::network::HELP,
];

/// Serves until SIGTERM or SIGINT. `is_unfsd`: in the background, unless `-d` is given.
pub(super) fn run(
    args: Args,
    build_id: &[u8; BUILD_ID_BYTES],
    is_unfsd: bool,
) -> Result<(), Fatal> {
    let options = mem::leak(Options::default());
    options.background.detaches = HAS_SERVE && is_unfsd;
    let network = options.read(args)?;
    let options = &*options;
    let tree = platform::tree();
    if options.tests {
        return exports::show(&options.exports, tree);
    }
    options.check_directories()?;
    let mut serve = || {
        let mut tasks = Tasks::new();
        add_tasks(options, &network, build_id, tree, &mut tasks)?;
        let console = Console::leak();
        platform::serve("nfs", &network, &mut tasks, tree, console, Signals::RELOAD)
    };
    options.background.run(&mut serve)
}

/// Adds the server's tasks, not started yet, to those of a loop, and the exports to `tree`. The tasks are never freed.
pub(super) fn add_tasks(
    options: &'static Options,
    network: &Network,
    build_id: &[u8; BUILD_ID_BYTES],
    tree: &mut Tree,
    tasks: &mut Tasks,
) -> Result<(), Fatal> {
    if let Some(path) = options.trace {
        sys::trace_to(path, build_id)
            .map_err(|errno| failed(text!("cannot write traces to"), path.to_bytes(), errno))?;
    }
    let mut upkeep = Upkeep::load(&options.exports, tree)?;
    let (connection_count, node_count) = counts(network, tree)?;
    let Common {
        mut programs,
        version_4,
        is_shared,
        is_kept,
        results,
        was_used,
        is_first,
        registered,
        removals,
    } = common(options, connection_count, tree)?;
    let part = Part {
        protocol: ClientKind::Nfs,
        is_shared,
        was_used,
        is_kept,
        is_first,
        results,
        removals,
    };
    #[cfg(bare)]
    machine::export(&options.exports, tree)?;
    let names = upkeep.open(node_count, part, tree)?;
    programs.set_listener(*options.address.ip());
    let mut limits = limits(connection_count);
    options.versions.limit(&mut limits);
    options.versions.offer(&mut programs, tree, version_4);
    let server = Nfs {
        options,
        is_shared,
        is_first,
        exported: upkeep.report(),
        rpcbind: Rpcbind::new(registered, network.is_own()),
        mounting: None,
        lookout: Lookout::new(network.is_own()),
    };
    let _ = tasks.push(mem::leak(upkeep));
    let _ = tasks.push(mem::leak(Serving {
        server,
        served: Served::new(&limits),
        service: Rpc::new(programs, connection_count),
    }));
    tasks.extend(names);
    Ok(())
}

/// The limits of the server.
fn limits(connection_count: usize) -> Limits {
    Limits {
        protocol: stats::Family::Rpc,
        connection_count,
        request_bytes: REQUEST_BYTES,
        request_count: scaled(1, REQUEST_BLOCK_COUNT),
        reply_bytes: REPLY_BYTES,
        reply_count: scaled(1, REPLY_BLOCK_COUNT),
        held_bytes: 0,
        held_count: 0,
        socket_count: sockets::SOCKET_COUNT,
        datagram_bytes: DATAGRAM_BYTES,
        times: None,
    }
}

/// Divides the descriptors: returns the limits of connections and of open files.
pub(super) fn counts(network: &Network, tree: &Tree) -> Result<(usize, usize), Fatal> {
    let descriptors = sys::raise_descriptor_limit();
    // With a small RLIMIT_NOFILE, at most half of the descriptors is reserved for exports, listeners and the like.
    let reserve = DESCRIPTOR_RESERVE + tree.exports().len();
    let spare = descriptors - reserve.min(descriptors / 2);
    let node_count = (spare / 4).clamp(
        NODE_COUNT_MIN,
        NODE_COUNT_MIN.max(scaled(1, NODE_COUNT_MAX)),
    );
    let connection_count = spare
        .saturating_sub(node_count)
        .min(scaled(CONNECTION_COUNT_MIN, network.connection_count_max()));
    if connection_count == 0 {
        return Err(failed(text!("cannot accept clients"), b"", Errno::MFILE));
    }
    log::info!(
        "up to {=usize} connections and {=usize} open files",
        connection_count,
        node_count
    );
    Ok((connection_count, node_count))
}

/// The server's sockets, registrations and reports.
struct Nfs {
    options: &'static Options,
    /// True if there are several NFS processes.
    is_shared: bool,
    /// True in the first NFS process, which alone reports exports and ports.
    is_first: bool,
    exported: Report,
    rpcbind: Rpcbind,
    /// The commands that mount the exports, until they are reported.
    mounting: Option<Mounting>,
    /// The looks for an address that the commands can name.
    lookout: Lookout,
}

impl Server<Rpc> for Nfs {
    fn start(
        &mut self,
        rpc: &mut Rpc,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        world.stats.watch_nfs4(rpc.programs.nfs4_counts());
        let (options, processes) = (self.options, [self.is_shared, self.is_first]);
        let (port, state_dir) = (options.address.port(), options.exports.state_dir);
        let versions = options.versions;
        versions.keep_records(port, state_dir, &mut rpc.programs, processes, world);
        self.open_sockets(Sockets { rpc, served }, world)
    }

    fn add_needs(&self, needs: &mut Needs) {
        if self.is_first {
            needs.report_for("nfs");
        }
        needs.add(Calls::NFS);
        needs.add(Calls::STREAMS);
        needs.add(Calls::DATAGRAMS);
        if self.rpcbind.connects_at_end() {
            needs.add(Calls::CONNECT);
        }
    }

    fn turn(&mut self, rpc: &mut Rpc, _: &mut Served, world: &mut World<'_>, signals: Signals) {
        if signals.reload {
            for number in 0..world.tree.exports().len() {
                if world.tree.take_ended_export(number) {
                    rpc.programs.end_export(number);
                }
            }
        }
        #[cfg(bare)]
        machine::report_stalled_disk(world.events);
        if world.now >= self.lookout.at {
            self.report_commands(world);
        }
    }

    fn poll_at(&self) -> Instant {
        self.lookout.at
    }

    fn stop(&mut self, _: &mut World<'_>) {
        self.rpcbind.end();
    }
}

fn cannot_listen(at: &SocketAddrV6, errno: Errno) -> Fatal {
    let mut line = Line::default();
    let about = line.socket(at).bytes();
    failed(text!("cannot listen on"), about, errno)
}

/// Reports that `what` failed on `about`, with the reason of `errno`. Returns exit status 1.
fn failed(what: Text, about: &[u8], errno: Errno) -> Fatal {
    reasons::failed(what, about, errno, &REASONS)
}

/// Reason for a log whose path is a link that the server does not follow.
pub(super) const NOT_FOLLOWED: Reason = reason(
    Errno::NOLINK,
    text!("a symbolic link of another user, which could lead to any file"),
);

/// Reasons and advice that are specific to this role.
static REASONS: [Reason; 5] = [
    NOT_FOLLOWED,
    reason(Errno::BUSY, text!("a running server has locked it")),
    reason(
        Errno::ADDRINUSE,
        text!("the port is in use; see -n, -m and -p"),
    ),
    reason(
        Errno::CONNREFUSED,
        text!("ports below 1024 are for root only; see -n, -m and -p"),
    ),
    reason(
        Errno::ADDRNOTAVAIL,
        text!("this host has no such address; see -l"),
    ),
];

/// Returns the errno whose reason describes a network error.
#[inline(never)] // −43 bytes: three callers.
pub(super) const fn net_errno(error: NetError) -> Errno {
    match error {
        NetError::InUse => Errno::ADDRINUSE,
        NetError::Denied => Errno::CONNREFUSED,
        NetError::NoSuchAddress => Errno::ADDRNOTAVAIL,
        NetError::Full => Errno::NFILE,
        // No errno of Linux, so that none is printed.
        _ => Errno::from_raw_os_error(255),
    }
}

#[cfg(test)]
mod tests;
