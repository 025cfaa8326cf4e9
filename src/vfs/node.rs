//! What names an object while it is used: a node for one request, a pin for longer.

/// One object, for the length of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Node(pub(super) u32);

impl Node {
    /// A place in the backend's table, and which of the objects that were in it: a number of 15 bits.
    pub(super) const fn new(slot: usize, generation: u16) -> Self {
        Self(slot as u32 & 0xffff | (generation as u32) << 16)
    }

    pub(super) const fn slot(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    pub(super) const fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// A place among the objects inside images: negative, as no descriptor is, nor a place in a table.
    pub(super) const fn inside(place: usize) -> Self {
        Self(place as u32 | 1 << 31)
    }

    /// Whether it lies inside an image.
    pub(super) const fn is_inside(self) -> bool {
        cfg!(feature = "iso") && (self.0 as i32) < 0
    }
}

/// One object for longer than a request: it stays open until [`Content::unpin`](super::Content::unpin).
#[derive(PartialEq, Eq, Debug)]
pub struct Pin {
    pub(super) node: Node,
    /// The user that it is written to as.
    pub(super) user: u32,
}

impl Pin {
    /// The same pin, for a caller that does not outlast its holder: one of them gives it back.
    pub(crate) const fn lend(&self) -> Self {
        Self { ..*self }
    }

    /// The object. It stays valid while the pin is held.
    pub const fn node(&self) -> Node {
        self.node
    }
}
