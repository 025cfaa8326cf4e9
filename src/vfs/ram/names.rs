//! The names in all directories, indexed by cookie (order of creation) and by digest of the name.

use super::super::handle::{Key, mac};
use super::map::Map;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirName {
    bytes: [u8; 255],
    len: u8,
    /// Number of the object.
    pub(super) object: u32,
}

impl DirName {
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

/// All names, by number of their directory.
///
/// A directory cannot contain two names with equal digests: adding the second fails with `NoSpace`. Digests are 64-bit MACs with a
/// secret key, so collisions do not occur in practice and clients cannot construct them.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Names by cookie.
    pub(super) entries: Map<DirName>,
    /// Cookies by digest of the name.
    cookies: Map<u64>,
    key: Key,
}

impl Names {
    /// Memory per name in bytes.
    pub(super) const SLOT_BYTES: usize = Map::<DirName>::SLOT_BYTES + Map::<u64>::SLOT_BYTES;

    /// Allocates space for `count` names. Call at start only.
    pub(super) fn new(count: usize, key: Key) -> Self {
        Self {
            entries: Map::new(count, key),
            cookies: Map::new(count, key),
            key,
        }
    }

    /// Number of names that can be added.
    pub(super) const fn left(&self) -> usize {
        self.entries.left()
    }

    /// Looks up a name in the directory `dir`: the number of its object.
    pub(super) fn get(&self, dir: u32, name: &[u8]) -> Option<u32> {
        let cookie = self.cookies.get((dir, self.digest(name)))?;
        let entry = self.entries.get((dir, *cookie))?;
        (entry.name() == name).then_some(entry.object)
    }

    /// Returns true if the digest of an absent name is not taken, so that the name can be added.
    pub(super) fn is_free(&self, dir: u32, name: &[u8]) -> bool {
        self.cookies.get((dir, self.digest(name))).is_none()
    }

    /// Adds a name. The caller has checked that there is space.
    pub(super) fn add(&mut self, dir: u32, cookie: u64, name: &[u8], object: u32) {
        let digest = self.digest(name);
        if let Some(entry) = DirName::new(name, object)
            && self.entries.insert((dir, cookie), entry)
        {
            self.cookies.insert((dir, digest), cookie);
        }
    }

    /// Removes an existing name.
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
