//! What names an object while it is used: a node for one request, a pin for longer.

/// The backends there can be, one of each. A node begins with the number of the one that it is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The host's files by handles.
    Host,
    /// Files in memory.
    Ram,
    /// The host's files by paths.
    User = 3,
    /// What is inside images. The last: only its nodes have the highest bit.
    Images,
}

impl Backend {
    /// Numbers that a node can begin with.
    pub(super) const COUNT: usize = 8;
}

/// One object, for the length of one request: its backend in 3 bits, and 29 that are the backend's business.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Node(u32);

impl Node {
    /// Bits of a generation.
    pub(super) const GENERATION_MASK: u16 = 0x1fff;

    /// A place in the backend's table, and which of the objects that were in it.
    pub(super) const fn new(backend: Backend, slot: usize, generation: u16) -> Self {
        let generation = generation & Self::GENERATION_MASK;
        Self((backend as u32) << 29 | (generation as u32) << 16 | slot as u32 & 0xffff)
    }

    /// What is known by a number of up to 29 bits.
    pub(super) const fn of_number(backend: Backend, number: u32) -> Self {
        Self((backend as u32) << 29 | number)
    }

    /// That number.
    pub(super) const fn number(self) -> u32 {
        self.0 & ((1 << 29) - 1)
    }

    pub(super) const fn slot(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    pub(super) const fn generation(self) -> u16 {
        (self.0 >> 16) as u16 & Self::GENERATION_MASK
    }

    /// The number of its backend.
    pub(super) const fn backend(self) -> usize {
        (self.0 >> 29) as usize
    }

    /// Whether it is of this backend.
    pub(super) const fn is_of(self, backend: Backend) -> bool {
        self.backend() == backend as usize
    }

    /// Whether it lies inside an image.
    pub(super) const fn is_inside(self) -> bool {
        cfg!(feature = "iso") && (self.0 as i32) < 0
    }
}

/// One object for longer than a request: it stays open until [`Tree::unpin`](super::Tree::unpin).
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
