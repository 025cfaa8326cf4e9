//! The exports in the order of their paths.

use super::super::reading::Place;
use super::super::walk::{below, last, without_slash};
use super::super::{Backend, Tree};
use crate::config::{EXPORT_PATH_BYTES_MAX, HAS_NFS4};
use crate::mem::{self, Ends as _, fnv1a};

/// A number for the entry `name` of the directory with this digest; never 0.
pub(super) fn hook(holder: u32, name: &[u8]) -> u64 {
    fnv1a(holder.into(), name).max(1)
}

impl Tree {
    /// Sorts the exports.
    pub(super) fn sort_exports(&mut self) {
        self.sorted.clear();
        for (number, place) in (0..).zip(self.exports.iter()) {
            if place.path != Place::FREE {
                let at = self.place_of(self.path_of(number));
                self.sorted.insert(at, number);
            }
        }
    }

    /// The path of an export.
    pub(super) fn full_path(&self, number: u16) -> &[u8] {
        let place = self.exports.get(usize::from(number));
        let path = place.and_then(|place| self.reading.path(place.path));
        path.unwrap_or_default()
    }

    /// The path of an export; empty for `/`.
    pub(super) fn path_of(&self, number: u16) -> &[u8] {
        without_slash(self.full_path(number))
    }

    /// The index in `sorted` of the first export whose path is not before `path`: a "/" is before all other bytes.
    pub(super) fn place_of(&self, path: &[u8]) -> usize {
        let rank = |byte: &u8| byte.wrapping_sub(b'/');
        let is_before = |other: &u16| {
            let other = self.path_of(*other).iter();
            other.map(rank).lt(path.iter().map(rank))
        };
        self.sorted.partition_point(is_before)
    }

    /// The innermost export that contains an absolute path. Shortens `path` to the part below the export's top.
    pub fn innermost(&self, path: &mut &[u8]) -> Option<usize> {
        // An export is sorted before those below it.
        self.sorted.iter().rev().find_map(|number| {
            *path = below(self.full_path(*number), path)?;
            Some(usize::from(*number))
        })
    }

    /// Returns true if the directory of this path is in an export. Opening all exports asks for each of them, so this compares with few.
    fn is_exported(&self, dir: &[u8]) -> bool {
        let mut path = without_slash(dir);
        loop {
            let number = self.sorted.get(self.place_of(path));
            if number.is_some_and(|number| self.path_of(*number) == path) {
                return true;
            }
            if path.is_empty() {
                return false;
            }
            path = without_slash(path.head(path.len() - last(path).len()));
        }
    }

    /// The hook of the top of an export; 0: the export is not nested in another one.
    pub(super) fn hook_of(&mut self, number: usize) -> u64 {
        let path = self.path_of(number as u16);
        let (name, mut buffer) = (last(path), [0; EXPORT_PATH_BYTES_MAX]);
        let holder = path.head(path.len() - name.len());
        if !HAS_NFS4 || name.is_empty() || !self.is_exported(holder) {
            return 0;
        }
        // A link at the end is followed because of the ".".
        mem::copy_into(&mut buffer, path);
        mem::copy_into(buffer.tail_mut(holder.len()), b".\0");
        let Some(backend) = self.handles(Backend::Host as usize) else {
            return 0;
        };
        match backend.digest(None, mem::c_str(&buffer)) {
            Ok(holder) => hook(holder, last(self.path_of(number as u16))),
            Err(_) => 0,
        }
    }
}
