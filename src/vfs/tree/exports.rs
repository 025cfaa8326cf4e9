//! The exports of a tree: their list, and the opening of their tops.

use super::super::names::Names;
use super::super::reading::{Client, ExportRoot, Place, Reading, Room};
use super::super::{Backend, FsError, FsResult, JobId};
use super::Tree;
use crate::config::{EXPORT_PATH_BYTES_MAX, HAS_NAMES};
use crate::mem::{self};
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};

/// The reason why an export cannot be opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenFault {
    /// Number of the errno, or one of the numbers below; `EXIST`: another export has the same `fsid` or directory.
    pub errno: u8,
    /// The number of that export.
    pub other: Option<usize>,
}

impl OpenFault {
    /// The file is no ISO image. This number and the next ones are above those of Linux, whose errnos are passed on.
    pub const NO_IMAGE: u8 = 200;
    /// The files of the image are in UDF.
    pub const OTHER_IMAGE: u8 = 201;
    /// Nothing is mounted at the path.
    pub const NOT_MOUNTED: u8 = 202;
    /// A file system such as proc.
    pub const PSEUDO: u8 = 203;

    /// The image is shorter than its file system.
    pub const CUT_IMAGE: u8 = 204;
    /// ENOMEM, ENFILE and EMFILE say nothing about the directory.
    const SHORTAGES: [u8; 3] = [12, 23, 24];

    /// The number for an error of an image.
    pub const fn of_image(error: FsError) -> Option<u8> {
        match error {
            FsError::Invalid => Some(Self::NO_IMAGE),
            FsError::NotSupported => Some(Self::OTHER_IMAGE),
            FsError::Cut => Some(Self::CUT_IMAGE),
            _ => None,
        }
    }

    const fn of(errno: u8) -> Self {
        Self { errno, other: None }
    }
}

impl Tree {
    /// Lets paths continue inside every image file, whatever its name, also if the path reached it by a symbolic link.
    pub const fn enter_all_images(&mut self) {
        self.enters_all_images = true;
    }

    /// Exports `root` as `path`, to these hosts besides those of earlier calls. Returns the number of the export. Called at the
    /// start only.
    ///
    /// # Errors
    /// `Exists`: another export has this tag.
    pub fn export(
        &mut self,
        path: &[u8],
        clients: &[Client<'_>],
        root: ExportRoot,
    ) -> FsResult<usize> {
        if self.tagged(root.tag).is_some() {
            return Err(FsError::Exists);
        }
        let mut room = self.reading.used();
        room.paths += 1;
        room.entries += clients.len();
        room.bytes += path.len() + 1;
        self.reserve(&room);
        for client in clients {
            self.reading.add(path, client);
        }
        self.number_new();
        let number = self.number_of(path).ok_or(FsError::Stale)?;
        if let Some(export) = self.exports.get_mut(number) {
            export.root = Some(root);
        }
        Ok(number)
    }

    /// Returns true if the file system of an export is read-only, whatever the export's rules.
    pub fn is_read_only(&mut self, number: usize) -> bool {
        let root = self.root(number);
        let stat = root.and_then(|root| self.statfs(root));
        stat.is_ok_and(|stat| stat.read_only)
    }

    /// The number of the export of this path.
    pub fn number_of(&self, path: &[u8]) -> Option<usize> {
        let at = self.reading.find(path)? as u32;
        self.exports.iter().position(|place| place.path == at)
    }

    /// Makes memory for readings of the exports. Called at the start only.
    pub fn reserve(&mut self, room: &Room) {
        self.reading.reserve(room);
        let next = self
            .next
            .get_or_insert_with(|| mem::leak(Reading::default()));
        next.reserve(room);
        self.exports.reserve(room.paths);
        self.sorted.reserve(room.paths);
        if HAS_NAMES && room.names > 0 {
            let names = self
                .names
                .get_or_insert_with(|| mem::leak(Names::default()));
            names.reserve(room.names);
        }
    }

    /// The largest number of exports.
    pub const fn export_count_max(&self) -> usize {
        self.exports.count()
    }

    /// Adds hosts that [`Tree::replace_clients`] will let mount the export of this path, which may be new. Returns false if these
    /// hosts were added to it before: the first rules apply. `None`: no space.
    pub fn add_client(&mut self, path: &[u8], client: &Client<'_>) -> Option<bool> {
        self.next.as_mut()?.add(path, client)
    }

    /// Records the file, line and column of the host name that [`Tree::add_client`] added last.
    pub fn locate_name(&mut self, file: &[u8], at: (u32, u32)) {
        if let Some(next) = &mut self.next {
            next.locate_name(file, at);
        }
    }

    /// Forgets the hosts added since the last call of [`Tree::replace_clients`].
    pub fn drop_clients(&mut self) {
        if let Some(next) = &mut self.next {
            next.clear();
        }
    }

    /// Replaces the hosts of all exports by those added since the last call. Exports without hosts end: each is passed to `ended`,
    /// with true if it was open, and its number is free.
    pub fn replace_clients(&mut self, ended: &mut dyn FnMut(usize, &[u8], bool)) {
        let Some(next) = self.next.take() else {
            return;
        };
        for number in 0..self.exports.len() {
            let Some(place) = self.exports.get_mut(number) else {
                break;
            };
            let Some(path) = self.reading.path(place.path) else {
                continue;
            };
            if let Some(at) = next.find(path) {
                place.path = at as u32;
                next.set_number(at, number);
            } else {
                ended(number, path, place.root.is_some());
                (place.path, place.has_ended) = (Place::FREE, true);
                self.close_export(number);
            }
        }
        core::mem::swap(&mut self.reading, next);
        next.clear();
        self.next = Some(next);
        self.number_new();
        if HAS_NAMES && let Some(names) = &mut self.names {
            names.follow(&self.reading);
        }
    }

    /// Gives each path of the valid reading that has no number yet a free one, and sorts the exports.
    fn number_new(&mut self) {
        let (mut at, mut number) = (0, 0);
        while let Some(new) = self.reading.next_without_number(at) {
            at = new;
            let mut places = self.exports.iter().skip(number);
            let free = places.position(|place| place.path == Place::FREE);
            number = free.map_or(self.exports.len(), |free| number + free);
            let path = new as u32;
            match self.exports.get_mut(number) {
                Some(free) => (free.root, free.path) = (None, path),
                // Cannot fail: the table has as many places as a reading has paths.
                None => {
                    self.exports.push(Place {
                        root: None,
                        path,
                        has_ended: false,
                    });
                }
            }
            self.reading.set_number(new, number);
        }
        self.sort_exports();
    }

    /// Returns true once after an export of this number has ended.
    pub fn take_ended_export(&mut self, number: usize) -> bool {
        let place = self.exports.get_mut(number);
        place.is_some_and(|place| core::mem::take(&mut place.has_ended))
    }

    /// Ends an export, until [`Tree::open_export`] opens it again.
    pub fn close_export(&mut self, number: usize) {
        if let Some(export) = self.exports.get_mut(number) {
            export.root = None;
        }
        if let Some(backend) = self.handles(Backend::Host as usize) {
            backend.close_top(number);
        }
    }

    /// Opens an export's directory or image on the host, again if it was opened before: another one may be there now.
    ///
    /// # Errors
    /// The reason; the export is missing then, unless it was open and the host is short of descriptors or memory.
    pub fn open_export(&mut self, number: usize) -> Result<(), OpenFault> {
        let opened = self.try_open(number);
        if let Err(fault) = &opened
            && !(self.is_open(number) && OpenFault::SHORTAGES.contains(&fault.errno))
        {
            self.close_export(number);
            if !core::mem::replace(&mut self.has_missing, true) {
                self.end_job(JobId::EXPORTS);
            }
        }
        opened
    }

    fn try_open(&mut self, number: usize) -> Result<(), OpenFault> {
        let gone = || OpenFault::of(FsError::Stale.number());
        let export = self.exports().get(number).ok_or_else(gone)?;
        let rules = export.common_rules();
        let mut path = [0; EXPORT_PATH_BYTES_MAX];
        mem::copy_into(&mut path, export.path.to_bytes_with_nul());
        let backend = self.handles(Backend::Host as usize).ok_or_else(gone)?;
        let root = backend
            .open_top(number, mem::c_str(&path), &rules)
            .map_err(OpenFault::of)?;
        let other = self.tagged(root.tag).filter(|other| *other != number);
        if other.is_some() {
            let errno = FsError::Exists.number();
            return Err(OpenFault { errno, other });
        }
        let hook = self.hook_of(number);
        self.has_nested |= hook != 0;
        if let Some(export) = self.exports.get_mut(number) {
            export.root = Some(ExportRoot { hook, ..root });
        }
        // Opens an image now, so that a file that is no image is an error.
        let opened = self.root(number).map(drop);
        opened.map_err(|error| {
            let of_image = OpenFault::of_image(error).filter(|_| root.is_image);
            OpenFault::of(of_image.unwrap_or_else(|| error.number()))
        })
    }

    /// Opens an export as [`Tree::open_export`], at a time that only this loop knows of. If that changes the export, the other loops
    /// will open theirs again.
    ///
    /// # Errors
    /// As [`Tree::open_export`].
    pub fn reopen_export(&mut self, number: usize) -> Result<(), OpenFault> {
        let was_open = self.is_open(number);
        let opened = self.open_export(number);
        let place = self.exports.get(number);
        let is_new = place.is_some_and(|place| place.root.is_some_and(|root| root.is_new));
        if (is_new || was_open != self.is_open(number))
            && let Some(changes) = self.changes
        {
            let before = changes.fetch_add(1, Ordering::AcqRel);
            // Another loop's change may have come between.
            if before == self.changes_seen {
                self.changes_seen = before.wrapping_add(1);
            }
        }
        if is_new {
            self.hook_again();
        }
        opened
    }

    /// Finds out again where the exports below others are, after another directory became the top of one.
    fn hook_again(&mut self) {
        for number in 0..self.exports.len() {
            let hook = self.hook_of(number);
            self.has_nested |= hook != 0;
            if let Some(Place {
                root: Some(root), ..
            }) = self.exports.get_mut(number)
            {
                root.hook = hook;
            }
        }
    }

    /// Opens an export of the host's as [`Tree::reopen_export`], because a client asks for it. [`Tree::take_opened`] reports it if it
    /// was missing.
    ///
    /// # Errors
    /// As [`Tree::open_export`].
    pub fn reopen_for_client(&mut self, number: usize) -> Result<(), OpenFault> {
        if !self.reopens {
            return Ok(());
        }
        let was_open = self.is_open(number);
        let opened = self.reopen_export(number);
        if !was_open && opened.is_ok() && self.opened.replace(number).is_none() {
            self.end_job(JobId::EXPORTS);
        }
        match self.is_open(number) {
            true => Ok(()),
            false => opened,
        }
    }

    /// Opens an export again if the peer of the current request may use it, because the host may have another directory there now.
    pub(super) fn reopen_for_peer(&mut self, number: usize) {
        let peer = self.peer;
        if self.rules(number, &peer).is_ok() {
            // Callers find an export that is missing by entering it.
            let _ = self.reopen_for_client(number);
        }
    }

    /// Returns once the last export that was missing until a client asked for it.
    pub const fn take_opened(&mut self) -> Option<usize> {
        self.opened.take()
    }

    /// Returns true once after an export has become missing.
    pub const fn take_missing(&mut self) -> bool {
        core::mem::replace(&mut self.has_missing, false)
    }

    /// Shares the changes of exports with other loops.
    pub fn share_changes(&mut self, changes: &'static AtomicU32) {
        self.changes_seen = changes.load(Ordering::Acquire);
        self.changes = Some(changes);
    }

    /// Returns true once after another loop has found a changed export: this loop must open its exports again.
    pub fn must_reopen(&mut self) -> bool {
        let Some(changes) = self.changes else {
            return false;
        };
        let count = changes.load(Ordering::Acquire);
        core::mem::replace(&mut self.changes_seen, count) != count
    }

    /// The path of an export; empty if the number is free.
    pub fn path(&self, number: usize) -> &CStr {
        let export = self.exports().get(number);
        export.map_or(c"", |export| export.path)
    }

    /// Returns true if an export is open.
    pub fn is_open(&self, number: usize) -> bool {
        let place = self.exports.get(number);
        place.is_some_and(|place| place.root.is_some())
    }

    /// The path of an export, empty if the number is free, and true if it is open. `None` after the last number.
    pub fn state(&self, number: usize) -> Option<(&[u8], bool)> {
        let is_number = number < self.exports().len();
        is_number.then(|| (self.path(number).to_bytes(), self.is_open(number)))
    }

    /// Writes the path of an export's top without symbolic links to `out`, and returns its length; 0: the exported path has none.
    pub fn real_path(&mut self, number: usize, out: &mut [u8]) -> usize {
        let root = self.exports.get(number).and_then(|place| place.root);
        let Some(root) = root.filter(|root| root.is_linked) else {
            return 0;
        };
        let backend = self.handles(root.backend as usize);
        backend.map_or(0, |backend| backend.real_path(number, out))
    }
}
