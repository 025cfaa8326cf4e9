//! Host names in exports: reads /etc/hosts and /etc/resolv.conf at the start and at SIGHUP, and runs the resolver beside the server.

use crate::console::Console;
use crate::event::Fatal;

use super::{REASONS, Wanted};
use crate::config::{
    HOST_NAME_BYTES, HOSTS_FILE, KEY_DIRECTORY, NAME_RESULTS_BYTES, NAME_RESULTS_BYTES_MIN,
    NAME_SOCKET_COUNT, NAME_TEST_WAIT, NAMES_FILE, NAMES_FILE_PAUSE, RESOLV_CONF_BYTES_MAX,
    RESOLV_CONF_FILE,
};
use crate::console::reasons;
use crate::drive::platform::network::Network;
use crate::drive::service::{Limits, Served, Server, Serving};
use crate::drive::{Task, World, platform};
use crate::engine::names::Resolver;
use crate::mem::{self, Ends as _, Twin, scaled};
use crate::net::{Interfaces, Signals};
use crate::os::files::{Directory, StateFile};
use crate::sys::{self, Calls, Errno, Needs};
use crate::text::text;
use crate::time::Instant;
use crate::vfs::{FileId, Job, JobId, Tree};
use crate::wire::label::cut;
use crate::wire::resolv_conf::Config;
use core::ffi::CStr;
use core::net::IpAddr;
use core::sync::atomic::AtomicU32;

/// The sockets and files of the resolver of a server whose exports may have names. Its task follows those whose calls wait for it.
pub(super) struct Names {
    /// The exports, and the directory of state, if one was given. `None`: no server runs (`-T`).
    wanted: Option<&'static Wanted>,
    /// True if the process has a supervisor, and a sandbox that allows only the files of its start.
    ends_to_widen: bool,
    /// The interfaces at the start: the sandbox does not list them later.
    interfaces: Interfaces,
    /// The host name at the start: the sandbox does not allow uname later.
    host_name: [u8; HOST_NAME_BYTES],
    host_name_len: usize,
    /// True in the first NFS process, which alone reports.
    is_first: bool,
    /// The last results, for the server that replaces this one.
    results: &'static mut Twin,
    /// A file with them, for a server that is started after the end of this one.
    file: Option<StateFile>,
    /// Time of the next write to it, and of the last one.
    save_at: Instant,
    saved_at: Instant,
}

/// Makes the task if the exports may have host names. `ends_to_widen`: see [`Names`].
pub(super) fn task(
    room: usize,
    is_first: bool,
    results: Option<&'static mut Twin>,
    wanted: &'static Wanted,
    ends_to_widen: bool,
) -> Option<&'static mut dyn Task> {
    if room == 0 || sys::is_bare() {
        return None;
    }
    let mut names = Names::new(is_first, results);
    (names.wanted, names.ends_to_widen) = (Some(wanted), ends_to_widen);
    Some(serving(names, room, is_first))
}

/// Makes the task of the resolver.
fn serving<R: Server<Resolver> + 'static>(
    server: R,
    room: usize,
    is_first: bool,
) -> &'static mut dyn Task {
    let mut seed = [0; 16];
    sys::entropy(&mut seed);
    mem::leak(Serving {
        server,
        served: Served::new(&Limits::DATAGRAMS),
        service: Resolver::new(seed, room, is_first),
    })
}

impl Names {
    fn new(is_first: bool, results: Option<&'static mut Twin>) -> Self {
        Self {
            wanted: None,
            ends_to_widen: false,
            interfaces: Interfaces::default(),
            host_name: [0; _],
            host_name_len: 0,
            is_first,
            results: results.unwrap_or_else(|| {
                let bytes = mem::bytes(scaled(NAME_RESULTS_BYTES_MIN, NAME_RESULTS_BYTES));
                mem::leak(Twin::new(mem::leak(AtomicU32::new(0)), bytes))
            }),
            file: None,
            save_at: Instant::NEVER,
            saved_at: Instant::NEVER,
        }
    }

    /// Reads the files again, and begins the look-ups of all names.
    ///
    /// # Errors
    /// EACCES: the sandbox does not allow a file that was replaced.
    fn reload(&self, resolver: &mut Resolver, world: &mut World<'_>) -> Result<(), Errno> {
        let read = self.read_files(resolver);
        resolver.restart(world.now, world.tree);
        read
    }

    /// The own addresses from which multicast questions are sent: of each running interface one of IPv4 and one of IPv6.
    fn set_links(&self, resolver: &mut Resolver) {
        let linked = self.interfaces.iter();
        let linked = linked.filter(|one| one.is_multicast && one.is_running);
        let mut links = linked.flat_map(|one| {
            let of_v4 = one.addresses.iter().find(|(own, _)| own.is_ipv4());
            let is_link_local =
                |own: &IpAddr| matches!(own, IpAddr::V6(own) if own.is_unicast_link_local());
            let of_v6 = one.addresses.iter().find(|(own, _)| is_link_local(own));
            let both = of_v4.into_iter().chain(of_v6);
            both.map(|(own, _)| (*own, one.index))
        });
        resolver.set_links(&mut links);
    }
}

impl Server<Resolver> for Names {
    /// Opens the sockets, reads the files and begins the look-ups.
    fn start(
        &mut self,
        resolver: &mut Resolver,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        let is_confinable = |wanted: &'static Wanted| wanted.is_confinable(world.tree);
        self.ends_to_widen &= self.wanted.is_some_and(is_confinable);
        world.net.interfaces(&mut self.interfaces);
        self.host_name_len = sys::host_name(&mut self.host_name);
        let port = &mut || resolver.random_port();
        let count = served.bind_pool(world, 0, NAME_SOCKET_COUNT, false, port);
        resolver.set_socket_count(count.into());
        self.set_links(resolver);
        // A file that cannot be read is reported, and counts as empty.
        let _ = self.reload(resolver, world);
        self.restore(world);
        Ok(())
    }

    fn add_needs(&self, needs: &mut Needs) {
        needs.add(Calls::DATAGRAMS);
        needs.add_file(HOSTS_FILE);
        needs.add_file(RESOLV_CONF_FILE);
    }

    fn turn(
        &mut self,
        resolver: &mut Resolver,
        _: &mut Served,
        world: &mut World<'_>,
        signals: Signals,
    ) {
        if signals.reload
            && self.reload(resolver, world) == Err(Errno::ACCESS)
            && self.ends_to_widen
        {
            world.exit = Some(Fatal::Done);
        }
        if world.tree.take_new_peer() {
            resolver.wake(world.now);
        }
        if resolver.take_progress() {
            world.tree.end_job(JobId::NAMES);
            let started = started(world.now);
            let save = &mut |out: &mut [u8]| Resolver::save(started, world.tree, out);
            self.results.replace(save);
            if self.is_first && self.file.is_some() {
                self.save_at = self.saved_at.after(NAMES_FILE_PAUSE);
            }
        }
        if world.now >= self.save_at {
            self.save(world, true);
        }
    }

    fn poll_at(&self) -> Instant {
        self.save_at
    }

    /// Saves the last results before the process ends.
    fn stop(&mut self, world: &mut World<'_>) {
        if self.save_at != Instant::NEVER {
            self.save(world, false);
        }
    }
}

/// Returns the time when this host started (s since 1970).
fn started(now: Instant) -> i64 {
    let (secs, _) = sys::wall_clock();
    secs - i64::from(now.secs())
}

impl Names {
    /// Uses the results of an earlier server until the look-ups have ended: of one that was killed, else those in the file.
    fn restore(&mut self, world: &mut World<'_>) {
        let state_dir = self.wanted.and_then(|wanted| wanted.state_dir);
        let path = state_dir.unwrap_or(KEY_DIRECTORY);
        let opened = Directory::open(path).and_then(|dir| StateFile::open(&dir, NAMES_FILE));
        if let (Err(errno), Some(path), true) = (&opened, state_dir, self.is_first) {
            let what = text!("host names are not kept");
            reasons::failed(what, path.to_bytes(), *errno, &REASONS);
        }
        self.file = opened.ok();
        self.saved_at = world.now;
        if self.results.bytes().is_empty()
            && let Some(file) = &self.file
        {
            let read = &mut |out: &mut [u8]| file.read(out).map_or(0, |content| content.len());
            self.results.replace(read);
        }
        let started = started(world.now);
        Resolver::restore(self.results.bytes(), world.now, started, world.tree);
    }

    /// Writes the last results to the file: by a job while clients are served.
    fn save(&mut self, world: &mut World<'_>, by_job: bool) {
        (self.save_at, self.saved_at) = (Instant::NEVER, world.now);
        let Some(file) = &self.file else {
            return;
        };
        let content = self.results.bytes();
        if !by_job {
            file.write(content);
            return;
        }
        let _ = world
            .tree
            .submit(Job::Save(FileId(file.number()), 0, content));
    }

    /// Reads /etc/hosts and /etc/resolv.conf, which may be missing. The earlier content stays valid if that fails.
    fn read_files(&self, resolver: &mut Resolver) -> Result<(), Errno> {
        let dir = Directory::current();
        let hosts = dir.read(HOSTS_FILE.to_bytes(), resolver.hosts_buffer());
        let hosts = hosts.map(|text| text.len());
        let hosts = self.is_usable(HOSTS_FILE, hosts);
        if let Ok(len) = hosts {
            resolver.set_hosts(len);
        }
        let buffer = &mut [0; RESOLV_CONF_BYTES_MAX];
        let len = dir
            .read(RESOLV_CONF_FILE.to_bytes(), buffer)
            .map(|text| text.len());
        let len = self.is_usable(RESOLV_CONF_FILE, len);
        if let Ok(len) = len {
            let (_, domain) = cut(self.host_name.head(self.host_name_len), b'.');
            let zone = |name: &[u8]| {
                let is_it = |bytes: &[u8; 16]| {
                    bytes.head(name.len()) == name && bytes.get(name.len()) == Some(&0)
                };
                let mut all = self.interfaces.iter();
                all.find(|one| is_it(&one.name)).map_or(0, |one| one.index)
            };
            let config = Config::parse(buffer.head(len), domain, &zone);
            resolver.set_config(config);
        }
        hosts.and(len).map(drop)
    }

    /// Reports that a file cannot be read. A missing file is empty.
    fn is_usable(&self, path: &CStr, len: Result<usize, Errno>) -> Result<usize, Errno> {
        match len {
            Err(Errno::NOENT) => Ok(0),
            Err(errno) => {
                if self.is_first {
                    let what = text!("cannot read");
                    reasons::failed(what, path.to_bytes(), errno, &REASONS);
                }
                Err(errno)
            }
            len => len,
        }
    }
}

/// Looks up all host names of the tree's exports once, and reports those without an address.
pub(super) fn test(tree: &mut Tree) {
    let count = tree.host_name_count();
    if count == 0 || sys::is_bare() {
        return;
    }
    let test = Test {
        names: Names::new(true, None),
        ends_at: Instant::NEVER,
    };
    // The outcome is always the same: what failed is reported.
    let _ = platform::serve(
        "",
        &Network::default(),
        &mut [serving(test, count, true)],
        tree,
        Console::leak(),
        Signals::default(),
    );
}

/// The look-ups of `-T`.
struct Test {
    names: Names,
    /// The time at which the look-ups are given up.
    ends_at: Instant,
}

impl Server<Resolver> for Test {
    fn start(
        &mut self,
        resolver: &mut Resolver,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        self.ends_at = world.now.after(NAME_TEST_WAIT);
        self.names.start(resolver, served, world)
    }

    fn add_needs(&self, needs: &mut Needs) {
        needs.add(Calls::NFS);
        needs.add(Calls::STREAMS);
        needs.add(Calls::DATAGRAMS);
        needs.add_all_files();
    }

    fn turn(
        &mut self,
        resolver: &mut Resolver,
        served: &mut Served,
        world: &mut World<'_>,
        signals: Signals,
    ) {
        self.names.turn(resolver, served, world, signals);
        if world.now >= self.ends_at {
            resolver.give_up(world.now, world.tree, world.events);
        }
        if resolver.is_done() {
            world.exit = Some(Fatal::Done);
        }
    }

    fn poll_at(&self) -> Instant {
        self.names.poll_at().min(self.ends_at)
    }
}
