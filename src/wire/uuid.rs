//! Universally unique identifiers: 16 bytes, and 32 digits in five groups. RFC 9562.

use super::Writer;
use super::label::{digit, put_byte, put_hex};

/// An identifier, its bytes in the order of its digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Length of the text form (bytes).
    pub const TEXT_BYTES: usize = 36;

    /// Parses 32 digits, ignoring spaces and hyphens. `None`: not a UUID, or one that means "unknown".
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (mut bytes, mut count) = ([0; 16], 0_usize);
        for byte in text {
            if matches!(byte, b' ' | b'-' | b'\n') {
                continue;
            }
            let digit = digit(*byte, 16)?;
            let byte = bytes.get_mut(count / 2)?;
            *byte = *byte << 4 | digit as u8;
            count += 1;
        }
        if count < 32 {
            return None;
        }
        Self(bytes).known()
    }

    /// Returns `None` if all bits are equal, which firmware uses for "unknown".
    pub fn known(self) -> Option<Self> {
        let is_none = |none: u8| self.0.iter().all(|byte| *byte == none);
        if is_none(0) || is_none(0xff) {
            return None;
        }
        Some(self)
    }

    /// Appends its text form.
    pub fn emit(&self, out: &mut Writer<'_>) {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                put_byte(out, b'-');
            }
            put_hex(out, core::slice::from_ref(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_grouping_of_digits_parses() {
        let uuid = Uuid(*b"\x56\x4d\x8a\x1c\x5e\x2f\x3b\x4c\x9d\x0e\x1f\x2a\x3b\x4c\x5d\x6e");
        for text in [
            "56 4d 8a 1c 5e 2f 3b 4c-9d 0e 1f 2a 3b 4c 5d 6e",
            "564d8a1c-5e2f-3b4c-9d0e-1f2a3b4c5d6e",
            "564D8A1C5E2F3B4C9D0E1F2A3B4C5D6E\n",
        ] {
            assert_eq!(Uuid::parse(text.as_bytes()), Some(uuid), "{text}");
        }
        let mut buffer = [0; Uuid::TEXT_BYTES];
        let mut out = Writer::new(&mut buffer);
        uuid.emit(&mut out);
        assert_eq!(out.written(), Some(36));
        assert_eq!(&buffer, b"564d8a1c-5e2f-3b4c-9d0e-1f2a3b4c5d6e");
    }

    #[test]
    fn invalid_uuids_are_rejected() {
        for text in [
            "",
            "564d8a1c-5e2f-3b4c-9d0e-1f2a3b4c5d6",
            "564d8a1c-5e2f-3b4c-9d0e-1f2a3b4c5d6ef",
            "564d8a1c-5e2f-3b4c-9d0e-1f2a3b4c5d6g",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        ] {
            assert_eq!(Uuid::parse(text.as_bytes()), None, "{text}");
        }
    }
}
