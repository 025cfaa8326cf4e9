//! XDR for the client (RFC 4506): a writer that appends and a reader that refuses what is short or badly padded.

use anyhow::{Result, bail, ensure};

/// Appends XDR values to a message.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An unsigned integer, an enum or a bool.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// An unsigned hyper.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// Bytes as they are: the length is known to both sides and a multiple of four.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    /// Variable-length opaque data or a string: length, bytes, padding.
    pub fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).expect("no message of ours is that long"));
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// The message; the writer is empty again.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Takes XDR values off the front of a message.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `message` from its first byte.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next `len` bytes.
    pub fn fixed(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(len) else {
            bail!(
                "the reply ends {} bytes into a field of {len}",
                self.0.len()
            );
        };
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned integer or an enum.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.fixed(4)?.try_into()?))
    }

    /// An unsigned hyper.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.fixed(8)?.try_into()?))
    }

    /// A bool: 0 or 1 and nothing else.
    pub fn bool(&mut self) -> Result<bool> {
        let value = self.u32()?;
        ensure!(value < 2, "the reply has a bool of {value}");
        Ok(value == 1)
    }

    /// Opaque data or a string of at most `max_len` bytes; its padding must be zero.
    pub fn opaque(&mut self, max_len: usize) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        ensure!(
            len <= max_len,
            "the reply has {len} bytes where {max_len} are allowed"
        );
        let bytes = self.fixed(len)?;
        let padding = self.fixed(len.next_multiple_of(4) - len)?;
        ensure!(
            padding.iter().all(|&b| b == 0),
            "the reply's padding is {padding:?}"
        );
        Ok(bytes)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<()> {
        ensure!(
            self.0.is_empty(),
            "{} bytes follow the end of the reply",
            self.0.len()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() -> Result<()> {
        let message = Writer::default()
            .u32(7)
            .u64(1 << 40)
            .opaque(b"abcde")
            .fixed(b"four")
            .finish();
        assert_eq!(message.len(), 4 + 8 + 4 + 8 + 4);
        let mut reader = Reader::new(&message);
        assert_eq!((reader.u32()?, reader.u64()?), (7, 1 << 40));
        assert_eq!(
            (reader.opaque(5)?, reader.fixed(4)?),
            (&b"abcde"[..], &b"four"[..])
        );
        reader.end()
    }

    #[test]
    fn short_long_and_badly_padded_values_are_refused() {
        assert!(Reader::new(&[0, 0, 0]).u32().is_err());
        assert!(Reader::new(&[0, 0, 0, 2]).bool().is_err());
        assert!(Reader::new(&[0, 0, 0, 9, 1, 2, 3, 4]).opaque(9).is_err());
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 0, 1]).opaque(9).is_err());
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 0, 0]).opaque(1).is_err());
        assert!(Reader::new(&[0]).end().is_err());
    }
}
