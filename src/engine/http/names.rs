//! The names of a directory that one part of a listing has: the next ones in the order of their bytes, or in that of the directory.

use crate::config::HTTP_SORTED_COUNT_MAX;
use crate::mem::{Ends as _, Slots};
use crate::vfs::{Detail, FsResult, Node, Tree};
use core::ops::ControlFlow;

/// Most bytes of a name.
const NAME_BYTES: usize = 255;

/// The order of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// By the bytes of the names.
    Sorted,
    /// As the directory has them: there are more than [`HTTP_SORTED_COUNT_MAX`].
    Unsorted,
}

/// A name.
#[derive(Clone, Copy)]
struct Entry {
    /// Cookie that continues the directory after the name.
    cookie: u64,
    /// Index of the cell that has its bytes.
    cell: u16,
    len: u8,
}

/// Space for the names of one part.
pub(super) struct Names {
    cells: Slots<[u8; NAME_BYTES]>,
    /// The names in the order of the listing.
    entries: Slots<Entry>,
    /// True if the directory has further names.
    pub(super) has_more: bool,
}

impl Names {
    /// Space for `count` names.
    pub(super) fn new(count: usize) -> Self {
        Self {
            cells: Slots::new(count),
            entries: Slots::new(count),
            has_more: false,
        }
    }

    /// Collects the first names of a directory: sorted, if there are few.
    pub(super) fn begin(&mut self, tree: &mut Tree, dir: Node) -> FsResult<Order> {
        let mut count = 0;
        each(tree, dir, 0, &mut |_, _| {
            count += 1;
            match count > HTTP_SORTED_COUNT_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        if count > HTTP_SORTED_COUNT_MAX {
            self.next(tree, dir, 0)?;
            return Ok(Order::Unsorted);
        }
        self.sort(tree, dir, b"")?;
        Ok(Order::Sorted)
    }

    /// Collects the names after the one with this cookie.
    pub(super) fn resume(
        &mut self,
        tree: &mut Tree,
        dir: Node,
        order: Order,
        cookie: u64,
    ) -> FsResult<()> {
        if order == Order::Unsorted {
            return self.next(tree, dir, cookie);
        }
        let (mut last, mut last_len) = ([0; NAME_BYTES], 0);
        each(tree, dir, 0, &mut |name, at| {
            if at != cookie {
                return ControlFlow::Continue(());
            }
            last_len = crate::vfs::walk::put(&mut last, 0, name);
            ControlFlow::Break(())
        })?;
        if last_len == 0 {
            // The name was removed. A listing that begins again would repeat names.
            self.clear();
            return Ok(());
        }
        self.sort(tree, dir, last.head(last_len))
    }

    /// Collects names in the order of the directory.
    fn next(&mut self, tree: &mut Tree, dir: Node, cookie: u64) -> FsResult<()> {
        self.clear();
        each(tree, dir, cookie, &mut |name, at| {
            self.has_more = self.entries.is_full();
            if self.has_more {
                return ControlFlow::Break(());
            }
            self.insert(self.entries.len(), name, at);
            ControlFlow::Continue(())
        })
    }

    /// Collects the lowest names above `after`.
    fn sort(&mut self, tree: &mut Tree, dir: Node, after: &[u8]) -> FsResult<()> {
        self.clear();
        each(tree, dir, 0, &mut |name, at| {
            if name > after {
                let place = self.count_below(name);
                let is_full = self.entries.is_full();
                self.has_more |= is_full;
                if !is_full || place < self.entries.len() {
                    self.insert(place, name, at);
                }
            }
            ControlFlow::Continue(())
        })
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.cells.clear();
        self.has_more = false;
    }

    /// Number of entries whose names are lower.
    fn count_below(&self, name: &[u8]) -> usize {
        self.entries
            .partition_point(|entry| self.bytes(entry) < name)
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        let cell = self.cells.get(usize::from(entry.cell));
        cell.map_or(&[], |cell| cell.head(entry.len.into()))
    }

    /// Inserts a name. If there is no space, removes the last one.
    fn insert(&mut self, place: usize, name: &[u8], cookie: u64) {
        let cell = match self.entries.is_full() {
            true => self.entries.pop().map(|last| last.cell.into()),
            false => self.cells.push([0; NAME_BYTES]),
        };
        let Some(index) = cell else {
            return;
        };
        let len = match self.cells.get_mut(index) {
            Some(cell) => crate::vfs::walk::put(cell, 0, name),
            None => 0,
        };
        let entry = Entry {
            cookie,
            cell: index as u16,
            len: len as u8,
        };
        let end = self.entries.len();
        self.entries.push(entry);
        if let Some(moved) = self.entries.get_mut(place..=end) {
            moved.rotate_right(1);
        }
    }

    /// The name with this index, and its cookie.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], u64)> {
        let entry = self.entries.get(index)?;
        Some((self.bytes(entry), entry.cookie))
    }
}

/// Calls `call` with each name after a cookie but "." and "..", and its cookie.
fn each(
    tree: &mut Tree,
    dir: Node,
    from: u64,
    call: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>,
) -> FsResult<()> {
    tree.readdir(dir, from, Detail::Names, &mut |entry| match entry.name {
        b"." | b".." => ControlFlow::Continue(()),
        name => call(name, entry.cookie),
    })
    .map(drop)
}
