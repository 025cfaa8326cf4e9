//! SFTP version 3: packets, strings, attributes, statuses. draft-ietf-secsh-filexfer-02.
//!
//! A packet is a length, a type and the request's id, which the reply repeats; INIT and VERSION have no id. Nothing is padded.

use super::{Reader, Writer};

/// The only version spoken.
pub const VERSION: u32 = 3;
/// Length of a packet's length field (bytes).
pub const LENGTH_BYTES: usize = 4;
/// Length of a packet before its arguments (bytes): length, type, id.
pub const HEAD_BYTES: usize = LENGTH_BYTES + 1 + 4;
/// Maximum length of a handle (bytes). Section 6.3.
pub const HANDLE_BYTES_MAX: u32 = 256;

/// Types of packets.
#[allow(missing_docs)] // The draft's own words.
pub mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub const SETSTAT: u8 = 9;
    pub const FSETSTAT: u8 = 10;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RMDIR: u8 = 15;
    pub const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const READLINK: u8 = 19;
    pub const SYMLINK: u8 = 20;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// Statuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Success.
    #[doc(alias = "SSH_FX_OK")]
    Ok = 0,
    /// End of the file or directory.
    #[doc(alias = "SSH_FX_EOF")]
    Eof = 1,
    /// No such name.
    #[doc(alias = "SSH_FX_NO_SUCH_FILE")]
    NoSuchFile = 2,
    /// The user lacks the permission, or the server refuses such requests.
    #[doc(alias = "SSH_FX_PERMISSION_DENIED")]
    PermissionDenied = 3,
    /// Any other failure.
    #[doc(alias = "SSH_FX_FAILURE")]
    Failure = 4,
    /// The request is malformed.
    #[doc(alias = "SSH_FX_BAD_MESSAGE")]
    BadMessage = 5,
    /// The request is unknown or not supported here.
    #[doc(alias = "SSH_FX_OP_UNSUPPORTED")]
    Unsupported = 8,
}

/// Flags of OPEN.
pub mod open {
    /// Open for reading.
    #[doc(alias = "SSH_FXF_READ")]
    pub const READ: u32 = 1;
    /// Open for writing.
    #[doc(alias = "SSH_FXF_WRITE")]
    pub const WRITE: u32 = 2;
    /// Append the data of every WRITE, whatever its offset.
    #[doc(alias = "SSH_FXF_APPEND")]
    pub const APPEND: u32 = 4;
    /// Create the file if it does not exist.
    #[doc(alias = "SSH_FXF_CREAT")]
    pub const CREATE: u32 = 8;
    /// Truncate the file.
    #[doc(alias = "SSH_FXF_TRUNC")]
    pub const TRUNCATE: u32 = 16;
    /// With [`CREATE`]: fail if the file exists.
    #[doc(alias = "SSH_FXF_EXCL")]
    pub const EXCLUSIVE: u32 = 32;
}

/// Flags of the attributes that follow, in this order.
pub mod attribute {
    /// Size (bytes), 64 bits.
    pub const SIZE: u32 = 1;
    /// UID and GID.
    pub const OWNER: u32 = 2;
    /// Mode, optionally with the file type bits.
    pub const MODE: u32 = 4;
    /// Times of last access and modification, in seconds since 1970.
    pub const TIMES: u32 = 8;
    /// Every attribute that is not an extension.
    pub const ALL: u32 = SIZE | OWNER | MODE | TIMES;
    /// Extended attributes: a count, and that number of pairs of strings.
    pub const EXTENDED: u32 = 1 << 31;
}

/// Attributes as a client sends and receives them.
#[doc(alias = "ATTRS")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// Size (bytes).
    pub size: Option<u64>,
    /// UID and GID.
    pub owner: Option<(u32, u32)>,
    /// Mode, optionally with the file type bits.
    pub mode: Option<u32>,
    /// Times of last access and modification, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    /// Parses attributes. Fields that were not sent keep their values.
    pub fn read(&mut self, from: &mut Reader<'_>) {
        let flags = from.u32();
        if flags & attribute::SIZE != 0 {
            self.size = Some(from.u64());
        }
        if flags & attribute::OWNER != 0 {
            self.owner = Some((from.u32(), from.u32()));
        }
        if flags & attribute::MODE != 0 {
            self.mode = Some(from.u32());
        }
        if flags & attribute::TIMES != 0 {
            self.times = Some((from.u32(), from.u32()));
        }
        from.extended_attributes(flags);
    }

    /// Parses attributes.
    #[cfg(any(test, fuzzing))]
    pub fn parse(from: &mut Reader<'_>) -> Self {
        let mut attributes = Self::default();
        attributes.read(from);
        attributes
    }

    /// Writes attributes.
    #[cfg(any(test, fuzzing))]
    pub fn emit(&self, to: &mut Writer<'_>) {
        let bit = |there: bool, flag: u32| if there { flag } else { 0 };
        to.u32(
            bit(self.size.is_some(), attribute::SIZE)
                | bit(self.owner.is_some(), attribute::OWNER)
                | bit(self.mode.is_some(), attribute::MODE)
                | bit(self.times.is_some(), attribute::TIMES),
        );
        if let Some(size) = self.size {
            to.u64(size);
        }
        if let Some((user, group)) = self.owner {
            to.words(&[user, group]);
        }
        if let Some(mode) = self.mode {
            to.u32(mode);
        }
        if let Some((read, written)) = self.times {
            to.words(&[read, written]);
        }
    }
}

impl<'a> Reader<'a> {
    /// Parses one byte.
    pub fn byte(&mut self) -> u8 {
        match self.take(1) {
            [byte] => *byte,
            _ => 0,
        }
    }

    /// Parses a string: length and bytes.
    pub fn string(&mut self) -> &'a [u8] {
        let len = self.u32();
        self.take(len as usize)
    }

    /// Parses a path. A NUL byte in it is malformed.
    pub fn path(&mut self) -> &'a [u8] {
        let path = self.string();
        // Byte by byte: paths are short, and a faster search is more code.
        for byte in path {
            if *byte == 0 {
                self.refuse();
            }
        }
        path
    }

    /// Skips extended attributes, if `told` has their flag.
    pub fn extended_attributes(&mut self, told: u32) {
        if told & attribute::EXTENDED != 0 {
            let mut count = self.u32();
            // Stop at the end of the packet, whatever the count.
            while count > 0 && self.check().is_ok() {
                self.string();
                self.string();
                count -= 1;
            }
        }
    }

    /// Parses a handle.
    pub fn handle(&mut self) -> &'a [u8] {
        let handle = self.string();
        if handle.len() > HANDLE_BYTES_MAX as usize {
            self.refuse();
        }
        handle
    }
}

impl Writer<'_> {
    /// Appends a string: length and bytes.
    pub fn string(&mut self, bytes: &[u8]) {
        // A length beyond 32 bits does not fit into the buffer either.
        self.u32(bytes.len() as u32);
        self.put(bytes);
    }

    /// Appends a string whose `len` bytes are already in place, after the length word.
    pub fn string_ahead(&mut self, len: usize) {
        // A length beyond 32 bits does not fit into the buffer either.
        self.u32(len as u32);
        self.put_ahead(len);
    }

    /// Begins a packet. Returns its start, for [`Writer::finish`].
    pub fn start_packet(&mut self, kind: u8, id: u32) -> usize {
        let start = self.position();
        let mut head = [0; HEAD_BYTES];
        let [_, _, _, _, first, rest @ ..] = &mut head;
        (*first, *rest) = (kind, id.to_be_bytes());
        self.put(&head);
        start
    }

    /// Begins a string whose length is not known yet. Returns its start, for [`Writer::finish`].
    pub fn start_string(&mut self) -> usize {
        let start = self.position();
        self.u32(0);
        start
    }

    /// Ends the packet or string that began at `start`.
    pub fn finish(&mut self, start: usize) {
        // After an overrun, which is detected later, `start` may be the current position.
        let len = (self.position() - start).saturating_sub(LENGTH_BYTES) as u32;
        self.patch(start, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Attributes = Attributes {
        size: Some(0x0102_0304_0506_0708),
        owner: Some((1000, 100)),
        mode: Some(0o100_644),
        times: Some((7, u32::MAX)),
    };

    fn emitted(attributes: &Attributes) -> Vec<u8> {
        let mut buffer = [0xaa; 64];
        let mut writer = Writer::new(&mut buffer);
        attributes.emit(&mut writer);
        let len = writer.written().unwrap();
        buffer[..len].to_vec()
    }

    #[test]
    fn attributes_match_the_draft() {
        assert_eq!(
            emitted(&ALL),
            b"\0\0\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\0\0\x03\xe8\0\0\0\x64\0\0\x81\xa4\0\0\0\x07\xff\xff\xff\xff"
        );
        assert_eq!(emitted(&Attributes::default()), [0; 4]);
    }

    #[test]
    fn attributes_round_trip_and_every_prefix_is_malformed() {
        for told in 0..16 {
            let has = |bit: u32| told & bit != 0;
            let attributes = Attributes {
                size: ALL.size.filter(|_| has(1)),
                owner: ALL.owner.filter(|_| has(2)),
                mode: ALL.mode.filter(|_| has(4)),
                times: ALL.times.filter(|_| has(8)),
            };
            let bytes = emitted(&attributes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Attributes::parse(&mut reader), attributes);
            assert_eq!((reader.check(), reader.rest()), (Ok(()), &[][..]));
            for len in 0..bytes.len() {
                let mut reader = Reader::new(&bytes[..len]);
                Attributes::parse(&mut reader);
                assert!(reader.check().is_err());
            }
        }
    }

    #[test]
    fn extended_attributes_are_skipped() {
        let pairs =
            b"\x80\0\0\x04\0\0\x81\xa4\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0\x02bc\0\0\0\x01d.";
        let mut reader = Reader::new(pairs);
        assert_eq!(Attributes::parse(&mut reader).mode, Some(0o100_644));
        assert_eq!((reader.check(), reader.rest()), (Ok(()), &b"."[..]));
        let endless = b"\x80\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
        let mut reader = Reader::new(endless);
        Attributes::parse(&mut reader);
        assert!(reader.check().is_err());
    }

    #[test]
    fn truncated_or_invalid_strings_are_malformed() {
        for (bytes, path, handle) in [
            (&b"\0\0\0\x02ab"[..], true, true),
            (b"\0\0\0\x02a\0", false, true),
            (b"\0\0\0\x03ab", false, false),
            (b"\xff\xff\xff\xff", false, false),
            (b"\0\0\0", false, false),
        ] {
            let mut reader = Reader::new(bytes);
            reader.path();
            assert_eq!(reader.check().is_ok(), path, "{bytes:?}");
            let mut reader = Reader::new(bytes);
            reader.handle();
            assert_eq!(reader.check().is_ok(), handle, "{bytes:?}");
        }
        for (len, good) in [(256, true), (257, false)] {
            let mut buffer = [1; 300];
            let mut writer = Writer::new(&mut buffer);
            writer.string(&[7; 257][..len]);
            let mut reader = Reader::new(&buffer);
            reader.handle();
            assert_eq!(reader.check().is_ok(), good);
        }
    }

    #[test]
    fn packets_and_strings_have_their_lengths() {
        let mut buffer = [0; 20];
        let mut writer = Writer::new(&mut buffer);
        let packet = writer.start_packet(kind::DATA, 7);
        let string = writer.start_string();
        writer.put(b"abc");
        writer.finish(string);
        writer.finish(packet);
        assert_eq!(writer.written(), Some(16));
        assert_eq!(buffer, *b"\0\0\0\x0c\x67\0\0\0\x07\0\0\0\x03abc\0\0\0\0");
        assert_eq!(Reader::new(&buffer[4..]).byte(), kind::DATA);
    }
}
