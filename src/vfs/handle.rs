//! Layout of file handles: version, form, the export's tag, and one of four bodies.
//!
//! The tag is computed from the file system and inode of the export's top, so it survives restarts and renames of parent
//! directories. Files in memory do not survive a restart, and their tag changes with every start.
//! Kernel handles carry a MAC, because a forged one could name any file of the file system. Path handles carry none: the server
//! searches their object inside the export, so a forged one names nothing that a client could not look up.

use super::error::{FsError, FsResult};
use super::walk::{front, put};
use crate::mem::{FNV_START, fnv1a};

/// The kind of file handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The kernel's handles, with a MAC. They survive every rename.
    Kernel,
    /// Path handles. They need no privilege, and survive renames that do not move the object's directory.
    Path,
}

/// A persistent name of an object: at most 64 bytes (`NFS3_FHSIZE`, RFC 1813), zeros after them.
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    len: u8,
    bytes: [u8; Self::BYTES_MAX],
}

impl Handle {
    /// Longest handle in bytes.
    pub const BYTES_MAX: usize = 64;
    /// An empty handle, which names no object.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; Self::BYTES_MAX],
    };

    /// A handle of a client, which may be none of this server. `None`: it is too long.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut handle = Self::EMPTY;
        handle.push(unpadded(bytes)).then_some(handle)
    }

    /// The tag of the export; of other handles any number.
    pub fn export_tag(&self) -> u32 {
        let [_, _, tag @ .., _, _] = self.bytes.first_chunk().unwrap_or(&[0; 8]);
        u32::from_le_bytes(*tag)
    }

    /// The bytes, without padding.
    pub fn bytes(&self) -> &[u8] {
        front(&self.bytes, self.len.into())
    }

    /// A hash of the object, the same for handles of it in other directories.
    pub fn object_hash(&self) -> u64 {
        fnv1a(FNV_START, changed_part(self))
    }

    /// The bytes for the wire, zero-padded to a multiple of 4: iPXE does not skip the XDR padding of other lengths.
    pub fn padded(&self) -> &[u8] {
        front(&self.bytes, usize::from(self.len).next_multiple_of(4))
    }

    /// Appends bytes. Returns false if they do not fit.
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
/// Version of handles of objects inside an image.
const VERSION_INSIDE: u8 = 2;
/// Version of handles of directories above the exports.
const VERSION_ABOVE: u8 = 3;
/// Bytes after the image file's handle: the image's identity (8) and the object's ID in it (6).
const INSIDE_BYTES: usize = 8 + 6;
/// Offset of the byte that contains the form.
const FORM_AT: usize = 1;
const FORM_ROOT: u8 = 0;
const FORM_KERNEL: u8 = 1;
const FORM_PATH: u8 = 2;
const FORM_RAM: u8 = 3;
/// Length in bytes of the head: version, form and tag.
const HEAD_BYTES: usize = 6;
/// Length of a root handle: the fixed length of MOUNT version 1, so that all versions of MOUNT return the same handle.
const ROOT_BYTES: usize = 32;
const MAC_BYTES: usize = 8;
/// Longest kernel handle in bytes. The rest of our handle is the head, the type of the kernel handle, and the MAC.
pub(super) const KERNEL_BYTES_MAX: usize = Handle::BYTES_MAX - HEAD_BYTES - 1 - MAC_BYTES;
/// Offsets in a path handle: inode, generation, parent, depth, then up to [`ANCESTOR_COUNT_MAX`] hash bytes.
const INODE_AT: usize = HEAD_BYTES;
const GENERATION_AT: usize = INODE_AT + 8;
const PARENT_AT: usize = GENERATION_AT + 4;
const DEPTH_AT: usize = PARENT_AT + 8;
/// Most ancestors with a hash byte in a path handle. Deeper ones are only counted.
const ANCESTOR_COUNT_MAX: usize = Handle::BYTES_MAX - DEPTH_AT - 1;

/// Secret key of a MAC. Handles that depend on it are valid only as long as the key stays the same.
pub(super) type Key = [u8; 16];

/// The part of a handle after version, form and tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// Zeros: the top of the export.
    Root,
    /// The kernel's own handle, for `open_by_handle_at`: [`kernel_parts`].
    Kernel,
    /// Inode numbers by which the server searches for the object: [`PathHandle`].
    Path,
}

/// A path handle: inode numbers of object and parent, and a hash byte of each directory between parent and export's top.
///
/// Holds bytes that [`check`] has accepted.
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

    /// Generation of the inode, which differs if the number is reused; 0 if the file system has none.
    pub(super) fn generation(&self) -> u32 {
        self.number(GENERATION_AT) as u32
    }

    /// Inode number of the directory in which the object was looked up.
    pub(super) fn parent(&self) -> u64 {
        self.number(PARENT_AT)
    }

    /// Depth of the parent: 0 if it is the export's top, 1 if it is directly below the top.
    pub(super) fn depth(&self) -> usize {
        self.0.get(DEPTH_AT).map_or(0, |depth| usize::from(*depth))
    }

    /// Returns true if the directory `inode` can be the ancestor at `level` (0: directly below the top). False positives are
    /// possible: an ancestor's byte is one of its hash.
    pub(super) fn passes(&self, level: usize, inode: u64) -> bool {
        let at_parent = level + 1 == self.depth();
        self.0
            .get(DEPTH_AT + 1 + level)
            .is_none_or(|seen| *seen == ancestor_byte(inode))
            && (!at_parent || inode == self.parent())
    }
}

/// One hash byte of an inode number.
const fn ancestor_byte(inode: u64) -> u8 {
    (inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn head(form: u8, tag: u32) -> Handle {
    let mut handle = Handle::EMPTY;
    handle.push(&[VERSION, form]);
    handle.push(&tag.to_le_bytes());
    handle
}

/// The handle of an export's top.
#[inline(never)] // −87 bytes: five callers.
pub(super) fn root(tag: u32) -> Handle {
    let mut handle = head(FORM_ROOT, tag);
    handle.push(&[0; ROOT_BYTES - HEAD_BYTES]);
    handle
}

/// The handle of the directory at `path` above the exports: in the place of a tag the length of the path, then a MAC of it.
pub(super) fn above(key: &Key, path: &[u8]) -> Handle {
    let mut handle = root(path.len() as u32);
    handle.bytes[0] = VERSION_ABOVE;
    put(&mut handle.bytes, HEAD_BYTES, &mac(key, path).to_le_bytes());
    handle
}

/// The length of the path, from the handle of a directory above the exports.
pub(super) fn above_len(handle: &[u8]) -> Option<usize> {
    match handle.split_first_chunk::<HEAD_BYTES>()? {
        ([VERSION_ABOVE, _, len @ ..], _) => Some(u32::from_le_bytes(*len) as usize),
        _ => None,
    }
}

/// The handle of an object in memory: its number, and the generation of that number.
pub(super) fn ram(tag: u32, number: u32, generation: u32) -> Handle {
    let mut handle = head(FORM_RAM, tag);
    handle.push(&number.to_le_bytes());
    handle.push(&generation.to_le_bytes());
    // XDR would pad with the same two bytes.
    handle.push(&[0; 2]);
    handle
}

/// Parses a handle of [`ram`]: tag, number and generation.
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

/// Makes the handle that contains a kernel handle.
///
/// # Errors
/// `NotSupported`: the kernel's handle is too long.
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

/// Makes the path handle of an object that was looked up in the directory with handle `dir` and inode number `parent`.
pub(super) fn path(dir: &Handle, parent: u64, inode: u64, generation: u32, out: &mut Handle) {
    // Copies the export's tag and the ancestors' hash bytes.
    *out = *dir;
    out.len = INODE_AT as u8;
    out.push(&inode.to_le_bytes());
    out.push(&generation.to_le_bytes());
    out.push(&parent.to_le_bytes());
    if dir.bytes[FORM_AT] == FORM_PATH {
        out.push(&[dir.bytes[DEPTH_AT].saturating_add(1)]);
        out.len = dir.len;
        out.push(&[ancestor_byte(parent)]);
    } else {
        out.bytes[FORM_AT] = FORM_PATH;
        out.push(&[0]);
    }
}

/// The inode number in a path handle; `None` for other handles.
pub(super) fn path_inode(handle: &Handle) -> Option<u64> {
    (handle.bytes.get(FORM_AT) == Some(&FORM_PATH)).then(|| PathHandle(handle.bytes()).inode())
}

/// The part of a handle that is the same in all directories of its object.
pub(super) fn changed_part(handle: &Handle) -> &[u8] {
    match handle.bytes() {
        [_, FORM_PATH, ..] => front(handle.bytes(), PARENT_AT),
        bytes => bytes,
    }
}

/// Makes the handle of the object `id` inside an image. `file` is the handle of the image file.
pub(super) fn inside(file: &Handle, identity: u64, id: u64, handle: &mut Handle) {
    *handle = *file;
    handle.bytes[0] = VERSION_INSIDE;
    let [id @ .., _, _] = id.to_le_bytes();
    handle.push(&identity.to_le_bytes());
    handle.push(&id);
}

/// Returns true if handles of objects inside an image fit, given the handle of the image file.
pub(super) const fn has_inside(file: &Handle) -> bool {
    file.len as usize + INSIDE_BYTES <= Handle::BYTES_MAX
}

/// Returns true if the version is that of an object inside an image. The rest is not checked.
pub(super) fn is_inside(handle: &[u8]) -> bool {
    handle.first() == Some(&VERSION_INSIDE)
}

/// The handle of the image file, from the handle of an object inside the image.
pub(super) fn outside<'a>(handle: &[u8], buffer: &'a mut [u8; Handle::BYTES_MAX]) -> &'a [u8] {
    let len = put(buffer, 0, handle);
    buffer[0] = VERSION;
    front(buffer, len.saturating_sub(INSIDE_BYTES))
}

/// The image's identity and the object's ID in it, from the handle of an object inside an image.
pub(super) fn name(handle: &[u8]) -> Option<(u64, u64)> {
    let (_, name) = handle.split_last_chunk::<INSIDE_BYTES>()?;
    let (identity, id) = name.split_at(8);
    Some((word(identity), word(id)))
}

/// Removes the zeros that [`Handle::padded`] added from a client's handle. Handles of earlier versions of this server have no
/// padding.
pub(super) fn unpadded(handle: &[u8]) -> &[u8] {
    let inside_bytes = if is_inside(handle) { INSIDE_BYTES } else { 0 };
    let own_bytes = match handle.get(FORM_AT) {
        Some(&FORM_PATH) => path_bytes(handle),
        // A kernel handle, whose length is a multiple of 4, and 15 bytes of ours: head, type and MAC.
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

/// Length of a path handle, computed from its depth.
fn path_bytes(handle: &[u8]) -> usize {
    handle.get(DEPTH_AT).map_or(0, |depth| {
        DEPTH_AT + 1 + usize::from(*depth).min(ANCESTOR_COUNT_MAX)
    })
}

/// The export's tag, if the handle is that of an export's top.
pub(super) fn root_tag(handle: &[u8]) -> Option<u32> {
    match handle.first_chunk::<HEAD_BYTES>()? {
        [VERSION, FORM_ROOT, tag @ ..] => Some(u32::from_le_bytes(*tag)),
        _ => None,
    }
}

/// The export's tag in a handle from a client.
///
/// # Errors
/// `BadHandle`: not a handle of this server.
pub(super) fn tag(handle: &[u8]) -> FsResult<u32> {
    match handle.split_first_chunk::<HEAD_BYTES>() {
        Some(([VERSION, _, tag @ ..], _)) => Ok(u32::from_le_bytes(*tag)),
        _ => Err(FsError::BadHandle),
    }
}

/// Checks a handle from a client. Returns the export's tag and the form of the body.
///
/// # Errors
/// `BadHandle`: not a handle of this server. `Stale`: a kernel handle with a wrong MAC, perhaps made with an earlier key.
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

/// Type and bytes of the kernel handle in one of our handles.
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

/// SipHash-2-4 (Aumasson, Bernstein). Our own, because a crate with an incremental API takes three times the code size.
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
        // The last byte of the last word is the message's length.
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

/// The first eight bytes as a little-endian number. A shorter slice is extended with zeros.
#[inline(never)] // −64 bytes: five callers.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A 32-bit hash of two words. Not cryptographic.
#[inline(never)] // −125 bytes: four callers.
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
    fn different_words_have_different_digests() {
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
        let returned = Handle::of(handle.padded()).unwrap();
        assert_eq!(returned.bytes(), handle.bytes());
        assert_eq!(returned.object_hash(), handle.object_hash());
        let made = check(handle.bytes(), KEY).unwrap();
        assert_eq!(made.0, 7);
        for end in 0..len {
            assert!(check(&handle.bytes()[..end], KEY).is_err());
        }
        for bit in 0..len * 8 {
            let mut flipped = handle.bytes().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A path handle has no MAC: with a flipped bit it may name another object or none.
            let elsewhere = form == FORM_PATH && bit >= HEAD_BYTES * 8;
            assert!(elsewhere || check(&flipped, KEY) != Ok(made), "bit {bit}");
        }
    }

    #[test]
    fn handles_round_trip_and_bit_flips_are_rejected() {
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
    fn padded_and_older_handles_parse_equally() {
        let mut path_handle = root(7);
        let mut all = vec![path_handle, ram(7, 1, 2)];
        for inode in 3..50 {
            let dir = path_handle;
            path(&dir, inode - 1, inode, 4, &mut path_handle);
            all.push(path_handle);
        }
        for words in 1..=12 {
            let mut handle = Handle::EMPTY;
            // Zeros at the end of the kernel's handle must not be taken for padding.
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
            // No other length of the same bytes is taken for this handle.
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
    fn mac_is_siphash_2_4() {
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
    fn path_handle_has_inode_parent_and_depth() {
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
