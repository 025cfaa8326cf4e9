//! `serve`: runs NFS, mDNS unless that is turned off, and SFTP and HTTP if they are asked for, each in its own process under a
//! supervisor. Accepts the options of `nfs` and `mdns`, and announces the exports.

use super::AnyFlag;
use super::DONE;
use super::args::digits;
use super::args::socket;
use super::flags::{Flags, ParsedFlag, flags};
use super::http;
use super::mdns;
use super::{Console, Fatal, network, nfs};
use crate::config::{self, CONNECTION_COUNT_MAX, LOOP_COUNT_MAX, SHARED_BYTES};
use crate::console;
use crate::drive::platform::host::loops::{Layout, SharedState};
use crate::drive::platform::host::supervisor::{self, Child};
use crate::drive::platform::network::Network;
use crate::drive::{Task, Tasks, platform};
use crate::engine::http::Script;
use crate::engine::rpc::connections::word_count;
use crate::mem;
use crate::net::Signals;
use crate::os::daemon::process_id;
use crate::services::announce::{files::advice, plain};
use crate::sys::{self, Args, BUILD_ID_BYTES};
use crate::text::{Text, text};
use crate::vfs::Tree;
use core::cell::Cell;
use core::net::SocketAddrV6;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  serve --export DIR ...\tthe same, restarted when it exits\n");

flags! {
    pub(super) enum Flag of Serve {
        NoMdns { long: text!("--no-mdns") },
        // Not in --help: lets Linux run all tasks in one loop, as a machine without an operating system does.
        OneProcess { long: text!("--one-process") },
        Loops { long: text!("--loops"), takes: Value(text!("number: from 1 to 4")) },
        Sftp { long: text!("--sftp"), takes: Value(text!("address: ADDRESS:PORT, such as 127.0.0.1:2222")) },
    }
}

/// The flags of `nfs`, then those of `serve`, of `http` and of `mdns`.
pub(super) const FLAGS: Flags = Flags {
    more: Some(&Flags {
        more: Some(&Flags {
            more: Some(&mdns::FLAGS),
            ..http::FLAGS
        }),
        ..Flags::of(Flag::ROWS, &[])
    }),
    ..nfs::FLAGS
};

/// A task of `serve`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TaskKind {
    /// Under `init`: obtains addresses by DHCP and the like, and sets them on the kernel's interface.
    Addresses,
    Nfs,
    Mdns,
    Sftp,
    Http,
    /// proxyDHCP and TFTP, in the loop of HTTP.
    Boot,
}

impl TaskKind {
    const ALL: &[Self] = &[
        Self::Addresses,
        Self::Nfs,
        Self::Mdns,
        Self::Sftp,
        Self::Http,
        Self::Boot,
    ];
    /// The tasks that can share one loop.
    const TOGETHER: &[Self] = Self::ALL.split_at(1).1;

    /// The name in messages.
    const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Nfs => "nfs",
            Self::Mdns => "mdns",
            Self::Sftp => "sftp",
            Self::Http => "http",
            Self::Boot => "boot",
        }
    }
}

// The message of `--loops` names this limit.
const _: () = assert!(LOOP_COUNT_MAX == 4);

/// The size of the memory that NFS processes of `serve` share.
const NFS_LAYOUT: Layout = Layout {
    word_count: word_count(LOOP_COUNT_MAX as usize, CONNECTION_COUNT_MAX) + nfs::WORD_COUNT,
    byte_count: SHARED_BYTES,
};

/// Limit of tasks in one loop.
const KIND_COUNT: usize = 6;
/// Limit of loops: [`LOOP_COUNT_MAX`] for NFS, and one for each other kind of task.
const LOOP_COUNT: usize = KIND_COUNT - 1 + LOOP_COUNT_MAX as usize;

/// A server in the loop of HTTP.
pub(super) trait Beside {
    /// The menu and the machines, for HTTP on this port.
    fn script(&self, http_port: u16) -> Script;
    /// Adds the task, not started yet, to those of the loop.
    fn add_task(&'static self, http_port: u16, tasks: &mut Tasks);
}

/// The parsed arguments.
#[derive(Default)]
#[repr(C)] // Largest field last: the others have short offsets.
pub(super) struct Arguments {
    /// Under `init`, the kernel's interface that the addresses task configures.
    card: Option<&'static core::ffi::CStr>,
    /// Options of mDNS. `None`: nothing is announced, or the task has taken the options.
    mdns: Cell<Option<&'static mut mdns::Options>>,
    /// Address and port of SFTP (`--sftp`).
    sftp: Option<SocketAddrV6>,
    /// True if nothing is announced by mDNS.
    pub(super) is_silent: bool,
    is_one_process: bool,
    /// Number of loops for NFS (`--loops`); 0: not given, which means one.
    loop_count: u32,
    pub(super) network: Network,
    /// A server in the loop of HTTP (the role `boot`).
    pub(super) beside: Option<&'static dyn Beside>,
    pub(super) http: http::Options,
    pub(super) nfs: nfs::Options,
    pub(super) sftp_options: super::sftp_server::Options,
}

impl Arguments {
    /// Sets the option of a flag. Returns `None` if the value is wrong.
    fn set(&mut self, given: ParsedFlag) -> Option<()> {
        let value = given.value;
        let own = match given.flag {
            AnyFlag::Nfs(flag) => return self.nfs.set(flag, value),
            AnyFlag::Http(flag) => return self.http.set(flag, value),
            AnyFlag::Mdns(flag) => return self.mdns.get_mut().as_deref_mut()?.set(flag, value),
            flag => Flag::of(flag)?,
        };
        match own {
            Flag::NoMdns => self.is_silent = true,
            Flag::OneProcess => self.is_one_process = true,
            Flag::Loops => {
                let count = digits(value.to_bytes(), 10)?;
                self.loop_count = (1..=LOOP_COUNT_MAX).contains(&count).then_some(count)?;
            }
            Flag::Sftp => self.sftp = Some(socket(value.to_bytes())?),
        }
        Some(())
    }

    /// Runs tasks in one loop until SIGTERM or SIGINT.
    fn run(
        &'static self,
        kinds: &[TaskKind],
        build_id: &[u8; BUILD_ID_BYTES],
    ) -> Result<(), Fatal> {
        let mut tasks = Tasks::new();
        let tree = platform::tree();
        #[cfg(bare)]
        if crate::sys::is_bare() {
            let _ = tasks.push(super::addresses::task(None, None));
        }
        let mut network = self.network;
        let nfs_count = self.nfs.with_shared(|shared| shared.loop_count);
        network.shares_ports = nfs_count.is_some_and(|count| count > 1) && kinds == [TaskKind::Nfs];
        for kind in kinds {
            if *kind == TaskKind::Addresses {
                network.stack.use_card(self.card);
            }
            let has_nfs = kinds.contains(&TaskKind::Nfs);
            self.add_tasks(*kind, has_nfs, build_id, (tree, &mut tasks))?;
        }
        let role = match kinds {
            [kind] | [_, kind] => kind.name(),
            _ => "serve",
        };
        platform::serve(
            role,
            &network,
            &mut tasks,
            tree,
            Console::leak(),
            Signals::RELOAD,
        )
    }

    /// Adds the tasks of this kind and its files, if the arguments ask for it. `has_nfs`: NFS is in the same loop.
    fn add_tasks(
        &'static self,
        kind: TaskKind,
        has_nfs: bool,
        build_id: &[u8; BUILD_ID_BYTES],
        (tree, tasks): (&mut Tree, &mut Tasks),
    ) -> Result<(), Fatal> {
        let task: &'static mut dyn Task = match kind {
            TaskKind::Addresses => super::addresses::task(self.card, Some((&self.nfs, &self.http))),
            TaskKind::Nfs => {
                return nfs::add_tasks(&self.nfs, &self.network, build_id, tree, tasks);
            }
            TaskKind::Mdns => {
                let Some(options) = self.mdns.take() else {
                    return Ok(());
                };
                let exports: mdns::Source<'_> = &|add| announce_exports(&self.nfs, add);
                mdns::task(options, exports)?
            }
            TaskKind::Sftp => {
                let Some(at) = self.sftp else {
                    return Ok(());
                };
                super::sftp_server::task::task(&self.sftp_options, at, tree)?
            }
            TaskKind::Http if !self.http.serves() => return Ok(()),
            TaskKind::Http => {
                let place = match has_nfs {
                    true => http::Kind::Within,
                    false => http::Kind::Beside,
                };
                let (options, exports) = (&self.http, &self.nfs);
                let port = options.port();
                let script = match self.beside {
                    Some(beside) => beside.script(port),
                    None => Script::new(port, true),
                };
                let (network, tasks) = (&self.network, tasks);
                return http::add_tasks(options, exports, (place, script), network, tree, tasks);
            }
            TaskKind::Boot => {
                if let Some(beside) = self.beside {
                    beside.add_task(self.http.port(), tasks);
                }
                return Ok(());
            }
        };
        let _ = tasks.push(task);
        Ok(())
    }
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    start(read(args)?, build_id)
}

/// Serves with these arguments until SIGTERM or SIGINT.
pub(super) fn start(
    served: &'static mut Arguments,
    build_id: &[u8; BUILD_ID_BYTES],
) -> Result<(), Fatal> {
    let served: &'static Arguments = served;
    network::check_link(&served.network)?;
    served.nfs.check_directories()?;
    served.nfs.background.run(&mut || served.run_all(build_id))
}

/// Arguments of which none was given.
pub(super) fn arguments() -> &'static mut Arguments {
    let served = mem::leak(Arguments::default());
    served.mdns.set(Some(mdns::Options::none()));
    served
}

/// Parses the arguments before the supervisor starts processes, so that wrong arguments are reported once and not at each restart.
pub(super) fn read(args: Args) -> Result<&'static mut Arguments, Fatal> {
    let served = arguments();
    served.network = network::parse(&FLAGS, args, &mut |given| served.set(given))?;
    complete(served)?;
    Ok(served)
}

/// Checks the arguments, and makes the memory that the processes share.
pub(super) fn complete(served: &mut Arguments) -> Result<(), Fatal> {
    served.nfs.exports.check()?;
    served.http.check(&served.nfs)?;
    // `boot` reports more about its menu.
    served.http.has_menu =
        Script::IS_SERVED && served.beside.is_none() && served.nfs.exports.has_images();
    if let Some(announced) = served.mdns.get_mut() {
        announced.check()?;
        served.network = served.network.named(announced.name);
        // Other hosts cannot reach a loopback address, so it is not announced.
        served.is_silent |= served.nfs.address.ip().to_canonical().is_loopback();
    }
    if !crate::sys::is_bare() {
        let is_single = served.is_one_process
            || served.network.is_own()
            // With port 0 the kernel would choose another port for each loop.
            || served.nfs.address.port() == 0;
        let loop_count = if is_single { 1 } else { served.loop_count };
        served
            .nfs
            .shared
            .set(SharedState::new(loop_count, NFS_LAYOUT));
    }
    if served.is_silent {
        served.mdns.set(None);
    }
    Ok(())
}

impl Arguments {
    /// Sets the interface that the addresses task configures.
    pub(super) const fn set_card(&mut self, card: Option<&'static core::ffi::CStr>) {
        self.card = card;
        self.nfs.leaves_commands = card.is_some();
    }

    /// Returns the exports.
    pub(super) fn exports(&self) -> impl Iterator<Item = &crate::exports::ExportArgument> {
        self.nfs.exports.list.iter()
    }

    /// Returns the host name of the arguments; empty: not given.
    pub(super) const fn name(&self) -> &'static [u8] {
        self.network.name()
    }
}

impl Arguments {
    /// Runs all tasks until SIGTERM or SIGINT: in one loop, or in supervised processes.
    pub(super) fn run_all(&'static self, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
        // The built-in network stack cannot be shared by several processes.
        if self.is_one_process || self.network.is_own() {
            return self.run(TaskKind::TOGETHER, build_id);
        }
        // One process per task, so that a stalled disk of NFS does not delay mDNS or SFTP.
        let mut kinds = heapless::Vec::<_, LOOP_COUNT>::new();
        let nfs_count = self
            .nfs
            .with_shared(|shared| shared.loop_count)
            .unwrap_or(1);
        if nfs_count > 1 {
            nfs::check_ports(&self.nfs)?;
        }
        for kind in TaskKind::ALL {
            let count = match kind {
                TaskKind::Addresses => self.card.is_some().into(),
                TaskKind::Nfs => nfs_count,
                TaskKind::Mdns => (!self.is_silent).into(),
                TaskKind::Sftp => self.sftp.is_some().into(),
                TaskKind::Http => (self.http.serves() && self.beside.is_none()).into(),
                TaskKind::Boot => self.beside.is_some().into(),
            };
            for _ in 0..count {
                let _ = kinds.push(*kind);
            }
        }
        let first = kinds.iter().position(|kind| *kind == TaskKind::Nfs);
        let run = |index: usize| {
            let Some(kind) = kinds.get(index) else {
                return Ok(());
            };
            console::log::set_process(kind.name().as_bytes(), process_id());
            self.nfs.with_shared(|shared| {
                shared.number = index.wrapping_sub(first.unwrap_or(0)) as u32
            });
            match kind {
                // The steps of a machine are of both.
                TaskKind::Boot => self.run(&[TaskKind::Http, TaskKind::Boot], build_id),
                _ => self.run(core::slice::from_ref(kind), build_id),
            }
        };
        let mut children: heapless::Vec<_, LOOP_COUNT> =
            kinds.iter().map(|kind| Child::new(kind.name())).collect();
        let run_alone = || {
            let mut bytes = 3 * (config::REGION_BYTES + config::EXPORTS_BYTES);
            if self.nfs.exports.manages_groups {
                bytes += config::GROUPS_BYTES;
            }
            mem::set_region(sys::region(bytes), bytes, config::REGION_FIXED_BYTES);
            self.nfs.with_shared(|shared| shared.loop_count = 1);
            self.run(TaskKind::TOGETHER, build_id)
        };
        // Under `init`, the task that sets addresses needs a process of its own.
        let run_alone: Option<&dyn Fn() -> _> = match self.card {
            Some(_) => None,
            None => Some(&run_alone),
        };
        if self.http.serves() {
            supervisor::share_beats(children.len());
        }
        supervisor::share_sheets();
        let ended = supervisor::run(&mut children, &run, run_alone, &mut Console);
        nfs::end_registration(&self.nfs);
        ended
    }
}

/// Passes each export to `add` as a service `_nfs._tcp`. With port 0 nothing is announced: the kernel chooses the port in another
/// process.
fn announce_exports(
    options: &nfs::Options,
    add: &mut dyn FnMut(&crate::wire::announce::Service<'_>),
) {
    use crate::mem::Ends as _;
    use crate::wire::Writer;
    use crate::wire::announce::{Flaw, HOST, STRING_BYTES_MAX};
    use crate::wire::txt;
    if options.address.port() == 0 {
        return;
    }
    for (at, wanted) in options.exports.list.iter().enumerate() {
        let mut earlier = options.exports.list.iter().take(at);
        if earlier.any(|earlier| earlier.path == wanted.path) {
            continue;
        }
        let path = wanted.path.to_bytes();
        let mut buffer = [0; _];
        let txt = txt::write(b"path", &[path], None, &mut buffer);
        if txt.is_empty() {
            let what = text!("left out");
            super::complain(DONE, what, path, advice(Flaw::String));
            continue;
        }
        let mut name = [0; 2 + STRING_BYTES_MAX];
        let mut named = Writer::new(&mut name);
        // The name is HOST:PATH, as in a mount command.
        named.put(&[HOST, b':']);
        named.put(path);
        let name_len = named.position();
        add(&crate::wire::announce::Service {
            name: name.head(name_len),
            ..plain(b"_nfs._tcp", options.address.port(), txt)
        });
    }
}
