//! NFS version 4.1: numbers, statuses, bitmaps, identifiers and the attributes of channels. RFC 8881, XDR in RFC 5662.
//!
//! Operations are not parsed here: each reads its own arguments, because a COMPOUND is carried out as it is read.

use super::{Reader, Writer};

/// The only version spoken, of the program [`super::nfs3::PROGRAM`].
pub const VERSION: u32 = 4;
/// The only minor version spoken.
pub const MINOR_VERSION: u32 = 1;
/// The procedure COMPOUND; the other one is NULL.
pub const COMPOUND: u32 = 1;
/// The longest tag, client owner, server owner and scope (bytes).
#[doc(alias = "NFS4_OPAQUE_LIMIT")]
pub const OPAQUE_BYTES_MAX: u32 = 1024;
/// The longest handle (bytes).
#[doc(alias = "NFS4_FHSIZE")]
pub const HANDLE_BYTES_MAX: u32 = 128;
/// Length of a session ID (bytes).
pub const SESSION_ID_BYTES: usize = 16;
/// Length of the result of SEQUENCE, with the number of the operation and its status (bytes).
pub const SEQUENCE_BYTES: usize = 8 + SESSION_ID_BYTES + 5 * 4;

/// Numbers of operations. RFC 8881 section 16.2.
#[allow(missing_docs)] // RFC 8881's own words.
pub mod operation {
    pub const ACCESS: u32 = 3;
    pub const GETATTR: u32 = 9;
    pub const GETFH: u32 = 10;
    pub const LOOKUP: u32 = 15;
    pub const LOOKUPP: u32 = 16;
    pub const NVERIFY: u32 = 17;
    pub const PUTFH: u32 = 22;
    pub const PUTPUBFH: u32 = 23;
    pub const PUTROOTFH: u32 = 24;
    pub const READ: u32 = 25;
    pub const READDIR: u32 = 26;
    pub const READLINK: u32 = 27;
    pub const RESTOREFH: u32 = 31;
    pub const SAVEFH: u32 = 32;
    pub const SECINFO: u32 = 33;
    pub const SETATTR: u32 = 34;
    pub const VERIFY: u32 = 37;
    pub const WRITE: u32 = 38;
    pub const BIND_CONN_TO_SESSION: u32 = 41;
    pub const EXCHANGE_ID: u32 = 42;
    pub const CREATE_SESSION: u32 = 43;
    pub const DESTROY_SESSION: u32 = 44;
    pub const SECINFO_NO_NAME: u32 = 52;
    pub const SEQUENCE: u32 = 53;
    pub const TEST_STATEID: u32 = 55;
    pub const DESTROY_CLIENTID: u32 = 57;
    pub const RECLAIM_COMPLETE: u32 = 58;
    pub const ILLEGAL: u32 = 10_044;
}

/// The outcome of an operation. RFC 8881 section 15.1. Those of version 3 have the same numbers, save NFS3ERR_NOT_SYNC, and
/// NFS3ERR_JUKEBOX is NFS4ERR_DELAY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u16);

#[allow(missing_docs)] // RFC 8881's own words.
impl Status {
    pub const OK: Self = Self(0);
    pub const PERM: Self = Self(1);
    pub const NOENT: Self = Self(2);
    pub const ACCESS: Self = Self(13);
    pub const EXIST: Self = Self(17);
    pub const NOTDIR: Self = Self(20);
    pub const ISDIR: Self = Self(21);
    pub const INVAL: Self = Self(22);
    pub const NOSPC: Self = Self(28);
    pub const NAMETOOLONG: Self = Self(63);
    pub const BADHANDLE: Self = Self(10_001);
    pub const BAD_COOKIE: Self = Self(10_003);
    pub const NOTSUPP: Self = Self(10_004);
    pub const TOOSMALL: Self = Self(10_005);
    pub const DELAY: Self = Self(10_008);
    pub const DENIED: Self = Self(10_010);
    pub const LOCKED: Self = Self(10_012);
    pub const BADTYPE: Self = Self(10_007);
    pub const GRACE: Self = Self(10_013);
    pub const SHARE_DENIED: Self = Self(10_015);
    pub const SAME: Self = Self(10_009);
    pub const CLID_INUSE: Self = Self(10_017);
    pub const NOFILEHANDLE: Self = Self(10_020);
    pub const MINOR_VERS_MISMATCH: Self = Self(10_021);
    pub const STALE_CLIENTID: Self = Self(10_022);
    pub const OLD_STATEID: Self = Self(10_024);
    pub const BAD_STATEID: Self = Self(10_025);
    pub const NOT_SAME: Self = Self(10_027);
    pub const SYMLINK: Self = Self(10_029);
    pub const ATTRNOTSUPP: Self = Self(10_032);
    pub const NO_GRACE: Self = Self(10_033);
    pub const RECLAIM_CONFLICT: Self = Self(10_035);
    pub const BADXDR: Self = Self(10_036);
    pub const LOCKS_HELD: Self = Self(10_037);
    pub const OPENMODE: Self = Self(10_038);
    pub const BADOWNER: Self = Self(10_039);
    pub const BADCHAR: Self = Self(10_040);
    pub const BADNAME: Self = Self(10_041);
    pub const OP_ILLEGAL: Self = Self(10_044);
    pub const BADSESSION: Self = Self(10_052);
    pub const BADSLOT: Self = Self(10_053);
    pub const COMPLETE_ALREADY: Self = Self(10_054);
    pub const SEQ_MISORDERED: Self = Self(10_063);
    pub const SEQUENCE_POS: Self = Self(10_064);
    pub const REQ_TOO_BIG: Self = Self(10_065);
    pub const REP_TOO_BIG: Self = Self(10_066);
    pub const REP_TOO_BIG_TO_CACHE: Self = Self(10_067);
    pub const RETRY_UNCACHED_REP: Self = Self(10_068);
    pub const TOO_MANY_OPS: Self = Self(10_070);
    pub const OP_NOT_IN_SESSION: Self = Self(10_071);
    pub const CLIENTID_BUSY: Self = Self(10_074);
    pub const SEQ_FALSE_RETRY: Self = Self(10_076);
    pub const BAD_HIGH_SLOT: Self = Self(10_077);
    pub const ENCR_ALG_UNSUPP: Self = Self(10_079);
    pub const NOT_ONLY_OP: Self = Self(10_081);
    pub const WRONG_TYPE: Self = Self(10_083);
}

/// Numbers of attributes, below [`Bitmap::BITS`].
#[doc(alias = "bitmap4")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bitmap(pub [u32; 3]);

impl Bitmap {
    /// Numbers from this one on are of no known attribute.
    pub const BITS: u32 = 96;
    /// The longest bitmap that is read (words); those that follow the third are ignored.
    const WORD_COUNT_MAX: u32 = 8;

    /// A bitmap of these numbers.
    #[expect(clippy::indexing_slicing, reason = "done by the compiler")]
    pub const fn new(numbers: &[u32]) -> Self {
        let (mut bitmap, mut at) = (Self([0; 3]), 0);
        while at < numbers.len() {
            bitmap = bitmap.with(numbers[at]);
            at += 1;
        }
        bitmap
    }

    /// Returns true if the bitmap has this number.
    pub const fn has(&self, number: u32) -> bool {
        let [a, b, c] = self.0;
        let word = match number / 32 {
            0 => a,
            1 => b,
            2 => c,
            _ => 0,
        };
        word >> (number % 32) & 1 != 0
    }

    /// Calls `each` with each number, in ascending order.
    pub fn for_each(&self, mut each: impl FnMut(u32)) {
        for (first, mut word) in (0..).step_by(32).zip(self.0) {
            while word != 0 {
                each(first + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }

    /// Adds a number below [`Self::BITS`].
    #[expect(clippy::indexing_slicing, reason = "done by the compiler")]
    #[must_use]
    pub const fn with(mut self, number: u32) -> Self {
        self.0[(number / 32) as usize] |= 1 << (number % 32);
        self
    }

    /// The numbers that both bitmaps have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([a & d, b & e, c & f])
    }

    /// The numbers that one of the bitmaps has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([a | d, b | e, c | f])
    }

    /// The numbers that `other` does not have.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        let [a, b, c] = other.0;
        self.and(Self([!a, !b, !c]))
    }

    /// Returns true if the bitmap has no number.
    pub const fn is_empty(&self) -> bool {
        let [a, b, c] = self.0;
        a | b | c == 0
    }

    /// Parses a bitmap.
    pub fn parse(packet: &mut Reader<'_>) -> Self {
        let count = packet.u32();
        if count > Self::WORD_COUNT_MAX {
            packet.refuse();
        }
        let mut bitmap = Self::default();
        for at in 0..count.min(Self::WORD_COUNT_MAX) {
            let word = packet.u32();
            if let Some(place) = bitmap.0.get_mut(at as usize) {
                *place = word;
            }
        }
        bitmap
    }

    /// Writes a bitmap, without empty words at its end.
    pub fn emit(&self, packet: &mut Writer<'_>) {
        let used = self.0.iter().rposition(|word| *word != 0);
        let words = self.0.get(..used.map_or(0, |at| at + 1));
        let words = words.unwrap_or_default();
        packet.u32(words.len() as u32);
        packet.words(words);
    }
}

/// A reference to the state of an open file.
#[doc(alias = "stateid4")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateId(pub [u32; 4]);

impl StateId {
    /// Anonymous.
    pub const ANONYMOUS: Self = Self([0; 4]);
    /// The state ID that an earlier operation of the COMPOUND has returned.
    pub const CURRENT: Self = Self([1, 0, 0, 0]);
    /// The state ID of a closed file: there is no state.
    pub const INVALID: Self = Self([u32::MAX, 0, 0, 0]);
    /// READ bypass.
    pub const BYPASS: Self = Self([u32::MAX; 4]);

    /// Parses a state ID.
    pub fn parse(packet: &mut Reader<'_>) -> Self {
        Self([packet.u32(), packet.u32(), packet.u32(), packet.u32()])
    }
}

/// Numbers of OPEN.
#[allow(missing_docs)] // RFC 8881's own words.
pub mod opening {
    /// The bits of share_access: reading and writing.
    pub const ACCESS: u32 = 3;
    /// The bits by which a client says which delegation it wants.
    pub const WANTED: u32 = 0xff00;
    pub const WANT_NO_DELEG: u32 = 0x0400;
    /// All bits that a client may set in share_access. Some came with minor version 2.
    pub const ASKED: u32 = 0x003f_ff03;
    pub const UNCHECKED: u32 = 0;
    pub const GUARDED: u32 = 1;
    pub const EXCLUSIVE: u32 = 2;
    pub const EXCLUSIVE_4_1: u32 = 3;
    pub const CLAIM_NULL: u32 = 0;
    pub const CLAIM_PREVIOUS: u32 = 1;
    pub const CLAIM_FH: u32 = 4;
    pub const CLAIM_MAX: u32 = 6;
    pub const RESULT_LOCKTYPE_POSIX: u32 = 4;
    pub const DELEGATE_NONE: u32 = 0;
    pub const DELEGATE_NONE_EXT: u32 = 3;
    pub const NOT_WANTED: u32 = 0;
    pub const RESOURCE: u32 = 2;
}

/// The kinds of locks.
#[allow(missing_docs)] // RFC 8881's own words.
pub mod locking {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const READ_WAITING: u32 = 3;
    pub const WRITE_WAITING: u32 = 4;
}

/// Bits of EXCHANGE_ID's flags.
#[allow(missing_docs)] // RFC 8881's own words.
pub mod exchange {
    pub const USE_NON_PNFS: u32 = 0x0001_0000;
    pub const UPDATE_CONFIRMED: u32 = 0x4000_0000;
    pub const CONFIRMED: u32 = 0x8000_0000;
    /// All bits that a client may set.
    pub const ASKED: u32 = 0x4007_0103;
}

/// The only way of protecting state: none.
pub const SP4_NONE: u32 = 0;
/// Protection by a secret state verifier.
pub const SP4_SSV: u32 = 2;
/// All bits that a client may set in CREATE_SESSION's flags: PERSIST, CONN_BACK_CHAN, CONN_RDMA.
pub const SESSION_FLAGS: u32 = 7;
/// A connection of the fore channel alone.
#[doc(alias = "CDFS4_FORE")]
pub const FORE_CHANNEL: u32 = 1;
/// The authentication flavor AUTH_SYS.
pub const AUTH_SYS: u32 = 1;

/// The limits of a session's channel.
#[doc(alias = "channel_attrs4")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Channel {
    /// Padding before the data of a WRITE (bytes).
    pub header_padding: u32,
    /// Longest request, with the RPC header (bytes).
    pub request_bytes: u32,
    /// Longest reply, with the RPC header (bytes).
    pub reply_bytes: u32,
    /// Longest reply that is kept (bytes).
    pub kept_bytes: u32,
    /// Most operations of a request.
    pub operation_count: u32,
    /// Number of slots.
    pub slot_count: u32,
}

impl Channel {
    /// Parses the limits of a channel. Those of RDMA are ignored.
    pub fn parse(packet: &mut Reader<'_>) -> Self {
        let channel = Self {
            header_padding: packet.u32(),
            request_bytes: packet.u32(),
            reply_bytes: packet.u32(),
            kept_bytes: packet.u32(),
            operation_count: packet.u32(),
            slot_count: packet.u32(),
        };
        if packet.flag() {
            packet.u32();
        }
        channel
    }

    /// The limits in the order of the wire.
    pub const fn words(&self) -> [u32; 6] {
        [
            self.header_padding,
            self.request_bytes,
            self.reply_bytes,
            self.kept_bytes,
            self.operation_count,
            self.slot_count,
        ]
    }

    /// Writes the limits of a channel.
    pub fn emit(&self, packet: &mut Writer<'_>) {
        packet.words(&self.words());
        packet.u32(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Malformed;
    use super::*;

    /// Parses the words, whose every prefix must be malformed.
    fn parsed<T>(words: &[u32], parse: impl Fn(&mut Reader<'_>) -> T) -> T {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        for end in 0..bytes.len() {
            let mut head = Reader::new(&bytes[..end]);
            parse(&mut head);
            assert_eq!(head.check(), Err(Malformed));
        }
        let mut reader = Reader::new(&bytes);
        let value = parse(&mut reader);
        assert_eq!((reader.check(), reader.rest()), (Ok(()), &[][..]));
        value
    }

    fn emitted(emit: impl Fn(&mut Writer<'_>)) -> Vec<u32> {
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer);
        emit(&mut writer);
        let words = writer.since(0).as_chunks().0.iter();
        words.map(|word| u32::from_be_bytes(*word)).collect()
    }

    #[test]
    fn bitmaps_round_trip_without_empty_words() {
        for (words, numbers, again) in [
            (&[0][..], &[][..], &[0][..]),
            (&[1, 0], &[], &[0]),
            (&[1, 0x12], &[1, 4], &[1, 0x12]),
            (&[3, 1, 0, 1 << 11], &[0, 75], &[3, 1, 0, 1 << 11]),
            (&[4, 1, 2, 0, 9], &[0, 33], &[2, 1, 2]),
        ] {
            let bitmap = parsed(words, Bitmap::parse);
            let all = |bitmap: Bitmap| (0..200).filter(move |number| bitmap.has(*number));
            assert!(all(bitmap).eq(numbers.iter().copied()), "{words:?}");
            let made = numbers
                .iter()
                .fold(Bitmap::default(), |all, number| all.with(*number));
            assert_eq!((made, made.without(bitmap).is_empty()), (bitmap, true));
            assert_eq!(emitted(|out| bitmap.emit(out)), again);
        }
        let mut long = Reader::new(&[0, 0, 0, 9]);
        Bitmap::parse(&mut long);
        assert_eq!(long.check(), Err(Malformed));
    }

    #[test]
    fn channels_round_trip_without_rdma() {
        let channel = parsed(&[1, 2, 3, 4, 5, 6, 1, 7], Channel::parse);
        assert_eq!(emitted(|out| channel.emit(out)), [1, 2, 3, 4, 5, 6, 0]);
        assert_eq!(parsed(&[u32::MAX; 4], StateId::parse), StateId::BYPASS);
    }
}
