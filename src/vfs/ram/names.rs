//! The names in all directories: in the order in which they were made, and by themselves.

use super::super::handle::{Key, mac};
use super::map::Map;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    bytes: [u8; 255],
    len: u8,
    /// The number of what has this name.
    pub(super) object: u32,
}

impl Entry {
    fn new(name: &[u8], object: u32) -> Option<Self> {
        let mut bytes = [0; 255];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self {
            bytes,
            len: name.len() as u8,
            object,
        })
    }

    /// The name.
    pub(super) fn name(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// All names, by the number of their directory.
///
/// Two names of one directory whose digests are equal cannot be there together: there is no space for the second. The digests follow
/// from a secret and have 64 bits, so nobody meets such names, and nobody can look for them.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// By their cookies.
    pub(super) entries: Map<Entry>,
    /// The cookies, by digests of the names.
    cookies: Map<u64>,
    key: Key,
}

impl Names {
    /// What a name takes, in bytes.
    pub(super) const PLACE_BYTES: usize = Map::<Entry>::PLACE_BYTES + Map::<u64>::PLACE_BYTES;

    /// Space for so many names. Called at start only.
    pub(super) fn new(count: usize, key: Key) -> Self {
        Self {
            entries: Map::new(count, key),
            cookies: Map::new(count, key),
            key,
        }
    }

    /// How many more there is space for.
    pub(super) const fn left(&self) -> usize {
        self.entries.left()
    }

    /// What has this name in the directory `dir`.
    pub(super) fn get(&self, dir: u32, name: &[u8]) -> Option<u32> {
        let cookie = self.cookies.get((dir, self.digest(name)))?;
        let entry = self.entries.get((dir, *cookie))?;
        (entry.name() == name).then_some(entry.object)
    }

    /// Whether a name that is not there can be added, if there is space.
    pub(super) fn is_free(&self, dir: u32, name: &[u8]) -> bool {
        self.cookies.get((dir, self.digest(name))).is_none()
    }

    /// Adds a name for which there is space.
    pub(super) fn add(&mut self, dir: u32, cookie: u64, name: &[u8], object: u32) {
        let digest = self.digest(name);
        if let Some(entry) = Entry::new(name, object)
            && self.entries.insert((dir, cookie), entry)
        {
            self.cookies.insert((dir, digest), cookie);
        }
    }

    /// Removes a name that is there.
    pub(super) fn remove(&mut self, dir: u32, name: &[u8]) {
        let digest = self.digest(name);
        if let Some(cookie) = self.cookies.get((dir, digest)) {
            self.entries.remove((dir, *cookie));
            self.cookies.remove((dir, digest));
        }
    }

    fn digest(&self, name: &[u8]) -> u64 {
        mac(&self.key, name)
    }
}
