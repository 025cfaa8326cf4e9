//! What stands in a handle: version, form, the export's tag, and one of four bodies.
//!
//! The tag follows from file system and inode of the export's top, so it outlives restarts and renames above the export. That of
//! files in memory differs with every start, as they do.
//! Kernel bodies carry a MAC because the kernel's bytes reach the whole file system. Path handles carry none: they are walked
//! beneath the export with the server's own rights, so forging one gains nothing.

use super::error::{FsError, FsResult};
use super::walk::{front, put};

/// Bytes that name an object for good, and zeros behind them. At most 64, RFC 1813's limit.
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    len: u8,
    bytes: [u8; Self::BYTES_MAX],
}

impl Handle {
    /// Bytes of the longest handle.
    pub const BYTES_MAX: usize = 64;
    /// No object's handle.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; Self::BYTES_MAX],
    };

    /// The bytes it is made of.
    #[inline(never)]
    pub fn bytes(&self) -> &[u8] {
        front(&self.bytes, self.len.into())
    }

    /// The bytes that go on the wire: a multiple of 4, because iPXE does not skip the padding that XDR has behind others.
    #[inline(never)]
    pub fn padded(&self) -> &[u8] {
        front(&self.bytes, usize::from(self.len).next_multiple_of(4))
    }

    /// Appends bytes; false when they do not fit.
    pub(super) fn push(&mut self, more: &[u8]) -> bool {
        let buffer = self
            .bytes
            .get_mut(usize::from(self.len)..)
            .and_then(|rest| rest.get_mut(..more.len()));
        buffer
            .map(|buffer| {
                buffer.copy_from_slice(more);
                self.len += more.len() as u8;
            })
            .is_some()
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

const VERSION: u8 = 1;
/// That of the handle of something inside an image.
const VERSION_INSIDE: u8 = 2;
/// What there is behind the handle of the image's file: what tells the image from others, what names the object.
const INSIDE_BYTES: usize = 8 + 6;
/// Where the form stands.
const FORM_AT: usize = 1;
const FORM_ROOT: u8 = 0;
const FORM_KERNEL: u8 = 1;
const FORM_PATH: u8 = 2;
const FORM_RAM: u8 = 3;
/// Version, form and tag.
const HEAD_BYTES: usize = 6;
/// A root's handle has the length that MOUNT version 1 prescribes, so it is the same in both versions.
const ROOT_BYTES: usize = 32;
const MAC_BYTES: usize = 8;
/// Bytes that the kernel may take: the rest is head, type and MAC.
pub(super) const KERNEL_BYTES_MAX: usize = Handle::BYTES_MAX - HEAD_BYTES - 1 - MAC_BYTES;
/// A path handle: inode, generation, parent, depth, and up to so many traces.
const INODE_AT: usize = HEAD_BYTES;
const GENERATION_AT: usize = INODE_AT + 8;
const PARENT_AT: usize = GENERATION_AT + 4;
const DEPTH_AT: usize = PARENT_AT + 8;
/// Ancestors that leave a trace. Deeper ones are counted only.
const TRACE_COUNT_MAX: usize = Handle::BYTES_MAX - DEPTH_AT - 1;

/// A secret that lasts as long as the handles made with it.
pub(super) type Key = [u8; 16];

/// What the part of a handle after its head is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// Nothing: the top of the export.
    Root,
    /// The kernel's own handle, for `open_by_handle_at`: [`kernel_parts`].
    Kernel,
    /// Where the object was seen: [`PathHandle`].
    Path,
}

/// Where an object was seen: its parent, and a trace of each directory between that and the export's top.
///
/// A view of a handle that [`check`] has found to be one.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathHandle<'a>(pub(super) &'a [u8]);

impl PathHandle<'_> {
    fn number(&self, at: usize) -> u64 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Inode number of the object.
    pub(super) fn inode(&self) -> u64 {
        self.number(INODE_AT)
    }

    /// Tells an inode from a later one of the same number; 0 where the file system does not.
    pub(super) fn generation(&self) -> u32 {
        self.number(GENERATION_AT) as u32
    }

    /// Inode number of the directory it was seen in.
    pub(super) fn parent(&self) -> u64 {
        self.number(PARENT_AT)
    }

    /// Directories from below the top down to the parent.
    pub(super) fn depth(&self) -> usize {
        self.0.get(DEPTH_AT).map_or(0, |depth| usize::from(*depth))
    }

    /// Whether the directory `inode` may lie on the way, `level` directories below the top.
    pub(super) fn passes(&self, level: usize, inode: u64) -> bool {
        let at_parent = level + 1 == self.depth();
        self.0
            .get(DEPTH_AT + 1 + level)
            .is_none_or(|seen| *seen == trace(inode))
            && (!at_parent || inode == self.parent())
    }
}

/// One byte of an inode number.
const fn trace(inode: u64) -> u8 {
    (inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn head(form: u8, tag: u32) -> Handle {
    let mut handle = Handle::EMPTY;
    handle.push(&[VERSION, form]);
    handle.push(&tag.to_le_bytes());
    handle
}

/// The handle of an export's top.
pub(super) fn root(tag: u32) -> Handle {
    let mut handle = head(FORM_ROOT, tag);
    handle.push(&[0; ROOT_BYTES - HEAD_BYTES]);
    handle
}

/// The handle of an object in memory: its number, and which of the objects of that number it is.
pub(super) fn ram(tag: u32, number: u32, generation: u32) -> Handle {
    let mut handle = head(FORM_RAM, tag);
    handle.push(&number.to_le_bytes());
    handle.push(&generation.to_le_bytes());
    // As many as XDR carries anyway.
    handle.push(&[0; 2]);
    handle
}

/// What such a handle names: tag, number and generation.
pub(super) fn ram_parts(handle: &[u8]) -> Option<(u32, u32, u32)> {
    let ([VERSION, FORM_RAM, rest @ ..], [0, 0]) = handle.split_first_chunk::<14>()? else {
        return None;
    };
    let mut words = rest.chunks(4).map(|word| {
        let bytes = word.try_into().unwrap_or_default();
        u32::from_le_bytes(bytes)
    });
    Some((words.next()?, words.next()?, words.next()?))
}

/// Makes the handle that holds the kernel's; `NotSupported` when that is too long.
pub(super) fn kernel(
    tag: u32,
    key: &Key,
    kind: u8,
    bytes: &[u8],
    out: &mut Handle,
) -> FsResult<()> {
    *out = head(FORM_KERNEL, tag);
    let fits = out.push(&[kind]) && out.push(bytes);
    let mac = mac(key, out.bytes());
    if fits && out.push(&mac.to_le_bytes()) {
        Ok(())
    } else {
        Err(FsError::NotSupported)
    }
}

/// Makes the handle of an object that was seen in the directory of `dir`, which has the inode number `parent`.
pub(super) fn path(dir: &Handle, parent: u64, inode: u64, generation: u32, out: &mut Handle) {
    // The tag is the same, and so are the traces, if there are any.
    *out = *dir;
    out.len = INODE_AT as u8;
    out.push(&inode.to_le_bytes());
    out.push(&generation.to_le_bytes());
    out.push(&parent.to_le_bytes());
    if dir.bytes[FORM_AT] == FORM_PATH {
        out.push(&[dir.bytes[DEPTH_AT].saturating_add(1)]);
        out.len = dir.len;
        out.push(&[trace(parent)]);
    } else {
        out.bytes[FORM_AT] = FORM_PATH;
        out.push(&[0]);
    }
}

/// The handle of what `id` names inside the image whose file has the handle `file`.
pub(super) fn inside(file: &Handle, identity: u64, id: u64, handle: &mut Handle) {
    *handle = *file;
    handle.bytes[0] = VERSION_INSIDE;
    let [id @ .., _, _] = id.to_le_bytes();
    handle.push(&identity.to_le_bytes());
    handle.push(&id);
}

/// Whether that fits.
pub(super) const fn has_inside(file: &Handle) -> bool {
    file.len as usize + INSIDE_BYTES <= Handle::BYTES_MAX
}

/// Whether it is such a handle, or should be.
pub(super) fn is_inside(handle: &[u8]) -> bool {
    handle.first() == Some(&VERSION_INSIDE)
}

/// That of the image's file.
pub(super) fn outside<'a>(handle: &[u8], buffer: &'a mut [u8; Handle::BYTES_MAX]) -> &'a [u8] {
    let len = put(buffer, 0, handle);
    buffer[0] = VERSION;
    front(buffer, len.saturating_sub(INSIDE_BYTES))
}

/// What tells the image from others, and what names the object inside.
pub(super) fn name(handle: &[u8]) -> Option<(u64, u64)> {
    let (_, name) = handle.split_last_chunk::<INSIDE_BYTES>()?;
    let (identity, id) = name.split_at(8);
    Some((word(identity), word(id)))
}

/// What a handle that a client brings was made of: without its padding, which those have not that were given out by servers before
/// this one.
#[inline(never)]
pub(super) fn unpadded(handle: &[u8]) -> &[u8] {
    let inside_bytes = if is_inside(handle) { INSIDE_BYTES } else { 0 };
    let own_bytes = match handle.get(FORM_AT) {
        Some(&FORM_PATH) => path_bytes(handle),
        // A multiple of 4 of the kernel's bytes, and 15 of ours.
        Some(&FORM_KERNEL) => handle.len().saturating_sub(inside_bytes + 3) & !3 | 3,
        _ => ROOT_BYTES,
    };
    let len = own_bytes + inside_bytes;
    match handle.split_at_checked(len) {
        Some((made, padding))
            if handle.len() == len.next_multiple_of(4) && padding.iter().all(|byte| *byte == 0) =>
        {
            made
        }
        _ => handle,
    }
}

/// Bytes of a path handle, which tells them itself.
fn path_bytes(handle: &[u8]) -> usize {
    handle.get(DEPTH_AT).map_or(0, |depth| {
        DEPTH_AT + 1 + usize::from(*depth).min(TRACE_COUNT_MAX)
    })
}

/// The export's tag in a handle that a client brings.
///
/// # Errors
/// `BadHandle`: it is none.
pub(super) fn tag(handle: &[u8]) -> FsResult<u32> {
    match handle.split_first_chunk::<HEAD_BYTES>() {
        Some(([VERSION, _, tag @ ..], _)) => Ok(u32::from_le_bytes(*tag)),
        _ => Err(FsError::BadHandle),
    }
}

/// Checks a handle that a client brings: the export's tag and what follows.
///
/// What is not made as above is `BadHandle`; a kernel form whose MAC is wrong is `Stale`, because it may be from another key.
pub(super) fn check(handle: &[u8], key: &Key) -> FsResult<(u32, Body)> {
    let Some(([VERSION, form, tag @ ..], rest)) = handle.split_first_chunk::<HEAD_BYTES>() else {
        return Err(FsError::BadHandle);
    };
    let body = match *form {
        FORM_ROOT if handle.len() == ROOT_BYTES && rest.iter().all(|byte| *byte == 0) => Body::Root,
        FORM_PATH if handle.len() == path_bytes(handle) => Body::Path,
        FORM_KERNEL => match rest.split_last_chunk() {
            Some(([_, ..], seal)) => {
                let (sealed, _) = handle.split_at(handle.len() - MAC_BYTES);
                if mac(key, sealed) != u64::from_le_bytes(*seal) {
                    return Err(FsError::Stale);
                }
                Body::Kernel
            }
            _ => return Err(FsError::BadHandle),
        },
        _ => return Err(FsError::BadHandle),
    };
    Ok((u32::from_le_bytes(*tag), body))
}

/// The type and the bytes of the kernel's handle within one of ours.
pub(super) fn kernel_parts(handle: &Handle) -> (u8, &[u8]) {
    match handle.bytes().get(HEAD_BYTES..).unwrap_or_default() {
        [kind, bytes @ ..] => (
            *kind,
            bytes
                .get(..bytes.len().saturating_sub(MAC_BYTES))
                .unwrap_or_default(),
        ),
        [] => (0, &[]),
    }
}

/// SipHash-2-4, as its authors publish it. A crate's, which takes bytes piece by piece, is three times as large.
#[inline(never)]
pub(super) fn mac(key: &Key, bytes: &[u8]) -> u64 {
    let [k0, k1] = [word(key), word(key.get(8..).unwrap_or_default())];
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for at in 0..=bytes.len() / 8 {
        let rest = bytes.get(at * 8..).unwrap_or_default();
        // The last word ends with the length.
        let length = if rest.len() < 8 {
            (bytes.len() as u64) << 56
        } else {
            0
        };
        let message = word(rest) | length;
        v[3] ^= message;
        rounds(&mut v, 2);
        v[0] ^= message;
    }
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn rounds(v: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[2] = v[2].wrapping_add(v[3]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].rotate_left(32).wrapping_add(v[3]);
        v[2] = v[2].wrapping_add(v[1]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

/// The first eight bytes as a number, with zeros for what is missing.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// 32 bits of two words that differ when the words do, nearly always.
#[inline(never)]
pub(super) const fn digest(first: u64, second: u64) -> u32 {
    let folded = (first.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ second)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (folded ^ (folded >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const KEY: &Key = b"0123456789abcdef";

    #[test]
    fn words_that_differ_have_digests_that_differ() {
        let words = || 0..4096;
        for digests in [
            words().map(|word| digest(word, 7)).collect::<HashSet<_>>(),
            words().map(|word| digest(7, word)).collect(),
            words().map(|word| digest(word << 52, 7)).collect(),
            words().map(|word| digest(7, word << 52)).collect(),
        ] {
            assert_eq!(digests.len(), words().count());
        }
    }

    fn verify(handle: &Handle, len: usize, form: u8) {
        assert_eq!((handle.bytes().len(), handle.bytes()[1]), (len, form));
        let made = check(handle.bytes(), KEY).unwrap();
        assert_eq!(made.0, 7);
        for end in 0..len {
            assert!(check(&handle.bytes()[..end], KEY).is_err());
        }
        for bit in 0..len * 8 {
            let mut flipped = handle.bytes().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A path handle has no MAC: its flipped bits name something else, or nothing.
            let elsewhere = form == FORM_PATH && bit >= HEAD_BYTES * 8;
            assert!(elsewhere || check(&flipped, KEY) != Ok(made), "bit {bit}");
        }
    }

    #[test]
    fn every_form_round_trips_and_no_flipped_bit_passes() {
        let mut handle = root(7);
        verify(&handle, 32, FORM_ROOT);
        for inode in 3..200 {
            let (dir, depth) = (handle, inode - 3);
            path(&dir, inode - 1, inode, 4, &mut handle);
            verify(&handle, 27 + depth.min(37) as usize, FORM_PATH);
        }
        for len in [8, KERNEL_BYTES_MAX] {
            kernel(7, KEY, 1, &vec![3; len], &mut handle).unwrap();
            verify(&handle, len + 15, FORM_KERNEL);
            assert_eq!(kernel_parts(&handle), (1, &vec![3; len][..]));
            let other_key = check(handle.bytes(), &[0; 16]);
            assert_eq!(other_key, Err(FsError::Stale));
        }
        let long = kernel(7, KEY, 1, &[3; KERNEL_BYTES_MAX + 1], &mut handle);
        assert_eq!(long, Err(FsError::NotSupported));
    }

    #[test]
    fn handles_with_padding_and_those_of_before_are_the_same() {
        let mut path_handle = root(7);
        let mut all = vec![path_handle, ram(7, 1, 2)];
        for inode in 3..50 {
            let dir = path_handle;
            path(&dir, inode - 1, inode, 4, &mut path_handle);
            all.push(path_handle);
        }
        for words in 1..=12 {
            let mut handle = Handle::EMPTY;
            // Zeros at its end are no padding.
            kernel(7, KEY, 1, &[0; 48][..words * 4], &mut handle).unwrap();
            all.push(handle);
        }
        for file in all.clone() {
            if file.bytes[FORM_AT] != FORM_RAM && has_inside(&file) {
                let mut handle = Handle::EMPTY;
                inside(&file, 0x55, 0, &mut handle);
                all.push(handle);
            }
        }
        for handle in all {
            let (bytes, padded) = (handle.bytes(), handle.padded());
            assert!(padded.len() % 4 == 0 && padded.len() < bytes.len() + 4);
            assert_eq!((unpadded(bytes), unpadded(padded)), (bytes, bytes));
            // Nothing else is padding.
            for end in 0..Handle::BYTES_MAX {
                let other = handle.bytes.get(..end).unwrap();
                let is_one = [bytes.len(), padded.len()].contains(&end);
                assert_eq!(unpadded(other) == bytes, is_one, "{end} of {bytes:?}");
            }
            let mut dirty = padded.to_vec();
            for at in bytes.len()..padded.len() {
                dirty[at] = 1;
                assert_eq!(unpadded(&dirty), dirty);
            }
        }
    }

    #[test]
    fn the_mac_is_siphash_2_4() {
        // From the reference implementation: key 00 01 … 0f, messages of 0, 1, 8 and 15 bytes 00 01 ….
        let key: Key = core::array::from_fn(|at| at as u8);
        let message: Vec<u8> = (0..15).collect();
        for (len, expect) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(mac(&key, &message[..len]), expect, "{len} bytes");
        }
    }

    #[test]
    fn a_path_handle_knows_its_way() {
        let mut dir = root(7);
        for (parent, inode) in [(1, 100), (100, 200), (200, 300)] {
            let mut handle = Handle::EMPTY;
            path(&dir, parent, inode, 0, &mut handle);
            dir = handle;
        }
        assert_eq!(check(dir.bytes(), KEY), Ok((7, Body::Path)));
        let file = PathHandle(dir.bytes());
        assert_eq!((file.inode(), file.parent(), file.depth()), (300, 200, 2));
        assert!(file.passes(0, 100) && file.passes(1, 200));
        assert!(!file.passes(1, 201));
        let others = (0..256).filter(|inode| file.passes(0, *inode));
        assert!(others.count() < 16);
    }
}
