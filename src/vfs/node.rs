//! What names an object while it is used: a node for one request, a pin for longer.

/// The backends there can be, one of each. A node begins with the number of the one that it is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The host's files by handles; where there is no host, those of an archive, which are in memory.
    ByHandle,
    /// Files in memory.
    Ram,
    /// The host's files by paths; where there is no host, its disks, of which only what is inside is seen.
    ByPath = 3,
    /// What is inside images. The last: only its nodes have the highest bit.
    Images,
}

impl Backend {
    /// Numbers that a node can begin with.
    pub(super) const COUNT: usize = 8;
}

/// What may be done to an object, by the rules of where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights(u32);

impl Rights {
    /// Nothing.
    pub(super) const NONE: Self = Self::of(false, false);
    /// All.
    pub(super) const ALL: Self = Self::of(true, true);

    /// It may be changed, and images among its names entered.
    pub(super) const fn of(change: bool, enter: bool) -> Self {
        Self((change as u32) << 28 | (enter as u32) << 27)
    }
}

/// One object, for the length of one request: its backend in 3 bits, what may be done to it in 2, and 27 that are the backend's
/// business.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Node(u32);

impl Node {
    /// Bits of a generation.
    pub(super) const GENERATION_MASK: u16 = 0x7ff;

    /// A place in the backend's table, and which of the objects that were in it.
    pub(super) const fn new(
        backend: Backend,
        rights: Rights,
        slot: usize,
        generation: u16,
    ) -> Self {
        let generation = (generation & Self::GENERATION_MASK) as u32;
        Self::of_number(backend, rights, generation << 16 | slot as u32 & 0xffff)
    }

    /// What is known by a number of up to 27 bits.
    pub(super) const fn of_number(backend: Backend, rights: Rights, number: u32) -> Self {
        Self((backend as u32) << 29 | rights.0 | number)
    }

    /// That number.
    pub(super) const fn number(self) -> u32 {
        self.0 & ((1 << 27) - 1)
    }

    /// Whether it may be changed.
    pub(super) const fn may_change(self) -> bool {
        self.0 & Rights::of(true, false).0 != 0
    }

    /// Whether images among its names may be entered.
    pub(super) const fn may_enter(self) -> bool {
        self.0 & Rights::of(false, true).0 != 0
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

    /// Whether it lies inside an image.
    pub const fn is_inside(self) -> bool {
        cfg!(feature = "iso") && (self.0 as i32) < 0
    }
}

/// One object for longer than a request: it stays open until [`Tree::unpin`](super::Tree::unpin).
#[derive(PartialEq, Eq, Debug)]
pub struct Pin {
    pub(super) node: Node,
    /// The user that it is written to as; of a user's files, whether it is written to.
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
