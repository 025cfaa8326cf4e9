//! The role `nfs`, also called `unfsd`: NFSv3, MOUNT and a built-in portmapper. RFC 1813, RFC 1833.
//!
//! The flags of one letter are those of unfsd(8), except -T and -D.

#[cfg(bare)]
mod archive;
mod argument;
mod background;
mod common;
mod exports;
mod file_user;
#[cfg(feature = "serve")]
mod groups;
#[cfg(feature = "ipxe")]
mod ipxe;
#[cfg(bare)]
pub(super) mod machine;
mod mounting;
#[cfg(feature = "mdns")]
mod names;
#[cfg(not(feature = "mdns"))]
#[path = "no_names.rs"]
mod names;
mod options;
mod reports;
mod rpcbind;
mod sockets;

use super::reasons::{self, Reason, own_reason, reason};
use super::{Console, Fatal};
use crate::config::{
    CONNECTION_COUNT_MIN, DESCRIPTOR_RESERVE, HAS_SERVE, KEY_DIRECTORY, KEY_FILE, NODE_COUNT_MAX,
    NODE_COUNT_MIN, REPLY_BLOCK_COUNT, REPLY_BYTES, REQUEST_BLOCK_COUNT, REQUEST_BYTES, RETRY,
    SHARED_BYTES, SHARED_BYTES_MIN,
};
use crate::drive::platform::network::Network;
use crate::drive::service::{Limits, Served};
use crate::drive::{Task, World, platform};
use crate::engine::programs::Programs;
use crate::engine::sessions::Rpc;
use crate::event::Line;
use crate::log;
use crate::mem::{self, has_any, scaled};
use crate::net::{NetError, Signals};
use crate::sys::{self, Access, Args, BUILD_ID_BYTES, Calls, Errno, Needs};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::FsError;
use crate::vfs::host::Host;
use crate::vfs::{Backend, Export, Form, JobId, OpenFault, Tree};
use common::{Common, common};
use core::net::SocketAddrV6;
use exports::Files;
use file_user::FileUser;
use mounting::LOOK_COUNT;
#[cfg(feature = "init")]
pub(super) use mounting::Mounting;
#[cfg(not(feature = "init"))]
use mounting::Mounting;
use names::HostNames;
use reports::{report_export, report_nothing};
use rpcbind::Rpcbind;
#[cfg(feature = "serve")]
pub(super) use rpcbind::end_registration;
#[cfg(feature = "serve")]
pub(super) use sockets::check_ports;

#[cfg(feature = "init")]
pub(super) use argument::ExportArgument;
pub(super) use options::Options;
#[cfg(feature = "serve")]
pub(super) use options::{FLAGS, Flag};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  nfs --export DIR ...\tserves directories over NFSv3; also as unfsd\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    #[cfg(feature = "iso")]
    text!(include_str!("isos.txt")),
    #[cfg(feature = "ipxe")]
    text!(include_str!("ipxe.txt")),
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
        return exports::show(options, tree);
    }
    let mut serve = || {
        let task = task(options, &network, build_id, tree)?;
        let console = Console::leak();
        platform::serve(&network, &mut [task], tree, console, Signals::RELOAD)
    };
    options.background.run(&mut serve)
}

/// Makes the server's task, not started yet, and adds the exports to `tree`. The task is never freed.
pub(super) fn task(
    options: &'static Options,
    network: &Network,
    build_id: &[u8; BUILD_ID_BYTES],
    tree: &mut Tree,
) -> Result<&'static mut dyn Task, Fatal> {
    if let Some(path) = options.trace {
        sys::trace_to(path, build_id)
            .map_err(|errno| failed(text!("cannot write traces to"), path.to_bytes(), errno))?;
    }
    let files = mem::leak(Files::new(options, tree));
    files.load(options, tree, &mut |_, _, _| ())?;
    let (connection_count, node_count) = counts(network, tree)?;
    let Common {
        lock,
        connections,
        memory,
        was_used,
        is_first,
        registered,
        entropy,
    } = common(options, connection_count, tree)?;
    let is_kept = memory.is_some();
    let memory = memory.unwrap_or_else(|| mem::bytes(scaled(SHARED_BYTES_MIN, SHARED_BYTES)));
    let (form, file_user) = if sys::is_bare() {
        #[cfg(bare)]
        machine::export(options, tree)?;
        (Form::Path, FileUser::Own)
    } else {
        let host = Host::new(node_count, tree.export_count_max());
        let host = mem::leak(host);
        host.is_shared = lock.is_some();
        host.was_used = HAS_SERVE && was_used;
        export_host(options, host, is_first, files, tree)?
    };
    files.file_user = file_user;
    #[cfg(feature = "serve")]
    groups::watch_refusals(options, file_user, tree);
    #[cfg(feature = "ipxe")]
    ipxe::print_script(tree, &options.exports);
    let [verifier @ .., _, _, _, _, _, _, _, _] = entropy;
    let mut programs = Programs::new(verifier, memory, is_kept, lock, connections);
    programs.set_listener(*options.address.ip());
    Ok(mem::leak(Nfs {
        rpc: Rpc::new(programs, connection_count),
        served: Served::new(&Limits {
            connection_count,
            request_bytes: REQUEST_BYTES,
            request_count: scaled(1, REQUEST_BLOCK_COUNT),
            reply_bytes: REPLY_BYTES,
            reply_count: scaled(1, REPLY_BLOCK_COUNT),
            held_bytes: 0,
            held_count: 0,
        }),
        options,
        form,
        is_first,
        rpcbind: Rpcbind::new(registered, network.is_own()),
        ends_to_widen: is_kept && form == Form::Path,
        names: HostNames::new(files.name_count_max, is_first),
        gets_address: network.is_own(),
        mounting: None,
        look_at: Instant::NEVER,
        look_count: LOOK_COUNT,
        files,
        retry_at: Instant::NEVER,
    }))
}

/// Divides the descriptors: returns the limits of connections and of open files.
fn counts(network: &Network, tree: &Tree) -> Result<(usize, usize), Fatal> {
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

/// Adds the host's exported directories to the tree. Returns the form of their handles, and the user of file accesses.
///
/// # Errors
/// Exit status 1: no export can be opened, and none can appear later. Each reason is reported.
#[inline(always)]
fn export_host(
    options: &Options,
    host: &'static mut Host,
    is_first: bool,
    #[allow(unused_variables, reason = "only serve manages groups")] files: &mut Files,
    tree: &mut Tree,
) -> Result<(Form, FileUser), Fatal> {
    // The user first: another user may have no kernel handles, and may not open an exported directory.
    let file_user = FileUser::choose(options, host, tree)?;
    #[cfg(feature = "serve")]
    {
        files.groups = groups::Groups::start(options, file_user, host)?;
    }
    let form = choose_form(options, host, tree)?;
    tree.add(Backend::Host, host);
    tree.reopens = true;
    let mut is_any = tree.exports().is_empty();
    for number in 0..tree.exports().len() {
        match open(tree, number, is_first) {
            Err(FEW_DESCRIPTORS) => return Err(Fatal::Failed),
            Err(errno) => is_any |= may_appear(errno),
            Ok(()) => is_any = true,
        }
    }
    if !is_any {
        return Err(Fatal::Failed);
    }
    Ok((form, file_user))
}

/// Number of EMFILE: the process has no free descriptor.
const FEW_DESCRIPTORS: u8 = Errno::MFILE.raw_os_error() as u8;

/// Returns true if an export that cannot be opened for this reason may appear later without a change of the arguments: a disk is
/// not mounted yet, or does not answer.
const fn may_appear(errno: u8) -> bool {
    errno == OpenFault::NOT_MOUNTED
        || matches!(
            Errno::from_raw_os_error(errno as i32),
            Errno::NOENT
                | Errno::NXIO
                | Errno::NODEV
                | Errno::IO
                | Errno::STALE
                | Errno::NOMEDIUM
                | Errno::NOTCONN
                | Errno::TIMEDOUT
                | Errno::HOSTDOWN
        )
}

/// Opens an export, and reports why that failed. Returns the number of the errno. `is_first`: reports also what may appear later,
/// of which each process knows.
fn open(tree: &mut Tree, number: usize, is_first: bool) -> Result<(), u8> {
    let Err(fault) = tree.open_export(number) else {
        return Ok(());
    };
    let mut about = Line::default();
    about.raw(tree.path(number).to_bytes());
    if let Some(other) = fault.other {
        about
            .say(text!(", the same as "))
            .raw(tree.path(other).to_bytes());
    }
    let what = match may_appear(fault.errno) {
        true => text!("waiting for"),
        false => text!("cannot export"),
    };
    if is_first || !may_appear(fault.errno) {
        let has_comma = has_any(tree.path(number).to_bytes(), b",");
        let reasons: &[Reason] = if has_comma { &[AFTER_COMMA] } else { &REASONS };
        reasons::failed_with(what, about.bytes(), fault.errno, reasons);
    }
    Err(fault.errno)
}

/// The server's task.
#[repr(C)] // Largest field last: the others have short offsets.
struct Nfs {
    options: &'static Options,
    form: Form,
    /// True in the first NFS process, which alone reports exports and ports.
    is_first: bool,
    rpcbind: Rpcbind,
    /// True if the process has a supervisor, and a sandbox that allows only the exports of its start.
    ends_to_widen: bool,
    /// True with a network stack of our own, which may get its address late.
    gets_address: bool,
    /// Time of the next attempt to open missing exports.
    retry_at: Instant,
    /// The commands that mount the exports, until they are reported.
    mounting: Option<Mounting>,
    /// Time of the next look for an address that the commands can name.
    look_at: Instant,
    /// Number of looks after which an IPv6 address suffices: until then, DHCP may give an IPv4 address.
    look_count: u8,
    files: &'static mut Files,
    names: HostNames,
    served: Served,
    rpc: Rpc,
}

impl Task for Nfs {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        self.served.start_jobs(world);
        self.ends_to_widen &= self.is_confinable(world.tree);
        self.schedule_retry(world);
        self.names.start(world);
        self.open_sockets(world)
    }

    fn add_needs(&self, tree: &Tree, needs: &mut Needs) {
        if self.is_first {
            needs.report_for("nfs");
        }
        needs.add(Calls::NFS);
        needs.add(Calls::STREAMS);
        if self.rpcbind.connects_at_end() {
            needs.add(Calls::CONNECT);
        }
        // Landlock cannot be widened, and it refuses kernel handles of files that are not in the kernel's cache.
        if self.form == Form::Kernel || !self.is_confinable(tree) {
            needs.add_all_files();
            return;
        }
        for export in tree.exports().iter() {
            needs.add_directory(export.path, Access::Change);
        }
        self.names.add_needs(needs);
    }

    fn ready(&mut self, world: &mut World<'_>, local: u32) {
        if self.names.ready(world, local) {
            return;
        }
        self.reopen_changed(world);
        self.served.ready(world, &mut self.rpc, local);
    }

    fn turn(&mut self, world: &mut World<'_>, signals: Signals) {
        if cfg!(bare) && signals.disk {
            self.served.job_ended(JobId::DISKS);
        }
        self.served.turn(world, &mut self.rpc);
        if self.names.turn(world) {
            self.served.job_ended(JobId::NAMES);
        }
        if let Some(number) = world.tree.opened.take() {
            self.reopened(world, number, Ok(()));
        }
        #[cfg(bare)]
        machine::report_stalled_disk(world.events);
        if signals.reload {
            self.reload(world);
        }
        if world.now >= self.look_at {
            self.report_commands(world);
        }
        self.reopen_changed(world);
        self.schedule_retry(world);
        if world.now >= self.retry_at {
            self.retry_at = Instant::NEVER;
            self.retry(world);
        }
    }

    fn poll_at(&self) -> Instant {
        let at = self.served.poll_at(&self.rpc).min(self.retry_at);
        at.min(self.names.poll_at()).min(self.look_at)
    }

    fn stop(&mut self, world: &mut World<'_>) {
        self.rpcbind.end();
        self.served.stop(world);
    }
}

impl Nfs {
    /// Returns true if the server opens no files but those below its exports from now on.
    fn is_confinable(&self, tree: &Tree) -> bool {
        !self.options.background.logs_to_file()
            && self.options.exports_file().is_none()
            && !self.options.manages_groups
            && !tree.exports().iter().any(|export| export.is_missing())
    }

    /// Reads the files with exports again, and those of users and groups. If one is malformed, nothing changes.
    fn reload(&mut self, world: &mut World<'_>) {
        #[cfg(feature = "serve")]
        if let Some(groups) = &mut self.files.groups {
            let _ = groups.load();
        }
        let (events, programs) = (&mut *world.events, &mut self.rpc.programs);
        let loaded = self
            .files
            .load(self.options, world.tree, &mut |number, path, was_open| {
                programs.end_export(number);
                if was_open {
                    events.report(text!("no longer exporting"), path, Text::NOTHING);
                }
            });
        if loaded.is_err() {
            return;
        }
        if self.names.reload(world) == Err(FsError::Access) && self.ends_to_widen {
            // The sandbox allows the files of the start only.
            world.exit = Some(Fatal::Done);
        }
        report_nothing(world.tree, self.options.exports_file(), world.events);
        for number in 0..world.tree.exports().len() {
            if is_exported(world.tree, number) {
                let opened = open(world.tree, number, self.is_first);
                self.reopened(world, number, opened);
            }
        }
    }

    /// Opens the exports again if another loop has found that one of them changed.
    fn reopen_changed(&mut self, world: &mut World<'_>) {
        if !HAS_SERVE || !world.tree.must_reopen() {
            return;
        }
        for number in 0..world.tree.exports().len() {
            let was_open = world.tree.is_open(number);
            if is_exported(world.tree, number) {
                // Other loops may not know what this one finds now; that ends when no loop finds anything.
                let opened = world.tree.reopen_export(number);
                world.tree.opened = None;
                if opened.is_ok() != was_open {
                    self.reopened(world, number, opened.map_err(|fault| fault.errno));
                }
            }
        }
    }

    /// Sets the time of the next attempt to open exports, if some are missing.
    fn schedule_retry(&mut self, world: &mut World<'_>) {
        if core::mem::take(&mut world.tree.has_missing) {
            // A client that mounts again and again does not put the next attempt off.
            self.retry_at = self.retry_at.min(world.now.after(RETRY));
        }
    }

    /// Opens missing exports.
    fn retry(&mut self, world: &mut World<'_>) {
        for number in 0..world.tree.exports().len() {
            if is_exported(world.tree, number) && !world.tree.is_open(number) {
                let opened = world.tree.reopen_export(number);
                world.tree.opened = None;
                self.reopened(world, number, opened.map_err(|fault| fault.errno));
            }
        }
    }

    /// Reports an export that was opened after the start. Ends the process if the sandbox may have refused the directory: the
    /// supervisor starts it again.
    fn reopened(&self, world: &mut World<'_>, number: usize, opened: Result<(), u8>) {
        const REFUSED: u8 = Errno::ACCESS.raw_os_error() as u8;
        match opened {
            Ok(()) if self.is_first => {
                report_export(world.tree, number, world.events);
            }
            Err(REFUSED) if self.ends_to_widen => world.exit = Some(Fatal::Done),
            _ => {}
        }
    }
}

/// Returns true unless the number of an export is free.
fn is_exported(tree: &Tree, number: usize) -> bool {
    let export = tree.exports().get(number);
    export.is_some_and(|export| export.is_exported())
}

/// Chooses kernel handles if all exports support them and the key file is usable, else path handles. A choice of the user
/// (`--handles`, `--key-file`) that fails is an error.
fn choose_form(options: &Options, host: &mut Host, tree: &Tree) -> Result<Form, Fatal> {
    let possible = |export: Export<'_>| Host::gives_kernel_handles(export.path);
    if options.form == Some(Form::Path)
        || options.form.is_none() && !tree.exports().iter().all(possible)
    {
        return Ok(Form::Path);
    }
    let path = options.key_file.unwrap_or_else(|| {
        // An error is ignored here: opening the key file then fails, and that is reported.
        platform::host::files::make_private_directory(KEY_DIRECTORY);
        KEY_FILE
    });
    // Falls back to path handles only if the user did not ask for kernel handles.
    let is_required = options.form.is_some() || options.key_file.is_some();
    host.may_use_paths = !is_required;
    let Err(errno) = host.use_kernel_handles(path) else {
        return Ok(Form::Kernel);
    };
    let what = if is_required {
        text!("cannot use the key file")
    } else {
        text!(
            "handles: by path (a file that moves to another directory goes stale); cannot use the key file"
        )
    };
    let status = failed(what, path.to_bytes(), errno);
    if is_required {
        Err(status)
    } else {
        Ok(Form::Path)
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

/// Reason for a missing path with a comma, which perhaps has options after it.
const AFTER_COMMA: Reason = reason(
    Errno::NOENT,
    text!("does not exist; options follow a colon, as in DIR:rw"),
);

/// Reasons and advice that are specific to this role.
static REASONS: [Reason; 13] = [
    reason(Errno::FBIG, text!("longer than 64 KiB")),
    own_reason(
        OpenFault::NOT_MOUNTED,
        text!("nothing is mounted there; mount it, or remove mountpoint"),
    ),
    reason(
        Errno::MSGSIZE,
        text!("not 16 bytes long; remove the file, and a new one is created"),
    ),
    reason(
        Errno::BADMSG,
        text!("other users may access the file; run chmod 600"),
    ),
    own_reason(
        OpenFault::PSEUDO,
        text!("shows kernel state, not files; export an ordinary directory"),
    ),
    reason(Errno::BUSY, text!("a running server has locked it")),
    reasons::NO_IMAGE,
    reasons::OTHER_IMAGE,
    reason(
        Errno::EXIST,
        text!("already exported; name a directory once, or set different fsid="),
    ),
    reason(
        Errno::OPNOTSUPP,
        text!("no kernel handles for this file system or user; omit --handles"),
    ),
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

#[cfg(bare)]
#[inline(never)]
fn cannot_export(wanted: &ExportArgument, errno: Errno) -> Fatal {
    failed(text!("cannot export"), wanted.path.to_bytes(), errno)
}

/// Returns the errno whose reason describes an error of [`Tree::export`] or [`Tree::root`].
#[cfg(bare)]
const fn export_errno(error: FsError) -> Errno {
    match (error, OpenFault::of_image(error)) {
        (FsError::Exists, _) => Errno::EXIST,
        (_, Some(number)) => Errno::from_raw_os_error(number as i32),
        _ => Errno::IO,
    }
}

/// Returns the errno whose reason describes a network error.
#[inline(never)]
const fn net_errno(error: NetError) -> Errno {
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
