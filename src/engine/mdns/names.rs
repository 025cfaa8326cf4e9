//! Table of names in use, each with a number and a use count. Names form a tree of labels: names with a common suffix share the
//! suffix's entries.

use crate::mem::{self, Ends as _, Slots};
use crate::wire::dns::{LABEL_BYTES_MAX, Label, Name};
use crate::wire::label::is_like;

/// Index of a name in [`Names`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NameId(u16);

impl NameId {
    /// The root: the name without labels. No host or service has this name.
    pub const ROOT: Self = Self(0);

    /// Returns the index for tables with one element per name.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Maximum number of labels of a name: those of an IPv6 reverse mapping.
const LABEL_COUNT_MAX: usize = 34;
/// Number of hash buckets.
const BUCKET_COUNT: u32 = 256;

/// A name: its first label, and the parent, that is, the name without that label.
#[derive(Clone, Copy, Debug)]
struct NameEntry {
    parent: NameId,
    /// The next name in the same hash bucket, or the next free entry.
    next: NameId,
    /// Use count: child names and users of this name. 0: the entry is free.
    use_count: u16,
    len: u8,
    label: [u8; LABEL_BYTES_MAX],
}

impl NameEntry {
    fn label(&self) -> &[u8] {
        self.label.head(self.len.into())
    }
}

/// The table of names.
#[derive(Debug)]
pub struct Names {
    entries: Slots<NameEntry>,
    /// The first free entry; the root: none.
    free: NameId,
    /// Secret seed of the hash, so that a peer cannot choose names that all fall into one bucket.
    seed: u32,
    /// Hash buckets: the first name of each.
    buckets: &'static mut [NameId; BUCKET_COUNT as usize],
}

impl Names {
    /// Creates a table for `count` names, less than 65,536. `seed` seeds the hash.
    pub fn new(count: usize, seed: u32) -> Self {
        let mut entries = Slots::new(count);
        entries.push(NameEntry {
            parent: NameId::ROOT,
            next: NameId::ROOT,
            use_count: 1,
            len: 0,
            label: [0; LABEL_BYTES_MAX],
        });
        Self {
            entries,
            buckets: mem::leak([NameId::ROOT; BUCKET_COUNT as usize]),
            free: NameId::ROOT,
            seed,
        }
    }

    fn entry(&self, name: NameId) -> Option<&NameEntry> {
        self.entries.get(name.index())
    }

    /// Finds the name `label`.`parent`. `None`: the name is not in use.
    pub fn child(&self, parent: NameId, label: &[u8]) -> Option<NameId> {
        let mut name = *self.buckets.get(bucket_of(self.seed, parent, label))?;
        while name != NameId::ROOT {
            let entry = self.entry(name)?;
            if entry.parent == parent && is_like(entry.label(), label) {
                return Some(name);
            }
            name = entry.next;
        }
        None
    }

    /// Finds or adds the name `label`.`parent` and increments its use count. `None`: the table is full.
    pub fn add(&mut self, parent: NameId, label: &[u8]) -> Option<NameId> {
        if let Some(name) = self.child(parent, label) {
            self.add_use(name);
            return Some(name);
        }
        let mut entry = NameEntry {
            parent,
            next: NameId::ROOT,
            use_count: 1,
            len: label.len() as u8,
            label: [0; LABEL_BYTES_MAX],
        };
        entry.label.get_mut(..label.len())?.copy_from_slice(label);
        let name = self.free;
        let name = match self.entries.get_mut(name.index()) {
            Some(slot) if name != NameId::ROOT => {
                self.free = slot.next;
                *slot = entry;
                name
            }
            _ => NameId(self.entries.push(entry)? as u16),
        };
        self.add_use(parent);
        self.insert(name);
        Some(name)
    }

    /// Finds or adds the name `labels`.`parent`, where `labels` is separated by dots, and increments its use count. `None`: the
    /// table is full.
    pub fn extend(&mut self, parent: NameId, labels: &[u8]) -> Option<NameId> {
        let mut name = parent;
        self.add_use(name);
        for label in labels.rsplit(|byte| *byte == b'.') {
            self.prepend(&mut name, label)?;
        }
        Some(name)
    }

    /// Finds or adds `name` and increments its use count. `None`: the table is full, or the name has too many labels.
    pub fn intern(&mut self, name: Name<'_>) -> Option<NameId> {
        let mut labels = LabelVec::new();
        collect_labels(name, &mut labels)?;
        let mut name = NameId::ROOT;
        for label in labels.iter().rev() {
            self.prepend(&mut name, label)?;
        }
        Some(name)
    }

    /// Replaces `name` by `label`.`name`, which is added if necessary. Increments the use count of the longer name and decrements
    /// that of the shorter one.
    fn prepend(&mut self, name: &mut NameId, label: &[u8]) -> Option<()> {
        let next = self.add(*name, label);
        self.remove_use(*name);
        *name = next?;
        Some(())
    }

    /// Returns true if `name` has few enough labels for the table.
    pub fn can_hold(&self, name: Name<'_>) -> bool {
        collect_labels(name, &mut LabelVec::new()).is_some()
    }

    /// The number of names that fit into the empty table.
    pub const fn count(&self) -> usize {
        self.entries.count()
    }

    /// Returns true if `count` more names fit.
    pub fn has_space(&self, count: usize) -> bool {
        let mut left = count.saturating_sub(self.entries.count() - self.entries.len());
        let mut free = self.free;
        while left > 0
            && free != NameId::ROOT
            && let Some(entry) = self.entries.get(free.index())
        {
            (left, free) = (left - 1, entry.next);
        }
        left == 0
    }

    /// Finds `name`. `None`: the name is not in use.
    pub fn find(&self, name: Name<'_>) -> Option<NameId> {
        let (mut labels, mut found) = (LabelVec::new(), NameId::ROOT);
        collect_labels(name, &mut labels)?;
        for label in labels.iter().rev() {
            found = self.child(found, label)?;
        }
        Some(found)
    }

    /// Increments the name's use count.
    #[inline(never)] // −223 bytes: ten callers.
    pub fn add_use(&mut self, name: NameId) {
        if let Some(entry) = self.entries.get_mut(name.index()) {
            entry.use_count = entry.use_count.saturating_add(1);
        }
    }

    /// Decrements the name's use count. A name with the use count 0 is removed, which also decrements the use count of its parent.
    pub fn remove_use(&mut self, name: NameId) {
        let mut name = name;
        // The root is never removed.
        while name != NameId::ROOT
            && let Some(entry) = self.entries.get_mut(name.index())
        {
            entry.use_count = entry.use_count.saturating_sub(1);
            if entry.use_count != 0 {
                return;
            }
            let parent = entry.parent;
            self.unlink(name);
            if let Some(entry) = self.entries.get_mut(name.index()) {
                entry.next = self.free;
                self.free = name;
            }
            name = parent;
        }
    }

    /// Inserts a name into its hash bucket.
    fn insert(&mut self, name: NameId) {
        if let Some(entry) = self.entries.get_mut(name.index())
            && let bucket = bucket_of(self.seed, entry.parent, entry.label())
            && let Some(first) = self.buckets.get_mut(bucket)
        {
            entry.next = core::mem::replace(first, name);
        }
    }

    /// Removes a name from its hash bucket.
    fn unlink(&mut self, name: NameId) {
        let Some(entry) = self.entry(name) else {
            return;
        };
        let (bucket, next) = (
            bucket_of(self.seed, entry.parent, entry.label()),
            entry.next,
        );
        let Some(first) = self.buckets.get_mut(bucket) else {
            return;
        };
        // Link the predecessor to the successor.
        if *first == name {
            *first = next;
        }
        let mut previous = *first;
        while previous != NameId::ROOT
            && let Some(entry) = self.entries.get_mut(previous.index())
        {
            if entry.next == name {
                entry.next = next;
            }
            previous = entry.next;
        }
    }

    /// Replaces the first label of a name, and so changes all names that end in it. Returns false if another name already has this
    /// label and parent.
    pub fn relabel(&mut self, name: NameId, label: &[u8]) -> bool {
        let parent = self.parent(name);
        if self.child(parent, label).is_some_and(|other| other != name) {
            return false;
        }
        self.unlink(name);
        if let Some(entry) = self.entries.get_mut(name.index())
            && let Some(bytes) = entry.label.get_mut(..label.len())
        {
            bytes.copy_from_slice(label);
            entry.len = label.len() as u8;
        }
        self.insert(name);
        true
    }

    /// Returns the first label of a name.
    #[inline(never)] // −197 bytes: 13 callers.
    pub fn label(&self, name: NameId) -> &[u8] {
        self.entry(name).map_or(&[], NameEntry::label)
    }

    /// Returns the name without its first label.
    pub fn parent(&self, name: NameId) -> NameId {
        self.entry(name).map_or(NameId::ROOT, |entry| entry.parent)
    }

    /// Iterates over the labels of a name, for [`Writer`](crate::wire::dns::Writer).
    pub const fn labels(&self, name: NameId) -> Labels<'_> {
        Labels { names: self, name }
    }

    /// Iterates over the bytes of the labels of a name.
    pub fn texts(&self, name: NameId) -> impl Iterator<Item = &[u8]> {
        self.labels(name).map(|label| label.bytes)
    }
}

/// Iterator over the labels of a name in the table, the first label first.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    names: &'a Names,
    name: NameId,
}

impl<'a> Iterator for Labels<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        let entry = self.names.entry(self.name)?;
        let number = core::mem::replace(&mut self.name, entry.parent).0;
        (number != 0).then(|| Label {
            bytes: entry.label(),
            number,
        })
    }
}

/// The labels of a name in a message.
type LabelVec<'a> = heapless::Vec<&'a [u8], LABEL_COUNT_MAX>;

/// Collects the labels of a name. `None`: the name has too many labels.
fn collect_labels<'a>(name: Name<'a>, labels: &mut LabelVec<'a>) -> Option<()> {
    for label in name.labels() {
        labels.push(label).ok()?;
    }
    Some(())
}

/// Returns the hash bucket of a name.
fn bucket_of(seed: u32, parent: NameId, label: &[u8]) -> usize {
    let hash = hash(seed ^ u32::from(parent.0), label);
    ((hash ^ hash >> 16) & (BUCKET_COUNT - 1)) as usize
}

/// Returns the FNV-1a hash of `bytes`, with ASCII letters in lower case.
pub(super) fn hash(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_text(names: &Names, name: NameId) -> String {
        let labels: Vec<_> = names
            .labels(name)
            .map(|label| String::from_utf8_lossy(label.bytes).into_owned())
            .collect();
        labels.join(".")
    }

    #[test]
    fn name_is_found_until_its_last_release() {
        let mut names = Names::new(8, 7);
        let name = Name::of(b"\x03box\x05local\0");
        assert_eq!(names.find(name), None);
        let id = names.intern(name).unwrap();
        assert_eq!(names.intern(Name::of(b"\x03BOX\x05Local\0")), Some(id));
        assert_eq!(names.find(name), Some(id));
        assert_eq!(to_text(&names, id), "box.local");
        names.remove_use(id);
        assert_eq!(names.find(name), Some(id));
        names.remove_use(id);
        assert_eq!(names.find(name), None);
        assert_eq!(names.find(Name::of(b"\x05local\0")), None);
    }

    #[test]
    fn full_table_reuses_released_entries() {
        let mut names = Names::new(4, 7);
        let local = names.add(NameId::ROOT, b"local").unwrap();
        let a = names.add(local, b"a").unwrap();
        let _b = names.add(local, b"b").unwrap();
        assert_eq!(names.add(local, b"c"), None);
        assert_eq!(names.intern(Name::of(b"\x01x\x01c\x05local\0")), None);
        names.remove_use(a);
        let c = names.add(local, b"c").unwrap();
        assert_eq!(to_text(&names, c), "c.local");
        assert_eq!(names.child(local, b"a"), None);
        // The failed `intern` left no entries in the table.
        names.remove_use(c);
        assert!(names.add(local, b"d").is_some());
    }

    #[test]
    fn relabel_changes_all_names_with_that_suffix() {
        let mut names = Names::new(16, 7);
        let host = names.intern(Name::of(b"\x03box\x05local\0")).unwrap();
        let below = names.add(host, b"sub").unwrap();
        let other = names.intern(Name::of(b"\x03cat\x05local\0")).unwrap();
        assert!(!names.relabel(host, b"CAT"));
        assert!(names.relabel(host, b"box-2"));
        assert_eq!(to_text(&names, below), "sub.box-2.local");
        assert_eq!(names.find(Name::of(b"\x05box-2\x05local\0")), Some(host));
        assert_eq!(names.find(Name::of(b"\x03box\x05local\0")), None);
        names.remove_use(other);
        assert!(names.relabel(host, b"cat"));
    }

    #[test]
    fn random_adds_and_releases_keep_the_table_consistent() {
        let mut names = Names::new(400, 7);
        let mut kept = std::collections::HashMap::new();
        let mut seed = 7u32;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = seed >> 22;
            let label = format!("host-{key}");
            if let Some(id) = kept.remove(&key) {
                assert_eq!(names.find(Name::of(&wire(&label))), Some(id));
                names.remove_use(id);
            } else if let Some(id) = names.intern(Name::of(&wire(&label))) {
                kept.insert(key, id);
            } else {
                assert!(kept.len() >= 398);
            }
        }
        for (key, id) in kept {
            assert_eq!(to_text(&names, id), format!("host-{key}.local"));
        }
    }

    fn wire(label: &str) -> Vec<u8> {
        let mut name = vec![label.len() as u8];
        name.extend_from_slice(label.as_bytes());
        name.extend_from_slice(b"\x05local\0");
        name
    }
}
