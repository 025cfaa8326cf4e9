//! A reading of the exports: their paths, hosts and rules, as the arguments and files name them.
//!
//! The tree has two readings in memory that is reserved at the start: the valid one, and the one that is being read. A reading is
//! cleared as a whole, so a server that reads its files again allocates nothing, however often the paths change.

use super::{Backend, Form, Rights};
use crate::mem::{Ends as _, Slots, c_str};
use crate::wire::exports::{Hosts, Rules, is_pattern};
use core::ffi::CStr;
use core::ops::Range;

/// The top of an export, as its backend knows it.
#[derive(Clone, Copy, Debug)]
pub struct ExportRoot {
    /// The backend.
    pub backend: Backend,
    /// Number of the export in handles: unique, and the same after a restart.
    pub tag: u32,
    /// True if the top is an ISO image file; clients see its contents.
    pub is_image: bool,
    /// True if the exported path contains symbolic links; [`Tree::real_path`](super::Tree::real_path) returns the path without.
    pub is_linked: bool,
    /// True if another object was the top before, or none.
    pub is_new: bool,
    /// A hash of the directory of another export in which the top is, and of its name there. Lists have it as inode number. 0: the
    /// export is not nested.
    pub hook: u64,
    /// The form of the handles of its objects.
    pub form: Form,
}

impl ExportRoot {
    /// The top of an export that the host cannot replace.
    pub const fn fixed(backend: Backend, tag: u32, is_image: bool) -> Self {
        Self {
            backend,
            tag,
            is_image,
            is_linked: false,
            is_new: false,
            hook: 0,
            form: Form::Path,
        }
    }
}

/// Hosts that may mount an export, and its rules for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client<'a> {
    /// The hosts.
    pub hosts: Hosts<'a>,
    /// The rules.
    pub rules: Rules,
}

impl Client<'_> {
    /// Every host.
    pub const fn everyone(rules: Rules) -> Self {
        Self {
            hosts: Hosts::Everyone,
            rules,
        }
    }
}

/// A directory that clients may mount.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// Absolute path as clients write it; empty if the number is free.
    pub path: &'a CStr,
    /// The exported object. `None`: it is missing, or the number is free.
    pub root: Option<ExportRoot>,
    reading: &'a Reading,
    /// Index + 1 of the first entry.
    first: u32,
}

impl<'a> Export<'a> {
    /// The hosts that may mount it. None: the number is free.
    pub fn clients(&self) -> impl Iterator<Item = Client<'a>> + use<'a> {
        self.reading.clients(self.first)
    }

    /// Returns true unless the number is free.
    pub const fn is_exported(&self) -> bool {
        self.first > 0
    }

    /// Returns true if the export cannot be opened now.
    pub const fn is_missing(&self) -> bool {
        self.root.is_none() && self.is_exported()
    }

    /// The rules that hold whatever the client: `fsid` and `mountpoint` of the first entry that has them; `rw`, `isos` if an entry
    /// has them; `async` if all entries have it.
    pub fn common_rules(&self) -> Rules {
        const OF_ANY: u8 = Rules::NEEDS_MOUNT | Rules::WRITABLE | Rules::ISOS;
        let (mut common, mut of_all) = (Rules::DEFAULT, Rules::ASYNC);
        for Entry { rules, .. } in self.reading.entries(self.first) {
            common.fsid = common.fsid.or(rules.fsid);
            common.set |= rules.set & OF_ANY;
            of_all &= rules.set;
        }
        common.with(of_all)
    }

    /// Returns true if the export is an ISO image; clients see its contents.
    pub fn is_image(&self) -> bool {
        self.root.is_some_and(|root| root.is_image)
    }

    pub(super) fn rights(&self) -> Rights {
        self.common_rules().rights()
    }
}

/// All exports. The number of an export is its index.
#[derive(Clone, Copy, Debug)]
pub struct Exports<'a> {
    pub(super) places: &'a [Place],
    pub(super) reading: &'a Reading,
}

impl<'a> Exports<'a> {
    /// Number of exports, with free numbers.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns true if no number was ever used.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The export with this number, which may be free.
    pub fn get(&self, number: usize) -> Option<Export<'a>> {
        let Place { root, path, .. } = *self.places.get(number)?;
        let path = self.reading.paths.get(path as usize);
        let text = path.map_or(Text::EMPTY, |path| path.text);
        Some(Export {
            path: c_str(self.reading.bytes(text)),
            root,
            reading: self.reading,
            first: path.map_or(0, |path| path.first),
        })
    }

    /// The exports in the order of their numbers, with free numbers.
    pub fn iter(&self) -> impl Iterator<Item = Export<'a>> + use<'a> {
        let all = *self;
        (0..all.len()).filter_map(move |number| all.get(number))
    }
}

/// The place of an export in the tree's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) root: Option<ExportRoot>,
    /// Index of its path in the valid reading; [`Place::FREE`]: none.
    pub(super) path: u32,
    /// True once an export of this number has ended.
    pub(super) has_ended: bool,
}

impl Place {
    pub(super) const FREE: u32 = u32::MAX;
}

/// A text of a reading, with a NUL at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Text {
    at: u32,
    len: u32,
    /// A hash of the text, so that most comparisons need not read it.
    digest: u32,
}

impl Text {
    const EMPTY: Self = Self {
        at: 0,
        len: 0,
        digest: 0,
    };

    const fn range(self) -> Range<usize> {
        self.at as usize..(self.at + self.len) as usize
    }
}

/// A path, and the list of its entries.
#[derive(Clone, Copy, Debug)]
struct Path {
    text: Text,
    /// Indices + 1 of its first and last entry.
    first: u32,
    last: u32,
    /// Number of the export; [`Place::FREE`]: none yet.
    number: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum KeptHosts {
    /// Number of the host name.
    Named {
        number: u32,
        is_pattern: bool,
    },
    Other(Hosts<'static>),
}

/// Hosts of a path, and their rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) hosts: KeptHosts,
    pub(super) rules: Rules,
    /// Index + 1 of the next entry of the same path; 0: this is the last.
    next: u32,
}

impl Entry {
    /// The rank of its hosts: see [`Hosts::rank`].
    pub(super) fn rank(&self) -> u8 {
        match &self.hosts {
            KeptHosts::Named { is_pattern, .. } => 2 * u8::from(*is_pattern),
            KeptHosts::Other(hosts) => hosts.rank(),
        }
    }
}

/// A host name of the valid reading.
#[derive(Clone, Copy, Debug)]
pub struct HostName<'a> {
    /// The name.
    pub name: &'a [u8],
    /// True if it has wildcards: it has no addresses.
    pub is_pattern: bool,
    /// The file that has it; empty: a command line.
    pub file: &'a [u8],
    /// Line and column in that file.
    pub at: (u32, u32),
}

/// A host name, and the place that has it first.
#[derive(Clone, Copy, Debug)]
struct Name {
    text: Text,
    file: Text,
    at: (u32, u32),
}

/// Counts that a reading can hold.
#[derive(Clone, Copy, Default, Debug)]
pub struct Room {
    /// Paths.
    pub paths: usize,
    /// Entries of hosts.
    pub entries: usize,
    /// Host names.
    pub names: usize,
    /// Size of all paths and host names (bytes), each with a NUL.
    pub bytes: usize,
}

/// See the head of the file.
#[derive(Default, Debug)]
pub(super) struct Reading {
    texts: Slots<u8>,
    paths: Slots<Path>,
    entries: Slots<Entry>,
    names: Slots<Name>,
}

fn digest(text: &[u8]) -> u32 {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    text.iter().fold(0x811c_9dc5, mix)
}

impl Reading {
    /// Makes memory for these counts. Called at the start only.
    pub(super) fn reserve(&mut self, room: &Room) {
        self.texts.reserve(room.bytes);
        self.paths.reserve(room.paths);
        self.entries.reserve(room.entries);
        self.names.reserve(room.names);
    }

    /// The counts in use.
    pub(super) fn used(&self) -> Room {
        Room {
            paths: self.paths.len(),
            entries: self.entries.len(),
            names: self.names.len(),
            bytes: self.texts.len(),
        }
    }

    pub(super) const fn clear(&mut self) {
        self.texts.clear();
        self.paths.clear();
        self.entries.clear();
        self.names.clear();
    }

    fn bytes(&self, text: Text) -> &[u8] {
        self.texts.get(text.range()).unwrap_or_default()
    }

    fn is(&self, kept: Text, digest: u32, text: &[u8]) -> bool {
        kept.digest == digest && self.bytes(kept).split_last() == Some((&0, text))
    }

    /// Copies a text, which has no NUL. `None`: no space.
    fn keep(&mut self, text: &[u8]) -> Option<Text> {
        let (at, len) = (self.texts.len(), text.len() + 1);
        if self.texts.count() - at < len {
            return None;
        }
        for byte in text.iter().chain(&[0]) {
            self.texts.push(*byte);
        }
        let (at, len, digest) = (at as u32, len as u32, digest(text));
        Some(Text { at, len, digest })
    }

    /// Returns the index of a path.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        let digest = digest(path);
        let is_it = |kept: &Path| self.is(kept.text, digest, path);
        // Entries of one path mostly follow each other.
        if self.paths.last().is_some_and(is_it) {
            return Some(self.paths.len() - 1);
        }
        self.paths.iter().position(is_it)
    }

    /// Adds hosts to a path, which may be new. Returns false if the path has these hosts already. `None`: no space.
    pub(super) fn add(&mut self, path: &[u8], client: &Client<'_>) -> Option<bool> {
        let at = match self.find(path) {
            Some(at) => at,
            None => {
                let text = self.keep(path)?;
                self.paths.push(Path {
                    text,
                    first: 0,
                    last: 0,
                    number: Place::FREE,
                })?
            }
        };
        let first = self.paths.get(at)?.first;
        let is_same = |other: Client<'_>| other.hosts == client.hosts;
        if self.clients(first).any(is_same) {
            return Some(false);
        }
        let hosts = match client.hosts {
            Hosts::Named(name) => KeptHosts::Named {
                number: self.keep_name(name)?,
                is_pattern: is_pattern(name),
            },
            Hosts::Network { address, bits } => KeptHosts::Other(Hosts::Network { address, bits }),
            Hosts::Everyone => KeptHosts::Other(Hosts::Everyone),
        };
        let entry = Entry {
            hosts,
            rules: client.rules,
            next: 0,
        };
        let number = self.entries.push(entry)? as u32 + 1;
        let path = self.paths.get_mut(at)?;
        let last = core::mem::replace(&mut path.last, number);
        match last.checked_sub(1) {
            None => path.first = number,
            Some(last) => self.entries.get_mut(last as usize)?.next = number,
        }
        Some(true)
    }

    /// Keeps a host name, unless an entry has it already, and returns its number.
    fn keep_name(&mut self, name: &[u8]) -> Option<u32> {
        let digest = digest(name);
        let mut names = self.names.iter();
        let known = names.position(|kept| self.is(kept.text, digest, name));
        let number = match known {
            Some(number) => number,
            None => {
                let text = self.keep(name)?;
                let (file, at) = (Text::EMPTY, (0, 0));
                self.names.push(Name { text, file, at })?
            }
        };
        Some(number as u32)
    }

    /// Records the place of the last host name, if it is new. Without space for the path of the file, it has none.
    pub(super) fn locate_name(&mut self, file: &[u8], at: (u32, u32)) {
        let is_it = |name: &&Name| self.is(name.file, digest(file), file);
        let known = self.names.iter().rev().find(is_it).map(|name| name.file);
        let Some(file) = known.or_else(|| self.keep(file)) else {
            return;
        };
        if let Some(name) = self.names.last_mut().filter(|name| name.at == (0, 0)) {
            (name.file, name.at) = (file, at);
        }
    }

    /// The host name with this number.
    pub(super) fn host_name(&self, number: usize) -> Option<HostName<'_>> {
        let name = self.names.get(number)?;
        let text = self.text(name.text);
        Some(HostName {
            name: text,
            is_pattern: is_pattern(text),
            file: self.text(name.file),
            at: name.at,
        })
    }

    /// A text without its NUL.
    fn text(&self, text: Text) -> &[u8] {
        let bytes = self.bytes(text);
        bytes.head(bytes.len().saturating_sub(1))
    }

    /// The entries of the path with this index.
    pub(super) fn entries_of(&self, path: u32) -> impl Iterator<Item = &Entry> {
        let path = self.paths.get(path as usize);
        self.entries(path.map_or(0, |path| path.first))
    }

    /// The entries from the one with the index `first` - 1 on.
    fn entries(&self, mut first: u32) -> impl Iterator<Item = &Entry> {
        core::iter::from_fn(move || {
            let entry = self.entries.get((first as usize).checked_sub(1)?)?;
            first = entry.next;
            Some(entry)
        })
    }

    /// The hosts of a path from the entry with the index `first` - 1 on.
    fn clients(&self, first: u32) -> impl Iterator<Item = Client<'_>> {
        self.entries(first).map(|entry| Client {
            hosts: match entry.hosts {
                KeptHosts::Named { number, .. } => {
                    let name = self.host_name(number as usize);
                    Hosts::Named(name.map_or(b"", |name| name.name))
                }
                KeptHosts::Other(hosts) => hosts,
            },
            rules: entry.rules,
        })
    }

    /// The path with this index.
    pub(super) fn path(&self, at: u32) -> Option<&[u8]> {
        let path = self.paths.get(at as usize)?;
        self.bytes(path.text).split_last().map(|(_, path)| path)
    }

    /// Records the number of the export with the path `at`.
    pub(super) fn set_number(&mut self, at: usize, number: usize) {
        if let Some(path) = self.paths.get_mut(at) {
            path.number = number as u32;
        }
    }

    /// Returns the index of a path that has no number yet, from the index `from` on.
    pub(super) fn next_without_number(&self, from: usize) -> Option<usize> {
        let mut paths = self.paths.iter().skip(from);
        let at = paths.position(|path| path.number == Place::FREE)?;
        Some(from + at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tree;
    use super::*;
    use std::collections::BTreeMap;

    fn everyone() -> Client<'static> {
        Client::everyone(Rules::DEFAULT)
    }

    /// The numbers of all exports, by path.
    fn numbers(tree: &Tree) -> BTreeMap<Vec<u8>, usize> {
        let exports = tree.exports().iter().enumerate();
        exports
            .filter(|(_, export)| export.is_exported())
            .map(|(number, export)| (export.path.to_bytes().to_vec(), number))
            .collect()
    }

    /// Exports that stay keep their numbers, new ones get those of ended ones, and no memory is added.
    #[test]
    fn thousand_changed_readings_use_the_same_memory() {
        const COUNT: usize = 100;
        let mut tree = Tree::default();
        let room = Room {
            paths: COUNT,
            entries: 2 * COUNT,
            names: 2 * COUNT,
            bytes: COUNT * 40,
        };
        tree.reserve(&room);
        let mut before = BTreeMap::new();
        for round in 0..1000usize {
            for at in 0..COUNT {
                // Half of the paths change with each round.
                let number = if at % 2 == 0 { at } else { at + round * COUNT };
                let path = format!("/srv/{number:0width$}", width = 1 + round % 20);
                let host = format!("host-{}", round + at % 7);
                let named = Client {
                    hosts: Hosts::Named(host.as_bytes()),
                    rules: Rules::DEFAULT,
                };
                tree.add_client(path.as_bytes(), &named).unwrap();
                tree.add_client(path.as_bytes(), &everyone()).unwrap();
            }
            let mut ended = Vec::new();
            tree.replace_clients(&mut |number, path, _| ended.push((path.to_vec(), number)));
            let now = numbers(&tree);
            assert_eq!(now.len(), COUNT);
            for (path, number) in &before {
                let is_ended = ended.contains(&(Vec::clone(path), *number));
                assert_eq!(now.get(path), Some(number).filter(|_| !is_ended));
            }
            assert!(
                tree.exports()
                    .iter()
                    .all(|export| export.clients().count() == 2)
            );
            before = now;
        }
        assert_eq!(tree.export_count_max(), COUNT);
        assert_eq!(tree.exports().len(), COUNT);
    }

    #[test]
    fn reading_without_space_leaves_the_exports_unchanged() {
        for (paths, entries, bytes) in [(2, 9, 99), (9, 2, 99), (9, 9, 6)] {
            let mut tree = Tree::default();
            tree.reserve(&Room {
                paths,
                entries,
                names: 0,
                bytes,
            });
            let add = |tree: &mut Tree, path: &[u8]| tree.add_client(path, &everyone());
            for path in [b"/a", b"/b"] {
                add(&mut tree, path).unwrap();
            }
            tree.replace_clients(&mut |_, _, _| unreachable!());
            let before = numbers(&tree);
            for path in [b"/c", b"/a"] {
                add(&mut tree, path).unwrap();
            }
            assert_eq!(add(&mut tree, b"/d"), None);
            tree.drop_clients();
            assert_eq!(numbers(&tree), before);
            // The whole space is free again.
            for path in [b"/d", b"/b"] {
                add(&mut tree, path).unwrap();
            }
            let mut ended = Vec::new();
            tree.replace_clients(&mut |number, path, _| ended.push((number, path.to_vec())));
            assert_eq!(ended, [(0, b"/a".to_vec())]);
            assert_eq!(tree.number_of(b"/d"), Some(0));
        }
    }
}
