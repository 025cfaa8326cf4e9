//! The ELF header and first program headers of an executable in memory. Our executables have at least four program headers,
//! directly after the ELF header; those of type PT_LOAD come first.

/// Type of a loaded segment (PT_LOAD).
pub(crate) const LOAD: u32 = 1;
/// Flag of an executable segment (PF_X).
pub(crate) const EXECUTE: u32 = 1;
/// Flag of a writable segment (PF_W).
pub(crate) const WRITE: u32 = 2;

/// The ELF header and the first program headers.
#[repr(C)]
pub(crate) struct Elf {
    _identity: [u8; 24],
    /// Address of the entry point.
    pub(crate) entry: usize,
    _offsets: [usize; 2],
    _flags: u32,
    _sizes: [u16; 6],
    /// The first four program headers, in the order of their addresses.
    pub(crate) segments: [Segment; 4],
}

/// A program header.
#[repr(C)]
pub(crate) struct Segment {
    /// Type: [`LOAD`] or another one.
    pub(crate) kind: u32,
    #[cfg(target_pointer_width = "64")]
    /// Access rights: the bits [`EXECUTE`] and [`WRITE`].
    pub(crate) flags: u32,
    _offset: usize,
    /// Address in memory.
    pub(crate) address: usize,
    _physical: usize,
    /// Size in the file (bytes).
    pub(crate) in_file: usize,
    /// Size in memory (bytes).
    pub(crate) in_memory: usize,
    #[cfg(target_pointer_width = "32")]
    /// Access rights: the bits [`EXECUTE`] and [`WRITE`].
    pub(crate) flags: u32,
    _align: usize,
}
