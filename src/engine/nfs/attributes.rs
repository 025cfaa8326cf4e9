//! Attributes on the wire. RFC 1813 section 2.5 and 2.6.

use crate::vfs::{Attr, FileTime, ObjectType};
use crate::wire::Writer;

/// Kinds of objects in the order of ftype3, which begins at 1.
pub(super) static KINDS: [ObjectType; 7] = [
    ObjectType::Regular,
    ObjectType::Directory,
    ObjectType::BlockDevice,
    ObjectType::CharacterDevice,
    ObjectType::SymbolicLink,
    ObjectType::Socket,
    ObjectType::Fifo,
];

/// The numbers of the kinds, four bits each, by their values.
const NUMBERS: u64 = numbers();

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn numbers() -> u64 {
    let (mut numbers, mut at) = (0, 0);
    while at < KINDS.len() {
        numbers |= (at as u64 + 1) << (4 * KINDS[at] as u32);
        at += 1;
    }
    numbers
}

/// Writes optional attributes.
#[doc(alias = "post_op_attr")]
pub(super) fn post_op(reply: &mut Writer<'_>, attr: Option<&Attr>) {
    reply.u32(attr.is_some().into());
    if let Some(attr) = attr {
        emit(reply, attr);
    }
}

/// Size, mtime and ctime of an object, as words.
#[doc(alias = "wcc_attr")]
pub(super) type WccAttr = [u32; 6];

/// Converts the attributes that [`pre_op`] writes.
pub(super) fn wcc_attr(attr: &Attr) -> WccAttr {
    let [size_high, size] = halves(attr.size);
    let (mtime, mtime_nanos) = to_wire(attr.mtime);
    let (ctime, ctime_nanos) = to_wire(attr.ctime);
    [size_high, size, mtime, mtime_nanos, ctime, ctime_nanos]
}

/// Writes the optional size and times of an object before an operation.
#[doc(alias = "pre_op_attr")]
pub(super) fn pre_op(reply: &mut Writer<'_>, attr: Option<WccAttr>) {
    reply.u32(attr.is_some().into());
    if let Some(words) = &attr {
        reply.words(words);
    }
}

/// The number of a kind. Version 4 has the same numbers.
pub(in super::super) const fn kind_number(kind: ObjectType) -> u32 {
    (NUMBERS >> (4 * kind as u32)) as u32 & 15
}

/// The kind with this number.
pub(in super::super) fn kind_of(number: u32) -> Option<ObjectType> {
    KINDS.get((number as usize).checked_sub(1)?).copied()
}

/// Writes attributes, as two arrays: each GETATTR and LOOKUP pays for it.
#[doc(alias = "fattr3")]
pub(super) fn emit(reply: &mut Writer<'_>, attr: &Attr) {
    let kind = kind_number(attr.kind);
    reply.words(&[kind, attr.mode, attr.nlink, attr.uid, attr.gid]);
    let pair = |(first, second)| u64::from(first) << 32 | u64::from(second);
    let time = |time| pair(to_wire(time));
    #[rustfmt::skip]
    reply.longs(&[
        attr.size, attr.used, pair(attr.rdev), attr.fsid, attr.inode,
        time(attr.atime), time(attr.mtime), time(attr.ctime),
    ]);
}

/// The high and the low half of a number.
fn halves(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}

/// Converts a time to nfstime3, which covers 1970 to 2106. Earlier times become the first second of that range, later times the
/// last.
#[inline(never)] // −98 bytes: six callers.
pub(super) fn to_wire(time: FileTime) -> (u32, u32) {
    match u32::try_from(time.secs) {
        Ok(secs) => (secs, time.nanos),
        Err(_) if time.secs < 0 => (0, 0),
        Err(_) => (u32::MAX, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::nfs3::ATTRIBUTES_BYTES;

    #[test]
    fn attributes_follow_rfc_1813_and_times_are_clamped() {
        let at = |secs| FileTime { secs, nanos: 7 };
        let attr = Attr {
            kind: ObjectType::SymbolicLink,
            mode: 0o777,
            nlink: 2,
            uid: 3,
            gid: 4,
            size: 5 << 32,
            used: 6,
            rdev: (7, 8),
            fsid: 9,
            inode: 10,
            atime: at(-1),
            mtime: at(12),
            ctime: at(1 << 33),
        };
        let expect: [u32; ATTRIBUTES_BYTES / 4] = [
            5,
            0o777,
            2,
            3,
            4,
            5,
            0,
            0,
            6,
            7,
            8,
            0,
            9,
            0,
            10,
            0,
            0,
            12,
            7,
            u32::MAX,
            0,
        ];
        let mut buffer = [0; ATTRIBUTES_BYTES];
        let mut reply = Writer::new(&mut buffer);
        emit(&mut reply, &attr);
        assert_eq!(reply.written(), Some(ATTRIBUTES_BYTES));
        assert_eq!(buffer.as_chunks().0, expect.map(u32::to_be_bytes));
    }
}
