//! References to objects in use: a node lasts for one request, a pin for longer.

/// The kinds of backends. A tree has at most one of each; the top 3 bits of a node are its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The host's files by handle. On a machine without an operating system: files of an archive, in memory.
    Host,
    /// Files in memory.
    Ram,
    /// Disks of a machine without an operating system.
    Media,
    /// The host's files by path.
    User,
    /// Contents of ISO images. Must be the last: [`Node::is_inside`] tests the highest bit, which only its nodes have.
    Images,
}

impl Backend {
    /// Number of values of a node's 3 bits.
    pub(super) const COUNT: usize = 8;
}

/// Operations that the export's rules allow for an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights(u32);

impl Rights {
    /// No operation is allowed.
    pub(super) const NONE: Self = Self::of(false, false);
    /// All operations are allowed.
    pub(super) const ALL: Self = Self::of(true, true);

    /// Creates rights. `change`: the object may be changed. `enter`: paths may continue inside image files of this directory.
    pub(super) const fn of(change: bool, enter: bool) -> Self {
        Self((change as u32) << 28 | (enter as u32) << 27)
    }
}

/// An object during one request. 3 bits: the backend; 2 bits: [`Rights`]; 27 bits: private to the backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Node(u32);

/// Nodes of the same object are equal, whatever their rights.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (self.0 ^ other.0) & !Rights::ALL.0 == 0
    }
}

impl Eq for Node {}

impl Node {
    /// Mask of the bits of a generation that fit a node.
    pub(super) const GENERATION_MASK: u16 = 0x7ff;

    /// The largest backend-private number.
    const NUMBER_MAX: u32 = (1 << 27) - 1;

    /// The bit of a number of the backend `User` that marks a directory above exports.
    const ABOVE: u32 = 1 << 26;

    /// Creates a node from a slot in the backend's table and the generation of the object in that slot.
    pub(super) const fn new(
        backend: Backend,
        rights: Rights,
        slot: usize,
        generation: u16,
    ) -> Self {
        let generation = (generation & Self::GENERATION_MASK) as u32;
        Self::of_number(backend, rights, generation << 16 | slot as u32 & 0xffff)
    }

    /// A node with a backend-private number of up to 27 bits.
    pub(super) const fn of_number(backend: Backend, rights: Rights, number: u32) -> Self {
        Self((backend as u32) << 29 | rights.0 | number)
    }

    /// The object with at most these rights.
    pub(super) const fn limited(self, rights: Rights) -> Self {
        Self(self.0 & (rights.0 | !Rights::ALL.0))
    }

    /// The object with at most the rights of `other`.
    pub(super) const fn limited_by(self, other: Self) -> Self {
        self.limited(Rights(other.0 & Rights::ALL.0))
    }

    /// The directory above exports with this number of up to 26 bits. No descriptor of the backend `User` is as large as the bit
    /// that marks it.
    pub(super) const fn above(number: u32) -> Self {
        Self::of_number(Backend::User, Rights::NONE, Self::ABOVE | number)
    }

    /// Returns true for a directory above exports.
    pub const fn is_above(self) -> bool {
        const MASK: u32 = (Backend::COUNT as u32 - 1) << 29 | Node::ABOVE;
        crate::config::HAS_NFS && self.0 & MASK == Self::above(0).0
    }

    /// The number of a directory above exports.
    pub(super) const fn above_number(self) -> u32 {
        self.0 & (Self::ABOVE - 1)
    }

    /// The backend-private number.
    pub(super) const fn number(self) -> u32 {
        self.0 & Self::NUMBER_MAX
    }

    /// Returns true if the export's rules allow changes of the object.
    pub(super) const fn may_change(self) -> bool {
        self.0 & Rights::of(true, false).0 != 0
    }

    /// Returns true if paths may continue inside image files of this directory.
    pub const fn may_enter(self) -> bool {
        self.0 & Rights::of(false, true).0 != 0
    }

    pub(super) const fn slot(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    pub(super) const fn generation(self) -> u16 {
        (self.0 >> 16) as u16 & Self::GENERATION_MASK
    }

    /// The number of the node's backend.
    pub(super) const fn backend(self) -> usize {
        (self.0 >> 29) as usize
    }

    /// Returns true if the object is inside an image.
    pub const fn is_inside(self) -> bool {
        crate::config::HAS_ISO && (self.0 as i32) < 0
    }
}

/// An object that stays open after the request, until [`Tree::unpin`](super::Tree::unpin).
#[derive(PartialEq, Eq, Debug)]
pub struct Pin {
    pub(super) node: Node,
    /// `host`: UID that writes are done as. `ram`: the access of the pin. Other backends: 0.
    pub(super) user: u32,
}

impl Pin {
    /// A copy of the pin that must not outlive the holder. Only one of the two may be released.
    pub(crate) const fn lend(&self) -> Self {
        Self { ..*self }
    }

    /// The object. It stays valid while the pin is held.
    pub const fn node(&self) -> Node {
        self.node
    }
}
