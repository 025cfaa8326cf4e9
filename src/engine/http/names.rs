//! The names of a directory that is listed: all of them, sorted, or if there are too many, the next ones in the order of the
//! directory. They stay for the next part of the listing, unless another one is read meanwhile.

use crate::mem::{self, Ends as _, Slots};
use crate::vfs::{Attr, Detail, FsError, FsResult, Name, Node, ObjectType, Tree};
use core::cmp::Ordering;
use core::ops::ControlFlow;

/// The order of a listing. Directories come before other objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Order {
    pub(super) key: Key,
    pub(super) is_reversed: bool,
}

/// The key of an order. Objects with equal keys are sorted by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// The name; upper and lower case are equal.
    Name,
    /// The time of the last write, latest first.
    Date,
    /// The size, largest first.
    Size,
    /// The order of the directory, whose names are too many to sort.
    Directory,
}

impl Order {
    /// The order that the query of a request asks for: `sort=date`, or reversed `sort=-date`.
    pub(super) fn of(query: &[u8]) -> Self {
        let mut words = query.split(|byte| *byte == b'&');
        let word = words.find_map(|word| word.strip_prefix(b"sort="));
        let word = word.unwrap_or_default();
        let reversed = word.strip_prefix(b"-");
        Self {
            key: match reversed.unwrap_or(word) {
                b"date" => Key::Date,
                b"size" => Key::Size,
                _ => Key::Name,
            },
            is_reversed: reversed.is_some(),
        }
    }
}

/// The knowledge about a listed object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The directory's own entry.
    Listed,
    /// The attributes.
    Read,
    /// The object was removed after it was listed.
    Removed,
}

/// A listed object.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Cookie that continues the directory after the name.
    pub(super) cookie: u64,
    /// See [`crate::vfs::DirEntry::id`].
    pub(super) id: u64,
    /// Offset of the name (bytes).
    start: u32,
    len: u8,
    pub(super) state: State,
    /// `None`: unknown, or the object has no path because another file system is mounted there.
    pub(super) kind: Option<ObjectType>,
    /// Length of a file (bytes).
    pub(super) size: u64,
    /// Time of the last write (seconds since 1970); `None`: unknown.
    pub(super) modified: Option<i64>,
}

impl Entry {
    /// Stores the attributes.
    pub(super) const fn set(&mut self, attr: &Attr) {
        self.kind = Some(attr.kind);
        if matches!(attr.kind, ObjectType::Regular) {
            self.size = attr.size;
        }
        self.modified = Some(attr.mtime.secs);
    }
}

/// Space for the names of one directory.
pub(super) struct Names {
    /// Number of the listing that read the names.
    pub(super) serial: u32,
    /// Number of the listing that began last.
    last_serial: u32,
    /// The names one after another.
    bytes: &'static mut [u8],
    len: usize,
    entries: Slots<Entry>,
    /// Indexes of the entries in the order of the listing; empty: that of `entries`.
    sorted: Slots<u16>,
    /// True if the directory has further names.
    pub(super) has_more: bool,
}

impl Names {
    /// Space for `count` names, which have `bytes_max` bytes together.
    pub(super) fn new(count: usize, bytes_max: usize) -> Self {
        Self {
            serial: 0,
            last_serial: 0,
            bytes: mem::bytes(bytes_max),
            len: 0,
            entries: Slots::new(count),
            sorted: Slots::new(count),
            has_more: false,
        }
    }

    /// Reads the names of a directory after a cookie, as many as there is space for. Names that no path can have are left out.
    pub(super) fn read(&mut self, tree: &mut Tree, dir: Node, from: u64) -> FsResult<()> {
        self.entries.clear();
        self.sorted.clear();
        (self.len, self.has_more) = (0, false);
        let ended = tree.readdir(dir, from, Detail::Names, &mut |found| {
            // "." and "..", too.
            if Name::new(found.name).is_err() {
                return ControlFlow::Continue(());
            }
            let end = self.len + found.name.len();
            let Some(place) = self.bytes.get_mut(self.len..end) else {
                return ControlFlow::Break(());
            };
            mem::copy_into(place, found.name);
            let entry = Entry {
                cookie: found.cookie,
                id: found.id,
                start: self.len as u32,
                len: found.name.len() as u8,
                // Above the exports, the attributes say nothing more, and those of an export may need its disk.
                state: match dir.is_above() {
                    true => State::Read,
                    false => State::Listed,
                },
                kind: found.kind,
                size: 0,
                modified: None,
            };
            if self.entries.push(entry).is_none() {
                return ControlFlow::Break(());
            }
            self.len = end;
            ControlFlow::Continue(())
        })?;
        self.has_more = !ended;
        match self.has_more && self.entries.is_empty() {
            true => Err(FsError::NameTooLong),
            false => Ok(()),
        }
    }

    /// The number of a listing that begins.
    pub(super) const fn next_serial(&mut self) -> u32 {
        self.last_serial = self.last_serial.wrapping_add(1);
        self.last_serial
    }

    /// Number of entries.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The entry with this index.
    pub(super) fn entry(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)
    }

    /// The name of the entry with this index; empty if there is none.
    pub(super) fn name(&self, index: usize) -> &[u8] {
        let Some(entry) = self.entries.get(index) else {
            return &[];
        };
        let start = entry.start as usize;
        self.bytes.head(start + usize::from(entry.len)).tail(start)
    }

    /// Sorts the entries.
    pub(super) fn sort(&mut self, order: Order) {
        for index in 0..self.entries.len() {
            let is_before =
                |other: &u16| self.compare(order, usize::from(*other), index) != Ordering::Greater;
            let place = self.sorted.partition_point(is_before);
            self.sorted.insert(place, index as u16);
        }
    }

    fn compare(&self, order: Order, one: usize, other: usize) -> Ordering {
        let [a, b] = [one, other].map(|index| self.entries.get(index));
        let (Some(a), Some(b)) = (a, b) else {
            return Ordering::Equal;
        };
        let [is_dir, other_is_dir] = [a, b].map(|it| it.kind == Some(ObjectType::Directory));
        if is_dir != other_is_dir {
            return other_is_dir.cmp(&is_dir);
        }
        let by_key = match order.key {
            Key::Date => b.modified.cmp(&a.modified),
            Key::Size => b.size.cmp(&a.size),
            Key::Name | Key::Directory => Ordering::Equal,
        };
        let (a, b) = (self.name(one), self.name(other));
        let [one, other] = [a, b].map(|name| name.iter().map(u8::to_ascii_lowercase));
        let by_name = || one.cmp(other).then_with(|| a.cmp(b));
        let compared = by_key.then_with(by_name);
        match order.is_reversed {
            true => compared.reverse(),
            false => compared,
        }
    }

    /// The index of the entry at a position of the listing.
    pub(super) fn at(&self, position: usize) -> Option<usize> {
        let sorted = self.sorted.get(position).map(|index| usize::from(*index));
        sorted.or_else(|| {
            let is_there = self.sorted.is_empty() && position < self.entries.len();
            is_there.then_some(position)
        })
    }

    /// The position after the name with this hash. If the name was removed meanwhile: `position`, which it had.
    pub(super) fn after(&self, hash: u64, position: usize) -> usize {
        let mut positions = 0..self.entries.len();
        let found = positions.find(|position| {
            let index = self.at(*position);
            index.is_some_and(|index| self.hash(index) == hash)
        });
        found.map_or(position, |position| position + 1)
    }

    /// A hash of the name of an entry.
    pub(super) fn hash(&self, index: usize) -> u64 {
        mem::fnv1a(mem::FNV_START, self.name(index))
    }
}
