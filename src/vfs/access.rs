//! Access: what may be wanted of an object, and by which caller.

/// What a caller may want to do with an object. The numbers are the bits that modes have for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read the file or list the directory.
    Read = 4,
    /// Write to the file, or make and remove names in the directory.
    Write = 2,
    /// Run the file or look names up in the directory.
    Execute = 1,
}

/// Supplementary groups of a caller: RFC 5531 allows no more.
pub const GROUP_COUNT_MAX: usize = 16;

/// The caller: what the request says, to be believed as far as the export's rules go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// User; [`Caller::NOBODY`] for a caller that names none.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Other groups.
    pub groups: heapless::Vec<u32, GROUP_COUNT_MAX>,
}

impl Caller {
    /// No user and no group has this number: the kernel takes it for "no change".
    pub const NOBODY: u32 = u32::MAX;
}
