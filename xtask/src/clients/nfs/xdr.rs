//! XDR (RFC 4506) for the client: a writer, and a reader that rejects short input and wrong padding.

use anyhow::{Result, bail, ensure};

/// Appends XDR values to a message.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Appends an unsigned integer, an enum or a bool.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// Appends an unsigned hyper.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// Appends fixed-length opaque data. The length must be a multiple of four, because no padding is added.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    /// Appends variable-length opaque data or a string: length, bytes, padding.
    pub fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).expect("a test's message is shorter than 4 GiB"));
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Returns the message and clears the writer.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Reads XDR values from a message in order.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Creates a reader that starts at the first byte of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Reads the next `len` bytes, without padding.
    pub fn fixed(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((field, remaining)) = self.0.split_at_checked(len) else {
            bail!(
                "the reply ends {} bytes into a field of {len}",
                self.0.len()
            );
        };
        self.0 = remaining;
        Ok(field)
    }

    /// Reads an unsigned integer or an enum.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.fixed(4)?.try_into()?))
    }

    /// Reads an unsigned hyper.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.fixed(8)?.try_into()?))
    }

    /// Reads a bool. Values other than 0 and 1 are errors.
    pub fn bool(&mut self) -> Result<bool> {
        let value = self.u32()?;
        ensure!(value < 2, "the reply has a bool of {value}");
        Ok(value == 1)
    }

    /// Reads variable-length opaque data or a string of at most `max_len` bytes. The padding must be zero.
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

    /// Reads all remaining bytes.
    pub fn remaining(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Returns true if no bytes remain.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns an error if bytes remain.
    pub fn expect_end(self) -> Result<()> {
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
    fn written_values_are_read_back() -> Result<()> {
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
        reader.expect_end()
    }

    #[test]
    fn short_long_and_badly_padded_values_are_refused() {
        assert!(Reader::new(&[0, 0, 0]).u32().is_err());
        assert!(Reader::new(&[0, 0, 0, 2]).bool().is_err());
        assert!(Reader::new(&[0, 0, 0, 9, 1, 2, 3, 4]).opaque(9).is_err());
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 0, 1]).opaque(9).is_err());
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 0, 0]).opaque(1).is_err());
        assert!(Reader::new(&[0]).expect_end().is_err());
    }
}
