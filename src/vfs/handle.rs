//! What stands in a handle: version, form, the export's tag, and one of three bodies.
//!
//! The tag follows from file system and inode of the export's top, so it outlives restarts and renames above the export.
//! Kernel bodies carry a MAC because the kernel's bytes reach the whole file system. Trails carry none: they are walked
//! beneath the export with the server's own rights, so forging one gains nothing.

use super::{FsError, FsResult, Handle};
use core::hash::Hasher as _;
use siphasher::sip::SipHasher24;

const VERSION: u8 = 1;
const FORM_ROOT: u8 = 0;
const FORM_KERNEL: u8 = 1;
const FORM_TRAIL: u8 = 2;
/// Version, form and tag.
const HEAD_BYTES: usize = 6;
/// A root's handle has the length that MOUNT version 1 prescribes, so it is the same in both versions.
const ROOT_BYTES: usize = 32;
const MAC_BYTES: usize = 8;
/// Bytes that the kernel may take: the rest is head, type and MAC.
pub(super) const KERNEL_BYTES_MAX: usize = Handle::BYTES_MAX - HEAD_BYTES - 1 - MAC_BYTES;
/// Ancestors that leave a trace. Deeper ones are counted only.
pub(super) const TRACE_COUNT_MAX: usize = Handle::BYTES_MAX - HEAD_BYTES - 8 - 4 - 8 - 1;

/// A secret that lasts as long as the handles made with it.
pub(super) type Key = [u8; 16];

/// The part of a handle after its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body<'a> {
    /// The top of the export.
    Root,
    /// The kernel's own handle, for `open_by_handle_at`.
    Kernel { kind: u8, bytes: &'a [u8] },
    /// Where the object was seen.
    Trail(Trail),
}

/// Where an object was seen: its parent, and a trace of each directory between that and the export's top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trail {
    pub(super) inode: u64,
    /// Tells an inode from a later one of the same number; 0 where the file system does not.
    pub(super) generation: u32,
    /// Inode number of the directory it was seen in.
    pub(super) parent: u64,
    /// Directories from below the top down to the parent.
    pub(super) depth: u8,
    traces: [u8; TRACE_COUNT_MAX],
}

impl Trail {
    /// The trail of an object in the export's top.
    pub(super) const fn below_root(root: u64, inode: u64, generation: u32) -> Self {
        Self {
            inode,
            generation,
            parent: root,
            depth: 0,
            traces: [0; TRACE_COUNT_MAX],
        }
    }

    /// The trail of an object in the directory of this trail.
    pub(super) fn below(&self, inode: u64, generation: u32) -> Self {
        let mut traces = self.traces;
        if let Some(next) = traces.get_mut(usize::from(self.depth)) {
            *next = trace(self.inode);
        }
        Self {
            inode,
            generation,
            parent: self.inode,
            depth: self.depth.saturating_add(1),
            traces,
        }
    }

    /// Whether the directory `inode` may lie on the way, `level` directories below the top.
    pub(super) fn passes(&self, level: usize, inode: u64) -> bool {
        let at_parent = level + 1 == usize::from(self.depth);
        self.traces
            .get(level)
            .is_none_or(|seen| *seen == trace(inode))
            && (!at_parent || inode == self.parent)
    }
}

/// One byte of an inode number.
const fn trace(inode: u64) -> u8 {
    (inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Body<'_> {
    /// The handle of this body in the export of `tag`; `None` when the kernel's bytes are too many.
    pub(super) fn seal(&self, tag: u32, key: &Key) -> Option<Handle> {
        let mut bytes = [0; Handle::BYTES_MAX];
        let mut at = 0;
        let mut put = |more: &[u8]| {
            let room = bytes.get_mut(at..at + more.len());
            at += more.len();
            room.map(|room| room.copy_from_slice(more))
        };
        let form = match self {
            Self::Root => FORM_ROOT,
            Self::Kernel { .. } => FORM_KERNEL,
            Self::Trail(_) => FORM_TRAIL,
        };
        put(&[VERSION, form])?;
        put(&tag.to_le_bytes())?;
        match self {
            Self::Root => put(&[0; ROOT_BYTES - HEAD_BYTES])?,
            Self::Kernel { kind, bytes } => {
                put(&[*kind])?;
                put(bytes)?;
            }
            Self::Trail(trail) => {
                put(&trail.inode.to_le_bytes())?;
                put(&trail.generation.to_le_bytes())?;
                put(&trail.parent.to_le_bytes())?;
                put(&[trail.depth])?;
                put(trail
                    .traces
                    .get(..usize::from(trail.depth))
                    .unwrap_or(&trail.traces))?;
            }
        }
        if form == FORM_KERNEL {
            let mac = mac(key, bytes.get(..at)?);
            bytes
                .get_mut(at..at + MAC_BYTES)?
                .copy_from_slice(&mac.to_le_bytes());
            at += MAC_BYTES;
        }
        Handle::new(bytes.get(..at)?)
    }
}

/// Takes a handle apart: the export's tag and the body. What is not exactly as [`Body::seal`] makes it is `BadHandle`.
pub(super) fn open<'a>(handle: &'a [u8], key: &Key) -> FsResult<(u32, Body<'a>)> {
    parse(handle, key).ok_or(FsError::BadHandle)
}

fn parse<'a>(handle: &'a [u8], key: &Key) -> Option<(u32, Body<'a>)> {
    let mut rest = handle;
    let [version, form] = *take(&mut rest)?;
    let tag = u32::from_le_bytes(*take(&mut rest)?);
    if version != VERSION {
        return None;
    }
    let body = match form {
        FORM_ROOT if handle.len() == ROOT_BYTES && rest.iter().all(|byte| *byte == 0) => Body::Root,
        FORM_KERNEL => {
            let (sealed, seal) = handle.split_last_chunk::<MAC_BYTES>()?;
            let [kind] = *take(&mut rest)?;
            let bytes = rest.get(..rest.len().checked_sub(MAC_BYTES)?)?;
            if mac(key, sealed) != u64::from_le_bytes(*seal) {
                return None;
            }
            Body::Kernel { kind, bytes }
        }
        FORM_TRAIL => {
            let inode = u64::from_le_bytes(*take(&mut rest)?);
            let generation = u32::from_le_bytes(*take(&mut rest)?);
            let parent = u64::from_le_bytes(*take(&mut rest)?);
            let [depth] = *take(&mut rest)?;
            let mut traces = [0; TRACE_COUNT_MAX];
            let left = traces.get_mut(..usize::from(depth).min(TRACE_COUNT_MAX))?;
            if left.len() != rest.len() {
                return None;
            }
            left.copy_from_slice(rest);
            Body::Trail(Trail {
                inode,
                generation,
                parent,
                depth,
                traces,
            })
        }
        _ => return None,
    };
    Some((tag, body))
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(head)
}

fn mac(key: &Key, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(bytes);
    hasher.finish()
}

/// 32 bits of `words` that differ when the words do, nearly always.
pub(super) fn digest(words: &[u64]) -> u32 {
    let folded = words.iter().fold(0u64, |sum, word| {
        (sum ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    });
    (folded ^ (folded >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &Key = b"0123456789abcdef";

    fn check(body: Body<'_>, len: usize) {
        let handle = body.seal(7, KEY).unwrap();
        assert_eq!(handle.bytes().len(), len);
        assert_eq!(open(handle.bytes(), KEY), Ok((7, body)));
        for end in 0..len {
            assert!(open(&handle.bytes()[..end], KEY).is_err());
        }
        for bit in 0..len * 8 {
            let mut flipped = handle.bytes().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(open(&flipped, KEY), Ok((7, body)), "bit {bit}");
        }
    }

    #[test]
    fn every_form_round_trips_and_no_flipped_bit_passes() {
        check(Body::Root, 32);
        check(
            Body::Kernel {
                kind: 1,
                bytes: &[3; 8],
            },
            23,
        );
        check(
            Body::Kernel {
                kind: 1,
                bytes: &[3; KERNEL_BYTES_MAX],
            },
            64,
        );
        check(Body::Trail(Trail::below_root(2, 3, 4)), 27);
        let mut trail = Trail::below_root(2, 3, 4);
        for inode in 10..200 {
            trail = trail.below(inode, 5);
        }
        check(Body::Trail(trail), 64);
    }

    #[test]
    fn kernel_bytes_that_do_not_fit_make_no_handle() {
        let body = Body::Kernel {
            kind: 1,
            bytes: &[3; KERNEL_BYTES_MAX + 1],
        };
        assert!(body.seal(7, KEY).is_none());
    }

    #[test]
    fn another_key_opens_no_kernel_handle() {
        let handle = Body::Kernel {
            kind: 1,
            bytes: &[3; 8],
        }
        .seal(7, KEY)
        .unwrap();
        assert_eq!(open(handle.bytes(), &[0; 16]), Err(FsError::BadHandle));
    }

    #[test]
    fn a_trail_knows_its_way() {
        let file = Trail::below_root(1, 100, 0).below(200, 0).below(300, 0);
        assert_eq!((file.parent, file.depth), (200, 2));
        assert!(file.passes(0, 100) && file.passes(1, 200));
        assert!(!file.passes(1, 201));
        assert!((0..256).filter(|inode| file.passes(0, *inode)).count() < 16);
    }
}
