//! The exports of a server: as arguments and files describe them, opened at the start and again when they appear or change, and
//! reported. Used by each server of the tree; opens no sockets of its own but those that look up host names.

mod addresses;
mod argument;
mod file_user;
mod files;
#[cfg_attr(not(feature = "serve"), path = "no_groups.rs")]
mod groups;
mod mounting;
#[cfg_attr(not(feature = "mdns"), path = "no_names.rs")]
mod names;
mod protocol;
mod reports;
mod upkeep;

pub use addresses::{Host, Lookout, PUBLISHED, first};
pub use argument::ExportArgument;
pub use files::show;
pub use mounting::Mounting;
pub use protocol::ClientKind;
pub use upkeep::{Part, Report, Upkeep};

use crate::config::EXPORTS_FILE;
use crate::console::images;
use crate::console::reasons::{self, Reason, own_reason, reason};
use crate::console::{USAGE, complain};
use crate::event::Fatal;
use crate::mem::{Slots, has_any};
use crate::os;
use crate::sys::Errno;
use crate::text::{Text, text};
#[cfg(bare)]
use crate::vfs::FsError;
use crate::vfs::{Form, OpenFault, Rules, Tree};
use crate::wire::exports::Flaw;
use core::ffi::CStr;

/// The exports that arguments ask for, and how they are opened.
#[derive(Default)]
pub struct Wanted {
    /// The exports of the command line.
    pub list: Slots<ExportArgument>,
    /// The file with exports (`-e`).
    pub file: Option<&'static CStr>,
    /// The kind of handles (`--handles`). `None`: kernel handles if possible.
    pub form: Option<Form>,
    /// The file with the key of kernel handles (`--key-file`).
    pub key_file: Option<&'static CStr>,
    /// The directory of state that outlives the server (`--state-dir`). `None`: [`KEY_DIRECTORY`](crate::config::KEY_DIRECTORY), if it
    /// exists.
    pub state_dir: Option<&'static CStr>,
    /// True if files are accessed as the server's own user for all clients (`-s`).
    pub is_single_user: bool,
    /// True if the host's files name the groups of users (`--manage-gids`).
    pub manages_groups: bool,
}

impl Wanted {
    /// Adds an export of the command line. A malformed word of the list ends the process. `None`: the path is malformed.
    pub fn add(&mut self, text: &'static [u8]) -> Option<()> {
        match ExportArgument::parse(text) {
            Err((Flaw::Path, _)) => return None,
            Err(flaw) => crate::sys::exit(argument::refuse_word(flaw) as i32),
            Ok(export) => self.list.push_more(export),
        }
        Some(())
    }

    /// Adds an export of the command line with the option `isos`. `None`: the path is malformed.
    pub fn add_images(&mut self, text: &'static [u8]) -> Option<()> {
        self.add(text)?;
        self.list.last_mut()?.rules.set |= Rules::ISOS;
        Some(())
    }

    /// Adds an export of the command line with the option `isos` before the others.
    pub fn add_first_images(&mut self, text: &'static [u8]) -> Option<()> {
        self.add_images(text)?;
        self.list.rotate_right(1);
        Some(())
    }

    /// Returns true if an export of the command line has the option `isos`.
    pub fn has_images(&self) -> bool {
        let has_images = |export: &ExportArgument| export.rules.has(Rules::ISOS);
        self.list.iter().any(has_images)
    }

    /// Reports a usage error if no export is named.
    ///
    /// # Errors
    /// Exit status 2.
    pub fn check(&self) -> Result<(), Fatal> {
        let path = self.files_path();
        let has_file = path.is_some_and(|path| self.file.is_some() || os::files::exists(path));
        if self.list.is_empty() && !has_file {
            let why = text!("name a directory, as in stowaway nfs /srv, or write /etc/exports");
            return Err(complain(USAGE, text!("nothing to export"), b"", why));
        }
        Ok(())
    }

    /// Fails if the command line names a directory that does not exist.
    ///
    /// # Errors
    /// Exit status 1; the directory is reported.
    pub fn check_directories(&self) -> Result<(), Fatal> {
        for ExportArgument { path, .. } in self.list.iter() {
            if os::files::find(path) == Err(Errno::NOENT) {
                let path = path.to_bytes();
                let what = text!("cannot export");
                return Err(reasons::failed(what, path, Errno::NOENT, reasons_for(path)));
            }
        }
        Ok(())
    }

    /// Returns true if the server opens no files but those below its exports from now on.
    fn is_confinable(&self, tree: &Tree) -> bool {
        self.files_path().is_none()
            && !self.manages_groups
            && !tree.exports().iter().any(|export| export.is_missing())
    }

    /// Returns the directory of the command line that is exported for writing, if any.
    pub fn writable(&self) -> Option<&'static CStr> {
        let mut all = self.list.iter();
        let found = all.find(|export| export.rules.has(Rules::WRITABLE))?;
        Some(found.path)
    }

    /// Returns true if there is one export, which the command line names.
    pub fn is_single(&self) -> bool {
        self.file.is_none() && self.list.len() == 1
    }

    /// The path of the file with exports: that of `-e`, or /etc/exports if the command line names no export.
    pub fn files_path(&self) -> Option<&'static CStr> {
        let default = self.list.is_empty().then_some(EXPORTS_FILE);
        self.file.or(default)
    }
}

/// Reason for a missing path with a comma, which perhaps has options after it.
const AFTER_COMMA: Reason = reason(
    Errno::NOENT,
    text!("does not exist; options follow a colon, as in DIR:rw"),
);

/// Returns the reasons for an export with this path.
fn reasons_for(path: &[u8]) -> &'static [Reason] {
    match has_any(path, b",") {
        true => &[AFTER_COMMA],
        false => &REASONS,
    }
}

/// Reasons and advice for exports and their files.
static REASONS: [Reason; 10] = [
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
    images::NO_IMAGE,
    images::OTHER_IMAGE,
    images::CUT_IMAGE,
    reason(
        Errno::EXIST,
        text!("already exported; name a directory once, or set different fsid="),
    ),
    reason(
        Errno::OPNOTSUPP,
        text!("no kernel handles for this file system or user; omit --handles"),
    ),
];

/// Reports that `what` failed on `about`, with the reason of `errno`. Returns exit status 1.
fn failed(what: Text, about: &[u8], errno: Errno) -> Fatal {
    reasons::failed(what, about, errno, &REASONS)
}

/// Reports that a medium of a machine without an operating system cannot be exported. Returns exit status 1.
#[cfg(bare)]
#[inline(never)] // −16 bytes.
pub fn cannot_export(wanted: &ExportArgument, errno: Errno) -> Fatal {
    failed(text!("cannot export"), wanted.path.to_bytes(), errno)
}

/// Returns the errno whose reason describes an error of [`Tree::export`](crate::vfs::Tree::export) or [`Tree::root`](crate::vfs::Tree::root).
#[cfg(bare)]
pub const fn export_errno(error: FsError) -> Errno {
    match (error, OpenFault::of_image(error)) {
        (FsError::Exists, _) => Errno::EXIST,
        (_, Some(number)) => Errno::from_raw_os_error(number as i32),
        _ => Errno::IO,
    }
}

#[cfg(test)]
mod tests;
