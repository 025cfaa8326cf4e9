//! The task that serves HTTP: by itself, in a process beside NFS, or in the loop of NFS.

use super::Options;
use super::nfs;
use super::urls;
use crate::config::{
    HAS_SERVE, HOST_NAME_BYTES, HTTP_CONNECTION_COUNT_MAX, HTTP_CONNECTION_COUNT_MIN,
    HTTP_IDLE_TIMEOUT, HTTP_REQUEST_TIMEOUT, HTTP_STACK_COUNT_MAX, REPLY_BLOCK_COUNT, REPLY_BYTES,
    REQUEST_BLOCK_COUNT, REQUEST_BYTES,
};
use crate::console::reasons::{self, Reason, reason};
use crate::drive::platform::network::Network;
use crate::drive::service::{Limits, Served, Server, Serving, Times};
use crate::drive::{Tasks, World};
use crate::engine::http::{Http, Script};
use crate::event::{Fatal, Sink};
use crate::exports::{ClientKind, Lookout, Part, Report, Upkeep};
use crate::mem::{self, Ends as _, scaled};
use crate::net::Signals;
use crate::os::daemon;
use crate::os::log_file::LogFile;
use crate::stats;
use crate::sys::{self, Calls, Errno, Needs};
use crate::text::text;
use crate::time::Instant;
use crate::vfs::Tree;
use core::net::SocketAddrV6;

/// The place of the task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// The only task of the server: reports the exports.
    Alone,
    /// In a process of its own, beside that of NFS, which reports the exports.
    Beside,
    /// In the loop of NFS, which keeps the exports.
    Within,
}

impl Kind {
    const fn is_within(self) -> bool {
        HAS_SERVE && matches!(self, Self::Within)
    }
}

/// The server's sockets, log and reports.
struct Role {
    /// True if the process leaves its terminal once it serves.
    detaches: bool,
    /// Listening addresses of files and figures, by the number of the listener, and that of the menu; IPv4 is IPv4-mapped.
    at: [Option<SocketAddrV6>; 3],
    /// The access log.
    log: Option<&'static LogFile>,
    /// The report of the exports, unless another process writes it.
    exported: Option<Report>,
    /// True under `init`: another process reports the URLs.
    leaves_urls: bool,
    /// The looks for the addresses that URLs can name.
    lookout: Lookout,
}

/// The time limits of connections.
const TIMES: Times = Times {
    request: HTTP_REQUEST_TIMEOUT,
    idle: HTTP_IDLE_TIMEOUT,
};

/// Adds the tasks, not started yet, to those of a loop, and the exports to `tree`, unless NFS does. The tasks are never freed.
pub(in super::super) fn add_tasks(
    options: &Options,
    exports: &'static nfs::Options,
    (kind, script): (Kind, Script),
    network: &Network,
    tree: &mut Tree,
    tasks: &mut Tasks,
) -> Result<(), Fatal> {
    let is_within = kind.is_within();
    let mut connection_count = match network.is_own() && is_within {
        true => HTTP_STACK_COUNT_MAX,
        false => HTTP_CONNECTION_COUNT_MAX,
    };
    connection_count = scaled(HTTP_CONNECTION_COUNT_MIN, connection_count);
    let (mut exported, mut names) = (None, None);
    if !is_within {
        let mut upkeep = Upkeep::load(&exports.exports, tree)?;
        let (most, node_count) = nfs::counts(network, tree)?;
        connection_count = connection_count.min(most);
        let part = Part::to_read(ClientKind::Http, sys::has_supervisor(), kind == Kind::Alone);
        #[cfg(bare)]
        nfs::machine::export(&exports.exports, tree)?;
        names = upkeep.open(node_count, part, tree)?;
        exported = Some(upkeep.report()).filter(|_| kind == Kind::Alone);
        let _ = tasks.push(mem::leak(upkeep));
    }
    let log = match options.access_log {
        Some(path) => Some(LogFile::open(path, cannot_log)?),
        None => None,
    };
    let sink = log.map(|log| mem::leak(log) as &'static mut dyn Sink);
    let mut http = Http::new(
        connection_count,
        options.root(exports),
        host_name(network),
        sink,
    );
    http.figures = options.access();
    http.script = script;
    let server = Role {
        detaches: kind == Kind::Alone && exports.background.detaches(),
        at: options.at(exports),
        log,
        exported,
        leaves_urls: exports.leaves_commands,
        lookout: Lookout::new(network.is_own()),
    };
    let served = Served::new(&Limits {
        protocol: stats::Family::Http,
        connection_count,
        request_bytes: REQUEST_BYTES,
        request_count: scaled(1, REQUEST_BLOCK_COUNT),
        reply_bytes: REPLY_BYTES,
        reply_count: scaled(1, REPLY_BLOCK_COUNT),
        held_bytes: 0,
        held_count: 0,
        socket_count: 0,
        datagram_bytes: 0,
        times: Some(TIMES),
    });
    let _ = tasks.push(mem::leak(Serving {
        server,
        served,
        service: http,
    }));
    tasks.extend(names);
    Ok(())
}

/// The name of this host, for the titles of listings.
fn host_name(network: &Network) -> &'static [u8] {
    let given = network.name();
    if !given.is_empty() {
        return given;
    }
    let name = mem::bytes(HOST_NAME_BYTES);
    let len = sys::host_name(name);
    name.head(len)
}

impl Role {
    /// Reports the listeners. With a network stack of our own that has no address yet, those without a URL are reported again when it
    /// has one.
    fn report_listeners(&mut self, http: &Http, world: &mut World<'_>) {
        let is_first = !self.lookout.goes_on();
        let own = match self.leaves_urls {
            true => None,
            false => self.lookout.look(world),
        };
        if own.is_some() || is_first {
            let (is_local, mut at) = (http.figures.networks.is_empty(), self.at);
            urls::report(&mut at, own.as_ref(), is_local, world.events);
            if !self.lookout.goes_on() {
                self.at = at;
            }
        }
    }
}

impl Server<Http> for Role {
    fn start(
        &mut self,
        http: &mut Http,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        world.watch_health();
        for (number, at) in (0..2).zip(&mut self.at) {
            if let Some(at) = at {
                nfs::listen(served, world, at, number)
                    .map_err(|error| cannot_listen(at, nfs::net_errno(error)))?;
            }
        }
        if let Some(exported) = self.exported {
            exported.write(world);
        }
        self.report_listeners(http, world);
        if self.detaches {
            daemon::tell_ready();
        }
        Ok(())
    }

    fn add_needs(&self, needs: &mut Needs) {
        if self.exported.is_some() {
            needs.report_for("http");
        }
        needs.add(Calls::NFS);
        needs.add(Calls::STREAMS);
        if let Some(log) = self.log {
            log.add_needs(needs);
        }
    }

    fn turn(&mut self, http: &mut Http, _: &mut Served, world: &mut World<'_>, signals: Signals) {
        if world.now >= self.lookout.at {
            self.report_listeners(http, world);
        }
        if let Some(log) = self.log.filter(|_| signals.reload)
            && let Err(errno) = log.reopen()
        {
            let what = text!("cannot open the access log again");
            failed(what, log.path(), errno);
        }
    }

    fn poll_at(&self) -> Instant {
        self.lookout.at
    }
}

fn cannot_log(path: &[u8], errno: Errno) -> Fatal {
    failed(text!("cannot write the access log"), path, errno)
}

fn cannot_listen(at: &SocketAddrV6, errno: Errno) -> Fatal {
    let mut line = crate::event::Line::default();
    failed(text!("cannot listen on"), line.socket(at).bytes(), errno)
}

/// Reports that `what` failed on `about`, with the reason of `errno`. Returns exit status 1.
fn failed(what: crate::text::Text, about: &[u8], errno: Errno) -> Fatal {
    reasons::failed(what, about, errno, &REASONS)
}

/// Reasons and advice that are specific to this role.
static REASONS: [Reason; 4] = [
    nfs::NOT_FOLLOWED,
    reason(
        Errno::ADDRINUSE,
        text!("the port is in use; see --http and --metrics"),
    ),
    reason(
        Errno::CONNREFUSED,
        text!("ports below 1024 are for root only; see --http"),
    ),
    reason(
        Errno::ADDRNOTAVAIL,
        text!("this host has no such address; see --http, --metrics and -l"),
    ),
];
