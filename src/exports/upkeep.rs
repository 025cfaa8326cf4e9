//! The upkeep of exports: opens them at the start, again when they appear or change, and after SIGHUP. Opens no sockets.

use super::Wanted;
use super::file_user::FileUser;
use super::files::Files;
use super::protocol::ClientKind;
use super::reports::{report_export, report_exports, report_nothing};
use super::{failed, reasons_for};
use crate::config::{HAS_SERVE, KEY_DIRECTORY, KEY_FILE, RETRY};
use crate::console::{Console, reasons};
use crate::drive::{Task, World};
use crate::event::{self, Fatal, Line};
use crate::mem::{self, Twin};
use crate::net::Signals;
use crate::sys::{self, Errno, FileRights, Needs};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::host::{Host, Removals};
use crate::vfs::{Export, Form, OpenFault, Tree};

/// The place of a process among those that serve the same exports.
pub struct Part {
    /// The protocol that it serves.
    pub protocol: ClientKind,
    /// True if several processes change the files.
    pub is_shared: bool,
    /// True if a predecessor of this process changed them.
    pub was_used: bool,
    /// True if a supervisor starts the process again when it ends.
    pub is_kept: bool,
    /// True in the process that alone reports the exports.
    pub is_first: bool,
    /// The last results of look-ups of host names, for the next process.
    pub results: Option<&'static mut Twin>,
    /// The removals by clients of all processes that change the files.
    pub removals: Removals,
}

impl Part {
    /// The place of a process that changes no files.
    pub fn to_read(protocol: ClientKind, is_kept: bool, is_first: bool) -> Self {
        Self {
            protocol,
            is_shared: false,
            was_used: false,
            is_kept,
            is_first,
            results: None,
            removals: Removals::default(),
        }
    }
}

/// The exports of a server, kept by a task. It precedes those that serve them: they find an export that another loop has seen change
/// open again.
pub struct Upkeep {
    wanted: &'static Wanted,
    protocol: ClientKind,
    form: Form,
    /// True in the process that alone reports the exports.
    pub is_first: bool,
    /// True if the process has a supervisor, and a sandbox that allows only the exports of its start.
    ends_to_widen: bool,
    /// Time of the next attempt to open missing exports.
    retry_at: Instant,
    files: &'static mut Files,
}

impl Upkeep {
    /// Reads the exports of arguments and files, and adds them to `tree`.
    ///
    /// # Errors
    /// Exit status 1: a file cannot be read or is malformed; that is reported.
    pub fn load(wanted: &'static Wanted, tree: &mut Tree) -> Result<Self, Fatal> {
        let files = mem::leak(Files::new(wanted, tree));
        files.load(wanted, tree, &mut |_, _, _| ())?;
        Ok(Self {
            wanted,
            protocol: ClientKind::Nfs,
            form: Form::Path,
            is_first: true,
            ends_to_widen: false,
            retry_at: Instant::NEVER,
            files,
        })
    }

    /// Opens the exports with a cache of `node_count` descriptors. Returns the task that looks up their host names, if they may have
    /// some: it follows the tasks whose calls wait for it.
    ///
    /// # Errors
    /// Exit status 1: no export can be opened, and none can appear later. Each reason is reported.
    pub fn open(
        &mut self,
        node_count: usize,
        part: Part,
        tree: &mut Tree,
    ) -> Result<Option<&'static mut dyn Task>, Fatal> {
        (self.protocol, self.is_first) = (part.protocol, part.is_first);
        if sys::is_bare() {
            self.files.file_user = FileUser::Own;
        } else {
            let host = mem::leak(Host::new(node_count, tree.export_count_max()));
            host.is_shared = part.is_shared;
            host.was_used = HAS_SERVE && part.was_used;
            host.removals = part.removals;
            self.open_host(host, tree)?;
        }
        if self.protocol.is_nfs() {
            super::groups::watch_refusals(self.wanted, self.files.file_user, tree);
        }
        self.ends_to_widen = part.is_kept && self.form == Form::Path;
        Ok(super::names::task(
            self.files.name_count_max,
            part.is_first,
            part.results,
            self.wanted,
            self.ends_to_widen,
        ))
    }

    /// Adds the host's exported directories to the tree. Chooses the form of their handles, and the user of file accesses.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[inline(always)]
    fn open_host(&mut self, host: &'static mut Host, tree: &mut Tree) -> Result<(), Fatal> {
        // The user first: another user may have no kernel handles, and may not open an exported directory.
        let file_user = FileUser::choose(self.wanted, self.protocol, host, tree)?;
        self.files.file_user = file_user;
        if self.protocol.is_nfs() {
            self.files.groups = super::groups::Groups::start(self.wanted, file_user, host)?;
            self.form = choose_form(self.wanted, host, tree)?;
        }
        let key = host.key();
        tree.add_host(host, key);
        let mut is_any = tree.exports().is_empty();
        for number in 0..tree.exports().len() {
            match open(tree, number, self.is_first) {
                Err(FEW_DESCRIPTORS) => return Err(Fatal::Failed),
                Err(errno) => is_any |= may_appear(errno),
                Ok(()) => is_any = true,
            }
        }
        if !is_any {
            return Err(Fatal::Failed);
        }
        Ok(())
    }

    /// The report of the exports, for the task that serves them: it follows once the sockets are open.
    pub const fn report(&self) -> Report {
        Report {
            wanted: self.wanted,
            protocol: self.protocol,
            file_user: self.files.file_user,
        }
    }

    /// Reads the files with exports again, and those of users and groups. If one is malformed, nothing changes.
    fn reload(&mut self, world: &mut World<'_>) {
        if let Some(groups) = &mut self.files.groups {
            let _ = groups.load();
        }
        let events = &mut *world.events;
        let loaded = self
            .files
            .load(self.wanted, world.tree, &mut |_, path, was_open| {
                if was_open {
                    events.report(text!("no longer exporting"), path, Text::NOTHING);
                }
            });
        if loaded.is_err() {
            return;
        }
        report_nothing(world.tree, self.wanted.files_path(), world.events);
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
                if opened.is_ok() != was_open {
                    self.reopened(world, number, opened.map_err(|fault| fault.errno));
                }
            }
        }
    }

    /// Sets the time of the next attempt to open exports, if some are missing.
    fn schedule_retry(&mut self, world: &mut World<'_>) {
        if world.tree.take_missing() {
            // A client that mounts again and again does not put the next attempt off.
            self.retry_at = self.retry_at.min(world.now.after(RETRY));
        }
    }

    /// Opens missing exports.
    fn retry(&mut self, world: &mut World<'_>) {
        for number in 0..world.tree.exports().len() {
            if is_exported(world.tree, number) && !world.tree.is_open(number) {
                let opened = world.tree.reopen_export(number);
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
                report_export(world.tree, self.protocol, number, world.events);
            }
            Err(REFUSED) if self.ends_to_widen => world.exit = Some(Fatal::Done),
            _ => {}
        }
    }
}

impl Task for Upkeep {
    /// Begins the attempts to open missing exports.
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        self.ends_to_widen &= self.wanted.is_confinable(world.tree);
        self.schedule_retry(world);
        Ok(())
    }

    fn add_needs(&self, tree: &Tree, needs: &mut Needs) {
        // Landlock cannot be widened, and it refuses kernel handles of files that are not in the kernel's cache.
        if self.form == Form::Kernel || !self.wanted.is_confinable(tree) {
            needs.add_all_files();
            return;
        }
        let access = match self.protocol.is_nfs() {
            true => FileRights::Change,
            false => FileRights::Read,
        };
        for export in tree.exports().iter() {
            needs.add_directory(export.path, access);
        }
    }

    fn turn(&mut self, world: &mut World<'_>, signals: Signals) {
        if let Some(number) = world.tree.take_opened() {
            self.reopened(world, number, Ok(()));
        }
        if signals.reload {
            self.reload(world);
        }
        self.reopen_changed(world);
        self.schedule_retry(world);
        if world.now >= self.retry_at {
            self.retry_at = Instant::NEVER;
            self.retry(world);
        }
    }

    fn poll_at(&self) -> Instant {
        self.retry_at
    }
}

/// The lines about the exports when the server has started.
#[derive(Clone, Copy)]
pub struct Report {
    wanted: &'static Wanted,
    protocol: ClientKind,
    file_user: FileUser,
}

impl Report {
    /// Reports the exports, and the user of file accesses.
    pub fn write(self, world: &mut World<'_>) {
        report_exports(world.tree, self.protocol, self.file_user, world.events);
        report_nothing(world.tree, self.wanted.files_path(), world.events);
    }
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
        let reasons = reasons_for(tree.path(number).to_bytes());
        reasons::failed_with(what, about.bytes(), fault.errno, reasons);
    }
    Err(fault.errno)
}

/// Returns true unless the number of an export is free.
fn is_exported(tree: &Tree, number: usize) -> bool {
    let export = tree.exports().get(number);
    export.is_some_and(|export| export.is_exported())
}

/// Chooses kernel handles if all exports support them and the key file is usable, else path handles. A choice of the user
/// (`--handles`, `--key-file`) that fails is an error.
fn choose_form(wanted: &Wanted, host: &mut Host, tree: &Tree) -> Result<Form, Fatal> {
    let possible = |export: Export<'_>| Host::gives_kernel_handles(export.path);
    if wanted.form == Some(Form::Path)
        || wanted.form.is_none() && !tree.exports().iter().all(possible)
    {
        return Ok(Form::Path);
    }
    let path = wanted.key_file.unwrap_or_else(|| {
        // An error is ignored here: opening the key file then fails, and that is reported.
        crate::os::files::make_private_directory(KEY_DIRECTORY);
        KEY_FILE
    });
    // Falls back to path handles only if the user did not ask for kernel handles.
    let is_required = wanted.form.is_some() || wanted.key_file.is_some();
    host.may_use_paths = !is_required;
    let Err(errno) = host.use_kernel_handles(path) else {
        return Ok(Form::Kernel);
    };
    if is_required {
        let what = text!("cannot use the key file");
        return Err(failed(what, path.to_bytes(), errno));
    }
    let what = text!(
        "handles: by path (a file that moves to another directory goes stale); cannot use the key file"
    );
    let why = reasons::of(errno, &[]);
    event::report(&mut Console, what, path.to_bytes(), why);
    Ok(Form::Path)
}
