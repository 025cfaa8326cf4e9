//! The head of an executable in memory, as far as unpacking asks. Ours have four segments or more right behind the header, those
//! that are loaded first.

/// A segment that is loaded.
pub(crate) const LOAD: u32 = 1;
/// What may be done with it.
pub(crate) const EXECUTE: u32 = 1;
/// See [`EXECUTE`].
pub(crate) const WRITE: u32 = 2;

/// The header and the segments.
#[repr(C)]
pub(crate) struct Elf {
    _identity: [u8; 24],
    /// Where it begins.
    pub(crate) entry: usize,
    _offsets: [usize; 2],
    _flags: u32,
    _sizes: [u16; 6],
    /// In the order of their addresses.
    pub(crate) segments: [Segment; 4],
}

/// A program header.
#[repr(C)]
pub(crate) struct Segment {
    /// [`LOAD`] or something else.
    pub(crate) kind: u32,
    #[cfg(target_pointer_width = "64")]
    /// What may be done with it.
    pub(crate) flags: u32,
    _offset: usize,
    /// Where it lies.
    pub(crate) address: usize,
    _physical: usize,
    /// How many bytes of it the file has.
    pub(crate) in_file: usize,
    /// How many it has.
    pub(crate) in_memory: usize,
    #[cfg(target_pointer_width = "32")]
    /// What may be done with it.
    pub(crate) flags: u32,
    _align: usize,
}
